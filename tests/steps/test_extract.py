import gzip
import io
import os
import tracemalloc
from pathlib import Path

import apache_beam as beam
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from apache_beam.metrics import MetricsFilter
from apache_beam.testing import test_pipeline
from apache_beam.testing.util import assert_that, equal_to

from tests.support.packages import make_pdf
from transforms.core.extraction import extract_text
from transforms.core.record_fields import RecordSettings
from transforms.extract import ExtractText
from transforms.records import Document, RawDocument, Reject
from transforms.storage.documents import state_of
from transforms.unpack import unpack_documents

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
                        "a.md",
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
    broken = RawDocument("a.md", "a.md", "text")  # type: ignore[arg-type]
    with pytest.raises(Exception, match="Extract text"), test_pipeline.TestPipeline(runner="FnApiRunner") as pipeline:
        pipeline | beam.Create([broken]) | ExtractText()


def test_a_file_of_records_becomes_a_document_or_a_reject_each(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"body": "one", "key": "x", "n": 1}\n{"body": 7, "key": "y"}\n{"body": "", "key": "z"}\n')
    pipeline = test_pipeline.TestPipeline(runner="FnApiRunner")
    with pipeline:
        raw = pipeline | beam.Create([RawDocument("a.jsonl", str(path), None, "", b"digest")])
        extracted = raw | ExtractText(RecordSettings("body", "key", ("n",)))
        assert_that(
            extracted.documents,
            equal_to(
                [
                    Document(
                        "a.jsonl#x",
                        f"{path}#x",
                        "one",
                        "text/plain",
                        '{"media_type": "text/plain", "n": 1}',
                        "a.jsonl",
                        b"digest",
                    ),
                    Document(
                        "a.jsonl#z", f"{path}#z", "", "text/plain", '{"media_type": "text/plain"}', "a.jsonl", b"digest"
                    ),
                ]
            ),
            "documents",
        )
        reject = Reject(
            "a.jsonl#2", f"{path}#2", None, None, "extract", "not_text", "column 'body' is a int, not a text"
        )
        assert_that(extracted.rejects, equal_to([reject]), "rejects")


def parquet(texts: list[str]) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.table({"text": texts}), sink)
    return sink.getvalue()


def unpacked(raw: RawDocument) -> list[Document | Reject]:
    return list(unpack_documents(raw, RecordSettings(), extract_text))


def test_a_file_of_records_that_vanished_is_one_reject(tmp_path: Path) -> None:
    (reject,) = unpacked(RawDocument("a.csv", f"{tmp_path}/a.csv", None))
    assert isinstance(reject, Reject)
    assert (reject.doc_id, reject.reason) == ("a.csv", "vanished")


@pytest.mark.parametrize("name", ["a.jsonl", "a.parquet"])
@pytest.mark.parametrize("change", ["none", "longer", "other", "gone"])
def test_a_file_of_records_that_changed_since_it_was_hashed_leaves_no_digest(
    tmp_path: Path, name: str, change: str
) -> None:
    path, uri = tmp_path / name, f"{tmp_path}/{name}"
    path.write_bytes(b'{"text": "a"}\n{"text": "b"}\n' if name == "a.jsonl" else parquet(["a", "b"]))
    documents = unpack_documents(
        RawDocument(name, uri, None, "", b"digest", state_of(uri)), RecordSettings(), extract_text
    )
    first = next(documents)
    if change == "longer":
        path.write_bytes(path.read_bytes() + b" ")
    elif change == "other":
        os.utime(path, ns=(0, path.stat().st_mtime_ns + 1))
    elif change == "gone":
        path.unlink()
    digests = [one.digest for one in (first, *documents) if isinstance(one, Document)]
    assert digests == ([b"digest", b"digest"] if change == "none" else [b"digest", b""])


def test_a_changed_file_named_as_records_that_is_something_else_leaves_no_digest(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(make_pdf([["page"]]))
    (document,) = unpacked(RawDocument("a.csv", f"{tmp_path}/a.csv", None, "", b"digest", "another state"))
    assert isinstance(document, Document)
    assert (document.text, document.digest) == ("page", b"")


def test_a_file_of_records_without_any_is_a_document_without_text(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(b"\n\n")
    uri = f"{tmp_path}/a.jsonl"
    assert unpacked(RawDocument("a.jsonl", uri, None)) == [
        Document("a.jsonl", uri, "", "text/plain", file_id="a.jsonl")
    ]


def test_a_file_named_as_records_that_is_something_else_is_read_as_that(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(make_pdf([["page"]]))
    (document,) = unpacked(RawDocument("a.csv", f"{tmp_path}/a.csv", None))
    assert isinstance(document, Document)
    assert (document.doc_id, document.text, document.media_type) == ("a.csv", "page", "application/pdf")


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz"])
def test_a_large_file_of_records_is_read_in_little_memory(tmp_path: Path, name: str) -> None:
    line = b'{"text": "%s"}\n' % (b"word " * 200)
    content = line * 30_000
    (tmp_path / name).write_bytes(gzip.compress(content, 1) if name.endswith(".gz") else content)
    del content
    tracemalloc.start()
    documents = unpack_documents(RawDocument(name, f"{tmp_path}/{name}", None), RecordSettings(), extract_text)
    count = sum(isinstance(one, Document) for one in documents)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 30_000
    assert peak < 10_000_000
