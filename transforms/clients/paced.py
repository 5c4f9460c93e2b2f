"""Threads wait here until the pace allows their next request; the arithmetic is ``core/pacing.py``."""

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar

from transforms.clients.run_switch import RunSwitch
from transforms.core import pacing
from transforms.core.pacing import Admission, Announced, PaceSettings, PaceState

T = TypeVar("T")

_SLOT_POLL_SECONDS = 0.02
_LONGEST_NAP_SECONDS = 1.0


class PaceCell(Protocol):
    """Where the pace's state lies: in this process, or in a file that several processes share."""

    def change(self, step: Callable[[PaceState], tuple[PaceState, T]]) -> T:
        """Replace the state by what ``step`` makes of it, with nobody else in between."""
        ...

    def take_slot(self, limit: int) -> int | None:
        """Take one of the first ``limit`` places in flight; None when all are taken."""
        ...

    def give_slot(self, slot: int) -> None:
        """Give a place in flight back."""
        ...

    def close(self) -> None:
        """Leave; what other processes share stays."""
        ...


class MemoryCell:
    """The pace of one process."""

    def __init__(self, state: PaceState) -> None:
        self._state = state
        self._lock = threading.Lock()
        self._taken: set[int] = set()

    def change(self, step: Callable[[PaceState], tuple[PaceState, T]]) -> T:
        with self._lock:
            self._state, result = step(self._state)
            return result

    def take_slot(self, limit: int) -> int | None:
        with self._lock:
            for slot in range(limit):
                if slot not in self._taken:
                    self._taken.add(slot)
                    return slot
            return None

    def give_slot(self, slot: int) -> None:
        with self._lock:
            self._taken.discard(slot)

    def close(self) -> None:
        return None


@dataclass(frozen=True, slots=True)
class Ticket:
    """One admitted attempt.

    Attributes:
        sent_at: on the pacer's clock.
        requests: charged against requests per minute.
        tokens: charged against tokens per minute.
        slot: its place in flight.
    """

    sent_at: float
    requests: float
    tokens: float
    slot: int


class Pacer:
    """Let attempts go at the pace of a shared state, first come first served.

    One thread at a time asks for admission while the others queue behind it, so that no request is overtaken for ever and
    no crowd wakes at once. Stopping the switch frees all of them at once.

    Args:
        wait: sleeps at most so many seconds, less when a place in flight is given back; a test moves its clock instead.
    """

    def __init__(
        self,
        settings: PaceSettings,
        cell: PaceCell,
        switch: RunSwitch,
        *,
        clock: Callable[[], float] = time.monotonic,
        jitter: Callable[[], float] = random.random,
        wait: Callable[[float], None] | None = None,
    ) -> None:
        self._settings = settings
        self._cell = cell
        self._switch = switch
        self._clock = clock
        self._jitter = jitter
        self._freed = threading.Event()
        self._wait = wait if wait is not None else self._nap
        switch.when_turned_off(self._freed.set)
        self._turnstile = threading.Lock()
        self._counts = threading.Lock()
        self._held_by: dict[str, float] = {}

    def admit(self, requests: float, tokens: float) -> Ticket:
        """Wait for a place in flight and for the pace, then charge the attempt.

        Raises:
            FatalError: the run was stopped while waiting.
        """
        with self._turnstile:
            slot = self._take_slot()
            try:
                return self._take_turn(requests, tokens, slot)
            except BaseException:
                self._cell.give_slot(slot)
                raise

    def release(self, ticket: Ticket) -> None:
        """Give the place in flight back, as soon as the answer is read."""
        self._cell.give_slot(ticket.slot)
        self._freed.set()

    def accepted(self, ticket: Ticket, tokens_reported: int, announced: Announced) -> None:
        """Learn from a good answer."""
        now = self._clock()

        def step(state: PaceState) -> tuple[PaceState, None]:
            state = pacing.announce(state, self._settings, now, announced, ticket.tokens)
            return pacing.accept(
                state, self._settings, now, ticket.sent_at, ticket.requests, ticket.tokens, tokens_reported
            ), None

        self._cell.change(step)

    def refused(self, ticket: Ticket, wait_seconds: float | None, announced: Announced) -> None:
        """Learn from an answer that said "too many"."""
        now, jitter = self._clock(), self._jitter()

        def step(state: PaceState) -> tuple[PaceState, None]:
            state = pacing.announce(state, self._settings, now, announced, ticket.tokens)
            return pacing.refuse(state, now, ticket.sent_at, wait_seconds or 0.0, jitter), None

        self._cell.change(step)

    def saturated(self, ticket: Ticket) -> None:
        """Learn from a server that is overloaded or too slow."""
        now = self._clock()
        self._cell.change(lambda state: (pacing.saturate(state, now, ticket.sent_at), None))

    def dropped(self, ticket: Ticket) -> None:
        """Note a failure that says nothing about the pace."""
        self._cell.change(lambda state: (pacing.drop(state, ticket.sent_at), None))

    def held_by(self) -> dict[str, float]:
        """Give the seconds that the first of the queue waited, by what it waited for.

        Only one thread is first, so these are seconds of the wall clock, at most as many as have passed.
        """
        with self._counts:
            return dict(self._held_by)

    def close(self) -> None:
        """Leave the shared state."""
        self._cell.close()

    def _take_slot(self) -> int:
        while True:
            self._switch.check()
            self._freed.clear()
            limit = self._cell.change(lambda state: (state, int(state.concurrency)))
            slot = self._cell.take_slot(max(1, limit))
            if slot is not None:
                return slot
            self._hold("concurrency" if limit >= self._settings.concurrency else "server", _SLOT_POLL_SECONDS)

    def _take_turn(self, requests: float, tokens: float, slot: int) -> Ticket:
        while True:
            self._switch.check()
            self._freed.clear()
            now = self._clock()

            def step(state: PaceState, now: float = now) -> tuple[PaceState, Admission]:
                return pacing.admit(state, now, requests, tokens)

            admission = self._cell.change(step)
            if admission.wait_seconds <= 0:
                return Ticket(now, requests, tokens, slot)
            self._hold(admission.held_by, min(admission.wait_seconds, _LONGEST_NAP_SECONDS))

    def _hold(self, held_by: str, seconds: float) -> None:
        began = self._clock()
        self._wait(seconds)
        with self._counts:
            self._held_by[held_by] = self._held_by.get(held_by, 0.0) + self._clock() - began

    def _nap(self, seconds: float) -> None:
        self._freed.wait(seconds)
