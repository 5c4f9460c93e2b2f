"""Exact nearest neighbours of many queries at once, over vectors that come batch by batch."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from transforms.core.agreement import Neighbours
from transforms.core.manifest import PartEntry, Stamp
from transforms.core.tables import codes_of
from transforms.core.vector_coding import Floats
from transforms.storage.store import Store

_ROWS_AT_ONCE = 8192

Batches = Iterable[Floats]


@dataclass(frozen=True, slots=True)
class DistinctTexts:
    """The vectors of a version, one for each distinct text, in the order of the texts' hashes.

    Rows of equal text have equal vectors: counted as neighbours, they would say something about the corpus and nothing
    about the vectors.
    """

    store: Store
    parts: Sequence[PartEntry]
    stamp: Stamp

    def batches(self) -> Iterator[Floats]:
        """Yield the vectors as float32, ``rows x dimensions``, a few MB at a time."""
        coding, last = self.stamp.coding(), ""
        columns = [self.stamp.column, "text_hash"]
        for part in self.parts:
            for batch in self.store.open_parquet(part.path).iter_batches(_ROWS_AT_ONCE, columns=columns):
                hashes = batch.column("text_hash").to_numpy(zero_copy_only=False)
                is_first = hashes != np.concatenate([[last], hashes[:-1]])
                last = hashes[-1]
                kept = batch if is_first.all() else batch.filter(pa.array(is_first))
                yield coding.decode(codes_of(kept, self.stamp.column))

    def first(self, count: int) -> Floats:
        """Return the vectors of the texts with the smallest hashes: a sample that nobody chose and that stays the same."""
        found: list[Floats] = []
        for batch in self.batches():
            found.append(batch[: count - sum(map(len, found))])
            if sum(map(len, found)) >= count:
                break
        return np.concatenate(found) if found else np.empty((0, self.stamp.dimensions), np.float32)


def nearest_to_first(batches: Batches, queries: Floats, k: int) -> Neighbours:
    """Return for each query the ``k`` rows with the highest cosine to it, nearest first, itself left out.

    Args:
        queries: for row ``i`` of the vectors, for the first rows in order; their length need not be 1.
        k: fewer than there are rows.
    """
    count = len(queries)
    directions = queries.T / np.maximum(np.linalg.norm(queries, axis=1), np.finfo(np.float32).tiny)
    scores = np.full((count, k + 1), -np.inf, np.float32)
    rows = np.full((count, k + 1), -1, np.int64)
    start = 0
    for vectors in batches:
        lengths = np.sqrt(np.einsum("ij,ij->i", vectors, vectors))
        found = (vectors @ directions / np.maximum(lengths, np.finfo(np.float32).tiny)[:, None]).T
        own = np.arange(start, min(start + len(vectors), count))
        found[own, own - start] = -np.inf
        scores, rows = _best_of_both(scores, rows, np.ascontiguousarray(found), start)
        start += len(vectors)
    return rows[:, :k]


def _best_of_both(
    scores: Floats, rows: Neighbours, found: Floats, start: int
) -> tuple[npt.NDArray[np.float32], Neighbours]:
    """Merge the best so far with a batch's scores; of equal scores the earlier row comes first."""
    wanted = scores.shape[1]
    if found.shape[1] > wanted:
        at = np.argpartition(-found, wanted - 1, axis=1)[:, :wanted]
    else:
        at = np.tile(np.arange(found.shape[1]), (len(found), 1))
    both = np.concatenate([scores, np.take_along_axis(found, at, axis=1)], axis=1)
    numbers = np.concatenate([rows, at + start], axis=1)
    order = np.lexsort((numbers, -both), axis=1)[:, :wanted]
    return np.take_along_axis(both, order, axis=1), np.take_along_axis(numbers, order, axis=1)
