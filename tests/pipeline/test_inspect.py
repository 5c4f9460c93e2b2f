"""``embedbeam inspect``: everything that a newcomer asks of a dataset, and damage found."""

import dataclasses
import json
from pathlib import Path

import pytest

from tests.support.commands import run_command
from tests.support.datasets import DatasetBuilder, embed_by_hash, make_stamp
from transforms.core.identity import chunk_ids
from transforms.errors import ConfigError, FatalError
from transforms.records import Reject

DOCUMENTS = {
    "sea/tides.md": ["The sea climbs the beach.", "The Moon pulls."],
    "kitchen/salt.txt": ["Salt is a crystal."],
}
REJECTS = [
    Reject("a.pdf", "docs/a.pdf", None, None, "extract", "undecodable", "it holds no text"),
    Reject("b.pdf", "docs/b.pdf", None, None, "extract", "undecodable", "it holds no text"),
    Reject("c.md", "docs/c.md", 0, 9, "embed", "content_policy", "refused"),
]


def build(root: Path) -> DatasetBuilder:
    return DatasetBuilder(root, make_stamp(host="api.cometapi.com"), embed_by_hash(4))


def test_everything_about_a_dataset_stands_on_one_screen(tmp_path: Path) -> None:
    builder = build(tmp_path)
    builder.commit(DOCUMENTS)
    manifest = builder.commit({**DOCUMENTS, "new.md": ["Something new."]}, rejects=REJECTS)
    sizes = [f"{sum(part.bytes for part in manifest.parts) / 1000:.1f} kB"]
    code, text = run_command("inspect", str(tmp_path), "--rows", "0")
    lines = text.splitlines()
    assert code == 0
    assert lines[0] == f"{tmp_path}  version 2, committed 2026-11-22 09:30 UTC"
    assert lines[2:10] == [
        "model      test-model",
        "vectors    4 dimensions, all of length 1",
        "served by  api.cometapi.com",
        "chunking   max_tokens 128, overlap_tokens 16, splitter auto",
        "rows       4 chunks of 3 documents",
        f"parts      2 files, {sizes[0]}",
        "last run   1 text embedded, 7 tokens, cost 0.0000 USD",
        "rejects    3: 2 undecodable (extract), 1 content_policy (embed)",
    ]
    assert lines[11].split() == ["version", "committed", "rows", "added", "removed", "tokens", "cost", "USD", "size"]
    assert lines[12].split()[:8] == ["1", "2026-11-21", "09:30", "UTC", "3", "3", "0", "21"]
    assert lines[13].split()[:8] == ["2", "2026-11-22", "09:30", "UTC", "4", "1", "0", "7"]
    assert len(lines) == 14


def test_sample_rows_show_id_document_tokens_and_the_length_of_the_vector(tmp_path: Path) -> None:
    build(tmp_path).commit({"a.md": ["word " * 40]})
    _, text = run_command("inspect", str(tmp_path), "--rows", "5")
    sample = text.splitlines()[-3:]
    assert sample == [
        f"  {chunk_ids('a.md', ['word ' * 40])[0]}  a.md",
        "    40 tokens, vector of length 1.0000",
        "    " + " ".join(["word"] * 15) + "…",
    ]


@pytest.mark.parametrize("rows", [0, 1, 2, 3, 9])
def test_as_many_sample_rows_as_asked_for_over_parts_and_row_groups(tmp_path: Path, rows: int) -> None:
    builder = dataclasses.replace(build(tmp_path), row_group_size=1)
    builder.commit(DOCUMENTS)
    _, text = run_command("inspect", str(tmp_path), "--rows", str(rows), "--json")
    found = json.loads(text)["sample_rows"]
    assert len(found) == min(rows, 3)
    assert len({row["id"] for row in found}) == len(found)


def test_json_holds_manifest_rejects_and_versions(tmp_path: Path) -> None:
    builder = build(tmp_path)
    manifest = builder.commit(DOCUMENTS, rejects=REJECTS)
    code, text = run_command("inspect", str(tmp_path), "--json", "--rows", "1")
    found = json.loads(text)
    assert code == 0
    assert text.count("\n") == 1
    assert found["stamp"] == dataclasses.asdict(manifest.stamp)
    assert found["summary"] == manifest.summary
    assert found["rejects"] == [
        {"stage": "extract", "reason": "undecodable", "count": 2},
        {"stage": "embed", "reason": "content_policy", "count": 1},
    ]
    assert [(one["version"], one["rows"], one["rows_added"]) for one in found["versions"]] == [(1, 3, 3)]
    assert found["problems"] is None
    assert set(found["sample_rows"][0]) == {"id", "doc_id", "token_count", "chunk", "vector_norm"}


def test_verify_says_that_all_is_well(tmp_path: Path) -> None:
    build(tmp_path).commit(DOCUMENTS)
    code, text = run_command("inspect", str(tmp_path), "--verify", "--rows", "0")
    assert code == 0
    assert text.splitlines()[-1] == "verified  2 parts: bytes and rows are what the manifest says"


def test_verify_names_the_damaged_part_and_exits_3(tmp_path: Path) -> None:
    manifest = build(tmp_path).commit(DOCUMENTS)
    path = tmp_path / manifest.parts[1].path
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    code, text = run_command("inspect", str(tmp_path), "--verify", "--rows", "0")
    assert code == 3
    assert text.splitlines()[-2] == "DAMAGED"
    assert text.splitlines()[-1].startswith(f"  {manifest.parts[1].path} has sha256 ")


def test_a_folder_without_a_manifest_is_no_dataset(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"there is no dataset at .*: it has no manifest.json. Name the folder"):
        run_command("inspect", str(tmp_path))


def test_a_run_that_has_not_finished_is_told_apart_from_a_wrong_path(tmp_path: Path) -> None:
    (tmp_path / "_journal").mkdir()
    (tmp_path / "_journal" / "segment").write_bytes(b"paid")
    with pytest.raises(ConfigError, match="its run has not finished; the same `embedbeam run` goes on"):
        run_command("inspect", str(tmp_path))


def test_a_version_folder_that_was_never_committed_is_not_listed(tmp_path: Path) -> None:
    builder = build(tmp_path)
    builder.commit(DOCUMENTS)
    builder.commit(DOCUMENTS)
    (tmp_path / "versions/000001/manifest.json").unlink()
    _, text = run_command("inspect", str(tmp_path), "--json")
    assert [one["version"] for one in json.loads(text)["versions"]] == [2]


def test_a_damaged_manifest_is_an_error_and_no_traceback(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text("{")
    with pytest.raises(FatalError, match="is no JSON"):
        run_command("inspect", str(tmp_path))
