"""Vectors as they were paid for to smaller ones, and stored numbers back to vectors.

The secret kept is what int8 and binary codes mean: int8 is the number divided by its dimension's scale and rounded, so
``code * scale`` gives it back; binary is one bit a dimension, 1 for a number above 0, eight to a byte, the first
dimension in a byte's highest bit (``numpy.packbits``; FAISS, Qdrant and sentence-transformers call it ubinary).

Source: symmetric scalar quantisation with calibrated scales; sentence-transformers ``quantize_embeddings`` for binary.
"""

import base64
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

FLOATS = ("float32", "float16")
INT8, BINARY = "int8", "binary"
TYPES = (*FLOATS, INT8, BINARY)
_LARGEST_CODE = 127

Floats = npt.NDArray[np.float32]
Codes = npt.NDArray[Any]
"""What is stored: float32, float16 or int8 of one number a dimension, or uint8 of eight dimensions each."""


@dataclass(frozen=True, slots=True)
class VectorCoding:
    """How vectors are stored.

    Attributes:
        dimensions: of a vector, once it is decoded.
        vector_type: float32, float16, int8 or binary.
        scales: of int8, what one step is worth in each dimension: float32 little-endian in base64; "" otherwise.
    """

    dimensions: int
    vector_type: str = "float32"
    scales: str = ""

    def __post_init__(self) -> None:
        if self.vector_type not in TYPES:
            raise ValueError(f"vector_type must be one of {', '.join(TYPES)}, got {self.vector_type!r}")
        if self.dimensions < 1:
            raise ValueError(f"dimensions must be 1 or more, got {self.dimensions}")
        if self.vector_type == BINARY and self.dimensions % 8:
            raise ValueError(f"binary packs eight dimensions into a byte; {self.dimensions} is no multiple of 8")

    @property
    def width(self) -> int:
        """How many stored numbers make one vector."""
        return self.dimensions // 8 if self.vector_type == BINARY else self.dimensions

    def scale_array(self) -> Floats:
        """Return the scales of int8, one a dimension."""
        return np.frombuffer(base64.b64decode(self.scales), "<f4")

    def encode(self, vectors: Floats) -> Codes:
        """Return vectors as they are stored (``rows x width``); numbers beyond the calibrated range get its end."""
        if self.vector_type == BINARY:
            return np.packbits(vectors > 0, axis=1)
        if self.vector_type == INT8:
            steps = np.rint(vectors / self.scale_array())
            return np.asarray(np.clip(steps, -_LARGEST_CODE, _LARGEST_CODE), np.int8)
        return vectors.astype(np.float16 if self.vector_type == "float16" else np.float32, copy=False)

    def decode(self, codes: Codes) -> Floats:
        """Return the vectors that stored numbers stand for: float32, ``rows x dimensions``; binary gives -1 and 1."""
        if self.vector_type == BINARY:
            bits = np.unpackbits(codes, axis=1).astype(np.float32)
            return np.asarray(bits * 2 - 1, np.float32)
        if self.vector_type == INT8:
            return np.asarray(codes.astype(np.float32) * self.scale_array(), np.float32)
        return codes.astype(np.float32, copy=False)

    def count_clipped(self, vectors: Floats) -> int:
        """Count numbers beyond the range that int8 was calibrated for, by half a step or more."""
        if self.vector_type != INT8:
            return 0
        return int((np.abs(vectors) > (_LARGEST_CODE + 0.5) * self.scale_array()).sum())


def shorten(vectors: Floats, dimensions: int) -> tuple[Floats, int]:
    """Keep the first ``dimensions`` numbers of each vector and bring what is left to length 1.

    Returns:
        The vectors, and how many of them have nothing left to bring to any length: those stay zero.
    """
    kept = vectors[:, :dimensions].astype(np.float64)
    lengths = np.sqrt((kept * kept).sum(axis=1, keepdims=True))
    empty = lengths == 0
    return (kept / np.where(empty, 1.0, lengths)).astype(np.float32), int(empty.sum())


def scales_of(largest: Floats) -> str:
    """Return the scales of int8 for the largest absolute number of each dimension; nothing measured is clipped."""
    scales = np.where(largest > 0, largest / _LARGEST_CODE, 1.0).astype("<f4")
    return base64.b64encode(scales.tobytes()).decode()
