"""PlanBuckets and ApproveBill: what the run will pay for, held against the budget before anyone is called."""

import dataclasses
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Literal

import apache_beam as beam
import numpy as np
import pyarrow as pa
from apache_beam.transforms.window import GlobalWindow
from apache_beam.utils.windowed_value import WindowedValue

from transforms.carry import RowCarrier
from transforms.clients.catalog import CatalogEntry, explain_absence, look_up_price
from transforms.core.bill import Budget, add_bills, objection, price_bill
from transforms.core.document_changes import count_changes, tally_bucket
from transforms.core.requests import RequestLimits
from transforms.core.tables import KEY_COLUMNS, first_rows_of_texts, hashes_of, merge_chunks
from transforms.errors import RunRefused
from transforms.records import Bill, Carry, ChunkedDocument, ChunkTable, FileEntry, Reject
from transforms.resolve import resolve_texts
from transforms.storage.place import OpenPlace, RunPlace, open_place, telling_why

_TALLIES = "tallies"
NO_DOCUMENTS = pa.table({"id": pa.array([], pa.string()), "doc_id": pa.array([], pa.string())})

LookUp = Callable[[str, str], CatalogEntry | None]
"""Base URL and model to the catalog's entry; None when there is no catalog."""


@dataclasses.dataclass
class PlanBuckets(beam.PTransform):
    """Count what a run would pay for: tables → one Bill of counts, without prices.

    Each table is resolved against the previous version and the journal by its hashes; no endpoint is called. The same
    tables give the same bill however often they are planned.

    Args:
        bits: one number, how many bits name a bucket.
        carry: what each worker says of the rows of the previous version that are taken over.
        documents: bills that count documents, from CountDocuments; None counts those that the tables name.
    """

    place: RunPlace
    bits: beam.PCollection[int]
    carry: beam.PCollection[Carry]
    documents: beam.PCollection[Bill] | None

    def expand(self, tables: beam.PCollection[ChunkTable]) -> beam.PCollection[Bill]:
        """Apply to grouped tables."""
        sides = (beam.pvalue.AsSingleton(self.bits), beam.pvalue.AsIter(self.carry))
        plan_bucket = beam.ParDo(_PlanBucketFn(self.place), *sides)
        planned = tables | "Plan bucket" >> plan_bucket.with_output_types(Bill).with_outputs(_TALLIES, main="bills")
        changes = (
            planned[_TALLIES]
            | "Group tallies" >> beam.GroupByKey()
            | "Count changed documents"
            >> beam.Map(_bill_of_changes, count_documents=self.documents is None).with_output_types(Bill)
        )
        counts = [planned.bills, changes, *([] if self.documents is None else [self.documents])]
        return counts | "All counts" >> beam.Flatten() | "Add bills" >> beam.CombineGlobally(add_bills)


@dataclasses.dataclass
class CountDocuments(beam.PTransform):
    """Count documents that were chunked, found empty, rejected and unchanged: any → a few bills that hold nothing else.

    Each bundle counts for itself, so that no document is encoded on the way to its count.

    Args:
        rejects: one for each document that could not be read or extracted.
        unchanged: of each file that was not cut again.
    """

    rejects: beam.PCollection[Reject]
    unchanged: beam.PCollection[FileEntry]

    def expand(self, chunked: beam.PCollection[ChunkedDocument]) -> beam.PCollection[Bill]:
        """Apply to every document that was chunked; those without any span are counted as empty."""
        count = beam.ParDo(_CountDocumentsFn()).with_output_types(Bill)
        counts = (
            chunked | "Count chunked" >> count,
            self.rejects | "Count rejected" >> count,
            self.unchanged | "Count unchanged" >> count,
        )
        return counts | "All document counts" >> beam.Flatten()


class _CountDocumentsFn(beam.DoFn):
    def start_bundle(self) -> None:
        self._documents = self._empty = self._rejected = self._unchanged = 0

    def process(self, document: ChunkedDocument | Reject | FileEntry) -> None:
        if isinstance(document, FileEntry):
            self._documents += document.documents
            self._unchanged += document.documents
            self._empty += document.documents_empty
            return
        self._documents += 1
        if isinstance(document, Reject):
            self._rejected += 1
        elif not document.spans:
            self._empty += 1

    def finish_bundle(self) -> Iterator[WindowedValue]:
        bill = Bill(
            documents=self._documents,
            documents_empty=self._empty,
            documents_rejected=self._rejected,
            documents_unchanged=self._unchanged,
        )
        yield WindowedValue(bill, GlobalWindow().max_timestamp(), (GlobalWindow(),))


def _bill_of_changes(grouped: tuple[int, Iterable[bytes]], count_documents: bool) -> Bill:
    here, new, changed, vanished = count_changes(grouped[1])
    return Bill(
        documents=here if count_documents else 0,
        documents_new=new,
        documents_changed=changed,
        documents_vanished=vanished,
    )


