"""A bucket on a real server of Google Cloud Storage's protocol, one for the whole session."""

import os
import socket
import subprocess
import warnings
from collections.abc import Iterator

import pytest

from tests.engines.engines import find_engine


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
    binary = find_engine("fake-gcs-server")
    process, port = _start_server(binary)
    earlier = os.environ.get("STORAGE_EMULATOR_HOST")
    os.environ["STORAGE_EMULATOR_HOST"] = f"http://127.0.0.1:{port}"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ImportWarning)  # its own, about a gRPC package that it does not need here
            from google.auth.credentials import AnonymousCredentials
            from google.cloud import storage
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
