"""A kill between any two steps, locally and in a bucket, and in a bucket between any two requests."""

import contextlib
from collections.abc import Callable

import pytest

from tests.storage.builders import commit_staged, commit_texts, hash_of, stage, texts, vectors_of
from tests.storage.conftest import UNCLOSED
from tests.storage.dying_store import Died, DyingStore
from tests.storage.faulty_proxy import Fault, Proxy
from transforms.core.manifest import Manifest
from transforms.core.tables import list_of_hashes
from transforms.errors import CommitConflict
from transforms.storage import gcs_client
from transforms.storage.garbage import collect_garbage, verify_version
from transforms.storage.journal import Journal
from transforms.storage.previous_version import PreviousVersion
from transforms.storage.run_folder import DEAD_AFTER_SECONDS, RunFolder
from transforms.storage.store import Store
from transforms.storage.versions import current_manifest, remove_old_versions

PAID = "a text that no version holds"


def write_journal(store: Store, some: list[str], run_id: str) -> None:
    with Journal(store, "f").writer(run_id) as writer:
        writer.append(0, [hash_of(text) for text in some], vectors_of(some), 0, "")


def a_day_later() -> float:
    return 1e11 + DEAD_AFTER_SECONDS


def make_past(store: Store) -> Manifest:
    """Three versions, a dead run's staged parts, a half-filled version, and a journal with a text that is only there."""
    manifest = None
    for number in range(3):
        manifest = commit_texts(store, texts(4 + number), manifest)
    stage(store, RunFolder(store, "dead"), texts(3), 1)
    store.write_bytes("versions/000007/part-00000-of-00001.parquet", b"half")
    write_journal(store, texts(6), "held")
    write_journal(store, [texts(6)[0], PAID], "paid")
    assert manifest is not None
    return manifest


def check_nothing_is_lost(store: Store, expected: Manifest) -> None:
    assert current_manifest(store) == expected
    assert verify_version(store, expected) == []
    assert hash_of(PAID) in Journal(store, "f").read_hashes(0, 0)


def hashes_held(store: Store, manifest: Manifest) -> Callable[[int, int], set[bytes]]:
    previous = PreviousVersion(store, manifest)
    return lambda bits, bucket: set(list_of_hashes(previous.read_hashes(bits, bucket)))


TIDYING: dict[str, Callable[[Store, Manifest], object]] = {
    "gc": lambda store, manifest: collect_garbage(store, 1, "f", a_day_later),
    "old versions": lambda store, manifest: remove_old_versions(store, 1),
    "journal": lambda store, manifest: Journal(store, "f").remove_held("held", hashes_held(store, manifest)),
}


@pytest.mark.parametrize("what", sorted(TIDYING))
@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
def test_a_death_at_any_step_of_tidying_loses_nothing_and_the_next_one_ends_it(
    local_or_gs_store: Store, what: str, before: bool
) -> None:
    store = local_or_gs_store
    manifest = make_past(store)
    dies_at, finished = 0, False
    while not finished:
        dies_at += 1
        assert dies_at < 100
        try:
            TIDYING[what](DyingStore(store, dies_at, before), manifest)
            finished = True
        except Died:
            pass
        check_nothing_is_lost(store, manifest)
        if dies_at % 4 == 0:
            stage(store, RunFolder(store, "dead"), texts(3), 1)  # there is more to do again
    collect_garbage(store, 1, "f", a_day_later)
    check_nothing_is_lost(store, manifest)
    left = {file.path.rpartition("/")[0] for file in store.list_files("")}
    assert left == {"", "versions/000003", "_journal/f/00-00000"}


def test_a_death_at_any_step_of_the_first_commit_leaves_none_or_all_of_it(local_or_gs_store: Store) -> None:
    store = local_or_gs_store
    committed, dies_at = None, 0
    while committed is None:
        dies_at += 2  # in a bucket every dead attempt leaves a claim, which makes the next one a step longer
        run = RunFolder(store, f"dies-{dies_at}")
        staged = stage(store, run, texts(6), 1)
        dying = DyingStore(store, dies_at, False)
        with contextlib.suppress(Died):
            commit_staged(dying, RunFolder(dying, run.run_id), staged, None)
        committed = current_manifest(store)
        assert committed is None or verify_version(store, committed) == []
    collect_garbage(store, 1, "", a_day_later)
    assert {file.path.rpartition("/")[0] for file in store.list_files("")} == {"", f"versions/{committed.version:06d}"}


@pytest.mark.engines
@UNCLOSED
@pytest.mark.parametrize("last", ["reset", "reset after", 503])
def test_a_death_between_any_two_requests_of_a_commit_leaves_the_old_version_or_the_new_one(
    gs_store: Store, proxy: Proxy, monkeypatch: pytest.MonkeyPatch, last: Fault
) -> None:
    """From the n-th request on nothing goes through: for the bucket, that is how a writer ends that is killed."""
    patience = gcs_client.RETRY._timeout
    current = commit_texts(gs_store, texts(5), None)
    dies_at, finished = 0, False
    while not finished:
        dies_at += 1
        run = RunFolder(gs_store, f"dies-{dies_at}")
        staged = stage(gs_store, run, [*texts(5), f"{dies_at}"], 1)
        monkeypatch.setattr(gcs_client.RETRY, "_timeout", 0.001)
        proxy.forget()
        proxy.spoil = lambda asked, n=dies_at: None if asked.number < n else last if asked.number == n else "reset"  # type: ignore[misc]
        try:
            commit_staged(gs_store, run, staged, current, note=f"{dies_at}")
            finished = len(proxy.asked) <= dies_at
        except OSError:
            finished = False
        proxy.spoil = lambda asked: None
        monkeypatch.setattr(gcs_client.RETRY, "_timeout", patience)
        seen = current_manifest(gs_store)
        assert seen is not None
        assert seen == current or seen.summary["note"] == f"{dies_at}"
        assert verify_version(gs_store, seen) == []
        again = commit_staged(gs_store, run, staged, current, note=f"{dies_at}")  # as a runner repeats a bundle
        assert verify_version(gs_store, again) == []
        assert current_manifest(gs_store) == again
        run.remove()
        remove_old_versions(gs_store, 1)
        current = again
    assert dies_at > 10


@pytest.mark.engines
@UNCLOSED
def test_of_two_commits_that_race_for_the_manifest_one_wins_whichever_request_comes_first(
    gs_store: Store, proxy: Proxy
) -> None:
    """The other run commits whole while the first is stopped at its n-th request."""
    current, number, overtaken = commit_texts(gs_store, texts(5), None), 0, True
    while overtaken:
        number += 1
        slow = RunFolder(gs_store, f"slow-{number}")
        staged = stage(gs_store, slow, [*texts(5), f"slow {number}"], 1)
        proxy.forget()
        winners: list[Manifest] = []

        def overtake(asked: object, n: int = number, base: Manifest = current, won: list[Manifest] = winners) -> Fault:
            if len(proxy.asked) == n and not won:
                proxy.spoil = lambda asked: None
                won.append(commit_texts(gs_store, [*texts(5), f"fast {n}"], base, run_id=f"fast-{n}"))
            return None

        proxy.spoil = overtake
        try:
            current = commit_staged(gs_store, slow, staged, current)
            overtaken = bool(winners)
            assert not overtaken
        except CommitConflict:
            current = winners[0]
        assert current_manifest(gs_store) == current
        assert verify_version(gs_store, current) == []
        slow.remove()
        remove_old_versions(gs_store, 1)
    assert number > 10
