import pickle

import apache_beam as beam
from apache_beam.metrics import MetricsFilter
from apache_beam.testing import test_pipeline
from apache_beam.testing.util import assert_that, equal_to

from transforms.chunk import ChunkDocuments
from transforms.core.chunking import ChunkSettings
from transforms.core.identity import chunk_ids
from transforms.core.lead import LeadSettings
from transforms.core.tokens import load_tokenizer
from transforms.records import ChunkedDocument, Document, Reject, Span

TEXT = "one two three four five six.\n\nseven eight nine"
IDS = tuple(chunk_ids("a", TEXT.split("\n\n")))


def chunk_documents(settings: ChunkSettings, lead: LeadSettings = LeadSettings()) -> ChunkDocuments:
    return ChunkDocuments(settings, "text-embedding-3-small", lead)


def test_every_document_keeps_its_text_and_gets_its_spans() -> None:
    pipeline = test_pipeline.TestPipeline(runner="FnApiRunner")
    documents = [Document("a", "/a", TEXT, "text/plain", '{"k": 1}'), Document("b", "/b", " \n", "text/plain")]
    with pipeline:
        chunked = pipeline | beam.Create(documents) | chunk_documents(ChunkSettings(8, 0))
        assert_that(
            chunked.documents,
            equal_to(
                [
                    ChunkedDocument(
                        "a", "/a", TEXT, (Span(0, 28, 7), Span(30, 46, 3)), IDS, ('{"k": 1}', '{"k": 1}'), ("", "")
                    ),
                    ChunkedDocument("b", "/b", " \n", (), (), (), ()),
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


def test_what_may_not_be_cut_and_is_too_long_is_a_reject_that_is_counted() -> None:
    pipeline = test_pipeline.TestPipeline(runner="FnApiRunner")
    documents = [Document("a", "/a", TEXT, "text/plain"), Document("b", "/b", "short", "text/plain")]
    with pipeline:
        chunked = pipeline | beam.Create(documents) | chunk_documents(ChunkSettings(8, 0, "none"), LeadSettings("p: "))
        message = (
            "the document has 12 tokens and may have 8 (chunking.max_tokens); raise max_tokens, or let another splitter "
            "than none cut it"
        )
        reject = Reject("a", "/a", None, None, "chunk", "too_long", message)
        assert_that(chunked.rejects, equal_to([reject]), label="rejects")
        ids = tuple(chunk_ids("b", ["short"]))
        whole = ChunkedDocument("b", "/b", "short", (Span(0, 5, 3),), ids, ("{}",), ("p: ",))
        assert_that(chunked.documents, equal_to([whole]), label="documents")
    counted = pipeline.result.metrics().query(MetricsFilter().with_namespace("chunk"))["counters"]
    assert {counter.key.metric.name: counter.committed for counter in counted} == {
        "documents_chunked": 1,
        "documents_found_empty": 0,
        "documents_rejected": 1,
        "chunks_made": 1,
        "tokens_counted": 3,
    }


def test_the_media_type_chooses_the_boundaries() -> None:
    text = "intro words to fill the first half\n\n# Main\n\nmore\n\n## Sub\n\nmore and more and more and more and more"
    documents = [Document("a", "/a", text, "text/markdown")]
    with test_pipeline.TestPipeline(runner="FnApiRunner") as pipeline:
        chunked = pipeline | beam.Create(documents) | chunk_documents(ChunkSettings(14, 0))
        first = chunked.documents | beam.Map(
            lambda document: document.text[document.spans[0].start : document.spans[0].end]
        )
        assert_that(first, equal_to(["intro words to fill the first half"]))


def test_the_step_travels_without_its_tokenizer() -> None:
    load_tokenizer("cl100k_base")
    assert len(pickle.dumps(chunk_documents(ChunkSettings()))) < 1_000
