from pathlib import Path

import apache_beam as beam
from apache_beam.testing.util import assert_that, equal_to

from tests.support.pipelines import pipeline
from transforms.read import FindDocuments, ReadDocuments
from transforms.records import FoundDocument, RawDocument, Reject
from transforms.storage.place import RunPlace


def test_patterns_become_found_documents_once_each(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("one")
    (tmp_path / "b.txt").write_text("three")
    with pipeline() as root:
        found = root | FindDocuments(
            RunPlace(str(tmp_path / "out"), "run-1", 0, "f"), [f"{tmp_path}/*.md", f"{tmp_path}/*.*"]
        )
        assert_that(found | beam.Map(lambda f: (f.doc_id, f.size_bytes)), equal_to([("a.md", 3), ("b.txt", 5)]))


def test_found_documents_are_read_whole_and_a_vanished_one_is_rejected(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_bytes(b"\x00\xff")
    here, gone = str(tmp_path / "a.md"), str(tmp_path / "b.md")
    with pipeline() as root:
        found = root | beam.Create([FoundDocument("a.md", here, 2), FoundDocument("b.md", gone, 2)])
        result = found | ReadDocuments()
        assert_that(result.documents, equal_to([RawDocument("a.md", here, b"\x00\xff")]), label="documents")
        assert_that(
            result.rejects | beam.Map(_without_message),
            equal_to([("b.md", gone, None, None, "read", "vanished", 1, "")]),
            label="rejects",
        )


def test_a_file_of_records_is_passed_on_unread() -> None:
    with pipeline() as root:
        found = root | beam.Create([FoundDocument("a.csv.gz", "nowhere/a.csv.gz", 2)])
        assert_that((found | ReadDocuments()).documents, equal_to([RawDocument("a.csv.gz", "nowhere/a.csv.gz", None)]))


def _without_message(reject: Reject) -> tuple[object, ...]:
    assert reject.message
    return (
        reject.doc_id,
        reject.source_uri,
        reject.start_char,
        reject.end_char,
        reject.stage,
        reject.reason,
        reject.attempts,
        reject.request_id,
    )
