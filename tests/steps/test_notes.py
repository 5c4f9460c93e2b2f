"""Notes of a process, with a clock that the test moves."""

from pathlib import Path

import pytest

from tests.support.fake_client import FakeClient
from transforms.notes import ProgressNotes, ReadingNotes, open_notes, open_reading_notes, read_timeline
from transforms.records import Usage
from transforms.storage.run_folder import RunFolder
from transforms.storage.store import open_store


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Metered(FakeClient):
    """Says that it has used what the test says."""

    def __init__(self) -> None:
        super().__init__()
        self.used = Usage()

    def usage(self) -> Usage:
        return self.used


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunFolder(open_store(str(tmp_path)), "run")


def spend(client: Metered, requests: int, landed: int | None = None) -> None:
    over = requests if landed is None else landed
    client.used += Usage(requests=requests, prompt_tokens=100 * requests, latencies=(0, 0, over))


def test_note_comes_every_two_seconds_with_what_is_in_flight(folder: RunFolder) -> None:
    clock, client = Clock(), Metered()
    notes = ProgressNotes(folder, "p", clock)
    spend(client, 5, landed=3)
    notes.add(10, client)
    assert folder.progress() == []
    clock.now += 2
    notes.add(10, client)
    (note,) = folder.progress()
    expected = {
        "process": "p",
        "texts": 20,
        "seconds": 2.0,
        "requests": 5,
        "requests_in_flight": 2,
        "prompt_tokens": 500,
    }
    assert {name: note[name] for name in expected} == expected
    clock.now += 1
    notes.add(10, client)
    assert folder.progress() == [note]


def test_tokens_of_other_processes_count_against_the_budget(folder: RunFolder) -> None:
    clock, client = Clock(), Metered()
    notes = ProgressNotes(folder, "p", clock)
    spend(client, 1)
    folder.write_progress("other", {"process": "other", "prompt_tokens": 7000})
    assert notes.add(1, client) == 100
    clock.now += 3
    notes.add(1, client)
    assert notes.add(1, client) == 7100


def test_a_client_opened_after_a_failed_bundle_adds_to_what_the_one_before_was_charged(folder: RunFolder) -> None:
    clock, first, second = Clock(), Metered(), Metered()
    notes = ProgressNotes(folder, "p", clock)
    spend(first, 30)
    assert notes.add(1, first) == 3000
    spend(second, 1)
    assert notes.add(1, second) == 3100
    spend(second, 1)
    clock.now += 2
    assert notes.add(1, second) == 3200
    assert folder.progress()[0]["requests"] == 32


def test_notes_become_rare_when_the_store_is_slow(folder: RunFolder) -> None:
    clock, client = Clock(), Metered()

    class SlowFolder(RunFolder):
        def progress(self) -> list[dict[str, object]]:
            clock.now += 1.0
            return super().progress()

    notes = ProgressNotes(SlowFolder(folder.store, "run"), "p", clock)
    written = []
    for _ in range(100):
        clock.now += 0.5
        spend(client, 1)
        notes.add(1, client)
        written.append(folder.progress()[0]["requests"] if folder.progress() else 0)
    assert len(set(written)) - 1 <= 4


def test_timelines_of_all_processes_are_read_at_the_end(folder: RunFolder) -> None:
    for process, began in (("p", 5000.0), ("q", 5004.0)):
        clock, client = Clock(), Metered()
        notes = ProgressNotes(folder, process, clock, wall_clock=lambda began=began: began)
        for _ in range(8):
            clock.now += 1
            spend(client, 2)
            notes.add(10, client)
        notes.finish(client)
    steps, left_out = read_timeline(folder)
    assert left_out == 0
    assert [round(step.counts["requests"]) for step in steps] == [2] * 4 + [4] * 4 + [2] * 4
    assert steps[0].median_seconds is not None


def test_end_of_a_short_bundle_leaves_a_timeline_once_a_second_at_most(folder: RunFolder) -> None:
    clock, client = Clock(), Metered()
    notes = ProgressNotes(folder, "p", clock)
    seen = []
    for _ in range(10):
        clock.now += 0.3
        spend(client, 1)
        notes.add(1, client)
        notes.finish(client)
        seen.append(sum(step.counts["requests"] for step in read_timeline(folder)[0]))
    assert seen == pytest.approx([1, 1, 1, 1, 5, 5, 5, 5, 9, 9])


def test_no_timeline_is_no_error(folder: RunFolder) -> None:
    assert read_timeline(folder) == ([], 0)


def test_reading_is_counted_and_noted_at_once_and_then_every_two_seconds(folder: RunFolder) -> None:
    clock = Clock()
    notes = ReadingNotes(folder, "p", clock)
    found = []
    for _ in range(5):
        notes.add(3, 70)
        clock.now += 0.9
        found.append(folder.notes("reading", 9)[0][0]["documents"])
    assert found == [1, 1, 1, 4, 4]
    assert folder.notes("reading", 9) == ([{"documents": 4, "chunks": 12, "tokens": 280}], 1)


def test_a_process_has_one_set_of_notes_for_each_run_as_it_has_one_client(folder: RunFolder) -> None:
    """Steps run on several threads of a process; each would count the tokens of the one client again."""
    other = RunFolder(folder.store, "other")
    assert open_notes(folder) is open_notes(RunFolder(folder.store, "run"))
    assert open_notes(folder) is not open_notes(other)
    assert open_reading_notes(folder) is open_reading_notes(RunFolder(folder.store, "run"))
    assert open_reading_notes(folder) is not open_reading_notes(other)
