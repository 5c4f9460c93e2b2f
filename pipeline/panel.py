"""How far a run is, in words: from what its processes leave in its folder, so it is the same on every engine."""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from transforms.core.wording import duration_text
from transforms.storage.run_folder import RunFolder

_WINDOW_SECONDS = 60.0
_ENOUGH_SECONDS = 4.0
_MOST_PROCESSES = 100
"""Whose notes on reading are read at each look; each is a request on gs://."""

_SUMS = (
    "texts",
    "prompt_tokens",
    "requests",
    "requests_retried",
    "requests_throttled",
    "requests_in_flight",
    "tokens_wasted",
)


@dataclass(frozen=True, slots=True)
class Look:
    """What a run's folder says at one time: the bill once it is known, and the notes of all processes."""

    bill: Mapping[str, Any] | None = None
    reading: Sequence[Mapping[str, Any]] = ()
    embedding: Sequence[Mapping[str, Any]] = ()


def look_at(folder: RunFolder, bill: Mapping[str, Any] | None) -> Look | None:
    """Look into a run's folder; a bill that is known already is not read again.

    Returns:
        None when the store did not answer: the run goes on, and the next look may tell.
    """
    try:
        bill = bill or folder.bill()
        if bill is None:
            return Look(reading=folder.notes("reading", _MOST_PROCESSES)[0])
        return Look(bill, embedding=folder.progress())
    except OSError:
        return None


@dataclass
class RecentRate:
    """How fast a count has grown over the last minute: steady enough to foretell the end, recent enough to be true."""

    _seen: deque[tuple[float, float]] = field(default_factory=deque)

    def observe(self, now: float, count: float) -> None:
        """Note a count at a time, in seconds."""
        if self._seen and self._seen[-1][1] == count:
            return
        self._seen.append((now, count))
        while now - self._seen[0][0] > _WINDOW_SECONDS and len(self._seen) > 2:
            self._seen.popleft()

    def per_second(self, now: float) -> float | None:
        """Return the rate; None while too little was seen to tell."""
        if len(self._seen) < 2 or now - self._seen[0][0] < _ENOUGH_SECONDS:
            return None
        (began, first), (last_seen, last) = self._seen[0], self._seen[-1]
        # Counts come in steps: the time since the last step counts only when it is longer than steps usually are.
        usual = (last_seen - began) / (len(self._seen) - 1)
        return (last - first) / (last_seen - began + max(0.0, now - last_seen - usual))


@dataclass
class Panel:
    """The state of a run as far as it has been noted.

    Attributes:
        tokens_per_minute: the stated quota, None for none.
        requests_per_minute: likewise.
    """

    tokens_per_minute: int | None = None
    requests_per_minute: int | None = None
    bill: Mapping[str, Any] | None = None
    _now: float = 0.0
    _began: float | None = None
    _texts: RecentRate = field(default_factory=RecentRate)
    _tokens: RecentRate = field(default_factory=RecentRate)
    _requests: RecentRate = field(default_factory=RecentRate)
    _sums: dict[str, int] = field(default_factory=dict)
    _read: dict[str, int] = field(default_factory=dict)

    def observe(self, now: float, look: Look) -> None:
        """Take in what the run's folder says at a time, in seconds."""
        self._began = now if self._began is None else self._began
        self._now, self.bill = now, look.bill
        self._sums = {name: sum(note.get(name, 0) for note in look.embedding) for name in _SUMS}
        if look.bill is None:
            names = ("files", "documents", "chunks", "tokens")
            self._read = {name: sum(note.get(name, 0) for note in look.reading) for name in names}
        else:
            self._texts.observe(now, self._sums["texts"])
            self._tokens.observe(now, self._sums["prompt_tokens"])
            self._requests.observe(now, self._sums["requests"])

    def phase(self) -> str:
        """Name what the run is at."""
        if self.bill is None:
            return "reading, chunking and planning"
        if self._sums["texts"] < self.bill["texts_to_embed"]:
            return "embedding"
        return "writing and committing"

    def progress(self) -> tuple[int, int] | None:
        """Return how many texts are done, of how many; None while that is not known, or when there are none."""
        if self.bill is None or not self.bill["texts_to_embed"]:
            return None
        return self._sums["texts"], self.bill["texts_to_embed"]

    def lines(self) -> list[str]:
        """Say how far the run is."""
        elapsed = _whole(self._now - (self._began or 0.0))
        if self.bill is None:
            return [f"{self.phase()}, for {elapsed}", *self._reading_line()]
        if not self.bill["texts_to_embed"]:
            return [f"{self.phase()}, for {elapsed}"]
        return [f"{self.phase()}, for {elapsed}{self._left()}", self._texts_line(), self._requests_line()]

    def _reading_line(self) -> list[str]:
        read = self._read
        if not read.get("documents"):
            return [f"{read['files']:,} files found"] if read.get("files") else []
        found = f" from {read['files']:,} files" if read["files"] else ""
        return [
            f"{read['documents']:,} documents{found}, {read['chunks']:,} chunks, {read['tokens']:,} tokens so far",
        ]

    def _left(self) -> str:
        rate = self._texts.per_second(self._now)
        missing = self.bill["texts_to_embed"] - self._sums["texts"] if self.bill else 0
        return f", about {_rounded(missing / rate)} left" if rate and missing > 0 else ""

    def _texts_line(self) -> str:
        bill = self.bill or {}
        line = f"{self._sums['texts']:,} of {bill['texts_to_embed']:,} texts, {self._sums['prompt_tokens']:,} tokens"
        rate = self._tokens.per_second(self._now)
        if rate:
            line += f", {rate:,.0f} tokens/s{_share(rate, self.tokens_per_minute)}"
        price = bill["price_per_million_tokens"]
        if price:
            line += f", {self._sums['prompt_tokens'] * price / 1e6:.4f} of {bill['cost_usd']:.4f} USD"
        return line

    def _requests_line(self) -> str:
        words = f"{self._sums['requests']:,} requests"
        rate = self._requests.per_second(self._now)
        if rate and self.requests_per_minute:
            words += f", {60 * rate:,.0f} a minute{_share(rate, self.requests_per_minute)}"
        for name, word in (
            ("requests_in_flight", "in flight"),
            ("requests_retried", "retried"),
            ("requests_throttled", "throttled (429)"),
        ):
            words += f", {self._sums[name]:,} {word}" if self._sums[name] else ""
        if self._sums["tokens_wasted"]:
            words += f", about {self._sums['tokens_wasted']:,} tokens wasted"
        return words


def _share(per_second: float, per_minute: int | None) -> str:
    return f" ({60 * per_second / per_minute:.0%} of the quota)" if per_minute else ""


def _rounded(seconds: float) -> str:
    """Say a time that is a guess, no finer than it is known."""
    for above, step in ((3600.0, 300), (600.0, 60), (60.0, 15), (10.0, 5)):
        if seconds >= above:
            return _whole(step * round(seconds / step))
    return _whole(max(1.0, seconds))


def _whole(seconds: float) -> str:
    return duration_text(round(seconds)).replace(".0 s", " s")
