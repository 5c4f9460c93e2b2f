"""Turns SIGINT and SIGTERM into a clean stop: no new requests, answers in flight are journaled, then the run ends.

The secret kept is who has to hear of a signal: the clients of this process, and workers elsewhere through the run's folder.
"""

import _thread
import signal
import threading
from types import FrameType
from typing import Any

from transforms.clients.open_client import any_client_open, stop_clients
from transforms.errors import RunInterrupted
from transforms.storage.run_folder import RunFolder

INTERRUPTED = (
    "the run was interrupted; every answer that had arrived is in the journal, and the same command goes on from there"
)


class Interruption:
    """Hears the signals during a run.

    The handler only sets a flag: it runs on the main thread, which may hold any lock. A second signal, or one before anything
    could have been paid, ends the run at once; that is safe at any moment, only answers in flight would be paid again.
    """

    def __init__(self, folder: RunFolder) -> None:
        self._folder = folder
        self._flag = threading.Event()
        self._over = threading.Event()
        self._before: dict[int, Any] = {}

    @property
    def happened(self) -> bool:
        """Whether somebody has asked the run to stop."""
        return self._flag.is_set()

    def take_signals(self) -> None:
        """Install the handlers, and once more after an engine has put its own in their place."""
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                before = signal.signal(number, self._handle)
                self._before.setdefault(number, before)

    def __enter__(self) -> "Interruption":
        self.take_signals()
        self._watcher = threading.Thread(target=self._watch, name="interruption", daemon=True)
        self._watcher.start()
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._over.set()
        self._flag.set()
        self._watcher.join()

    def _handle(self, number: int, frame: FrameType | None) -> None:
        repeated = self._flag.is_set()
        self._flag.set()
        if repeated:
            raise KeyboardInterrupt

    def _watch(self) -> None:
        self._flag.wait()
        if self._over.is_set():
            return
        self._folder.stop(RunInterrupted.__name__, INTERRUPTED)
        stop_clients(INTERRUPTED)
        if not any_client_open() and self._folder.bill() is None:
            _thread.interrupt_main()  # nobody, here or on a worker elsewhere, sends a request before the bill is there
