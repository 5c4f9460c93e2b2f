import hashlib
from pathlib import Path

import apache_beam as beam
from apache_beam.testing.util import assert_that, equal_to

from tests.support.pipelines import pipeline
from transforms.core.register import digest_of, file_key
from transforms.read import FindDocuments, ReadDocuments, batch_documents
from transforms.records import Carry, FileEntry, FoundDocument, RawDocument, Reject
from transforms.storage.documents import state_of
from transforms.storage.place import RunPlace


def entry(doc_id: str, digest: bytes) -> FileEntry:
    return FileEntry(doc_id, digest, 1, 0, 3)


def digest_of_bytes(doc_id: str, uri: str, content: bytes) -> bytes:
    return digest_of(FoundDocument(doc_id, uri, 0), hashlib.sha256(content).digest())


def test_patterns_become_found_documents_once_each(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("one")
    (tmp_path / "b.txt").write_text("three")
    place = RunPlace(str(tmp_path / "out"), "run-1", 0, "f")
    with pipeline() as root:
        found = root | FindDocuments(place, [f"{tmp_path}/*.md", f"{tmp_path}/*.*"], "settings")
        named = found.documents | beam.FlatMap(lambda batch: [(f.doc_id, f.size_bytes, f.entry) for f in batch])
        assert_that(named, equal_to([("a.md", 3, None), ("b.txt", 5, None)]), label="documents")
        assert_that(found.carry, equal_to([Carry()]), label="carry")


def test_found_documents_are_read_whole_and_a_vanished_one_is_rejected(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_bytes(b"\x00\xff")
    here, gone = str(tmp_path / "a.md"), str(tmp_path / "b.md")
    with pipeline() as root:
        batch = (FoundDocument("a.md", here, 2), FoundDocument("b.md", gone, 2, "", entry("b.md", b"old")))
        result = root | beam.Create([batch]) | ReadDocuments()
        raw = RawDocument("a.md", here, b"\x00\xff", "", digest_of_bytes("a.md", here, b"\x00\xff"))
        assert_that(result.documents, equal_to([raw]), label="documents")
        assert_that(
            result.rejects | beam.Map(_without_message),
            equal_to([("b.md", gone, None, None, "read", "vanished", 1, "")]),
            label="rejects",
        )
        assert_that(result.carry, equal_to([Carry(False, file_key("b.md"))]), label="carry")


def test_remembered_document_is_not_passed_on_and_a_changed_one_leaves_its_rows_behind(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("same")
    (tmp_path / "b.md").write_text("other")
    uris = [str(tmp_path / name) for name in ("a.md", "b.md")]
    same = entry("a.md", digest_of_bytes("a.md", uris[0], b"same"))
    changed = entry("b.md", digest_of_bytes("b.md", uris[1], b"before"))
    with pipeline() as root:
        batch = (FoundDocument("a.md", uris[0], 4, "", same), FoundDocument("b.md", uris[1], 5, "", changed))
        result = root | beam.Create([batch]) | ReadDocuments()
        raw = RawDocument("b.md", uris[1], b"other", "", digest_of_bytes("b.md", uris[1], b"other"))
        assert_that(result.documents, equal_to([raw]), label="documents")
        assert_that(result.unchanged, equal_to([same]), label="unchanged")
        assert_that(result.carry, equal_to([Carry(False, file_key("b.md"))]), label="carry")


def test_a_file_of_records_is_passed_on_unread_with_the_digest_of_its_bytes(tmp_path: Path) -> None:
    uri = str(tmp_path / "a.csv.gz")
    Path(uri).write_bytes(b"anything")
    with pipeline() as root:
        documents = (root | beam.Create([(FoundDocument("a.csv.gz", uri, 8),)]) | ReadDocuments()).documents
        raw = RawDocument("a.csv.gz", uri, None, "", digest_of_bytes("a.csv.gz", uri, b"anything"), state_of(uri))
        assert_that(documents, equal_to([raw]))


def test_few_documents_go_one_by_one_and_many_in_batches_of_bounded_size() -> None:
    def sizes(count: int, size_bytes: int) -> list[int]:
        found = [FoundDocument(f"{n}.md", f"{n}.md", size_bytes) for n in range(count)]
        batches = list(batch_documents(found))
        assert [one for batch in batches for one in batch] == found
        return [len(batch) for batch in batches]

    assert sizes(3, 100) == [1, 1, 1]
    assert set(sizes(256 * 8, 100)) == {8}
    assert max(sizes(256 * 100, 100)) == 64
    assert set(sizes(256 * 64, 1_000_000)) == {4}
    assert sizes(0, 0) == []


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
