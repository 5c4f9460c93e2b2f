"""How much of a bucket is moved, in how many requests."""

import gzip
import hashlib
import io
import json
import os
import random

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.storage.builders import DIMENSION, commit_staged, hash_of, make_part, texts, vectors_of
from tests.storage.conftest import UNCLOSED
from tests.storage.faulty_proxy import Proxy
from transforms.core.buckets import part_name
from transforms.core.record_fields import RecordSettings
from transforms.errors import UnreadableDocument
from transforms.storage import documents, gcs_ranges
from transforms.storage.documents import find_documents, open_document, read_document, read_with_digest
from transforms.storage.gcs import open_object
from transforms.storage.journal import Journal
from transforms.storage.previous_version import PreviousVersion
from transforms.storage.record_files import holds_records, read_records
from transforms.storage.run_folder import RunFolder
from transforms.storage.store import Store

pytestmark = pytest.mark.engines


def put_lines(store: Store, name: str, rows: int) -> int:
    """Put a file of lines and return its size."""
    data = b"".join(b'{"text": "%08d %s"}\n' % (n, b"word " * 40) for n in range(rows))
    store.write_bytes(name, gzip.compress(data, 1) if name.endswith(".gz") else data)
    return len(store.read_bytes(name))


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz"])
def test_lines_are_read_as_a_stream_in_few_requests(
    gs_store: Store, proxy: Proxy, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(gcs_ranges, "READ_AHEAD_BYTES", 1_000_000)
    rows = 40_000
    size = put_lines(gs_store, name, rows)
    proxy.forget()
    with open_document(f"{gs_store.root}/{name}") as file:
        assert holds_records(file, name)
        assert proxy.got_bytes < 70_000
        first = next(iter(read_records(file, name, RecordSettings())))
        assert first.record_id == "1"
        assert proxy.got_bytes < 4_000_000
        assert sum(1 for _ in read_records(file, name, RecordSettings())) == rows
    ranges = [one for one in proxy.asked if one.is_media]
    assert proxy.got_bytes < 1.7 * size + 200_000  # the beginning was read twice
    assert len(ranges) < 16 + 1.7 * size / 1_000_000
    assert len(proxy.asked) == len(ranges) + 1


def test_a_stream_that_goes_on_reads_ahead_and_holds_little(
    gs_store: Store, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gcs_ranges, "READ_AHEAD_BYTES", 200_000)
    data = os.urandom(3_000_000)
    gs_store.write_bytes("x", data)
    proxy.forget()
    with open_object(f"{gs_store.root}/x") as file:
        found, most = b"", 0
        while piece := file.read1(10_000):
            found += piece
            most = max(most, len(file._held))
    assert found == data
    assert most <= 200_000
    assert len(proxy.asked) < 24  # in steps of what is asked for at least it would be 46
    assert proxy.got_bytes < 3_010_000


def test_any_sequence_of_reads_and_jumps_gives_the_bytes_that_are_there(
    gs_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gcs_ranges, "READ_AHEAD_BYTES", 5_000)
    monkeypatch.setattr(gcs_ranges, "PIECE_BYTES", 3_000)
    monkeypatch.setattr(gcs_ranges, "FIRST_BYTES", 100)
    data = os.urandom(60_000)
    gs_store.write_bytes("x", data)
    same, seeded = io.BytesIO(data), random.Random(3)
    with open_object(f"{gs_store.root}/x") as file:
        for _ in range(300):
            if seeded.random() < 0.3:
                at = seeded.randrange(61_000)
                assert file.seek(at) == same.seek(at)
            size = seeded.choice([0, 1, 16, 500, 4_000, 20_000])
            assert file.read(size) == same.read(size)
            assert file.tell() == same.tell()
        file.seek(-5, io.SEEK_END)
        assert file.read() == data[-5:]
        assert file.read(10) == b""


def test_a_large_read_comes_in_pieces_over_several_connections(
    gs_store: Store, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gcs_ranges, "PIECE_BYTES", 1_000_000)
    data = os.urandom(5_500_000)
    gs_store.write_bytes("x", data)
    proxy.forget()
    with open_object(f"{gs_store.root}/x") as file:
        assert file.read() == data
    assert sorted(one.headers["range"] for one in proxy.asked if one.is_media) == sorted(
        f"bytes={at}-{min(at + 1_000_000, 5_500_000) - 1}" for at in range(0, 5_500_000, 1_000_000)
    )


def test_a_table_is_read_by_its_footer_and_the_columns_asked_for(gs_store: Store, proxy: Proxy) -> None:
    rows = 20_000
    blob = pa.array(np.frombuffer(os.urandom(rows * 200), "S200").tolist(), pa.binary())
    sink = io.BytesIO()
    pq.write_table(pa.table({"text": [f"text {n}" for n in range(rows)], "blob": blob}), sink, row_group_size=5_000)
    gs_store.write_bytes("t.parquet", sink.getvalue())
    proxy.forget()
    uri = f"{gs_store.root}/t.parquet"
    with open_document(uri) as file:
        assert holds_records(file, uri)
        assert sum(1 for _ in read_records(file, uri, RecordSettings())) == rows
    assert len(sink.getvalue()) > 4_000_000
    assert proxy.got_bytes < 700_000
    assert len(proxy.asked) <= 8  # properties, first bytes, footer, one for each row group


def test_hashes_of_a_version_are_read_without_its_vectors_and_texts(gs_store: Store, proxy: Proxy) -> None:
    run = RunFolder(gs_store, "run")
    table = make_part([os.urandom(400).hex() for _ in range(3_000)])
    with gs_store.open_output(run.path("part")) as output, pq.ParquetWriter(output, table.schema) as writer:
        writer.write_table(table, row_group_size=1_000)
    staged = [(run.path("part"), part_name(0, 0), 3_000, output.size_bytes, output.sha256)]
    manifest = commit_staged(gs_store, run, staged, None)
    proxy.forget()
    assert len(PreviousVersion(gs_store, manifest).read_hashes(0, 0)) == 3_000
    assert len(proxy.asked) <= 6  # listing, properties, footer, one for each row group
    assert manifest.parts[0].bytes > 5_000_000
    assert proxy.got_bytes < 300_000


def journal_of(store: Store, count: int, dimension: int) -> None:
    some = texts(count)
    vectors = np.repeat(vectors_of(some), dimension // DIMENSION, axis=1)
    with Journal(store, "f").writer("run") as writer:
        for at in range(0, count, 100):
            writer.append(2, [hash_of(text) for text in some[at : at + 100]], vectors[at : at + 100], 1, "m")


def test_hashes_of_a_journal_are_read_without_its_vectors(gs_store: Store, proxy: Proxy) -> None:
    """A plan asks what is paid for: a hundredth of what is there."""
    journal_of(gs_store, 3_000, 1_024)
    proxy.forget()
    journal = Journal(gs_store, "f")
    segments = journal.segments()
    stored = sum(one.size_bytes for one in segments)
    assert stored > 12_000_000
    found = [journal.read_hashes(2, bucket) for bucket in range(4)]
    assert set().union(*found) == {hash_of(text) for text in texts(3_000)}
    assert len(proxy.asked) == 1 + len(segments)
    assert proxy.got_bytes < 70_000 * len(segments)
    assert proxy.got_bytes < stored / 20


def test_an_index_beyond_the_first_bytes_takes_one_more_request(gs_store: Store, proxy: Proxy) -> None:
    journal_of(gs_store, 3_000, 4)
    proxy.forget()
    journal = Journal(gs_store, "f")
    assert len(journal.read_hashes(0, 0)) == 3_000
    assert len(proxy.asked) <= 1 + 2 * len(journal.segments())


def test_a_file_of_records_is_remembered_without_being_read(gs_store: Store, proxy: Proxy) -> None:
    def digest(content: bytes) -> bytes:
        gs_store.write_bytes("a.jsonl", content)
        (found,) = find_documents([f"{gs_store.root}/a.jsonl"])
        proxy.forget()
        reading = read_with_digest(found, "")
        assert reading.content is None
        assert len(proxy.asked) == 1
        assert proxy.got_bytes < 2_000
        return reading.digest

    first = digest(b"x" * 100_000)
    assert digest(b"y" * 100_000) != first
    assert digest(b"x" * 100_000) == first


def test_a_bucket_is_listed_once_and_each_document_is_one_request(gs_store: Store, proxy: Proxy) -> None:
    for number in range(12):
        gs_store.write_bytes(f"docs/d{number}/t.txt", b"text")
    proxy.forget()
    found = find_documents([f"{gs_store.root}/docs/**/*.txt"])
    assert len(found) == 12
    assert len(proxy.asked) == 1
    for document in found:
        assert read_document(document.source_uri) == b"text"
    assert len(proxy.asked) == 13


@pytest.mark.parametrize(("pattern", "listed"), [("docs/a*.txt", 1), ("docs/*.txt", 2), ("docs/a1.txt", 1)])
def test_only_what_a_pattern_can_match_is_listed(gs_store: Store, proxy: Proxy, pattern: str, listed: int) -> None:
    for name in ("docs/a1.txt", "docs/b1.txt", "docs/deep/er/a1.txt", "docs/deep/a2.txt"):
        gs_store.write_bytes(name, b"x" * 100)
    proxy.forget()
    assert len(find_documents([f"{gs_store.root}/{pattern}"])) == listed
    (asked,) = proxy.asked
    prefix = f"{gs_store.root}/{pattern}".partition("*")[0].split("/", 3)[3]
    assert asked.query["prefix"] == [prefix]
    assert asked.query["delimiter"] == ["/"]


@UNCLOSED
def test_a_document_beyond_the_limit_is_not_fetched_whole(
    gs_store: Store, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(documents, "MAX_DOCUMENT_BYTES", 100_000)
    gs_store.write_bytes("huge", os.urandom(1_000_000))
    with pytest.raises(UnreadableDocument, match=r"^too_large: gs://.*/huge has more bytes, and a document may have"):
        read_document(f"{gs_store.root}/huge")


@UNCLOSED
def test_a_document_that_was_stored_packed_is_read_unpacked(gs_store: Store) -> None:
    from transforms.storage.gcs_client import open_bucket, split_address

    bucket, name = split_address(f"{gs_store.root}/packed.txt")
    blob = open_bucket(bucket, "").blob(name)
    blob.content_encoding = "gzip"
    blob.upload_from_string(
        gzip.compress(b"a text that was packed by the one who uploaded it"), content_type="text/plain"
    )
    assert read_document(f"{gs_store.root}/packed.txt") == b"a text that was packed by the one who uploaded it"


@pytest.mark.parametrize("other", [b"another", b"x" * 400_000])
def test_an_object_that_is_replaced_while_it_is_read_is_told(gs_store: Store, other: bytes) -> None:
    gs_store.write_bytes("a.jsonl", b"".join(json.dumps({"text": "x" * 100}).encode() + b"\n" for _ in range(2_000)))
    uri = f"{gs_store.root}/a.jsonl"
    with open_document(uri) as file:
        records = read_records(file, uri, RecordSettings())
        assert next(records).record_id == "1"
        gs_store.write_bytes("a.jsonl", other)
        with pytest.raises(UnreadableDocument, match=r"unreadable: .*the object was replaced while it was read"):
            list(records)


@UNCLOSED
def test_a_stream_survives_a_network_that_fails(gs_store: Store, shaky_gs_store: Store, proxy: Proxy) -> None:
    data = os.urandom(2_000_000)
    gs_store.write_bytes("x", data)
    assert gs_store.digest("x") == hashlib.sha256(data).hexdigest()
    with open_object(f"{gs_store.root}/x") as file:
        assert b"".join(iter(lambda: file.read(30_000), b"")) == data
    assert len(set(proxy.statuses) & {503, 429, 500, 408}) >= 1


def test_an_empty_object_has_no_first_bytes(gs_store: Store) -> None:
    gs_store.write_bytes("empty", b"")
    assert gs_store.read_head("empty", 10) == b""
    assert read_document(f"{gs_store.root}/empty") == b""
    with open_document(f"{gs_store.root}/empty") as file:
        assert file.read(10) == b""
