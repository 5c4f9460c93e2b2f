"""Writes one process's answers into segments of its own; the secret kept is when a segment is closed and synced."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from types import TracebackType

import numpy as np
import numpy.typing as npt
from typing_extensions import Self

from transforms.core.buckets import bucket_of
from transforms.core.identity import HASH_BYTES
from transforms.storage.journal_frames import pack_frame, pack_index
from transforms.storage.store import Appender, Store

MAX_OPEN_SEGMENTS = 128
MAX_SEGMENT_BYTES = 32_000_000
"""A segment is read whole, so this bounds what a reader holds beside its result."""


class JournalWriter:
    """Writes one process's answers; for several threads at once.

    One segment is open for each bucket, of at most ``max_open_segments``; the one not used longest is closed first. A
    daemon thread syncs what was appended every ``Store.sync_seconds`` until ``close``; its failure is raised by the
    next call.
    """

    def __init__(self, store: Store, start_segment: Callable[[int, int], str], max_open_segments: int) -> None:
        """Write nothing yet.

        Args:
            start_segment: (bits, bucket) to the path of a new segment.
        """
        self._store, self._start_segment = store, start_segment
        self._max_open_segments = max_open_segments
        self._open: OrderedDict[tuple[int, int], _OpenSegment] = OrderedDict()
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._failure: OSError | None = None
        self._thread: threading.Thread | None = None

    def append(
        self,
        bits: int,
        hashes: Sequence[bytes],
        vectors: npt.NDArray[np.float32],
        prompt_tokens: int,
        model_reported: str,
    ) -> None:
        """Journal one answer; on return it is as durable as the module says.

        ``bits`` says how many bits name a bucket in this run. The answer is split by bucket, and its ``prompt_tokens``
        are noted in the first frame that this gives.

        Raises:
            OSError: nothing may be built on this answer; a full disk, say.
            ValueError: not one vector for each hash, or the writer is closed.
        """
        if not len(hashes):
            return
        if len(vectors) != len(hashes):
            raise ValueError(
                f"an answer needs one vector for each text, got {len(hashes)} texts, {len(vectors)} vectors"
            )
        whole = [one.ljust(HASH_BYTES, b"\0") for one in hashes]
        rows_of: dict[int, list[int]] = {}
        for row, one in enumerate(whole):
            rows_of.setdefault(bucket_of(one, bits), []).append(row)
        tokens = prompt_tokens
        for bucket, rows in sorted(rows_of.items()):
            frame = pack_frame([whole[row] for row in rows], vectors[rows], tokens, model_reported)
            tokens = 0
            with self._lock:
                self._raise_failure()
                self._segment(bits, bucket, len(frame)).append(frame)
                self._start_syncing()

    def sync(self) -> None:
        """Make everything appended so far survive power loss (gs://: and kill -9)."""
        self._raise_failure()
        self._sync_all()

    def close(self) -> None:
        """Sync, give all locks back and end the thread; a second call does nothing."""
        self._closing.set()
        with self._lock:  # an append on another thread may be starting it
            thread, self._thread = self._thread, None
        if thread is not None:
            thread.join()
        with self._lock:
            segments = list(self._open.values())
            self._open.clear()
            _close_all(segments)
            self._raise_failure()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _segment(self, bits: int, bucket: int, frame_bytes: int) -> "_OpenSegment":
        if self._closing.is_set():
            raise ValueError("this journal writer is closed")
        key = (bits, bucket)
        found = self._open.pop(key, None)
        if found is not None and found.size_bytes + frame_bytes > MAX_SEGMENT_BYTES:
            found.close()
            found = None
        if found is None:
            while len(self._open) >= self._max_open_segments:
                _, oldest = self._open.popitem(last=False)
                oldest.close()
            found = _OpenSegment(self._store.append(self._start_segment(bits, bucket), pack_index))
        self._open[key] = found
        return found

    def _start_syncing(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._keep_syncing, name="journal-sync", daemon=True)
            self._thread.start()

    def _keep_syncing(self) -> None:
        while not self._closing.wait(self._store.sync_seconds):
            try:
                self._sync_all()
            except OSError as error:
                self._failure = error
                return

    def _sync_all(self) -> None:
        """Sync without holding appends up: an fsync may take longer than an answer."""
        with self._lock:
            segments = list(self._open.values())
        for segment in segments:
            segment.sync()

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise OSError(f"the journal could not be synced: {self._failure}") from self._failure


class _OpenSegment:
    """An appender that knows whether it has anything to sync; may be synced beside an append, and after its end."""

    def __init__(self, appender: Appender) -> None:
        self._appender = appender
        self._lock = threading.Lock()
        self._is_dirty = False
        self._is_closed = False
        self.size_bytes = 0

    def append(self, frame: bytes) -> None:
        self._appender.append(frame)
        self._is_dirty = True
        self.size_bytes += len(frame)

    def sync(self) -> None:
        with self._lock:
            if self._is_dirty and not self._is_closed:
                self._is_dirty = False  # before the sync: an append meanwhile makes it dirty again
                self._appender.sync()

    def close(self) -> None:
        with self._lock:
            self._is_closed = True
            self._appender.close()


def _close_all(segments: Iterable[_OpenSegment]) -> None:
    """Close every one, then raise the first failure: no lock may stay held because another file failed."""
    failure: OSError | None = None
    for segment in segments:
        try:
            segment.close()
        except OSError as error:
            failure = failure or error
    if failure is not None:
        raise failure
