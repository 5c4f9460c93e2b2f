"""Arrow schemas, column names and metadata keys, and the few operations on tables that need them.

The secret kept here is Arrow's: which types the columns have, how chunks are packed for the shuffle, what a part's key-value
metadata is called. Packed batches are Arrow IPC streams compressed with zstd, so that grouping moves about a third of the
text's size and a reader can decode some columns without the others.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.ipc as ipc

from transforms.core.manifest import Stamp
from transforms.core.vector_coding import BINARY, INT8, Codes
from transforms.records import Reject

Hashes = npt.NDArray[np.bytes_]
"""Text hashes as numpy ``S32``: equal lengths, so its ignoring of trailing zeros cannot make two of them equal."""

RowNumbers = npt.NDArray[np.integer[Any]]

VECTOR_COLUMN = "vector"
VECTOR_TYPES = {"float32": pa.float32(), "float16": pa.float16(), INT8: pa.int8(), BINARY: pa.uint8()}

CHUNKS = pa.schema(
    [
        pa.field("text_hash", pa.binary(32), nullable=False),
        pa.field("id", pa.string(), nullable=False),
        pa.field("doc_id", pa.string(), nullable=False),
        pa.field("token_count", pa.int32(), nullable=False),
        pa.field("lead", pa.string(), nullable=False),
        pa.field("chunk", pa.large_string(), nullable=False),
        pa.field("source_uri", pa.string(), nullable=False),
        pa.field("chunk_index", pa.int32(), nullable=False),
        pa.field("start_char", pa.int64(), nullable=False),
        pa.field("end_char", pa.int64(), nullable=False),
        pa.field("metadata", pa.string(), nullable=False),
    ]
)
"""Chunks on their way: everything of a row but its vector and stamp; text_hash as raw bytes; lead is sent before the chunk."""

KEY_COLUMNS = ("text_hash", "id", "doc_id", "token_count")
"""What planning needs of a chunk; the first fields of CHUNKS, so that they decode without the text."""

REJECTS = pa.schema(
    [
        pa.field("doc_id", pa.string(), nullable=False),
        pa.field("source_uri", pa.string(), nullable=False),
        pa.field("start_char", pa.int64()),
        pa.field("end_char", pa.int64()),
        pa.field("stage", pa.string(), nullable=False),
        pa.field("reason", pa.string(), nullable=False),
        pa.field("message", pa.string(), nullable=False),
        pa.field("attempts", pa.int32(), nullable=False),
        pa.field("request_id", pa.string(), nullable=False),
    ]
)

CHANGES = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("change", pa.string(), nullable=False),
        pa.field("doc_id", pa.string(), nullable=False),
    ]
)
"""Against the previous version: added and updated ids are to be upserted, removed ones to be deleted."""

_COMPARED = ("doc_id", "source_uri", "chunk_index", "start_char", "end_char", "token_count", "metadata")
_IPC = ipc.IpcWriteOptions(compression=pa.Codec("zstd", 1))


def part_schema(stamp: Stamp, vector_type: str, base_url: str) -> pa.Schema:
    """Return the schema of a part: columns in the contract's order, the stamp in its key-value metadata.

    Args:
        vector_type: float32 or float16; int8 or binary where the stamp says so.
        base_url: where the model is served, for readers that can embed a query by themselves; "" for the local model.
    """
    fields = [
        pa.field("id", pa.string(), nullable=False),
        pa.field("chunk", pa.string(), nullable=False),
        pa.field(VECTOR_COLUMN, pa.list_(VECTOR_TYPES[vector_type], stamp.coding().width), nullable=False),
        pa.field("doc_id", pa.string(), nullable=False),
        pa.field("source_uri", pa.string(), nullable=False),
        pa.field("chunk_index", pa.int32(), nullable=False),
        pa.field("start_char", pa.int64(), nullable=False),
        pa.field("end_char", pa.int64(), nullable=False),
        pa.field("token_count", pa.int32(), nullable=False),
        pa.field("text_hash", pa.string(), nullable=False),
        pa.field("metadata", pa.string(), nullable=False),
        pa.field("model", pa.dictionary(pa.int32(), pa.string()), nullable=False),
        pa.field("dimensions", pa.int32(), nullable=False),
    ]
    return pa.schema(fields, metadata=_stamp_metadata(stamp, fields, vector_type, base_url))


def _stamp_metadata(stamp: Stamp, fields: Sequence[pa.Field], vector_type: str, base_url: str) -> dict[str, str]:
    """Return the stamp under every name that some reader honours (pandas attrs, Hugging Face features, LanceDB)."""
    flat = {
        "embedding.spec_version": str(stamp.spec_version),
        "embedding.model": stamp.model,
        "embedding.model_reported": stamp.model_reported,
        "embedding.dimensions": str(stamp.dimensions),
        "embedding.base_url_host": stamp.base_url_host,
        "embedding.column": stamp.column,
        "embedding.normalized": "true" if stamp.normalized else "false",
        "embedding.input_prefix": stamp.input_prefix,
        "embedding.chunker": stamp.chunker,
    }
    if stamp.context:
        flat["embedding.context"] = stamp.context
    if stamp.quantization:
        flat |= {"embedding.quantization": stamp.quantization, "embedding.scales": stamp.scales}
    if stamp.source_dimensions:
        flat["embedding.source_dimensions"] = str(stamp.source_dimensions)
    metadata = dict(flat)
    metadata["PANDAS_ATTRS"] = json.dumps(flat, sort_keys=True)
    features = {field.name: _hugging_face_feature(field, vector_type) for field in fields}
    metadata["huggingface"] = json.dumps({"info": {"features": features}})
    if base_url:
        model = {"name": stamp.model, "base_url": base_url, "dim": stamp.dimensions}
        function = {"name": "openai", "model": model, "source_column": "chunk", "vector_column": VECTOR_COLUMN}
        metadata["embedding_functions"] = json.dumps([function])
    return metadata


def _hugging_face_feature(field: pa.Field, vector_type: str) -> dict[str, object]:
    if field.name == VECTOR_COLUMN:
        dtype = "uint8" if vector_type == BINARY else vector_type
        return {"feature": {"dtype": dtype, "_type": "Value"}, "length": field.type.list_size, "_type": "List"}
    dtype = "string" if pa.types.is_dictionary(field.type) else str(field.type)
    return {"dtype": dtype, "_type": "Value"}


def pack_chunks(table: pa.Table) -> bytes:
    """Return a table as a compressed Arrow IPC stream."""
    sink = pa.BufferOutputStream()
    with ipc.new_stream(sink, table.schema, options=_IPC) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue().to_pybytes())


def split_by_bucket(table: pa.Table, bits: int) -> list[tuple[int, bytes]]:
    """Cut a table of chunks into packed batches, one for each bucket that has rows, in bucket order."""
    if table.num_rows == 0:
        return []
    if bits == 0:
        return [(0, pack_chunks(table))]
    buckets = leading_bits(hashes_of(table), bits)
    order = np.argsort(buckets, kind="stable")
    ordered = table.take(pa.array(order)).combine_chunks()
    present, starts = np.unique(buckets[order], return_index=True)
    ends = np.append(starts[1:], len(order))
    return [
        (int(bucket), pack_chunks(ordered.slice(int(start), int(end - start))))
        for bucket, start, end in zip(present, starts, ends, strict=True)
    ]


def keep_sample(packed: tuple[int, bytes], share: float) -> Iterator[tuple[int, bytes]]:
    """Keep those chunks of a packed batch whose text hash is among the smallest ``share`` of all hashes."""
    bucket, batch = packed
    rows = ipc.open_stream(batch).read_all()
    kept = rows.filter(pa.array(leading_bits(hashes_of(rows), 32) < share * 2**32))
    if kept.num_rows:
        yield bucket, pack_chunks(kept)


def merge_chunks(
    batches: Iterable[bytes], columns: Sequence[str] | None = None, carried: pa.Table | None = None
) -> pa.Table:
    """Return the rows of packed batches as one table, sorted by (text_hash, id); empty bytes stand for no rows.

    Args:
        columns: decode these only; they must hold text_hash and id.
        carried: rows to be merged in, with the same columns.
    """
    names = list(CHUNKS.names if columns is None else columns)
    fields = [CHUNKS.get_field_index(name) for name in names]
    options = ipc.IpcReadOptions(included_fields=fields)
    tables = [ipc.open_stream(batch, options=options).read_all() for batch in batches if batch]
    schema = pa.schema([CHUNKS.field(index) for index in sorted(fields)])
    tables += [] if carried is None else [carried.select(schema.names)]
    table = pa.concat_tables(tables).combine_chunks() if tables else schema.empty_table()
    order = pc.sort_indices(table, sort_keys=[("text_hash", "ascending"), ("id", "ascending")])
    return table.take(order)


def chunks_of_rows(rows: pa.Table) -> pa.Table:
    """Return rows of a part as chunks on their way: those columns of CHUNKS that the rows have.

    What was sent before a chunk is not in a part; the lead is "", for a text that has its vector is not sent again.
    """
    made = {"text_hash": binary_hashes(rows.column("text_hash").cast(pa.string()))}
    if "chunk" in rows.column_names:
        made["lead"] = pa.array([""] * rows.num_rows, pa.string())
    fields = [field for field in CHUNKS if field.name in rows.column_names or field.name in made]
    columns = [made[one.name] if one.name in made else rows.column(one.name).cast(one.type) for one in fields]
    return pa.table(columns, schema=pa.schema(fields))


def rows_to_keep(rows: pa.Table, is_dropped: Callable[[str], bool]) -> npt.NDArray[np.bool_]:
    """Return for each row whether its document stays; every document is asked about once."""
    if rows.num_rows == 0:
        return np.zeros(0, bool)
    named = rows.column("doc_id").combine_chunks()
    named = named if pa.types.is_dictionary(named.type) else named.dictionary_encode()
    stays = np.array([not is_dropped(doc_id) for doc_id in named.dictionary.to_pylist()], bool)
    return np.asarray(stays[named.indices.to_numpy()], bool)


def read_rows(stream: bytes) -> pa.Table:
    """Return the table of an IPC stream, without a copy where it is not compressed."""
    return ipc.open_stream(pa.py_buffer(stream)).read_all()


def write_rows(table: pa.Table) -> bytes:
    """Return a table as an uncompressed IPC stream: a step hands it to the next one in the same process."""
    sink = pa.BufferOutputStream()
    with ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue().to_pybytes())


def hashes_of(table: pa.Table) -> Hashes:
    """Return the raw text hashes of a table of chunks, without a copy."""
    column = table.column("text_hash").combine_chunks()
    if isinstance(column, pa.ChunkedArray):
        column = pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], pa.binary(32))
    if len(column) == 0:
        return np.empty(0, "S32")
    return np.frombuffer(column.buffers()[1], dtype="S32")[column.offset : column.offset + len(column)]


def list_of_hashes(hashes: Hashes) -> list[bytes]:
    """Return hashes as bytes of full length; numpy's own ``tolist`` would strip their trailing zeros."""
    return list(np.ascontiguousarray(hashes).view("V32").tolist()) if len(hashes) else []


