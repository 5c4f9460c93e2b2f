"""Vectors to places on a plane: the two directions in which they differ most (principal components).

The same vectors give the same places, up to rounding, on every machine: nothing is drawn by chance.
"""

from collections import Counter
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

_SPACE = 8
_ROUNDS = 12
"""Of subspace iteration: with eight directions kept, the first two are still long before that."""
_KINDS = 7
OTHER = "other"

Floats = npt.NDArray[np.float32]


def project(vectors: Floats) -> tuple[Floats, float]:
    """Place vectors on a plane.

    Args:
        vectors: ``rows x dimension``; lengths do not matter.

    Returns:
        ``rows x 2`` in [0, 1], both axes to the same scale and centred; and which share of the variance they show.
    """
    rows = len(vectors)
    centred = unit_length(vectors)
    centred = centred - centred.mean(axis=0) if rows else centred
    variance = float(np.square(centred).sum())
    if rows < 3 or variance <= 1e-6 * rows:
        return np.full((rows, 2), 0.5, np.float32), 1.0
    directions = _main_directions(centred)
    places = centred @ directions
    shown = float(np.square(places).sum()) / variance
    lowest, highest = places.min(axis=0), places.max(axis=0)
    scale = max(float((highest - lowest).max()), 1e-9)
    return (0.5 + (places - (lowest + highest) / 2) / scale).astype(np.float32), min(1.0, shown)


def _main_directions(centred: Floats) -> Floats:
    """Return the two main directions as columns, each turned so that its largest number is positive."""
    start = centred[np.linspace(0, len(centred) - 1, min(_SPACE, len(centred))).astype(int)]
    basis = np.linalg.qr(start.T + 1e-6 * np.eye(centred.shape[1], len(start), dtype=np.float32))[0]
    for _ in range(_ROUNDS):
        basis = np.linalg.qr(centred.T @ (centred @ basis))[0]
    _, _, turned = np.linalg.svd(centred @ basis, full_matrices=False)
    found: Floats = np.zeros((centred.shape[1], 2), np.float32)
    main = (basis @ turned.T)[:, :2]
    found[:, : main.shape[1]] = main
    largest = found[np.abs(found).argmax(axis=0), [0, 1]]
    return found * np.where(largest < 0, -1, 1).astype(np.float32)


def unit_length(vectors: Floats) -> Floats:
    """Return vectors of length 1; one of length 0 stays as it is."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit: Floats = vectors / np.maximum(lengths, 1e-12)
    return unit


def name_sources(doc_ids: Sequence[str]) -> list[str]:
    """Return a source for each document: its folders, as deep as there are at least two; the rare ones are one.

    Files of one folder are sources themselves when they are few, and one source when they are many.
    """
    for depth in range(1, 6):
        names = ["/".join(doc_id.partition("#")[0].split("/")[:depth]) for doc_id in doc_ids]
        if len(set(names)) > 1:
            break
    common = [name for name, _ in sorted(Counter(names).items(), key=lambda one: (-one[1], one[0]))]
    if len(common) <= _KINDS + 1:
        return names
    kept = set(common[:_KINDS])
    return [name if name in kept else OTHER for name in names]
