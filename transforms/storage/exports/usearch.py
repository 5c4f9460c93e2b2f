"""USearch: one HNSW index for each part, keys counting on through them, and the ids of the keys.

An index for each part bounds memory to a part's vectors and lets a cut-off export go on; ``Indexes`` searches them as one. All
cores build it, so its bytes differ from one export to the next.
Source: github.com/unum-cloud/usearch, python/usearch/index.py (Index.save to a buffer, Indexes), read 2026-11-22.
"""

from functools import partial
from itertools import accumulate

import numpy as np

from transforms.core.tables import VECTOR_COLUMN
from transforms.storage.exports.layout import DELETES, Export, ExportFormat, OutputFile, RowSource, code, guide_text
from transforms.storage.exports.numpy_arrays import IDS, ROWS, id_files
from transforms.storage.store import Output

_TYPES = {"float32": "f32", "float16": "f16"}


def _files(export: Export) -> list[OutputFile]:
    firsts = accumulate((part.rows for part in export.parts), initial=0)
    files = [
        OutputFile(f"index/{part.stem}.usearch", (part,), partial(_write, _TYPES[export.vector_type], first))
        for part, first in zip(export.parts, firsts, strict=False)
    ]
    return [*files, *id_files(export)]


def _write(kind: str, first_key: int, rows: RowSource, output: Output) -> None:
    from usearch.index import Index

    index = Index(ndim=rows.width, metric="cos", dtype=kind)
    key = first_key
    for batch in rows.batches([VECTOR_COLUMN]):
        index.add(np.arange(key, key + batch.num_rows, dtype=np.uint64), rows.vectors(batch.column(VECTOR_COLUMN)))
        key += batch.num_rows
    output.write(index.save())


_USE = """
from glob import glob

import numpy as np
import pyarrow.parquet as pq
from usearch.index import Indexes

index = Indexes(paths=sorted(glob("index/*.usearch")), view=True)
ids = np.load("{ids}").astype(str).tolist()
rows = pq.read_table("{rows}")
found = index.search(np.asarray(query, "float32"), 5)
print([(ids[key], 1 - float(distance)) for key, distance in zip(found.keys, found.distances)])
"""


def _load(export: Export) -> str:
    text = f"`query` is a vector of the same model. A key is a row number of `{IDS}` and of `{ROWS}`."
    script = code("python", _USE.format(ids=IDS, rows=ROWS))
    changes = [f"Remove the ids in {DELETES} from your index, then add these."] if export.since is not None else []
    return guide_text(export, "USearch", text, script, *changes)


FORMAT = ExportFormat("usearch", _files, _load, needs="usearch")
