"""Kills in every phase of a run, then one run to the end: the dataset is the one of an undisturbed run."""

import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.end_to_end.test_run import PROBE_TEXTS, check_committed, check_coverage
from tests.support.projects import Project, prose
from tests.support.rehearsal import Rehearsal, rehearsal

IN_FLIGHT, INPUTS = 4, 4
POLL_SECONDS = 0.005


@pytest.fixture(scope="module")
def server() -> Iterator[Rehearsal]:
    with rehearsal("--dimensions", "16", "--latency-ms", "15", "--latency-jitter-ms", "10") as running:
        yield running


@pytest.fixture
def project(tmp_path: Path, capsys: pytest.CaptureFixture[str], server: Rehearsal) -> Project:
    made = Project(tmp_path, capsys, server.base_url)
    made.config["embedding"] |= {"api_key_env": "", "max_inputs_per_request": INPUTS}
    made.config["limits"] = {"concurrent_requests": IN_FLIGHT}
    made.config["chunking"] = {"max_tokens": 64, "overlap_tokens": 0}
    made.write({f"t{n}.txt": prose(1000 + n, 120) for n in range(100)})
    return made


def start(project: Project, *options: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "pipeline", "run", project.config_file(), *options]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=dict(os.environ))


def strike(process: "subprocess.Popen[str]", reached: Callable[[], bool], number: signal.Signals) -> int:
    """Send a signal as soon as a moment is reached, or let the process end; returns its exit code."""
    ticks = threading.Event()
    while process.poll() is None and not reached():
        ticks.wait(POLL_SECONDS)
    if process.poll() is None:
        process.send_signal(number)
    process.communicate()
    return process.returncode


Moment = Callable[[], Callable[[], bool]]
"""Made when a run is about to start; says whether the run has come to a certain point."""


def appears(project: Project, pattern: str) -> Moment:
    return lambda: lambda: next(project.dataset.glob(pattern), None) is not None


def answered(server: Rehearsal, more: int) -> Moment:
    def begin() -> Callable[[], bool]:
        target = server.statistics()["texts"] + more
        return lambda: bool(server.statistics()["texts"] >= target)

    return begin


def moments(project: Project, server: Rehearsal, seed: int) -> list[Moment]:
    """One moment in each phase: reading, planning, embedding (three times), writing, committing."""
    drawn = random.Random(seed)
    return [
        appears(project, "_journal/runs/*/alive"),
        appears(project, "_journal/runs/*/bill.json"),
        *(answered(server, drawn.randrange(1, 120)) for _ in range(3)),
        appears(project, "_journal/runs/*/staged/part-*"),
        appears(project, "versions/*"),
    ]


@pytest.mark.parametrize("seed", [1])
def test_after_kills_in_every_phase_the_dataset_is_that_of_an_undisturbed_run(
    project: Project, server: Rehearsal, seed: int
) -> None:
    undisturbed = project.folder / "undisturbed"
    assert project.run("--set", f"dataset={undisturbed}").code == 0
    expected = {path.name: path.read_bytes() for path in undisturbed.glob("versions/000001/part-*")}
    paid_before = server.statistics()["texts"]
    codes = [strike(start(project), moment(), signal.SIGKILL) for moment in moments(project, server, seed)]
    outcome = project.run()
    check_committed(project, outcome)
    check_coverage(project)
    assert {path.name: path.read_bytes() for path in project.part_paths()} == expected
    kills = codes.count(-signal.SIGKILL)
    assert kills >= 4
    probes = PROBE_TEXTS * (len(codes) + 1)
    paid = server.statistics()["texts"] - paid_before
    assert paid <= outcome.summary["texts"] + kills * IN_FLIGHT * INPUTS + probes


def test_of_two_runs_at_once_one_commits_and_the_other_loses_nothing(project: Project, server: Rehearsal) -> None:
    before = server.statistics()["texts"]
    first, second = start(project), start(project)
    both_planned = threading.Event()
    while len(list(project.dataset.glob("_journal/runs/*/bill.json"))) < 2 and None in (first.poll(), second.poll()):
        both_planned.wait(POLL_SECONDS)
    errors = [process.communicate()[1] for process in (first, second)]
    assert sorted([first.returncode, second.returncode]) == [0, 5], errors
    lost = errors[0 if first.returncode == 5 else 1]
    assert "another run has committed to" in lost
    assert "Traceback" not in lost
    outcome = project.run()
    assert (outcome.code, outcome.summary["requests"], outcome.summary["version"]) == (0, 0, 1)
    assert server.statistics()["texts"] - before <= 2 * (outcome.summary["texts"] + PROBE_TEXTS)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: str(number.name))
def test_interrupted_run_says_how_to_go_on_and_pays_nothing_twice(
    project: Project, server: Rehearsal, number: signal.Signals
) -> None:
    before = server.statistics()["texts"]
    process = start(project)
    ticks = threading.Event()
    while server.statistics()["texts"] < before + 40 and process.poll() is None:
        ticks.wait(POLL_SECONDS)
    process.send_signal(number)
    _, err = process.communicate()
    assert process.returncode == 130, err
    assert err.splitlines()[-1].startswith("embedbeam: the run was interrupted")
    assert "the same command goes on" in err
    assert "Traceback" not in err
    outcome = project.run()
    check_committed(project, outcome)
    assert outcome.summary["texts_in_journal"] >= 40 - PROBE_TEXTS
    assert server.statistics()["texts"] - before == outcome.summary["texts"] + 2 * PROBE_TEXTS
