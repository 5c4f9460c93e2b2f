"""Join the pages of a document into one text and find them again; the secret kept here is what parts them."""

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator

from transforms.errors import UnreadableDocument

MOST_TEXT_CHARS = 200_000_000
"""Of one document; beyond it a few bytes have been repeated without end."""
PAGE_BREAK = "\n\f\n"
"""Between two pages: a form feed on a line of its own, which is white space to every splitter."""

_OFFICE = "application/vnd.openxmlformats-officedocument."
_PAGED = frozenset(("application/pdf", f"{_OFFICE}presentationml.presentation", f"{_OFFICE}spreadsheetml.sheet"))

_LONE_SURROGATE = re.compile("[\ud800-\udfff]")


def join_pages(pages: Iterable[str]) -> tuple[str, dict[str, object]]:
    """Return the text of all pages with ``pages``, their number; ``PageNumbers`` finds them again.

    Raises:
        UnreadableDocument: ``too_large``.
    """
    texts, chars = [], 0
    for page in pages:
        clean = clean_text(page).replace("\f", "\n")
        texts.append(clean)
        chars += len(clean) + len(PAGE_BREAK)
        check_size(chars)
    return PAGE_BREAK.join(texts), {"pages": len(texts)}


def page_spans(text: str) -> Iterator[tuple[int, int]]:
    """Yield start and end of the pages of any text: what stands between form feeds; without one, all of it."""
    begin = 0
    for position in _form_feeds(text):
        yield begin, position
        begin = position + 1
    yield begin, len(text)


class PageNumbers:
    """Tells on which page a place of a document lies.

    PDF, slides and sheets have pages; plain text has them where it has form feeds, as RFCs and listings for printers do.
    """

    def __init__(self, text: str, media_type: str) -> None:
        is_paged = media_type in _PAGED or (media_type == "text/plain" and "\f" in text)
        self._breaks = list(_form_feeds(text)) if is_paged else None

    def page_of(self, position: int) -> int | None:
        """Return the number of the page, 1 or more; None for a document without pages."""
        return None if self._breaks is None else bisect_right(self._breaks, position) + 1


def _form_feeds(text: str) -> Iterator[int]:
    position = text.find("\f")
    while position >= 0:
        yield position
        position = text.find("\f", position + 1)


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
