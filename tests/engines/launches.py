"""The command line in a process of its own, as a scheduler starts it."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tests.engines.engines import environment, kill

RUN_SECONDS = 150


@dataclass
class Ended:
    code: int
    out: str
    err: str

    @property
    def summary(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.out.splitlines()[-1])
        return found


@dataclass
class Launches:
    """Starts ``embedbeam`` on one config; ``variables`` are set in its environment."""

    folder: Path
    config: dict[str, Any]
    variables: dict[str, str] = field(default_factory=dict)

    def config_file(self) -> str:
        path = self.folder / "config.yaml"
        path.write_text(yaml.safe_dump(self.config))
        return str(path)

    @contextmanager
    def started(self, *arguments: str) -> Iterator["subprocess.Popen[str]"]:
        """A run under way; nothing that it has started outlives the block."""
        process = subprocess.Popen(
            [sys.executable, "-m", "pipeline", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(**self.variables),
            start_new_session=True,
        )
        try:
            yield process
        finally:
            kill(process)
            process.communicate()

    def command(self, *arguments: str) -> Ended:
        with self.started(*arguments) as process:
            out, err = process.communicate(timeout=RUN_SECONDS)
        return Ended(process.returncode, out, err)

    def run_arguments(self, *options: str, beam: "list[str] | None" = None) -> list[str]:
        return ["run", self.config_file(), "--json", *options, *(["--", *beam] if beam else [])]

    def run(self, *options: str, beam: "list[str] | None" = None) -> Ended:
        return self.command(*self.run_arguments(*options, beam=beam))
