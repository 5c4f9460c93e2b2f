"""A discrete-event simulation that drives the real limiter against servers with a quota, on a clock that jumps.

Clients are many threads in one or several processes, as the pacer runs them: the first of the queue asks for admission,
the others wait behind it. Nothing here decides how fast anybody sends; that is ``transforms.core.pacing`` alone.
"""

import heapq
import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from pipeline.rehearsal import WindowLimiter
from transforms.core import pacing
from transforms.core.pacing import Announced, PaceSettings, PaceState


@dataclass
class Server:
    """Holds a quota of requests and of tokens; a refused request costs nothing."""

    kind: str
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    announces: bool = True
    random_refusals: float = 0.0
    chance: random.Random = field(default_factory=lambda: random.Random(7))

    def __post_init__(self) -> None:
        self.requests = WindowLimiter(self.kind, self.requests_per_minute, 0.0) if self.requests_per_minute else None
        self.tokens = WindowLimiter(self.kind, self.tokens_per_minute, 0.0) if self.tokens_per_minute else None

    def admits(self, now: float, tokens: float) -> bool:
        pairs = [(self.requests, 1.0), (self.tokens, tokens)]
        if self.chance.random() < self.random_refusals:
            return False
        if any(limiter.wait(now, cost) > 0 for limiter, cost in pairs if limiter is not None):
            return False
        for limiter, cost in pairs:
            if limiter is not None:
                limiter.charge(now, cost)
        return True

    def headers(self, now: float) -> Announced:
        if not self.announces:
            return Announced()
        found = Announced()
        if self.requests is not None:
            found = replace(
                found, requests_limit=self.requests.limit, requests_remaining=max(0.0, self.requests.remaining(now))
            )
        if self.tokens is not None:
            found = replace(
                found, tokens_limit=self.tokens.limit, tokens_remaining=max(0.0, self.tokens.remaining(now))
            )
        return found


@dataclass(order=True)
class _Event:
    at: float
    number: int
    happen: Callable[[], None] = field(compare=False)


@dataclass
class Simulation:
    """Drive one shared pace state; ``accepted`` and ``refused`` hold (time at the server, tokens)."""

    server: Server
    settings: PaceSettings
    places: int = 16
    latency: float = 0.2
    latency_jitter: float = 0.1
    tokens: Callable[[random.Random], float] = lambda chance: 100.0
    chance: random.Random = field(default_factory=lambda: random.Random(11))
    accepted: list[tuple[float, float]] = field(default_factory=list)
    refused: list[tuple[float, float]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.now = 0.0
        self.state: PaceState = pacing.open_pace(self.settings, 0.0)
        self.in_flight = 0
        self.events: list[_Event] = []
        self.number = 0
        self.next_tokens = self.tokens(self.chance)
        self.polling = False
        self.later(0.0, self.poll)

    def later(self, seconds: float, happen: Callable[[], None]) -> None:
        self.number += 1
        heapq.heappush(self.events, _Event(self.now + seconds, self.number, happen))

    def run(self, until: float, at: dict[float, Callable[[], None]] | None = None) -> "Simulation":
        for moment, happen in (at or {}).items():
            self.later(moment - self.now, happen)
        while self.events and self.events[0].at <= until:
            event = heapq.heappop(self.events)
            self.now = event.at
            event.happen()
        return self

    def poll(self) -> None:
        """The first of the queue asks; when it may not go, it asks again after the wait it was told."""
        self.polling = False
        while self.in_flight < min(self.places, max(1, int(self.state.concurrency))):
            self.state, admission = pacing.admit(self.state, self.now, 1.0, self.next_tokens)
            if admission.wait_seconds > 0:
                self.polling = True
                # An operating system wakes a thread a little late, never early.
                self.later(min(1.0, admission.wait_seconds) + 0.001 * self.chance.random(), self.poll)
                return
            self.send(self.now, self.next_tokens)
            self.next_tokens = self.tokens(self.chance)

    def send(self, sent_at: float, tokens: float) -> None:
        self.in_flight += 1
        trip = self.latency + self.latency_jitter * (2 * self.chance.random() - 1)
        self.later(0.3 * trip, lambda: self.arrive(sent_at, tokens, 0.7 * trip))

    def arrive(self, sent_at: float, tokens: float, back: float) -> None:
        good = self.server.admits(self.now, tokens)
        (self.accepted if good else self.refused).append((self.now, tokens))
        headers = self.server.headers(self.now)
        self.later(back if good else 0.02, lambda: self.answer(sent_at, tokens, good, headers))

    def answer(self, sent_at: float, tokens: float, good: bool, headers: Announced) -> None:
        self.in_flight -= 1
        self.state = pacing.announce(self.state, self.settings, self.now, headers, tokens)
        if good:
            self.state = pacing.accept(self.state, self.settings, self.now, sent_at, 1.0, tokens, tokens)
        else:
            self.state = pacing.refuse(self.state, self.now, sent_at, 0.0, self.chance.random())
        if not self.polling:
            self.poll()

    def used(
        self, per_minute: float, start: float, end: float, weigh: Callable[[float], float] = lambda _: 1.0
    ) -> float:
        """Share of a quota that was used between two moments."""
        return sum(weigh(tokens) for at, tokens in self.accepted if start <= at < end) / (
            per_minute / 60 * (end - start)
        )

    def refused_share(self, start: float = 0.0, end: float = math.inf) -> float:
        """Share of the requests between two moments that were refused."""
        refused = sum(start <= at < end for at, _ in self.refused)
        good = sum(start <= at < end for at, _ in self.accepted)
        return refused / max(1, refused + good)
