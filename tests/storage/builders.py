"""Small datasets and journals for the tests of this room."""

import hashlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from transforms.core.buckets import bucket_of, part_name
from transforms.core.manifest import Manifest, PartEntry, Stamp
from transforms.core.tables import part_schema
from transforms.storage.run_folder import RunFolder
from transforms.storage.store import Store
from transforms.storage.versions import commit_version

DIMENSION = 4
STAMP = Stamp("tiny", DIMENSION, "tiny-1", "embed.example", True, "", '{"max_tokens": 512}')


def hash_of(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def texts(count: int, prefix: str = "text") -> list[str]:
    return [f"{prefix} {number}" for number in range(count)]


def vectors_of(some: Sequence[str], dimension: int = DIMENSION) -> npt.NDArray[np.float32]:
    """One vector for each text, which only that text has."""
    rows = [np.frombuffer(hash_of(text) * dimension, np.uint8)[: dimension * 3 : 3] for text in some]
    return np.asarray((np.array(rows).reshape(len(some), dimension).astype(np.float32) + 1) / 256, np.float32)


def make_part(
    some: Sequence[str], vector_type: str = "float32", rows_per_row_group: int = 3, copies: int = 1
) -> pa.Table:
    """A part's table: ``copies`` rows for each text, sorted by (text_hash, id)."""
    rows = sorted((hash_of(text).hex(), f"{copy:032x}", text) for text in some for copy in range(copies))
    names = [text for _, _, text in rows]
    schema = part_schema(STAMP, vector_type, "")
    values = pa.array(vectors_of(names).reshape(-1).astype(schema.field("vector").type.value_type.to_pandas_dtype()))
    columns = {
        "id": [identifier for _, identifier, _ in rows],
        "chunk": names,
        "vector": pa.FixedSizeListArray.from_arrays(values, DIMENSION),
        "doc_id": names,
        "source_uri": names,
        "chunk_index": [0] * len(rows),
        "start_char": [0] * len(rows),
        "end_char": [len(name) for name in names],
        "token_count": [2] * len(rows),
        "text_hash": [digest for digest, _, _ in rows],
        "metadata": ["{}"] * len(rows),
        "model": pa.DictionaryArray.from_arrays(pa.array([0] * len(rows), pa.int32()), pa.array(["tiny"])),
        "dimensions": [DIMENSION] * len(rows),
    }
    return pa.table(
        [
            pa.array(columns[n], schema.field(n).type) if isinstance(columns[n], list) else columns[n]
            for n in schema.names
        ],
        schema=schema,
    )


def stage(
    store: Store, run: RunFolder, some: Sequence[str], bits: int, vector_type: str = "float32", copies: int = 1
) -> list[tuple[str, str, int, int, str]]:
    """Write staged parts; (staged path, final name, rows, bytes, sha256) for each bucket with rows."""
    staged = []
    for bucket in range(1 << bits):
        table = make_part([t for t in some if bucket_of(hash_of(t), bits) == bucket], vector_type, copies=copies)
        if table.num_rows:
            path = run.staged_part_path(bucket, 1 << bits)
            with (
                store.open_output(path) as output,
                pq.ParquetWriter(output, table.schema, write_page_checksum=True) as w,
            ):
                w.write_table(table, row_group_size=3)
            staged.append((path, part_name(bucket, bits), table.num_rows, output.size_bytes, output.sha256))
    return staged


def make_manifest(
    version: int,
    folder: str,
    staged: Sequence[tuple[str, str, int, int, str]],
    previous: Manifest | None,
    note: str = "",
) -> Manifest:
    rows = sum(row[2] for row in staged)
    return Manifest(
        version=version,
        created_at="2026-01-01T00:00:00+00:00",
        parts=tuple(PartEntry(f"{folder}/{name}", count, size, digest) for _, name, count, size, digest in staged),
        rows=rows,
        model=STAMP.model,
        dimensions=DIMENSION,
        stamp=STAMP,
        config_fingerprint="f",
        chunking={"max_tokens": 512},
        previous_version=previous.version if previous else 0,
        summary={"chunks": rows, "chunks_rejected": 0, "note": note},
    )


def commit_staged(
    store: Store,
    run: RunFolder,
    staged: Sequence[tuple[str, str, int, int, str]],
    previous: Manifest | None,
    note: str = "",
) -> Manifest:
    return commit_version(
        store,
        run,
        [(path, name) for path, name, _, _, _ in staged],
        {"rejects.parquet": b"rejects"},
        lambda version, folder: make_manifest(version, folder, staged, previous, note),
        previous,
    )


def commit_texts(
    store: Store,
    some: Sequence[str],
    previous: Manifest | None,
    bits: int = 1,
    run_id: str = "run",
    vector_type: str = "float32",
    copies: int = 1,
) -> Manifest:
    """Stage and commit one version of these texts."""
    run = RunFolder(store, run_id)
    manifest = commit_staged(store, run, stage(store, run, some, bits, vector_type, copies), previous)
    run.remove()
    return manifest
