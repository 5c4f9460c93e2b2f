"""Which documents are new, changed or gone: packed tallies that buckets make alone and that add up over buckets.

A document's chunks lie in many buckets, so each bucket tallies what it sees of each document (here now, here before, ids
differ) and the tallies are combined with "or". Documents are told apart by 64 bits of a hash: among 10⁸ documents two share
them with a chance of 1 in 4,000, and the price is a count that is off by one.
"""

import hashlib
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

HERE_NOW, HERE_BEFORE, DIFFERS = 1, 2, 4
SHARDS = 16
"""Tallies are combined in this many groups, by the document's hash."""

Tally = npt.NDArray[np.void]
_TALLY = np.dtype([("document", "<u8"), ("flags", "u1")])


def tally_bucket(
    ids: Sequence[str], doc_ids: Sequence[str], ids_before: Sequence[str], doc_ids_before: Sequence[str]
) -> list[tuple[int, bytes]]:
    """Tally one bucket's rows against those of the previous version: packed tallies by shard."""
    now, before = frozenset(ids), frozenset(ids_before)
    flags: dict[str, int] = {}
    for chunk_id, doc_id in zip(ids, doc_ids, strict=True):
        flags[doc_id] = flags.get(doc_id, 0) | (HERE_NOW if chunk_id in before else HERE_NOW | DIFFERS)
    for chunk_id, doc_id in zip(ids_before, doc_ids_before, strict=True):
        flags[doc_id] = flags.get(doc_id, 0) | (HERE_BEFORE if chunk_id in now else HERE_BEFORE | DIFFERS)
    tally = np.empty(len(flags), _TALLY)
    tally["document"] = [_document_number(doc_id) for doc_id in flags]
    tally["flags"] = list(flags.values())
    shards = tally["document"] % SHARDS
    return [(int(shard), tally[shards == shard].tobytes()) for shard in np.unique(shards)]


def _document_number(doc_id: str) -> int:
    return int.from_bytes(hashlib.blake2b(doc_id.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")


def count_changes(tallies: Iterable[bytes]) -> tuple[int, int, int, int]:
    """Return how many documents of one shard are here, new, changed and gone, from the packed tallies of all buckets."""
    parts = [np.frombuffer(packed, _TALLY) for packed in tallies]
    tally = np.concatenate(parts) if parts else np.empty(0, _TALLY)
    documents, at = np.unique(tally["document"], return_inverse=True)
    flags = np.zeros(len(documents), np.uint8)
    np.bitwise_or.at(flags, at, tally["flags"])
    present = flags & (HERE_NOW | HERE_BEFORE)
    new, gone = int((present == HERE_NOW).sum()), int((present == HERE_BEFORE).sum())
    changed = int(((present == HERE_NOW | HERE_BEFORE) & (flags & DIFFERS > 0)).sum())
    return int((present & HERE_NOW > 0).sum()), new, changed, gone
