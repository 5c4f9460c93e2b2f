import json
import random
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.storage.builders import commit_staged, commit_texts, make_manifest, stage, texts
from tests.storage.dying_store import Died, DyingStore
from transforms.core.manifest import Manifest
from transforms.errors import CommitConflict, FatalError, RunRefused
from transforms.storage.garbage import collect_garbage, verify_version
from transforms.storage.manifests import versions_present
from transforms.storage.run_folder import RunFolder
from transforms.storage.store import Store
from transforms.storage.versions import (
    commit_version,
    current_manifest,
    manifest_of_version,
    remove_old_versions,
)


def files(store: Store, folder: str = "") -> list[str]:
    return [file.path for file in store.list_files(folder)]


def check_whole(store: Store, manifest: Manifest | None) -> None:
    """A reader who sees this manifest finds all of its parts, right to the last byte."""
    if manifest is not None:
        assert verify_version(store, manifest) == []
        assert manifest_of_version(store, manifest.version) == manifest


def test_a_commit_gives_a_version_complete_in_one_folder(store: Store) -> None:
    manifest = commit_texts(store, texts(10), None)
    assert current_manifest(store) == manifest
    check_whole(store, manifest)
    assert [path for path in files(store) if not path.endswith("_claim.json")] == [
        "manifest.json",
        "versions/000001/manifest.json",
        "versions/000001/part-00000-of-00002.parquet",
        "versions/000001/part-00001-of-00002.parquet",
        "versions/000001/rejects.parquet",
    ]
    assert store.read_bytes("manifest.json") == store.read_bytes("versions/000001/manifest.json")


def test_unchanged_parts_are_taken_over_and_outlive_the_version_they_came_from(store: Store) -> None:
    first = commit_texts(store, texts(10), None)
    kept, other = first.parts
    run = RunFolder(store, "second")
    staged = stage(store, run, texts(10)[:5], 1)
    chosen = [
        (kept.path, kept.path[16:], kept.rows, kept.bytes, kept.sha256),
        *[row for row in staged if row[1] == other.path[16:]],
    ]
    second = commit_staged(store, run, chosen, first)
    run.remove()
    assert (second.version, second.previous_version) == (2, 1)
    remove_old_versions(store, 1)
    assert not [path for path in files(store) if path.startswith("versions/000001")]
    check_whole(store, second)


def test_a_commit_repeated_by_the_same_run_returns_what_it_committed(store: Store) -> None:
    run = RunFolder(store, "run")
    staged = stage(store, run, texts(10), 1)
    first = commit_staged(store, run, staged, None)
    before = files(store)
    assert commit_staged(store, run, staged, None, note="another time") == first
    assert files(store) == before


def test_a_run_that_started_from_an_older_version_conflicts_and_changes_nothing(store: Store) -> None:
    first = commit_texts(store, texts(5), None)
    second = commit_texts(store, texts(6), first, run_id="winner")
    loser = RunFolder(store, "loser")
    staged = stage(store, loser, texts(7), 1)
    before = files(store)
    with pytest.raises(
        CommitConflict,
        match=r"another run has committed .* from version 1, and now the dataset is at version 2\. .*journal",
    ):
        commit_staged(store, loser, staged, first)
    assert current_manifest(store) == second
    assert files(store) == before


def test_of_two_first_runs_one_conflicts(store: Store) -> None:
    commit_texts(store, texts(5), None)
    with pytest.raises(CommitConflict, match="started from no version, and now the dataset is at version 1"):
        commit_texts(store, texts(6), None, run_id="other")


@pytest.mark.parametrize("attempt", range(3))
def test_of_two_commits_at_once_exactly_one_wins(store: Store, attempt: int) -> None:
    first = commit_texts(store, texts(5), None)
    runs = [RunFolder(store, f"run{n}") for n in range(4)]
    staged = [stage(store, run, texts(6 + n), 1) for n, run in enumerate(runs)]

    def commit(n: int) -> Manifest | None:
        try:
            return commit_staged(store, runs[n], staged[n], first, note=f"{n} {attempt}")
        except CommitConflict:
            return None

    with ThreadPoolExecutor(4) as pool:
        won = [manifest for manifest in pool.map(commit, range(4)) if manifest is not None]
    assert [current_manifest(store)] == won
    assert versions_present(store) == [1, won[0].version]
    check_whole(store, won[0])
    check_whole(store, first)
    assert commit_texts(store, texts(20), won[0], run_id="next").previous_version == won[0].version


