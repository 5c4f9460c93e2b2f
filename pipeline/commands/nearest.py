"""Exact cosine search over a version's parts: every vector is compared, a few MB at a time.

Two passes make the order repeatable. Matrix products in float32 find the candidates quickly, but their last bits depend
on a row's place in the batch; so candidates within that uncertainty are scored again, row by row in float64, and equal
scores are ordered by id.
"""

import fnmatch
import heapq
import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from transforms.core.manifest import Manifest, PartEntry
from transforms.core.tables import codes_of
from transforms.core.vector_coding import Floats
from transforms.storage.store import Store

_ROWS_AT_ONCE = 4096
_PARTS_AT_ONCE = 4
"""Decoding a part takes a core, or on gs:// mostly waiting; each holds some 50 MB of 1,536 dimensions."""
_UNCERTAINTY = 2e-3
"""More than a rough score can be off by: float32 sums by 1e-5, a length that the stamp takes for 1 by 1e-3."""


@dataclass(frozen=True, slots=True)
class RowFilter:
    """Which rows take part in a search; an empty filter takes all.

    Attributes:
        source_glob: a pattern for source_uri or doc_id, ``*`` matching ``/`` as well; "" for any.
        metadata: pairs that the metadata must hold: a value equal to it as text, or a list with such a value in it.
    """

    source_glob: str = ""
    metadata: tuple[tuple[str, str], ...] = ()

    @property
    def columns(self) -> list[str]:
        """Columns that the filter looks at."""
        return (["source_uri", "doc_id"] if self.source_glob else []) + (["metadata"] if self.metadata else [])

    def matches(self, batch: pa.RecordBatch) -> npt.NDArray[np.bool_]:
        """Tell for each row whether it takes part."""
        kept = np.ones(batch.num_rows, bool)
        if self.source_glob:
            kept &= _test_distinct(batch, "source_uri", self._source_matches) | _test_distinct(
                batch, "doc_id", self._source_matches
            )
        if self.metadata:
            kept &= _test_distinct(batch, "metadata", self._metadata_matches)
        return kept

    def _source_matches(self, source: str) -> bool:
        return fnmatch.fnmatchcase(source, self.source_glob)

    def _metadata_matches(self, metadata: str) -> bool:
        values = json.loads(metadata or "{}")
        return all(key in values and wanted in _as_texts(values[key]) for key, wanted in self.metadata)


@dataclass(frozen=True, slots=True)
class Hit:
    """A row found, with its cosine to the query; better hits sort first."""

    score: float
    id: str
    row: dict[str, Any]


@dataclass(frozen=True, slots=True)
class _Candidate:
    score: float
    id: str
    part: str
    row_number: int

    @property
    def order(self) -> tuple[float, str]:
        return (-self.score, self.id)


def find_nearest(
    store: Store,
    manifest: Manifest,
    query: Floats,
    k: int,
    row_filter: RowFilter,
    columns: Sequence[str],
    rows_at_once: int = _ROWS_AT_ONCE,
) -> tuple[list[Hit], int]:
    """Return the ``k`` rows with the highest cosine to ``query``, best first, and how many rows took part.

    Args:
        query: one vector of the dataset's dimension, not zero.
        columns: columns to read of the rows found.
        rows_at_once: vectors in memory at a time; the answer does not depend on it.
    """
    wanted = query.astype(np.float64) / np.linalg.norm(query.astype(np.float64))

    def look_through(part: PartEntry) -> tuple[list[_Candidate], int]:
        return _best_of_part(store.open_parquet(part.path), part.path, manifest, wanted, k, row_filter, rows_at_once)

    with ThreadPoolExecutor(_PARTS_AT_ONCE, "search") as pool:
        found = list(pool.map(look_through, manifest.parts))
    best = heapq.nsmallest(k, chain.from_iterable(candidates for candidates, _ in found), key=lambda one: one.order)
    compared = sum(count for _, count in found)
    return [Hit(one.score, one.id, _read_row(store, one, columns)) for one in best], compared


