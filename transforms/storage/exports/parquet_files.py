"""Parquet as loaders of other systems expect it: plain lists of float32, plain strings, row groups of about 32 MB."""

from collections.abc import Callable, Mapping

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from transforms.core.tables import VECTOR_COLUMN
from transforms.storage.exports.layout import RowSource
from transforms.storage.store import Output

Convert = Callable[[pa.RecordBatch], pa.RecordBatch]


def write_parquet(rows: RowSource, output: Output, columns: list[str], schema: pa.Schema, convert: Convert) -> None:
    """Write rows as one Parquet file, a row group for each batch.

    Args:
        columns: what is read of each row.
        convert: renames and casts a batch to ``schema``.
    """
    plain = [field.name for field in schema if not pa.types.is_nested(field.type)]
    # snappy: every loader reads it, and vectors hardly compress
    with pq.ParquetWriter(output, schema, compression="snappy", use_dictionary=plain) as writer:
        for batch in rows.batches(columns):
            writer.write_batch(convert(batch), row_group_size=batch.num_rows)


def list_of_float32(column: pa.Array) -> pa.ListArray:
    """Return fixed-size vectors as ``list<float32>``; float16 is widened, which loses nothing."""
    size = column.type.list_size
    values = column.flatten()
    offsets = pa.array(np.arange(0, len(values) + 1, size, dtype=np.int32))
    return pa.ListArray.from_arrays(offsets, values.cast(pa.float32()))


def plain_schema(columns: list[str], vector: pa.DataType, stamp: Mapping[bytes, bytes] | None = None) -> pa.Schema:
    """Return the dataset's columns with plain types: no dictionary, the vector of the type given, the stamp as metadata."""
    integers = {
        "chunk_index": pa.int32(),
        "start_char": pa.int64(),
        "end_char": pa.int64(),
        "token_count": pa.int32(),
        "dimensions": pa.int32(),
    }
    types = {**integers, VECTOR_COLUMN: vector}
    return pa.schema([pa.field(name, types.get(name, pa.string()), nullable=False) for name in columns], metadata=stamp)


def to_plain(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """Cast a batch of the dataset's columns to ``plain_schema``."""
    columns = []
    for field in schema:
        column = batch.column(field.name)
        if field.name == VECTOR_COLUMN and pa.types.is_list(field.type):
            columns.append(list_of_float32(column))
        else:
            columns.append(column.cast(field.type))
    return pa.record_batch(columns, schema=schema)
