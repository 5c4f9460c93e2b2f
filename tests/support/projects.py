"""A user's folder: documents, a config, and the command line run in it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from pipeline.cli import main


@dataclass
class Outcome:
    code: int
    out: str
    err: str

    @property
    def summary(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.out.splitlines()[-1])
        return found


class Project:
    """Runs commands in this process, with ``--json``, on a dataset below a temporary folder."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str], base_url: str = "") -> None:
        self.folder, self._capsys = folder, capsys
        self.documents = folder / "docs"
        self.documents.mkdir()
        self.dataset = folder / "out"
        self.config: dict[str, Any] = {
            "dataset": str(self.dataset),
            "documents": {"paths": [f"{self.documents}/**/*.*"]},
            "chunking": {"max_tokens": 32, "overlap_tokens": 4},
            "embedding": {
                "base_url": base_url,
                "model": "text-embedding-3-small",
                "dimensions": 16,
                "max_inputs_per_request": 16,
            },
        }

    def write(self, documents: Mapping[str, str | bytes]) -> None:
        for name, content in documents.items():
            path = self.documents / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content if isinstance(content, bytes) else content.encode())

    def command(self, *arguments: str) -> Outcome:
        self._capsys.readouterr()
        code = main(list(arguments))
        captured = self._capsys.readouterr()
        return Outcome(code, captured.out, captured.err)

    def config_file(self) -> str:
        path = self.folder / "config.yaml"
        path.write_text(yaml.safe_dump(self.config))
        return str(path)

    def run(self, *options: str) -> Outcome:
        return self.command("run", self.config_file(), "--json", *options)

    def plan(self, *options: str) -> Outcome:
        return self.command("plan", self.config_file(), "--json", *options)

    def manifest(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.dataset / "manifest.json").read_bytes())
        return found

    def part_paths(self) -> list[Path]:
        return [self.dataset / part["path"] for part in self.manifest()["parts"]]

    def rows(self) -> pa.Table:
        return pa.concat_tables([pq.ParquetFile(path).read() for path in self.part_paths()])

    def vectors(self) -> npt.NDArray[np.float32]:
        column = self.rows().column("vector").combine_chunks()
        return np.asarray(column.flatten().to_numpy(), np.float32).reshape(len(column), -1)

    def files(self) -> set[str]:
        """Everything below the dataset, relative to it."""
        return {str(path.relative_to(self.dataset)) for path in self.dataset.rglob("*") if path.is_file()}


def prose(seed: int, words: int = 60) -> str:
    """Words that no other seed has in this order; sentences of ten words."""
    generator = np.random.default_rng(seed)
    chosen = [f"w{number}" for number in generator.integers(0, 5000, words)]
    return " ".join(word + ("." if at % 10 == 9 else "") for at, word in enumerate(chosen))
