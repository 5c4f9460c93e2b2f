import dataclasses
from collections import Counter

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from transforms.core.portrait import BINS, LISTED, bin_width, count_reasons, merge_portraits, portray_bucket
from transforms.records import Portrait

Row = tuple[int, str, int, int, int]
"""text, doc_id, chunk_index, end_char, tokens; of one bucket the texts are in order."""


def portray(rows: list[Row], max_tokens: int = 64) -> Portrait:
    rows = sorted(rows)
    doc_ids = sorted({row[1] for row in rows})
    texts = [row[0] for row in rows]
    first = np.array([at for at, text in enumerate(texts) if at == 0 or text != texts[at - 1]], np.int64)
    column = [np.array([row[at] for row in rows], np.int64) for at in (4, 2, 3)]
    documents = np.array([doc_ids.index(row[1]) for row in rows], np.int64)
    return portray_bucket(*column, first, documents, doc_ids, max_tokens)


def rows_of(chunks: dict[str, int], texts: list[int]) -> list[Row]:
    """Documents of so many chunks; each chunk has the next of the given texts, and a token for each unit of it."""
    rows: list[Row] = []
    for doc_id, count in chunks.items():
        for index in range(count):
            text = texts[len(rows) % len(texts)]
            rows.append((text, doc_id, index, 10 * (index + 1), 1 + text % 64))
    return rows


@settings(max_examples=60, deadline=None)
@given(
    st.dictionaries(st.text("abcdef", min_size=1, max_size=4), st.integers(1, 30), min_size=1, max_size=30),
    st.lists(st.integers(0, 500), min_size=1, max_size=50),
    st.integers(1, 8),
)
def test_merged_buckets_know_the_longest_documents_and_commonest_texts_of_all(
    chunks: dict[str, int], texts: list[int], buckets: int
) -> None:
    rows = rows_of(chunks, texts)
    merged = merge_portraits(portray([row for row in rows if row[0] % buckets == one]) for one in range(buckets))
    assert merged.longest_documents == tuple(
        (count, 10 * count, doc_id) for count, doc_id in sorted(((n, d) for d, n in chunks.items()), key=order)[:LISTED]
    )
    copies = Counter(row[0] for row in rows)
    assert [count for count, _ in merged.repeated_texts] == sorted((n for n in copies.values() if n > 1), reverse=True)[
        :LISTED
    ]
    assert sum(merged.token_histogram) == len(rows)


def order(pair: tuple[int, str]) -> tuple[int, str]:
    return -pair[0], pair[1]


def test_portrait_of_the_dataset_does_not_depend_on_the_order_of_buckets() -> None:
    parts = [portray(rows_of({f"d{n}": n + 1, "shared": 3}, [n, n + 1])) for n in range(5)]
    assert merge_portraits(parts) == merge_portraits(reversed(parts))


def test_bars_are_as_wide_as_the_chunker_allows_and_the_last_one_takes_the_rest() -> None:
    width = bin_width(100)
    assert (width, bin_width(1), bin_width(512), bin_width(513)) == (4, 1, 16, 17)
    rows: list[Row] = [(n, "d", n, n, tokens) for n, tokens in enumerate([1, width, width + 1, 100, 5000])]
    histogram = portray(rows, 100).token_histogram
    assert len(histogram) == BINS
    assert {at: count for at, count in enumerate(histogram) if count} == {0: 2, 1: 1, 24: 1, 31: 1}


def test_bucket_without_rows_has_an_empty_portrait() -> None:
    assert portray([]) == Portrait()
    assert merge_portraits([Portrait(), Portrait()]) == Portrait((0,) * BINS)


def test_text_that_occurs_once_is_not_repeated() -> None:
    rows: list[Row] = [(1, "a", 0, 5, 3), (1, "b", 0, 5, 3), (2, "c", 0, 5, 3)]
    assert portray(rows).repeated_texts == ((2, "a"),)


def test_portrait_of_a_large_bucket_stays_small() -> None:
    rows: list[Row] = [(n // 3, f"doc{n}", 0, 5, n % 64) for n in range(3000)]
    one = dataclasses.astuple(portray(rows))
    assert [len(field) for field in one] == [BINS, LISTED, LISTED]


def test_reasons_are_counted_with_a_few_different_examples() -> None:
    rejects = [("embed", "content_policy", f"d{n // 2}") for n in range(9)] + [("read", "vanished", "z")]
    assert count_reasons(rejects, 3) == [
        ("embed", "content_policy", 9, ["d0", "d1", "d2"]),
        ("read", "vanished", 1, ["z"]),
    ]
