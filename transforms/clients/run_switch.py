"""The flag that stops every thread of a client at once, and the reason why."""

import threading
from collections.abc import Callable

from transforms.errors import FatalError, RunInterrupted


class RunSwitch:
    """On until somebody turns it off; the first reason stays."""

    def __init__(self) -> None:
        self._off = threading.Event()
        self._lock = threading.RLock()  # a signal handler may turn the switch off while its own thread does
        self._error: BaseException | None = None
        self._listeners: list[Callable[[], None]] = []

    def when_turned_off(self, listener: Callable[[], None]) -> None:
        """Call ``listener`` once the switch is turned off; it wakes whoever sleeps on something else than ``wait``."""
        self._listeners.append(listener)

    def turn_off(self, error: BaseException) -> None:
        """Stop all threads with this error; a later error changes nothing."""
        with self._lock:
            if self._error is None:
                self._error = error
                self._off.set()
        for listener in self._listeners:
            listener()

    @property
    def is_off(self) -> bool:
        """Whether no further request may be sent."""
        return self._off.is_set()

    def check(self) -> None:
        """Raise the reason when the switch is off, a fresh error for each thread that asks."""
        error = self._error
        if error is None:
            return
        if isinstance(error, FatalError):
            raise type(error)(str(error))
        raise RunInterrupted(f"stopped because an answer could not be kept: {error}") from error

    def wait(self, seconds: float) -> None:
        """Sleep, or raise the reason as soon as the switch is turned off."""
        self._off.wait(seconds)
        self.check()
