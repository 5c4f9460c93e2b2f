"""What each export format's files hold, read without the target's own library."""

import json
import struct
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from tests.support.datasets import DatasetBuilder, embed_by_hash, make_stamp
from tests.support.exports import (
    DIMENSION,
    METADATA,
    export,
    make_dataset,
    rows_of,
    run_guide,
    same_vectors,
    vectors_of,
)
from transforms.errors import RunRefused


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("format") / "handbook"
    make_dataset(root)
    return root


def one_row(root: Path, chunk: str, metadata: str = "{}") -> Path:
    DatasetBuilder(root, make_stamp(), embed_by_hash(4)).commit({"a.md": [chunk]}, metadata)
    return root


def parquet(folder: Path) -> pa.Table:
    return pa.concat_tables([pq.read_table(path) for path in sorted(folder.glob("*.parquet"))])


def copied_rows(data: bytes) -> Iterator[list[bytes]]:
    """Rows of a binary COPY file, as PostgreSQL's documentation describes it."""
    assert data[:19] == b"PGCOPY\n\xff\r\n\x00" + bytes(8)
    at = 19
    while (fields := struct.unpack_from(">h", data, at)[0]) != -1:
        at += 2
        row = []
        for _ in range(fields):
            (size,) = struct.unpack_from(">i", data, at)
            row.append(data[at + 4 : at + 4 + size])
            at += 4 + size
        yield row
    assert at + 2 == len(data)


def copied(folder: Path) -> list[list[bytes]]:
    return [row for path in sorted((folder / "data").glob("*.copy")) for row in copied_rows(path.read_bytes())]


def test_pinecone_has_three_columns_and_flat_metadata(dataset: Path, tmp_path: Path) -> None:
    export(dataset, "pinecone", tmp_path / "x")
    table, rows = parquet(tmp_path / "x/import/__default__"), rows_of(dataset)
    assert [(field.name, str(field.type)) for field in table.schema] == [
        ("id", "string"),
        ("values", "list<element: float not null>"),
        ("metadata", "string"),
    ]
    assert same_vectors(vectors_of(table, "values"), vectors_of(rows))
    row = rows.slice(0, 1).to_pylist()[0]
    assert json.loads(table.column("metadata")[0].as_py()) == {
        "title": "Tést",
        "n": 3,
        "tags": ["a", "b"],
        "deep": '{"x": [1, 2]}',
        "dollar": True,
        **{
            name: row[name]
            for name in ("chunk", "doc_id", "source_uri", "chunk_index", "start_char", "end_char", "token_count")
        },
    }


def test_own_columns_win_over_equal_keys_of_the_metadata(tmp_path: Path) -> None:
    export(one_row(tmp_path / "set", "text", '{"doc_id": "other"}'), "pinecone", tmp_path / "x")
    metadata = json.loads(parquet(tmp_path / "x/import/__default__").column("metadata")[0].as_py())
    assert metadata["doc_id"] == "a.md"


