"""Turn a document's bytes into text, by what they are; the secret kept here is which formats there are.

A format is a row of ``_EXTRACTORS``. The name says what a document should be, and its first bytes have the last word.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import PurePosixPath

from transforms.core.decoding import decode_text
from transforms.core.headings import find_headings
from transforms.core.html import read_page
from transforms.errors import UnreadableDocument

MOST_TITLE_CHARS = 300


@dataclass(frozen=True, slots=True)
class Extracted:
    """A document's text with what is known about it.

    Attributes:
        text: clean text; offsets of chunks count its code points.
        media_type: what the bytes were taken for.
        metadata: ``media_type`` and, where the document tells them, ``title`` (at most 300 characters) and ``language``.
    """

    text: str
    media_type: str
    metadata: dict[str, str]


_MEDIA_TYPES = {
    ".md": "text/markdown",
    ".markdown": "text/markdown",
    ".rst": "text/x-rst",
    ".html": "text/html",
    ".htm": "text/html",
    ".xhtml": "text/html",
}

# What the first bytes of formats say that are no text. Source: the formats' own specifications.
_SIGNATURES = (
    (b"%PDF-", "application/pdf", "a PDF"),
    (b"PK\x03\x04", "application/zip", "a ZIP archive or an office document (docx, xlsx, pptx, odt, epub)"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "application/x-ole-storage", "an old office document (doc, xls, ppt)"),
    (b"{\\rtf", "application/rtf", "a rich text document"),
    (b"\x1f\x8b", "application/gzip", "gzip-compressed"),
    (b"BZh", "application/x-bzip2", "bzip2-compressed"),
    (b"\xfd7zXZ\x00", "application/x-xz", "xz-compressed"),
    (b"\x28\xb5\x2f\xfd", "application/zstd", "zstd-compressed"),
    (b"\x89PNG\r\n", "image/png", "a PNG image"),
    (b"\xff\xd8\xff", "image/jpeg", "a JPEG image"),
    (b"GIF8", "image/gif", "a GIF image"),
    (b"\x7fELF", "application/x-elf", "a program"),
    (b"SQLite format 3\x00", "application/vnd.sqlite3", "an SQLite database"),
    (b"PAR1", "application/vnd.apache.parquet", "a Parquet table"),
)
_PAGE_START = re.compile(rb"(?:\xef\xbb\xbf)?\s{0,100}<(?:!doctype\s+html|html[\s>])", re.IGNORECASE)


def extract_text(content: bytes, source_uri: str) -> Extracted:
    """Read a document's text; only the suffix of ``source_uri`` is looked at.

    Markdown and reStructuredText keep their markup, and line ends stay as they are. Of a page, the main text is read.
    A document without any text is no error: its text is empty.

    Raises:
        UnreadableDocument: ``reason: sentence``; the reasons are ``unsupported_format``, ``undecodable`` and ``binary``.
    """
    suffix = PurePosixPath(source_uri).suffix.lower()
    media_type = _media_type(content, suffix)
    extract = _EXTRACTORS.get(media_type)
    if extract is None:
        what = next(words for _, known, words in _SIGNATURES if known == media_type)
        raise UnreadableDocument(
            f"unsupported_format: the document is {what} ({media_type}) by its first bytes, "
            f"whatever its name says ({suffix or 'no suffix'}); convert it to text, Markdown or HTML"
        )
    text, title, language = extract(content)
    metadata = {"language": language, "media_type": media_type, "title": title[:MOST_TITLE_CHARS]}
    return Extracted(text, media_type, {key: value for key, value in metadata.items() if value})


def _media_type(content: bytes, suffix: str) -> str:
    for signature, media_type, _ in _SIGNATURES:
        if content.startswith(signature):
            return media_type
    named = _MEDIA_TYPES.get(suffix, "text/plain")
    return "text/html" if named == "text/plain" and _PAGE_START.match(content) else named


def _plain(content: bytes) -> tuple[str, str, str]:
    return decode_text(content), "", ""


def _with_headings(media_type: str) -> Callable[[bytes], tuple[str, str, str]]:
    def extract(content: bytes) -> tuple[str, str, str]:
        text = decode_text(content)
        headings = find_headings(text, media_type).headings
        return text, next((heading.title for heading in headings if heading.title), ""), ""

    return extract


# By media type: bytes → text, title, language. A new format is a new row, and its suffix above.
_EXTRACTORS: dict[str, Callable[[bytes], tuple[str, str, str]]] = {
    "text/plain": _plain,
    "text/markdown": _with_headings("text/markdown"),
    "text/x-rst": _with_headings("text/x-rst"),
    "text/html": read_page,
}
