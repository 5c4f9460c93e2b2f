"""What a dataset looks like, from what its buckets look like: small numbers that add up, for the report.

Each bucket's portrait holds at most about ``BINS + 2 * LISTED`` small values, whatever the bucket's size.
"""

import heapq
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from transforms.records import Portrait

BINS = 32
"""Bars of the token histogram; the last one also counts what is longer than the chunker's limit."""
LISTED = 12

Numbers = npt.NDArray[np.integer[Any]]


def portray_bucket(
    token_counts: Numbers,
    chunk_indices: Numbers,
    end_chars: Numbers,
    first_rows: Numbers,
    documents: Numbers,
    doc_ids: Sequence[str],
    max_tokens: int,
) -> Portrait:
    """Describe the rows of one bucket.

    A document's chunks are spread over buckets, but its last one lies in one of them and tells how many there are. A
    document with fewer than ``LISTED`` longer ones in the dataset has fewer than that in any bucket, so lists of that
    length, bucket by bucket, hold the longest documents of the dataset exactly.

    Args:
        first_rows: at which row each distinct text begins; equal texts lie side by side.
        documents: which of ``doc_ids`` a row belongs to.
        max_tokens: of a chunk.
    """
    rows = len(token_counts)
    if rows == 0:
        return Portrait()
    width = bin_width(max_tokens)
    bins = np.bincount(np.minimum(np.maximum(token_counts - 1, 0) // width, BINS - 1), minlength=BINS)
    copies = np.diff(np.append(first_rows, rows))
    repeated = [int(at) for at in np.argsort(-copies, kind="stable")[:LISTED] if copies[at] > 1]
    return Portrait(
        token_histogram=tuple(int(count) for count in bins),
        longest_documents=_longest(chunk_indices, end_chars, documents, doc_ids),
        repeated_texts=tuple((int(copies[at]), doc_ids[int(documents[first_rows[at]])]) for at in repeated),
    )


def _longest(
    chunk_indices: Numbers, end_chars: Numbers, documents: Numbers, doc_ids: Sequence[str]
) -> tuple[tuple[int, int, str], ...]:
    latest_first = np.argsort(-chunk_indices, kind="stable")
    last_chunks = latest_first[np.sort(np.unique(documents[latest_first], return_index=True)[1])]
    enough = chunk_indices[last_chunks] >= chunk_indices[last_chunks[:LISTED][-1]]
    found = [(int(chunk_indices[row]) + 1, int(end_chars[row]), doc_ids[documents[row]]) for row in last_chunks[enough]]
    return tuple(heapq.nsmallest(LISTED, found, key=_longest_first))


def _longest_first(document: tuple[int, int, str]) -> tuple[int, int, str]:
    chunks, characters, doc_id = document
    return -chunks, -characters, doc_id


def bin_width(max_tokens: int) -> int:
    """Return how many token counts share a bar: bar 0 holds 1 to this many tokens."""
    return max(1, -(-max_tokens // BINS))


def merge_portraits(portraits: Iterable[Portrait]) -> Portrait:
    """Describe the dataset from its buckets, in whatever order they come."""
    histogram = [0] * BINS
    documents: dict[str, tuple[int, int, str]] = {}
    repeated: list[tuple[int, str]] = []
    for one in portraits:
        histogram = [a + b for a, b in zip(histogram, one.token_histogram or (0,) * BINS, strict=True)]
        for document in one.longest_documents:
            documents[document[2]] = max(document, documents.get(document[2], document))
        repeated += one.repeated_texts
    return Portrait(
        tuple(histogram),
        tuple(heapq.nsmallest(LISTED, documents.values(), key=_longest_first)),
        tuple(heapq.nsmallest(LISTED, repeated, key=lambda one: (-one[0], one[1]))),
    )


def count_reasons(reasons: Sequence[tuple[str, str, str]], examples: int) -> list[tuple[str, str, int, list[str]]]:
    """Group (stage, reason, doc_id) to (stage, reason, how many, some doc_ids), the most frequent first."""
    counts = Counter((stage, reason) for stage, reason, _ in reasons)
    found: dict[tuple[str, str], list[str]] = {key: [] for key in counts}
    for stage, reason, doc_id in sorted(reasons):
        names = found[stage, reason]
        if len(names) < examples and doc_id not in names:
            names.append(doc_id)
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return [(stage, reason, count, found[stage, reason]) for (stage, reason), count in ordered]
