"""``embedbeam diff``: what a vector database must upsert and delete."""

import dataclasses
import json
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.support.commands import run_command
from tests.support.datasets import DatasetBuilder, embed_by_hash, make_stamp
from transforms.core.identity import chunk_ids
from transforms.errors import ConfigError, RunRefused

FIRST = {"a.md": ["one", "two", "three"], "b.md": ["alpha", "beta"], "c.md": ["gamma"]}
SECOND = {"a.md": ["one", "new", "three"], "b.md": ["beta"], "c.md": ["gamma"]}


def ids_of(documents: dict[str, list[str]]) -> dict[tuple[str, str], str]:
    """Ids by document and chunk."""
    return {
        (doc, chunk): id_
        for doc, chunks in documents.items()
        for chunk, id_ in zip(chunks, chunk_ids(doc, chunks), strict=True)
    }


OLD, NEW = ids_of(FIRST), ids_of(SECOND)
EXPECTED = sorted(
    [
        {"id": NEW["a.md", "new"], "change": "added", "doc_id": "a.md"},
        {"id": OLD["a.md", "two"], "change": "removed", "doc_id": "a.md"},
        {"id": OLD["b.md", "alpha"], "change": "removed", "doc_id": "b.md"},
        {"id": NEW["b.md", "beta"], "change": "updated", "doc_id": "b.md"},
    ],
    key=lambda row: row["id"],
)


def build(root: Path, with_changes: bool = True) -> DatasetBuilder:
    builder = DatasetBuilder(root, make_stamp(), embed_by_hash(4))
    builder.commit(FIRST, with_changes=with_changes)
    builder.commit(SECOND, with_changes=with_changes)
    return builder


@pytest.mark.parametrize(
    "with_changes", [pytest.param(True, id="from the commit's table"), pytest.param(False, id="row by row")]
)
def test_the_previous_version_is_compared_with_the_current_one(tmp_path: Path, with_changes: bool) -> None:
    build(tmp_path, with_changes)
    code, text = run_command("diff", str(tmp_path), "--json")
    assert code == 0
    assert json.loads(text) == {
        "dataset": str(tmp_path),
        "from_version": 1,
        "to_version": 2,
        "added": 1,
        "updated": 1,
        "removed": 2,
        "unchanged": 3,
        "changes": EXPECTED,
    }


def test_the_table_reads_by_document(tmp_path: Path) -> None:
    build(tmp_path)
    _, text = run_command("diff", str(tmp_path))
    assert text.splitlines() == [
        f"{tmp_path}  from version 1 to version 2",
        "",
        "added      1  upsert",
        "updated    1  upsert: same text, other place or metadata",
        "removed    2  delete",
        "unchanged  3",
        "",
        "change   id                                document",
        f"added    {NEW['a.md', 'new']}  a.md",
        f"removed  {OLD['a.md', 'two']}  a.md",
        f"removed  {OLD['b.md', 'alpha']}  b.md",
        f"updated  {NEW['b.md', 'beta']}  b.md",
    ]


def test_parquet_holds_every_change(tmp_path: Path) -> None:
    build(tmp_path / "set")
    target = tmp_path / "out" / "changes.parquet"
    _, text = run_command("diff", str(tmp_path / "set"), "--to-parquet", str(target))
    assert pq.ParquetFile(target).read().to_pylist() == EXPECTED
    assert text.splitlines()[-1] == f"4 changes written to {target}"


def test_versions_further_apart_are_compared_row_by_row(tmp_path: Path) -> None:
    build(tmp_path).commit(FIRST)
    _, text = run_command("diff", str(tmp_path), "--from", "1", "--to", "3", "--json")
    found = json.loads(text)
    assert (found["added"], found["updated"], found["removed"], found["unchanged"]) == (0, 0, 0, 6)
    assert found["changes"] == []


def test_parts_that_both_versions_share_count_as_unchanged(tmp_path: Path) -> None:
    builder = build(tmp_path, with_changes=False)
    manifest = builder.commit(SECOND, with_changes=False)
    (tmp_path / manifest.parts[0].path).unlink()  # it is known to be equal, so nobody reads it
    _, text = run_command("diff", str(tmp_path), "--json")
    assert json.loads(text)["unchanged"] == 5


@pytest.mark.parametrize("with_changes", [True, False])
def test_the_first_version_adds_everything(tmp_path: Path, with_changes: bool) -> None:
    build(tmp_path, with_changes)
    _, text = run_command("diff", str(tmp_path), "--to", "1")
    assert text.splitlines()[:6] == [
        f"{tmp_path}  from nothing to version 1",
        "",
        "added      6  upsert",
        "updated    0  upsert: same text, other place or metadata",
        "removed    0  delete",
        "unchanged  0",
    ]


def test_a_long_table_is_cut_and_says_where_the_rest_is(tmp_path: Path) -> None:
    builder = DatasetBuilder(tmp_path, make_stamp(), embed_by_hash(4))
    builder.commit({"a.md": [f"chunk {number}" for number in range(23)]})
    _, text = run_command("diff", str(tmp_path))
    assert text.splitlines()[-1] == "… and 3 more; --to-parquet FILE writes them all"
    assert text.count("added  ") == 21


def test_the_previous_version_may_be_gone(tmp_path: Path) -> None:
    build(tmp_path)
    shutil.rmtree(tmp_path / "versions/000001")
    _, text = run_command("diff", str(tmp_path), "--json")
    assert json.loads(text)["changes"] == EXPECTED


def test_an_older_version_that_is_gone_is_refused(tmp_path: Path) -> None:
    build(tmp_path).commit(FIRST)
    shutil.rmtree(tmp_path / "versions/000001")
    with pytest.raises(RunRefused, match=r"version 1 of .* is not there"):
        run_command("diff", str(tmp_path), "--from", "1")


def test_a_version_that_never_was_is_a_usage_error(tmp_path: Path) -> None:
    build(tmp_path)
    with pytest.raises(ConfigError, match="has no version 7; the current one is 2"):
        run_command("diff", str(tmp_path), "--to", "7")


def test_a_place_that_cannot_be_written_is_a_usage_error(tmp_path: Path) -> None:
    build(tmp_path)
    with pytest.raises(ConfigError, match="cannot write the changes to"):
        run_command("diff", str(tmp_path), "--to-parquet", str(tmp_path / "manifest.json" / "x.parquet"))


def test_other_buckets_than_before_change_nothing(tmp_path: Path) -> None:
    builder = DatasetBuilder(tmp_path, make_stamp(), embed_by_hash(4))
    builder.commit(FIRST, with_changes=False)
    dataclasses.replace(builder, bits=2).commit(FIRST, with_changes=False)
    _, text = run_command("diff", str(tmp_path), "--json")
    assert (json.loads(text)["unchanged"], json.loads(text)["changes"]) == (6, [])