def leading_bits(hashes: Hashes, bits: int) -> npt.NDArray[np.uint32]:
    """Return the bucket of each hash: its top ``bits`` bits, as ``core.buckets.bucket_of`` reads them."""
    if bits == 0 or len(hashes) == 0:
        return np.zeros(len(hashes), np.uint32)
    words = np.ascontiguousarray(hashes).view(">u4").reshape(-1, 8)[:, 0].astype(np.uint32)
    return np.asarray(words >> np.uint32(32 - bits), dtype=np.uint32)


def first_rows_of_texts(hashes: Hashes) -> npt.NDArray[np.int64]:
    """Return the row at which each distinct text begins, for hashes in sorted order."""
    if len(hashes) == 0:
        return np.empty(0, np.int64)
    begins = np.empty(len(hashes), bool)
    begins[0] = True
    begins[1:] = hashes[1:] != hashes[:-1]
    return np.flatnonzero(begins)


def hex_hashes(hashes: Hashes) -> pa.Array:
    """Return hashes as a string column of 64 hex digits, computed for all rows at once."""
    if len(hashes) == 0:
        return pa.array([], pa.string())
    raw = np.ascontiguousarray(hashes).view(np.uint8).reshape(-1, 32)
    digits = np.frombuffer(b"0123456789abcdef", np.uint8)
    out = np.empty((len(hashes), 64), np.uint8)
    out[:, 0::2] = digits[raw >> 4]
    out[:, 1::2] = digits[raw & 15]
    offsets = np.arange(0, 64 * len(hashes) + 1, 64, dtype=np.int32)
    return pa.StringArray.from_buffers(len(hashes), pa.py_buffer(offsets), pa.py_buffer(out.tobytes()))


