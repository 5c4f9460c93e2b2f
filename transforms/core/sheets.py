"""Read the text of a workbook (XLSX); the secret kept here is SpreadsheetML.

Source: ECMA-376 part 1, chapter 18.
"""

import datetime
import re

from transforms.core.archives import Archive
from transforms.core.markup_events import walk_xml
from transforms.core.office_parts import related, relations
from transforms.core.pages import check_size, join_pages

_MOST_EMPTY_CELLS = 50
"""Tabs for empty cells in a row; a cell far to the right follows after these."""

# Number formats that are dates (section 18.8.30), and the letters of one in a format of the workbook's own.
_DATE_FORMATS = frozenset((*range(14, 23), *range(27, 37), *range(45, 48), *range(50, 59)))
_NO_DATE_LETTERS = re.compile(r'"[^"]*"|\\.|\[(?!h+\]|m+\]|s+\])[^\]]*\]|General', re.IGNORECASE)
_DATE_LETTERS = re.compile(r"[ymdhs]", re.IGNORECASE)
_CELL_NAME = re.compile(r"([A-Z]{1,3})[0-9]+")


def read_workbook(archive: Archive, main: str) -> tuple[str, dict[str, object]]:
    """Return every sheet as a page (see ``join_pages``): its name as a heading, then a line a row with its cells between tabs.

    A sheet without a text is an empty page. Of a formula the value is read that the workbook was saved with; dates are
    written as ISO 8601.
    """
    strings = related(archive, main, "sharedStrings")
    styles = related(archive, main, "styles")
    shared = _shared_strings(archive.read(strings)) if strings else []
    dates = _date_styles(archive.read(styles)) if styles else []
    sheets, epoch = _sheets(archive, main)
    texts, chars = [], 0
    for name, part in sheets:
        reader = _SheetReader(shared, dates, epoch, chars)
        walk_xml(archive.read(part), reader.start, reader.end, reader.text)
        chars = reader.chars
        texts.append("\n".join((f"# {name}\n", *reader.rows)) if reader.rows else "")
    text, _ = join_pages(texts)
    return text.rstrip("\n\f"), {"sheets": len(sheets)}


def _sheets(archive: Archive, main: str) -> tuple[list[tuple[str, str]], datetime.datetime]:
    """Return (name, part) of each worksheet in order, and the day from which the workbook counts."""
    targets = relations(archive, main)
    found: list[tuple[str, str]] = []
    epoch = datetime.datetime(1899, 12, 30)

    def start(tag: str, attributes: dict[str, str]) -> None:
        nonlocal epoch
        kind, part = targets.get(attributes.get("id", ""), ("", ""))
        if tag == "sheet" and kind == "worksheet":
            found.append((" ".join(attributes.get("name", "").split()), part))
        elif tag == "workbookPr" and attributes.get("date1904") in ("1", "true"):
            epoch = datetime.datetime(1904, 1, 1)

    walk_xml(archive.read(main), start, lambda tag: None, lambda text: None)
    return found, epoch


def _shared_strings(content: bytes) -> list[str]:
    strings: list[list[str]] = []
    inside: list[str] = []

    def start(tag: str, _: dict[str, str]) -> None:
        inside.append(tag)
        if tag == "si":
            strings.append([])

    def text(data: str) -> None:
        if strings and inside[-1] == "t" and "rPh" not in inside[-2:]:  # rPh: how a word is pronounced.
            strings[-1].append(data)

    walk_xml(content, start, lambda tag: inside.pop(), text)
    return ["".join(pieces) for pieces in strings]


def _date_styles(content: bytes) -> list[bool]:
    """Tell of each cell style whether its numbers are dates."""
    own: dict[str, str] = {}
    styles: list[bool] = []
    inside: list[str] = []

    def start(tag: str, attributes: dict[str, str]) -> None:
        if tag == "numFmt":
            own[attributes.get("numFmtId", "")] = attributes.get("formatCode", "")
        elif tag == "xf" and inside and inside[-1] == "cellXfs":
            number = attributes.get("numFmtId", "0")
            letters = _NO_DATE_LETTERS.sub("", own.get(number, ""))
            is_known = number.isdecimal() and int(number) in _DATE_FORMATS and number not in own
            styles.append(is_known or bool(_DATE_LETTERS.search(letters)))
        inside.append(tag)

    walk_xml(content, start, lambda tag: inside.pop(), lambda text: None)
    return styles


class _SheetReader:
    """Takes the events of one worksheet to lines."""

    def __init__(self, shared: list[str], dates: list[bool], epoch: datetime.datetime, chars: int) -> None:
        self.rows: list[str] = []
        self.chars = chars
        self._shared, self._dates, self._epoch = shared, dates, epoch
        self._cells: list[str] = []
        self._column = 0
        self._value: list[str] = []
        self._kind = self._style = ""
        self._is_value = False

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        if tag == "row":
            self._cells = []
        elif tag == "c":
            name = _CELL_NAME.fullmatch(attributes.get("r", ""))
            self._column = _column_number(name[1]) if name else len(self._cells)
            self._kind, self._style, self._value = attributes.get("t", "n"), attributes.get("s", ""), []
        elif tag in ("v", "t"):
            self._is_value = True

    def end(self, tag: str) -> None:
        if tag in ("v", "t"):
            self._is_value = False
        elif tag == "c":
            self._end_cell()
        elif tag == "row":
            row = "\t".join(self._cells).rstrip()
            if row:
                self.rows.append(row)
                self.chars += len(row)
                check_size(self.chars)

    def text(self, data: str) -> None:
        if self._is_value:
            self._value.append(data)

    def _end_cell(self) -> None:
        value = " ".join(self._read("".join(self._value)).split())
        if value:
            gap = max(0, self._column - len(self._cells))
            self._cells += [""] * min(gap, max(0, _MOST_EMPTY_CELLS - self._cells.count(""))) + [value]

    def _read(self, value: str) -> str:
        if self._kind == "s":
            at = int(value) if value.isdecimal() else -1
            return self._shared[at] if 0 <= at < len(self._shared) else ""
        if self._kind == "b":
            return "TRUE" if value == "1" else "FALSE"
        if self._kind == "n" and self._style.isdecimal() and int(self._style) < len(self._dates):
            return self._date(value) if self._dates[int(self._style)] else value
        return value

    def _date(self, value: str) -> str:
        try:
            days = float(value)
            moment = self._epoch + datetime.timedelta(seconds=round(days * 86_400))
        except (ValueError, OverflowError):
            return value
        if days < 1:
            return moment.time().isoformat()
        return moment.date().isoformat() if days == int(days) else moment.isoformat(sep=" ")


def _column_number(letters: str) -> int:
    number = 0
    for letter in letters:
        number = 26 * number + ord(letter) - ord("A") + 1
    return number - 1
