"""A committed version in the hands of other people's readers; the large ones are in tests/readers."""

import json
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from pipeline.cli import main

DIMENSION, MODEL = 256, "wordllama-l2-256"


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The glob of the demo dataset's parts."""
    dataset = tmp_path_factory.mktemp("demo")
    assert main(["run", "configs/demo.yaml", "--quiet", "--set", f"dataset={dataset}"]) == 0
    return dataset / "versions" / "000001" / "part-*.parquet"


def rows_in(parts: Path) -> int:
    """How many rows the manifest tells."""
    rows: int = json.loads((parts.parents[2] / "manifest.json").read_bytes())["rows"]
    return rows


def one(parts: Path) -> str:
    (path,) = parts.parent.glob(parts.name)
    return str(path)


def test_pyarrow_reads_the_vectors_typed_and_the_stamp(parts: Path) -> None:
    table = ds.dataset([one(parts)]).to_table()
    assert (table.num_rows, str(table.schema.field("vector").type)) == (
        rows_in(parts),
        f"fixed_size_list<element: float>[{DIMENSION}]",
    )
    assert table.column("vector").null_count == 0
    assert np.isfinite(table.column("vector").combine_chunks().flatten().to_numpy()).all()
    assert pq.read_schema(one(parts)).metadata[b"embedding.model"] == MODEL.encode()
    assert set(table.column("dimensions").to_pylist()) == {DIMENSION}


def test_duckdb_finds_a_chunk_by_its_own_vector(parts: Path) -> None:
    found = duckdb.sql(
        f"""WITH chunks AS (FROM '{parts}'), probe AS (FROM chunks LIMIT 1)
        SELECT probe.id, chunks.id, chunks.model, len(chunks.vector) FROM chunks, probe
        ORDER BY array_cosine_similarity(chunks.vector::FLOAT[{DIMENSION}], probe.vector::FLOAT[{DIMENSION}]) DESC LIMIT 1"""
    ).fetchall()[0]
    assert (found[0] == found[1], found[2], found[3]) == (True, MODEL, DIMENSION)
    stamp = duckdb.sql(f"SELECT decode(key), decode(value) FROM parquet_kv_metadata('{parts}')").fetchall()
    assert ("embedding.model", MODEL) in stamp


def test_polars_reads_fixed_size_vectors_without_nulls(parts: Path) -> None:
    frame = pl.read_parquet(parts)
    assert (frame.height, frame.schema["vector"]) == (rows_in(parts), pl.Array(pl.Float32, DIMENSION))
    assert frame.null_count().sum_horizontal().item() == 0
    assert pl.read_parquet_metadata(one(parts))["embedding.dimensions"] == str(DIMENSION)


def test_pandas_shows_the_stamp_in_attrs(parts: Path) -> None:
    frame = pd.read_parquet(one(parts))
    assert (len(frame), frame.vector[0].shape, str(frame.vector[0].dtype)) == (rows_in(parts), (DIMENSION,), "float32")
    assert not frame.isna().any().any()
    assert frame.attrs["embedding.model"] == MODEL


def test_duckdb_sees_one_model_and_one_dimension_in_all_rows(parts: Path) -> None:
    found = duckdb.sql(f"SELECT DISTINCT model, dimensions, len(vector) FROM '{parts}'").fetchall()
    assert found == [(MODEL, DIMENSION, DIMENSION)]
