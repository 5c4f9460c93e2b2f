import fcntl
import multiprocessing
from pathlib import Path

import pytest

from transforms.clients.quota_file import FileCell, quota_file_path
from transforms.core import pacing
from transforms.core.pacing import PaceState, Quota, open_pace, share_quota

SETTINGS = share_quota(Quota(6000, None, 4), 1)


def start() -> PaceState:
    return open_pace(SETTINGS, 100.0)


def _charge(path: Path, times: int) -> None:
    cell = FileCell(path, start)
    for _ in range(times):
        cell.change(lambda state: (_one_more(state), None))
    cell.close()


def _one_more(state: PaceState) -> PaceState:
    return pacing.accept(state, SETTINGS, 100.0, 100.0, 1, 0, 0)


def _hold(path: Path, taken: "multiprocessing.Queue[int | None]") -> None:
    cell = FileCell(path, start)
    taken.put(cell.take_slot(4))
    taken.put(cell.take_slot(4))
    multiprocessing.Event().wait(60)


def test_the_state_is_kept_between_changes(tmp_path: Path) -> None:
    cell = FileCell(tmp_path / "quota", start)
    before = cell.change(lambda state: (state, state))
    cell.change(lambda state: (_one_more(state), None))
    assert before == start()
    assert cell.change(lambda state: (state, state)) == _one_more(start())


def test_processes_change_the_same_state_one_after_the_other(tmp_path: Path) -> None:
    path = tmp_path / "quota"
    cell = FileCell(path, start)
    spawn = multiprocessing.get_context("spawn")
    workers = [spawn.Process(target=_charge, args=(path, 500)) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(30)
    assert cell.change(lambda state: (state, state.requests_accepted)) == 1500


def test_places_in_flight_are_shared_and_come_back_when_a_process_is_killed(tmp_path: Path) -> None:
    path = tmp_path / "quota"
    cell = FileCell(path, start)
    context = multiprocessing.get_context("spawn")
    taken: "multiprocessing.Queue[int | None]" = context.Queue()
    other = context.Process(target=_hold, args=(path, taken))
    other.start()
    assert [taken.get(timeout=10), taken.get(timeout=10)] == [0, 1]
    assert [cell.take_slot(4), cell.take_slot(4), cell.take_slot(4)] == [2, 3, None]
    other.kill()
    other.join(10)
    assert cell.take_slot(4) == 0
    cell.give_slot(3)
    assert [cell.take_slot(4), cell.take_slot(4), cell.take_slot(4)] == [1, 3, None]


def test_the_last_to_leave_removes_the_file(tmp_path: Path) -> None:
    path = tmp_path / "quota"
    cell = FileCell(path, start)
    assert path.exists()
    cell.close()
    assert not path.exists()


def test_an_emptied_file_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "quota"
    cell = FileCell(path, start)
    path.write_bytes(b"")
    with pytest.raises(OSError, match="was emptied while the run was using it"):
        cell.change(lambda state: (state, None))


def test_another_layout_is_started_afresh(tmp_path: Path) -> None:
    path = tmp_path / "quota"
    path.write_bytes(b"\0" * 4096)
    assert FileCell(path, start).change(lambda state: (state, state)) == start()


def test_the_name_follows_the_run_and_lies_in_a_folder_of_the_user(tmp_path: Path) -> None:
    assert quota_file_path("a", tmp_path) != quota_file_path("b", tmp_path)
    assert quota_file_path("a", tmp_path) == quota_file_path("a", tmp_path)
    assert quota_file_path("a").parent.name.startswith("embedbeam-")


def test_after_leaving_the_file_is_let_alone(tmp_path: Path) -> None:
    cell = FileCell(tmp_path / "quota", start)
    slot = cell.take_slot(1)
    assert slot == 0
    cell.close()
    cell.close()
    cell.change(lambda state: (_one_more(state), None))
    cell.give_slot(slot)
    assert cell.change(lambda state: (state, state.requests_accepted)) == 1
    assert cell.take_slot(1) is None
    assert not (tmp_path / "quota").exists()


def test_a_file_that_others_still_use_stays(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    taken: "multiprocessing.Queue[int | None]" = context.Queue()
    other = context.Process(target=_hold, args=(tmp_path / "quota", taken))
    other.start()
    assert taken.get(timeout=30) == 0
    FileCell(tmp_path / "quota", start).close()
    assert (tmp_path / "quota").exists()
    other.kill()
    other.join(10)


def test_a_file_that_was_removed_while_it_was_opened_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, left = tmp_path / "quota", [1]
    lockf = fcntl.lockf

    def lock_and_lose(file: int, how: int, *where: int) -> None:
        if how == fcntl.LOCK_SH and left:
            left.pop()
            path.unlink()
        lockf(file, how, *where)

    monkeypatch.setattr(fcntl, "lockf", lock_and_lose)
    assert FileCell(path, start).change(lambda state: (state, state)) == start()
    assert path.exists()


def test_files_of_killed_runs_are_removed_and_those_in_use_are_not(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    taken: "multiprocessing.Queue[int | None]" = context.Queue()
    other = context.Process(target=_hold, args=(tmp_path / "quota-of-another-process", taken))
    other.start()
    assert taken.get(timeout=30) == 0
    mine = FileCell(tmp_path / "quota-of-mine", start)
    (tmp_path / "quota-of-a-killed-run").write_bytes(b"old")
    (tmp_path / "quota-that-is-a-link").symlink_to(tmp_path / "elsewhere")
    FileCell(tmp_path / "quota-new", start).close()
    assert {path.name for path in tmp_path.iterdir()} == {
        "quota-of-another-process",
        "quota-of-mine",
        "quota-that-is-a-link",
    }
    assert mine.take_slot(1) == 0
    other.kill()
    other.join(10)
