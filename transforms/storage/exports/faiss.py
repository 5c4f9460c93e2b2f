"""FAISS: an IndexFlatIP file, exact and memory-mappable, and the ids of its row numbers.

The file is written without the library, vector by vector, so that no more than a few megabytes are in memory: a head, then the
vectors' bytes. Other indexes (IVF, HNSW) are made from it with ``reconstruct_n``. The inner product is the cosine where vectors
have length 1.
Source: github.com/facebookresearch/faiss, faiss/impl/index_write.cpp (write_index_header, IndexFlat), read 2026-11-22; the
tests read the file with the library.
"""

import struct

import numpy as np

from transforms.core.tables import VECTOR_COLUMN
from transforms.storage.exports.layout import DELETES, Export, ExportFormat, OutputFile, RowSource, code, guide_text
from transforms.storage.exports.numpy_arrays import IDS, ROWS, id_files
from transforms.storage.store import Output

INDEX = "index.faiss"
_INNER_PRODUCT = 0
_UNUSED = 1 << 20


def _files(export: Export) -> list[OutputFile]:
    def write(rows: RowSource, output: Output) -> None:
        output.write(_head(export.width, rows.rows))
        for batch in rows.batches([VECTOR_COLUMN]):
            vectors = rows.vectors(batch.column(VECTOR_COLUMN))
            output.write(np.ascontiguousarray(vectors, "<f4").view(np.uint8).reshape(-1).data)

    return [OutputFile(INDEX, export.parts, write), *id_files(export)]


def _head(dimensions: int, rows: int) -> bytes:
    """Return what precedes the vectors: kind, d, ntotal, two unused numbers, is_trained, metric, how many floats follow."""
    trained = True
    return b"IxFI" + struct.pack(
        "<iqqq?iQ", dimensions, rows, _UNUSED, _UNUSED, trained, _INNER_PRODUCT, rows * dimensions
    )


_USE = """
import faiss
import numpy as np
import pyarrow.parquet as pq

index = faiss.read_index("{index}", faiss.IO_FLAG_MMAP)
ids = np.load("{ids}").astype(str).tolist()
rows = pq.read_table("{rows}")
scores, numbers = index.search(np.asarray(query, "float32").reshape(1, -1), 5)
print([(ids[number], float(score)) for number, score in zip(numbers[0], scores[0]) if number >= 0])
"""


def _load(export: Export) -> str:
    text = f"`query` is a vector of the same model. A row number of the index is a row of `{IDS}` and of `{ROWS}`."
    if not export.manifest.stamp.normalized:
        text += " These vectors have any length: scores are inner products, not cosines."
    script = code("python", _USE.format(index=INDEX, ids=IDS, rows=ROWS))
    changes = [f"Drop the ids in {DELETES} from your index, then add these."] if export.since is not None else []
    return guide_text(export, "FAISS", text, script, *changes)


FORMAT = ExportFormat("faiss", _files, _load)
