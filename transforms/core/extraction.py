"""Turn a document's bytes into text, by what they are; the secret kept here is which formats there are.

A format is a row of ``_EXTRACTORS``; what a document is, ``core.media_types`` tells.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import PurePosixPath

from transforms.core.decoding import decode_text
from transforms.core.headings import find_headings
from transforms.core.html import may_explode, read_page
from transforms.core.mail import read_mail
from transforms.core.media_types import describe_signature, media_type_of
from transforms.core.packages import read_package
from transforms.core.pdf import read_pdf
from transforms.core.source_code import declared_encoding
from transforms.errors import UnreadableDocument
from transforms.records import HeadingPlaces

MOST_TITLE_CHARS = 300


@dataclass(frozen=True, slots=True)
class Extracted:
    """A document's text with what is known about it.

    Attributes:
        text: clean text; offsets of chunks count its code points.
        media_type: what the bytes were taken for.
        metadata: ``media_type`` and, where the document tells them, ``title`` (at most 300 characters), ``language``, and
            what else its format gives; of JSON's types.
        headings: where the format tells them and the text does not.
    """

    text: str
    media_type: str
    metadata: dict[str, object]
    headings: HeadingPlaces = ()


Extract = Callable[[bytes], tuple[str, dict[str, object], HeadingPlaces]]


def extract_text(content: bytes, source_uri: str) -> Extracted:
    """Read a document's text; only the suffix of ``source_uri`` is looked at.

    Markdown, reStructuredText and source code keep their markup, and line ends stay as they are. Of a page, the main text is
    read. A document without any text is no error: its text is empty.

    Raises:
        UnreadableDocument: ``reason: sentence``; the reasons are ``unsupported_format``, ``undecodable``, ``binary``,
            ``encrypted``, ``damaged``, ``too_large``, ``zip_bomb`` and ``extra_missing``.
    """
    media_type = media_type_of(content, source_uri)
    extract = _EXTRACTORS.get(media_type, _plain if media_type.startswith("text/") else None)
    if extract is None:
        suffix = PurePosixPath(source_uri).suffix.lower() or "no suffix"
        raise UnreadableDocument(
            f"unsupported_format: the document is {describe_signature(media_type)} ({media_type}) by its first bytes, "
            f"whatever its name says ({suffix}); convert it to text, Markdown or HTML"
        )
    text, found, headings = extract(content)
    metadata = {"media_type": media_type, **found}
    metadata["title"] = str(found.get("title") or "")[:MOST_TITLE_CHARS]
    kept = {key: value for key, value in sorted(metadata.items()) if value not in ("", None)}
    return Extracted(text, str(kept["media_type"]), kept, headings)


def needs_own_process(content: bytes, source_uri: str) -> bool:
    """Tell whether a document's format is read by code that hostile bytes can hang, crash or make very large."""
    media_type = media_type_of(content, source_uri)
    return media_type in _WITH_OWN_PROCESS or (media_type == "text/html" and may_explode(content))


def _plain(content: bytes) -> tuple[str, dict[str, object], HeadingPlaces]:
    decoded = decode_text(content, declared_encoding(content))
    return decoded.text, decoded.notes, ()


def _titled(media_type: str) -> Extract:
    def extract(content: bytes) -> tuple[str, dict[str, object], HeadingPlaces]:
        text, notes, _ = _plain(content)
        headings = find_headings(text, media_type).headings
        return text, {**notes, "title": next((heading.title for heading in headings if heading.title), "")}, ()

    return extract


def _page(content: bytes) -> tuple[str, dict[str, object], HeadingPlaces]:
    page = read_page(content)
    return page.text, page.notes, page.headings


# By media type: bytes → text, metadata, headings that the text does not show. A new format is a new row, and its suffix
# or first bytes in core.media_types.
_EXTRACTORS: dict[str, Extract] = {
    "text/plain": _plain,
    "text/markdown": _titled("text/markdown"),
    "text/x-rst": _titled("text/x-rst"),
    "text/html": _page,
    "application/pdf": lambda content: (*read_pdf(content), ()),
    "application/zip": read_package,
    "message/rfc822": lambda content: (*read_mail(content), ()),
}
_WITH_OWN_PROCESS = frozenset(("application/pdf", "application/zip", "message/rfc822"))
