"""Sizes on paper: what must hold whatever the measured constants are."""

import dataclasses
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transforms.core.batches import BYTES_PER_TOKEN, estimated_rows, text_in_batch
from transforms.core.requests import RequestLimits
from transforms.core.scale import Corpus, Mechanics, Plan, Scale, bits_for, measure, memory_of_worker, shuffle_bytes
from transforms.core.storage_use import Rhythm, StoragePrices, StorageUse, journal_objects, operations

RULES = Rhythm(4_000_000, 5.0, 1.0, 2.0, 10.0, 0.5)
MECHANICS = Mechanics(32_000_000, RULES, 128_000_000, 8192)


def make_corpus(chunks: int = 1_000_000, in_bucket: bool = False) -> Corpus:
    return Corpus(chunks, 512, 448, 10, BYTES_PER_TOKEN, in_bucket)


def make_plan(**changes: object) -> Plan:
    plan = Plan(1536, 4, 128, 448, RequestLimits(), None, 10_000_000, 0.02, 8)
    return dataclasses.replace(plan, **changes)  # type: ignore[arg-type]


def sized(chunks: int = 1_000_000, in_bucket: bool = False, **changes: object) -> Scale:
    return measure(make_corpus(chunks, in_bucket), make_plan(**changes), MECHANICS, StoragePrices())


def test_a_million_full_chunks_cost_what_the_bill_would_say() -> None:
    scale = sized()
    assert (scale.tokens, scale.requests, scale.documents) == (512_000_000, 7813, 100_000)
    assert scale.cost_usd == pytest.approx(10.24)
    assert scale.hours == pytest.approx(51.2 / 60)
    assert (scale.buckets, scale.rows_per_part) == (64, 15_625)


def test_unknown_price_stays_unknown() -> None:
    assert sized(price_per_million_tokens=None).cost_usd is None


def test_requests_a_minute_bind_where_they_are_the_tighter_limit() -> None:
    assert sized(requests_per_minute=10).hours == pytest.approx(7812.5 / 10 / 60, rel=1e-3)


def test_smaller_requests_are_more_requests() -> None:
    assert sized(limits=RequestLimits(max_inputs=16)).requests == 62_500
    assert sized(limits=RequestLimits(max_tokens=5120)).requests == 100_000


def test_float16_halves_the_vectors_of_parts_but_not_of_the_journal() -> None:
    whole, half = sized(), sized(bytes_per_number=2)
    assert whole.dataset_bytes - half.dataset_bytes == 1_000_000 * 1536 * 2
    assert (whole.journal_bytes, whole.buckets) == (half.journal_bytes, half.buckets)


def test_journal_of_a_bucket_goes_on_in_another_file_when_one_is_full() -> None:
    assert sized(part_size_mb=16).journal_files == 512
    assert sized(part_size_mb=128).journal_files == 64 * 4, "98 MB for each of 64 parts, in files of 32 MB"


def test_a_single_chunk_has_one_part() -> None:
    scale = sized(1)
    assert (scale.buckets, scale.rows_per_part, scale.requests, scale.journal_objects, scale.journal_files) == (1,) * 5


@given(st.integers(1, 10**9), st.integers(1, 4096), st.integers(2, 4096))
def test_a_part_is_never_larger_than_asked_for_by_more_than_its_rounding(
    chunks: int, size: int, dimension: int
) -> None:
    plan = make_plan(part_size_mb=size, dimension=dimension)
    scale = measure(make_corpus(chunks), plan, MECHANICS, StoragePrices())
    assert scale.rows_per_part * dimension * 4 <= size * 1_000_000 + 2 * dimension * 4
    assert scale.buckets * scale.rows_per_part >= chunks


@given(st.integers(1, 10**9))
def test_twice_the_chunks_are_never_less_of_anything(chunks: int) -> None:
    once, twice = sized(chunks), sized(2 * chunks)
    for name in (
        "tokens",
        "requests",
        "buckets",
        "dataset_bytes",
        "shuffle_bytes",
        "journal_objects",
        "class_a",
        "class_b",
    ):
        assert getattr(twice, name) >= getattr(once, name), name


