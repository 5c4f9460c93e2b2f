"""``embedbeam export``: which rows, where they go, how it is resumed, what it refuses."""

import dataclasses
import json
import resource
import shutil
import signal
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.cli import main
from tests.storage.dying_store import Died, DyingStore
from tests.support.exports import DIMENSION, METADATA, SECOND, changed_ids, export, make_dataset, rows_of
from transforms.core.manifest import parse_manifest
from transforms.errors import ConfigError, FatalError, RunRefused
from transforms.storage.exports.formats import FORMATS, load_format
from transforms.storage.exports.layout import RowSource
from transforms.storage.exports.selection import choose_changes, choose_everything
from transforms.storage.exports.writing import write_export
from transforms.storage.local_store import LocalStore
from transforms.storage.store import open_store

WITHOUT_LIBRARY = [name for name in FORMATS if not load_format(name).needs]


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    make_dataset(tmp_path / "handbook")
    return tmp_path / "handbook"


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def ignore(line: str) -> None:
    """Somebody who does not watch."""


def test_what_was_written_is_said(dataset: Path, tmp_path: Path) -> None:
    lines = export(dataset, "pinecone", tmp_path / "x").splitlines()
    assert lines[:3] == [f"{dataset}  version 2  →  {tmp_path / 'x'}  (pinecone)", "", "rows         45"]
    assert lines[3].startswith("files        5 files, ")
    assert lines[4:] == [f"how to load  {tmp_path / 'x'}/LOAD.md"]


def test_the_marker_names_every_file_with_its_rows_and_digest(dataset: Path, tmp_path: Path) -> None:
    found = json.loads(export(dataset, "huggingface", tmp_path / "x", "--json"))
    on_disk = json.loads((tmp_path / "x/export.json").read_bytes())
    store = open_store(str(tmp_path / "x"))
    assert (found["rows"], found["version"], found["since"], found["deletes"]) == (45, 2, None, 0)
    assert (found["dataset"], on_disk["dataset"]) == (str(dataset), "handbook")
    assert found["files"] == on_disk["files"]
    assert [store.digest(note["path"]) for note in on_disk["files"]] == [note["sha256"] for note in on_disk["files"]]
    assert {note["path"] for note in on_disk["files"]} | {"export.json"} == set(tree(tmp_path / "x"))
    parquet = [note for note in on_disk["files"] if note["path"].endswith(".parquet")]
    assert sum(note["rows"] for note in parquet) == 45


@pytest.mark.parametrize("name", WITHOUT_LIBRARY)
def test_the_same_version_gives_the_same_bytes(dataset: Path, tmp_path: Path, name: str) -> None:
    export(dataset, name, tmp_path / "x")
    export(dataset, name, tmp_path / "y")
    assert tree(tmp_path / "x") == tree(tmp_path / "y")


@pytest.mark.parametrize("name", ["qdrant", "numpy"])
def test_killed_at_any_step_it_goes_on_to_the_same_bytes(dataset: Path, tmp_path: Path, name: str) -> None:
    export(dataset, name, tmp_path / "undisturbed")
    source = open_store(str(dataset))
    plan = choose_everything(source, parse_manifest(source.read_bytes("manifest.json")), True)
    for dies_at in range(1, 100):
        target = LocalStore(str(tmp_path / f"x{dies_at}"))
        try:
            write_export(source, DyingStore(target, dies_at, True), plan, load_format(name), ignore)  # type: ignore[arg-type]
        except Died:
            write_export(source, target, plan, load_format(name), ignore)
            assert tree(tmp_path / f"x{dies_at}") == tree(tmp_path / "undisturbed")
            continue
        break
    assert dies_at > 10


