"""Tell what a source file is and what it says about itself; the secret kept here is how editors and interpreters are told."""

import re

_FIRST_BYTES = 500

# The first two lines, as Python looks for it (PEP 263); Emacs, Ruby and Perl write the same.
_DECLARED = re.compile(rb"\A(?:[^\n]{0,200}\n)?[ \t\f]*[#/*;%\-\"<!.][^\n]{0,200}?coding[:=][ \t]*([\w.\-]{1,40})")


def declared_encoding(content: bytes) -> str | None:
    """Return the encoding that a comment in the first two lines names, or None."""
    if b"coding" not in content[:_FIRST_BYTES]:
        return None
    found = _DECLARED.match(content)
    return found[1].decode("ascii").lower() if found else None


def is_source_code(media_type: str) -> bool:
    """Tell whether a media type is that of a programming language, as ``core.media_types`` names them."""
    return media_type.startswith("text/x-") and media_type != "text/x-rst"
