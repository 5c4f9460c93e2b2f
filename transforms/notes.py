"""A process's numbers, left in the run's folder every few seconds for whoever watches the run, on any engine.

A note that is late or lost changes nothing but what a person sees.
"""

import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field

from transforms.clients.base import EmbeddingClient
from transforms.core.timeline import Column, Timeline, add_up, intervals_from_json
from transforms.records import Usage
from transforms.storage.run_folder import RunFolder

NOTE_SECONDS = 2.0
TIMELINE_SECONDS = 10.0
_INTERVAL_SECONDS = 0.5
_PAUSE_PER_SECOND_OF_WORK = 20.0
"""With many processes, or a slow store, notes become rarer, so that they never take more than a twentieth of the time."""
_MOST_PROCESSES = 100
"""Read for the report: each is a request on gs://."""


@dataclass
class _Due:
    """When something is to be done next; it takes one thread at a time."""

    at: float
    busy: bool = False

    def begin(self, now: float, sooner_by: float = 0.0) -> bool:
        """Tell whether it is to be done now, by the caller."""
        if self.busy or now < self.at - sooner_by:
            return False
        self.busy = True
        return True

    def end(self, began: float, now: float, every_seconds: float) -> None:
        self.busy = False
        self.at = now + max(every_seconds, _PAUSE_PER_SECOND_OF_WORK * (now - began))


class ProgressNotes:
    """What one process has embedded; for several threads. Files are written on the thread that finds them due."""

    def __init__(
        self,
        folder: RunFolder,
        process: str,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._folder, self._process, self._clock = folder, process, clock
        self._lock = threading.Lock()
        self._texts = self._others = 0
        self._client: EmbeddingClient | None = None
        self._earlier, self._usage = Usage(), Usage()
        self._began, self._began_at = clock(), wall_clock()
        self._note = _Due(self._began + NOTE_SECONDS)
        self._line = _Due(self._began + TIMELINE_SECONDS - 1.0)  # so that the end of a short run finds it due
        self._timeline, self._interval_at = Timeline(), self._began

    def add(self, texts: int, client: EmbeddingClient) -> int:
        """Count texts that were answered, and leave notes when the last ones are old.

        Returns:
            Tokens that all processes of the run have been charged; those of others as of their last note.
        """
        self._count(texts, client, _INTERVAL_SECONDS, sooner_by=0.0)
        with self._lock:
            return self._usage.prompt_tokens + self._others

    def finish(self, client: EmbeddingClient) -> None:
        """Leave what is known so far: the bundle ends, and this process may not be asked again.

        Bundles can be many and short, so what was left within the last second stays as it is.
        """
        self._count(0, client, 0.0, sooner_by=TIMELINE_SECONDS - 1.0)

    def _count(self, texts: int, client: EmbeddingClient, interval_seconds: float, sooner_by: float) -> None:
        usage = client.usage()
        with self._lock:
            if client is not self._client:  # after a failed bundle there is a new one, which counts from zero
                self._client, self._earlier = client, self._usage
            self._usage, self._texts = self._earlier + usage, self._texts + texts
            now = self._clock()
            if now - self._interval_at >= interval_seconds:
                self._timeline.observe(now - self._began, self._texts, self._usage)
                self._interval_at = now
            note, line = self._note.begin(now), self._line.begin(now, sooner_by)
        if note:
            self._leave_note(now)
        if line:
            self._leave_timeline(now)

    def _leave_note(self, now: float) -> None:
        with self._lock:
            counts = asdict(self._usage)
            counts["requests_in_flight"] = self._usage.requests_in_flight
            counts["texts"] = self._texts
        del counts["latencies"]
        self._folder.write_progress(self._process, {"process": self._process, "seconds": now - self._began, **counts})
        others = [one for one in self._folder.progress() if one["process"] != self._process]
        with self._lock:
            self._others = sum(one["prompt_tokens"] for one in others)
            self._note.end(now, self._clock(), NOTE_SECONDS)

    def _leave_timeline(self, now: float) -> None:
        with self._lock:
            intervals = self._timeline.to_json()
        self._folder.write_note("timeline", self._process, {"began_at": self._began_at, "intervals": intervals})
        with self._lock:
            self._line.end(now, self._clock(), TIMELINE_SECONDS)


@dataclass
class ReadingNotes:
    """What one process has read so far; for several threads."""

    folder: RunFolder
    process: str
    clock: Callable[[], float] = time.monotonic
    _documents: int = 0
    _chunks: int = 0
    _tokens: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _note: _Due = field(default_factory=lambda: _Due(0.0))

    def add(self, chunks: int, tokens: int) -> None:
        """Count a document with its chunks and their tokens, and leave a note when the last one is old."""
        with self._lock:
            self._documents += 1
            self._chunks += chunks
            self._tokens += tokens
            began = self.clock()
            if not self._note.begin(began):
                return
            note = {"documents": self._documents, "chunks": self._chunks, "tokens": self._tokens}
        self.folder.write_note("reading", self.process, note)
        with self._lock:
            self._note.end(began, self.clock(), NOTE_SECONDS)


def read_timeline(folder: RunFolder) -> tuple[list[Column], int]:
    """Return what all processes of a run have embedded over time, and how many of them are left out.

    Their clocks tell when each began, so on several machines the steps are as true as those clocks.
    """
    found, processes = folder.notes("timeline", _MOST_PROCESSES)
    first = min((one["began_at"] for one in found), default=0.0)
    intervals = [step for one in found for step in intervals_from_json(one["intervals"], one["began_at"] - first)]
    return add_up(intervals), processes - len(found)


_process = secrets.token_hex(4)
_progress: dict[tuple[str, str], ProgressNotes] = {}
_reading: dict[tuple[str, str], ReadingNotes] = {}
_opening = threading.Lock()


def open_notes(folder: RunFolder) -> ProgressNotes:
    """Return this process's notes on embedding for a run: one for all of its steps, as its client is one for all."""
    with _opening:
        key = (folder.store.root, folder.run_id)
        if key not in _progress:
            _progress[key] = ProgressNotes(folder, _process)
        return _progress[key]


def open_reading_notes(folder: RunFolder) -> ReadingNotes:
    """Return this process's notes on reading for a run."""
    with _opening:
        key = (folder.store.root, folder.run_id)
        if key not in _reading:
            _reading[key] = ReadingNotes(folder, _process)
        return _reading[key]
