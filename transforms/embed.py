"""EmbedBuckets: tables of chunks to tables with vectors, each new text paid once."""

import dataclasses
import pickle
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import NamedTuple

import apache_beam as beam
from apache_beam.io.components.adaptive_throttler import ThrottlingSignaler
from apache_beam.transforms.window import GlobalWindow
from apache_beam.utils.windowed_value import WindowedValue

from transforms.carry import RowCarrier
from transforms.clients.base import EmbeddingClient
from transforms.clients.http import EndpointSettings
from transforms.clients.open_client import close_clients, open_client
from transforms.core.bill import Budget, overspent
from transforms.core.facts import check_same_space, facts_from_json, facts_to_json
from transforms.core.pacing import Quota
from transforms.core.requests import RequestLimits
from transforms.errors import RunRefused
from transforms.in_flight import BucketsInFlight
from transforms.notes import open_notes
from transforms.records import Bill, Carry, ChunkTable, EmbeddedTable, Usage
from transforms.spare_memory import SpareMemory
from transforms.stamp import StampSettings
from transforms.storage.claims import Claims
from transforms.storage.journal import JournalWriter
from transforms.storage.place import OpenPlace, RunPlace, open_place, telling_why

LANDING_SECONDS = 60.0
"""How long a failing worker waits for answers that are paid already; as long as an endpoint may take to answer."""

_USAGE = "usage"


@dataclasses.dataclass(frozen=True)
class EmbedSettings:
    """Whom to ask, how fast, and what to accept.

    Attributes:
        stamp: of the version to be written; parts of an earlier one with the same rows and stamp are kept.
        budget: held against what the endpoint charges, answer by answer.
        lanes: how many processes share the quota at most; each takes an equal share.
        accept_new_canary: go on although the model behind the name seems to have changed.
    """

    endpoint: EndpointSettings
    quota: Quota
    limits: RequestLimits
    stamp: StampSettings
    budget: Budget
    lanes: int
    accept_new_canary: bool


class EmbedResult(NamedTuple):
    """What embedding gives: tables with vectors, and what it took."""

    tables: beam.PCollection[EmbeddedTable]
    usage: beam.PCollection[Usage]


@dataclasses.dataclass
class EmbedBuckets(beam.PTransform):
    """Give every distinct text of every table a vector: 1 → 1, and one Usage for each bundle.

    Texts of the previous version and of the journal are reused; the rest is sent through one client per process, requests
    of several buckets in flight together. Every answer is journaled before anything else happens to it, so a repeated
    bundle pays only for requests that were in flight. Texts that the endpoint refuses become rejects of their table.

    Args:
        bits: one number, how many bits name a bucket.
        carry: what each worker says of the rows of the previous version that are taken over.
        bill: the approved bill; as a side input it keeps every request behind the approval.

    Raises:
        FatalError: as the client says; its sentence is left for all workers and the launcher.
    """

    place: RunPlace
    settings: EmbedSettings
    bits: beam.PCollection[int]
    carry: beam.PCollection[Carry]
    bill: beam.PCollection[Bill]

    def expand(self, tables: beam.PCollection[ChunkTable]) -> EmbedResult:
        """Apply to grouped tables."""
        embed = beam.ParDo(
            _EmbedBucketFn(self.place, self.settings),
            beam.pvalue.AsSingleton(self.bits),
            beam.pvalue.AsIter(self.carry),
            beam.pvalue.AsSingleton(self.bill),
        ).with_output_types(EmbeddedTable)
        outputs = tables | "Embed bucket" >> embed.with_outputs(_USAGE, main="tables")
        return EmbedResult(outputs.tables, outputs[_USAGE])


