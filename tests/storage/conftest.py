import os
import shutil
import socket
import subprocess
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from transforms.storage.store import Store, open_store

with warnings.catch_warnings():
    warnings.simplefilter("ignore", ImportWarning)  # the library's own, about a gRPC package that it does not need here
    from google.auth.credentials import AnonymousCredentials
    from google.cloud import storage

_ENGINES = Path(__file__).parents[2] / ".engines" / "bin"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _start_server(binary: str) -> tuple["subprocess.Popen[bytes]", int]:
    """Start a server on a free port; another process may take the port first, so try a few."""
    for _ in range(5):
        port = _free_port()
        address = ["-host", "127.0.0.1", "-port", str(port), "-public-host", f"127.0.0.1:{port}"]
        command = [binary, "-scheme", "http", "-backend", "memory", "-log-level", "error", *address]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for _ in range(600):
            try:
                process.wait(timeout=0.05)
                break
            except subprocess.TimeoutExpired:
                with socket.socket() as probe:
                    if probe.connect_ex(("127.0.0.1", port)) == 0:
                        return process, port
    raise RuntimeError("fake-gcs-server does not start")


@pytest.fixture(scope="session")
def gcs_bucket() -> Iterator[str]:
    """A bucket on a real server that honours preconditions; STORAGE_EMULATOR_HOST leads to it."""
    binary = shutil.which("fake-gcs-server", path=f"{_ENGINES}{os.pathsep}{os.environ.get('PATH', '')}")
    if binary is None:
        pytest.skip("fake-gcs-server is not installed: make engines")
    process, port = _start_server(binary)
    earlier = os.environ.get("STORAGE_EMULATOR_HOST")
    os.environ["STORAGE_EMULATOR_HOST"] = f"http://127.0.0.1:{port}"
    try:
        client = storage.Client(project="test", credentials=AnonymousCredentials())
        client.create_bucket("corpus")
        client.close()
        yield "corpus"
    finally:
        if earlier is None:
            del os.environ["STORAGE_EMULATOR_HOST"]
        else:
            os.environ["STORAGE_EMULATOR_HOST"] = earlier
        process.kill()
        process.wait()


@pytest.fixture(params=["local_store", pytest.param("gs_store", marks=pytest.mark.engines)])
def store(request: pytest.FixtureRequest) -> Store:
    """The same promises hold for a local folder and for a bucket."""
    found: Store = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def gs_store(gcs_bucket: str) -> Store:
    return open_store(f"gs://{gcs_bucket}/{os.urandom(8).hex()}/dataset")


@pytest.fixture
def local_store(tmp_path: Path) -> Store:
    return open_store(str(tmp_path / "dataset"))
