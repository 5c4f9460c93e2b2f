from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from transforms.storage import sampling
from transforms.storage.sampling import sample_rows
from transforms.storage.store import Store, open_store

DIMENSION = 4


def write_part(
    store: Store, number: int, hashes: list[str], vector_type: pa.DataType = pa.float32()
) -> tuple[str, int]:
    """A part whose rows carry their own number in the vector; several row groups."""
    vectors = np.arange(len(hashes), dtype=np.float32).repeat(DIMENSION)
    table = pa.table(
        {
            "text_hash": hashes,
            "doc_id": [f"{number}/{row}" for row in range(len(hashes))],
            "chunk": [f"text {one}" for one in hashes],
            "vector": pa.FixedSizeListArray.from_arrays(pa.array(vectors).cast(vector_type), DIMENSION),
        }
    )
    with store.open_output(f"part-{number}") as output:
        pq.write_table(table, output, row_group_size=7)
    return f"part-{number}", len(hashes)


def hashes(number: int, rows: int) -> list[str]:
    return [f"{number:02d}{row:04d}" for row in range(rows)]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(str(tmp_path))


def test_each_part_gives_its_share_of_first_rows_in_turn(store: Store) -> None:
    parts = [write_part(store, 0, hashes(0, 40)), write_part(store, 1, hashes(1, 20))]
    sample = sample_rows(store, parts, 15, 10**6)
    assert sample.doc_ids[:5] == ["0/0", "1/0", "0/1", "1/1", "0/2"]
    assert sorted(sample.doc_ids) == sorted([f"0/{n}" for n in range(10)] + [f"1/{n}" for n in range(5)])
    assert sample.chunks[1] == "text 010000"
    numbers = [float(doc_id.partition("/")[2]) for doc_id in sample.doc_ids]
    assert sample.vectors.tolist() == [[number] * DIMENSION for number in numbers]
    assert sample.vectors.dtype == np.float32


def test_a_text_is_taken_once(store: Store) -> None:
    part = write_part(store, 0, ["a", "a", "a", "b", "c", "c"])
    assert sample_rows(store, [part], 100, 10**6).doc_ids == ["0/0", "0/3", "0/4"]


def test_vectors_fit_the_memory_they_may_take(store: Store) -> None:
    part = write_part(store, 0, hashes(0, 50))
    assert len(sample_rows(store, [part], 50, 9 * 4 * DIMENSION).doc_ids) == 9


def test_of_many_parts_some_are_opened(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = [write_part(store, number, hashes(number, 8)) for number in range(9)]
    monkeypatch.setattr(sampling, "_PARTS", 4)
    sample = sample_rows(store, parts, 12, 10**6)
    assert {doc_id.partition("/")[0] for doc_id in sample.doc_ids} == {"0", "3", "6"}
    assert len(sample.doc_ids) == 12


def test_half_precision_is_widened(store: Store) -> None:
    part = write_part(store, 0, hashes(0, 5), pa.float16())
    assert sample_rows(store, [part], 5, 10**6).vectors[3].tolist() == [3.0] * DIMENSION


def test_no_parts_give_no_rows(store: Store) -> None:
    sample = sample_rows(store, [], 5, 10**6)
    assert (list(sample.doc_ids), list(sample.chunks), sample.vectors.shape) == ([], [], (0, 0))
