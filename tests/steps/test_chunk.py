import pickle

import apache_beam as beam
from apache_beam.metrics import MetricsFilter
from apache_beam.testing import test_pipeline
from apache_beam.testing.util import assert_that, equal_to

from transforms.chunk import ChunkDocuments
from transforms.core.chunking import ChunkSettings
from transforms.core.tokens import load_tokenizer
from transforms.records import ChunkedDocument, Document, Span

TEXT = "one two three four five six.\n\nseven eight nine"


def test_every_document_keeps_its_text_and_gets_its_spans() -> None:
    pipeline = test_pipeline.TestPipeline(runner="FnApiRunner")
    documents = [Document("a", "/a", TEXT, "text/plain", '{"k": 1}'), Document("b", "/b", " \n", "text/plain")]
    with pipeline:
        chunked = pipeline | beam.Create(documents) | ChunkDocuments(ChunkSettings(8, 0), "text-embedding-3-small")
        assert_that(
            chunked,
            equal_to(
                [
                    ChunkedDocument("a", "/a", TEXT, '{"k": 1}', (Span(0, 28, 7), Span(30, 46, 3))),
                    ChunkedDocument("b", "/b", " \n", "{}", ()),
                ]
            ),
        )
    counted = pipeline.result.metrics().query(MetricsFilter().with_namespace("chunk"))["counters"]
    assert {counter.key.metric.name: counter.committed for counter in counted} == {
        "documents_chunked": 2,
        "documents_found_empty": 1,
        "chunks_made": 2,
        "tokens_counted": 10,
    }


def test_the_media_type_chooses_the_boundaries() -> None:
    text = "intro words to fill the first half\n\n# Main\n\nmore\n\n## Sub\n\nmore and more and more and more and more"
    documents = [Document("a", "/a", text, "text/markdown")]
    with test_pipeline.TestPipeline(runner="FnApiRunner") as pipeline:
        chunked = pipeline | beam.Create(documents) | ChunkDocuments(ChunkSettings(14, 0), "text-embedding-3-small")
        first = chunked | beam.Map(lambda document: document.text[document.spans[0].start : document.spans[0].end])
        assert_that(first, equal_to(["intro words to fill the first half"]))


def test_the_step_travels_without_its_tokenizer() -> None:
    load_tokenizer("cl100k_base")
    assert len(pickle.dumps(ChunkDocuments(ChunkSettings(), "text-embedding-3-small"))) < 1_000
