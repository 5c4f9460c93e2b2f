import gc
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.storage.faulty_proxy import Asked, Fault, Proxy, faulty_proxy
from transforms.storage import gcs_client
from transforms.storage.store import Store, open_store

_IN_TURN: tuple[Fault, ...] = (503, "lose", "reset", 429, "reset after", "cut", "slow", 500, 408)
_ONE_IN = 7
UNCLOSED = pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
"""The library leaves an answer that it is not content with to the garbage collector, with its connection."""


@pytest.fixture(
    params=[
        "local_store",
        pytest.param("gs_store", marks=pytest.mark.engines),
        pytest.param("shaky_gs_store", marks=[pytest.mark.engines, UNCLOSED]),
    ]
)
def store(request: pytest.FixtureRequest) -> Store:
    """The same promises hold for a local folder, for a bucket, and for one behind a network that fails now and then."""
    found: Store = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def gs_store(gcs_bucket: str) -> Store:
    return open_store(f"gs://{gcs_bucket}/{os.urandom(8).hex()}/dataset")


@pytest.fixture
def local_store(tmp_path: Path) -> Store:
    return open_store(str(tmp_path / "dataset"))


@pytest.fixture
def proxy(gcs_bucket: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    """What stands between this process and the bucket; it spoils nothing until a test says so."""
    with faulty_proxy(os.environ["STORAGE_EMULATOR_HOST"]) as running:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", running.address)
        try:
            yield running
        finally:
            client = gcs_client._clients.pop((os.getpid(), running.address), None)
            if client is not None:
                client.close()
            gc.collect()


@pytest.fixture
def shaky_gs_store(gs_store: Store, proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> Store:
    """A bucket of which every seventh request goes wrong, each time in another way."""
    monkeypatch.setattr(gcs_client.RETRY, "_initial", 0.01)

    def spoil(asked: Asked) -> Fault:
        turn, is_due = divmod(asked.number, _ONE_IN)
        return _IN_TURN[turn % len(_IN_TURN)] if is_due == _ONE_IN // 2 else None

    proxy.spoil = spoil
    return gs_store


@pytest.fixture(params=["local_store", pytest.param("gs_store", marks=pytest.mark.engines)])
def local_or_gs_store(request: pytest.FixtureRequest) -> Store:
    """For tests that make a network of their own fail, or that take long."""
    found: Store = request.getfixturevalue(request.param)
    return found
