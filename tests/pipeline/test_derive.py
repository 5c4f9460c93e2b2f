"""``embedbeam derive``: smaller vectors without a call, what they are worth, and no part made twice."""

import base64
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import polars
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.cli import main
from tests.support.commands import run_command
from tests.support.datasets import DatasetBuilder, Vectors, embed_by_hash, make_stamp
from tests.support.projects import prose
from transforms.clients.static_model import MODEL_NAME, load_static_model
from transforms.errors import ConfigError, FatalError, RunRefused

D = 16
CORPUS = {f"{name}.md": [f"chunk {number} of {name}" for number in range(20)] for name in "abc"}


@pytest.fixture
def source(tmp_path: Path) -> DatasetBuilder:
    builder = DatasetBuilder(tmp_path / "source", make_stamp("text-embedding-3-small", D), embed_by_hash(D))
    builder.commit(CORPUS)
    return builder


def derive(source: DatasetBuilder, *options: str, to: str = "derived") -> dict[str, Any]:
    code, text = run_command("derive", str(source.root), "--to", str(source.root.parent / to), "--json", *options)
    assert code == 0
    found: dict[str, Any] = json.loads(text)
    return found


def manifest_of(root: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((root / "manifest.json").read_bytes())
    return found


def part_paths(root: Path) -> list[Path]:
    return [root / part["path"] for part in manifest_of(root)["parts"]]


def table_of(root: Path) -> pa.Table:
    return pa.concat_tables([pq.ParquetFile(path).read() for path in part_paths(root)])


def stored(root: Path) -> np.ndarray[Any, Any]:
    column = table_of(root).column("vector").combine_chunks()
    return np.asarray(column.flatten().to_numpy(zero_copy_only=False)).reshape(len(column), -1)


def at_length_1(vectors: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


def test_shortened_vectors_are_the_first_numbers_at_length_1(source: DatasetBuilder, tmp_path: Path) -> None:
    derive(source, "--dimensions", "8")
    expected = at_length_1(stored(source.root)[:, :8].astype(np.float64))
    assert np.allclose(stored(tmp_path / "derived"), expected, atol=1e-7)
    before, after = table_of(source.root), table_of(tmp_path / "derived")
    kept = [name for name in before.column_names if name not in ("vector", "dimensions")]
    assert after.select(kept).equals(before.select(kept))
    assert after.schema.field("vector").type == pa.list_(pa.float32(), 8)
    assert set(after.column("dimensions").to_pylist()) == {8}


def test_int8_stays_within_half_a_step_and_carries_its_scales(source: DatasetBuilder, tmp_path: Path) -> None:
    derive(source, "--type", "int8")
    metadata = pq.ParquetFile(part_paths(tmp_path / "derived")[0]).schema_arrow.metadata
    scales = np.frombuffer(base64.b64decode(metadata[b"embedding.scales"]), "<f4")
    vectors, codes = stored(source.root), stored(tmp_path / "derived")
    assert codes.dtype == np.int8
    assert np.allclose(scales, np.abs(vectors).max(axis=0) / 127)
    assert np.all(np.abs(codes * scales - vectors) <= scales * 0.5001)


def test_binary_is_a_bit_a_dimension(source: DatasetBuilder, tmp_path: Path) -> None:
    derive(source, "--type", "binary")
    assert table_of(tmp_path / "derived").schema.field("vector").type == pa.list_(pa.uint8(), D // 8)
    assert np.array_equal(stored(tmp_path / "derived"), np.packbits(stored(source.root) > 0, axis=1))


def test_float16_is_what_numpy_makes_of_it(source: DatasetBuilder, tmp_path: Path) -> None:
    derive(source, "--type", "float16")
    assert np.array_equal(stored(tmp_path / "derived"), stored(source.root).astype(np.float16))


@pytest.mark.parametrize("options", [["--dimensions", "8"], ["--type", "int8"], ["--type", "binary"]])
def test_recall_is_what_comparing_everything_with_everything_gives(
    source: DatasetBuilder, tmp_path: Path, options: list[str]
) -> None:
    found = derive(source, *options, "--queries", "25")["recall"]
    before = stored(source.root).astype(np.float64)
    after, queries = stored(tmp_path / "derived").astype(np.float64), before
    if options[0] == "--dimensions":
        queries = before[:, :8]
    elif options[1] == "int8":
        scales = base64.b64decode(manifest_of(tmp_path / "derived")["stamp"]["scales"])
        after = after * np.frombuffer(scales, "<f4")
    else:
        after = np.unpackbits(stored(tmp_path / "derived"), axis=1) * 2.0 - 1
    shares = []
    for row in range(25):
        ours, theirs = (
            set(np.argsort(-np.where(np.arange(60) == row, -9, at_length_1(vectors) @ query))[:10].tolist())
            for vectors, query in ((before, before[row]), (after, queries[row]))
        )
        shares.append(len(ours & theirs) / 10)
    assert found["mean"] == pytest.approx(np.mean(shares))
    assert (found["k"], found["queries"]) == (10, 25)
    assert 0 <= found["low"] < found["mean"] <= found["high"] <= 1
    assert manifest_of(tmp_path / "derived")["derived"]["recall"] == found


def test_equal_texts_are_no_neighbours_of_each_other(tmp_path: Path) -> None:
    source = DatasetBuilder(tmp_path / "source", make_stamp("text-embedding-3-small", D), embed_by_hash(D))
    source.commit({"a.md": ["one", "two", "three"], "b.md": ["one", "two", "three"]})
    found = derive(source, "--type", "int8")["recall"]
    assert (found["k"], found["queries"]) == (2, 3)


def test_a_lone_text_is_derived_without_a_recall(tmp_path: Path) -> None:
    source = DatasetBuilder(tmp_path / "source", make_stamp("text-embedding-3-small", D), embed_by_hash(D))
    source.commit({"a.md": ["one"]})
    _, text = run_command("derive", str(source.root), "--to", str(tmp_path / "derived"), "--type", "int8")
    assert "recall     not measured: one text has no neighbours" in text


def test_deriving_again_does_nothing(source: DatasetBuilder, tmp_path: Path) -> None:
    derive(source, "--type", "int8")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "derived").rglob("*") if path.is_file()}
    again = derive(source, "--type", "int8")
    assert (again["committed"], again["version"], again["parts_made"]) == (False, 1, 0)
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "derived").rglob("*") if path.is_file()} == before