def test_two_files_of_one_name_are_refused(local_store: Store) -> None:
    run = RunFolder(local_store, "run")
    with pytest.raises(ValueError, match="same name"):
        commit_version(local_store, run, [("a", "p"), ("b", "p")], {}, lambda *_: pytest.fail("called"), None)


def test_a_manifest_that_does_not_describe_the_files_is_not_committed(store: Store) -> None:
    run = RunFolder(store, "run")
    staged = stage(store, run, texts(10), 1)
    wrong = [(*staged[0][:3], staged[0][3] + 1, staged[0][4]), *staged[1:]]
    with pytest.raises(FatalError, match=r"not those of its manifest: versions/000001/part-00000-of-00002\.parquet"):
        commit_version(
            store,
            run,
            [row[:2] for row in staged],
            {},
            lambda version, folder: make_manifest(version, folder, wrong, None),
            None,
        )
    assert current_manifest(store) is None
    with pytest.raises(FatalError, match="part-00001"):
        commit_version(
            store,
            run,
            [row[:2] for row in staged],
            {},
            lambda version, folder: make_manifest(version, folder, staged[:1], None),
            None,
        )


@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
def test_a_death_at_any_step_of_a_commit_leaves_the_old_version_or_the_new_one(store: Store, before: bool) -> None:
    """Dies at every change a commit makes; then a reader reads, the same run tries again, and a new run commits."""
    first = commit_texts(store, texts(6), None)
    dies_at = 0
    finished = False
    current = first
    while not finished:
        dies_at += 1
        run = RunFolder(store, f"dies-{dies_at}")
        staged = stage(store, run, [*texts(6), f"{dies_at}"], 1)
        dying = DyingStore(store, dies_at, before)
        try:
            commit_staged(dying, RunFolder(dying, run.run_id), staged, current, note=f"{dies_at}")
            finished = True
        except Died:
            pass
        seen = current_manifest(store)
        assert seen is not None
        check_whole(store, seen)
        check_whole(store, current)
        assert seen == current or seen.summary["note"] == f"{dies_at}"
        if dies_at % 2:
            again = commit_staged(store, run, staged, current, note=f"{dies_at}")
            assert again.summary["note"] == f"{dies_at}"
        else:
            again = commit_texts(store, [*texts(6), f"new {dies_at}"], seen, run_id=f"new-{dies_at}")
        check_whole(store, again)
        assert current_manifest(store) == again
        run.remove()
        current = again
    assert dies_at == (11 if store.moves_folders else 8)


def test_the_first_commit_survives_a_death_at_any_step(local_store: Store) -> None:
    for dies_at in range(1, 11):
        run = RunFolder(local_store, f"dies-{dies_at}")
        staged = stage(local_store, run, texts(6), 1)
        with pytest.raises(Died):
            commit_staged(
                DyingStore(local_store, dies_at, True),
                RunFolder(DyingStore(local_store, dies_at, True), run.run_id),
                staged,
                None,
            )
        assert current_manifest(local_store) is None
    check_whole(local_store, commit_texts(local_store, texts(6), None))
    collect_garbage(local_store, 2)
    assert [path for path in files(local_store) if path.startswith("_journal")] == []


_COMMIT = """
import sys
from tests.storage.builders import commit_texts, texts
from transforms.storage.store import open_store
from transforms.storage.versions import current_manifest
store = open_store(sys.argv[1])
number = 0
while True:
    number += 1
    sys.stdout.write("committing" + chr(10))
    sys.stdout.flush()
    commit_texts(store, texts(20 + number), current_manifest(store), bits=2, run_id=f"{sys.argv[2]}-{number}")
"""


