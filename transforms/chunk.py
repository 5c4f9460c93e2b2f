"""ChunkDocuments: a document to its chunks."""

import dataclasses
from collections.abc import Iterator
from concurrent.futures import Future
from typing import Literal, NamedTuple

import apache_beam as beam
from apache_beam.metrics import Metrics
from apache_beam.transforms.window import GlobalWindow
from apache_beam.utils.windowed_value import WindowedValue

from transforms.core.chunk_document import chunk_document
from transforms.core.chunking import ChunkSettings
from transforms.core.lead import LeadSettings
from transforms.core.tokens import tokenizer_for_model
from transforms.errors import Rejected
from transforms.notes import open_reading_notes
from transforms.records import ChunkedDocument, Document, Reject
from transforms.side_threads import SideThreads
from transforms.storage.place import RunPlace
from transforms.storage.run_folder import RunFolder
from transforms.storage.store import open_store

_REJECTS = "rejects"


class ChunkResult(NamedTuple):
    """What chunking gives: documents with their chunks, and rejects for what may not be cut and is too long."""

    documents: beam.PCollection[ChunkedDocument]
    rejects: beam.PCollection[Reject]


@dataclasses.dataclass
class ChunkDocuments(beam.PTransform):
    """Cut each document into chunks: 1 → 1, a document or a reject; a document of nothing but white space has no chunks.

    Pure: the same text gives the same chunks, however often a bundle is repeated. Tokens are counted as ``model`` does, or as
    near as is known (``tokenizer_for_model``); each process loads the tokenizer when its first document comes. Documents are
    cut on other threads and handed on in their order, the last ones at the end of a bundle.

    Args:
        lead: what is sent before each chunk.
        place: where those who watch the run find how many documents were read; None when nobody does.
    """

    settings: ChunkSettings
    model: str
    lead: LeadSettings
    place: RunPlace | None = None

    def expand(self, documents: beam.PCollection[Document]) -> ChunkResult:
        """Apply to documents."""
        chunk = beam.ParDo(_ChunkDocumentFn(self.settings, self.model, self.lead, self.place))
        outputs = documents | "Chunk document" >> chunk.with_output_types(ChunkedDocument).with_outputs(
            _REJECTS, main="documents"
        )
        return ChunkResult(outputs.documents, outputs[_REJECTS])


class _ChunkDocumentFn(beam.DoFn):
    def __init__(self, settings: ChunkSettings, model: str, lead: LeadSettings, place: RunPlace | None) -> None:
        self._settings, self._model, self._lead = settings, model, lead
        self._place = place
        self._documents = Metrics.counter("chunk", "documents_chunked")
        self._rejected = Metrics.counter("chunk", "documents_rejected")
        self._empty = Metrics.counter("chunk", "documents_found_empty")
        self._chunks = Metrics.counter("chunk", "chunks_made")
        self._tokens = Metrics.counter("chunk", "tokens_counted")

    def setup(self) -> None:
        self._threads = SideThreads(self._chunk, _characters)
        place = self._place
        store = open_store(place.dataset, place.billing_project) if place else None
        self._notes = open_reading_notes(RunFolder(store, place.run_id)) if place and store else None

    def start_bundle(self) -> None:
        self._threads.forget()

    def process(
        self, document: Document
    ) -> Iterator[ChunkedDocument | beam.pvalue.TaggedOutput[Literal["rejects"], Reject]]:
        for cut in self._threads.add(document):
            outcome = self._take(*cut)
            yield beam.pvalue.TaggedOutput(_REJECTS, outcome) if isinstance(outcome, Reject) else outcome

    def finish_bundle(self) -> Iterator[WindowedValue | beam.pvalue.TaggedOutput]:
        for cut in self._threads.drain():
            outcome = self._take(*cut)
            value = WindowedValue(outcome, GlobalWindow().max_timestamp(), (GlobalWindow(),))
            yield beam.pvalue.TaggedOutput(_REJECTS, value) if isinstance(outcome, Reject) else value

    def teardown(self) -> None:
        self._threads.close()

    def _chunk(self, document: Document) -> ChunkedDocument:
        return chunk_document(document, self._settings, self._lead, tokenizer_for_model(self._model))

    def _take(self, document: Document, cut: "Future[ChunkedDocument]") -> ChunkedDocument | Reject:
        try:
            chunked = cut.result()
        except Rejected as error:
            self._rejected.inc()
            reason, _, message = str(error).partition(": ")
            return Reject(document.doc_id, document.source_uri, None, None, "chunk", reason, message)
        spans = chunked.spans
        self._documents.inc()
        self._empty.inc(0 if spans else 1)
        self._chunks.inc(len(spans))
        tokens = sum(span.token_count for span in spans)
        self._tokens.inc(tokens)
        if self._notes is not None:
            self._notes.add(len(spans), tokens)
        return chunked


def _characters(document: Document) -> int:
    return len(document.text)
