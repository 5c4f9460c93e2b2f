"""Each export in the hands of its target's own library: ids and every bit of every vector, loaded as the guide says."""

import json
import shlex
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from tests.readers.postgres import Postgres, running_postgres
from tests.support.exports import (
    DIMENSION,
    changed_ids,
    code_blocks,
    export,
    make_dataset,
    rows_of,
    run_guide,
    same_vectors,
    vectors_of,
)
from transforms.core.manifest import parse_manifest
from transforms.storage.exports.formats import load_format
from transforms.storage.exports.selection import choose_everything
from transforms.storage.exports.writing import write_export
from transforms.storage.store import open_store

pytestmark = [pytest.mark.readers, pytest.mark.filterwarnings("default")]  # other people's warnings are theirs to mend


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("targets") / "handbook"
    make_dataset(root)
    return root


def exported(dataset: Path, tmp_path: Path, name: str) -> tuple[Path, Path]:
    """Version 1 whole, and what changed since."""
    export(dataset, name, tmp_path / "whole", "--version", "1")
    export(dataset, name, tmp_path / "changes", "--since", "1")
    return tmp_path / "whole", tmp_path / "changes"


def edited(folder: Path, *replacements: tuple[str, str], guide: str = "LOAD.md") -> None:
    """Fill in what a reader of the guide has to: addresses, names."""
    path = folder / guide
    text = path.read_text(encoding="utf-8")
    for old, new in replacements:
        assert old in text
        text = text.replace(old, new)
    path.write_text(text, encoding="utf-8")


def test_faiss_reads_the_index_and_finds_each_row(dataset: Path, tmp_path: Path) -> None:
    export(dataset, "faiss", tmp_path / "x")
    rows = rows_of(dataset)
    expected = vectors_of(rows)
    id_ = rows.column("id")[7].as_py()
    found = run_guide(tmp_path / "x", query=expected[id_])
    index = found["index"]
    vectors = index.reconstruct_n(0, index.ntotal)
    assert same_vectors(dict(zip(found["ids"], vectors, strict=True)), expected)
    assert found["ids"][found["numbers"][0][0]] == id_
    assert index.metric_type == 0


def test_usearch_searches_all_parts_as_one(dataset: Path, tmp_path: Path) -> None:
    from usearch.index import Index

    export(dataset, "usearch", tmp_path / "x")
    rows = rows_of(dataset)
    expected = vectors_of(rows)
    vectors: dict[str, Any] = {}
    for id_ in rows.column("id").to_pylist():
        found = run_guide(tmp_path / "x", query=expected[id_])
        assert found["ids"][found["found"].keys[0]] == id_
    for path in (tmp_path / "x/index").iterdir():
        index = Index.restore(path)
        vectors |= {found["ids"][key]: vector for key, vector in zip(index.keys, index.vectors, strict=True)}
    assert same_vectors(vectors, expected)


def test_lancedb_opens_the_table_and_merges_changes(dataset: Path, tmp_path: Path) -> None:
    whole, changes = exported(dataset, tmp_path, "lancedb")
    before = rows_of(dataset, 1)
    id_, vector = next(iter(vectors_of(before).items()))
    table = run_guide(whole, FOLDER=str(whole), query=vector)["table"]
    assert table.to_arrow().select(before.column_names).to_pylist() == before.to_pylist()
    assert table.search(vector).metric("cosine").limit(1).to_list()[0]["id"] == id_
    run_guide(changes, FOLDER=str(whole))
    table.checkout_latest()
    merged = sorted(table.to_arrow().to_pylist(), key=lambda row: row["id"])
    assert merged == sorted(rows_of(dataset).to_pylist(), key=lambda row: row["id"])


def test_a_lance_table_that_was_cut_off_is_gone_on_with(tmp_path: Path) -> None:
    dataset = tmp_path / "handbook"
    make_dataset(dataset)
    source = open_store(str(dataset))
    plan = choose_everything(source, parse_manifest(source.read_bytes("manifest.json")), True)
    part = dataset / plan.parts[2].entry.path
    data = part.read_bytes()
    part.write_bytes(b"unreadable for now")
    with pytest.raises(Exception, match="cannot read version 2"):
        write_export(source, open_store(str(tmp_path / "x")), plan, load_format("lancedb"), lambda line: None)
    part.write_bytes(data)
    export(dataset, "lancedb", tmp_path / "x")
    rows = rows_of(dataset)
    table = run_guide(tmp_path / "x", FOLDER=str(tmp_path / "x"), query=[1.0] * DIMENSION)["table"]
    assert table.to_arrow().column("id").to_pylist() == rows.column("id").to_pylist()
    assert same_vectors(vectors_of(table.to_arrow()), vectors_of(rows))


