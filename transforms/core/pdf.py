"""Read the text of a PDF, page by page; the secret kept here is the library that does it.

The library is one for the whole process and bears one caller at a time, so every call is made under one lock.
"""

import re
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING

from transforms.core.pages import join_pages
from transforms.errors import UnreadableDocument

if TYPE_CHECKING:
    import pypdfium2

_ONE_AT_A_TIME = threading.Lock()
_WRONG_PASSWORD = 4  # FPDF_ERR_PASSWORD; FPDF_ERR_SECURITY, an unknown kind of protection, is 5.
_UNKNOWN_PROTECTION = 5

# What the library writes for a hyphen at the end of a line, with the line's end.
_LINE_HYPHEN = re.compile("[\ufffe\x02](?:\r?\n)?")


def read_pdf(content: bytes) -> tuple[str, dict[str, object]]:
    """Return the text of all pages with ``title``, ``pages`` and ``page_starts`` (see ``join_pages``).

    Words that a line's end hyphenates are joined. A scanned page has no text. 360 pages a second, about.

    Raises:
        UnreadableDocument: ``encrypted``, ``damaged``, ``too_large``, or ``extra_missing`` with the command that installs it.
    """
    try:
        import pypdfium2
    except ImportError:
        raise UnreadableDocument(
            "extra_missing: PDF is read with pypdfium2, which is not installed here; pip install 'embedbeam[pdf]'"
        ) from None
    with _ONE_AT_A_TIME:
        try:
            document = pypdfium2.PdfDocument(content)
        except pypdfium2.PdfiumError as error:
            if error.err_code in (_WRONG_PASSWORD, _UNKNOWN_PROTECTION):
                raise UnreadableDocument("encrypted: the PDF opens with a password only; save it without one") from None
            raise UnreadableDocument(f"damaged: the PDF cannot be opened ({error})") from None
        try:
            text, metadata = join_pages(_pages(document))
            return text, {**metadata, "title": str(document.get_metadata_value("Title") or "").strip()}
        except pypdfium2.PdfiumError as error:
            raise UnreadableDocument(f"damaged: a page of the PDF cannot be read ({error})") from None
        finally:
            document.close()


def _pages(document: "pypdfium2.PdfDocument") -> Iterator[str]:
    for number in range(len(document)):
        page = document[number]
        try:
            text = page.get_textpage()
            try:
                yield _LINE_HYPHEN.sub("", text.get_text_bounded())
            finally:
                text.close()
        finally:
            page.close()
