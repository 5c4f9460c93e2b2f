"""Text hash to bucket: which bucket a chunk belongs to, how many there are, how a bucket's part is named.

A bucket is named by the top bits of the text hash, so equal texts always meet, and a bucket of an older version with fewer
bits is the parent of several of today's.
"""

import re

MAX_BITS = 20
"""At most 2**20 buckets: with 128 MB parts that is 134 TB of vectors."""

_PART_NAME = re.compile(r"part-(\d{5,7})-of-(\d{5,7})\.parquet")


def bucket_of(text_hash: bytes, bits: int) -> int:
    """Return the top ``bits`` bits of a 32-byte hash, read big-endian; 0 for 0 bits."""
    return int.from_bytes(text_hash[:4], "big") >> (32 - bits)


def overlapping(bits: int, bucket: int, other_bits: int) -> range:
    """Return the buckets of ``other_bits`` bits that share hashes with this one: its parent, itself or its children."""
    if other_bits <= bits:
        parent = bucket >> (bits - other_bits)
        return range(parent, parent + 1)
    first = bucket << (other_bits - bits)
    return range(first, first + (1 << (other_bits - bits)))


def part_name(bucket: int, bits: int) -> str:
    """Return the file name of a bucket's part, as in ``part-00003-of-00016.parquet``."""
    return f"part-{bucket:05d}-of-{1 << bits:05d}.parquet"


def parse_part_name(name: str) -> tuple[int, int]:
    """Return (bucket, bits) of a part's file name.

    Raises:
        ValueError: the name is not a part's, or its count is no power of two.
    """
    match = _PART_NAME.fullmatch(name)
    count = int(match.group(2)) if match else 0
    if match is None or count < 1 or count & (count - 1) or int(match.group(1)) >= count:
        raise ValueError(f"{name!r} is not the name of a part; expected part-00003-of-00016.parquet or the like")
    return int(match.group(1)), count.bit_length() - 1


def choose_bits(estimated_rows: int, dimension: int, part_size_mb: int, previous_bits: int | None) -> int:
    """Choose how many buckets there are: enough that a part holds about ``part_size_mb`` of vectors.

    The result depends on the corpus and the previous version alone, so every engine writes the same parts. A version keeps
    the previous count until the corpus has outgrown it, or has shrunk to an eighth: then parts need not be rewritten
    because the corpus hovers around a power of two.
    """
    wanted = (estimated_rows * dimension * 4 - 1) // (part_size_mb * 1_000_000) if estimated_rows else 0
    bits = min(max(wanted, 0).bit_length(), MAX_BITS)
    if previous_bits is not None and bits <= previous_bits < bits + 3:
        return previous_bits
    return bits
