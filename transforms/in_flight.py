"""Buckets in flight: requests of the next bucket go out while the one before is still answered or written.

The secret kept here is how texts of several buckets share requests and how a bucket knows that it is complete. No Beam: a
step feeds buckets in and takes finished tables out, on its own thread; answers arrive on the client's threads.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from transforms.carry import RowCarrier
from transforms.clients.base import Answer, EmbeddingClient, Refusal
from transforms.core.facts import facts_from_json
from transforms.core.requests import PackedRequest, RequestPacker
from transforms.core.tables import (
    CHUNKS,
    Hashes,
    compare_rows,
    first_rows_of_texts,
    hashes_of,
    list_of_hashes,
    merge_chunks,
    write_rows,
)
from transforms.errors import STOPPING_ERRORS, CommitConflict, FatalError, RunInterrupted
from transforms.records import ChunkTable, EmbeddedTable, Reject
from transforms.resolve import Resolution, resolve_texts
from transforms.storage.claims import Claims
from transforms.storage.journal import JournalWriter
from transforms.storage.place import OpenPlace

WAITING_BYTES = 128_000_000
"""Vectors held by buckets that wait for answers; beyond it the oldest one is waited for."""
_WAITING_BUCKETS = 64
POLL_SECONDS = 1.0
"""How often a worker looks whether somebody has stopped the run, be answers coming or not."""


@dataclass(slots=True, eq=False)
class _Waiting:
    """A bucket whose texts are not all answered yet."""

    bucket: int
    rows: pa.Table
    first_rows: npt.NDArray[np.int64]
    buffer: bytearray
    vectors: npt.NDArray[np.float32]
    missing: int
    embedded: int = 0
    refusals: dict[int, Refusal] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class _Deferred:
    """A bucket whose texts another attempt at this bundle embeds."""

    bucket: int
    rows: pa.Table


_Key = tuple[_Waiting, int, bytes]
"""A text on its way: its bucket, its place among the bucket's distinct texts, its hash."""


