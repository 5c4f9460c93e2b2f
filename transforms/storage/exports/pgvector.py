"""PostgreSQL with pgvector: binary COPY files, and one SQL script for psql that loads and indexes them.

Binary COPY keeps every bit of a vector and is a third of the size of text. PostgreSQL's text and jsonb hold no NUL
character: each becomes U+FFFD.
Source: postgresql.org/docs/current/sql-copy.html (Binary Format); github.com/pgvector/pgvector README (Loading, Indexing) and
src/vector.c, src/halfvec.c (vector_recv, halfvec_recv: int16 dimensions, int16 unused, big-endian elements), read 2026-11-22.
"""

import struct
from typing import Any

import pyarrow as pa

from transforms.core.tables import VECTOR_COLUMN
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
from transforms.storage.store import Output

SCRIPT = "load.sql"
_SIGNATURE = b"PGCOPY\n\xff\r\n\x00" + struct.pack(">ii", 0, 0)
_END = struct.pack(">h", -1)
_INTEGERS = {
    "chunk_index": ("integer", ">ii", 4),
    "token_count": ("integer", ">ii", 4),
    "dimensions": ("integer", ">ii", 4),
}
_BIG_INTEGERS = {"start_char": ("bigint", ">iq", 8), "end_char": ("bigint", ">iq", 8)}
_NUMBERS = {**_INTEGERS, **_BIG_INTEGERS}
_INDEXED_DIMENSIONS = {"vector": 2000, "halfvec": 4000}


def _files(export: Export) -> list[OutputFile]:
    columns = export.columns()

    def write(rows: RowSource, output: Output) -> None:
        output.write(_SIGNATURE)
        head = struct.pack(">h", len(columns))
        for batch in rows.batches(columns):
            fields = [_encode(rows, name, batch.column(name)) for name in columns]
            output.write(b"".join(b"".join((head, *row)) for row in zip(*fields, strict=True)))
        output.write(_END)

    script = _script(export).encode()
    loader = OutputFile(SCRIPT, (), lambda _, output: _write_all(output, script))
    return [*file_per_part(export, "data", ".copy", write), loader]


def _write_all(output: Output, data: bytes) -> None:
    output.write(data)


def _encode(rows: RowSource, name: str, column: pa.Array) -> list[bytes]:
    """Return each value as a field of a tuple: its length in bytes, then the bytes."""
    if name == VECTOR_COLUMN:
        return _encode_vectors(rows, column)
    if name in _NUMBERS:
        _, layout, size = _NUMBERS[name]
        return [struct.pack(layout, size, value) for value in column.to_pylist()]
    texts: list[Any] = column.to_pylist()
    if name == "metadata":
        return [_field(b"\x01" + _jsonb(text).encode()) for text in texts]  # 1: the version of jsonb's binary form
    return [_field(text.replace("\x00", "\ufffd").encode()) for text in texts]


def _encode_vectors(rows: RowSource, column: pa.Array) -> list[bytes]:
    vectors = rows.vectors(column)
    swapped = vectors.astype(vectors.dtype.newbyteorder(">"))
    size = 4 + swapped.dtype.itemsize * rows.width
    head = struct.pack(">ihh", size, rows.width, 0)
    return [head + vector.tobytes() for vector in swapped]


def _field(data: bytes) -> bytes:
    return struct.pack(">i", len(data)) + data


def _jsonb(text: str) -> str:
    """Return a JSON text that jsonb takes; a backslash before ``u0000`` counts only where it is not itself escaped."""
    if "\\u0000" not in text:
        return text
    return "\\\\".join(piece.replace("\\u0000", "\\ufffd") for piece in text.split("\\\\"))


def _vector_type(export: Export) -> str:
    return "halfvec" if export.vector_type == "float16" else "vector"


def _column_type(export: Export, name: str) -> str:
    if name == VECTOR_COLUMN:
        return f"{_vector_type(export)}({export.dimensions})"
    return "jsonb" if name == "metadata" else _NUMBERS.get(name, ("text",))[0]


def _script(export: Export) -> str:
    steps = _create(export) if export.since is None else _update(export)
    return "\n".join(["\\set ON_ERROR_STOP on", "BEGIN;", *steps, "COMMIT;", *_index(export)]) + "\n"


def _copies(export: Export, table: str) -> list[str]:
    names = ", ".join(export.columns())
    return [f"\\copy {table} ({names}) FROM 'data/{part.stem}.copy' WITH (FORMAT binary)" for part in export.parts]


def _create(export: Export) -> list[str]:
    columns = [f"    {name} {_column_type(export, name)} NOT NULL" for name in export.columns()]
    table = ["CREATE TABLE chunks (", ",\n".join([*columns, "    PRIMARY KEY (id)"]), ");"]
    return ["CREATE EXTENSION IF NOT EXISTS vector;", *table, *_copies(export, "chunks")]


def _update(export: Export) -> list[str]:
    names = ", ".join(export.columns())
    changed = ", ".join(f"{name} = EXCLUDED.{name}" for name in export.columns("id"))
    return [
        "CREATE TEMP TABLE gone (id text PRIMARY KEY) ON COMMIT DROP;",
        f"\\copy gone FROM '{DELETES}'",
        "DELETE FROM chunks USING gone WHERE chunks.id = gone.id;",
        "CREATE TEMP TABLE fresh (LIKE chunks) ON COMMIT DROP;",
        *_copies(export, "fresh"),
        f"INSERT INTO chunks ({names}) SELECT {names} FROM fresh ON CONFLICT (id) DO UPDATE SET {changed};",
    ]


def _index(export: Export) -> list[str]:
    if export.since is not None:
        return ["ANALYZE chunks;"]
    kind, size = _vector_type(export), export.dimensions
    if size <= _INDEXED_DIMENSIONS[kind]:
        made = [f"CREATE INDEX ON chunks USING hnsw (vector {kind}_cosine_ops);"]
    elif size <= _INDEXED_DIMENSIONS["halfvec"]:
        made = [f"CREATE INDEX ON chunks USING hnsw ((vector::halfvec({size})) halfvec_cosine_ops);"]
    else:
        made = [
            f"-- no index: hnsw takes at most {_INDEXED_DIMENSIONS['halfvec']:,} dimensions, and these vectors have {size:,}"
        ]
    return [*made, "CREATE INDEX ON chunks (doc_id);", "ANALYZE chunks;"]


def _load(export: Export) -> str:
    command = code("sh", f'psql "$DATABASE_URL" --no-psqlrc -f {SCRIPT}')
    what = (
        "makes the table `chunks`, loads it in one transaction and indexes it"
        if export.since is None
        else "changes the table `chunks` in one transaction"
    )
    text = f"Run in this folder; the script {what} (pgvector 0.7 or later)."
    return guide_text(export, "PostgreSQL with pgvector", text, command)


FORMAT = ExportFormat("pgvector", _files, _load)