def test_commits_that_are_killed_at_random_moments_never_leave_half_a_version(local_or_gs_store: Store) -> None:
    store, seeded = local_or_gs_store, random.Random(11)
    versions = []
    for number in range(10 if store.moves_folders else 4):
        command = [sys.executable, "-c", _COMMIT, store.root, f"run{number}"]
        process = subprocess.Popen(command, stdout=subprocess.PIPE)
        assert process.stdout is not None
        for _ in range(seeded.randrange(1, 4)):
            process.stdout.readline()
        for _ in range(seeded.randrange(60_000)):
            pass  # a moment of the commit, not a wait for anything
        process.kill()
        process.communicate()
        manifest = current_manifest(store)
        check_whole(store, manifest)
        versions.append(manifest.version if manifest else 0)
    assert versions == sorted(versions)
    assert versions[-1] > 0
    after = commit_texts(store, texts(3), current_manifest(store), run_id="after")
    check_whole(store, after)
    collect_garbage(store, 1, clock=lambda: time.time() + 200_000)
    left = [path for path in files(store) if not path.startswith(f"versions/{after.version:06d}/")]
    assert left == ["manifest.json"]


@pytest.mark.engines
def test_in_a_bucket_a_number_that_somebody_claimed_is_never_taken_over(gs_store: Store) -> None:
    gs_store.create_bytes("versions/000001/_claim.json", b'{"run_id": "dead", "attempt": "1"}')
    gs_store.write_bytes("versions/000001/part-00000-of-00001.parquet", b"half")
    manifest = commit_texts(gs_store, texts(5), None)
    assert manifest.version == 2
    check_whole(gs_store, manifest)
    remove_old_versions(gs_store, 2)
    assert not files(gs_store, "versions/000001")


def test_old_versions_go_and_the_chain_of_kept_ones_stays(store: Store) -> None:
    manifest = None
    for number in range(5):
        manifest = commit_texts(store, texts(4 + number), manifest)
    assert manifest is not None
    assert remove_old_versions(store, 5) == []
    removed = remove_old_versions(store, 2)
    assert [path for path, _ in removed] == ["versions/000001", "versions/000002", "versions/000003"]
    assert all(size > 1000 for _, size in removed)
    check_whole(store, manifest)
    check_whole(store, manifest_of_version(store, 4))
    with pytest.raises(RunRefused, match=r"version 3 of .* is not there"):
        manifest_of_version(store, 3)


def test_a_folder_that_a_run_is_filling_is_no_old_version(store: Store) -> None:
    commit_texts(store, texts(3), None)
    store.write_bytes("versions/000002/part-00000-of-00001.parquet", b"half")
    assert remove_old_versions(store, 1) == []
    assert versions_present(store) == [1, 2]


def test_a_dataset_that_is_not_there_has_no_version(store: Store) -> None:
    assert current_manifest(store) is None
    assert remove_old_versions(store, 2) == []


def test_a_manifest_of_a_later_release_stops_a_commit(store: Store) -> None:
    first = commit_texts(store, texts(3), None)
    later = json.loads(store.read_bytes("manifest.json")) | {"format": "embedbeam/2"}
    store.write_bytes("manifest.json", json.dumps(later).encode())
    with pytest.raises(FatalError, match="has format 'embedbeam/2'"):
        commit_texts(store, texts(4), first)


def test_a_lost_manifest_stops_a_commit_before_it_replaces_what_is_there(local_store: Store) -> None:
    first = commit_texts(local_store, texts(3), None)
    second = commit_texts(local_store, texts(4), first)
    local_store.delete("manifest.json")
    with pytest.raises(
        RunRefused, match=r"manifest\.json is missing, but versions 1 to 2 .*Copy versions/000002/manifest"
    ):
        commit_texts(local_store, texts(4), None)
    local_store.write_bytes("manifest.json", local_store.read_bytes("versions/000002/manifest.json"))
    check_whole(local_store, commit_texts(local_store, texts(5), second))
