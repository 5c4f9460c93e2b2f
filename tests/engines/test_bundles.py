"""What engines do to bundles: give them again when a worker is lost, up to four times, run one twice at once, spread them.

Of the engines here none repeats a bundle (Prism and FnApiRunner end the run), so that the tests do what Dataflow would:
start the same bundle of the same run again, in a process of its own, and commit all results that came of it.
"""

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.end_to_end.test_run import PROBE_TEXTS
from tests.engines import bundle
from tests.engines.engines import environment, kill, wait_until
from tests.support.rehearsal import Rehearsal, rehearsal

ATTEMPTS = 4
SECONDS = 60


@pytest.fixture(scope="module")
def server() -> Iterator[Rehearsal]:
    with rehearsal("--dimensions", str(bundle.DIMENSION)) as running:
        yield running


@dataclass
class Work:
    """One run's folder, and processes that are given its bundles."""

    folder: Path
    server: Rehearsal

    @property
    def dataset(self) -> str:
        return str(self.folder / "dataset")

    @property
    def results(self) -> Path:
        return self.folder / "results"

    @contextmanager
    def given(self, buckets: str = bundle.EVERY, per_minute: int = 0) -> Iterator["subprocess.Popen[str]"]:
        command = [sys.executable, "-m", "tests.engines.bundle", self.dataset, self.server.base_url, str(self.results)]
        process = subprocess.Popen(
            [*command, buckets, str(per_minute)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            text=True,
            env=environment(),
            start_new_session=True,
        )
        try:
            yield process
        finally:
            kill(process)

    def finish(self) -> None:
        with self.given() as worker:
            assert worker.wait(SECONDS) == 0

    def committed(self) -> dict[str, bytes]:
        """Commit what came of all attempts, and return the parts."""
        bundle.commit(self.dataset, str(self.results))
        return {path.name: path.read_bytes() for path in Path(self.dataset).glob("versions/000001/part-*")}

    def paid(self) -> int:
        return int(self.server.statistics()["texts"])


@pytest.fixture
def work(tmp_path: Path, server: Rehearsal) -> Work:
    return work_in(tmp_path, server)


def work_in(folder: Path, server: Rehearsal) -> Work:
    made = Work(folder, server)
    made.results.mkdir()
    bundle.begin(made.dataset)
    server.change(latency_ms=0, requests_per_minute=None)
    return made


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory, server: Rehearsal) -> dict[str, bytes]:
    """The parts of a run whose bundle was executed once."""
    undisturbed = work_in(tmp_path_factory.mktemp("undisturbed"), server)
    undisturbed.finish()
    found = undisturbed.committed()
    assert len(found) == 1 << bundle.BITS
    return found


def test_bundle_whose_worker_dies_four_times_pays_only_what_was_on_its_way(
    work: Work, server: Rehearsal, expected: dict[str, bytes]
) -> None:
    server.change(latency_ms=40)
    before = work.paid()
    for attempt in range(ATTEMPTS):
        target = work.paid() + PROBE_TEXTS + 100
        with work.given() as worker:
            assert wait_until(lambda target=target: work.paid() >= target), f"attempt {attempt}"  # type: ignore[misc]
            worker.send_signal(signal.SIGKILL)
            assert worker.wait() == -signal.SIGKILL
    work.finish()
    assert work.committed() == expected
    assert work.paid() - before <= bundle.TEXTS + ATTEMPTS * bundle.AT_RISK + (ATTEMPTS + 1) * PROBE_TEXTS


def test_bundle_that_is_given_again_after_it_was_done_pays_nothing(
    work: Work, server: Rehearsal, expected: dict[str, bytes]
) -> None:
    work.finish()
    before = work.paid()
    for _ in range(ATTEMPTS - 1):
        work.finish()
    assert len(list(work.results.iterdir())) == ATTEMPTS << bundle.BITS
    assert work.committed() == expected
    assert work.paid() == before


def test_bundle_that_runs_twice_at_once_gives_the_same_parts_and_each_row_once(
    work: Work, server: Rehearsal, expected: dict[str, bytes]
) -> None:
    server.change(latency_ms=20)
    before = work.paid()
    with work.given() as one, work.given() as other:
        assert (one.wait(SECONDS), other.wait(SECONDS)) == (0, 0)
    assert work.paid() - before <= bundle.TEXTS + bundle.AT_RISK + 2 * PROBE_TEXTS
    staged = list(Path(work.dataset).glob("_journal/runs/*/staged/part-*"))
    assert len(staged) == 2 << bundle.BITS
    assert work.committed() == expected
    rows = [pq.read_metadata(path).num_rows for path in Path(work.dataset).glob("versions/000001/part-*")]
    assert sum(rows) == bundle.TEXTS


def test_second_execution_that_begins_later_pays_nothing(
    work: Work, server: Rehearsal, expected: dict[str, bytes]
) -> None:
    server.change(latency_ms=100)
    before = work.paid()
    with work.given() as one:
        assert wait_until(lambda: work.paid() >= before + 300)
        with work.given() as other:
            assert (one.wait(SECONDS), other.wait(SECONDS)) == (0, 0)
    assert work.committed() == expected
    assert work.paid() - before <= bundle.TEXTS + PROBE_TEXTS


def test_second_execution_goes_on_where_the_first_is_killed_beside_it(
    work: Work, server: Rehearsal, expected: dict[str, bytes]
) -> None:
    server.change(latency_ms=100)
    before = work.paid()
    with work.given() as one:
        assert wait_until(lambda: work.paid() >= before + 100)
        server.change(latency_ms=1000)  # so that it is still at work when the other one begins
        with work.given() as other:
            assert wait_until(lambda: len(list(Path(work.dataset).glob("_journal/runs/*/attempts/*"))) == 2)
            one.send_signal(signal.SIGKILL)
            server.change(latency_ms=0)
            assert other.wait(SECONDS) == 0
            assert one.wait() == -signal.SIGKILL
    assert work.committed() == expected
    assert work.paid() - before <= bundle.TEXTS + bundle.AT_RISK + 2 * PROBE_TEXTS


def test_four_worker_processes_share_one_quota_exactly(
    work: Work, server: Rehearsal, expected: dict[str, bytes]
) -> None:
    per_minute = 600
    server.change(requests_per_minute=per_minute, limiter="sliding-window", announce_limits=False)
    before = server.statistics()
    workers = [work.given(bucket, per_minute) for bucket in bundle.EVERY]
    with workers[0] as a, workers[1] as b, workers[2] as c, workers[3] as d:
        assert [worker.wait(SECONDS) for worker in (a, b, c, d)] == [0, 0, 0, 0]
    after = server.statistics()
    assert after["by_status"].get("429", 0) == before["by_status"].get("429", 0)
    seconds = {int(second) for second in after["accepted_by_second"]} - {int(s) for s in before["accepted_by_second"]}
    sent = sum(after["accepted_by_second"][str(second)] for second in seconds)
    assert sent >= bundle.TEXTS / bundle.INPUTS
    assert sent <= per_minute / 60 * (max(seconds) - min(seconds) + 2)
    assert work.committed() == expected
