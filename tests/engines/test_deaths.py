"""One part of an engine dies while the others go on: the run ends by itself, and the same command finishes what is left."""

import os
import signal
from collections.abc import Callable

import pytest

from tests.end_to_end.test_run import PROBE_TEXTS
from tests.engines.corpus_runs import AT_RISK, KEY, parts
from tests.engines.engines import POOLED, Engine, engine, processes_of, wait_until
from tests.engines.launches import Launches
from tests.support.rehearsal import Rehearsal

pytestmark = pytest.mark.engines

ANSWERED = 80
Kill = Callable[[Engine, int], None]
"""Kills a part of an engine; the number is the launcher's process."""


@pytest.fixture
def run_with_a_death(
    launches: Launches, server: Rehearsal, expected: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> Callable[[str, Kill], None]:
    def run(name: str, strike: Kill) -> None:
        monkeypatch.setenv("COMETAPI_KEY", KEY)
        server.change(latency_ms=100)
        before = server.statistics()["texts"]
        with (
            engine(name, launches.folder) as dying,
            launches.started(*launches.run_arguments(beam=dying.flags)) as process,
        ):
            assert wait_until(lambda: bool(server.statistics()["texts"] >= before + ANSWERED))
            strike(dying, process.pid)
            out, err = process.communicate(timeout=60)
        assert process.returncode == 1, err
        assert "lost a worker, or is gone itself" in err.splitlines()[-1]
        assert "the same command goes on" in err.splitlines()[-1]
        assert "Traceback" not in err
        assert KEY not in out + err
        assert not (launches.folder / "out" / "manifest.json").exists()
        server.change(latency_ms=0)
        with engine(name, launches.folder) as healthy:
            ended = launches.run(beam=healthy.flags)
        assert ended.code == 0, ended.err
        assert parts(launches) == expected
        assert ended.summary["texts_in_journal"] >= ANSWERED - AT_RISK - PROBE_TEXTS
        paid = server.statistics()["texts"] - before
        probes = PROBE_TEXTS * 2 * 2
        assert paid <= ended.summary["texts"] + AT_RISK + probes

    return run


def _a_worker(dying: Engine, launcher: int) -> None:
    sessions = [launcher, *(server.pid for server in dying.servers)]
    workers = [pid for session in sessions for pid in processes_of(session, "sdk_worker")]
    assert workers
    os.kill(workers[-1], signal.SIGKILL)


@pytest.mark.parametrize("name", POOLED)
def test_worker_that_dies_alone_costs_only_what_was_in_flight(
    name: str, run_with_a_death: Callable[[str, Kill], None]
) -> None:
    run_with_a_death(name, _a_worker)


def _prism(_: Engine, launcher: int) -> None:
    (prism,) = [pid for pid in processes_of(launcher, "--job_port") if pid != launcher]
    os.kill(prism, signal.SIGKILL)


def test_launcher_ends_when_prism_dies_under_it(run_with_a_death: Callable[[str, Kill], None]) -> None:
    run_with_a_death("prism", _prism)


def test_launcher_ends_when_the_job_service_dies(run_with_a_death: Callable[[str, Kill], None]) -> None:
    run_with_a_death("job_service", lambda dying, _: os.kill(dying.servers[0].pid, signal.SIGKILL))


def test_pool_that_dies_takes_nothing_from_a_worker_that_it_has_started(
    launches: Launches, server: Rehearsal, expected: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COMETAPI_KEY", KEY)
    server.change(latency_ms=50)
    before = server.statistics()["texts"]
    with (
        engine("job_service", launches.folder) as running,
        launches.started(*launches.run_arguments(beam=running.flags)) as process,
    ):
        assert wait_until(lambda: bool(server.statistics()["texts"] >= before + ANSWERED))
        os.kill(running.servers[1].pid, signal.SIGKILL)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert parts(launches) == expected


def test_two_worker_processes_are_at_work_where_two_were_asked_for(launches: Launches, server: Rehearsal) -> None:
    server.change(latency_ms=100)
    before = server.statistics()["texts"]
    with (
        engine("multi_processing", launches.folder) as two,
        launches.started(*launches.run_arguments(beam=two.flags)) as process,
    ):
        assert wait_until(lambda: bool(server.statistics()["texts"] >= before + ANSWERED))
        assert len(processes_of(process.pid, "sdk_worker")) == 2
