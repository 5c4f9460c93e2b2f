import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transforms.core.buckets import bucket_of, choose_bits, overlapping, parse_part_name, part_name

BITS = st.integers(0, 20)


@given(st.binary(min_size=32, max_size=32), BITS, BITS)
def test_a_text_lies_in_one_of_the_overlapping_buckets(text_hash: bytes, bits: int, other_bits: int) -> None:
    assert bucket_of(text_hash, other_bits) in overlapping(bits, bucket_of(text_hash, bits), other_bits)


def test_bucket_is_the_top_bits_read_big_endian() -> None:
    assert [bucket_of(b"\xa5" + bytes(31), bits) for bits in (0, 1, 4, 8)] == [0, 1, 0xA, 0xA5]


@given(BITS)
def test_buckets_overlap_their_parent_and_their_children(bits: int) -> None:
    assert list(overlapping(bits + 1, 1, bits)) == [0]
    assert list(overlapping(bits, 0, bits + 1)) == [0, 1]


@given(BITS, st.data())
def test_part_name_can_be_read_back(bits: int, data: st.DataObject) -> None:
    bucket = data.draw(st.integers(0, (1 << bits) - 1))
    assert parse_part_name(part_name(bucket, bits)) == (bucket, bits)


def test_part_name_is_the_one_of_the_contract() -> None:
    assert part_name(3, 4) == "part-00003-of-00016.parquet"


@pytest.mark.parametrize(
    "name", ["part-00003-of-00015.parquet", "part-00016-of-00016.parquet", "rejects.parquet", "part-3-of-16.parquet"]
)
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="is not the name of a part"):
        parse_part_name(name)


@pytest.mark.parametrize(
    ("rows", "previous", "bits"),
    [
        pytest.param(0, None, 0, id="nothing"),
        pytest.param(20_833, None, 0, id="just one part"),
        pytest.param(20_834, None, 1, id="a row more than one part"),
        pytest.param(1_000_000, None, 6, id="48 parts' worth"),
        pytest.param(1_000_000, 6, 6, id="as before"),
        pytest.param(600_000, 6, 6, id="shrunk a little keeps the count"),
        pytest.param(1_400_000, 6, 7, id="grown doubles"),
        pytest.param(60_000, 6, 2, id="shrunk to an eighth"),
        pytest.param(10**12, None, 20, id="never more than the maximum"),
    ],
)
def test_parts_hold_about_the_size_asked_for(rows: int, previous: int | None, bits: int) -> None:
    assert choose_bits(rows, 1536, 128, previous) == bits


def test_hashes_of_real_texts_spread_evenly() -> None:
    counts = [0] * 16
    for number in range(4096):
        counts[bucket_of(hashlib.sha256(str(number).encode()).digest(), 4)] += 1
    assert min(counts) > 200
