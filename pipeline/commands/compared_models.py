"""What two models make of the same texts: how far their nearest neighbours agree, and where they differ most."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.commands.neighbours import nearest_to_first
from transforms.core.agreement import Neighbours, Share, overlaps, rank_biased_overlap, share_of
from transforms.core.manifest import Manifest
from transforms.core.tables import codes_of
from transforms.core.vector_coding import Floats
from transforms.storage.store import Store

NEIGHBOURS = 10
_DEPTH = 50
_QUERIES = 1000
_EXAMPLES = 4
_COLUMNS = ("id", "doc_id", "chunk", "text_hash", "token_count")


@dataclass(frozen=True, slots=True)
class Sampled:
    """A dataset's distinct texts with their vectors, in the order of their ids.

    Attributes:
        rows: of all chunks, repeated texts among them.
    """

    texts: pa.Table
    vectors: Floats
    rows: int

    @property
    def tokens(self) -> int:
        """What embedding these texts takes."""
        return int(self.texts.column("token_count").to_numpy().sum())


@dataclass(frozen=True, slots=True)
class Example:
    """A text whose neighbours differ, with the nearest text in either model."""

    overlap: float
    text: dict[str, Any]
    nearest: tuple[dict[str, Any], dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Agreement:
    """How far two models agree on a sample of texts.

    Attributes:
        texts: in the sample.
        k: how many neighbours are compared; fewer than NEIGHBOURS in a tiny sample.
        overlap: share of a text's ``k`` nearest texts that are the same in both.
        chance: what the overlap of two models that know nothing would be.
        rank_biased_overlap: mean over the queries, 0.9 persistence.
        same_nearest: share of the texts whose nearest text is the same.
        examples: texts with the least overlap.
    """

    texts: int
    k: int
    overlap: Share
    chance: float
    rank_biased_overlap: float
    same_nearest: float
    examples: tuple[Example, ...]


def read_sampled(store: Store, manifest: Manifest) -> Sampled:
    """Read a whole version: for samples, which are small."""
    coding, column = manifest.stamp.coding(), manifest.stamp.column
    parts = [store.open_parquet(part.path).read(columns=[*_COLUMNS, column]) for part in manifest.parts]
    table = pa.concat_tables([part.replace_schema_metadata(None) for part in parts])
    hashes = table.column("text_hash").to_numpy(zero_copy_only=False)
    _, first = np.unique(hashes, return_index=True)  # of equal texts the one with the smallest id: parts are sorted so
    ids = table.column("id").to_numpy(zero_copy_only=False)
    taken = table.take(pa.array(first[np.argsort(ids[first])]))
    return Sampled(taken.select(list(_COLUMNS)), coding.decode(codes_of(taken, column)), table.num_rows)


def compare_sampled(ours: Sampled, theirs: Sampled) -> Agreement:
    """Compare the neighbours of texts that both have; a text that one model refused is left out.

    Raises:
        ValueError: fewer than three texts are in both.
    """
    _, at_ours, at_theirs = np.intersect1d(
        ours.texts.column("id").to_numpy(zero_copy_only=False),
        theirs.texts.column("id").to_numpy(zero_copy_only=False),
        return_indices=True,
    )
    count = len(at_ours)
    if count < 3:
        raise ValueError(f"{count} texts are too few to have neighbours")
    k, depth = min(NEIGHBOURS, count - 2), min(_DEPTH, count - 2)
    ranked = [_ranked(one.vectors[at], depth) for one, at in ((ours, at_ours), (theirs, at_theirs))]
    shared = overlaps(ranked[0], ranked[1], k)
    pairs = zip(ranked[0].tolist(), ranked[1].tolist(), strict=True)
    return Agreement(
        texts=count,
        k=k,
        overlap=share_of(shared),
        chance=k / (count - 1),
        rank_biased_overlap=float(np.mean([rank_biased_overlap(one, other) for one, other in pairs])),
        same_nearest=float((ranked[0][:, 0] == ranked[1][:, 0]).mean()),
        examples=_examples(ours.texts.take(pa.array(at_ours)), shared, ranked[0], ranked[1]),
    )


def _ranked(vectors: Floats, depth: int) -> Neighbours:
    return nearest_to_first([vectors], vectors[:_QUERIES], depth)


def _examples(
    texts: pa.Table, shared: np.ndarray[Any, np.dtype[np.float64]], ours: Neighbours, theirs: Neighbours
) -> tuple[Example, ...]:
    """Return the texts with the least overlap whose nearest texts differ, at most one of a document."""
    found: dict[str, Example] = {}
    for row in np.argsort(shared, kind="stable"):
        if len(found) == _EXAMPLES:
            break
        text = _text(texts, row)
        if ours[row, 0] != theirs[row, 0]:
            nearest = (_text(texts, ours[row, 0]), _text(texts, theirs[row, 0]))
            found.setdefault(text["doc_id"], Example(float(shared[row]), text, nearest))
    return tuple(found.values())


def _text(texts: pa.Table, row: int) -> dict[str, Any]:
    found: dict[str, Any] = texts.select(["doc_id", "chunk"]).slice(int(row), 1).to_pylist()[0]
    return found
