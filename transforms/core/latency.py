"""How long requests took, as counts that add up: a histogram over lengths of time, and percentiles read from it.

A class is a quarter longer than the one before, so a percentile is right within an eighth, whatever the number of requests.
"""

import math
from collections.abc import Sequence

CLASSES = 52
"""The last one begins at 350 s, beyond every read timeout that makes sense."""
_SHORTEST_SECONDS = 0.005
_GROWTH = 1.25


def latency_class(seconds: float) -> int:
    """Return which class a length of time belongs to; class 0 is everything below 5 ms."""
    if seconds < _SHORTEST_SECONDS:
        return 0
    return min(CLASSES - 1, 1 + int(math.log(seconds / _SHORTEST_SECONDS, _GROWTH)))


def percentile_seconds(counts: Sequence[float], fraction: float) -> float | None:
    """Return the middle of the class that the given fraction of requests did not exceed; None without requests.

    Args:
        counts: requests in each class; they may be shares of requests.
        fraction: in (0, 1], 0.95 for the 95th percentile.
    """
    total = sum(counts)
    if total <= 0:
        return None
    seen, last = 0.0, 0
    for at, count in enumerate(counts):
        seen += count
        last = at if count else last
        if count and seen >= fraction * total:
            break
    return float(_SHORTEST_SECONDS * _GROWTH ** (last - 0.5))
