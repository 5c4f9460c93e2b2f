"""A few rows of a version with their vectors, the same few at every look: what the report draws.

The secret kept is that a part's rows lie in the order of their texts' hashes, so the first of them are as good as drawn.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from transforms.core.tables import VECTOR_COLUMN
from transforms.storage.store import Store

_PARTS, _DISTANT_PARTS = 32, 2
"""Opened at most; each holds a random share of the texts. On gs:// a part's first vectors cost its first row group."""
_COLUMNS = ["text_hash", "doc_id", "chunk", VECTOR_COLUMN]


@dataclass(frozen=True, slots=True)
class Sample:
    """Rows with different texts, in an order that says nothing.

    Attributes:
        vectors: ``rows x dimension``, float32.
    """

    doc_ids: Sequence[str]
    chunks: Sequence[str]
    vectors: npt.NDArray[np.float32]


def sample_rows(store: Store, parts: Sequence[tuple[str, int]], most_rows: int, most_bytes: int) -> Sample:
    """Read the first rows of parts, as many of each part as its share of the rows.

    Args:
        parts: path and rows of each part, none without rows.
        most_rows: to be read, about; rows whose text an earlier one has are left out of the result.
        most_bytes: of vectors held.
    """
    step = -(-len(parts) // (_PARTS if store.moves_folders else _DISTANT_PARTS)) or 1
    chosen = list(parts)[::step]
    total = sum(rows for _, rows in chosen)
    tables = [_first_rows(store, path, rows, total, most_rows, most_bytes) for path, rows in chosen]
    tables = [table for table in tables if table.num_rows]
    if not tables:
        return Sample((), (), np.empty((0, 0), np.float32))
    keys = [_different_texts(table) for table in tables]
    doc_ids = [table.column("doc_id").to_pylist() for table in tables]
    chunks = [table.column("chunk").to_pylist() for table in tables]
    vectors = [_matrix(table) for table in tables]
    turns = [(part, row) for turn in zip_longest(*keys) for part, row in enumerate(turn) if row is not None]
    return Sample(
        [doc_ids[part][row] for part, row in turns],
        [chunks[part][row] for part, row in turns],
        np.stack([vectors[part][row] for part, row in turns]),
    )


def _first_rows(store: Store, path: str, rows: int, total: int, most_rows: int, most_bytes: int) -> pa.Table:
    file = store.open_parquet(path)
    row_bytes = 4 * file.schema_arrow.field(VECTOR_COLUMN).type.list_size
    wanted = max(1, min(most_rows, most_bytes // row_bytes) * rows // total)
    return _read_head(file, wanted)


def _read_head(file: pq.ParquetFile, rows: int) -> pa.Table:
    """Read no more pages than the first rows need."""
    tables: list[pa.RecordBatch] = []
    for batch in file.iter_batches(batch_size=rows, columns=_COLUMNS):
        tables.append(batch.slice(0, rows - sum(one.num_rows for one in tables)))
        if sum(one.num_rows for one in tables) >= rows:
            break
    return pa.Table.from_batches(tables, schema=tables[0].schema if tables else pa.schema([]))


def _different_texts(table: pa.Table) -> list[int]:
    hashes = table.column("text_hash").to_pylist()
    return [row for row, text in enumerate(hashes) if row == 0 or text != hashes[row - 1]]


def _matrix(table: pa.Table) -> npt.NDArray[np.float32]:
    vectors = pa.concat_arrays(table.column(VECTOR_COLUMN).chunks)
    values = vectors.flatten().to_numpy(zero_copy_only=False).astype(np.float32, copy=False)
    matrix: npt.NDArray[np.float32] = values.reshape(len(vectors), -1)
    return matrix
