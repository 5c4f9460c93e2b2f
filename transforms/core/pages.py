"""Join the parts of a document into one text and remember where each begins; the secret kept here is how they are joined."""

import re
from collections.abc import Iterable

from transforms.errors import UnreadableDocument

MOST_TEXT_CHARS = 200_000_000
"""Of one document; beyond it a few bytes have been repeated without end."""
MOST_PAGE_STARTS = 2_000
"""The list stands in every chunk's metadata; of longer documents only the number of pages is kept."""

PAGE_BREAK = "\n\f\n"
"""Between two pages: a form feed on a line of its own, which is white space to every splitter."""

_LONE_SURROGATE = re.compile("[\ud800-\udfff]")


def join_pages(pages: Iterable[str]) -> tuple[str, dict[str, object]]:
    """Return the text of all pages with ``pages``, their number, and ``page_starts``, where each begins in code points.

    The page of a chunk is the number of ``page_starts`` at or before its ``start_char``.

    Raises:
        UnreadableDocument: ``too_large``.
    """
    texts, starts, at = [], [], 0
    for page in pages:
        clean = clean_text(page).replace("\f", "\n")
        starts.append(at)
        texts.append(clean)
        at += len(clean) + len(PAGE_BREAK)
        check_size(at)
    metadata: dict[str, object] = {"pages": len(starts)}
    if len(starts) <= MOST_PAGE_STARTS:
        metadata["page_starts"] = starts
    return PAGE_BREAK.join(texts), metadata


def clean_text(text: str) -> str:
    """Take out what an extractor may give and no text has: NULs and lone surrogates; line ends become one character."""
    return _LONE_SURROGATE.sub("", text.replace("\r\n", "\n").replace("\r", "\n").replace("\x00", ""))


def check_size(chars: int) -> None:
    """Refuse a text that is longer than any document.

    Raises:
        UnreadableDocument: ``too_large``.
    """
    if chars > MOST_TEXT_CHARS:
        raise UnreadableDocument(f"too_large: its text has more than {MOST_TEXT_CHARS:,} characters; split it")
