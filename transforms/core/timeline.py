"""What a run did over time: counts by interval, bounded in size however long it took, and added up over processes."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from transforms.core.latency import CLASSES, percentile_seconds
from transforms.records import Usage

INTERVALS = 96
"""Most that one process keeps; when there are more, neighbours become one."""
COLUMNS = 60
"""Of a picture: a finger's width on a phone is three of them."""

COUNTS = ("texts", "requests", "requests_retried", "requests_throttled", "prompt_tokens")


@dataclass(frozen=True, slots=True)
class Interval:
    """What happened between two times.

    Attributes:
        begin: seconds since the process began to count; ``end`` likewise.
        counts: in the order of COUNTS.
        latencies: answered requests by class of latency (``core.latency``).
    """

    begin: float
    end: float
    counts: tuple[float, ...]
    latencies: Mapping[int, float]

    def joined(self, later: "Interval") -> "Interval":
        """Return both as one interval."""
        latencies = dict(self.latencies)
        for one, count in later.latencies.items():
            latencies[one] = latencies.get(one, 0) + count
        counts = tuple(a + b for a, b in zip(self.counts, later.counts, strict=True))
        return Interval(self.begin, later.end, counts, latencies)


@dataclass
class Timeline:
    """One process's intervals, made from its running totals; not for several threads."""

    intervals: list[Interval] = field(default_factory=list)
    _texts: int = 0
    _usage: Usage = field(default_factory=Usage)
    _at: float = 0.0

    def observe(self, now: float, texts: int, usage: Usage) -> None:
        """Take in the totals at a time, in seconds since the process began to count."""
        new = usage - self._usage
        counts = (texts - self._texts, *(getattr(new, name) for name in COUNTS[1:]))
        latencies = {one: count for one, count in enumerate(new.latencies) if count}
        if any(counts) or latencies:
            self.intervals.append(Interval(self._at, now, counts, latencies))
        self._texts, self._usage, self._at = texts, usage, now
        if len(self.intervals) > INTERVALS:
            pairs = zip(self.intervals[::2], self.intervals[1::2], strict=False)
            rest = self.intervals[-1:] if len(self.intervals) % 2 else []
            self.intervals = [first.joined(second) for first, second in pairs] + rest

    def to_json(self) -> list[list[Any]]:
        """Return the intervals as plain lists; the names of counts are left out, they are always the same."""
        return [
            [round(one.begin, 2), round(one.end, 2), list(one.counts), sorted(one.latencies.items())]
            for one in self.intervals
        ]


def intervals_from_json(found: Iterable[Sequence[Any]], shift: float) -> list[Interval]:
    """Read intervals back, moved to a later begin by ``shift`` seconds."""
    return [
        Interval(begin + shift, end + shift, tuple(counts), {int(one): count for one, count in latencies})
        for begin, end, counts, latencies in found
    ]


@dataclass(frozen=True, slots=True)
class Column:
    """One step of time over all processes.

    Attributes:
        begin: seconds since the first interval's begin.
        seconds: how long the step is.
        counts: by the names of COUNTS; fractions, where an interval reaches over several steps.
        median_seconds: of the latency of requests that were answered, None without any; ``slow_seconds`` is exceeded by 5 %.
    """

    begin: float
    seconds: float
    counts: Mapping[str, float]
    median_seconds: float | None
    slow_seconds: float | None


def add_up(intervals: Sequence[Interval]) -> list[Column]:
    """Return all processes' intervals as at most COLUMNS equal steps of time, each count shared out by overlap."""
    whole = [one for one in intervals if one.end >= one.begin]
    if not whole:
        return []
    begin, end = min(one.begin for one in whole), max(one.end for one in whole)
    usual = sorted(one.end - one.begin for one in whole)[len(whole) // 2]
    number = max(1, min(COLUMNS, int((end - begin) / max(usual, 0.25))))
    step = max(end - begin, 0.001) / number
    counts = [[0.0] * len(COUNTS) for _ in range(number)]
    latencies = [[0.0] * CLASSES for _ in range(number)]
    for one in whole:
        for at, share in _shares(one.begin - begin, one.end - begin, step, number):
            counts[at] = [sum_ + share * count for sum_, count in zip(counts[at], one.counts, strict=True)]
            for latency, count in one.latencies.items():
                latencies[at][latency] += share * count
    return [
        Column(
            at * step,
            step,
            dict(zip(COUNTS, counts[at], strict=True)),
            percentile_seconds(latencies[at], 0.5),
            percentile_seconds(latencies[at], 0.95),
        )
        for at in range(number)
    ]


def _shares(begin: float, end: float, step: float, number: int) -> list[tuple[int, float]]:
    """Return which steps an interval touches, and which fraction of it lies in each."""
    first, last = min(number - 1, int(begin / step)), min(number - 1, int(end / step))
    if first == last or end <= begin:
        return [(first, 1.0)]
    return [(at, (min(end, (at + 1) * step) - max(begin, at * step)) / (end - begin)) for at in range(first, last + 1)]
