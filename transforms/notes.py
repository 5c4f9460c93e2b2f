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
        self._texts = self._others = 0
        self._started = self._written = clock()

    def add(self, texts: int, client: EmbeddingClient) -> int:
        """Count texts that were answered, and leave a note when the last one is old.

        Returns:
            Tokens that all processes of the run have been charged; those of others as of their last note.
        """
        usage = client.usage()
        with self._lock:
            self._texts += texts
            now = self._clock()
            if now - self._written >= _EVERY_SECONDS:
                self._written = now
                self._exchange(
                    {"process": self._process, "texts": self._texts, "seconds": now - self._started, **asdict(usage)}
                )
            return usage.prompt_tokens + self._others

    def _exchange(self, note: dict[str, object]) -> None:
        self._folder.write_progress(self._process, note)
        others = [one for one in self._folder.progress() if one["process"] != self._process]
        self._others = sum(one["prompt_tokens"] for one in others)
