"""A bucket on a server of its own that writes down every request, to be counted as Google bills them."""

import re
import socket
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.request import Request, urlopen

from tests.engines.engines import find_engine, wait_until

_REQUEST = re.compile(r'\\"(GET|POST|PUT|PATCH|DELETE) (/\S*) HTTP/1.1\\" (\d+)')


@dataclass(frozen=True)
class CountedBucket:
    """``address`` is for STORAGE_EMULATOR_HOST, ``name`` that of the bucket."""

    address: str
    name: str
    log: Path

    def requests(self) -> Counter[str]:
        """Count the requests so far by class: A (lists, uploads, copies), B (reads), free (deletes, failures)."""
        return Counter(_class_of(*found) for found in _REQUEST.findall(self.log.read_text()))

    def put(self, name: str, content: bytes) -> None:
        target = f"{self.address}/upload/storage/v1/b/{self.name}/o?uploadType=media&name={name}"
        with urlopen(Request(target, content, {"Content-Type": "text/plain"}, method="POST")):
            pass


def _class_of(method: str, path: str, status: str) -> str:
    """Name the class that Google bills a JSON request under; what fails is free.

    Source: https://cloud.google.com/storage/pricing, September 2026.
    """
    if method == "DELETE" or "upload_id=" in path or status >= "400":
        return "free"
    is_listing = method == "GET" and path.partition("?")[0].endswith(("/o", "/b"))
    return "B" if method == "GET" and not is_listing else "A"


@contextmanager
def counted_bucket(folder: Path) -> Iterator[CountedBucket]:
    """Start a server with one empty bucket; its log lies in the folder."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    address, log = f"http://127.0.0.1:{port}", folder / "requests.log"
    command = [find_engine("fake-gcs-server"), "-scheme", "http", "-backend", "memory", "-log-level", "info"]
    command += ["-host", "127.0.0.1", "-port", str(port), "-public-host", f"127.0.0.1:{port}"]
    with log.open("w") as output, subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT) as server:
        try:
            assert wait_until(lambda: "server started" in log.read_text())
            make = Request(f"{address}/storage/v1/b", b'{"name": "counted"}', {"Content-Type": "application/json"})
            with urlopen(make):
                pass
            yield CountedBucket(address, "counted", log)
        finally:
            server.kill()
