"""How far two rankings of nearest neighbours agree, and how sure a sample makes us of it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Neighbours = npt.NDArray[np.int64]
"""Row numbers, nearest first: ``queries x k``."""

_Z_95 = 1.959964


@dataclass(frozen=True, slots=True)
class Share:
    """A mean over a sample of queries, with its 95 % interval.

    Attributes:
        mean: between 0 and 1.
        low: lower end of the interval.
        high: upper end.
        queries: size of the sample.
    """

    mean: float
    low: float
    high: float
    queries: int


def overlaps(ours: Neighbours, theirs: Neighbours, k: int) -> npt.NDArray[np.float64]:
    """Return for each query the share of the first ``k`` of ``theirs`` that are among the first ``k`` of ``ours``."""
    pairs = zip(ours[:, :k], theirs[:, :k], strict=True)
    return np.array([len(np.intersect1d(one, other)) / len(other) for one, other in pairs])


def rank_biased_overlap(ours: Sequence[int], theirs: Sequence[int], persistence: float = 0.9) -> float:
    """Return how far two rankings of equal length agree, with more weight on their heads: 0 for nothing, 1 for the same.

    Extrapolated from the depth given, that is on the assumption that the agreement goes on as it is at the end.

    Source: Webber, Moffat, Zobel, "A similarity measure for indefinite rankings" (2010), equation 23 for equal lengths.
    """
    seen_ours: set[int] = set()
    seen_theirs: set[int] = set()
    total, agreement, weight = 0.0, 0.0, 1.0
    for depth, (one, other) in enumerate(zip(ours, theirs, strict=True), 1):
        seen_ours.add(one)
        seen_theirs.add(other)
        weight *= persistence
        agreement = len(seen_ours & seen_theirs) / depth
        total += agreement * weight
    return min((1 - persistence) / persistence * total + agreement * weight, 1.0)


def share_of(values: npt.NDArray[np.float64]) -> Share:
    """Return the mean of values between 0 and 1 with its 95 % Wilson interval.

    The interval is that of a yes-or-no question asked as often as there are queries. A mean of shares varies less than
    that, so the true value lies inside at least as often as the interval promises, also where all values are 1.
    """
    n, mean = len(values), float(values.mean())
    centre = (mean + _Z_95**2 / (2 * n)) / (1 + _Z_95**2 / n)
    half = _Z_95 / (1 + _Z_95**2 / n) * math.sqrt(mean * (1 - mean) / n + _Z_95**2 / (4 * n * n))
    return Share(mean, max(centre - half, 0.0), min(centre + half, 1.0), n)
