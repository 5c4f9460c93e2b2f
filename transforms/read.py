"""FindDocuments and ReadDocuments: patterns to found documents to their bytes, as far as they have changed."""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

import apache_beam as beam
from apache_beam.metrics import Metrics
from apache_beam.transforms.window import GlobalWindow
from apache_beam.utils.windowed_value import WindowedValue

from transforms.core.register import file_key, recall_files
from transforms.errors import UnreadableDocument
from transforms.records import Carry, FileEntry, FoundBatch, FoundDocument, RawDocument, Reject
from transforms.storage.documents import find_documents, read_with_digest
from transforms.storage.place import OpenPlace, RunPlace, open_place, telling_why
from transforms.storage.registers import read_register

_REJECTS, _UNCHANGED, _CARRY = "rejects", "unchanged", "carry"

_FEWEST_BATCHES, _MOST_IN_BATCH, _BATCH_BYTES = 256, 64, 4_000_000
"""Documents are spread in batches, so that a million small ones cost a runner little, and enough of them for its workers."""


class FindResult(NamedTuple):
    """What listing gives: batches of documents, and which rows of the previous version have a file no more."""

    documents: beam.PCollection[FoundBatch]
    carry: beam.PCollection[Carry]


@dataclasses.dataclass
class FindDocuments(beam.PTransform):
    """List the documents that patterns match: one pass, on one worker.

    Emits each distinct file once, with what the previous version remembers of it. Repeating it lists again and finds what is
    there then. Nothing is remembered where a part of the previous version is damaged: its rows have to be made anew.

    Args:
        reading: names the settings that documents are read and cut with; a version made with others remembers nothing.

    Raises:
        ConfigError: two different files would get the same doc_id.
    """

    place: RunPlace
    patterns: Sequence[str]
    reading: str

    def expand(self, root: beam.pvalue.PBegin) -> FindResult:
        """Apply to the root of a pipeline."""
        find = beam.FlatMap(_find, self.place, self.reading).with_output_types(FoundBatch)
        outputs = (
            root
            | "Name patterns" >> beam.Create([tuple(self.patterns)], reshuffle=False)
            | "List documents" >> find.with_outputs(_CARRY, main="documents")
        )
        return FindResult(outputs.documents, outputs[_CARRY])


def _find(
    patterns: Sequence[str], place: RunPlace, reading: str
) -> Iterator[FoundBatch | beam.pvalue.TaggedOutput[Literal["carry"], Carry]]:
    opened = open_place(place)
    with telling_why(opened.folder):
        found = find_documents(patterns, place.billing_project)
        opened.folder.write_note("reading", "listing", {"files": len(found)})
        known = _recall(opened, reading)
        if known is None:
            yield beam.pvalue.TaggedOutput(_CARRY, Carry())
        else:
            entries, carry = recall_files(found, known)
            found = [dataclasses.replace(one, entry=entries.get(one.doc_id)) for one in found]
            yield beam.pvalue.TaggedOutput(_CARRY, carry)
    yield from batch_documents(found)


def _recall(place: OpenPlace, reading: str) -> dict[str, FileEntry] | None:
    if place.previous is None or place.previous.check_parts():
        return None
    return read_register(place.store, place.previous.manifest, reading)


def batch_documents(found: Sequence[FoundDocument]) -> Iterator[FoundBatch]:
    """Cut a listing into batches: few documents or few bytes in each, and one alone where it is large."""
    most = max(1, min(_MOST_IN_BATCH, len(found) // _FEWEST_BATCHES))
    batch: list[FoundDocument] = []
    size = 0
    for document in found:
        if batch and (len(batch) == most or size + document.size_bytes > _BATCH_BYTES):
            yield tuple(batch)
            batch, size = [], 0
        batch.append(document)
        size += document.size_bytes
    if batch:
        yield tuple(batch)


class ReadResult(NamedTuple):
    """What reading gives: bytes of new and changed files, rejects, entries of unchanged ones, and rows to leave behind."""

    documents: beam.PCollection[RawDocument]
    rejects: beam.PCollection[Reject]
    unchanged: beam.PCollection[FileEntry]
    carry: beam.PCollection[Carry]


@dataclasses.dataclass
class ReadDocuments(beam.PTransform):
    """Spread found documents over all workers and read each whole: 1 → 1.

    One that vanished or may not be read is a reject. One whose digest is the remembered one is not cut again: its rows are
    taken over from the previous version. Of one that has changed the old rows are left behind.

    What is computed from the listing, such as the number of buckets, branches off before the spreading: a side input made
    behind it would keep runners from fusing reading with packing, and every text would be encoded on its way.

    Args:
        modification_time: hand on when a document was modified, as it was listed.
        billing_project: pays for reading from buckets of which the requester pays.
    """

    modification_time: bool = False
    billing_project: str = ""

    def expand(self, found: beam.PCollection[FoundBatch]) -> ReadResult:
        """Apply to batches of found documents."""
        read = beam.ParDo(_ReadDocumentsFn(self.modification_time, self.billing_project))
        spread = found | "Spread over workers" >> beam.Reshuffle()
        typed = read.with_output_types(RawDocument)
        outputs = spread | "Read document" >> typed.with_outputs(_REJECTS, _UNCHANGED, _CARRY, main="documents")
        return ReadResult(outputs.documents, outputs[_REJECTS], outputs[_UNCHANGED], outputs[_CARRY])


class _ReadDocumentsFn(beam.DoFn):
    def __init__(self, modification_time: bool, billing_project: str) -> None:
        self._modification_time, self._billing_project = modification_time, billing_project
        self._read = Metrics.counter("read", "documents_read")
        self._unchanged = Metrics.counter("read", "documents_unchanged")
        self._rejected = Metrics.counter("read", "documents_rejected")

    def start_bundle(self) -> None:
        self._dropped: list[bytes] = []

    def process(self, batch: FoundBatch) -> Iterator[RawDocument | beam.pvalue.TaggedOutput]:
        for found in batch:
            yield self._read_one(found)

    def finish_bundle(self) -> Iterator[beam.pvalue.TaggedOutput]:
        if self._dropped:
            carry = WindowedValue(
                Carry(False, b"".join(self._dropped)), GlobalWindow().max_timestamp(), (GlobalWindow(),)
            )
            yield beam.pvalue.TaggedOutput(_CARRY, carry)

    def _read_one(self, found: FoundDocument) -> RawDocument | beam.pvalue.TaggedOutput:
        modified = found.modified if self._modification_time else ""
        try:
            reading = read_with_digest(found, modified, self._billing_project)
        except UnreadableDocument as error:
            self._rejected.inc()
            self._drop(found)
            reason, _, message = str(error).partition(": ")
            reject = Reject(found.doc_id, found.source_uri, None, None, "read", reason, message)
            return beam.pvalue.TaggedOutput(_REJECTS, reject)
        if found.entry is not None and reading.digest == found.entry.digest:
            self._unchanged.inc()
            return beam.pvalue.TaggedOutput(_UNCHANGED, found.entry)
        self._drop(found)
        self._read.inc()
        return RawDocument(found.doc_id, found.source_uri, reading.content, modified, reading.digest, reading.state)

    def _drop(self, found: FoundDocument) -> None:
        if found.entry is not None:
            self._dropped.append(file_key(found.doc_id))
