import dataclasses
import errno
import random
from typing import Any

import numpy as np
import pytest

from tests.storage.builders import DIMENSION, commit_texts, hash_of, texts, vectors_of
from transforms.core.buckets import bucket_of
from transforms.core.tables import list_of_hashes
from transforms.errors import CommitConflict, FatalError
from transforms.storage.local_store import LocalStore
from transforms.storage.previous_version import PreviousVersion
from transforms.storage.store import Store
from transforms.storage.versions import remove_old_versions


def open_previous(store: Store, count: int = 40, bits: int = 2, **options: Any) -> PreviousVersion:
    return PreviousVersion(store, commit_texts(store, texts(count), None, bits, **options))


def in_bucket(count: int, bits: int, bucket: int) -> list[str]:
    """The texts of a bucket in the order of their hashes."""
    return sorted((t for t in texts(count) if bucket_of(hash_of(t), bits) == bucket), key=hash_of)


@pytest.mark.parametrize("bits", [0, 1, 2, 3, 5])
def test_any_number_of_buckets_reads_a_version(store: Store, bits: int) -> None:
    previous = open_previous(store)
    assert previous.bits == 2
    for bucket in range(1 << bits):
        here = in_bucket(40, bits, bucket)
        assert list_of_hashes(previous.read_hashes(bits, bucket)) == [hash_of(text) for text in here]
        assert previous.read_rows(bits, bucket).column("chunk").to_pylist() == here
        vectors = previous.read_vectors(bits, bucket, [hash_of(text) for text in here])
        assert np.array_equal(vectors, vectors_of(here))


def test_vectors_come_in_the_order_wanted_from_few_row_groups(store: Store) -> None:
    previous = open_previous(store, bits=0)
    wanted = random.Random(3).sample(texts(40), 7)
    assert np.array_equal(previous.read_vectors(0, 0, [hash_of(text) for text in wanted]), vectors_of(wanted))
    assert previous.read_vectors(0, 0, []).shape == (0, DIMENSION)


def test_texts_of_several_rows_are_named_once(local_store: Store) -> None:
    previous = open_previous(local_store, 10, 0, copies=3)
    assert len(previous.read_hashes(0, 0)) == 10
    rows = previous.read_rows(0, 0)
    keys = list(zip(rows.column("text_hash").to_pylist(), rows.column("id").to_pylist(), strict=True))
    assert len(keys) == 30
    assert keys == sorted(keys)
    wanted = in_bucket(10, 0, 0)
    assert np.array_equal(previous.read_vectors(0, 0, [hash_of(t) for t in wanted]), vectors_of(wanted))


def test_half_precision_is_widened(local_store: Store) -> None:
    previous = open_previous(local_store, 10, 0, vector_type="float16")
    vectors = previous.read_vectors(0, 0, [hash_of("text 3")])
    assert vectors.dtype == np.float32
    assert np.array_equal(vectors, vectors_of(["text 3"]).astype(np.float16).astype(np.float32))


def test_hashes_that_end_in_zeros_are_found(local_store: Store) -> None:
    ends_in_zero = [text for text in texts(3000) if hash_of(text).endswith(b"\0")][:4]
    previous = PreviousVersion(local_store, commit_texts(local_store, ends_in_zero, None, 0))
    robbed = previous.read_hashes(0, 0).tolist()
    assert max(map(len, robbed)) < 32
    assert np.array_equal(previous.read_vectors(0, 0, robbed), vectors_of(sorted(ends_in_zero, key=hash_of)))


def test_rows_have_all_columns_but_the_vector_even_where_there_are_none(local_store: Store) -> None:
    previous = open_previous(local_store, 1, 0)
    full = previous.read_rows(0, 0)
    assert "vector" not in full.column_names
    empty = next(previous.read_rows(1, bucket) for bucket in (0, 1) if not previous.read_rows(1, bucket).num_rows)
    assert empty.schema.equals(full.schema)


def test_only_the_columns_named_are_read(store: Store) -> None:
    previous = PreviousVersion(store, commit_texts(store, texts(20), None, bits=1))
    whole = previous.read_rows(1, 0)
    assert previous.read_rows(1, 0, ("id", "doc_id")).equals(whole.select(["id", "doc_id"]))
    assert previous.read_rows(3, 7, ("id",)).column_names == ["id"]


def test_the_part_of_exactly_this_bucket_is_named(local_store: Store) -> None:
    previous = open_previous(local_store)
    assert [previous.part_of(2, bucket) for bucket in range(4)] == list(previous.manifest.parts)
    assert previous.part_of(3, 0) is None
    assert previous.part_of(1, 0) is None


def test_facts_of_the_version_are_at_hand(local_store: Store) -> None:
    previous = open_previous(local_store)
    assert (previous.dimension, previous.canary, previous.problems) == (DIMENSION, b"", ())


def _rewrite(store: Store, path: str, data: bytes) -> None:
    store.delete(path)
    store.write_bytes(path, data)


def test_a_missing_part_counts_as_absent_and_is_reported(store: Store) -> None:
    previous = open_previous(store)
    path = previous.manifest.parts[1].path
    store.delete(path)
    assert previous.part_of(2, 1) is None
    assert len(previous.read_hashes(2, 1)) == 0
    assert previous.read_rows(2, 1).num_rows == 0
    assert len(previous.read_hashes(2, 0)) > 0
    assert previous.problems == (f"{path} is damaged: it is missing; this run makes it anew",)


