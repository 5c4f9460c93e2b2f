"""Read the text of a presentation (PPTX); the secret kept here is PresentationML.

Source: ECMA-376 part 1, chapters 19 and 21.
"""

from collections.abc import Iterator

from transforms.core.archives import Archive
from transforms.core.markup_events import walk_xml
from transforms.core.office_parts import related, relations
from transforms.core.pages import join_pages
from transforms.core.text_blocks import TextBlocks

_NOT_READ = ("sldNum", "ftr", "dt", "hdr", "sldImg")


def read_slides(archive: Archive, main: str) -> tuple[str, dict[str, object]]:
    """Return the text of all slides in order, each with its notes, as pages (see ``join_pages``).

    Of a slide its title is a heading; numbers, dates and footers of slides are not read.
    """
    titles: list[str] = []
    text, metadata = join_pages(_slides(archive, main, titles))
    return text, {**metadata, "title": next((title for title in titles if title), "")}


def _slides(archive: Archive, main: str, titles: list[str]) -> Iterator[str]:
    targets = relations(archive, main)
    order: list[str] = []

    def start(tag: str, attributes: dict[str, str]) -> None:
        # The slide's own "id" loses its place to "r:id", which comes after it, when names lose their namespaces.
        if tag == "sldId" and attributes.get("id") in targets:
            order.append(targets[attributes["id"]][1])

    walk_xml(archive.read(main), start, lambda tag: None, lambda text: None)
    for part in order:
        blocks = TextBlocks()
        notes = related(archive, part, "notesSlide")
        for each in (part, notes) if notes else (part,):
            reader = _SlideReader(blocks)
            walk_xml(archive.read(each), reader.start, reader.end, reader.text)
        titles.append(blocks.title)
        yield blocks.text()


class _SlideReader:
    """Takes the events of one slide to the blocks."""

    def __init__(self, blocks: TextBlocks) -> None:
        self._blocks = blocks
        self._placeholder = ""
        self._is_text = False
        self._skipping = 0

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        if self._skipping or tag == "Fallback":
            self._skipping += 1
        elif tag == "sp":
            self._placeholder = ""
        elif tag == "ph":
            self._placeholder = attributes.get("type", "body")
        elif tag == "p":
            self._blocks.begin_paragraph()
        elif tag == "t":
            self._is_text = self._placeholder not in _NOT_READ
        elif tag == "br":
            self._blocks.add("\n")
        elif tag == "tbl":
            self._blocks.begin_table()
        elif tag == "tr":
            self._blocks.begin_row()
        elif tag == "tc":
            self._blocks.begin_cell()

    def end(self, tag: str) -> None:
        if self._skipping:
            self._skipping -= 1
        elif tag == "t":
            self._is_text = False
        elif tag == "p":
            self._blocks.end_paragraph(1 if self._placeholder in ("title", "ctrTitle") else 0)
        elif tag == "tr":
            self._blocks.end_row()
        elif tag == "tbl":
            self._blocks.end_table()

    def text(self, data: str) -> None:
        if self._is_text and not self._skipping:
            self._blocks.add(data)
