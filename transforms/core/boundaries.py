"""Find the places where a text may be cut; the secret kept here is what ends a paragraph, a sentence, a word, a character."""

import re
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence

import regex

from transforms.core.blocks import Blocks
from transforms.core.headings import Outline

_NON_SPACE = re.compile(r"\S")
_CLUSTER = regex.compile(r"\X")

# None of these patterns can try a character more than a fixed number of times, so that every search is linear.
_PARAGRAPH = re.compile(r"\n(?=[^\S\n]*\n)")
_LINE = re.compile(r"\n")
_SENTENCE = re.compile(r"(?<![\s.(][A-Z])[.!?…][\"'”’»)\]]*(?=\s{1,8}[^\sa-z])|[。！？．｡]+[」』）”’]*")
_WORD = re.compile(r"\s|(?<=[，、；：])")

# Between two of these characters there is always a boundary, whatever stands around them (UAX #29, rule GB999).
_PLAIN_PAIR = re.compile(r"[ -~\u00c0-\u024f\u0400-\u0481\u3041-\u3096\u30a1-\u30fa\u4e00-\u9fff]{2}")

_SLICE_CHARS = 256
_NEAR = 100  # Characters before a reach in which a word nearly always ends.
_MOST_LOOK_AHEAD = 200  # Characters after a reach that a pattern may look at to see what follows the boundary.


_Kind = Callable[[int, int], Iterable[int]]


class Boundaries:
    """The boundaries of one text, from the best kind to the least.

    Args:
        outline: its headings and fenced code; none where the markup does not count.
        blocks: what is to be kept whole.
        ranking: ``prose``, ``sentences`` (above lines) or ``code`` (where blocks begin, then lines).
    """

    def __init__(self, text: str, outline: Outline, blocks: Blocks, ranking: str = "prose") -> None:
        self._text = text
        self._outline = outline
        self._blocks = blocks
        self._heading_starts = [heading.start for heading in outline.headings]
        self._better_than_words = self._rankings()[ranking]

    def _rankings(self) -> dict[str, tuple[_Kind, ...]]:
        return {
            "prose": (self._headings, self._paragraphs, self._lines, self._sentences),
            "sentences": (self._paragraphs_and_sentences, self._lines),
            "code": (self._outermost_blocks, self._lines),
        }

    def last(self, low: int, high: int) -> int | None:
        """Return the last boundary of the best kind found in ``low < position <= high``; None when there is none at all."""
        for kind in self._better_than_words:
            if (position := max(kind(low, high), default=None)) is not None:
                return position
        if high - low > _NEAR and (position := max(self._words(high - _NEAR, high), default=None)) is not None:
            return position
        return max(self._words(low, high), default=None)

    def first_start(self, low: int, middle: int, high: int) -> int | None:
        """Return where to begin, at ``low`` or later, with the best kind of boundary before ``middle``, else a word's.

        The position is that of a character which is no white space; None when there is none before ``high``.
        """
        for kind in (*self._better_than_words, self._words):
            until = high if kind == self._words else middle
            for position in kind(max(0, low - 2), until):
                start = skip_space(self._text, position)
                if low <= start < until:
                    return start
        return None

    def whole(self, fresh: int, high: int, fits: Callable[[int, int], bool]) -> tuple[int, int] | None:
        """Return the outermost block that a cut at ``high`` would part and that fits a chunk of its own.

        None where there is none that begins at ``fresh`` or later: what is parted already is not kept whole any more.
        """
        around = self._blocks.around(high)
        return next((block for block in around if block[0] >= fresh and fits(*block)), None)

    def before_heading(self, position: int, low: int) -> int:
        """Return where a heading begins, after ``low``, when ``position`` comes right after it, so that it stays with its text.

        A heading is also the head of a block of code. Without one, the position itself.
        """
        if (head := self._blocks.before_head(position, low)) < position:
            return head
        at = bisect_right(self._heading_starts, position - 1) - 1 if self._heading_starts else -1
        if at < 0:
            return position
        heading = self._outline.headings[at]
        between = self._text[heading.end : min(position, heading.end + _MOST_LOOK_AHEAD)]
        is_right_after = heading.end + len(between) >= position and not between.strip()
        return heading.start if heading.start > low and is_right_after else position

    def _headings(self, low: int, high: int) -> Sequence[int]:
        if not self._heading_starts:
            return ()
        found = self._outline.headings[
            bisect_right(self._heading_starts, low) : bisect_right(self._heading_starts, high)
        ]
        highest = min((heading.level for heading in found), default=0)
        return [heading.start for heading in found if heading.level == highest]

    def _outermost_blocks(self, low: int, high: int) -> Iterator[int]:
        return self._blocks.outermost_starts(low, skip_space(self._text, high))

    def _paragraphs(self, low: int, high: int) -> Iterable[int]:
        if self._text.find("\n", low + 1, high + 1) < 0:  # Far cheaper than a pattern, and most reaches hold none.
            return ()
        return (
            position
            for position in _starts(_PARAGRAPH, self._text, low, high)
            if not self._outline.is_in_code(position)
        )

    def _lines(self, low: int, high: int) -> Iterable[int]:
        return _starts(_LINE, self._text, low, high) if self._text.find("\n", low + 1, high + 1) >= 0 else ()

    def _sentences(self, low: int, high: int) -> Iterator[int]:
        for match in _SENTENCE.finditer(self._text, low, high + _MOST_LOOK_AHEAD):
            if low < match.end() <= high and is_cluster_boundary(self._text, match.end()):
                yield match.end()

    def _paragraphs_and_sentences(self, low: int, high: int) -> Iterator[int]:
        yield from sorted((*self._paragraphs(low, high), *self._sentences(low, high)))

    def _words(self, low: int, high: int) -> Iterator[int]:
        return (
            position for position in _starts(_WORD, self._text, low, high) if is_cluster_boundary(self._text, position)
        )


