"""A small copy of a dataset: the rows whose text hash is among the smallest, with the vectors that are paid for.

A text's hash says nothing about the text, so a share of all hashes is a fair sample; it is the same on every machine, and
a larger share holds all of a smaller one. As parts are sorted by hash, only the first of them are read.
"""

import datetime
import secrets
from dataclasses import replace

import pyarrow as pa
import pyarrow.compute as pc

from transforms.core.buckets import parse_part_name, part_name
from transforms.core.manifest import Manifest, PartEntry, check_complete
from transforms.core.tables import VECTOR_COLUMN
from transforms.storage.part_files import open_part_writer, rows_per_row_group
from transforms.storage.run_folder import RunFolder, remove_dead_runs
from transforms.storage.store import Store
from transforms.storage.versions import commit_version, current_manifest, remove_old_versions


def copy_sample(source_store: Store, source: Manifest, store: Store, share: float) -> Manifest:
    """Commit a sample of a version as a dataset of its own, unless it is there already.

    Args:
        share: of all text hashes, above 0 and up to 1.

    Raises:
        CommitConflict: somebody else has done so meanwhile.
    """
    previous = current_manifest(store)
    made_of = {"dataset": source_store.root, "version": source.version, "sample": share}
    if previous is not None and previous.derived == made_of:
        return previous
    store.check_writable()
    folder = RunFolder(store, f"sample-{secrets.token_hex(6)}")
    try:
        with folder.alive():
            remove_dead_runs(store, folder.run_id)
            parts = [part for part in (_copy_part(source_store, one, folder, share) for one in source.parts) if part]
            manifest = commit_version(
                store,
                folder,
                [(part.path, _name_of(part.path)) for part in parts],
                {},
                lambda version, where: _manifest(source, version, where, parts, made_of, previous),
                previous,
            )
        remove_old_versions(store, keep=1)
        return manifest
    finally:
        folder.remove()


def _copy_part(source_store: Store, part: PartEntry, folder: RunFolder, share: float) -> PartEntry | None:
    """Stage a part's rows that are in the sample; None when there are none."""
    bucket, bits = parse_part_name(_name_of(part.path))
    if bucket >= share * (1 << bits):
        return None
    file = source_store.open_parquet(part.path)
    end, rows = f"{int(share * 2**32):08x}", 0
    path = folder.path(f"staged/{part_name(bucket, bits)}")
    with folder.store.open_output(path) as output, open_part_writer(output, file.schema_arrow) as writer:
        most = rows_per_row_group(file.schema_arrow.field(VECTOR_COLUMN).type.list_size)
        for batch in file.iter_batches(most):
            kept = batch if share >= 1 else batch.filter(pc.less(batch.column("text_hash"), end))
            rows += kept.num_rows
            if kept.num_rows:
                writer.write_table(pa.Table.from_batches([kept]).cast(file.schema_arrow), most)
            if kept.num_rows < batch.num_rows:
                break
    return PartEntry(path, rows, output.size_bytes, output.sha256) if rows else None


def _name_of(path: str) -> str:
    return path.rpartition("/")[2]


def _manifest(
    source: Manifest,
    version: int,
    where: str,
    parts: list[PartEntry],
    made_of: dict[str, object],
    previous: Manifest | None,
) -> Manifest:
    rows = sum(part.rows for part in parts)
    manifest = replace(
        source,
        version=version,
        created_at=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        parts=tuple(replace(part, path=f"{where}/{_name_of(part.path)}") for part in parts),
        rows=rows,
        previous_version=previous.version if previous else 0,
        summary={"version": version, "chunks": rows, "chunks_rejected": 0},
        derived=made_of,
    )
    check_complete(manifest)
    return manifest
