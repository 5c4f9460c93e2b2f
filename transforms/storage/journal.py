"""The journal: paid vectors of runs that have not committed, so that nothing is ever paid twice.

Layout: ``_journal/<fingerprint>/<bits>-<bucket>/<run_id>-<token>.seg``, frames of ``journal_frames`` one after the
other, and ``endpoint.json`` beside the folders. The secret kept is this layout and when bytes are durable:

* locally, a frame survives kill -9 from the moment ``append`` returns, and power loss after the next sync, which a
  thread does every second (``Store.sync_seconds``), as do ``sync`` and ``close``: power loss costs at most a second;
* on gs://, frames are put into an object every few MB or seconds and at ``sync`` and ``close``: a kill costs at most
  those not yet put.

Every attempt of every worker writes segments of its own, so writers never meet. Readers take what any of them wrote,
whatever number of buckets it worked with.
"""

import secrets
import threading
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType

import numpy as np
import numpy.typing as npt
from typing_extensions import Self

from transforms.core.buckets import bucket_of, overlapping
from transforms.core.identity import HASH_BYTES
from transforms.storage.journal_frames import Frame, pack_frame, read_frames
from transforms.storage.run_folder import is_dead, run_ids
from transforms.storage.store import Appender, Store, StoredFile

MAX_OPEN_SEGMENTS = 128
MAX_SEGMENT_BYTES = 32_000_000
"""A segment is read whole, so this bounds what a reader holds beside its result."""
_REMOVALS_AT_ONCE = 8


@dataclass(frozen=True, slots=True)
class Segment:
    """A file of frames.

    Attributes:
        run_id: of the run that wrote it.
        bits: how many bits named a bucket in that run.
    """

    path: str
    size_bytes: int
    modified: float
    run_id: str
    bits: int
    bucket: int


def parse_segment(file: StoredFile) -> Segment | None:
    """Return what a segment's path says, or None for any other file."""
    parts = file.path.split("/")
    if len(parts) != 4 or ".seg" not in parts[3]:
        return None
    bits, _, bucket = parts[2].partition("-")
    run_id, _, _ = parts[3].rpartition("-")
    try:
        return Segment(file.path, file.size_bytes, file.modified, run_id, int(bits), int(bucket, 16))
    except ValueError:
        return None


_Listing = dict[int, dict[int, dict[str, Segment]]]
"""Segments by bits, bucket and path."""


