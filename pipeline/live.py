"""What a person sees on a terminal while a run goes on: the bill, and below it a panel that moves.

The secret kept is the library that draws it.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, TextIO

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from pipeline.progress import bill_lines
from transforms.core.wording import duration_text
from transforms.storage.run_folder import RunFolder

_LOOK_SECONDS = 0.5
_WINDOW_SECONDS = 60.0
_ENOUGH_SECONDS = 4.0
_BAR_WIDTH = 40


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
    """The state of a run as far as it has been noted, and how it is drawn.

    Attributes:
        tokens_per_minute: the stated quota, None for none.
    """

    tokens_per_minute: int | None = None
    bill: Mapping[str, Any] | None = None
    _now: float = 0.0
    _began: float | None = None
    _texts: RecentRate = field(default_factory=RecentRate)
    _tokens: RecentRate = field(default_factory=RecentRate)
    _sums: dict[str, int] = field(default_factory=dict)

    def observe(self, now: float, bill: Mapping[str, Any] | None, notes: Sequence[Mapping[str, Any]]) -> None:
        """Take in what the run's folder says at a time, in seconds."""
        self._began = now if self._began is None else self._began
        self._now, self.bill = now, bill
        names = ("texts", "prompt_tokens", "requests", "requests_retried", "requests_throttled", "tokens_wasted")
        self._sums = {name: sum(note.get(name, 0) for note in notes) for name in names}
        if bill is not None:
            self._texts.observe(now, self._sums["texts"])
            self._tokens.observe(now, self._sums["prompt_tokens"])

    def phase(self) -> str:
        """Name what the run is at."""
        if self.bill is None:
            return "reading, chunking and planning"
        if self._sums["texts"] < self.bill["texts_to_embed"]:
            return "embedding"
        return "writing and committing"

    def lines(self) -> list[str]:
        """Say how far the run is, in words."""
        elapsed = _whole(self._now - (self._began or 0.0))
        if self.bill is None or not self.bill["texts_to_embed"]:
            return [f"{self.phase()}, for {elapsed}"]
        return [f"{self.phase()}, for {elapsed}{self._left()}", self._texts_line(), self._requests_line()]

    def _left(self) -> str:
        rate = self._texts.per_second(self._now)
        missing = self.bill["texts_to_embed"] - self._sums["texts"] if self.bill else 0
        return f", about {_rounded(missing / rate)} left" if rate and missing > 0 else ""

    def _texts_line(self) -> str:
        bill = self.bill or {}
        line = f"{self._sums['texts']:,} of {bill['texts_to_embed']:,} texts, {self._sums['prompt_tokens']:,} tokens"
        rate = self._tokens.per_second(self._now)
        if rate:
            line += f", {rate:,.0f} tokens/s"
            line += f" ({60 * rate / self.tokens_per_minute:.0%} of the quota)" if self.tokens_per_minute else ""
        price = bill["price_per_million_tokens"]
        if price:
            line += f", {self._sums['prompt_tokens'] * price / 1e6:.4f} of {bill['cost_usd']:.4f} USD"
        return line

    def _requests_line(self) -> str:
        words = [f"{self._sums['requests']:,} requests"]
        for name, word in (("requests_retried", "retried"), ("requests_throttled", "throttled (429)")):
            words += [f"{self._sums[name]:,} {word}"] if self._sums[name] else []
        if self._sums["tokens_wasted"]:
            words.append(f"about {self._sums['tokens_wasted']:,} tokens wasted")
        return ", ".join(words)

    def draw(self, spinner: Spinner) -> RenderableType:
        """Draw the panel for a terminal of any width."""
        first, *rest = self.lines()
        head = Table.grid(padding=(0, 1))
        head.add_row(spinner, Text(first, style="bold"))
        if not rest or self.bill is None:
            return head
        done, total = self._sums["texts"], self.bill["texts_to_embed"]
        bar = Table.grid(padding=(0, 1))
        bar.add_row(ProgressBar(total=total, completed=done, width=_BAR_WIDTH), f"{done / total:.0%}")
        return Group(head, bar, *(Text(line) for line in rest))


class LiveProgress:
    """Shows a run's progress on a terminal while it is entered, from the run's folder, so on every engine.

    When it ends the panel is wiped and what was printed above it stays.
    """

    def __init__(
        self,
        folder: RunFolder,
        out: TextIO,
        tokens_per_minute: int | None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._folder, self._clock = folder, clock
        self._console = Console(file=out, highlight=False, markup=False, emoji=False)
        self._panel = Panel(tokens_per_minute)
        self._spinner = Spinner("dots")
        self._live = Live(
            console=self._console,
            transient=True,
            refresh_per_second=8,
            redirect_stdout=False,
            get_renderable=self._draw,
        )
        self._over = threading.Event()
        self._reader = threading.Thread(target=self._read, name="progress", daemon=True)

    def __enter__(self) -> "LiveProgress":
        self._look()
        self._live.start(refresh=True)
        self._reader.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._reader.join()
        self._look()
        self._live.stop()

    def _read(self) -> None:
        while not self._over.wait(_LOOK_SECONDS):
            self._look()

    def _look(self) -> None:
        before = self._panel.bill
        bill = before or self._folder.bill()
        self._panel.observe(self._clock(), bill, self._folder.progress() if bill else ())
        if bill is not None and before is None:
            self._console.print("\n".join(bill_lines(bill)), soft_wrap=True)

    def _draw(self) -> RenderableType:
        return self._panel.draw(self._spinner)


def _rounded(seconds: float) -> str:
    """Say a time that is a guess, no finer than it is known."""
    for above, step in ((3600.0, 300), (600.0, 60), (60.0, 15), (10.0, 5)):
        if seconds >= above:
            return _whole(step * round(seconds / step))
    return _whole(max(1.0, seconds))


def _whole(seconds: float) -> str:
    return duration_text(round(seconds)).replace(".0 s", " s")