class BucketsInFlight:
    """Feeds buckets to a client and hands them back with vectors, oldest first; one for each bundle.

    Every answer is journaled on the thread that received it, before a vector is used. A bucket's texts are sent only by the
    attempt that has claimed it; others take them from the journal, once all that they have claimed themselves is answered, so
    that two attempts never wait for each other. Memory: the vectors of at most WAITING_BYTES, or of two buckets where one
    alone is larger, and the rows of as much that others embed.

    Args:
        prove: called before the first paid text with the vector's dimension as result; sends the start-up probe.
        journal: opens this worker's journal; called on the client's threads.
        note: told after each answer how many texts it held.
        while_waiting: called on the step's own thread about once a second while it waits for answers.
        claims: this attempt's; whoever made them closes them when the bundle has ended, however it did.
        may_keep_parts: whether a part of the previous version with the same rows is this version's part, too.
        carrier: knows which rows of the previous version are taken over.
        pause: waits so many seconds for what another attempt does.
    """

    def __init__(
        self,
        place: OpenPlace,
        bits: int,
        client: Callable[[], EmbeddingClient],
        prove: Callable[[], int],
        journal: Callable[[], JournalWriter],
        note: Callable[[int], None],
        may_keep_parts: bool,
        while_waiting: Callable[[], None],
        carrier: RowCarrier,
        claims: Claims,
        clock: Callable[[], float] = time.monotonic,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._place, self._bits, self._note = place, bits, note
        self._may_keep_parts, self._while_waiting, self._carrier = may_keep_parts, while_waiting, carrier
        self._open_client, self._prove, self._open_journal = client, prove, journal
        self._packer: RequestPacker[_Key] = RequestPacker()
        self._waiting: deque[_Waiting] = deque()
        self._claims, self._pause = claims, pause
        self._deferred: list[_Deferred] = []
        self._looked_after: set[str] = set()
        self._changed = threading.Condition()
        self._failure: BaseException | None = None
        self._clock, self._looked_at = clock, clock()

    def add(self, table: ChunkTable) -> Iterator[EmbeddedTable]:
        """Take a bucket in and yield the oldest ones while too much is waiting; blocks until they are complete."""
        self._check()
        rows, is_untouched = self._rows_of(table)
        if rows.num_rows == 0:
            yield EmbeddedTable(table.bucket, write_rows(rows), b"", 0, 0, ())
            return
        if is_untouched and self._has_part(table.bucket):
            yield EmbeddedTable(table.bucket, write_rows(rows), b"", self._dimension(False), 0, (), unchanged=True)
            return
        resolution, texts = self._look_up(table.bucket, rows)
        self._carrier.check()
        if self._is_unchanged(table.bucket, rows, resolution):
            yield EmbeddedTable(table.bucket, write_rows(rows), b"", self._dimension(False), 0, (), unchanged=True)
            return
        if resolution.to_embed.any():
            turn = self._claims.take(self._bits, table.bucket)
            if not turn.is_ours:
                self._deferred.append(_Deferred(table.bucket, rows))
                if sum(deferred.rows.nbytes for deferred in self._deferred) > WAITING_BYTES:
                    yield from self.drain()
                return
            if turn.after and turn.after not in self._looked_after:
                self._looked_after.add(turn.after)
                self._place.journal.refresh()  # what it has paid until it died
                resolution, texts = self._look_up(table.bucket, rows)
        self._send(self._fill(table.bucket, rows, texts, resolution), resolution)
        while (
            self._too_much_waits()
        ):  # a complete bucket waits, too: while it is written, the next one's requests are out
            yield self._take_oldest()

    def drain(self) -> Iterator[EmbeddedTable]:
        """Send what is still held back and yield every bucket as it completes, those that others embed last."""
        while self._waiting or self._deferred:
            while self._waiting:
                yield self._take_oldest()
            yield from self._settle()

    def _settle(self) -> Iterator[EmbeddedTable]:
        """Look once at each bucket that another attempt embeds: is it paid by now, or left to us; pause if none is."""
        deferred, self._deferred = self._deferred, []
        ours = {one.bucket for one in deferred if self._claims.take(self._bits, one.bucket).is_ours}
        self._place.journal.refresh()  # after the claims: what their attempts have paid until they died
        for one in deferred:
            resolution, texts = self._look_up(one.bucket, one.rows)
            if resolution.to_embed.any() and one.bucket not in ours:
                self._deferred.append(one)
                continue
            self._send(self._fill(one.bucket, one.rows, texts, resolution), resolution)
            while self._too_much_waits():
                yield self._take_oldest()
        if deferred and len(self._deferred) == len(deferred):
            self._while_waiting()
            self._check()
            self._pause(max(POLL_SECONDS, self._place.store.sync_seconds))

    def _rows_of(self, table: ChunkTable) -> tuple[pa.Table, bool]:
        """Return a bucket's rows, and whether they are those of the previous version, all taken over."""
        if not self._carrier.is_active:
            return merge_chunks(table.batches), False
        carried = self._carrier.rows_of(self._bits, table.bucket, CHUNKS.names)
        is_untouched = not table.batches and carried.left.num_rows == 0
        return (carried.chunks if is_untouched else merge_chunks(table.batches, None, carried.chunks)), is_untouched

    def _has_part(self, bucket: int) -> bool:
        """Whether the previous version has a part of exactly this bucket that may be this version's, too."""
        previous = self._place.previous
        return previous is not None and self._may_keep_parts and previous.part_of(self._bits, bucket) is not None

    def _look_up(self, bucket: int, rows: pa.Table) -> tuple[Resolution, Hashes]:
        hashes = hashes_of(rows)
        texts = hashes[first_rows_of_texts(hashes)]
        return resolve_texts(self._place, self._bits, bucket, texts), texts

    def _is_unchanged(self, bucket: int, rows: pa.Table, resolution: Resolution) -> bool:
        previous = self._place.previous
        if previous is None or not resolution.in_previous.all() or not self._has_part(bucket):
            return False
        changes = compare_rows(rows, previous.read_rows(self._bits, bucket)).changes
        return int(changes.num_rows) == 0

    def _fill(self, bucket: int, rows: pa.Table, texts: Hashes, resolution: Resolution) -> _Waiting:
        """Make room for a bucket's vectors and fill in those that were paid before."""
        dimension = self._dimension(bool(resolution.to_embed.any()))
        buffer = bytearray(len(texts) * dimension * 4)
        vectors = np.frombuffer(buffer, np.float32).reshape(len(texts), dimension)
        if self._place.previous is not None and resolution.in_previous.any():
            wanted = list_of_hashes(texts[resolution.in_previous])
            vectors[resolution.in_previous] = self._place.previous.read_vectors(self._bits, bucket, wanted)
        if resolution.in_journal.any():
            wanted = list_of_hashes(texts[resolution.in_journal])
            found, paid = self._place.journal.read_vectors(self._bits, bucket, wanted, dimension)
            if len(found) != len(wanted):
                raise CommitConflict(
                    f"the journal of {self._place.store.root} lost {len(wanted) - len(found)} paid vectors while this run was "
                    "reading it: another run has committed them. Run again from the current version"
                )
            vectors[np.searchsorted(texts, np.array(found, "S32"))] = paid
        first_rows = first_rows_of_texts(hashes_of(rows))
        return _Waiting(bucket, rows, first_rows, buffer, vectors, int(resolution.to_embed.sum()))

    def _dimension(self, has_new_texts: bool) -> int:
        """Return the vectors' dimension, asking the endpoint only when it will be called anyway."""
        if has_new_texts:
            return self._prove()
        if self._place.previous is not None:
            return self._place.previous.dimension
        facts = self._place.journal.facts()
        return facts_from_json(facts)[0] if facts else self._prove()

    def _send(self, waiting: _Waiting, resolution: Resolution) -> None:
        self._waiting.append(waiting)
        new = np.flatnonzero(resolution.to_embed)
        if not len(new):
            return
        limits = self._open_client().request_limits()
        at = waiting.first_rows[new]
        leads = waiting.rows.column("lead").take(pa.array(at)).to_pylist()
        chunks = waiting.rows.column("chunk").take(pa.array(at)).to_pylist()
        tokens = waiting.rows.column("token_count").take(pa.array(at)).to_pylist()
        hashes = waiting.rows.column("text_hash").take(pa.array(at)).to_pylist()
        for text, lead, chunk, count, text_hash in zip(new.tolist(), leads, chunks, tokens, hashes, strict=True):
            for request in self._packer.add((waiting, text, text_hash), lead + chunk, count, limits):
                self._submit(request)

    def _submit(self, request: PackedRequest[_Key]) -> None:
        future = self._open_client().submit(
            request.texts, request.token_counts, lambda answer: self._receive(request.keys, answer)
        )
        future.add_done_callback(lambda done: self._finish(request.keys, done))

    def _receive(self, keys: Sequence[_Key], answer: Answer) -> None:
        """Journal an answer, then fill its vectors in; runs on a client thread."""
        answered = [keys[position] for position in answer.positions]
        self._open_journal().append(
            self._bits,
            [text_hash for _, _, text_hash in answered],
            answer.vectors,
            answer.prompt_tokens,
            answer.model_reported,
        )
        with self._changed:
            for (waiting, text, _), vector in zip(answered, answer.vectors, strict=True):
                waiting.vectors[text] = vector
                waiting.missing -= 1
                waiting.embedded += 1
            self._changed.notify_all()
        self._note(len(answered))

    def _finish(self, keys: Sequence[_Key], done: "Future[tuple[Refusal, ...]]") -> None:
        failure = done.exception()
        with self._changed:
            if failure is not None:
                self._failure = self._failure or failure
            else:
                for refusal in done.result():
                    waiting, text, _ = keys[refusal.position]
                    waiting.refusals[text] = refusal
                    waiting.missing -= 1
            self._changed.notify_all()

    def _check(self) -> None:
        """Raise what stopped the run: a failed request here, a notice that another worker left, or the launcher's end.

        A job lives on in its engine when the launcher is killed; the next run must not share the quota with it.
        """
        if self._failure is not None:
            raise self._failure
        self._looked_at = self._clock()
        notice = self._place.folder.stop_notice()
        if notice is not None:
            raise STOPPING_ERRORS.get(notice.kind, FatalError)(notice.message)
        if self._place.folder.is_tidied_away():
            raise RunInterrupted(
                f"the launcher of run {self._place.folder.run_id} has ended and its folder in {self._place.store.root} is "
                "gone; what was paid is in the journal for the runs that follow"
            )

    def _oldest_is_complete(self) -> bool:
        with self._changed:
            return self._waiting[0].missing == 0

    def _too_much_waits(self) -> bool:
        held = sum(len(waiting.buffer) for waiting in self._waiting)
        return len(self._waiting) > _WAITING_BUCKETS or (len(self._waiting) > 1 and held > WAITING_BYTES)

    def _take_oldest(self) -> EmbeddedTable:
        if not self._oldest_is_complete():
            for request in self._packer.flush(self._open_client().request_limits()):
                self._submit(request)
        while not self._oldest_is_complete():
            with self._changed:
                if self._failure is None and self._waiting[0].missing:
                    self._changed.wait(POLL_SECONDS)
            if self._failure is not None or self._clock() - self._looked_at >= POLL_SECONDS:
                self._while_waiting()
                self._check()
        waiting = self._waiting.popleft()
        if (
            waiting.refusals
        ):  # the journal will never hold these texts: others, if there are any, must not wait for them
            self._open_journal().sync()
            self._claims.give_up(self._bits, waiting.bucket)
        return _complete(waiting)


def _complete(waiting: _Waiting) -> EmbeddedTable:
    """Turn a bucket whose texts are all answered or refused into what the next step writes."""
    rows, refused = waiting.rows, sorted(waiting.refusals)
    dimension = waiting.vectors.shape[1]
    rejects: tuple[Reject, ...] = ()
    vectors: bytes | bytearray = waiting.buffer
    if refused:
        text_of_row = np.repeat(
            np.arange(len(waiting.first_rows)), np.diff(np.append(waiting.first_rows, rows.num_rows))
        )
        rejects = tuple(
            _reject(row, waiting.refusals[text_of_row[at]])
            for at in np.flatnonzero(np.isin(text_of_row, refused))
            for row in rows.slice(at, 1).select(["doc_id", "source_uri", "start_char", "end_char"]).to_pylist()
        )
        rows = rows.filter(pa.array(~np.isin(text_of_row, refused)))
        vectors = np.delete(waiting.vectors, refused, axis=0).tobytes()
    return EmbeddedTable(waiting.bucket, write_rows(rows), vectors, dimension, waiting.embedded, rejects)


def _reject(row: dict[str, object], refusal: Refusal) -> Reject:
    return Reject(
        str(row["doc_id"]),
        str(row["source_uri"]),
        int(str(row["start_char"])),
        int(str(row["end_char"])),
        "embed",
        refusal.reason,
        refusal.message,
        refusal.attempts,
        refusal.request_id,
    )
