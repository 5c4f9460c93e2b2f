import apache_beam as beam
import pytest
from apache_beam.metrics import MetricsFilter
from apache_beam.testing import test_pipeline
from apache_beam.testing.util import assert_that, equal_to

from transforms.extract import ExtractText
from transforms.records import Document, RawDocument, Reject

GOOD = RawDocument("a.md", "docs/a.md", "# Ä\n\ntext\r\n".encode())
BAD = RawDocument("b.txt", "docs/b.txt", b"caf\xe9")


def test_each_document_ends_as_text_or_as_a_reject() -> None:
    pipeline = test_pipeline.TestPipeline(runner="FnApiRunner")
    with pipeline:
        extracted = pipeline | beam.Create([GOOD, BAD]) | ExtractText()
        assert_that(
            extracted.documents,
            equal_to(
                [
                    Document(
                        "a.md",
                        "docs/a.md",
                        "# Ä\n\ntext\r\n",
                        "text/markdown",
                        '{"media_type": "text/markdown", "title": "Ä"}',
                    )
                ]
            ),
            "documents",
        )
        message = "byte 3 is 0xe9, which is no UTF-8 (unexpected end of data); convert the document to UTF-8"
        assert_that(
            extracted.rejects,
            equal_to([Reject("b.txt", "docs/b.txt", None, None, "extract", "undecodable", message)]),
            "rejects",
        )
    counted = pipeline.result.metrics().query(MetricsFilter().with_namespace("extract"))["counters"]
    assert {counter.key.metric.name: counter.committed for counter in counted} == {
        "documents_extracted": 1,
        "documents_rejected": 1,
    }


def test_any_other_error_fails_the_run() -> None:
    broken = RawDocument("a.md", "a.md", None)  # type: ignore[arg-type]
    with pytest.raises(Exception, match="Extract text"), test_pipeline.TestPipeline(runner="FnApiRunner") as pipeline:
        pipeline | beam.Create([broken]) | ExtractText()