def test_qdrant_takes_the_points_and_the_changes(dataset: Path, tmp_path: Path) -> None:
    from qdrant_client import QdrantClient

    whole, changes = exported(dataset, tmp_path, "qdrant")
    client = QdrantClient(":memory:")
    for folder, version in ((whole, 1), (changes, 2)):
        edited(folder, ("QdrantClient(url=URL)", "CLIENT"))
        run_guide(folder, CLIENT=client)
        points, _ = client.scroll("c_handbook", limit=1000, with_vectors=True)
        found = {point.id.replace("-", ""): point.vector for point in points}
        assert same_vectors(found, vectors_of(rows_of(dataset, version)))
    rows = {row["id"]: row for row in rows_of(dataset).to_pylist()}
    assert {point.payload["chunk"] for point in points} == {row["chunk"] for row in rows.values()}


def test_milvus_takes_the_rows_and_the_changes(dataset: Path, tmp_path: Path) -> None:
    whole, changes = exported(dataset, tmp_path, "milvus")
    address = str(tmp_path / "milvus.db")
    script = code_blocks(changes)[0]
    (whole / "deletes.txt").write_text("")
    (whole / "LOAD.md").write_text(f"```python\n{code_blocks(whole)[0]}\n```\n```python\n{script}\n```\n")
    for folder, version in ((whole, 1), (changes, 2)):
        client = run_guide(folder, URI=address, TOKEN="")["client"]
        fields = ["id", "chunk", "vector", "metadata", "token_count"]
        found = {row["id"]: row for row in client.query("c_handbook", "token_count >= 0", fields, limit=1000)}
        assert same_vectors({id_: row["vector"] for id_, row in found.items()}, vectors_of(rows_of(dataset, version)))
    for row in rows_of(dataset).to_pylist():
        assert (found[row["id"]]["chunk"], found[row["id"]]["metadata"]) == (row["chunk"], json.loads(row["metadata"]))
    client.close()


def test_milvus_bulk_writer_writes_the_same_columns(dataset: Path, tmp_path: Path) -> None:
    from pymilvus.bulk_writer import BulkFileType, LocalBulkWriter

    export(dataset, "milvus", tmp_path / "x")
    edited(tmp_path / "x", ("from pymilvus.bulk_writer import", "stop()\nfrom pymilvus.bulk_writer import"))
    names: dict[str, Any] = {"URI": str(tmp_path / "milvus.db"), "TOKEN": ""}
    exec(code_blocks(tmp_path / "x")[0], names)
    writer = LocalBulkWriter(names["schema"], str(tmp_path / "written"), file_type=BulkFileType.PARQUET)
    paths = sorted((tmp_path / "x/data").iterdir())
    for path in paths:
        for row in pq.read_table(path).to_pylist():
            writer.append_row({**row, "metadata": json.loads(row["metadata"])})
    writer.commit()
    theirs, ours = pq.read_schema(writer.batch_files[0][0]), pq.read_schema(paths[0])
    assert {field.name: field.type for field in ours} == {field.name: field.type for field in theirs}
    names["client"].close()


@contextmanager
def pinecone_host() -> Iterator[tuple[str, dict[str, Any], list[str]]]:
    """A host that keeps what it is told to upsert and delete: its address, the records, the order of the calls."""
    records: dict[str, Any] = {}
    calls: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            calls.append(self.path)
            answer: dict[str, Any] = {}
            if self.path == "/vectors/upsert":
                records.update({one["id"]: one for one in body["vectors"]})
                answer = {"upsertedCount": len(body["vectors"])}
            else:
                for id_ in body["ids"]:
                    records.pop(id_)
            data = json.dumps(answer).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", records, calls
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_pinecone_client_accepts_every_record_and_the_changes(dataset: Path, tmp_path: Path) -> None:
    whole, changes = exported(dataset, tmp_path, "pinecone")
    script = code_blocks(changes)[0]
    (whole / "deletes.txt").write_text("")
    (whole / "LOAD.md").write_text(f"```python\n{script}\n```\n")
    with pinecone_host() as (address, records, calls):
        for folder, version in ((whole, 1), (changes, 2)):
            calls.clear()
            edited(folder, ("Index(INDEX)", "Index(host=HOST)"))
            run_guide(folder, API_KEY="none", HOST=address)["index"].close()
            found = {id_: record["values"] for id_, record in records.items()}
            assert same_vectors(found, vectors_of(rows_of(dataset, version)))
        assert calls.index("/vectors/delete") < calls.index("/vectors/upsert")
    row = rows_of(dataset).slice(0, 1).to_pylist()[0]
    assert records[row["id"]]["metadata"]["chunk"] == row["chunk"]


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    with running_postgres() as server:
        yield server


