"""Qdrant: points as JSON lines, each as its REST and Python APIs take them; ids are UUIDs.

Qdrant has no import of files but its own snapshots, so a loop of upserts is the documented way: 64 to 256 points a request.
A point's id is an unsigned integer or a UUID; the dataset's 32 hex digits are a UUID, written here with hyphens as Qdrant
answers them.
Source: qdrant.tech/documentation/concepts/points and .../manage-data/bulk-upload, read 2026-11-22.
"""

import uuid

import orjson

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
from transforms.storage.exports.payload import PAYLOAD_COLUMNS, payloads
from transforms.storage.store import Output

_OPTIONS = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_APPEND_NEWLINE


def _files(export: Export) -> list[OutputFile]:
    kept = [name for name in export.columns() if name in PAYLOAD_COLUMNS]

    def write(rows: RowSource, output: Output) -> None:
        for batch in rows.batches(["id", VECTOR_COLUMN, *kept]):
            vectors = rows.vectors(batch.column(VECTOR_COLUMN))
            ids = batch.column("id").to_pylist()
            for id_, vector, payload in zip(ids, vectors, payloads(batch.select(kept)), strict=True):
                point = {"id": str(uuid.UUID(id_)), "vector": vector, "payload": payload}
                output.write(orjson.dumps(point, option=_OPTIONS))

    return file_per_part(export, "points", ".jsonl", write)


_CREATE = """
client.create_collection("{name}", vectors_config=models.VectorParams(size={size}, distance=models.Distance.{distance}))
"""

_DELETE = """
gone = Path("{deletes}").read_text().split()
for first in range(0, len(gone), 1000):
    client.delete("{name}", points_selector=gone[first : first + 1000])
"""

_UPSERT = """
import json
from itertools import islice
from pathlib import Path

from qdrant_client import QdrantClient, models

client = QdrantClient(url=URL)
{before}
for path in sorted(Path("points").glob("*.jsonl")):
    with path.open(encoding="utf-8") as lines:
        while some := list(islice(lines, 128)):
            client.upsert("{name}", points=[models.PointStruct(**json.loads(line)) for line in some], wait=False)
"""


def _load(export: Export) -> str:
    name = collection_name(export)
    # Vectors of length 1 stay what they are with Dot, and rank as with Cosine, which would scale them once more.
    distance = "DOT" if export.manifest.stamp.normalized else "COSINE"
    if export.since is None:
        before = _CREATE.format(name=name, size=export.dimensions, distance=distance)
    else:
        before = _DELETE.format(deletes=DELETES, name=name)
    script = _UPSERT.format(before=before.strip(), name=name)
    return guide_text(export, "Qdrant", "Run in this folder:", code("python", script))


FORMAT = ExportFormat("qdrant", _files, _load)
