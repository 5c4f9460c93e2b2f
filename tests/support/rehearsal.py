"""The rehearsal endpoint in a process of its own, as users start it."""

import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class Rehearsal:
    """A running endpoint on loopback, at a port that the system chose."""

    def __init__(self, base_url: str) -> None:
        self.base_url = base_url
        self._origin = base_url.removesuffix("/v1")

    def statistics(self) -> dict[str, Any]:
        with urllib.request.urlopen(f"{self._origin}/rehearsal/statistics") as response:
            found: dict[str, Any] = json.load(response)
            return found

    def change(self, **settings: Any) -> None:
        request = urllib.request.Request(
            f"{self._origin}/rehearsal/settings", json.dumps(settings).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request):
            pass


@contextmanager
def rehearsal(*options: str, exact_tokens: bool = True) -> Iterator[Rehearsal]:
    command = [sys.executable, "-m", "pipeline", "rehearse", "--port", "0", *options]
    command += ["--exact-tokens"] if exact_tokens else []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield Rehearsal(process.stdout.readline().strip())
        finally:
            process.terminate()