def test_a_part_of_another_size_counts_as_absent_and_is_reported(local_store: Store) -> None:
    previous = open_previous(local_store)
    part = previous.manifest.parts[0]
    _rewrite(local_store, part.path, local_store.read_bytes(part.path)[:-10])
    assert previous.part_of(2, 0) is None
    assert previous.problems == (
        f"{part.path} is damaged: it has {part.bytes - 10} bytes instead of {part.bytes}; this run makes it anew",
    )


def test_a_part_whose_footer_is_damaged_counts_as_absent(local_store: Store) -> None:
    previous = open_previous(local_store)
    part = previous.manifest.parts[0]
    data = local_store.read_bytes(part.path)
    _rewrite(local_store, part.path, data[: len(data) // 2] + b"\xff" * (len(data) - len(data) // 2))
    assert len(previous.read_hashes(2, 0)) == 0
    assert "is damaged" in previous.problems[0]


def test_a_part_with_other_rows_counts_as_absent(local_store: Store) -> None:
    manifest = commit_texts(local_store, texts(40), None, 2)
    wrong = dataclasses.replace(manifest.parts[0], rows=manifest.parts[0].rows + 1)
    previous = PreviousVersion(local_store, dataclasses.replace(manifest, parts=(wrong, *manifest.parts[1:])))
    assert previous.part_of(2, 0) is None
    assert f"has {manifest.parts[0].rows} rows instead of {wrong.rows}" in previous.problems[0]


@pytest.mark.parametrize("damaged_column", ["text_hash", "vector.list.element"])
def test_a_part_with_other_bytes_counts_as_absent_whichever_column_they_lie_in(
    local_store: Store, damaged_column: str
) -> None:
    previous = open_previous(local_store, 40, 0)
    path = previous.manifest.parts[0].path
    damaged = bytearray(local_store.read_bytes(path))
    damaged[_last_bytes_of(local_store, path, damaged_column)] ^= 1
    _rewrite(local_store, path, bytes(damaged))
    fresh = PreviousVersion(local_store, previous.manifest)
    assert list_of_hashes(fresh.read_hashes(0, 0)) == []
    assert "sha256 is not the manifest's" in fresh.problems[0]


class BucketLikeStore(LocalStore):
    """Stands for gs://, where a part's sha256 is not computed before it is read."""

    @property
    def moves_folders(self) -> bool:
        return False


def test_where_no_sha256_is_computed_page_checksums_find_damage(local_store: Store) -> None:
    previous = open_previous(local_store, 40, 0)
    path, store = previous.manifest.parts[0].path, BucketLikeStore(local_store.root)
    whole = local_store.read_bytes(path)
    for column in ("text_hash", "vector.list.element"):
        damaged = bytearray(whole)
        damaged[_last_bytes_of(local_store, path, column)] ^= 1
        _rewrite(local_store, path, bytes(damaged))
        fresh = PreviousVersion(store, previous.manifest)
        hashes = list_of_hashes(fresh.read_hashes(0, 0))
        if column == "text_hash":
            assert hashes == []
            assert "CRC checksum" in fresh.problems[0]
        else:
            with pytest.raises(FatalError, match=r"cannot read vectors of version 1: .*delete that file"):
                fresh.read_vectors(0, 0, hashes)
        _rewrite(local_store, path, whole)


def _last_bytes_of(store: Store, path: str, name: str) -> int:
    group = store.open_parquet(path).metadata.row_group(0)
    (column,) = [
        group.column(index) for index in range(group.num_columns) if group.column(index).path_in_schema == name
    ]
    return int((column.dictionary_page_offset or column.data_page_offset) + column.total_compressed_size - 5)


def test_a_vector_that_is_not_there_is_never_made_up(local_store: Store) -> None:
    with pytest.raises(FatalError, match="lost 1 of 2 vectors"):
        open_previous(local_store, 5, 0).read_vectors(0, 0, [hash_of("text 1"), hash_of("unpaid")])


class BrokenStore(LocalStore):
    def open_parquet(self, path: str) -> Any:
        raise OSError(errno.EIO, "Input/output error", path)


def test_a_store_that_fails_is_no_damaged_part(local_store: Store) -> None:
    manifest = commit_texts(local_store, texts(4), None, 0)
    with pytest.raises(OSError, match="Input/output error"):
        PreviousVersion(BrokenStore(local_store.root), manifest).read_hashes(0, 0)


def test_an_empty_version_holds_nothing(local_store: Store) -> None:
    previous = PreviousVersion(local_store, commit_texts(local_store, [], None))
    assert (previous.bits, len(previous.read_hashes(3, 5)), previous.read_rows(0, 0).num_rows) == (0, 0, 0)


@pytest.mark.parametrize("listed_before", [True, False])
def test_a_version_that_others_removed_meanwhile_is_no_damage_that_is_paid_again(
    store: Store, listed_before: bool
) -> None:
    first = commit_texts(store, texts(4), None, 0)
    previous = PreviousVersion(store, first)
    if listed_before:
        assert len(previous.read_hashes(0, 0)) == 4
    commit_texts(store, texts(5), first, 0)
    remove_old_versions(store, 1)
    with pytest.raises(CommitConflict, match=r"version 1 of .* was removed after other runs had committed\. .*journal"):
        previous.read_hashes(0, 0)
