import bz2
import datetime
import decimal
import gzip
import io
import os
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from transforms.core.record_fields import BadRecord, Record, RecordSettings
from transforms.errors import UnreadableDocument
from transforms.storage import record_files
from transforms.storage.documents import open_document
from transforms.storage.record_files import holds_records, read_records

LINES = b"".join(b'{"text": "record %d"}\n' % n for n in range(1, 501))
PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "gz": gzip.compress,
    "bz2": bz2.compress,
    "zst": zstandard.ZstdCompressor().compress,
}


def read(content: bytes, source_uri: str, settings: RecordSettings | None = None) -> list[Record | BadRecord]:
    return list(read_records(io.BytesIO(content), source_uri, settings or RecordSettings()))


def parquet(columns: dict[str, object]) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.table(columns), sink)
    return sink.getvalue()


@pytest.mark.parametrize("packing", sorted(PACKERS))
def test_packed_lines_are_read_whatever_the_name_says_of_the_packing(packing: str) -> None:
    expected = [Record(str(n), f"record {n}", {}) for n in range(1, 501)]
    packed = PACKERS[packing](LINES)
    assert read(packed, f"a.jsonl.{packing}") == read(packed, "a.jsonl") == expected
    assert read(PACKERS[packing](LINES[:4200]) + PACKERS[packing](LINES[4200:]), "a.jsonl") == expected
    assert read(LINES, f"a.jsonl.{packing}") == expected


@pytest.mark.parametrize("packing", sorted(PACKERS))
@pytest.mark.parametrize("keep", [0.3, 0.99])
def test_a_packed_file_that_was_cut_is_told(packing: str, keep: float) -> None:
    packed = PACKERS[packing](os.urandom(100_000).hex().encode() + b"\n")
    with pytest.raises(UnreadableDocument, match=r"^damaged: .*the rest is not read$"):
        read(packed[: int(len(packed) * keep)], "a.jsonl.gz")


@pytest.mark.parametrize("packing", sorted(PACKERS))
def test_a_packed_file_with_a_broken_byte_is_told(packing: str) -> None:
    packed = bytearray(PACKERS[packing](os.urandom(100_000).hex().encode() + b"\n"))
    packed[10:20] = b"\xff" * 10
    with pytest.raises(UnreadableDocument, match=r"^damaged: "):
        read(bytes(packed), "a.jsonl")


@pytest.mark.parametrize("packing", sorted(PACKERS))
def test_a_packed_file_that_inflates_beyond_belief_is_refused(packing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record_files, "_RATIO_COUNTS_FROM_BYTES", 1_000_000)
    packed = PACKERS[packing](b'{"text": "a"}\n' * 2 + b" " * 20_000_000)
    with pytest.raises(
        UnreadableDocument, match=r"^zip_bomb: .* packed bytes inflate to more than .*the rest is not read"
    ):
        read(packed, "a.jsonl")


def test_records_before_the_damage_stay() -> None:
    packed = gzip.compress(LINES)[:-8]
    records = read_records(io.BytesIO(packed), "a.jsonl.gz", RecordSettings())
    assert next(records) == Record("1", "record 1", {})


def test_a_parquet_table_is_read_by_its_columns() -> None:
    content = parquet(
        {
            "key": [1, 2, 3],
            "body": ["one", None, "drei"],
            "at": [datetime.datetime(2024, 5, 6, 7), None, None],
            "price": [decimal.Decimal("1.50"), None, None],
            "tags": [["a", "b"], [], None],
            "raw": [b"\x00\xff", None, None],
            "half": [float("nan"), 0.5, None],
            "other": ["x", "y", "z"],
        }
    )
    settings = RecordSettings("body", "key", ("at", "price", "tags", "raw", "half"))
    assert read(content, "a.parquet", settings) == read(content, "a.txt", settings)
    assert read(content, "a.parquet", settings) == [
        Record("1", "one", {"at": "2024-05-06T07:00:00", "price": "1.50", "tags": ["a", "b"], "raw": "00ff"}),
        Record("2", "", {"tags": [], "half": 0.5}),
        Record("3", "drei", {}),
    ]


def test_parquet_text_as_bytes_is_decoded_and_a_number_is_no_text() -> None:
    found = read(parquet({"text": [b"gut", b"\xff"]}), "a.parquet")
    assert found == [Record("1", "gut", {}), BadRecord("2", "undecodable", "byte 0 of column 'text' is no UTF-8")]
    (bad,) = read(parquet({"text": [7]}), "a.parquet")
    assert bad == BadRecord("1", "not_text", "column 'text' is a int, not a text")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(parquet({"a": [1]}), "missing_column: there is no column named 'text'; it has 'a'", id="column"),
        pytest.param(b"PAR1 and then nothing", "damaged: ", id="no table"),
        pytest.param(b"", "damaged: ", id="empty"),
        pytest.param(parquet({"text": ["a" * 1000] * 1000})[:200], "damaged: ", id="cut"),
    ],
)
def test_a_parquet_table_that_cannot_be_read_is_refused(content: bytes, message: str) -> None:
    with pytest.raises(UnreadableDocument) as caught:
        read(content, "a.parquet")
    assert str(caught.value).startswith(message)


def test_a_broken_page_of_parquet_is_told() -> None:
    content = bytearray(parquet({"text": [os.urandom(50).hex() for _ in range(2_000)]}))
    content[4:60] = b"\xff" * 56
    with pytest.raises(UnreadableDocument, match=r"^damaged: "):
        read(bytes(content), "a.parquet")


@pytest.mark.parametrize(
    ("content", "source_uri", "answer"),
    [
        (b"{}", "a.jsonl", True), (b"a,b", "a.csv", True), (b"a", "a.TSV", True), (b"", "a.parquet", True),
        (b"PAR1", "a.txt", True), (b"\x1f\x8b", "a.csv.gz", True), (b"\x1f\x8b", "a.txt.gz", False),
        (b"%PDF-1.7", "a.csv", False), (b"PK\x03\x04", "a.jsonl", False), (b"{}", "a.json", False), (b"x", "a.md", False),
        (b"%PDF-1.7", "a.parquet", False),
    ],
)  # fmt: skip
def test_files_of_records_are_told_by_first_bytes_then_by_name(content: bytes, source_uri: str, answer: bool) -> None:
    assert holds_records(io.BytesIO(content), source_uri) is answer


def test_a_file_that_vanished_or_is_a_folder_is_unreadable(tmp_path: Path) -> None:
    with pytest.raises(UnreadableDocument, match=r"^vanished: "):
        open_document(f"{tmp_path}/none.jsonl")
    with pytest.raises(UnreadableDocument, match=r"^is_directory: "):
        open_document(str(tmp_path))


def test_a_file_that_fails_while_it_is_read_is_unreadable() -> None:
    class Failing(io.BytesIO):
        def read1(self, size: int | None = -1) -> bytes:
            raise OSError(5, "Input/output error")

    with pytest.raises(UnreadableDocument, match=r"^unreadable: reading a.jsonl failed: Input/output error"):
        list(read_records(Failing(LINES), "a.jsonl", RecordSettings()))