class Journal:
    """Paid vectors under one fingerprint of what determines a vector; reads every run's, writes one run's.

    The listing is made once, at the first read; segments of this object's own writers are added to it as they appear
    (locally), all others after ``refresh``. For several threads.
    """

    def __init__(self, store: Store, fingerprint: str) -> None:
        self._store = store
        self._folder = f"_journal/{fingerprint}"
        self._segments: _Listing | None = None
        self._lock = threading.Lock()

    @property
    def facts_path(self) -> str:
        """Where the facts of the endpoint lie, relative to the dataset."""
        return f"{self._folder}/endpoint.json"

    def writer(self, run_id: str, max_open_segments: int = MAX_OPEN_SEGMENTS) -> "JournalWriter":
        """Start writing for a run; close the writer at the end."""
        return JournalWriter(self, self._store, run_id, max_open_segments)

    def refresh(self) -> None:
        """Forget the listing, so that the next read sees what other processes have written meanwhile."""
        with self._lock:
            self._segments = None

    def read_hashes(self, bits: int, bucket: int) -> set[bytes]:
        """Return the hashes of all paid texts of a bucket."""
        return {one for frame in self._frames(bits, bucket) for one in _hashes_in(frame, bits, bucket)}

    def read_vectors(
        self, bits: int, bucket: int, wanted: Collection[bytes], dimension: int
    ) -> tuple[list[bytes], npt.NDArray[np.float32]]:
        """Return the vectors of wanted texts, in the order of ``wanted``, each once, as far as they are there.

        Where a text was paid twice, the vector of the segment first by name is taken. Hashes may come from a numpy
        ``S32`` array, which drops their trailing zeros. Frames of another dimension are passed over.

        Returns:
            The hashes found, 32 bytes each, and their vectors, ``found x dimension``.
        """
        missing = {one.ljust(HASH_BYTES, b"\0") for one in wanted}
        order = {one: at for at, one in enumerate(dict.fromkeys(one.ljust(HASH_BYTES, b"\0") for one in wanted))}
        found = np.empty((len(order), dimension), np.float32)
        have = np.zeros(len(order), bool)
        for frame in self._frames(bits, bucket) if order else ():
            if frame.dimension != dimension:
                continue
            rows = [(row, one) for row, one in enumerate(frame.hash_list()) if one in missing]
            if rows:
                fresh = {one: row for row, one in reversed(rows)}
                at = [order[one] for one in fresh]
                found[at] = frame.vector_array()[list(fresh.values())]
                have[at] = True
                missing.difference_update(fresh)
            if not missing:
                break
        return [one for one, at in order.items() if have[at]], found if have.all() else found[have]

    def record_facts(self, data: bytes) -> bytes:
        """Record what was proved about the endpoint, unless another process has; return what is recorded then."""
        while not self._store.create_bytes(self.facts_path, data):
            known = self.facts()
            if known is not None:
                return known
        return data

    def facts(self) -> bytes | None:
        """Return what was recorded about the endpoint, or None."""
        try:
            return self._store.read_bytes(self.facts_path)
        except FileNotFoundError:
            return None

    def remove_held(self, run_id: str, held: Callable[[int, int], Collection[bytes]]) -> list[tuple[str, int]]:
        """Remove what a committed version holds, after the commit.

        This run's own segments go, and those of other runs of which every text is held. What a living writer appends to
        stays, and so does every segment with a text that nobody holds: ``collect_garbage`` decides about it.

        ``held`` returns, for (bits, bucket), the text hashes of that bucket that the committed version holds.

        Returns:
            Each removed file with its bytes.
        """
        self.refresh()
        may_go = [one for one in self.segments() if one.run_id == run_id or self._is_held(one, held)]
        with ThreadPoolExecutor(_REMOVALS_AT_ONCE) as pool:
            gone = list(pool.map(self._store.delete_unless_appended, [one.path for one in may_go]))
        removed = [(one.path, one.size_bytes) for one, is_gone in zip(may_go, gone, strict=True) if is_gone]
        self.refresh()
        if not self.segments() and not self._others_live(run_id):
            self._store.delete(self.facts_path)
        self._store.delete_empty_folders("_journal")
        return removed

    def segments(self) -> list[Segment]:
        """Return all segments under this fingerprint, by bucket and name."""
        with self._lock:
            listing = self._listing()
            found = [one for buckets in listing.values() for paths in buckets.values() for one in paths.values()]
        return sorted(found, key=lambda segment: segment.path)

    def _is_held(self, segment: Segment, held: Callable[[int, int], Collection[bytes]]) -> bool:
        """Tell whether a finished segment has no text that would be lost with it."""
        if self._store.is_being_appended(segment.path):
            return False
        hashes = {one for frame in self._read(segment) for one in frame.hash_list()}
        return hashes <= set(held(segment.bits, segment.bucket)) if hashes else True

    def _others_live(self, run_id: str) -> bool:
        runs = run_ids(self._store)
        return any(other != run_id and not is_dead(self._store, other, changed) for other, changed in runs.items())

    def _frames(self, bits: int, bucket: int) -> Iterator[Frame]:
        for segment in self._segments_of(bits, bucket):
            yield from self._read(segment)

    def _segments_of(self, bits: int, bucket: int) -> list[Segment]:
        found: list[Segment] = []
        with self._lock:
            for other_bits, buckets in self._listing().items():
                others = overlapping(bits, bucket, other_bits)
                for other in others if len(others) < len(buckets) else [one for one in buckets if one in others]:
                    found += buckets.get(other, {}).values()
        return sorted(found, key=lambda segment: segment.path)

    def _read(self, segment: Segment) -> Iterator[Frame]:
        try:
            data = self._store.read_bytes(segment.path)
        except FileNotFoundError:  # another run has committed what it held, and removed it
            return
        yield from read_frames(data)

    def _listing(self) -> _Listing:
        if self._segments is None:
            self._segments = {}
            for file in self._store.list_files(self._folder):
                segment = parse_segment(file)
                if segment is not None:
                    self._add(segment)
        return self._segments

    def _add(self, segment: Segment) -> None:
        if self._segments is not None:
            self._segments.setdefault(segment.bits, {}).setdefault(segment.bucket, {})[segment.path] = segment

    def _start_segment(self, run_id: str, bits: int, bucket: int) -> str:
        """Return the path of a new segment of this object's writer, in the listing from now on."""
        path = f"{self._folder}/{bits:02d}-{bucket:05x}/{run_id}-{secrets.token_hex(6)}.seg"
        with self._lock:
            self._add(Segment(path, 0, 0.0, run_id, bits, bucket))
        return path


def _hashes_in(frame: Frame, bits: int, bucket: int) -> Iterator[bytes]:
    return (one for one in frame.hash_list() if bucket_of(one, bits) == bucket)


class JournalWriter:
    """Writes one process's answers; for several threads at once.

    One segment is open for each bucket, of at most ``max_open_segments``; the one not used longest is closed first. A
    daemon thread syncs what was appended every ``Store.sync_seconds`` until ``close``; its failure is raised by the
    next call.
    """

    def __init__(self, journal: Journal, store: Store, run_id: str, max_open_segments: int) -> None:
        self._journal, self._store, self._run_id = journal, store, run_id
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
        if self._thread is not None:
            self._thread.join()
            self._thread = None
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
            found = _OpenSegment(self._store.append(self._journal._start_segment(self._run_id, bits, bucket)))
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
