"""ChunkDocuments: a document to the spans of its chunks."""

import dataclasses
from collections.abc import Iterator

import apache_beam as beam
from apache_beam.metrics import Metrics

from transforms.core.chunking import ChunkSettings, chunk_text
from transforms.core.tokens import tokenizer_for_model
from transforms.records import ChunkedDocument, Document


@dataclasses.dataclass
class ChunkDocuments(beam.PTransform):
    """Cut each document into chunks: 1 → 1, and a document of nothing but white space has none.

    Pure: the same text gives the same spans, however often a bundle is repeated. Tokens are counted as ``model`` does, or as
    near as is known (``tokenizer_for_model``); each process loads the tokenizer when its first document comes.
    """

    settings: ChunkSettings
    model: str

    def expand(self, documents: beam.PCollection[Document]) -> beam.PCollection[ChunkedDocument]:
        """Apply to documents."""
        chunk = beam.ParDo(_ChunkDocumentFn(self.settings, self.model))
        return documents | "Chunk document" >> chunk.with_output_types(ChunkedDocument)


class _ChunkDocumentFn(beam.DoFn):
    def __init__(self, settings: ChunkSettings, model: str) -> None:
        self._settings = settings
        self._model = model
        self._documents = Metrics.counter("chunk", "documents_chunked")
        self._empty = Metrics.counter("chunk", "documents_found_empty")
        self._chunks = Metrics.counter("chunk", "chunks_made")
        self._tokens = Metrics.counter("chunk", "tokens_counted")

    def process(self, document: Document) -> Iterator[ChunkedDocument]:
        tokenizer = tokenizer_for_model(self._model)
        spans = chunk_text(document.text, document.media_type, self._settings, tokenizer)
        self._documents.inc()
        self._empty.inc(0 if spans else 1)
        self._chunks.inc(len(spans))
        self._tokens.inc(sum(span.token_count for span in spans))
        yield ChunkedDocument(document.doc_id, document.source_uri, document.text, document.metadata, spans)