class _EmbedBucketFn(beam.DoFn):
    def __init__(self, place: RunPlace, settings: EmbedSettings) -> None:
        self._place, self._settings = place, settings

    def setup(self) -> None:
        self._open: OpenPlace = open_place(self._place)
        self._lock = threading.Lock()
        self._journal: JournalWriter | None = None
        self._client: EmbeddingClient | None = None
        self._claims: Claims | None = None
        self._dimension = 0
        self._throttling, self._signalled = ThrottlingSignaler("embed"), 0
        self._notes = open_notes(self._open.folder)
        self._spare = SpareMemory()

    def start_bundle(self) -> None:
        self._spare.give_back()  # of reading and planning
        self._buckets: BucketsInFlight | None = None
        self._release_claims()  # of a bundle that failed in another step
        self._open.journal.refresh()  # a repeated bundle finds what its earlier attempt has paid, wherever that ran

    def process(self, table: ChunkTable, bits: int, carries: Iterable[Carry], bill: Bill) -> Iterator[EmbeddedTable]:
        if self._buckets is None:
            self._claims = Claims(self._open.folder)
            self._buckets = BucketsInFlight(
                self._open,
                bits,
                self._get_client,
                self._prove,
                self._get_journal,
                lambda texts: self._note(texts, bill),
                self._may_keep_parts(),
                self._signal_throttled,
                RowCarrier(self._open, carries),
                self._claims,
            )
        with self._landing():
            for embedded in self._buckets.add(table):
                self._spare.pass_on(len(embedded.vectors))
                yield embedded

    def finish_bundle(self) -> Iterator[WindowedValue | beam.pvalue.TaggedOutput]:
        with self._landing():
            for table in self._buckets.drain() if self._buckets else ():
                yield _in_global_window(table)
        self._close_journal()  # durable before the runner hears of the bundle's end, and free to be removed after a commit
        self._release_claims()
        if self._client is not None:
            self._signal_throttled()
            self._notes.finish(self._client)
            yield beam.pvalue.TaggedOutput(_USAGE, _in_global_window(_take_usage(self._client)))

    def teardown(self) -> None:
        self._close_journal()
        self._release_claims()

    def _note(self, texts: int, bill: Bill) -> None:
        """Count answered texts, and stop the run when it has been charged more than the budget allows."""
        charged = self._notes.add(texts, self._get_client())
        refusal = overspent(charged, bill, self._settings.budget)
        if refusal:
            raise RunRefused(refusal)

    def _signal_throttled(self) -> None:
        """Tell the runner how long requests have waited for our pace, so that it does not answer a quota with machines."""
        if self._client is None:
            return
        paced = int(self._client.usage().seconds_paced)
        if paced > self._signalled:
            self._throttling.signal_throttled(paced - self._signalled)
            self._signalled = paced

    def _may_keep_parts(self) -> bool:
        previous = self._open.previous
        return previous is not None and previous.manifest.stamp == self._settings.stamp.stamp(self._open)

    def _get_client(self) -> EmbeddingClient:
        if self._client is None:
            settings = self._settings
            self._client = open_client(
                settings.endpoint, settings.quota, settings.limits, run_id=self._place.run_id, lanes=settings.lanes
            )
        return self._client

    def _close_journal(self) -> None:
        with self._lock:
            if self._journal is not None:
                self._journal.close()
            self._journal = None

    def _release_claims(self) -> None:
        """Let other attempts at the bundle go on with what this one has left; after its journal is closed."""
        claims, self._claims = self._claims, None
        if claims is not None:
            with suppress(OSError):  # the store refuses; the sign of life ends with this process, or grows old
                claims.close()

    def _get_journal(self) -> JournalWriter:
        with self._lock:
            if self._journal is None:
                self._journal = self._open.journal.writer(self._place.run_id)
            return self._journal

    def _prove(self) -> int:
        """Return the dimension of the vectors to come, proving once that they fit those that exist."""
        if not self._dimension:
            facts = self._get_client().prove()
            known = self._open.journal.record_facts(
                facts_to_json(facts.dimension, facts.model_reported, facts.normalized, facts.canary)
            )
            dimension, _, _, canary = facts_from_json(known)
            proved = (facts.dimension, facts.canary)
            check_same_space(proved, (dimension, canary), "the journal", self._settings.accept_new_canary)
            previous = self._open.previous
            if previous is not None:
                known_version = f"version {previous.manifest.version} of the dataset"
                before = (previous.dimension, previous.canary)
                check_same_space(proved, before, known_version, self._settings.accept_new_canary)
            self._dimension = facts.dimension
        return self._dimension

    @contextmanager
    def _landing(self) -> Iterator[None]:
        """Whatever ends the bundle, let answers in flight arrive and be journaled: they are paid."""
        finished = False
        try:
            with telling_why(self._open.folder):
                yield
            finished = True
        finally:
            if not finished:
                self._land()

    def _land(self) -> None:
        if self._client is not None:
            self._client.stop("the bundle has failed")
            close_clients(self._place.run_id, LANDING_SECONDS)
            self._client = None
        with suppress(OSError):  # the bundle has failed already, perhaps of this
            self._close_journal()
        self._release_claims()


class EmbeddedTableCoder(beam.coders.Coder):
    """Pickles as any record is pickled, but tells the size without it.

    Runners ask for the size of what steps emit; pickling a table to count its bytes would copy all vectors of a part.
    """

    def encode(self, table: EmbeddedTable) -> bytes:
        """Return a table's bytes."""
        return pickle.dumps(table, pickle.HIGHEST_PROTOCOL)

    def decode(self, encoded: bytes) -> EmbeddedTable:
        """Return the table."""
        table: EmbeddedTable = pickle.loads(encoded)
        return table

    def estimate_size(self, table: EmbeddedTable) -> int:
        """Return about how many bytes a table is encoded in."""
        return len(table.rows) + len(table.vectors)


beam.coders.registry.register_coder(EmbeddedTable, EmbeddedTableCoder)


def _in_global_window(value: object) -> WindowedValue:
    return WindowedValue(value, GlobalWindow().max_timestamp(), (GlobalWindow(),))


_taken: dict[int, Usage] = {}
_taking = threading.Lock()


def _take_usage(client: EmbeddingClient) -> Usage:
    """Return what the process has used since this was last asked, so that the answers of its bundles add up."""
    with _taking:
        total = client.usage()
        new = total - _taken.get(id(client), Usage())
        _taken[id(client)] = total
        return dataclasses.replace(new, limited_by=client.limited_by())
