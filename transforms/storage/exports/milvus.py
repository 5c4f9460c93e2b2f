"""Milvus and Zilliz Cloud: Parquet files for the bulk import, as pymilvus' BulkWriter would write them.

VARCHAR and JSON fields are strings, FLOAT_VECTOR is list<float32>, integers keep their width.
Source: milvus.io/docs/prepare-source-data.md; ARROW_TYPE_CREATOR in pymilvus 3.0.2, bulk_writer/constants.py; read 2026-11-22.
"""

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
    collection_name,
    file_per_part,
    guide_text,
)
from transforms.storage.exports.parquet_files import plain_schema, to_plain, write_parquet
from transforms.storage.store import Output

_MAX_BYTES = 65_535
_LIMITED = ("chunk", "doc_id", "source_uri", "metadata")


def _columns(export: Export) -> list[str]:
    return export.columns("text_hash", "model", "dimensions")


def _files(export: Export) -> list[OutputFile]:
    columns = _columns(export)
    schema = plain_schema(columns, pa.list_(pa.float32()))

    def convert(batch: pa.RecordBatch) -> pa.RecordBatch:
        _refuse_large(batch)
        return to_plain(batch, schema)

    def write(rows: RowSource, output: Output) -> None:
        write_parquet(rows, output, columns, schema, convert)

    return file_per_part(export, "data", ".parquet", write)


def _refuse_large(batch: pa.RecordBatch) -> None:
    for name in set(_LIMITED) & set(batch.schema.names):
        for row, value in enumerate(batch.column(name).to_pylist()):
            if len(value) * 4 > _MAX_BYTES and len(value.encode()) > _MAX_BYTES:
                remedy = "export with --without-text" if name == "chunk" else "shorten it where it comes from"
                raise RunRefused(
                    f"row {batch.column('id')[row]} has {len(value.encode()):,} bytes in {name}, and Milvus takes "
                    f"{_MAX_BYTES:,}: {remedy}"
                )


_TYPES = {
    "id": "DataType.VARCHAR, is_primary=True, max_length=32",
    "chunk": "DataType.VARCHAR, max_length=65535",
    "doc_id": "DataType.VARCHAR, max_length=65535",
    "source_uri": "DataType.VARCHAR, max_length=65535",
    "chunk_index": "DataType.INT32",
    "start_char": "DataType.INT64",
    "end_char": "DataType.INT64",
    "token_count": "DataType.INT32",
    "metadata": "DataType.JSON",
}

_CREATE = """
from pymilvus import DataType, MilvusClient

client = MilvusClient(uri=URI, token=TOKEN)
schema = client.create_schema(auto_id=False, enable_dynamic_field=False)
{fields}
index = client.prepare_index_params()
index.add_index("vector", index_type="AUTOINDEX", metric_type="COSINE")
client.create_collection("{name}", schema=schema, index_params=index)
"""

_IMPORT = """
from pymilvus.bulk_writer import bulk_import, get_import_progress

files = [[path] for path in {files}]  # paths inside the bucket that Milvus reads
job = bulk_import(url=URL, collection_name="{name}", files=files).json()["data"]["jobId"]
print(get_import_progress(url=URL, job_id=job).json())
"""

_UPSERT = """
import json
from pathlib import Path

import pyarrow.parquet as pq
from pymilvus import MilvusClient

client = MilvusClient(uri=URI, token=TOKEN)
gone = Path("{deletes}").read_text().split()
for first in range(0, len(gone), 1000):
    client.delete("{name}", ids=gone[first : first + 1000])
for path in sorted(Path("data").glob("*.parquet")):
    for batch in pq.ParquetFile(path).iter_batches(1000):
        rows = [{{**row, "metadata": json.loads(row["metadata"])}} for row in batch.to_pylist()]
        client.upsert("{name}", rows)
"""


def _load(export: Export) -> str:
    name = collection_name(export)
    if export.since is not None:
        script = _UPSERT.format(deletes=DELETES, name=name)
        return guide_text(export, "Milvus", "Run in this folder:", code("python", script))
    types = {**_TYPES, VECTOR_COLUMN: f"DataType.FLOAT_VECTOR, dim={export.dimensions}"}
    fields = "\n".join(f'schema.add_field("{column}", {types[column]})' for column in _columns(export))
    files = [f"data/{part.stem}.parquet" for part in export.parts]
    return guide_text(
        export,
        "Milvus",
        "Make the collection:",
        code("python", _CREATE.format(fields=fields, name=name)),
        "Copy `data` into the bucket of your Milvus, and import it:",
        code("python", _IMPORT.format(files=files, name=name)),
    )


FORMAT = ExportFormat("milvus", _files, _load)