def test_chunks_that_are_not_full_make_fewer_buckets_because_buckets_come_from_the_listed_size() -> None:
    half_full = dataclasses.replace(make_corpus(), tokens_per_chunk=256, new_tokens_per_chunk=224)
    assert (bits_for(make_corpus(), make_plan()), bits_for(half_full, make_plan())) == (6, 5)


def test_headers_outweigh_the_text_where_a_batch_has_a_row_for_each_bucket_or_less() -> None:
    corpus = make_corpus(10**9)
    rows_in_batch = text_in_batch(16) / (448 * BYTES_PER_TOKEN)
    assert rows_in_batch < 1 << 16
    assert shuffle_bytes(corpus, 16) > 2 * shuffle_bytes(corpus, 10)


def test_a_bucket_without_work_is_not_shuffled() -> None:
    assert shuffle_bytes(make_corpus(1), 10) < 5_000


def test_listed_bytes_are_rounded_up_to_whole_chunks() -> None:
    assert [estimated_rows(size, 100) for size in (0, 1, 400, 401)] == [0, 1, 1, 2]


def test_batches_grow_with_the_buckets_up_to_their_limit() -> None:
    assert [text_in_batch(bits) for bits in (0, 9, 10, 20)] == [8_000_000, 8_192_000, 16_384_000, 64_000_000]


def test_memory_of_a_worker_does_not_grow_with_the_corpus_but_with_the_part() -> None:
    small, large = (sized(chunks).memory_on_cloud_worker.total for chunks in (10**7, 10**9))
    assert small == pytest.approx(large, rel=0.25)
    assert sized(10**9, part_size_mb=1024).memory_on_cloud_worker.total > 2 * large


def test_memory_holds_what_a_small_corpus_has_and_no_more() -> None:
    memory = memory_of_worker(make_corpus(10), make_plan(), MECHANICS, 0, 0)
    assert memory.vectors == 10 * 1536 * 4
    assert memory.total == memory.worker + max(memory.packing, memory.bucket + memory.vectors + memory.writing)


def test_one_machine_keeps_the_shuffle_in_memory() -> None:
    scale = sized()
    assert scale.memory_on_one_machine.total - scale.memory_on_cloud_worker.total == scale.shuffle_bytes


@pytest.mark.parametrize(
    ("bytes_per_part", "seconds", "workers", "objects"),
    [
        pytest.param(100, 1.0, 1, 8, id="one each when there is little"),
        pytest.param(40_000_000, 1.0, 1, 80, id="by bytes when answers come fast"),
        pytest.param(100, 800.0, 1, 160, id="by time when they come slowly"),
        pytest.param(100, 800.0, 4, 640, id="each worker has its own clock"),
        pytest.param(100, 800.0, 99, 1280, id="no more workers than buckets"),
    ],
)
def test_journal_objects(bytes_per_part: int, seconds: float, workers: int, objects: int) -> None:
    assert journal_objects(StorageUse(8, bytes_per_part, seconds, workers, 0), RULES) == objects


def test_documents_in_a_bucket_are_listed_and_read() -> None:
    use = StorageUse(8, 100, 1.0, 1, 0)
    with_documents = dataclasses.replace(use, documents=2_500)
    counts, more = operations(use, RULES), operations(with_documents, RULES)
    assert (more[0] - counts[0], more[1] - counts[1]) == (3, 2_500)


def test_money_follows_the_operations_and_the_bytes() -> None:
    scale = sized()
    assert scale.operations_usd == pytest.approx((scale.class_a * 0.005 + scale.class_b * 0.0004) / 1000)
    assert math.isclose(scale.storage_usd_a_month, scale.dataset_bytes / 2**30 * 0.02)
