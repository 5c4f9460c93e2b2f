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
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt

from transforms.core.buckets import bucket_of
from transforms.core.identity import HASH_BYTES
from transforms.storage.journal_frames import Frame, index_bytes, read_frames, read_index
from transforms.storage.journal_segments import Segment, SegmentListing
from transforms.storage.journal_writer import MAX_OPEN_SEGMENTS, JournalWriter
from transforms.storage.run_folder import is_dead, run_ids
from transforms.storage.store import Store

__all__ = ["Journal", "JournalWriter"]

_HEAD_BYTES = 65_536
"""Holds the index of two thousand texts."""
_REMOVALS_AT_ONCE = 8


class Journal:
    """Paid vectors under one fingerprint of what determines a vector; reads every run's, writes one run's.

    The listing is made once, at the first read; segments of this object's own writers are added to it as they appear
    (locally), all others after ``refresh``. For several threads.
    """

    def __init__(self, store: Store, fingerprint: str) -> None:
        self._store = store
        self._folder = f"_journal/{fingerprint}"
        self._segments: SegmentListing | None = None
        self._lock = threading.Lock()

    @property
    def facts_path(self) -> str:
        """Where the facts of the endpoint lie, relative to the dataset."""
        return f"{self._folder}/endpoint.json"

    def writer(self, run_id: str, max_open_segments: int = MAX_OPEN_SEGMENTS) -> "JournalWriter":
        """Start writing for a run; close the writer at the end."""
        return JournalWriter(
            self._store, lambda bits, bucket: self._start_segment(run_id, bits, bucket), max_open_segments
        )

    def refresh(self) -> None:
        """Forget the listing, so that the next read sees what other processes have written meanwhile."""
        with self._lock:
            self._segments = None

    def read_hashes(self, bits: int, bucket: int) -> set[bytes]:
        """Return the hashes of all paid texts of a bucket; on gs:// without moving their vectors."""
        segments = self._segments_of(bits, bucket)
        return {one for hashes in self._hashes_of(segments) for one in hashes if bucket_of(one, bits) == bucket}

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
        may_go = self._held_segments(run_id, held)
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
            return self._listing().all()

    def _held_segments(self, run_id: str, held: Callable[[int, int], Collection[bytes]]) -> list[Segment]:
        """Return the run's own segments and finished ones of which no text would be lost with them, by path."""
        segments = self.segments()
        others = [one for one in segments if one.run_id != run_id and not self._store.is_being_appended(one.path)]
        gone = {
            one.path
            for one, hashes in zip(others, self._hashes_of(others), strict=True)
            if not hashes or set(hashes) <= set(held(one.bits, one.bucket))
        }
        return [one for one in segments if one.run_id == run_id or one.path in gone]

    def _others_live(self, run_id: str) -> bool:
        runs = run_ids(self._store)
        return any(other != run_id and not is_dead(self._store, other, changed) for other, changed in runs.items())

    def _frames(self, bits: int, bucket: int) -> Iterator[Frame]:
        for segment in self._segments_of(bits, bucket):
            yield from self._read(segment)

    def _segments_of(self, bits: int, bucket: int) -> list[Segment]:
        with self._lock:
            return self._listing().of_bucket(bits, bucket)

    def _hashes_of(self, segments: Sequence[Segment]) -> Iterator[list[bytes]]:
        """Yield each segment's hashes, in order."""
        at_once = min(self._store.calls_at_once, len(segments))
        if at_once < 2:
            yield from map(self._read_hashes, segments)
            return
        with ThreadPoolExecutor(at_once) as pool:
            yield from pool.map(self._read_hashes, segments)

    def _read_hashes(self, segment: Segment) -> list[bytes]:
        """Return a segment's hashes from the index before its frames, or from the frames where there is none."""
        try:
            head = self._store.read_head(segment.path, _HEAD_BYTES)
            size = index_bytes(head)
            if size > len(head):
                head = self._store.read_head(segment.path, size)
        except FileNotFoundError:  # another run has committed what it held, and removed it
            return []
        hashes = read_index(head)
        if hashes is not None:
            return hashes
        frames = read_frames(head) if len(head) < _HEAD_BYTES else self._read(segment)
        return [one for frame in frames for one in frame.hash_list()]

    def _read(self, segment: Segment) -> Iterator[Frame]:
        try:
            data = self._store.read_bytes(segment.path)
        except FileNotFoundError:  # another run has committed what it held, and removed it
            return
        yield from read_frames(data)

    def _listing(self) -> SegmentListing:
        if self._segments is None:
            self._segments = SegmentListing(self._store.list_files(self._folder))
        return self._segments

    def _start_segment(self, run_id: str, bits: int, bucket: int) -> str:
        """Return the path of a new segment of this object's writer, in the listing from now on."""
        path = f"{self._folder}/{bits:02d}-{bucket:05x}/{run_id}-{secrets.token_hex(6)}.seg"
        with self._lock:
            if self._segments is not None:
                self._segments.add(Segment(path, 0, 0.0, run_id, bits, bucket))
        return path
