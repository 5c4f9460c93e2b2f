"""The same graph on real engines: the same dataset, the same exit codes and sentences, the same promise about paying once."""

import os
import signal
import time
from collections.abc import Iterator

import pytest

from tests.end_to_end.test_run import PROBE_TEXTS
from tests.engines.corpus_runs import AT_RISK, KEY, parts
from tests.engines.engines import ENGINES, Engine, engine, wait_until
from tests.engines.launches import Ended, Launches
from tests.support.rehearsal import Rehearsal

pytestmark = pytest.mark.engines

FAULTS = dict.fromkeys(("drop", "500", "502-html", "truncated", "short-answer", "reorder", "429"), 0.05)


@pytest.fixture(scope="module", params=ENGINES)
def running(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """An engine that serves one run after the other."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COMETAPI_KEY", KEY)
        with engine(request.param, tmp_path_factory.mktemp("engine")) as started:
            yield started


def check_refused(ended: Ended, code: int, words: str) -> None:
    """One sentence that says what and why; no traceback, and never the key."""
    assert ended.code == code, ended.err
    assert "Traceback" not in ended.err
    (sentence,) = [line for line in ended.err.splitlines() if line.startswith("embedbeam:")]
    assert words in sentence
    assert KEY not in ended.err + ended.out


def test_run_with_faults_gives_the_same_bytes(
    running: Engine, launches: Launches, server: Rehearsal, expected: dict[str, bytes]
) -> None:
    server.change(faults=FAULTS)
    ended = launches.run(beam=running.flags)
    assert ended.code == 0, ended.err
    assert "Traceback" not in ended.err
    assert ended.summary["requests_retried"] > 0
    assert parts(launches) == expected
    assert not (launches.folder / "out" / "_journal").exists()
    again = launches.run(beam=running.flags)
    assert (again.code, again.summary["requests"], again.summary["committed"]) == (0, 0, False)


def test_budget_refuses_the_run_before_the_first_call(running: Engine, launches: Launches, server: Rehearsal) -> None:
    before = server.statistics()["requests"]
    ended = launches.run("--set", "budget.max_tokens=10", beam=running.flags)
    check_refused(ended, 3, "more than budget.max_tokens allows (10)")
    assert server.statistics()["requests"] == before


def test_key_that_the_provider_refuses_stops_the_run(running: Engine, launches: Launches, server: Rehearsal) -> None:
    server.change(api_key="sk-another-key")
    try:
        ended = launches.run(beam=running.flags)
    finally:
        server.change(api_key=KEY)
    check_refused(ended, 4, "COMETAPI_KEY")


def test_interrupted_run_says_how_to_go_on_and_pays_nothing_twice(
    running: Engine, launches: Launches, server: Rehearsal
) -> None:
    server.change(latency_ms=100)
    before = server.statistics()["texts"]
    with launches.started(*launches.run_arguments(beam=running.flags)) as process:
        assert wait_until(lambda: bool(server.statistics()["texts"] >= before + 80))
        os.killpg(process.pid, signal.SIGINT)  # as a terminal's Ctrl-C does, which reaches workers, too
        out, err = process.communicate(timeout=60)
    check_refused(Ended(process.returncode, out, err), 130, "the run was interrupted")
    server.change(latency_ms=0)
    ended = launches.run(beam=running.flags)
    assert ended.code == 0, ended.err
    paid = server.statistics()["texts"] - before
    probes = PROBE_TEXTS * 2 * 2
    assert paid <= ended.summary["texts"] + probes


@pytest.mark.parametrize("name", ENGINES)
def test_engine_that_dies_while_embedding_costs_only_what_was_in_flight(
    name: str, launches: Launches, server: Rehearsal, expected: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COMETAPI_KEY", KEY)
    server.change(latency_ms=100)
    before = server.statistics()["texts"]
    with (
        engine(name, launches.folder) as dying,
        launches.started(*launches.run_arguments(beam=dying.flags)) as process,
    ):
        assert wait_until(lambda: bool(server.statistics()["texts"] >= before + 80))
        dying.die()
        if dying.servers:
            _, err = process.communicate(timeout=60)
            assert process.returncode == 1, err
    server.change(latency_ms=0)
    with engine(name, launches.folder) as healthy:
        ended = launches.run(beam=healthy.flags)
    assert ended.code == 0, ended.err
    assert ended.summary["texts_in_journal"] >= 80 - AT_RISK - PROBE_TEXTS
    assert parts(launches) == expected
    paid = server.statistics()["texts"] - before
    assert paid <= ended.summary["texts"] + AT_RISK + PROBE_TEXTS * 2 * 2


def test_job_that_outlives_its_launcher_stops_when_the_same_command_is_given_again(
    running: Engine, launches: Launches, server: Rehearsal, expected: dict[str, bytes]
) -> None:
    server.change(latency_ms=250)
    before = server.statistics()["texts"]
    with launches.started(*launches.run_arguments(beam=running.flags)) as process:
        assert wait_until(lambda: bool(server.statistics()["texts"] >= before + 80))
        process.kill()
        process.wait()
        ended = launches.run(beam=running.flags)
    assert ended.code == 0, ended.err
    assert parts(launches) == expected
    paid = server.statistics()["texts"] - before
    assert paid <= ended.summary["texts"] + AT_RISK + PROBE_TEXTS * 2 * 2


def test_all_workers_together_keep_to_the_quota(running: Engine, launches: Launches, server: Rehearsal) -> None:
    per_minute = 900
    server.change(requests_per_minute=per_minute, limiter="sliding-window", announce_limits=False)
    before = server.statistics()["requests"]
    with launches.started(
        *launches.run_arguments("--set", f"limits.requests_per_minute={per_minute}", beam=running.flags)
    ) as process:
        assert wait_until(lambda: bool(server.statistics()["requests"] >= before + 5), every=0.005)
        first, began = server.statistics()["requests"], time.monotonic()
        out, err = process.communicate(timeout=90)
    ended = Ended(process.returncode, out, err)
    assert ended.code == 0, ended.err
    assert ended.summary["requests_throttled"] == 0
    sent, seconds = server.statistics()["requests"] - first, time.monotonic() - began
    assert sent >= 100
    assert sent <= per_minute / 60 * (seconds + 2)
