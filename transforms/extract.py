"""ExtractText: the bytes of a document to its text, or to the texts of its records."""

import dataclasses
from collections.abc import Iterator
from typing import NamedTuple

import apache_beam as beam
from apache_beam.metrics import Metrics

from transforms.core.record_fields import RecordSettings
from transforms.extractor_process import ExtractorProcess
from transforms.records import Document, RawDocument, Reject
from transforms.unpack import unpack_documents

_REJECTS = "rejects"


class ExtractResult(NamedTuple):
    """What extracting gives: texts, and rejects for what holds no text that can be read."""

    documents: beam.PCollection[Document]
    rejects: beam.PCollection[Reject]


@dataclasses.dataclass
class ExtractText(beam.PTransform):
    """Turn each document's bytes into text: 1 → 1, or 1 → n for a file of records, each a Document or a Reject.

    Records are ``doc_id#record`` and are emitted as they are read, so that memory holds a few of them. Formats whose readers
    can hang or crash are read in one process of their own for each worker, under a time limit.

    The same bytes give the same text, however often a bundle is repeated. An error of any other kind fails the run.

    Args:
        settings: which columns of records are read.
        billing_project: pays for reading from buckets of which the requester pays.
    """

    settings: RecordSettings = dataclasses.field(default_factory=RecordSettings)
    billing_project: str = ""

    def expand(self, documents: beam.PCollection[RawDocument]) -> ExtractResult:
        """Apply to raw documents."""
        extract = beam.ParDo(_ExtractTextFn(self.settings, self.billing_project)).with_output_types(Document)
        outputs = documents | "Extract text" >> extract.with_outputs(_REJECTS, main="documents")
        return ExtractResult(outputs.documents, outputs[_REJECTS])


class _ExtractTextFn(beam.DoFn):
    def __init__(self, settings: RecordSettings, billing_project: str) -> None:
        self._settings, self._billing_project = settings, billing_project
        self._extracted = Metrics.counter("extract", "documents_extracted")
        self._rejected = Metrics.counter("extract", "documents_rejected")

    def setup(self) -> None:
        self._process = ExtractorProcess()

    def process(self, raw: RawDocument) -> Iterator[Document | beam.pvalue.TaggedOutput]:
        for outcome in unpack_documents(raw, self._settings, self._process.extract, self._billing_project):
            if isinstance(outcome, Reject):
                self._rejected.inc()
                yield beam.pvalue.TaggedOutput(_REJECTS, outcome)
            else:
                self._extracted.inc()
                yield outcome

    def teardown(self) -> None:
        self._process.close()
