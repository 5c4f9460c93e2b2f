"""Pinecone: Parquet files for its import from object storage, a folder for each namespace.

Columns id STRING, values LIST<FLOAT>, metadata STRING (a JSON object of strings, numbers, booleans and lists of strings, at
most 40 KB). An import fills an empty namespace; changes go through upsert and delete.
Source: docs.pinecone.io/guides/index-data/import-data and .../reference/api/database-limits, read 2026-11-22.
"""

import json

import pyarrow as pa

from transforms.core.tables import VECTOR_COLUMN
from transforms.errors import RunRefused
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
from transforms.storage.exports.parquet_files import list_of_float32, write_parquet
from transforms.storage.exports.payload import PAYLOAD_COLUMNS, flat_payloads
from transforms.storage.store import Output

NAMESPACE = "import/__default__"
MAX_METADATA_BYTES = 40 * 1024
_REQUEST_BYTES = 2_000_000
_SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("values", pa.list_(pa.field("element", pa.float32(), nullable=False)), nullable=False),
        pa.field("metadata", pa.string(), nullable=False),
    ]
)


def _files(export: Export) -> list[OutputFile]:
    kept = [name for name in export.columns() if name in PAYLOAD_COLUMNS]

    def convert(batch: pa.RecordBatch) -> pa.RecordBatch:
        metadata = [json.dumps(one, ensure_ascii=False) for one in flat_payloads(batch.select(kept))]
        _refuse_large(batch, metadata)
        vectors = list_of_float32(batch.column(VECTOR_COLUMN)).cast(_SCHEMA.field("values").type)
        return pa.record_batch([batch.column("id"), vectors, pa.array(metadata, pa.string())], schema=_SCHEMA)

    def write(rows: RowSource, output: Output) -> None:
        write_parquet(rows, output, ["id", VECTOR_COLUMN, *kept], _SCHEMA, convert)

    return file_per_part(export, NAMESPACE, ".parquet", write)


def _refuse_large(batch: pa.RecordBatch, metadata: list[str]) -> None:
    for row, one in enumerate(metadata):
        if len(one) * 4 > MAX_METADATA_BYTES and len(one.encode()) > MAX_METADATA_BYTES:
            raise RunRefused(
                f"row {batch.column('id')[row]} of {batch.column('doc_id')[row]} has {len(one.encode()):,} bytes of metadata, "
                f"its text among them, and Pinecone takes {MAX_METADATA_BYTES:,}: export with --without-text"
            )


_IMPORT = """
from pinecone import Pinecone

index = Pinecone(api_key=API_KEY).Index(INDEX)
started = index.start_import(uri="gs://BUCKET/PATH/import", error_mode="abort")
print(index.describe_import(started.id))
"""

_UPSERT = """
import json
from pathlib import Path

import pyarrow.parquet as pq
from pinecone import Pinecone

index = Pinecone(api_key=API_KEY).Index(INDEX)
gone = Path("{deletes}").read_text().split()
for first in range(0, len(gone), 1000):
    index.delete(ids=gone[first : first + 1000])
for path in sorted(Path("{folder}").glob("*.parquet")):
    for batch in pq.ParquetFile(path).iter_batches({rows}):
        rows = batch.to_pylist()
        index.upsert(vectors=[{{**row, "metadata": json.loads(row["metadata"])}} for row in rows])
"""


def _load(export: Export) -> str:
    index = f"An index of {export.dimensions:,} dimensions, metric cosine, must be there."
    if export.since is None:
        text = (
            f"{index} The import reads object storage: copy the folder `import` into a bucket that your index may read "
            "(or export to gs:// at once), and start it. `__default__` is the namespace and must be empty; rename the "
            "folder for another one."
        )
        return guide_text(export, "Pinecone", text, code("python", _IMPORT))
    rows = max(1, min(1000, _REQUEST_BYTES // (12 * export.dimensions + 4000)))
    script = _UPSERT.format(deletes=DELETES, folder=NAMESPACE, rows=rows)
    return guide_text(export, "Pinecone", f"{index} Run in this folder:", code("python", script))


FORMAT = ExportFormat("pinecone", _files, _load)