def test_postgres_loads_indexes_and_applies_changes(dataset: Path, tmp_path: Path, postgres: Postgres) -> None:
    import psycopg

    whole, changes = exported(dataset, tmp_path, "pgvector")
    address = postgres.address()
    for folder, version in ((whole, 1), (changes, 2), (changes, 2)):
        (line,) = code_blocks(folder, "sh")
        postgres.psql(folder, *shlex.split(line.replace("$DATABASE_URL", address))[1:])
        with psycopg.connect(address) as connection:
            rows = connection.execute("SELECT id, vector::real[], chunk, metadata, end_char FROM chunks").fetchall()
        assert same_vectors({row[0]: row[1] for row in rows}, vectors_of(rows_of(dataset, version)))
    expected = rows_of(dataset).to_pylist()
    kept = {row["id"]: (row["chunk"], json.loads(row["metadata"]), row["end_char"]) for row in expected}
    assert {row[0]: row[2:] for row in rows} == kept
    with psycopg.connect(address) as connection:
        indexes = connection.execute("SELECT indexdef FROM pg_indexes WHERE tablename = 'chunks'").fetchall()
    assert any("USING hnsw (vector vector_cosine_ops)" in index[0] for index in indexes)


def test_postgres_takes_halves_and_texts_with_nul(tmp_path: Path, postgres: Postgres) -> None:
    import psycopg

    builder = make_dataset(tmp_path / "handbook", vector_type="float16")
    builder.commit({"a.md": ["nul\x00char"], "b.md": ["text"]}, json.dumps({"title": "nul\x00", "path": "c:\\u0000"}))
    export(tmp_path / "handbook", "pgvector", tmp_path / "x")
    postgres.psql(tmp_path, postgres.address(), "--no-psqlrc", "-q", "-c", "CREATE DATABASE halves")
    address = postgres.address("halves")
    postgres.psql(tmp_path / "x", address, "--no-psqlrc", "-f", "load.sql")
    with psycopg.connect(address) as connection:
        rows = connection.execute("SELECT id, vector::vector::real[], chunk, metadata FROM chunks").fetchall()
    assert same_vectors({row[0]: row[1] for row in rows}, vectors_of(rows_of(tmp_path / "handbook", 3)))
    assert {row[2] for row in rows} == {"nul\ufffdchar", "text"}
    assert rows[0][3] == {"title": "nul\ufffd", "path": "c:\\u0000"}


def test_datasets_loads_the_folder_with_its_features(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    export(dataset, "huggingface", tmp_path / "whole")
    export(dataset, "huggingface", tmp_path / "changes", "--since", "1")
    chunks = run_guide(tmp_path / "whole", "README.md", FOLDER=str(tmp_path / "whole"))["chunks"]
    assert chunks.features["vector"] == datasets.List(datasets.Value("float32"), length=DIMENSION)
    assert same_vectors(dict(zip(chunks["id"], chunks["vector"], strict=True)), vectors_of(rows_of(dataset)))
    upserts = run_guide(tmp_path / "changes", "README.md", FOLDER=str(tmp_path / "changes"))["chunks"]
    assert sorted(upserts["id"]) == changed_ids(dataset)[0]


def test_bigquery_library_accepts_the_schema(dataset: Path, tmp_path: Path) -> None:
    from google.cloud import bigquery

    export(dataset, "bigquery", tmp_path / "x")
    described = json.loads((tmp_path / "x/schema.json").read_bytes())
    fields = [bigquery.SchemaField.from_api_repr(field) for field in described]
    assert [(field.name, field.field_type, field.mode) for field in fields if field.name == "vector"] == [
        ("vector", "FLOAT64", "REPEATED")
    ]
    job = bigquery.LoadJobConfig(schema=fields, source_format=bigquery.SourceFormat.PARQUET)
    assert [field["name"] for field in job.to_api_repr()["load"]["schema"]["fields"]] == rows_of(dataset).column_names


def test_every_vector_is_finite_and_of_its_length(dataset: Path) -> None:
    """Guards the comparisons above: vectors of zeros would be equal to anything that a reader fills in."""
    lengths = [float(np.linalg.norm(vector)) for vector in vectors_of(rows_of(dataset)).values()]
    assert np.allclose(lengths, 1, atol=1e-3)
