"""Read documents that are ZIP archives of XML; the secret kept here is how one kind is told from another."""

import posixpath
from urllib.parse import unquote

from transforms.core.archives import Archive
from transforms.core.books import read_book
from transforms.core.office_parts import office_part, read_properties
from transforms.core.sheets import read_workbook
from transforms.core.slides import read_slides
from transforms.core.word import read_word
from transforms.errors import UnreadableDocument
from transforms.records import HeadingPlaces

_OOXML = "application/vnd.openxmlformats-officedocument"
_READERS = {
    "word": (read_word, f"{_OOXML}.wordprocessingml.document"),
    "ppt": (read_slides, f"{_OOXML}.presentationml.presentation"),
    "xl": (read_workbook, f"{_OOXML}.spreadsheetml.sheet"),
}


def read_package(content: bytes) -> tuple[str, dict[str, object], HeadingPlaces]:
    """Return the text of a DOCX, PPTX, XLSX or EPUB document with its metadata and its ``media_type``.

    Headings, slide titles and names of sheets are written as Markdown headings; those of a book are told by their places.

    Raises:
        UnreadableDocument: ``unsupported_format`` for any other archive; ``damaged``, ``encrypted``, ``zip_bomb``,
            ``too_large``.
    """
    archive = Archive(content)
    if "META-INF/container.xml" in archive.names:
        text, metadata, headings = read_book(archive)
        return text, {**metadata, "media_type": "application/epub+zip"}, headings
    main = office_part(archive) if "[Content_Types].xml" in archive.names else ""
    kind = posixpath.dirname(unquote(main)).partition("/")[0]
    if kind not in _READERS or not main.endswith(".xml"):
        raise UnreadableDocument(
            "unsupported_format: the document is a ZIP archive and no DOCX, PPTX, XLSX or EPUB; unpack it, or convert it"
        )
    read, media_type = _READERS[kind]
    text, metadata = read(archive, main)
    return text, {**metadata, **read_properties(archive, metadata), "media_type": media_type}, ()
