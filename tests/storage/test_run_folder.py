import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from transforms.storage.run_folder import DEAD_AFTER_SECONDS, RunFolder, StopNotice, remove_dead_runs, run_ids
from transforms.storage.store import Store


def test_the_first_reason_to_stop_is_the_one_that_counts(store: Store) -> None:
    run = RunFolder(store, "r")
    assert run.stop_notice() is None
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: run.stop("ProviderRefused", f"reason {n}"), range(8)))
    notice = run.stop_notice()
    assert notice is not None
    run.stop("RunRefused", "later")
    assert RunFolder(store, "r").stop_notice() == notice
    assert notice in [StopNotice("ProviderRefused", f"reason {n}") for n in range(8)]


def test_bill_outcome_and_progress_are_left_for_the_launcher(store: Store) -> None:
    run = RunFolder(store, "r")
    assert (run.bill(), run.outcome(), run.progress()) == (None, None, [])
    run.write_bill({"texts": 3, "cost_usd": None})
    run.write_outcome({"version": 1})
    run.write_progress("b", {"done": 1})
    run.write_progress("a", {"done": 2})
    run.write_progress("b", {"done": 3})
    assert run.bill() == {"texts": 3, "cost_usd": None}
    assert run.outcome() == {"version": 1}
    assert run.progress() == [{"done": 2}, {"done": 3}]
    assert RunFolder(store, "other").progress() == []


def test_each_attempt_stages_under_a_name_of_its_own_that_is_no_parquet_file(store: Store) -> None:
    run = RunFolder(store, "r")
    paths = {
        run.staged_part_path(3, 16),
        run.staged_part_path(3, 16),
        run.staged_changes_path(3),
        run.path("bill.json"),
    }
    assert len(paths) == 4
    assert not [path for path in paths if path.endswith(".parquet")]
    assert all(path.startswith("_journal/runs/r/") for path in paths)


def test_a_removed_run_leaves_nothing(store: Store) -> None:
    run = RunFolder(store, "r")
    with run.alive():
        run.write_bill({})
        store.write_bytes(run.staged_part_path(0, 1), b"vectors")
    run.remove()
    assert store.list_files("") == []


def test_dead_runs_go_and_living_ones_stay(local_store: Store) -> None:
    RunFolder(local_store, "dead").write_bill({"texts": 1})
    RunFolder(local_store, "mine").write_bill({})
    with RunFolder(local_store, "living").alive():
        assert remove_dead_runs(local_store, "mine") == [("_journal/runs/dead", 12)]
        assert sorted(run_ids(local_store)) == ["living", "mine"]
    remove_dead_runs(local_store, "mine")
    assert sorted(run_ids(local_store)) == ["mine"]


_LIVE = """
import sys
from transforms.storage.run_folder import RunFolder
from transforms.storage.store import open_store
with RunFolder(open_store(sys.argv[1]), "killed").alive():
    sys.stdout.write("alive\\n")
    sys.stdout.flush()
    sys.stdin.read()
"""


def test_a_killed_launcher_is_dead_at_once(local_store: Store) -> None:
    command = [sys.executable, "-c", _LIVE, local_store.root]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"alive\n"
    assert remove_dead_runs(local_store, "mine") == []
    process.kill()
    process.communicate()
    assert [path for path, _ in remove_dead_runs(local_store, "mine")] == ["_journal/runs/killed"]


@pytest.mark.engines
def test_in_a_bucket_a_run_is_dead_when_its_folder_is_a_day_old(gs_store: Store) -> None:
    RunFolder(gs_store, "other").write_bill({})
    assert remove_dead_runs(gs_store, "mine", lambda: time.time() + DEAD_AFTER_SECONDS - 60) == []
    assert len(remove_dead_runs(gs_store, "mine", lambda: time.time() + DEAD_AFTER_SECONDS + 60)) == 1
