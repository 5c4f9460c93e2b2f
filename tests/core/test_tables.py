import io
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.builders import make_rows
from transforms.core.buckets import bucket_of
from transforms.core.manifest import Stamp
from transforms.core.tables import (
    KEY_COLUMNS,
    compare_rows,
    first_rows_of_texts,
    hashes_of,
    hex_hashes,
    leading_bits,
    list_of_hashes,
    merge_chunks,
    pack_chunks,
    part_batch,
    part_schema,
    read_rows,
    rejects_table,
    split_by_bucket,
    write_rows,
)
from transforms.records import Reject

STAMP = Stamp("m", 3, "m-001", "api.example.com", True, "", '{"max_tokens": 8}')
CONTRACT = [
    ("id", "string"),
    ("chunk", "string"),
    ("vector", "fixed_size_list<item: float>[3]"),
    ("doc_id", "string"),
    ("source_uri", "string"),
    ("chunk_index", "int32"),
    ("start_char", "int64"),
    ("end_char", "int64"),
    ("token_count", "int32"),
    ("text_hash", "string"),
    ("metadata", "string"),
    ("model", "dictionary<values=string, indices=int32, ordered=0>"),
    ("dimensions", "int32"),
]
TEXTS = st.lists(st.sampled_from(["a", "b", "c d", "é 😀", "e f g"]), max_size=12)


@settings(max_examples=30, deadline=None)
@given(TEXTS, st.integers(0, 6))
def test_rows_survive_splitting_and_merging(chunks: list[str], bits: int) -> None:
    rows = make_rows(chunks)
    batches = split_by_bucket(rows, bits)
    merged = [merge_chunks([batch]) for _, batch in batches]
    for (bucket, _), table in zip(batches, merged, strict=True):
        assert {bucket_of(h, bits) for h in table.column("text_hash").to_pylist()} == {bucket}
    by_id = {row["id"]: row for table in merged for row in table.to_pylist()}
    assert by_id == {row["id"]: row for row in rows.to_pylist()}


def test_merged_rows_are_sorted_by_hash_then_id_whatever_the_order_of_batches() -> None:
    one, two = pack_chunks(make_rows(["x", "y", "x"])), pack_chunks(make_rows(["x", "z"], doc_id="b.md"))
    first, second = merge_chunks([one, b"", two]), merge_chunks([two, one])
    assert first.equals(second)
    keys = list(zip(first.column("text_hash").to_pylist(), first.column("id").to_pylist(), strict=True))
    assert keys == sorted(keys)


def test_key_columns_can_be_read_without_the_text() -> None:
    assert merge_chunks([pack_chunks(make_rows(["x"]))], KEY_COLUMNS).column_names == list(KEY_COLUMNS)


def test_no_batches_are_an_empty_table() -> None:
    assert merge_chunks([]).num_rows == 0
    assert merge_chunks([b""], KEY_COLUMNS).column_names == list(KEY_COLUMNS)


def test_hashes_with_zeros_at_their_end_stay_whole() -> None:
    raw = [bytes(31) + b"\1", b"\1" + bytes(31)]
    table = pa.table({"text_hash": pa.array(raw, pa.binary(32))})
    assert list_of_hashes(hashes_of(table)) == raw
    assert hex_hashes(hashes_of(table)).to_pylist() == [one.hex() for one in raw]


def test_hashes_of_a_slice_are_the_slice() -> None:
    table = make_rows(["x", "y", "z"])
    assert list_of_hashes(hashes_of(table.slice(1, 1))) == table.column("text_hash").to_pylist()[1:2]


def test_leading_bits_agree_with_bucket_of() -> None:
    hashes = hashes_of(make_rows([str(n) for n in range(50)]))
    for bits in (0, 1, 5, 20):
        assert leading_bits(hashes, bits).tolist() == [bucket_of(h, bits) for h in list_of_hashes(hashes)]


def test_first_rows_name_each_distinct_text_once() -> None:
    rows = merge_chunks([pack_chunks(make_rows(["x", "y", "x", "x"]))])
    first = first_rows_of_texts(hashes_of(rows))
    assert sorted(rows.column("chunk").take(pa.array(first)).to_pylist()) == ["x", "y"]
    assert first_rows_of_texts(np.empty(0, "S32")).tolist() == []