def test_two_derivations_give_the_same_bytes(source: DatasetBuilder, tmp_path: Path) -> None:
    for to in ("one", "two"):
        derive(source, "--type", "int8", "--dimensions", "8", to=to)
    first, second = (manifest_of(tmp_path / to)["parts"] for to in ("one", "two"))
    assert first == second


def test_only_parts_whose_source_has_changed_are_made_again(source: DatasetBuilder, tmp_path: Path) -> None:
    derive(source, "--dimensions", "8")
    source.commit({**CORPUS, "d.md": [one_text_of_bucket_1()]})
    found = derive(source, "--dimensions", "8")
    assert (found["version"], found["parts_made"], found["parts_kept"]) == (2, 1, 1)
    assert (found["rows_added"], found["rows_removed"], found["rows_unchanged"]) == (1, 0, 60)
    _, text = run_command("diff", str(tmp_path / "derived"), "--json")
    assert [(one["change"], one["doc_id"]) for one in json.loads(text)["changes"]] == [("added", "d.md")]
    source.commit(CORPUS)
    assert derive(source, "--dimensions", "8")["rows_removed"] == 1


def one_text_of_bucket_1() -> str:
    return next(text for text in map(str, range(100)) if hashlib.sha256(text.encode()).digest()[0] >= 128)


def test_a_part_damaged_since_is_made_again(source: DatasetBuilder, tmp_path: Path) -> None:
    derive(source, "--dimensions", "8")
    path = part_paths(tmp_path / "derived")[0]
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    assert derive(source, "--dimensions", "8")["parts_made"] == 1
    assert part_paths(tmp_path / "derived")[0].read_bytes() == whole


def test_vectors_far_beyond_the_calibrated_range_make_every_part_anew(tmp_path: Path) -> None:
    def embed(texts: Sequence[str]) -> Vectors:
        lengths = [[40.0 if "loud" in text else 1.0] for text in texts]
        return embed_by_hash(D)(texts) * np.array(lengths, np.float32)

    source = DatasetBuilder(tmp_path / "source", make_stamp("m", D, normalized=False), embed)
    source.commit(CORPUS)
    derive(source, "--type", "int8")
    source.commit({**CORPUS, "d.md": ["loud"]})
    found = derive(source, "--type", "int8")
    assert (found["parts_made"], found["rows_updated"], found["rows_added"]) == (2, 60, 1)
    scales = np.frombuffer(base64.b64decode(manifest_of(tmp_path / "derived")["stamp"]["scales"]), "<f4")
    assert np.allclose(scales, np.abs(stored(source.root)).max(axis=0) / 127)


@pytest.mark.parametrize("options", [["--dimensions", "128"], ["--type", "int8"], ["--type", "binary"]])
def test_search_understands_what_was_derived(tmp_path: Path, options: list[str]) -> None:
    def embed(texts: Sequence[str]) -> Vectors:
        return np.stack([found.vector for found in load_static_model(256).embed(texts) if found.vector is not None])

    source = DatasetBuilder(tmp_path / "source", make_stamp(MODEL_NAME, 256), embed)
    texts = [prose(seed) for seed in range(30)]
    source.commit({"a.md": [*texts, "Yeast makes bread dough rise.", "The tide comes in twice a day."]})
    derive(source, *options)
    _, text = run_command("search", str(tmp_path / "derived"), "why does dough rise", "-k", "1", "--json")
    assert json.loads(text)["hits"][0]["chunk"] == "Yeast makes bread dough rise."


def test_inspect_says_what_it_was_made_from(source: DatasetBuilder, tmp_path: Path) -> None:
    derive(source, "--type", "int8", "--dimensions", "8")
    _, text = run_command("inspect", str(tmp_path / "derived"), "--verify")
    assert "8 dimensions, of any length, stored as int8" in text
    assert f"from version 1 of {source.root} as int8; recall@10 0." in text
    assert "bytes and rows are what the manifest says" in text


