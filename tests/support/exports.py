"""A dataset to export, and what is in it, for comparison with what another program reads from the export."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from tests.support.commands import run_command
from tests.support.datasets import DatasetBuilder, embed_by_hash, make_stamp

DIMENSION = 6
METADATA = '{"title": "T\\u00e9st", "n": 3, "tags": ["a", "b"], "deep": {"x": [1, 2]}, "none": null, "$dollar": true}'
MANY = [f"chunk number {number}" for number in range(40)]
FIRST = {"a.md": ["one\ttab\nline \\ back", "two \u2028 é 𝄞", "three"], "b.md": ["alpha", "beta"], "c.md": MANY}
SECOND = {"a.md": ["one\ttab\nline \\ back", "new", "three"], "b.md": ["beta"], "c.md": MANY, "d.md": ["'quoted' \r\n"]}

Vectors = npt.NDArray[np.float32]


def make_dataset(root: Path, vector_type: str = "float32", normalized: bool = True) -> DatasetBuilder:
    """Two versions in four parts each."""
    stamp = make_stamp(dimensions=DIMENSION, normalized=normalized)
    builder = DatasetBuilder(root, stamp, embed_by_hash(DIMENSION), bits=2, vector_type=vector_type)
    builder.commit(FIRST, METADATA)
    builder.commit(SECOND, METADATA)
    return builder


def export(dataset: Path, format_: str, destination: Path, *options: str) -> str:
    """Run the command and return what it prints."""
    code, text = run_command("export", str(dataset), "--to", format_, str(destination), *options)
    assert code == 0
    return text


def rows_of(dataset: Path, version: int = 2) -> pa.Table:
    """All rows of a version, in the order of its parts."""
    parts = sorted((dataset / f"versions/{version:06d}").glob("part-*.parquet"))
    return pa.concat_tables([pq.read_table(part) for part in parts]).unify_dictionaries()


def vectors_of(table: pa.Table, column: str = "vector") -> dict[str, Vectors]:
    """Vectors by id."""
    ids = table.column("id").to_pylist()
    return {
        id_: np.asarray(vector, np.float32) for id_, vector in zip(ids, table.column(column).to_pylist(), strict=True)
    }


def same_vectors(found: dict[str, Any], expected: dict[str, Vectors]) -> bool:
    """Tell whether ids and every bit of their vectors are equal."""
    return found.keys() == expected.keys() and all(
        np.array_equal(np.asarray(found[id_], np.float32), expected[id_]) for id_ in expected
    )


def changed_ids(dataset: Path) -> tuple[list[str], list[str]]:
    """Ids to upsert and ids to delete between the two versions, sorted."""
    changes = pq.read_table(dataset / "versions/000002/changes.parquet").to_pylist()
    upserts = sorted(row["id"] for row in changes if row["change"] != "removed")
    return upserts, sorted(row["id"] for row in changes if row["change"] == "removed")


def code_blocks(folder: Path, language: str = "python", guide: str = "LOAD.md") -> list[str]:
    """The guide's blocks of code."""
    return re.findall(rf"```{language}\n(.*?)```", (folder / guide).read_text(encoding="utf-8"), re.DOTALL)


def run_guide(folder: Path, guide: str = "LOAD.md", **names: object) -> dict[str, Any]:
    """Run the guide's Python in the export's folder, as a reader would paste it, and return its variables."""
    found: dict[str, Any] = dict(names)
    blocks = code_blocks(folder, "python", guide)
    with working_in(folder):
        for block in blocks:
            exec(block, found)
    return found


@contextmanager
def working_in(folder: Path) -> Iterator[None]:
    """Work in a folder and come back."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)
