"""Parts of a text that belong together and may lie inside one another; the secret kept here is how they are found again."""

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator

MOST_DEPTH = 40
"""Blocks nest this deep; what lies deeper belongs to the block around it, so that a search never takes more steps."""


class Blocks:
    """Blocks of one text, each inside another or beside it, kept by their start; positions are code points."""

    def __init__(self, beside: Iterable[tuple[int, int]] = ()) -> None:
        self._starts, self._ends = array("q"), array("q")
        self._depths, self._parents = array("b"), array("q")
        for start, end in beside:
            self.close(self.open(start, 0), end)

    def open(self, start: int, depth: int, parent: int = -1) -> int:
        """Begin a block at or after the start of the one before it; returns its number."""
        self._starts.append(start)
        self._ends.append(start)
        self._depths.append(depth)
        self._parents.append(parent)
        return len(self._starts) - 1

    def close(self, number: int, end: int) -> None:
        """End a block."""
        self._ends[number] = end

    def around(self, position: int) -> list[tuple[int, int]]:
        """Return start and end of each block that begins before a position and ends after it, the outermost first."""
        found = []
        number = bisect_left(self._starts, position) - 1
        while number >= 0:
            if self._ends[number] > position:
                found.append((self._starts[number], self._ends[number]))
            number = self._parents[number]
        return found[::-1]

    def before_head(self, position: int, low: int) -> int:
        """Return where the blocks begin, after ``low``, whose first inner block begins at a position; else the position.

        What stands between is a head: the line of a ``class`` or ``def``, with its comment.
        """
        number = bisect_left(self._starts, position)
        if number == len(self._starts) or self._starts[number] != position:
            return position
        while number and self._parents[number] == number - 1 and self._starts[number - 1] > low:
            number -= 1
        return self._starts[number]

    def outermost_starts(self, low: int, high: int) -> Iterator[int]:
        """Return where blocks begin in ``low < start <= high``: those only that lie in the fewest others."""
        first, last = bisect_right(self._starts, low), bisect_right(self._starts, high)
        least = min(self._depths[first:last], default=0)
        return (self._starts[at] for at in range(first, last) if self._depths[at] == least)
