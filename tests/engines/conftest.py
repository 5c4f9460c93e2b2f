"""What the tests of engines share; gs:// has a server and a config of its own."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.engines.corpus_runs import DIMENSION, DOCUMENTS, KEY, launches_in, parts
from tests.engines.launches import Launches
from tests.support.projects import prose
from tests.support.rehearsal import Rehearsal, rehearsal


@pytest.fixture(scope="module")
def server() -> Iterator[Rehearsal]:
    with rehearsal("--dimensions", str(DIMENSION), "--api-key", KEY, "--seed", "3") as running:
        yield running


@pytest.fixture(scope="module")
def documents(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("docs")
    for number in range(DOCUMENTS):
        (folder / f"t{number}.txt").write_text(prose(number, 120))
    return folder


@pytest.fixture
def launches(tmp_path: Path, documents: Path, server: Rehearsal) -> Launches:
    server.change(faults={}, latency_ms=0, requests_per_minute=None)
    return launches_in(tmp_path, documents, server)


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory, documents: Path, server: Rehearsal) -> dict[str, bytes]:
    """The parts that Beam's FnApiRunner writes when nothing goes wrong."""
    undisturbed = launches_in(tmp_path_factory.mktemp("undisturbed"), documents, server)
    ended = undisturbed.run()
    assert ended.code == 0, ended.err
    found = parts(undisturbed)
    assert len(found) >= 4
    return found