def _best_of_part(
    file: pq.ParquetFile,
    path: str,
    manifest: Manifest,
    wanted: npt.NDArray[np.float64],
    k: int,
    row_filter: RowFilter,
    rows_at_once: int,
) -> tuple[list[_Candidate], int]:
    """Return a part's ``k`` best rows, and how many of its rows took part."""
    best: list[_Candidate] = []
    row_number = compared = 0
    # On Arrow's own threads an object of a bucket could still be let go of while the interpreter ends, which aborts it.
    for batch in file.iter_batches(
        rows_at_once, columns=["id", manifest.stamp.column, *row_filter.columns], use_threads=False
    ):
        kept = np.flatnonzero(row_filter.matches(batch))
        compared += len(kept)
        found = _best_of_batch(batch, manifest, kept, wanted, k)
        best += [_Candidate(score, id_, path, row_number + row) for score, id_, row in found]
        best = heapq.nsmallest(k, best, key=lambda one: one.order)
        row_number += batch.num_rows
    return best, compared


def _best_of_batch(
    batch: pa.RecordBatch, manifest: Manifest, kept: npt.NDArray[np.intp], wanted: npt.NDArray[np.float64], k: int
) -> list[tuple[float, str, int]]:
    """Return (score, id, row) of all rows of a batch that may be among its ``k`` best."""
    if len(kept) == 0:
        return []
    stored = codes_of(batch, manifest.stamp.column)
    if len(kept) < batch.num_rows:
        stored = stored[kept]
    vectors = manifest.stamp.coding().decode(stored)
    rough = _rough_scores(vectors, manifest.stamp.normalized, wanted)
    if len(rough) > k:
        threshold = np.partition(rough, len(rough) - k)[len(rough) - k]
        chosen = np.flatnonzero(rough >= threshold - _UNCERTAINTY)
    else:
        chosen = np.arange(len(rough))
    scores = _exact_scores(vectors[chosen], wanted)
    ids = batch.column("id").take(pa.array(kept[chosen])).to_pylist()
    return [(float(score), id_, int(row)) for score, id_, row in zip(scores, ids, kept[chosen], strict=True)]


def _rough_scores(vectors: Floats, normalized: bool, wanted: npt.NDArray[np.float64]) -> Floats:
    # Not ``@``: each part has a thread already, and BLAS would start some more in every one of them.
    scores: Floats = np.einsum("ij,j->i", vectors, wanted.astype(np.float32))
    if normalized:
        return scores
    lengths = np.sqrt(np.einsum("ij,ij->i", vectors, vectors))
    return np.asarray(scores / np.maximum(lengths, np.finfo(np.float32).tiny), np.float32)


def _exact_scores(vectors: Floats, wanted: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return cosines that depend on nothing but the two vectors, in [-1, 1]."""
    exact = vectors.astype(np.float64)
    lengths = np.sqrt((exact * exact).sum(axis=1))
    cosines: npt.NDArray[np.float64] = (exact * wanted).sum(axis=1) / np.maximum(lengths, np.finfo(np.float64).tiny)
    return np.clip(cosines, -1.0, 1.0)


def _read_row(store: Store, candidate: _Candidate, columns: Sequence[str]) -> dict[str, Any]:
    """Read one row's columns from the row group that holds it."""
    file = store.open_parquet(candidate.part)
    row_number = candidate.row_number
    for group in range(file.num_row_groups):
        rows = file.metadata.row_group(group).num_rows
        if row_number < rows:
            found: dict[str, Any] = (
                file.read_row_group(group, columns=list(columns), use_threads=False).slice(row_number, 1).to_pylist()[0]
            )
            return found
        row_number -= rows
    raise IndexError(f"{candidate.part} has no row {candidate.row_number}")


def _test_distinct(batch: pa.RecordBatch, column: str, test: Callable[[str], bool]) -> npt.NDArray[np.bool_]:
    """Apply a test to each distinct value of a string column once, and return the answer for each row."""
    encoded = pc.dictionary_encode(batch.column(column))
    answers = np.array([test(value) for value in encoded.dictionary.to_pylist()], bool)
    rows: npt.NDArray[np.bool_] = answers[encoded.indices.to_numpy(zero_copy_only=False)]
    return rows


def _as_texts(value: Any) -> list[str]:
    """Spell a metadata value as the command line does: true, 3, or a string without quotes; a list gives each of its values."""
    values = value if isinstance(value, list) else [value]
    return [one if isinstance(one, str) else json.dumps(one) for one in values]
