"""ExtractText: the bytes of a document to its text."""

import dataclasses
import json
from collections.abc import Iterator
from typing import NamedTuple

import apache_beam as beam
from apache_beam.metrics import Metrics

from transforms.core.extraction import extract_text
from transforms.errors import UnreadableDocument
from transforms.records import Document, RawDocument, Reject

_REJECTS = "rejects"


class ExtractResult(NamedTuple):
    """What extracting gives: texts, and rejects for what holds no text that can be read."""

    documents: beam.PCollection[Document]
    rejects: beam.PCollection[Reject]


@dataclasses.dataclass
class ExtractText(beam.PTransform):
    """Turn each document's bytes into text: 1 → 1, or a reject (``undecodable``, ``binary``, ``unsupported_format``).

    Pure: the same bytes give the same text, however often a bundle is repeated. An error of any other kind fails the run.
    """

    def expand(self, documents: beam.PCollection[RawDocument]) -> ExtractResult:
        """Apply to raw documents."""
        extract = beam.ParDo(_ExtractTextFn()).with_output_types(Document)
        outputs = documents | "Extract text" >> extract.with_outputs(_REJECTS, main="documents")
        return ExtractResult(outputs.documents, outputs[_REJECTS])


class _ExtractTextFn(beam.DoFn):
    def __init__(self) -> None:
        self._extracted = Metrics.counter("extract", "documents_extracted")
        self._rejected = Metrics.counter("extract", "documents_rejected")

    def process(self, raw: RawDocument) -> Iterator[Document | beam.pvalue.TaggedOutput]:
        try:
            extracted = extract_text(raw.content, raw.source_uri)
        except UnreadableDocument as error:
            self._rejected.inc()
            reason, _, message = str(error).partition(": ")
            reject = Reject(raw.doc_id, raw.source_uri, None, None, "extract", reason, message)
            yield beam.pvalue.TaggedOutput(_REJECTS, reject)
            return
        self._extracted.inc()
        metadata = json.dumps(extracted.metadata, ensure_ascii=False, sort_keys=True)
        yield Document(raw.doc_id, raw.source_uri, extracted.text, extracted.media_type, metadata)