def numpy_type(values: pa.DataType) -> np.dtype[Any]:
    """Return numpy's type for numbers of this one; Arrow's own ``to_pandas_dtype`` would need pandas for it."""
    found: np.dtype[Any] = pa.array([], values).to_numpy().dtype
    return found


def binary_hashes(hashes: pa.ChunkedArray) -> pa.Array:
    """Return a string column of 64 hex digits as raw text hashes.

    Raises:
        ValueError: a value is no 64 hex digits.
    """
    arrays = [_binary_hashes(chunk) for chunk in hashes.chunks if len(chunk)]
    return pa.concat_arrays(arrays) if arrays else pa.array([], pa.binary(32))


def _binary_hashes(array: pa.StringArray) -> pa.Array:
    _, offsets, data = array.buffers()
    ends = np.frombuffer(offsets, np.int32)[array.offset : array.offset + len(array) + 1]
    raw = bytes.fromhex(str(memoryview(data)[ends[0] : ends[-1]], "ascii"))
    if len(raw) != 32 * len(array):
        raise ValueError("text_hash holds something else than 64 hex digits")
    return pa.FixedSizeBinaryArray.from_buffers(pa.binary(32), len(array), [None, pa.py_buffer(raw)])


def part_batch(rows: pa.Table, vectors: npt.NDArray[np.float32], schema: pa.Schema, stamp: Stamp) -> pa.Table:
    """Return rows of a part from chunks and their vectors (``rows x dimension``), in the part's schema.

    Raises:
        ValueError: not one vector of the stamped dimension for each row.
    """
    count = rows.num_rows
    if vectors.shape != (count, stamp.dimensions):
        raise ValueError(f"{count} rows need vectors of shape ({count}, {stamp.dimensions}), got {vectors.shape}")
    vector_type = schema.field(VECTOR_COLUMN).type
    values = pa.array(vectors.reshape(-1).astype(numpy_type(vector_type.value_type), copy=False))
    columns: dict[str, pa.Array | pa.ChunkedArray] = {name: rows.column(name) for name in rows.column_names}
    columns["chunk"] = columns["chunk"].cast(pa.string())
    columns[VECTOR_COLUMN] = pa.FixedSizeListArray.from_arrays(values, stamp.dimensions)
    columns["text_hash"] = hex_hashes(hashes_of(rows))
    indices = pa.array(np.zeros(count, np.int32))
    columns["model"] = pa.DictionaryArray.from_arrays(indices, pa.array([stamp.model]))
    columns["dimensions"] = pa.array(np.full(count, stamp.dimensions, np.int32))
    return pa.table([columns[name] for name in schema.names], schema=schema)