def test_finished_files_are_kept_and_half_written_ones_are_not(dataset: Path, tmp_path: Path) -> None:
    source, target = open_store(str(dataset)), LocalStore(str(tmp_path / "x"))
    plan = choose_everything(source, parse_manifest(source.read_bytes("manifest.json")), True)
    with pytest.raises(Died):
        write_export(source, DyingStore(target, 6, True), plan, load_format("qdrant"), ignore)  # type: ignore[arg-type]
    (kept, cut_off), leftover = sorted((tmp_path / "x/points").iterdir()), tmp_path / "x/points/.p.123.tmp"
    cut_off.write_bytes(cut_off.read_bytes()[:-9])
    leftover.write_bytes(b"half")
    when = kept.stat().st_mtime_ns
    text = export(dataset, "qdrant", tmp_path / "x")
    assert "1 of them were there already" in text
    assert kept.stat().st_mtime_ns == when
    assert not leftover.exists()
    lines = b"".join(path.read_bytes() for path in sorted((tmp_path / "x/points").iterdir())).splitlines()
    assert [json.loads(line)["id"].replace("-", "") for line in lines] == rows_of(dataset).column("id").to_pylist()


def test_a_finished_export_is_left_as_it_is(dataset: Path, tmp_path: Path) -> None:
    export(dataset, "milvus", tmp_path / "x")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "x").rglob("*")}
    assert "all of them were there already" in export(dataset, "milvus", tmp_path / "x")
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "x").rglob("*")} == before


def test_a_finished_export_that_lost_a_file_is_refused(dataset: Path, tmp_path: Path) -> None:
    export(dataset, "faiss", tmp_path / "x")
    (tmp_path / "x/ids.npy").unlink()
    with pytest.raises(
        ConfigError, match=r"finished export, and ids.npy is missing or changed since: remove the folder"
    ):
        export(dataset, "faiss", tmp_path / "x")


@pytest.mark.parametrize(
    "options",
    [
        pytest.param(("milvus",), id="another format"),
        pytest.param(("qdrant", "--since", "1"), id="changes"),
        pytest.param(("qdrant", "--version", "1"), id="another version"),
        pytest.param(("qdrant", "--without-text"), id="without text"),
    ],
)
def test_a_folder_with_another_export_is_refused(dataset: Path, tmp_path: Path, options: tuple[str, ...]) -> None:
    export(dataset, "qdrant", tmp_path / "x")
    before = tree(tmp_path / "x")
    with pytest.raises(
        ConfigError, match=r"x holds an export of handbook \(.*\) version 2 as qdrant, and this one is of .*: name"
    ):
        export(dataset, options[0], tmp_path / "x", *options[1:])
    assert tree(tmp_path / "x") == before


