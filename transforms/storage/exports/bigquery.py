"""BigQuery: Parquet files for ``bq load``, the vector as ARRAY<FLOAT64> for VECTOR_SEARCH, metadata as a STRING of JSON.

Without ``--parquet_enable_list_inference`` a vector would load as a RECORD named list.
Source: cloud.google.com/bigquery/docs/loading-data-cloud-storage-parquet (list logical type) and .../vector-search-intro,
read 2026-11-22.
"""

import json

import pyarrow as pa

from transforms.core.tables import VECTOR_COLUMN
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

SCHEMA = "schema.json"


def _files(export: Export) -> list[OutputFile]:
    columns = export.columns()
    schema = plain_schema(columns, pa.list_(pa.field("element", pa.float32(), nullable=False)), export.stamp)

    def write(rows: RowSource, output: Output) -> None:
        write_parquet(rows, output, columns, schema, lambda batch: to_plain(batch, schema))

    described = json.dumps([_field(field) for field in schema], indent=2).encode() + b"\n"

    def describe(_: RowSource, output: Output) -> None:
        output.write(described)

    return [*file_per_part(export, "data", ".parquet", write), OutputFile(SCHEMA, (), describe)]


def _field(field: pa.Field) -> dict[str, str]:
    if field.name == VECTOR_COLUMN:
        return {"name": field.name, "type": "FLOAT64", "mode": "REPEATED"}
    kind = "INT64" if pa.types.is_integer(field.type) else "STRING"
    return {"name": field.name, "type": kind, "mode": "REQUIRED"}


_LOAD = """
bq load --source_format=PARQUET --parquet_enable_list_inference MYDATASET.{table} "gs://BUCKET/PATH/data/*.parquet" {schema}
"""

_STAGE = """
bq load --replace --source_format=CSV MYDATASET.{table}_gone gs://BUCKET/PATH/{deletes} id:STRING
"""

_DELETE = """
DELETE FROM MYDATASET.{table} WHERE id IN (SELECT id FROM MYDATASET.{table}_gone);
"""

_MERGE = """
MERGE MYDATASET.{table} AS old USING MYDATASET.{table}_fresh AS new ON old.id = new.id
WHEN MATCHED THEN UPDATE SET {changed}
WHEN NOT MATCHED THEN INSERT ROW;
"""


def _load(export: Export) -> str:
    table = collection_name(export)
    copy = "Copy this folder into a bucket (or export to gs:// at once)."
    if export.since is None:
        return guide_text(export, "BigQuery", copy, code("sh", _LOAD.format(table=table, schema=SCHEMA)))
    fresh = _LOAD.format(table=f"{table}_fresh", schema=SCHEMA).replace("bq load", "bq load --replace")
    changed = ", ".join(f"{name} = new.{name}" for name in export.columns("id"))
    deleting = [
        code("sh", _STAGE.format(table=table, deletes=DELETES)),
        code("sql", _DELETE.format(table=table)),
    ]
    upserting = [code("sh", fresh), code("sql", _MERGE.format(table=table, changed=changed))]
    if not export.rows:
        upserting = ["There is nothing to upsert."]
    return guide_text(export, "BigQuery", copy, *deleting, *upserting)


FORMAT = ExportFormat("bigquery", _files, _load)
