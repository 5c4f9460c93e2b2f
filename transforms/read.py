"""FindDocuments and ReadDocuments: patterns to found documents to their bytes."""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

import apache_beam as beam
from apache_beam.metrics import Metrics

from transforms.core.media_types import RECORD_TYPES, named_media_type
from transforms.errors import UnreadableDocument
from transforms.records import FoundDocument, RawDocument, Reject
from transforms.storage.documents import find_documents, read_document
from transforms.storage.place import RunPlace, open_place, telling_why

_REJECTS = "rejects"


@dataclasses.dataclass
class FindDocuments(beam.PTransform):
    """List the documents that patterns match: one pass, on one worker.

    Emits one FoundDocument for each distinct file, in no order. Repeating it lists again and finds what is there then.

    Raises:
        ConfigError: two different files would get the same doc_id.
    """

    place: RunPlace
    patterns: Sequence[str]

    def expand(self, root: beam.pvalue.PBegin) -> beam.PCollection[FoundDocument]:
        """Apply to the root of a pipeline."""
        return (
            root
            | "Name patterns" >> beam.Create([tuple(self.patterns)], reshuffle=False)
            | "List documents" >> beam.FlatMap(_find, self.place).with_output_types(FoundDocument)
        )


def _find(patterns: Sequence[str], place: RunPlace) -> list[FoundDocument]:
    with telling_why(open_place(place).folder):
        return find_documents(patterns)


class ReadResult(NamedTuple):
    """What reading gives: bytes, and rejects for what could not be read."""

    documents: beam.PCollection[RawDocument]
    rejects: beam.PCollection[Reject]


class ReadDocuments(beam.PTransform):
    """Spread found documents over all workers and read each whole: 1 → 1, or a reject when it vanished or may not be read.

    What is computed from the listing, such as the number of buckets, branches off before the spreading: a side input made
    behind it would keep runners from fusing reading with packing, and every text would be encoded on its way.
    """

    def expand(self, found: beam.PCollection[FoundDocument]) -> ReadResult:
        """Apply to found documents."""
        read = beam.ParDo(_ReadDocumentFn()).with_output_types(RawDocument)
        spread = found | "Spread over workers" >> beam.Reshuffle()
        outputs = spread | "Read document" >> read.with_outputs(_REJECTS, main="documents")
        return ReadResult(outputs.documents, outputs[_REJECTS])


class _ReadDocumentFn(beam.DoFn):
    def __init__(self) -> None:
        self._read = Metrics.counter("read", "documents_read")
        self._rejected = Metrics.counter("read", "documents_rejected")

    def process(
        self, found: FoundDocument
    ) -> Iterator[RawDocument | beam.pvalue.TaggedOutput[Literal["rejects"], Reject]]:
        if named_media_type(found.source_uri) in RECORD_TYPES:
            yield RawDocument(found.doc_id, found.source_uri, None)
            return
        try:
            content = read_document(found.source_uri)
        except UnreadableDocument as error:
            self._rejected.inc()
            reason, _, message = str(error).partition(": ")
            reject = Reject(found.doc_id, found.source_uri, None, None, "read", reason, message)
            yield beam.pvalue.TaggedOutput(_REJECTS, reject)
            return
        self._read.inc()
        yield RawDocument(found.doc_id, found.source_uri, content)