@pytest.mark.parametrize(
    ("name", "size", "words"),
    [
        (
            "pinecone",
            41_000,
            "bytes of metadata, its text among them, and Pinecone takes 40,960: export with --without-text",
        ),
        ("milvus", 66_000, "bytes in chunk, and Milvus takes 65,535: export with --without-text"),
    ],
)
def test_a_row_that_the_target_cannot_take_is_named_with_the_remedy(
    tmp_path: Path, name: str, size: int, words: str
) -> None:
    root = one_row(tmp_path / "set", "é" * (size // 2))
    id_ = rows_of(root, 1).column("id")[0].as_py()
    with pytest.raises(RunRefused, match=rf"row {id_} .*{words}"):
        export(root, name, tmp_path / "x")
    export(root, name, tmp_path / "y", "--without-text")


def test_milvus_has_plain_lists_and_plain_strings(dataset: Path, tmp_path: Path) -> None:
    export(dataset, "milvus", tmp_path / "x")
    table = parquet(tmp_path / "x/data")
    assert str(table.schema.field("vector").type) == "list<element: float>"
    assert table.column_names == [
        name for name in rows_of(dataset).column_names if name not in ("text_hash", "model", "dimensions")
    ]
    assert same_vectors(vectors_of(table), vectors_of(rows_of(dataset)))


def test_bigquery_has_every_column_and_a_schema(dataset: Path, tmp_path: Path) -> None:
    export(dataset, "bigquery", tmp_path / "x")
    table, rows = parquet(tmp_path / "x/data"), rows_of(dataset)
    assert table.to_pylist() == rows.to_pylist()
    described = json.loads((tmp_path / "x/schema.json").read_bytes())
    assert [field["name"] for field in described] == table.column_names == rows.column_names
    assert {
        field["name"]: (field["type"], field["mode"]) for field in described if field["name"] in ("id", "vector")
    } == {
        "id": ("STRING", "REQUIRED"),
        "vector": ("FLOAT64", "REPEATED"),
    }
    path = next((tmp_path / "x/data").glob("*.parquet"))
    column = pq.ParquetFile(path).schema.column(2)
    assert (column.path, column.physical_type) == ("vector.list.element", "FLOAT")


def test_huggingface_has_a_card_that_describes_the_files(dataset: Path, tmp_path: Path) -> None:
    export(dataset, "huggingface", tmp_path / "x")
    card = yaml.safe_load((tmp_path / "x/README.md").read_text(encoding="utf-8").split("---")[1])
    table = parquet(tmp_path / "x/data")
    assert table.to_pylist() == rows_of(dataset).to_pylist()
    features = {one["name"]: one for one in card["dataset_info"]["features"]}
    assert list(features) == table.column_names
    assert features["vector"] == {"name": "vector", "list": {"dtype": "float32"}, "length": DIMENSION}
    assert card["configs"][0]["data_files"] == [{"split": "train", "path": "data/train-*.parquet"}]
    assert table.schema.metadata[b"embedding.model"] == b"test-model"


def test_qdrant_has_points_with_uuids(dataset: Path, tmp_path: Path) -> None:
    export(dataset, "qdrant", tmp_path / "x")
    lines = [
        line for path in sorted((tmp_path / "x/points").iterdir()) for line in path.read_bytes().split(b"\n") if line
    ]
    points = [json.loads(line) for line in lines]
    assert same_vectors({uuid.UUID(one["id"]).hex: one["vector"] for one in points}, vectors_of(rows_of(dataset)))
    rows = {row["id"]: row for row in rows_of(dataset).to_pylist()}
    for point in points:
        row = rows[uuid.UUID(point["id"]).hex]
        assert point["payload"]["metadata"] == json.loads(METADATA)
        assert {name: row[name] for name in point["payload"] if name != "metadata"} == {
            name: value for name, value in point["payload"].items() if name != "metadata"
        }


def test_pgvector_has_binary_rows(dataset: Path, tmp_path: Path) -> None:
    export(dataset, "pgvector", tmp_path / "x")
    rows = rows_of(dataset)
    names = rows.column_names
    found = copied(tmp_path / "x")
    assert [len(row) for row in found] == [len(names)] * rows.num_rows
    for row, expected in zip(found, rows.to_pylist(), strict=True):
        named = dict(zip(names, row, strict=True))
        assert named["vector"] == struct.pack(f">hh{DIMENSION}f", DIMENSION, 0, *expected["vector"])
        assert named["metadata"] == b"\x01" + expected["metadata"].encode()
        assert [named[name].decode() for name in ("id", "chunk", "doc_id")] == [
            expected[name] for name in ("id", "chunk", "doc_id")
        ]
        assert struct.unpack(">iq", named["token_count"] + named["end_char"]) == (
            expected["token_count"],
            expected["end_char"],
        )


def test_pgvector_gets_no_nul_character(tmp_path: Path) -> None:
    metadata = json.dumps({"title": "nul\x00", "path": "c:\\u0000"})
    export(one_row(tmp_path / "set", "nul\x00char", metadata), "pgvector", tmp_path / "x")
    row = dict(zip(rows_of(tmp_path / "set", 1).column_names, copied(tmp_path / "x")[0], strict=True))
    assert row["chunk"].decode() == "nul\ufffdchar"
    assert json.loads(row["metadata"][1:]) == {"title": "nul\ufffd", "path": "c:\\u0000"}


@pytest.mark.parametrize(
    ("dimensions", "vector_type", "index"),
    [
        (2000, "float32", "hnsw (vector vector_cosine_ops)"),
        (3072, "float32", "hnsw ((vector::halfvec(3072)) halfvec_cosine_ops)"),
        (3072, "float16", "hnsw (vector halfvec_cosine_ops)"),
        (4096, "float32", "-- no index"),
    ],
)
def test_pgvector_indexes_what_its_index_can_take(
    tmp_path: Path, dimensions: int, vector_type: str, index: str
) -> None:
    builder = DatasetBuilder(
        tmp_path / "set", make_stamp(dimensions=dimensions), embed_by_hash(dimensions), vector_type=vector_type
    )
    builder.commit({"a.md": ["text"]})
    export(tmp_path / "set", "pgvector", tmp_path / "x")
    assert index in (tmp_path / "x/load.sql").read_text()


def test_numpy_has_row_i_in_every_file(dataset: Path, tmp_path: Path) -> None:
    export(dataset, "numpy", tmp_path / "x")
    found, rows = run_guide(tmp_path / "x"), rows_of(dataset)
    assert isinstance(found["vectors"], np.memmap)
    assert (found["vectors"].dtype, found["vectors"].flags.c_contiguous) == (np.dtype("float32"), True)
    assert same_vectors(dict(zip(found["ids"].tolist(), found["vectors"], strict=True)), vectors_of(rows))
    assert found["rows"].to_pylist() == rows.drop_columns(["vector"]).to_pylist()
    assert found["rows"].column("id").to_pylist() == found["ids"].tolist()


def test_faiss_has_a_head_and_the_vectors(dataset: Path, tmp_path: Path) -> None:
    export(dataset, "faiss", tmp_path / "x")
    data = (tmp_path / "x/index.faiss").read_bytes()
    rows = rows_of(dataset)
    kind, dimension, count, _, _, trained, metric, floats = struct.unpack_from("<4siqqq?iQ", data)
    assert (kind, dimension, count, trained, metric) == (b"IxFI", DIMENSION, rows.num_rows, True, 0)
    vectors = np.frombuffer(data[struct.calcsize("<4siqqq?iQ") :], "<f4").reshape(-1, DIMENSION)
    assert floats == vectors.size
    ids = np.load(tmp_path / "x/ids.npy").astype(str).tolist()
    assert same_vectors(dict(zip(ids, vectors, strict=True)), vectors_of(rows))


@pytest.mark.parametrize(
    "name", ["pinecone", "milvus", "bigquery", "numpy", "huggingface", "qdrant", "pgvector", "faiss"]
)
def test_without_text_no_file_has_any(dataset: Path, tmp_path: Path, name: str) -> None:
    export(dataset, name, tmp_path / "x", "--without-text")
    for path in (tmp_path / "x").rglob("*.*"):
        assert b"chunk number" not in path.read_bytes()
        if path.suffix == ".parquet":
            assert "chunk" not in pq.read_schema(path).names
    export(dataset, name, tmp_path / "y")
    assert any(b"chunk number" in path.read_bytes() for path in (tmp_path / "y").rglob("*.*"))


@pytest.mark.parametrize(("name", "kind"), [("milvus", "float"), ("bigquery", "float"), ("huggingface", "halffloat")])
def test_float16_is_widened_where_the_target_has_no_such_type(tmp_path: Path, name: str, kind: str) -> None:
    make_dataset(tmp_path / "handbook", vector_type="float16")
    export(tmp_path / "handbook", name, tmp_path / "x")
    table = parquet(tmp_path / "x/data")
    assert str(table.schema.field("vector").type.value_type) == kind
    assert same_vectors(vectors_of(table), vectors_of(rows_of(tmp_path / "handbook")))


def test_float16_stays_in_numpy_and_halfvec(tmp_path: Path) -> None:
    make_dataset(tmp_path / "handbook", vector_type="float16")
    expected = vectors_of(rows_of(tmp_path / "handbook"))
    export(tmp_path / "handbook", "numpy", tmp_path / "x")
    found = run_guide(tmp_path / "x")
    assert found["vectors"].dtype == np.float16
    assert same_vectors(dict(zip(found["ids"].tolist(), found["vectors"], strict=True)), expected)
    export(tmp_path / "handbook", "pgvector", tmp_path / "y")
    halves: dict[str, Any] = {row[0].decode(): np.frombuffer(row[2][4:], ">f2") for row in copied(tmp_path / "y")}
    assert same_vectors(halves, expected)
    assert f"vector halfvec({DIMENSION}) NOT NULL" in (tmp_path / "y/load.sql").read_text()


def test_the_guide_of_changes_says_the_order_and_the_next_number(dataset: Path, tmp_path: Path) -> None:
    export(dataset, "qdrant", tmp_path / "x", "--since", "1")
    guide = (tmp_path / "x/LOAD.md").read_text(encoding="utf-8")
    assert "Delete first, then upsert." in guide
    assert "--since 2`" in guide
    assert guide.index("client.delete(") < guide.index("client.upsert(")


def test_vectors_of_any_length_are_compared_by_cosine(tmp_path: Path) -> None:
    make_dataset(tmp_path / "handbook", normalized=False)
    export(tmp_path / "handbook", "qdrant", tmp_path / "x")
    assert "models.Distance.COSINE" in (tmp_path / "x/LOAD.md").read_text(encoding="utf-8")
    export(tmp_path / "handbook", "faiss", tmp_path / "y")
    assert "scores are inner products, not cosines" in (tmp_path / "y/LOAD.md").read_text(encoding="utf-8")
