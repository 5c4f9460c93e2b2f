"""Which rows of a version an export takes: all of them, or those whose ids changed."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from transforms.core.manifest import Manifest
from transforms.core.tables import VECTOR_COLUMN, numpy_type
from transforms.storage.exports.layout import Export, PartRows
from transforms.storage.store import Store


def choose_everything(store: Store, manifest: Manifest, with_text: bool) -> Export:
    """Plan an export of all rows of a version."""
    parts = tuple(PartRows(entry, entry.rows) for entry in manifest.parts)
    return Export(_name(store), manifest, *_vectors(store, manifest, with_text), None, with_text, parts)


def choose_changes(store: Store, manifest: Manifest, with_text: bool, since: int, changes: pa.Table) -> Export:
    """Plan an export of what changed since another version.

    Args:
        changes: rows as in ``changes.parquet``, from version ``since`` to the manifest's.
    """
    removed = pc.equal(changes.column("change"), "removed")
    deletes = tuple(sorted(changes.column("id").filter(removed).to_pylist()))
    upserts = changes.column("id").filter(pc.invert(removed)).combine_chunks()
    parts = _parts_with(store, manifest, upserts) if len(upserts) else ()
    return Export(_name(store), manifest, *_vectors(store, manifest, with_text), since, with_text, parts, deletes)


def _parts_with(store: Store, manifest: Manifest, ids: pa.Array) -> tuple[PartRows, ...]:
    """Find the rows with these ids; only the column of ids is read."""
    found = []
    for entry in manifest.parts:
        column = store.open_parquet(entry.path).read(columns=["id"]).column("id")
        mask = pc.is_in(column, value_set=ids).to_numpy()
        rows = int(np.count_nonzero(mask))
        if rows:
            found.append(PartRows(entry, rows, mask))
    return tuple(found)


def _vectors(store: Store, manifest: Manifest, with_text: bool) -> tuple[str, int, dict[bytes, bytes]]:
    """Return the type and the count of the numbers in a stored vector, and what the parts say about them."""
    if not manifest.parts:
        return "float32", manifest.dimensions, {}
    schema = store.open_parquet(manifest.parts[0].path).schema_arrow
    kind = schema.field(VECTOR_COLUMN).type
    said = {key: value for key, value in (schema.metadata or {}).items() if key.startswith(b"embedding")}
    if not with_text:
        said.pop(b"embedding_functions", None)  # it names the column of the text
    return str(numpy_type(kind.value_type)), kind.list_size, said


def _name(store: Store) -> str:
    return store.root.rstrip("/").rpartition("/")[2] or "dataset"
