"""Texts that say nearly the same, found by their vectors among a few thousand.

Vectors are first compared after a projection to few dimensions, which keeps distances about right; what is close there is
compared in full. Far-off pairs cost little, and of pairs at the limit about one in 2,000 is missed.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from transforms.core.corpus_map import Floats, unit_length

COSINE = 0.97
"""At or above it texts differ by a word, a date or a number: measured on prose with single words replaced."""

_PROJECTED = 64
_BLOCK = 512
_SLACK = 1.7
"""A squared distance after projection to 64 dimensions is above the true one by this factor in 1 of 2,000 cases."""
_MOST_PRODUCTS = 300_000_000
"""Multiplications for full comparisons: half a second. Reached only where most texts are almost, not quite, that near."""


@dataclass(frozen=True, slots=True)
class Group:
    """Texts that are near the first of them.

    Attributes:
        rows: in ascending order, at least two; each row is in one group at most.
        least_cosine: of the first with any other.
    """

    rows: tuple[int, ...]
    least_cosine: float


def find_near_duplicates(vectors: Floats, cosine: float = COSINE) -> list[Group]:
    """Group rows by the first row that they are near to, the largest groups first.

    Args:
        vectors: ``rows x dimension`` of different texts; lengths do not matter.
    """
    unit = unit_length(vectors)
    small = _project(unit)
    taken = np.zeros(len(unit), bool)
    groups: list[Group] = []
    left = _MOST_PRODUCTS
    for start in range(0, len(unit), _BLOCK):
        near = _near_after(small, start, _SLACK * 2 * (1 - cosine))
        for row in start + np.flatnonzero(near.any(axis=1)):
            if taken[row] or left <= 0:
                continue
            others = start + np.flatnonzero(near[row - start] & ~taken[start:])
            left -= len(others) * unit.shape[1]
            cosines = unit[others] @ unit[row]
            others, cosines = others[cosines >= cosine], cosines[cosines >= cosine]
            if len(others):
                taken[others] = taken[row] = True
                groups.append(Group((int(row), *others.tolist()), float(cosines.min())))
    return sorted(groups, key=lambda group: (-len(group.rows), group.rows))


def _project(unit: Floats) -> Floats:
    """Project to few dimensions by a fixed random matrix: always the same one for a dimension."""
    dimension = unit.shape[1]
    if dimension <= _PROJECTED:
        return unit
    matrix = np.random.default_rng(0).standard_normal((dimension, _PROJECTED), dtype=np.float32)
    projected: Floats = unit @ (matrix / np.float32(np.sqrt(_PROJECTED)))
    return projected


def _near_after(small: Floats, start: int, limit: float) -> npt.NDArray[np.bool_]:
    """Return which rows from ``start`` on are near each row of a block, only pairs with the later row to the right."""
    block, rest = small[start : start + _BLOCK], small[start:]
    squares = np.square(rest).sum(axis=1)
    distances = squares[: len(block), None] + squares[None, :] - 2 * (block @ rest.T)
    return np.triu(distances <= limit, 1)
