"""Real engines in processes of their own, at ports that the system chose."""

import logging
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

INSTALLED = Path(__file__).parents[2] / ".engines" / "bin"
ENGINES = ["multi_processing", "job_service", "prism"]
POOLED = ["multi_processing", "job_service", "prism_pool"]
"""Engines as they are set up where workers are processes of their own, which can die alone."""
START_SECONDS = 60.0
_POOL = """
import logging
logging.basicConfig(level=logging.INFO)
from apache_beam.runners.worker.worker_pool_main import main
main()
"""


def environment(**changes: str) -> dict[str, str]:
    """The environment of users whose ``python`` is the one that runs the tests; a worker pool starts workers by that name."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    return {**os.environ, "PATH": path, "PYTHONPATH": str(Path(__file__).parents[2]), **changes}


def find_engine(name: str) -> str:
    """Return the path of a program that ``make engines`` installs; skip where it is missing, but fail in CI."""
    found = shutil.which(name, path=f"{INSTALLED}{os.pathsep}{os.environ.get('PATH', '')}")
    if found is None:
        word = f"{name} is not installed: make engines"
        if os.environ.get("CI") == "true":
            pytest.fail(word)
        pytest.skip(word)
    return found


def kill(process: "subprocess.Popen[str]") -> None:
    """End a process and all that it started, at once, as the machine's death would."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        logging.getLogger(__name__).debug("already gone")
    process.wait()


@contextmanager
def program(*command: str) -> Iterator["subprocess.Popen[str]"]:
    """Start a server in a group of its own; its output comes on stdout, and nothing of it is left afterwards."""
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment(COMETAPI_KEY=os.environ.get("COMETAPI_KEY", "")),
        start_new_session=True,
    )
    try:
        yield process
    finally:
        kill(process)
        assert process.stdout is not None
        process.stdout.close()


def wait_until(reached: Callable[[], bool], seconds: float = START_SECONDS, every: float = 0.02) -> bool:
    """Look again and again; False when the time is up."""
    ticks = threading.Event()
    for _ in range(int(seconds / every)):
        if reached():
            return True
        ticks.wait(every)
    return reached()


@dataclass
class Engine:
    """A running engine: what follows ``--``, and the servers that it consists of beside the launcher."""

    name: str
    flags: list[str]
    servers: list["subprocess.Popen[str]"] = field(default_factory=list)

    def die(self) -> None:
        """Kill the servers; workers that they started die with them."""
        for server in self.servers:
            kill(server)


def processes_of(session: int, word: str) -> list[int]:
    """Return the processes of a session whose command line holds a word, oldest first: Linux tells under /proc."""
    found = []
    for folder in sorted(Path("/proc").glob("[0-9]*"), key=lambda path: int(path.name)):
        try:
            command, status = (folder / "cmdline").read_bytes(), (folder / "stat").read_text()
        except OSError:  # gone since it was listed
            continue
        if int(status.rpartition(")")[2].split()[3]) == session and word.encode() in command:
            found.append(int(folder.name))
    return found


@contextmanager
def engine(name: str, folder: Path) -> Iterator[Engine]:
    """Start an engine; with it ends everything that it started."""
    if name == "multi_processing":
        yield Engine(name, ["--direct_num_workers=2", "--direct_running_mode=multi_processing"])
    elif name == "prism":
        yield Engine(name, ["--runner=PrismRunner", f"--prism_location={find_engine('prism')}"])
    elif name == "prism_pool":
        prism = ["--runner=PrismRunner", f"--prism_location={find_engine('prism')}"]
        with _worker_pool() as (pool, flags):
            yield Engine(name, [*prism, *flags], [pool])
    else:
        with _job_service(folder) as running:
            yield running


@contextmanager
def _job_service(folder: Path) -> Iterator[Engine]:
    port_file = folder / f"port-{os.urandom(4).hex()}"
    service = ["-m", "apache_beam.runners.portability.local_job_service_main", f"--port_file={port_file}"]
    with ExitStack() as stack:
        jobs = stack.enter_context(program(sys.executable, *service))
        pool, worker_flags = stack.enter_context(_worker_pool())
        _drain(jobs, None)
        assert wait_until(lambda: port_file.exists() and port_file.read_text() != "")
        flags = ["--runner=PortableRunner", f"--job_endpoint=localhost:{port_file.read_text()}"]
        yield Engine("job_service", [*flags, *worker_flags], [jobs, pool])


@contextmanager
def _worker_pool() -> Iterator[tuple["subprocess.Popen[str]", list[str]]]:
    """Start a pool that starts workers, each in a process of its own; with it the flags that lead an engine there."""
    with program(sys.executable, "-c", _POOL, "--service_port=0") as pool:
        address = _drain(pool, re.compile(r"Listening for workers at (\S+)"))
        yield pool, ["--environment_type=EXTERNAL", f"--environment_config={address}", "--max_num_workers=1"]


def _drain(process: "subprocess.Popen[str]", wanted: "re.Pattern[str] | None") -> str:
    """Return what a pattern finds in a server's output, and go on reading it so that the server never blocks."""
    assert process.stdout is not None
    found = ""
    for line in process.stdout if wanted else ():
        if match := wanted and wanted.search(line):
            found = match.group(1)
            break
    threading.Thread(target=_read_all, args=(process.stdout,), daemon=True).start()
    return found


def _read_all(lines: "Iterator[str]") -> None:
    try:
        for _ in lines:
            pass
    except ValueError:  # closed while it was read
        return
