"""One answer as bytes in a journal: hashes and vectors in a frame that proves itself; the secret kept is the layout.

A frame is ``magic | payload length (u64) | crc32 of the payload (u32) | payload``. The payload is ``texts (u32) |
dimension (u32) | prompt_tokens (u64) | length of the model's name (u16) | name | text hashes (texts x 32 bytes) |
vectors (texts x dimension float32)``, little-endian. Hashes lie before vectors, so that reading hashes makes no array
of vectors.

Frames that are put whole, as objects of a bucket are, have an index before the first one: ``magic | length (u64) | crc32
of the hashes (u32) | the hashes of all frames``. It is about a hundredth of them.
"""

import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from transforms.core.identity import HASH_BYTES

MAGIC = b"EBJ1"
INDEX_MAGIC = b"EBI1"
_HEAD = struct.Struct("<4sQI")
_COUNTS = struct.Struct("<IIQH")


@dataclass(frozen=True, slots=True)
class Frame:
    """One answer, or one bucket's share of it.

    Attributes:
        hashes: one after the other, 32 bytes each.
        vectors: float32 little-endian, as many as there are hashes.
    """

    dimension: int
    prompt_tokens: int
    model_reported: str
    hashes: memoryview
    vectors: memoryview

    @property
    def texts(self) -> int:
        """How many texts there are."""
        return len(self.hashes) // HASH_BYTES

    def hash_list(self) -> list[bytes]:
        """Return the hashes one by one."""
        return _split_hashes(bytes(self.hashes))

    def vector_array(self) -> npt.NDArray[np.float32]:
        """Return the vectors as ``texts x dimension``, without a copy."""
        return np.frombuffer(self.vectors, "<f4").reshape(self.texts, self.dimension)


def pack_frame(
    hashes: Sequence[bytes], vectors: npt.NDArray[np.float32], prompt_tokens: int, model_reported: str
) -> bytes:
    """Return one frame.

    Raises:
        ValueError: a hash is not 32 bytes long, or there is not one vector for each hash.
    """
    joined = b"".join(hashes)
    if vectors.ndim != 2 or len(vectors) != len(hashes) or any(len(one) != HASH_BYTES for one in hashes):
        raise ValueError(
            f"a frame needs one vector for each hash of {HASH_BYTES} bytes, got {len(hashes)} hashes in {len(joined)} "
            f"bytes and vectors of shape {vectors.shape}"
        )
    name = model_reported.encode()[:65_535]
    counts = _COUNTS.pack(len(hashes), vectors.shape[1], prompt_tokens, len(name))
    payload = b"".join((counts, name, joined, np.ascontiguousarray(vectors, "<f4").data))
    return _HEAD.pack(MAGIC, len(payload), zlib.crc32(payload)) + payload


def pack_index(frames: Sequence[bytes]) -> bytes:
    """Return the index of packed frames, to be put before them."""
    hashes = b"".join(bytes(_parse(memoryview(frame)[_HEAD.size :]).hashes) for frame in frames)
    return _HEAD.pack(INDEX_MAGIC, len(hashes), zlib.crc32(hashes)) + hashes


def index_bytes(head: bytes) -> int:
    """Return how many of the first bytes are an index, going by the first 16 of them; 0 where frames have none."""
    if len(head) < _HEAD.size:
        return 0
    magic, length, _ = _HEAD.unpack_from(head)
    return _HEAD.size + int(length) if magic == INDEX_MAGIC else 0


def read_index(head: bytes) -> list[bytes] | None:
    """Return the hashes of all frames from the index before them; None where there is none, whole and undamaged."""
    size = index_bytes(head)
    hashes = head[_HEAD.size : size]
    if not size or len(hashes) != size - _HEAD.size or zlib.crc32(hashes) != _HEAD.unpack_from(head)[2]:
        return None
    return _split_hashes(hashes)


def read_frames(data: bytes) -> Iterator[Frame]:
    """Yield the frames up to the first one that is torn, empty or damaged; what follows it is not to be trusted.

    A killed writer leaves half a frame, power loss one full of zeros, and neither was ever reported as written.
    """
    view = memoryview(data)
    at = index_bytes(data[: _HEAD.size])
    while at + _HEAD.size <= len(view):
        magic, length, checksum = _HEAD.unpack_from(view, at)
        start = at + _HEAD.size
        payload = view[start : start + length]
        # A length of zero is what power loss makes of a frame of which only the first bytes were kept; the checksum of
        # nothing is zero, too.
        if magic != MAGIC or length < _COUNTS.size or len(payload) != length or zlib.crc32(payload) != checksum:
            return
        yield _parse(payload)
        at = start + length


def _parse(payload: memoryview) -> Frame:
    texts, dimension, prompt_tokens, name_bytes = _COUNTS.unpack_from(payload)
    start = _COUNTS.size + name_bytes
    end = start + texts * HASH_BYTES
    name = bytes(payload[_COUNTS.size : start]).decode(errors="replace")
    return Frame(dimension, prompt_tokens, name, payload[start:end], payload[end:])


def _split_hashes(hashes: bytes) -> list[bytes]:
    return [hashes[at : at + HASH_BYTES] for at in range(0, len(hashes), HASH_BYTES)]