def codes_of(batch: pa.RecordBatch | pa.Table, column: str = VECTOR_COLUMN) -> Codes:
    """Return the stored numbers of a batch's vectors, ``rows x width``, without a copy where they lie in one piece."""
    vectors = batch.column(column)
    if isinstance(vectors, pa.ChunkedArray):
        vectors = pa.concat_arrays(vectors.chunks) if vectors.num_chunks else pa.array([], vectors.type)
    return np.asarray(vectors.flatten().to_numpy(zero_copy_only=False)).reshape(len(vectors), vectors.type.list_size)


class Comparison(NamedTuple):
    """How a bucket differs from the previous version: CHANGES rows sorted by id, and how many ids are what."""

    changes: pa.Table
    added: int
    removed: int
    kept: int
    updated: int


def compare_rows(rows: pa.Table, previous: pa.Table) -> Comparison:
    """Compare a bucket's rows with those of the previous version, by id; updated ids are among the kept ones."""
    new_ids = rows.column("id").to_numpy(zero_copy_only=False).astype("S32")
    old_ids = previous.column("id").to_numpy(zero_copy_only=False).astype("S32")
    none = np.empty(0, np.int64)
    if len(old_ids) == 0:
        return Comparison(_changes(rows, np.arange(len(new_ids)), previous, none, none), len(new_ids), 0, 0, 0)
    kept, new_at, old_at = np.intersect1d(new_ids, old_ids, assume_unique=True, return_indices=True)
    added = np.setdiff1d(np.arange(len(new_ids)), new_at, assume_unique=True)
    removed = np.setdiff1d(np.arange(len(old_ids)), old_at, assume_unique=True)
    differs = np.zeros(len(kept), bool)
    for name in _COMPARED:
        before, after = previous.column(name).take(pa.array(old_at)), rows.column(name).take(pa.array(new_at))
        differs |= np.asarray(pc.not_equal(after.cast(before.type), before))
    changes = _changes(rows, added, previous, removed, new_at[differs])
    return Comparison(changes, len(added), len(removed), len(kept), int(differs.sum()))


def _changes(
    rows: pa.Table, added: RowNumbers, previous: pa.Table, removed: RowNumbers, updated: RowNumbers
) -> pa.Table:
    groups = [("added", rows, added), ("removed", previous, removed), ("updated", rows, updated)]
    tables = []
    for change, source, at in groups:
        taken = source.select(["id", "doc_id"]).take(pa.array(np.asarray(at, np.int64)))
        words = pa.array([change] * taken.num_rows, pa.string())
        tables.append(pa.table([taken.column("id"), words, taken.column("doc_id")], schema=CHANGES))
    return pa.concat_tables(tables).sort_by("id").combine_chunks()


def rejects_table(rejects: Iterable[Reject]) -> pa.Table:
    """Return rejects as rows of ``rejects.parquet``, in an order that does not depend on the engine."""
    ordered = sorted(rejects, key=lambda r: (r.doc_id, r.stage, -1 if r.start_char is None else r.start_char))
    columns: Mapping[str, list[object]] = {name: [getattr(r, name) for r in ordered] for name in REJECTS.names}
    return pa.table(columns, schema=REJECTS)
