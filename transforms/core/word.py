"""Read the text of a Word document (DOCX); the secret kept here is WordprocessingML.

Source: ECMA-376 part 1, chapter 17.
"""

import re
from collections.abc import Callable

from transforms.core.archives import Archive
from transforms.core.markup_events import walk_xml
from transforms.core.office_parts import related
from transforms.core.text_blocks import TextBlocks

_HEADING = re.compile(r"heading\s*([1-9])|(title)", re.IGNORECASE)
_NOTES = ("footnotes", "endnotes")


def read_word(archive: Archive, main: str) -> tuple[str, dict[str, object]]:
    """Return the body's text, then foot- and endnotes, with the first heading as ``title``.

    Text boxes, tables, hyperlinks and insertions are read; deleted text, field codes, comments, headers and footers are not.
    """
    styles = related(archive, main, "styles")
    levels = _heading_levels(archive.read(styles)) if styles else {}
    blocks = TextBlocks()
    parts = [main, *(part for kind in _NOTES if (part := related(archive, main, kind)))]
    for part in parts:
        reader = _WordReader(blocks, levels)
        walk_xml(archive.read(part), reader.start, reader.end, reader.text)
    return blocks.text(), {"title": blocks.title}


def _heading_levels(styles: bytes) -> dict[str, int]:
    """Return the heading level of each style that has one: by its name, which is English in every language's Word."""
    levels: dict[str, int] = {}
    style = ""

    def start(tag: str, attributes: dict[str, str]) -> None:
        nonlocal style
        if tag == "style":
            style = attributes.get("styleId", "")
        elif tag == "name" and (found := _HEADING.fullmatch(attributes.get("val", ""))):
            levels[style] = int(found[1] or 1)
        elif tag == "outlineLvl" and attributes.get("val", "").isdecimal() and int(attributes["val"]) < 9:
            levels.setdefault(style, int(attributes["val"]) + 1)

    walk_xml(styles, start, lambda tag: None, lambda text: None)
    return levels


class _WordReader:
    """Takes the events of one part to the blocks."""

    def __init__(self, blocks: TextBlocks, levels: dict[str, int]) -> None:
        self._blocks = blocks
        self._levels = levels
        self._open_levels: list[int] = []
        self._is_text = False
        self._skipping = 0
        self._actions: dict[str, Callable[[], None]] = {
            "tbl": blocks.begin_table,
            "tr": blocks.begin_row,
            "tc": blocks.begin_cell,
            "tab": lambda: blocks.add("\t"),
            "br": lambda: blocks.add("\n"),
            "cr": lambda: blocks.add("\n"),
            "noBreakHyphen": lambda: blocks.add("\u2011"),
        }
        self._in_properties = 0

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        if self._skipping or tag == "Fallback":  # The same text once more, for old readers.
            self._skipping += 1
        elif tag in ("pPr", "rPr", "tblPr"):
            self._in_properties += 1
        elif tag == "p":
            self._blocks.begin_paragraph()
            self._open_levels.append(0)
        elif self._in_properties:
            self._read_property(tag, attributes)
        elif tag == "t":
            self._is_text = True
        elif action := self._actions.get(tag):
            action()

    def _read_property(self, tag: str, attributes: dict[str, str]) -> None:
        value = attributes.get("val", "")
        if tag == "pStyle" and self._open_levels:
            self._open_levels[-1] = self._levels.get(value, 0)
        elif tag == "outlineLvl" and self._open_levels and value.isdecimal() and int(value) < 9:
            self._open_levels[-1] = int(value) + 1

    def end(self, tag: str) -> None:
        if self._skipping:
            self._skipping -= 1
        elif tag in ("pPr", "rPr", "tblPr"):
            self._in_properties -= 1
        elif tag == "t":
            self._is_text = False
        elif tag == "p":
            self._blocks.end_paragraph(self._open_levels.pop())
        elif tag == "tr":
            self._blocks.end_row()
        elif tag == "tbl":
            self._blocks.end_table()

    def text(self, data: str) -> None:
        if self._is_text and not self._skipping:
            self._blocks.add(data)
