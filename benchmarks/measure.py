"""Runs one command and says what it took: seconds, CPU seconds and peak memory, its child processes included."""

import os
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_SAMPLE_SECONDS = 0.05
_PROC = Path("/proc")


class CommandFailed(Exception):
    """A measured command ended with an error; holds the end of what it said."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What a command took, from its start to its end.

    Attributes:
        cpu_seconds: user and system time of it and of the children it waited for.
        peak_mb: most resident memory; where there are children, of all together, sampled (shared pages count twice).
    """

    seconds: float
    cpu_seconds: float
    peak_mb: float


def measure(command: Sequence[str], environment: Mapping[str, str]) -> tuple[Cost, str]:
    """Run a command and return its cost and its last line on stdout."""
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        began = time.perf_counter()
        process = subprocess.Popen(command, stdout=out, stderr=err, env={**os.environ, **environment})
        sampler = _FamilySampler(process.pid)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        peak_mb = max(usage.ru_maxrss * 1024, sampler.stop()) / 1e6
        out.seek(0)
        err.seek(0)
        if process.returncode:
            raise CommandFailed(f"{' '.join(command)} ended with {process.returncode}: {err.read()[-2000:]}")
        lines = out.read().splitlines()
    return Cost(seconds, usage.ru_utime + usage.ru_stime, peak_mb), lines[-1] if lines else ""


class _FamilySampler:
    """Samples the resident memory of a process and its children while there are any; nothing where there is no /proc."""

    def __init__(self, process_id: int) -> None:
        self._process_id = process_id
        self._peak_bytes = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self._thread.start()

    def stop(self) -> int:
        self._over.set()
        self._thread.join()
        return self._peak_bytes

    def _sample(self) -> None:
        while not self._over.wait(_SAMPLE_SECONDS):
            family = list(_family(self._process_id))
            if len(family) > 1:
                self._peak_bytes = max(self._peak_bytes, sum(_resident_bytes(one) for one in family))


def _family(process_id: int) -> Iterator[int]:
    yield process_id
    try:
        children = [
            int(child)
            for task in (_PROC / str(process_id) / "task").iterdir()
            for child in (task / "children").read_text().split()
        ]
    except OSError:  # it has ended, or there is no /proc
        return
    for child in children:
        yield from _family(child)


def _resident_bytes(process_id: int) -> int:
    try:
        return int((_PROC / str(process_id) / "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0
