"""A row's text and metadata as the JSON that vector databases keep beside a vector."""

import json
from typing import Any

import pyarrow as pa

PAYLOAD_COLUMNS = ("chunk", "doc_id", "source_uri", "chunk_index", "start_char", "end_char", "token_count", "metadata")


def payloads(batch: pa.RecordBatch) -> list[dict[str, Any]]:
    """Return each row's columns, its metadata as an object below ``metadata``."""
    rows: list[dict[str, Any]] = batch.to_pylist()
    return [{**row, "metadata": json.loads(row["metadata"] or "{}")} for row in rows]


def flat_payloads(batch: pa.RecordBatch) -> list[dict[str, Any]]:
    """Return each row's columns and metadata on one level, for targets that know no nested objects.

    Values are strings, numbers, booleans and lists of strings; anything else is spelled as JSON, nulls are left out, ``$``
    is taken off the front of keys. A key of the dataset's own columns wins over an equal one of the metadata.
    """
    return [{**_flat(row.pop("metadata")), **row} for row in payloads(batch)]


def _flat(metadata: dict[str, Any]) -> dict[str, Any]:
    return {key.lstrip("$"): _flat_value(value) for key, value in metadata.items() if value is not None}


def _flat_value(value: Any) -> Any:
    if isinstance(value, (str, bool, int, float)):
        return value
    if isinstance(value, list) and all(isinstance(one, str) for one in value):
        return value
    return json.dumps(value, ensure_ascii=False)
