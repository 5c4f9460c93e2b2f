"""``embedbeam gc``: old versions go, the current one and what it grew from stay."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.commands import run_command
from tests.support.datasets import DatasetBuilder, embed_by_hash, make_stamp
from transforms.core.identity import text_hash, vector_fingerprint
from transforms.errors import ConfigError
from transforms.storage.journal import Journal
from transforms.storage.run_folder import RunFolder
from transforms.storage.store import open_store


def build(root: Path, versions: int = 3) -> dict[int, int]:
    """Commit versions and return the bytes in each one's folder."""
    builder = DatasetBuilder(root, make_stamp(), embed_by_hash(4))
    for number in range(1, versions + 1):
        builder.commit({"a.md": [f"chunk of version {number}"]})
    folders = {number: root / f"versions/{number:06d}" for number in range(1, versions + 1)}
    return {number: sum(file.stat().st_size for file in folder.iterdir()) for number, folder in folders.items()}


def versions_left(root: Path) -> list[str]:
    return sorted(folder.name for folder in (root / "versions").iterdir())


def everything_in(root: Path) -> dict[str, bytes]:
    """Every path below a folder, with the bytes of files."""
    return {str(path.relative_to(root)): path.read_bytes() if path.is_file() else b"" for path in root.rglob("*")}


def test_versions_beyond_the_last_two_go(tmp_path: Path) -> None:
    sizes = build(tmp_path)
    code, text = run_command("gc", str(tmp_path))
    size = f"{sizes[1] / 1000:.1f} kB"
    assert code == 0
    assert text.splitlines() == [
        f"{tmp_path}  version 3 stays",
        "",
        f"{'removed':<15}  {'size':>{len(size)}}",
        f"versions/000001  {size}",
        "",
        f"freed {size} in 1 place",
    ]
    assert versions_left(tmp_path) == ["000002", "000003"]


def test_keep_says_how_many_stay(tmp_path: Path) -> None:
    sizes = build(tmp_path)
    _, text = run_command("gc", str(tmp_path), "--keep", "1", "--json")
    assert json.loads(text) == {
        "dataset": str(tmp_path),
        "keep": 1,
        "dry_run": False,
        "removed": [{"path": f"versions/{number:06d}", "bytes": sizes[number]} for number in (1, 2)],
        "bytes": sizes[1] + sizes[2],
    }
    assert versions_left(tmp_path) == ["000003"]


def test_a_dry_run_says_the_same_and_removes_nothing(tmp_path: Path) -> None:
    build(tmp_path)
    before = everything_in(tmp_path)
    _, rehearsed = run_command("gc", str(tmp_path), "--keep", "1", "--dry-run", "--json")
    assert everything_in(tmp_path) == before
    _, done = run_command("gc", str(tmp_path), "--keep", "1", "--json")
    assert json.loads(rehearsed) == {**json.loads(done), "dry_run": True}


def test_a_dry_run_speaks_of_what_would_happen(tmp_path: Path) -> None:
    build(tmp_path)
    _, text = run_command("gc", str(tmp_path), "--dry-run")
    assert text.splitlines()[2].startswith("would go ")
    assert text.splitlines()[-1].startswith("would free ")


def test_nothing_to_remove_is_said(tmp_path: Path) -> None:
    build(tmp_path, versions=2)
    code, text = run_command("gc", str(tmp_path))
    assert (code, text) == (0, f"{tmp_path}  version 2: nothing to remove\n")


def test_what_is_left_is_a_sound_dataset(tmp_path: Path) -> None:
    build(tmp_path)
    run_command("gc", str(tmp_path), "--keep", "1")
    code, text = run_command("inspect", str(tmp_path), "--verify", "--json")
    assert (code, json.loads(text)["problems"]) == (0, [])


def test_a_wrong_path_is_a_usage_error_and_makes_no_folder(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no dataset at"):
        run_command("gc", str(tmp_path / "typo"))
    assert not (tmp_path / "typo").exists()


@pytest.mark.parametrize("keep", ["0", "-1", "some"])
def test_at_least_one_version_is_kept(tmp_path: Path, keep: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run_command("gc", str(tmp_path), f"--keep={keep}")
    assert "must be 1 or more" in capsys.readouterr().err


def journal(root: Path, fingerprint: str, texts: list[str], tokens: int = 30) -> None:
    with Journal(open_store(str(root)), fingerprint).writer("dead-run") as writer:
        vectors = embed_by_hash(4)(texts)
        writer.append(0, [text_hash(text) for text in texts], vectors, tokens, "test-model")


def test_paid_vectors_that_nobody_wants_go_only_when_asked_for(tmp_path: Path) -> None:
    build(tmp_path, versions=1)
    journal(tmp_path, "other", ["one", "two"])
    run_command("gc", str(tmp_path))
    assert list(tmp_path.rglob("*.seg"))
    _, text = run_command("gc", str(tmp_path), "--drop-journal")
    assert "test-model (not this dataset's vectors)" in text
    assert not (tmp_path / "_journal").exists()


def test_dropping_says_what_it_would_cost_again(tmp_path: Path) -> None:
    builder = DatasetBuilder(tmp_path, make_stamp(), embed_by_hash(4))
    manifest = builder.commit({"a.md": ["held"]})
    summary = {**manifest.summary, "prompt_tokens": 1000, "cost_usd": 0.02}
    (tmp_path / "manifest.json").write_bytes(replace(manifest, summary=summary).to_json())
    journal(tmp_path, vector_fingerprint("test-model", None, "", ""), ["held", "one", "two"])
    before = everything_in(tmp_path)
    _, rehearsed = run_command("gc", str(tmp_path), "--drop-journal", "--dry-run", "--json")
    assert everything_in(tmp_path) == before
    _, done = run_command("gc", str(tmp_path), "--drop-journal", "--json")
    assert json.loads(rehearsed) == {**json.loads(done), "dry_run": True}
    (dropped,) = json.loads(done)["dropped"]
    assert (dropped["texts"], dropped["tokens"], dropped["is_of_this_dataset"]) == (2, 20, True)
    assert dropped["cost_usd_again"] == pytest.approx(20 * 0.02 / 1000)
    assert not list(tmp_path.rglob("*.seg"))


def test_what_a_living_run_has_paid_for_is_never_dropped(tmp_path: Path) -> None:
    build(tmp_path, versions=1)
    store = open_store(str(tmp_path))
    with RunFolder(store, "living").alive(), Journal(store, "f").writer("living") as writer:
        writer.append(0, [text_hash("one")], embed_by_hash(4)(["one"]), 3, "test-model")
        Journal(store, "f").record_facts(b"facts")
        _, text = run_command("gc", str(tmp_path), "--drop-journal", "--json")
        assert json.loads(text)["dropped"] == []
        assert Journal(store, "f").read_hashes(0, 0) == {text_hash("one")}
        assert Journal(store, "f").facts() == b"facts"
