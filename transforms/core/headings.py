"""Find the headings of a text, by its markup; the secret kept here is what a heading looks like."""

import re
from bisect import bisect_right
from collections.abc import Iterator
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


_OFFICE = "application/vnd.openxmlformats-officedocument."

# One line, or two where the second is an underline. The quantifiers cannot meet the same character twice, so that a search
# takes time in proportion to the text.
_MARKDOWN_LINE = re.compile(
    r"^ {0,3}(?:(?P<fence>`{3,}|~{3,})"
    r"|(?P<hashes>\#{1,6})(?:[ \t]+(?P<title>[^\r\n]*))?(?=\r|\n|\Z)"
    r"|(?P<above>[^\s#>`~\-+*=|][^\r\n]*)\r?\n {0,3}(?P<underline>=+|--+)[ \t]*(?=\r|\n|\Z))",
    re.MULTILINE,
)
_RST_TITLE = re.compile(
    r"^(?P<above> ?[^\s.][^\r\n]*)\r?\n(?P<underline>(?P<mark>[=\-~^\"'`#*+:.<>_])(?P=mark){2,})[ \t]*(?=\r|\n|\Z)",
    re.MULTILINE,
)


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
    for line in _MARKDOWN_LINE.finditer(text):
        fence = line["fence"]
        if open_fence:
            if fence and fence.startswith(open_fence):
                ends.append(line.end())
                open_fence = ""
        elif fence:
            starts.append(line.start())
            open_fence = fence
        elif line["hashes"]:
            title = (line["title"] or "").rstrip().rstrip("#").rstrip()
            headings.append(Heading(line.start(), line.end(), len(line["hashes"]), title))
        else:
            level = 1 if line["underline"][0] == "=" else 2
            headings.append(Heading(line.start(), line.end(), level, line["above"].rstrip()))
    if open_fence:
        ends.append(len(text))
    return Outline(tuple(headings), tuple(starts), tuple(ends))


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