def test_other_readers_open_what_was_derived(source: DatasetBuilder, tmp_path: Path) -> None:
    for vector_type, dtype in (("int8", polars.Int8), ("binary", polars.UInt8)):
        derive(source, "--type", vector_type, to=vector_type)
        glob = str(tmp_path / vector_type / "versions/*/part-*.parquet")
        width = D if vector_type == "int8" else D // 8
        assert polars.read_parquet(glob).schema["vector"] == polars.Array(dtype, width)
        counted = duckdb.sql(f"SELECT count(*), max(len(vector)) FROM '{glob}'").fetchall()
        assert counted == [(60, width)]


def test_a_model_not_known_to_be_shortened_is_doubted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = DatasetBuilder(tmp_path / "source", make_stamp("bge-m3", D), embed_by_hash(D))
    source.commit(CORPUS)
    assert "bge-m3 is not known to be trained for shorter vectors" in derive(source, "--dimensions", "8")["warning"]
    assert "bge-m3 is not known" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ([], "nothing to derive"),
        (["--dimensions", "16"], "nothing to derive"),
        (["--type", "binary", "--dimensions", "12"], "no multiple of 8"),
    ],
)
def test_a_recipe_that_makes_nothing_is_a_usage_error(source: DatasetBuilder, options: list[str], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        derive(source, *options)


def test_more_dimensions_than_there_are_is_refused(source: DatasetBuilder) -> None:
    with pytest.raises(RunRefused, match="the source has 16 dimensions"):
        derive(source, "--dimensions", "17")


def test_the_source_itself_is_never_the_destination(source: DatasetBuilder) -> None:
    with pytest.raises(ConfigError, match="is the source itself"):
        derive(source, "--type", "int8", to="source")


def test_a_dataset_of_its_own_is_never_overwritten(source: DatasetBuilder, tmp_path: Path) -> None:
    other = DatasetBuilder(tmp_path / "other", make_stamp("m", D), embed_by_hash(D))
    other.commit(CORPUS)
    with pytest.raises(RunRefused, match="holds a dataset of its own"):
        derive(source, "--type", "int8", to="other")


def test_another_recipe_needs_another_path(source: DatasetBuilder) -> None:
    derive(source, "--type", "int8")
    with pytest.raises(RunRefused, match="holds 16 dimensions of text-embedding-3-small as int8"):
        derive(source, "--type", "binary")


def test_what_is_derived_is_no_source(source: DatasetBuilder, tmp_path: Path) -> None:
    derive(source, "--type", "int8")
    with pytest.raises(RunRefused, match="the source is derived itself"):
        run_command("derive", str(tmp_path / "derived"), "--to", str(tmp_path / "more"), "--dimensions", "8")


def test_vectors_that_would_vanish_are_refused(tmp_path: Path) -> None:
    def embed(texts: Sequence[str]) -> Vectors:
        return np.tile(np.array([0.0] * 8 + [1.0] + [0.0] * 7, np.float32), (len(texts), 1))

    source = DatasetBuilder(tmp_path / "source", make_stamp("text-embedding-3-small", D), embed)
    source.commit(CORPUS)
    with pytest.raises(RunRefused, match="vectors have only zeros in their first 8 dimensions"):
        derive(source, "--dimensions", "8")
    assert not (tmp_path / "derived" / "manifest.json").exists()


def test_a_damaged_source_leaves_nothing_that_looks_finished(source: DatasetBuilder, tmp_path: Path) -> None:
    part_paths(source.root)[1].write_bytes(b"PAR1")
    with pytest.raises(FatalError, match="is damaged"):
        derive(source, "--type", "int8")
    left = [path for path in (tmp_path / "derived").rglob("*") if path.is_file()]
    assert all("locks" in path.parts for path in left)


def test_a_run_does_not_write_into_a_derived_dataset(
    source: DatasetBuilder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    derive(source, "--dimensions", "8")
    (tmp_path / "config.yaml").write_text(
        f"dataset: {tmp_path / 'derived'}\ndocuments: {{dataset: {source.root}}}\n"
        "embedding: {model: text-embedding-3-small, api_key_env: ''}\n"
    )
    assert main(["plan", str(tmp_path / "config.yaml")]) == 3
    assert "is derived from" in capsys.readouterr().err


def test_a_number_of_one_byte_takes_one_byte(tmp_path: Path) -> None:
    source = DatasetBuilder(tmp_path / "source", make_stamp("m", 64), embed_by_hash(64), bits=0, row_group_size=2000)
    source.commit({"a.md": [f"chunk {number}" for number in range(2000)]})
    derive(source, "--type", "int8", "--queries", "5")
    metadata = pq.ParquetFile(part_paths(tmp_path / "derived")[0]).metadata.row_group(0)
    columns = [metadata.column(at) for at in range(metadata.num_columns)]
    (vectors,) = [one for one in columns if one.path_in_schema.startswith("vector.")]
    assert vectors.total_uncompressed_size < 2 * vectors.num_values
