"""LanceDB: a table written by its own library, one append for each part; changes are Parquet files for ``merge_insert``.

How far an export that was cut off had come is read from the table itself: parts are appended whole and in order, so the
number of rows says which of them are in.
Source: lancedb.github.io/lancedb (create_table, Table.add, merge_insert), lancedb 0.40, read 2026-11-22.
"""

from collections.abc import Callable, Iterator
from typing import Any

import pyarrow as pa

from transforms.errors import FatalError, StorageFailed
from transforms.storage.exports.layout import (
    DELETES,
    Export,
    ExportFormat,
    OutputFile,
    RowSource,
    code,
    file_per_part,
    guide_text,
)
from transforms.storage.exports.parquet_files import plain_schema, to_plain, write_parquet
from transforms.storage.store import Output, Store

TABLE = "chunks"


def _files(export: Export) -> list[OutputFile]:
    if export.since is None:
        return []
    schema = _schema(export)

    def write(rows: RowSource, output: Output) -> None:
        write_parquet(rows, output, schema.names, schema, lambda batch: to_plain(batch, schema))

    return file_per_part(export, "data", ".parquet", write)


def _schema(export: Export) -> pa.Schema:
    return plain_schema(export.columns(), pa.list_(pa.type_for_alias(export.vector_type), export.width), export.stamp)


def _build(export: Export, source: Store, folder: str, tell: Callable[[str], None]) -> None:
    if export.since is not None:
        return
    schema = _schema(export)
    table = _open_table(folder, schema)
    done, present = 0, table.count_rows()
    for part in export.parts:
        if done >= present:
            _add(table, RowSource(source, (part,), export.width), schema, folder)
        done += part.rows
        tell(f"{done:,} of {export.rows:,} rows")
    if table.count_rows() != export.rows:
        raise FatalError(
            f"the table in {folder} has {table.count_rows()} rows instead of {export.rows}: was another export writing to it? "
            "Remove the folder and export again"
        )


def _open_table(folder: str, schema: pa.Schema) -> Any:
    """Return the table of an earlier attempt, or an empty one."""
    import lancedb

    return lancedb.connect(folder).create_table(TABLE, schema=schema, exist_ok=True)


def _add(table: Any, rows: RowSource, schema: pa.Schema, folder: str) -> None:
    """Append rows whole or not at all; what goes wrong with reading them is raised as it was, not as Lance retells it."""
    failures: list[Exception] = []

    def batches() -> Iterator[pa.RecordBatch]:
        try:
            for batch in rows.batches(schema.names):
                yield to_plain(batch, schema)
        except (OSError, ValueError) as error:
            failures.append(error)
            raise

    try:
        table.add(pa.RecordBatchReader.from_batches(schema, batches()))
    except (OSError, RuntimeError, ValueError) as error:
        if failures:
            raise failures[0] from error
        raise StorageFailed(
            f"cannot go on writing the table in {folder}: {error}; what is in it is kept, and the same command "
            "goes on once this is mended"
        ) from error


_USE = """
import lancedb

table = lancedb.connect(FOLDER).open_table("{table}")
print(table.search(query).metric("cosine").limit(5).to_arrow())
"""

_MERGE = """
from pathlib import Path

import lancedb
import pyarrow.parquet as pq

table = lancedb.connect(FOLDER).open_table("{table}")
gone = Path("{deletes}").read_text().split()
for first in range(0, len(gone), 1000):
    ids = ", ".join(f"'{{id}}'" for id in gone[first : first + 1000])
    table.delete(f"id IN ({{ids}})")
for path in sorted(Path("data").glob("*.parquet")):
    table.merge_insert("id").when_matched_update_all().when_not_matched_insert_all().execute(pq.read_table(path))
"""


def _load(export: Export) -> str:
    if export.since is not None:
        text = "FOLDER is that of the full export; run in this one:"
        return guide_text(export, "LanceDB", text, code("python", _MERGE.format(table=TABLE, deletes=DELETES)))
    text = "`query` is a vector of the same model, FOLDER this folder:"
    return guide_text(export, "LanceDB", text, code("python", _USE.format(table=TABLE)))


FORMAT = ExportFormat("lancedb", _files, _load, build=_build, takes_bytes=True, needs="lancedb")
