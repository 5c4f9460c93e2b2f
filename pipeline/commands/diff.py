"""``embedbeam diff``: what a vector database must upsert and delete to go from one version to another."""

import argparse
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.commands.dataset import add_dataset_arguments, open_dataset
from pipeline.commands.plain_text import aligned, counted, one_line, table
from transforms.core.manifest import Manifest
from transforms.core.tables import CHANGES, compare_rows
from transforms.errors import ConfigError
from transforms.storage.manifests import manifest_of_version, version_folder
from transforms.storage.store import Store

_COMPARED = ("id", "doc_id", "source_uri", "chunk_index", "start_char", "end_char", "token_count", "metadata")
_ROWS_SHOWN = 20
_DOC_ID_WIDTH = 34
_MEANING = {
    "added": "upsert",
    "updated": "upsert: same text, other place or metadata",
    "removed": "delete",
}


@dataclass(frozen=True, slots=True)
class Difference:
    """What changed between two versions; ``changes`` has the columns of ``changes.parquet``, sorted by id."""

    before: int
    after: int
    changes: pa.Table
    unchanged: int

    def counts(self) -> dict[str, int]:
        found = Counter(self.changes.column("change").to_pylist())
        return {"added": found["added"], "updated": found["updated"], "removed": found["removed"]}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_dataset_arguments(parser)
    parser.add_argument(
        "--from", metavar="V", type=_version, dest="from_version", help="the older version (the previous)"
    )
    parser.add_argument("--to", metavar="V", type=_version, dest="to_version", help="the newer version (the current)")
    parser.add_argument("--to-parquet", metavar="FILE", help="write id, change and doc_id of every change to this file")
    parser.add_argument("--json", action="store_true", help="print one JSON object with every change")


def run(arguments: argparse.Namespace, out: TextIO) -> int:
    """Print which ids were added, updated and removed between two versions."""
    store, current = open_dataset(arguments.dataset, arguments.billing_project)
    after = _manifest(store, current, current.version if arguments.to_version is None else arguments.to_version)
    before = after.previous_version if arguments.from_version is None else arguments.from_version
    difference = compare_versions(store, current, before, after)
    if arguments.to_parquet:
        _write_parquet(difference.changes, arguments.to_parquet)
    if arguments.json:
        out.write(json.dumps(_as_json(store.root, difference)) + "\n")
    else:
        out.write("\n".join(_lines(store.root, difference, arguments.to_parquet)) + "\n")
    return 0


def _version(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"must be the number of a version, 0 for the empty dataset, got {text!r}")
    return int(text)


def _manifest(store: Store, current: Manifest, version: int) -> Manifest:
    if version == current.version:
        return current
    if not 0 < version < current.version:
        raise ConfigError(f"{store.root} has no version {version}; the current one is {current.version}")
    return manifest_of_version(store, version)


def compare_versions(store: Store, current: Manifest, before: int, after: Manifest) -> Difference:
    """Compare two versions, with the table that the commit left where it is about these two, else row by row."""
    recorded = _recorded_changes(store, after) if before == after.previous_version else None
    if recorded is not None:
        changed = recorded.filter(pc.not_equal(recorded.column("change"), "removed")).num_rows
        return Difference(before, after.version, recorded.sort_by("id"), after.rows - changed)
    old = _manifest(store, current, before) if before else None
    same = {part.sha256 for part in old.parts} & {part.sha256 for part in after.parts} if old else set()
    changes, _, _, kept, updated = compare_rows(_rows(store, after, same), _rows(store, old, same))
    skipped = sum(part.rows for part in after.parts if part.sha256 in same)
    return Difference(before, after.version, changes, skipped + kept - updated)


def _recorded_changes(store: Store, after: Manifest) -> pa.Table | None:
    try:
        file = store.open_parquet(f"{version_folder(after.version)}/changes.parquet")
    except FileNotFoundError:
        return None
    return file.read(columns=CHANGES.names)


def _rows(store: Store, manifest: Manifest | None, skipped: set[str]) -> pa.Table:
    """Read what is compared of a version's rows, without text and vectors; parts that both versions share are skipped."""
    parts = [part for part in manifest.parts if part.sha256 not in skipped] if manifest else []
    tables = [store.open_parquet(part.path).read(columns=list(_COMPARED)).replace_schema_metadata() for part in parts]
    if not tables:
        types = {"chunk_index": pa.int32(), "start_char": pa.int64(), "end_char": pa.int64(), "token_count": pa.int32()}
        return pa.schema([pa.field(name, types.get(name, pa.string())) for name in _COMPARED]).empty_table()
    return pa.concat_tables(tables).combine_chunks()


def _write_parquet(changes: pa.Table, path: str) -> None:
    try:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(changes, path, compression="zstd")
    except OSError as error:
        raise ConfigError(f"cannot write the changes to {path}: {error.strerror or error}") from error


def _as_json(root: str, difference: Difference) -> dict[str, Any]:
    return {
        "dataset": root,
        "from_version": difference.before,
        "to_version": difference.after,
        **difference.counts(),
        "unchanged": difference.unchanged,
        "changes": difference.changes.to_pylist(),
    }


def _lines(root: str, difference: Difference, parquet: str | None) -> list[str]:
    origin = f"version {difference.before}" if difference.before else "nothing"
    lines = [f"{root}  from {origin} to version {difference.after}", ""]
    rows = [(change, f"{count:,}", _MEANING[change]) for change, count in difference.counts().items()]
    lines += aligned([*rows, ("unchanged", f"{difference.unchanged:,}", "")], right=(1,))
    if difference.changes.num_rows:
        lines += ["", *_change_lines(_by_document(difference.changes).slice(0, _ROWS_SHOWN).to_pylist())]
    left = difference.changes.num_rows - _ROWS_SHOWN
    if left > 0 and not parquet:
        lines.append(f"… and {left:,} more; --to-parquet FILE writes them all")
    if parquet:
        lines += ["", f"{counted(difference.changes.num_rows, 'change')} written to {parquet}"]
    return lines


def _by_document(changes: pa.Table) -> pa.Table:
    return changes.sort_by([("doc_id", "ascending"), ("change", "ascending"), ("id", "ascending")])


def _change_lines(rows: Sequence[dict[str, str]]) -> list[str]:
    cells = [(row["change"], row["id"], one_line(row["doc_id"], _DOC_ID_WIDTH)) for row in rows]
    return table(("change", "id", "document"), cells)