def test_a_folder_with_something_else_is_refused(dataset: Path, tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    (tmp_path / "x/thesis.doc").write_text("years of work")
    with pytest.raises(ConfigError, match=r"x is not empty \(it has thesis.doc\) and is no export: name a new"):
        export(dataset, "qdrant", tmp_path / "x")


def test_a_folder_that_cannot_be_written_is_refused(dataset: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"cannot write the export to .*file/x: Not a directory"):
        export(dataset, "qdrant", tmp_path / "file/x")


def test_a_folder_inside_the_dataset_is_refused(dataset: Path) -> None:
    with pytest.raises(ConfigError, match="lies inside the dataset"):
        export(dataset, "qdrant", dataset / "versions/export")


def test_an_unknown_format_is_answered_with_the_names(dataset: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", str(dataset), "--to", "weaviate", "x"]) == 2
    said = capsys.readouterr().err
    assert (
        "there is no format 'weaviate'; choose one of bigquery, faiss, huggingface, lancedb, milvus, numpy, pgvector"
        in said
    )


@pytest.mark.parametrize("name", ["lancedb", "usearch"])
def test_a_missing_library_is_named_with_its_extra(
    dataset: Path, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ConfigError, match=rf"needs the library {name}: pip install 'embedbeam\[export\]'"):
        export(dataset, name, tmp_path / "x")
    assert not (tmp_path / "x").exists()


def test_changes_are_what_turns_one_version_into_the_other(dataset: Path, tmp_path: Path) -> None:
    text = export(dataset, "milvus", tmp_path / "x", "--since", "1")
    upserts, deletes = changed_ids(dataset)
    table = pa.concat_tables([pq.read_table(path) for path in sorted((tmp_path / "x/data").iterdir())])
    assert sorted(table.column("id").to_pylist()) == upserts
    assert (tmp_path / "x/deletes.txt").read_text().split() == deletes
    before = {row["id"]: row for row in rows_of(dataset, 1).to_pylist()}
    kept = {id_: row for id_, row in before.items() if id_ not in deletes}
    applied = {**kept, **{row["id"]: row for row in table.to_pylist()}}
    after = {row["id"]: row for row in rows_of(dataset, 2).to_pylist()}
    columns = table.column_names
    assert {id_: [row[name] for name in columns] for id_, row in applied.items()} == {
        id_: [row[name] for name in columns] for id_, row in after.items()
    }
    assert f"upserts      {len(upserts)}\ndeletes      {len(deletes)}  before the upserts\n" in text


def test_changed_rows_are_found_in_every_batch_of_a_part(dataset: Path) -> None:
    source = open_store(str(dataset))
    manifest = parse_manifest(source.read_bytes("manifest.json"))
    changes = pq.read_table(dataset / "versions/000002/changes.parquet")
    plan = choose_changes(source, manifest, True, 1, changes)
    batches = list(RowSource(source, plan.parts, plan.width, most_rows=3).batches(["id"]))
    found = [id_ for batch in batches for id_ in batch.column("id").to_pylist()]
    assert sorted(found) == changed_ids(dataset)[0]
    assert max(batch.num_rows for batch in batches) <= 3


def test_changes_since_a_number_that_was_skipped_are_refused(tmp_path: Path) -> None:
    builder = make_dataset(tmp_path / "other")
    manifest = dataclasses.replace(builder.commit(SECOND), previous_version=1)
    shutil.rmtree(tmp_path / "other/versions/000002")
    for path in ("manifest.json", "versions/000003/manifest.json"):
        (tmp_path / "other" / path).write_bytes(manifest.to_json())
    with pytest.raises(RunRefused, match=r"version 2 of .* is not there any more: .* there are 1, 3"):
        export(tmp_path / "other", "qdrant", tmp_path / "x", "--since", "2")


def test_an_export_without_changes_is_made_all_the_same(dataset: Path, tmp_path: Path) -> None:
    for name in WITHOUT_LIBRARY:
        found = json.loads(export(dataset, name, tmp_path / name, "--since", "2", "--json"))
        assert (found["rows"], found["deletes"]) == (0, 0)
        assert (tmp_path / name / "deletes.txt").read_bytes() == b""
    assert np.load(tmp_path / "numpy/vectors.npy").shape == (0, DIMENSION)


def test_an_older_version_can_be_exported(dataset: Path, tmp_path: Path) -> None:
    export(dataset, "numpy", tmp_path / "x", "--version", "1")
    assert np.load(tmp_path / "x/ids.npy").astype(str).tolist() == rows_of(dataset, 1).column("id").to_pylist()


def test_a_version_that_is_gone_says_which_there_are(tmp_path: Path) -> None:
    builder = make_dataset(tmp_path / "other")
    builder.commit(SECOND, with_changes=False)
    shutil.rmtree(tmp_path / "other/versions/000001")
    with pytest.raises(
        RunRefused, match=r"version 1 of .* is not there any more: .* there are 2, 3. Export everything once"
    ):
        export(tmp_path / "other", "qdrant", tmp_path / "x", "--since", "1")
    with pytest.raises(
        RunRefused, match=r"version 1 of .* is not there any more: gc or a run has removed it; there are 2, 3$"
    ):
        export(tmp_path / "other", "qdrant", tmp_path / "x", "--version", "1")
    assert not (tmp_path / "x").exists()


def test_changes_since_a_version_that_is_gone_are_put_together(tmp_path: Path) -> None:
    builder = make_dataset(tmp_path / "other")
    builder.commit({**SECOND, "a.md": ["one", "two \u2028 é 𝄞"], "e.md": ["fresh"]}, METADATA)
    export(tmp_path / "other", "numpy", tmp_path / "before", "--since", "1")
    shutil.rmtree(tmp_path / "other/versions/000001")
    export(tmp_path / "other", "numpy", tmp_path / "after", "--since", "1")
    names = [np.load(tmp_path / name / "ids.npy").tolist() for name in ("before", "after")]
    gone = [set((tmp_path / name / "deletes.txt").read_text().split()) for name in ("before", "after")]
    assert names[0] == names[1]
    came_and_went = gone[1] - gone[0]
    assert gone[0] < gone[1]
    assert came_and_went <= set(changed_ids(tmp_path / "other")[0])
    assert not came_and_went & set(rows_of(tmp_path / "other", 3).column("id").to_pylist())


def test_changes_since_the_previous_version_need_only_its_number(dataset: Path, tmp_path: Path) -> None:
    shutil.rmtree(dataset / "versions/000001")
    assert json.loads(export(dataset, "qdrant", tmp_path / "x", "--since", "1", "--json"))["rows"] == len(
        changed_ids(dataset)[0]
    )


@pytest.mark.parametrize("option", ["--since", "--version"])
def test_a_version_that_never_was_is_a_usage_error(dataset: Path, tmp_path: Path, option: str) -> None:
    with pytest.raises(ConfigError, match="has no version 7; the current one is 2"):
        export(dataset, "qdrant", tmp_path / "x", option, "7")


def test_changes_do_not_run_backwards(dataset: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--since 2 is newer than --version 1"):
        export(dataset, "qdrant", tmp_path / "x", "--since", "2", "--version", "1")


def test_a_version_that_goes_while_it_is_read_is_said(dataset: Path, tmp_path: Path) -> None:
    source = open_store(str(dataset))
    plan = choose_everything(source, parse_manifest(source.read_bytes("manifest.json")), True)
    shutil.rmtree(dataset / "versions/000002")
    with pytest.raises(RunRefused, match=r"version 2 of .* was removed while it was being exported"):
        write_export(source, LocalStore(str(tmp_path / "x")), plan, load_format("qdrant"), ignore)


def test_a_part_that_is_gone_is_named(dataset: Path, tmp_path: Path) -> None:
    (dataset / "versions/000002/part-00002-of-00004.parquet").unlink()
    with pytest.raises(FatalError, match=r"cannot read version 2 of .*part-00002.*inspect --verify"):
        export(dataset, "qdrant", tmp_path / "x")


def test_a_full_disk_is_said_and_the_same_command_goes_on(
    dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (2500, limits[1]))
        assert main(["export", str(dataset), "--to", "pgvector", str(tmp_path / "x")]) == 1
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
    assert "File too large; finished files are kept, and the same command goes on once this" in capsys.readouterr().err
    export(dataset, "pgvector", tmp_path / "x")
    export(dataset, "pgvector", tmp_path / "y")
    assert tree(tmp_path / "x") == tree(tmp_path / "y")


def test_a_damaged_part_is_said_with_the_remedy(dataset: Path, tmp_path: Path) -> None:
    part = dataset / "versions/000002/part-00002-of-00004.parquet"
    part.write_bytes(b"no Parquet at all")
    with pytest.raises(FatalError, match=r"cannot read version 2 of .*inspect --verify"):
        export(dataset, "qdrant", tmp_path / "x")


def test_bytes_are_refused_where_floats_are_taken(tmp_path: Path) -> None:
    builder = make_dataset(tmp_path / "handbook")
    part = tmp_path / "handbook" / builder.commit(SECOND).parts[0].path
    table = pq.read_table(part)
    narrow = pa.FixedSizeListArray.from_arrays(pa.array(np.zeros(6 * len(table), np.int8)), 6)
    pq.write_table(table.set_column(2, "vector", narrow), part)
    with pytest.raises(
        ConfigError, match="the vectors of handbook are int8, and the format qdrant takes floats: export the"
    ):
        export(tmp_path / "handbook", "qdrant", tmp_path / "x")


def test_the_command_line_runs_it(dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", str(dataset), "--to", "numpy", str(tmp_path / "x")]) == 0
    assert "how to load" in capsys.readouterr().out
