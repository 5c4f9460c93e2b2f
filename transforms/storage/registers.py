"""The register of a version: what it remembers of each file, so that the next run reads only what has changed.

The secret kept is its layout: ``documents.parquet`` in the version's folder, sorted by doc_id, the settings that the files
were read and cut with named in its key-value metadata. A register that is missing or does not add up is no register, and the
run cuts every document anew; nothing is paid again for that.
"""

import io
from collections.abc import Iterable

import pyarrow as pa
import pyarrow.ipc as ipc
import pyarrow.parquet as pq

from transforms.core.manifest import Manifest
from transforms.records import FileEntry
from transforms.storage.manifests import version_folder
from transforms.storage.store import Store

REGISTER = "documents.parquet"
_READING = b"embedbeam.reading"
_SCHEMA = pa.schema(
    [
        pa.field("doc_id", pa.string(), nullable=False),
        pa.field("digest", pa.binary(), nullable=False),
        pa.field("documents", pa.int64(), nullable=False),
        pa.field("documents_empty", pa.int64(), nullable=False),
        pa.field("chunks", pa.int64(), nullable=False),
    ]
)
_PACKED = ipc.IpcWriteOptions(compression=pa.Codec("zstd", 1))


def pack_entries(entries: Iterable[FileEntry]) -> bytes:
    """Return entries as bytes that travel well."""
    sink = pa.BufferOutputStream()
    with ipc.new_stream(sink, _SCHEMA, options=_PACKED) as writer:
        writer.write_table(_table(entries))
    return bytes(sink.getvalue().to_pybytes())


def unpack_entries(packed: bytes) -> list[FileEntry]:
    """Return the entries that ``pack_entries`` packed."""
    return _entries(ipc.open_stream(packed).read_all())


def register_bytes(entries: Iterable[FileEntry], reading: str) -> bytes:
    """Return the file of a register.

    Args:
        entries: sorted by doc_id.
        reading: names the settings that the files were read and cut with.
    """
    sink = io.BytesIO()
    pq.write_table(_table(entries).replace_schema_metadata({_READING: reading}), sink, compression="zstd")
    return sink.getvalue()


def read_register(store: Store, manifest: Manifest, reading: str) -> dict[str, FileEntry] | None:
    """Return what a version remembers of its files, by doc_id; None when its rows may not be taken over.

    That is: there is no register, other settings cut the documents, or the register does not account for every row.
    """
    try:
        file = store.open_parquet(f"{version_folder(manifest.version)}/{REGISTER}")
        if (file.schema_arrow.metadata or {}).get(_READING) != reading.encode():
            return None
        entries = {entry.doc_id: entry for entry in _entries(file.read())}
    except (FileNotFoundError, pa.ArrowInvalid):
        return None
    refused = manifest.summary.get("chunks_rejected", 0)
    return entries if sum(entry.chunks for entry in entries.values()) == manifest.rows + refused else None


def _table(entries: Iterable[FileEntry]) -> pa.Table:
    found = list(entries)
    return pa.table({name: [getattr(entry, name) for entry in found] for name in _SCHEMA.names}, schema=_SCHEMA)


def _entries(table: pa.Table) -> list[FileEntry]:
    return [FileEntry(*row) for row in zip(*(table.column(name).to_pylist() for name in _SCHEMA.names), strict=True)]
