"""A worker's numbers, left in the run's folder every few seconds for whoever watches the run, on any engine."""

import threading
import time
from collections.abc import Callable
from dataclasses import asdict

from transforms.clients.base import EmbeddingClient
from transforms.storage.run_folder import RunFolder

_EVERY_SECONDS = 2.0


class ProgressNotes:
    """One process's notes; for several threads. A note that is late or lost changes nothing but what a person sees."""

    def __init__(self, folder: RunFolder, process: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._folder, self._process, self._clock = folder, process, clock
        self._lock = threading.Lock()
        self._texts = 0
        self._started = self._written = clock()

    def add(self, texts: int, client: EmbeddingClient) -> None:
        """Count texts that were answered, and leave a note when the last one is old."""
        with self._lock:
            self._texts += texts
            now = self._clock()
            if now - self._written < _EVERY_SECONDS:
                return
            self._written = now
            note = {"texts": self._texts, "seconds": now - self._started, **asdict(client.usage())}
        self._folder.write_progress(self._process, note)