def test_ipc_rows_come_back() -> None:
    rows = make_rows(["x", "y"])
    assert read_rows(write_rows(rows)).equals(rows)


def test_part_has_the_columns_of_the_contract_and_its_stamp() -> None:
    schema = part_schema(STAMP, "float32", "https://api.example.com/v1")
    assert [(field.name, str(field.type)) for field in schema] == CONTRACT
    assert not any(field.nullable for field in schema)
    metadata = {key.decode(): value.decode() for key, value in schema.metadata.items()}
    assert metadata["embedding.model"] == "m"
    assert metadata["embedding.model_reported"] == "m-001"
    assert metadata["embedding.dimensions"] == "3"
    assert metadata["embedding.normalized"] == "true"
    assert metadata["embedding.base_url_host"] == "api.example.com"
    assert metadata["embedding.column"] == "vector"
    assert json.loads(metadata["PANDAS_ATTRS"])["embedding.chunker"] == STAMP.chunker
    features = json.loads(metadata["huggingface"])["info"]["features"]
    assert features["vector"] == {"feature": {"dtype": "float32", "_type": "Value"}, "length": 3, "_type": "List"}
    assert json.loads(metadata["embedding_functions"])[0]["model"]["base_url"] == "https://api.example.com/v1"


def test_local_part_names_no_embedding_function() -> None:
    assert b"embedding_functions" not in part_schema(STAMP, "float32", "").metadata


@pytest.mark.parametrize("vector_type", ["float32", "float16"])
def test_part_rows_can_be_written_and_read_back(vector_type: str) -> None:
    rows = merge_chunks([pack_chunks(make_rows(["x", "y"]))])
    vectors = np.array([[1, 0, 0.5], [0, -1, 0.25]], np.float32)
    schema = part_schema(STAMP, vector_type, "")
    sink = io.BytesIO()
    pq.write_table(part_batch(rows, vectors, schema, STAMP), sink)
    read = pq.ParquetFile(pa.BufferReader(sink.getvalue())).read()
    assert read.column("vector").to_pylist() == vectors.tolist()
    assert read.column("text_hash").to_pylist() == [h.hex() for h in rows.column("text_hash").to_pylist()]
    assert read.column("model").to_pylist() == ["m", "m"]
    assert read.column("dimensions").to_pylist() == [3, 3]


def test_part_with_a_vector_too_few_is_refused() -> None:
    rows = make_rows(["x", "y"])
    with pytest.raises(ValueError, match=r"2 rows need vectors of shape \(2, 3\), got \(1, 3\)"):
        part_batch(rows, np.zeros((1, 3), np.float32), part_schema(STAMP, "float32", ""), STAMP)


def test_comparison_names_added_removed_and_updated_ids() -> None:
    before = make_rows(["keep", "gone", "moved"])
    after = pa.concat_tables(
        [make_rows(["keep"]), make_rows(["fill", "er", "moved"]).slice(2), make_rows(["new"], "b.md")]
    )
    changes, added, removed, kept, updated = compare_rows(after, before)
    assert (added, removed, kept, updated) == (1, 1, 2, 1)
    words = {row["change"]: row["id"] for row in changes.to_pylist()}
    assert words["added"] == make_rows(["new"], "b.md").column("id")[0].as_py()
    assert words["removed"] == before.column("id")[1].as_py()
    assert words["updated"] == before.column("id")[2].as_py()


def test_first_version_adds_every_row() -> None:
    changes, *counts = compare_rows(make_rows(["x", "y"]), make_rows([]))
    assert counts == [2, 0, 0, 0]
    assert changes.column("change").to_pylist() == ["added", "added"]


def test_changed_metadata_alone_updates_the_row() -> None:
    _, *counts = compare_rows(make_rows(["x"], metadata='{"title": "new"}'), make_rows(["x"]))
    assert counts == [0, 0, 1, 1]


def test_rejects_are_in_an_order_that_no_engine_decides() -> None:
    rejects = [
        Reject("b", "b", 5, 9, "embed", "r", "m"),
        Reject("b", "b", 1, 4, "embed", "r", "m"),
        Reject("a", "a", None, None, "read", "r", "m"),
    ]
    table = rejects_table(reversed(rejects))
    assert table.column("doc_id").to_pylist() == ["a", "b", "b"]
    assert table.column("start_char").to_pylist() == [None, 1, 5]
