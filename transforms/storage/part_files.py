"""How a part is laid out as a Parquet file; every writer of parts writes the same bytes for the same rows."""

import pyarrow as pa
import pyarrow.parquet as pq

from transforms.core.tables import VECTOR_COLUMN

_MOST_ROWS, _MOST_BYTES = 8192, 15_000_000
"""At most, of a row group: enough for readers to work in parallel; writing one takes about five times its vectors in memory."""

_DICTIONARY_COLUMNS = ["doc_id", "source_uri", "metadata", "model", "dimensions"]
_VECTOR_PATH = f"{VECTOR_COLUMN}.list.element"
_STATISTICS_COLUMNS = ["id", "doc_id", "source_uri", "text_hash", "chunk_index", "token_count"]


def rows_per_row_group(dimension: int) -> int:
    """Return how many rows of so many numbers a row group holds, a power of two: 8,192 up to 457 dimensions, then fewer."""
    rows = _MOST_ROWS
    while rows > 256 and rows * dimension * 4 > _MOST_BYTES:
        rows //= 2
    return rows


def open_part_writer(output: object, schema: pa.Schema) -> pq.ParquetWriter:
    """Return a writer set for vectors: plain pages that every reader knows; the other columns zstd 1.

    Compressing floats saves a fourteenth of their size, and takes as long to read again as all the rest of a search.
    Numbers of one byte are the exception: Parquet stores them in four, and with a dictionary and zstd in about one.
    """
    is_of_bytes = schema.field(VECTOR_COLUMN).type.value_type.bit_width == 8
    compressed = [name for name in schema.names if name != VECTOR_COLUMN] + ([_VECTOR_PATH] if is_of_bytes else [])
    return pq.ParquetWriter(
        output,
        schema,
        compression=dict.fromkeys(compressed, "zstd"),
        compression_level=dict.fromkeys(compressed, 1),
        use_dictionary=[*_DICTIONARY_COLUMNS, _VECTOR_PATH] if is_of_bytes else _DICTIONARY_COLUMNS,
        write_statistics=_STATISTICS_COLUMNS,
        store_schema=True,
        write_page_checksum=True,
    )