def skip_space(text: str, start: int) -> int:
    """Return the position of the first character from ``start`` on that is no white space, or the text's end."""
    found = _NON_SPACE.search(text, start)
    return found.start() if found else len(text)


def strip_space(text: str, start: int, end: int) -> int:
    """Return where ``text[start:end]`` ends without the white space at its end."""
    return start + len(text[start:end].rstrip())


def last_cluster_boundary(text: str, start: int, high: int) -> int | None:
    """Return the last place in ``start < position <= high`` between two grapheme clusters, given that ``start`` is one."""
    if high >= len(text) or _PLAIN_PAIR.match(text, high - 1):
        return high
    return max((end for end in _cluster_ends(text, start, high + 1) if end <= high), default=None)


def first_cluster_boundary(text: str, start: int, low: int, high: int) -> int | None:
    """Return the first place in ``low <= position < high`` between two grapheme clusters, given that ``start`` is one."""
    if low > start and _PLAIN_PAIR.match(text, low - 1):
        return low if low < high else None
    return next((end for end in _cluster_ends(text, start, high) if low <= end < high), None)


def cluster_end(text: str, start: int, most_chars: int) -> int | None:
    """Return where the grapheme cluster at ``start`` ends; None when it is longer than ``most_chars``."""
    end = next(_cluster_ends(text, start, start + most_chars + 1))
    return end if end <= start + most_chars else None


def _cluster_ends(text: str, start: int, high: int) -> Iterator[int]:
    """Find the ends of the clusters from ``start``, which is one's beginning, as if the text ended at ``high``.

    It is done by short slices, since ``regex`` looks back from each flag to the first flag of the text that it is given.
    """
    while start < high:
        ends = [
            start + int(cluster.end()) for cluster in _CLUSTER.finditer(text[start : min(high, start + _SLICE_CHARS)])
        ]
        if ends[-1] < high and len(ends) > 1:
            ends.pop()  # The slice may have cut it.
        elif ends[-1] < high:
            ends = [start + int(_CLUSTER.match(text[start:high]).end())]
        yield from ends
        start = ends[-1]


def _starts(pattern: re.Pattern[str], text: str, low: int, high: int) -> Iterator[int]:
    for match in pattern.finditer(text, low + 1, high + _MOST_LOOK_AHEAD):
        if match.start() > high:
            return
        yield match.start()


def is_cluster_boundary(text: str, position: int) -> bool:
    """Tell whether nothing at ``position`` clings to the character before it, which is punctuation or white space."""
    if position >= len(text) or text[position] < "\u0300":
        return True
    return bool(_CLUSTER.match(text[position - 1 : position + 1]).end() == 1)
