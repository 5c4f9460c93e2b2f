"""A committed version in the hands of readers that are large; the small ones are in tests/end_to_end/test_readers.py."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.cli import main
from tests.support.rehearsal import Rehearsal, rehearsal

pytestmark = [pytest.mark.readers, pytest.mark.filterwarnings("default")]  # other people's warnings are theirs to mend

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


def test_hugging_face_datasets_types_the_vectors(parts: Path, tmp_path: Path) -> None:
    import datasets

    found = datasets.load_dataset("parquet", data_files=str(parts), split="train", cache_dir=str(tmp_path))
    assert (found.num_rows, found.features["vector"]) == (
        rows_in(parts),
        datasets.List(datasets.Value("float32"), length=DIMENSION),
    )
    assert set(found.unique("model")) == {MODEL}
    assert set(found.unique("dimensions")) == {DIMENSION}
    assert np.array_equal(found.with_format("numpy")["vector"][:], vectors_of(parts))


def test_daft_keeps_the_length_in_the_type(parts: Path) -> None:
    import daft

    frame = daft.read_parquet(str(parts))
    assert frame.schema()["vector"].dtype == daft.DataType.fixed_size_list(daft.DataType.float32(), DIMENSION)
    probe = vectors_of(parts)[7].tolist()
    embedding = daft.DataType.embedding(daft.DataType.float32(), DIMENSION)
    distance = daft.functions.cosine_distance(daft.col("vector").cast(embedding), daft.lit(probe).cast(embedding))
    found = frame.with_column("distance", distance).sort("distance").limit(1).to_pydict()
    assert (found["id"], found["model"]) == ([str(pq.read_table(one(parts)).column("id")[7])], [MODEL])


@pytest.fixture(scope="module")
def endpoint() -> Iterator[Rehearsal]:
    with rehearsal("--dimensions", "8") as running:
        yield running


def test_lancedb_finds_the_model_in_the_metadata_and_asks_it_for_the_query(
    endpoint: Rehearsal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import lancedb

    texts = {"bread.txt": "Why does bread dough rise?", "tide.txt": "What pulls the tide?", "ink.txt": "Iron gall ink."}
    (tmp_path / "docs").mkdir()
    for name, text in texts.items():
        (tmp_path / "docs" / name).write_text(text)
    config = tmp_path / "config.yaml"
    config.write_text(
        f"dataset: {tmp_path}/out\ndocuments: {{paths: ['{tmp_path}/docs/*.txt']}}\nembedding: {{base_url: "
        f"'{endpoint.base_url}', model: text-embedding-3-small, api_key_env: '', dimensions: 8}}\n"
    )
    assert main(["run", str(config), "--quiet"]) == 0
    (part,) = (tmp_path / "out/versions/000001").glob("part-*.parquet")
    table = lancedb.connect(tmp_path / "lance").create_table("chunks", data=pq.read_table(part))
    (function,) = table.embedding_functions.values()
    assert (function.vector_column, function.source_column) == ("vector", "chunk")
    assert function.function.ndims() == 8
    assert str(table.schema.field("vector").type) == "fixed_size_list<item: float>[8]"
    monkeypatch.setenv("OPENAI_API_KEY", "not-asked-for-here")
    (found,) = table.search("What pulls the tide?", query_type="vector").metric("cosine").limit(1).to_list()
    assert (found["doc_id"], found["model"]) == ("tide.txt", "text-embedding-3-small")
    assert found["_distance"] == pytest.approx(0, abs=1e-6)


def test_iceberg_takes_the_parts_where_they_are(parts: Path, tmp_path: Path) -> None:
    from pyiceberg.catalog.sql import SqlCatalog

    catalog = SqlCatalog("local", uri=f"sqlite:///{tmp_path}/catalog.db", warehouse=tmp_path.as_uri())
    catalog.create_namespace("handbook")
    part = pq.read_schema(one(parts))
    stamp = {key.decode(): value.decode() for key, value in part.metadata.items() if key.startswith(b"embedding.")}
    table = catalog.create_table("handbook.chunks", schema=part, properties=stamp)
    table.add_files([one(parts)])
    found = catalog.load_table("handbook.chunks")
    rows = found.scan().to_arrow()
    assert [task.file.file_path for task in found.scan().plan_files()] == [one(parts)]
    assert (found.properties["embedding.model"], found.properties["embedding.dimensions"]) == (MODEL, str(DIMENSION))
    assert np.array_equal(vectors_in(rows), vectors_of(parts))
    assert found.scan(row_filter=f"model == '{MODEL}' and chunk_index == 0").to_arrow().num_rows == 30
    catalog.engine.dispose()


def test_delta_takes_a_copy_of_the_parts(parts: Path, tmp_path: Path) -> None:
    """A copy, because Delta puts its log beside the parts, and a version's folder is not to be written to."""
    import deltalake

    shutil.copy(one(parts), tmp_path)
    deltalake.convert_to_deltalake(tmp_path, name="handbook", description=f"{MODEL}, {DIMENSION} dimensions")
    table = deltalake.DeltaTable(tmp_path)
    rows = deltalake.QueryBuilder().register("chunks", table).execute("SELECT vector, model, dimensions FROM chunks")
    found = rows.read_all() if hasattr(rows, "read_all") else rows
    assert table.metadata().description == f"{MODEL}, {DIMENSION} dimensions"
    assert sorted(map(tuple, vectors_in(found))) == sorted(map(tuple, vectors_of(parts)))


def vectors_in(table: pa.Table) -> np.ndarray:
    return np.array(table["vector"].to_pylist(), np.float32)


def vectors_of(parts: Path) -> np.ndarray:
    return vectors_in(pq.read_table(one(parts)))
