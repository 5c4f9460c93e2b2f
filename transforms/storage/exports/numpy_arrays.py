"""NumPy: all vectors in one .npy file that can be memory-mapped, ids in another, the other columns as Parquet; row i is row i.

Source: numpy.org/doc/stable/reference/generated/numpy.lib.format.html, read 2026-11-22.
"""

import io

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from numpy.lib import format as npy

from transforms.core.tables import VECTOR_COLUMN
from transforms.storage.exports.layout import DELETES, Export, ExportFormat, OutputFile, RowSource, code, guide_text
from transforms.storage.exports.parquet_files import plain_schema, to_plain, write_parquet
from transforms.storage.store import Output

VECTORS, IDS, ROWS = "vectors.npy", "ids.npy", "rows.parquet"
_ID = np.dtype("S32")


def _files(export: Export) -> list[OutputFile]:
    def write_vectors(rows: RowSource, output: Output) -> None:
        kind = np.dtype(export.vector_type)
        _write_head(output, kind, (rows.rows, export.width))
        for batch in rows.batches([VECTOR_COLUMN]):
            _write_array(output, rows.vectors(batch.column(VECTOR_COLUMN)))

    return [OutputFile(VECTORS, export.parts, write_vectors), *id_files(export)]


def id_files(export: Export) -> list[OutputFile]:
    """Plan ``ids.npy`` and ``rows.parquet``: what the vector of each row number is."""
    columns = export.columns(VECTOR_COLUMN)
    schema = plain_schema(columns, pa.null(), export.stamp)

    def write_rows(rows: RowSource, output: Output) -> None:
        write_parquet(rows, output, columns, schema, lambda batch: to_plain(batch, schema))

    return [OutputFile(IDS, export.parts, _write_ids), OutputFile(ROWS, export.parts, write_rows)]


def _write_ids(rows: RowSource, output: Output) -> None:
    _write_head(output, _ID, (rows.rows,))
    for batch in rows.batches(["id"]):
        _write_array(output, batch.column("id").to_numpy(zero_copy_only=False).astype(_ID))


def _write_head(output: Output, kind: "np.dtype[np.generic]", shape: tuple[int, ...]) -> None:
    head = io.BytesIO()
    described = {"descr": npy.dtype_to_descr(kind), "fortran_order": False, "shape": shape}
    npy.write_array_header_1_0(head, described)
    output.write(head.getvalue())


def _write_array(output: Output, values: "npt.NDArray[np.generic]") -> None:
    output.write(np.ascontiguousarray(values).view(np.uint8).reshape(-1).data)


_USE = """
import numpy as np
import pyarrow.parquet as pq

vectors = np.load("{vectors}", mmap_mode="r")
ids = np.load("{ids}").astype(str)
rows = pq.read_table("{rows}")
"""


def _load(export: Export) -> str:
    script = code("python", _USE.format(vectors=VECTORS, ids=IDS, rows=ROWS))
    text = f"Row i of `{VECTORS}` is id i of `{IDS}` and row i of `{ROWS}`. In this folder:"
    changes = (
        [f"Drop the ids in {DELETES} from what you have, then put these rows in."] if export.since is not None else []
    )
    return guide_text(export, "NumPy", text, script, *changes)


FORMAT = ExportFormat("numpy", _files, _load, takes_bytes=True)
