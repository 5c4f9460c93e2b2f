"""Read the text of an electronic book (EPUB); the secret kept here is how a book names its chapters.

Source: EPUB 3.3, sections 4 and 5.
"""

import posixpath
from collections.abc import Iterator
from urllib.parse import unquote

from transforms.core.archives import Archive
from transforms.core.html import read_page
from transforms.core.markup_events import walk_xml
from transforms.core.pages import check_size
from transforms.errors import UnreadableDocument
from transforms.records import HeadingPlaces

_ENCRYPTION = "META-INF/encryption.xml"
_BETWEEN = "\n\n"
_PAGES = ("application/xhtml+xml", "text/html", "application/x-dtbook+xml")


def read_book(archive: Archive) -> tuple[str, dict[str, object], HeadingPlaces]:
    """Return the chapters in reading order, an empty line between them, the book's ``title`` and ``language``, its headings.

    Raises:
        UnreadableDocument: ``encrypted`` when the shop that sold it has locked its chapters; as ``Archive.read``.
    """
    package = _package(archive)
    book = _Book(posixpath.dirname(package))
    walk_xml(archive.read(package), book.start, book.end, book.text)
    locked = _locked(archive) if _ENCRYPTION in archive.names else frozenset()
    texts: list[str] = []
    headings: list[tuple[int, int, int]] = []
    chars = 0
    for part in book.chapters():
        if part in locked:
            raise UnreadableDocument("encrypted: the book's chapters are locked (DRM); only its own reader opens it")
        page = read_page(archive.read(part))
        text = page.text.strip()
        if text:
            moved = chars - page.text.index(text)
            headings += [(start + moved, end + moved, level) for start, end, level in page.headings]
            texts.append(text)
            chars += len(text) + len(_BETWEEN)
            check_size(chars)
    said: dict[str, object] = {name: value.replace("\0", "").strip() for name, value in book.said.items()}
    return _BETWEEN.join(texts), said, tuple(headings)


def _package(archive: Archive) -> str:
    found: list[str] = []

    def start(tag: str, attributes: dict[str, str]) -> None:
        if tag == "rootfile":
            found.append(attributes.get("full-path", ""))

    walk_xml(archive.read("META-INF/container.xml"), start, lambda tag: None, lambda text: None)
    return found[0] if found else ""


def _locked(archive: Archive) -> frozenset[str]:
    found: set[str] = set()

    def start(tag: str, attributes: dict[str, str]) -> None:
        if tag == "CipherReference":
            found.add(unquote(attributes.get("URI", "")))

    walk_xml(archive.read(_ENCRYPTION), start, lambda tag: None, lambda text: None)
    return frozenset(found)


class _Book:
    """Takes the events of the package document."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._items: dict[str, tuple[str, str]] = {}
        self._spine: list[str] = []
        self._inside: list[str] = []
        self.said = {"title": "", "language": ""}

    def chapters(self) -> Iterator[str]:
        """Yield the names of the chapters' files, in reading order."""
        for reference in self._spine:
            href, media_type = self._items.get(reference, ("", ""))
            if href and media_type in _PAGES:
                yield posixpath.normpath(posixpath.join(self._folder, unquote(href.partition("#")[0])))

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        self._inside.append(tag)
        if tag == "item":
            self._items[attributes.get("id", "")] = (attributes.get("href", ""), attributes.get("media-type", ""))
        elif tag == "itemref":
            self._spine.append(attributes.get("idref", ""))

    def end(self, tag: str) -> None:
        if tag in self.said and self.said[tag].strip():
            self.said[tag] += "\0"  # Only the first of several counts.
        self._inside.pop()

    def text(self, data: str) -> None:
        name = self._inside[-1]
        if name in self.said and "\0" not in self.said[name]:
            self.said[name] += data