class _PlanBucketFn(beam.DoFn):
    def __init__(self, place: RunPlace) -> None:
        self._place = place

    def setup(self) -> None:
        self._open: OpenPlace = open_place(self._place)

    def start_bundle(self) -> None:
        self._carrier: RowCarrier | None = None

    def process(
        self, table: ChunkTable, bits: int, carries: Iterable[Carry]
    ) -> Iterator[Bill | beam.pvalue.TaggedOutput[Literal["tallies"], tuple[int, bytes]]]:
        with telling_why(self._open.folder):
            self._carrier = self._carrier or RowCarrier(self._open, carries)
            if self._carrier.is_active:
                carried = self._carrier.rows_of(bits, table.bucket, KEY_COLUMNS)
                yield from self._plan(table, bits, carried.chunks, carried.left)
            else:
                yield from self._plan(table, bits, None, self._rows_before(bits, table.bucket))

    def _rows_before(self, bits: int, bucket: int) -> pa.Table:
        previous = self._open.previous
        return NO_DOCUMENTS if previous is None else previous.read_rows(bits, bucket, ("id", "doc_id"))

    def _plan(self, table: ChunkTable, bits: int, carried: pa.Table | None, before: pa.Table) -> Iterator[Any]:
        """Bill a bucket, and tally the documents of its rows that are not taken over against those that are left."""
        new = merge_chunks(table.batches, KEY_COLUMNS)
        rows = new if carried is None else merge_chunks((), KEY_COLUMNS, pa.concat_tables([new, carried]))
        hashes = hashes_of(rows)
        first = first_rows_of_texts(hashes)
        resolution = resolve_texts(self._open, bits, table.bucket, hashes[first])
        tokens = rows.column("token_count").to_numpy()[first]
        yield Bill(
            chunks=rows.num_rows,
            texts=len(first),
            texts_reused=int((~resolution.to_embed).sum()),
            texts_in_journal=int(resolution.in_journal.sum()),
            texts_to_embed=int(resolution.to_embed.sum()),
            tokens=int(tokens[resolution.to_embed].sum(dtype=np.int64)),
        )
        names = [one.column(name).to_pylist() for one in (new, before) for name in ("id", "doc_id")]
        for tally in tally_bucket(*names):
            yield beam.pvalue.TaggedOutput(_TALLIES, tally)


@dataclasses.dataclass(frozen=True)
class Tariff:
    """What a bill needs beside its counts.

    Attributes:
        base_url: whose catalog names the price; "" for the local model, which costs nothing.
        approve: refuse what the budget does not allow; a plan shows the bill and refuses nothing.
    """

    budget: Budget
    limits: RequestLimits
    requests_per_minute: int | None
    tokens_per_minute: int | None
    bytes_per_vector: int
    base_url: str
    model: str
    approve: bool


@dataclasses.dataclass
class ApproveBill(beam.PTransform):
    """Price the bill, write it down for people, and refuse what the budget does not allow: 1 → 1.

    The catalog is asked only when something is to be embedded and the config names no price. Repeating it asks and writes
    again, with the same result.

    Raises:
        RunRefused: no document matched, too many were rejected, or the bill is over the budget.
    """

    place: RunPlace
    tariff: Tariff

    def expand(self, bills: beam.PCollection[Bill]) -> beam.PCollection[Bill]:
        """Apply to one bill of counts."""
        return bills | "Approve bill" >> beam.Map(approve_bill, self.place, self.tariff, look_up_price)


def approve_bill(counts: Bill, place: RunPlace, tariff: Tariff, look_up: LookUp) -> Bill:
    """Price a bill of counts and hold it against the budget; see ApproveBill."""
    opened = open_place(place)
    with telling_why(opened.folder):
        price, source, warning = _price(counts, tariff, look_up)
        bill = price_bill(
            counts,
            price,
            source,
            tariff.limits,
            tariff.requests_per_minute,
            tariff.tokens_per_minute,
            tariff.bytes_per_vector,
        )
        refusal = objection(bill, tariff.budget)
        note = {
            "duplicates": bill.duplicates,
            "refusal": refusal or "",
            "price_warning": warning,
            "damaged_parts": opened.previous.check_parts() if opened.previous else (),
        }
        opened.folder.write_bill({**dataclasses.asdict(bill), **note})
        if refusal and tariff.approve:
            raise RunRefused(refusal)
    return bill


def _price(counts: Bill, tariff: Tariff, look_up: LookUp) -> tuple[float | None, str, str]:
    """Return USD per million tokens or None, where that comes from, and a warning or ""."""
    if tariff.budget.price_per_million_tokens is not None:
        return tariff.budget.price_per_million_tokens, "config", ""
    if not tariff.base_url:
        return 0.0, "local model", ""
    if counts.texts_to_embed == 0:
        return None, "", ""
    entry = look_up(tariff.base_url, tariff.model)
    if entry is None:
        return None, "", explain_absence(tariff.base_url)
    price = entry.price_per_million_tokens
    return price, "" if price is None else "catalog", entry.warning
