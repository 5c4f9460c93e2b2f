import os
import time
from pathlib import Path

import pytest

from tests.storage.builders import commit_texts, hash_of, stage, texts, vectors_of
from transforms.storage.garbage import collect_garbage, verify_version
from transforms.storage.journal import Journal
from transforms.storage.run_folder import RunFolder
from transforms.storage.store import Store
from transforms.storage.versions import current_manifest


def write_journal(store: Store, some: list[str], run_id: str, fingerprint: str = "f") -> None:
    with Journal(store, fingerprint).writer(run_id) as writer:
        writer.append(0, [hash_of(text) for text in some], vectors_of(some), 0, "")


def journal_files(store: Store) -> list[str]:
    return [file.path.split("/")[1] + "/" + file.path.split("/")[-1][:4] for file in store.list_files("_journal")]


def test_what_nobody_needs_goes_and_says_how_much_it_was(local_store: Store) -> None:
    first = commit_texts(local_store, texts(5), None)
    second = commit_texts(local_store, texts(6), first)
    local_store.write_bytes("versions/000003/part-00000-of-00001.parquet", b"half")
    dead = RunFolder(local_store, "dead")
    stage(local_store, dead, texts(4), 0)
    write_journal(local_store, texts(3), "dead")
    removed = dict(collect_garbage(local_store, 1))
    assert sorted(path[:23] for path in removed) == [
        "_journal/f/00-00000/dea",
        "_journal/runs/dead",
        "versions/000001",
        "versions/000003",
    ]
    assert removed["versions/000003"] == 4
    assert verify_version(local_store, second) == []
    assert sorted(path.name for path in Path(local_store.root).iterdir()) == ["manifest.json", "versions"]


def test_paid_vectors_that_the_version_does_not_hold_stay(store: Store) -> None:
    commit_texts(store, texts(5), None)
    write_journal(store, texts(5), "held")
    write_journal(store, [*texts(5), "paid"], "new")
    write_journal(store, ["other model"], "old", "other")
    collect_garbage(store, 1)
    assert journal_files(store) == ["f/new-", "other/old-"]


def test_journals_of_another_fingerprint_go_when_todays_is_known_and_they_are_older_than_the_commit(
    local_store: Store,
) -> None:
    write_journal(local_store, ["other model"], "old", "other")
    Journal(local_store, "other").record_facts(b"facts")
    write_journal(local_store, ["paid"], "new")
    commit_texts(local_store, texts(5), None)
    write_journal(local_store, ["other model again"], "late", "other")
    early, late = local_store.list_files("_journal/other/00-00000")[::-1]
    committed = Path(local_store.root, "manifest.json").stat().st_mtime
    os.utime(f"{local_store.root}/{early.path}", (committed - 10, committed - 10))
    os.utime(f"{local_store.root}/{late.path}", (committed + 10, committed + 10))
    collect_garbage(local_store, 1, "f")
    assert journal_files(local_store) == ["f/new-", "other/late", "other/endp"]
    os.utime(f"{local_store.root}/{late.path}", (committed - 10, committed - 10))
    collect_garbage(local_store, 1, "f")
    assert journal_files(local_store) == ["f/new-"]


def test_a_living_run_keeps_its_folder_and_its_journal(local_store: Store) -> None:
    commit_texts(local_store, texts(5), None)
    living = RunFolder(local_store, "living")
    with living.alive(), Journal(local_store, "f").writer("living") as writer:
        writer.append(0, [hash_of("text 0")], vectors_of(["text 0"]), 0, "")
        staged = stage(local_store, living, texts(4), 0)
        collect_garbage(local_store, 1)
        assert local_store.exists(staged[0][0])
        assert Journal(local_store, "f").read_hashes(0, 0) == {hash_of("text 0")}


def test_before_the_first_commit_the_journal_stays_whole(store: Store) -> None:
    write_journal(store, texts(3), "dead")
    collect_garbage(store, 1)
    assert journal_files(store) == ["f/dead"]


@pytest.mark.engines
def test_in_a_bucket_a_newer_folder_stays_until_its_run_is_dead(gs_store: Store) -> None:
    commit_texts(gs_store, texts(3), None)
    RunFolder(gs_store, "filling").write_bill({})
    gs_store.write_bytes("versions/000002/_claim.json", b'{"run_id": "filling"}')
    gs_store.write_bytes("versions/000003/part-00000-of-00001.parquet", b"nobody's")
    assert [path for path, _ in collect_garbage(gs_store, 1)] == ["versions/000003"]
    collect_garbage(gs_store, 1, clock=lambda: time.time() + 200_000)
    assert [file.path for file in gs_store.list_files("versions/000002")] == []


@pytest.mark.engines
def test_in_a_bucket_one_may_say_after_how_long_a_run_is_over(gs_store: Store) -> None:
    commit_texts(gs_store, texts(3), None)
    RunFolder(gs_store, "dead").write_bill({})
    gs_store.write_bytes("versions/000002/_claim.json", b'{"run_id": "dead"}')
    two_hours_later = time.time() + 7_200
    assert collect_garbage(gs_store, 1, clock=lambda: two_hours_later) == []
    removed = collect_garbage(gs_store, 1, clock=lambda: two_hours_later, dead_after_seconds=3_600)
    assert [path for path, _ in removed] == ["_journal/runs/dead", "versions/000002"]


def test_verify_names_every_part_that_is_not_what_the_manifest_says(store: Store) -> None:
    commit_texts(store, texts(40), None, bits=2)
    manifest = current_manifest(store)
    assert manifest is not None
    assert verify_version(store, manifest) == []
    missing, flipped, other, _ = [part.path for part in manifest.parts]
    store.delete(missing)
    damaged = bytearray(store.read_bytes(flipped))
    damaged[100] ^= 1
    for path, data in ((flipped, bytes(damaged)), (other, b"x")):
        store.delete(path)
        store.write_bytes(path, data)
    problems = verify_version(store, manifest)
    assert problems[0] == f"{missing} is missing"
    assert problems[1].startswith(f"{flipped} has sha256 ")
    assert problems[2].startswith(
        f"{other} has sha256 2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881 "
    )
    assert len(problems) == 3
