"""Find the headings of a text, by its markup; the secret kept here is what a heading looks like."""

import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Heading:
    """A heading: where its first line begins and its last one ends (code points), its level (1 is the highest), its words."""

    start: int
    end: int
    level: int
    title: str


@dataclass(frozen=True, slots=True)
class Outline:
    """The headings of a text, in order, and the code blocks in which nothing is one.

    Attributes:
        headings: sorted by start.
        code_starts: starts of the fenced code blocks, sorted.
        code_ends: the end of each, in the same order.
    """

    headings: tuple[Heading, ...] = ()
    code_starts: tuple[int, ...] = ()
    code_ends: tuple[int, ...] = ()

    def is_in_code(self, position: int) -> bool:
        """Tell whether a position lies inside a fenced code block."""
        block = bisect_right(self.code_starts, position) - 1
        return block >= 0 and self.code_starts[block] < position < self.code_ends[block]

    def code_blocks(self) -> Iterator[tuple[int, int]]:
        """Yield start and end of the fenced code blocks, in order."""
        return zip(self.code_starts, self.code_ends, strict=True)


class HeadingPaths:
    """The headings that a place stands under, from the highest to the nearest; built once, then found by bisection."""

    def __init__(self, headings: Sequence[Heading]) -> None:
        self._headings = headings
        self._starts = [heading.start for heading in headings]
        self._parents: list[int] = []
        above: list[int] = []
        for number, heading in enumerate(headings):
            while above and headings[above[-1]].level >= heading.level:
                above.pop()
            self._parents.append(above[-1] if above else -1)
            above.append(number)

    def nearest(self, position: int) -> int:
        """Return the number of the last heading that begins at a place or before it; -1 when there is none."""
        return bisect_right(self._starts, position) - 1

    def titles(self, number: int) -> list[str]:
        """Return the words of a heading and of those above it, the highest first; headings without words are left out."""
        found = []
        while number >= 0:
            found.append(self._headings[number].title)
            number = self._parents[number]
        return [title for title in reversed(found) if title]


_OFFICE = "application/vnd.openxmlformats-officedocument."

# What may stand on a line, from its line end on: a search for that one character is the fastest there is. The quantifiers
# cannot meet the same character twice, so that a search takes time in proportion to the text.
_BEGIN = (
    r" {0,3}(?:(?P<fence>`{3,}|~{3,})|(?P<hashes>\#{1,6})(?:[ \t]+(?P<title>[^\r\n]*))?(?=\r|\n|\Z)"
    r"|(?P<underline>=+|--+)[ \t]*(?=\r|\n|\Z))"
)
_FIRST_LINE = re.compile(_BEGIN)
_NEXT_LINE = re.compile(rf"\n{_BEGIN}")
_UNDERLINED = re.compile(r" {0,3}(?P<above>[^\s#>`~\-+*=|][^\r\n]*)\r?\n")
_RST_TITLE = re.compile(
    r"^(?P<above> ?[^\s.][^\r\n]*)\r?\n(?P<underline>(?P<mark>[=\-~^\"'`#*+:.<>_])(?P=mark){2,})[ \t]*(?=\r|\n|\Z)",
    re.MULTILINE,
)

# The row under a table's head; no two quantifiers can meet the same character.
_TABLE_RULE = re.compile(
    r"\n {0,3}(?=[|:\-])(?:\|[ \t]*)?:?-+:?[ \t]*(?:\|[ \t]*:?-+:?[ \t]*)*(?:\|[ \t]*)?(?=\r|\n|\Z)"
)
_BLANK_LINE = re.compile(r"\n[ \t]*(?=\r|\n|\Z)")


def find_headings(text: str, media_type: str) -> Outline:
    """Find the headings of Markdown and of reStructuredText; other texts have none that can be told from their words.

    Those of office documents are written as Markdown by whoever extracts them.
    """
    if media_type == "text/markdown" or media_type.startswith(_OFFICE):
        return _markdown_outline(text)
    if media_type == "text/x-rst":
        return Outline(headings=tuple(_rst_headings(text)))
    return Outline()


def _markdown_outline(text: str) -> Outline:
    """Read ATX and setext headings outside of fenced code; a fence that nobody closes goes on to the end.

    Source: CommonMark 0.31 sections 4.2, 4.3 and 4.5.
    """
    headings, starts, ends = [], [], []
    open_fence = ""
    for line in _marked_lines(text):
        start, fence = line.start() + (line[0][0] == "\n"), line["fence"]
        if open_fence:
            if fence and fence.startswith(open_fence):
                ends.append(_line_end(text, line.end()))
                open_fence = ""
        elif fence:
            starts.append(start)
            open_fence = fence
        elif line["hashes"]:
            title = (line["title"] or "").rstrip().rstrip("#").rstrip()
            headings.append(Heading(start, line.end(), len(line["hashes"]), title))
        elif above := _UNDERLINED.match(text, text.rfind("\n", 0, max(0, start - 1)) + 1, start):
            level = 1 if line["underline"][0] == "=" else 2
            headings.append(Heading(above.start(), line.end(), level, above["above"].rstrip()))
    if open_fence:
        ends.append(len(text))
    return Outline(tuple(headings), tuple(starts), tuple(ends))


def _marked_lines(text: str) -> Iterator[re.Match[str]]:
    if first := _FIRST_LINE.match(text):
        yield first
    yield from _NEXT_LINE.finditer(text)


def _line_end(text: str, position: int) -> int:
    end = text.find("\n", position)
    return end if end >= 0 else len(text)


def _rst_headings(text: str) -> Iterator[Heading]:
    """Read underlined titles; the order in which the marks first appear gives their levels, as docutils does.

    Source: https://docutils.sourceforge.io/docs/ref/rst/restructuredtext.html#sections
    """
    levels: dict[str, int] = {}
    for match in _RST_TITLE.finditer(text):
        title, mark = match["above"].rstrip(), match["mark"]
        if len(match["underline"]) < len(title) or _is_line_of(title, mark):
            continue
        start = match.start()
        above = text.rfind("\n", 0, max(0, start - 1)) + 1
        is_overlined = above < start and _is_line_of(text[above:start].rstrip(), mark)
        if is_overlined or title[0] != " ":
            style = mark * (1 + is_overlined)
            level = levels.setdefault(style, len(levels) + 1)
            yield Heading(above if is_overlined else start, match.end(), level, title.strip())


def _is_line_of(line: str, mark: str) -> bool:
    return bool(line) and line.count(mark) == len(line)


def find_tables(text: str, outline: Outline) -> Iterator[tuple[int, int]]:
    """Yield start and end of the tables of a Markdown text outside of fenced code: head, rule, and rows up to an empty line.

    Source: GitHub Flavored Markdown, section 4.10.
    """
    end = 0
    if "|" not in text:
        return
    for rule in _TABLE_RULE.finditer(text):
        if rule.start() < end or "|" not in rule[0] or outline.is_in_code(rule.end()):
            continue
        above = text.rfind("\n", end, rule.start())
        head = above + 1 if above >= 0 else end
        if "|" in text[head : rule.start()]:
            blank = _BLANK_LINE.search(text, rule.end())
            end = blank.start() if blank else len(text)
            yield head, end
