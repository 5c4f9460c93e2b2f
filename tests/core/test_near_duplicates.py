import numpy as np
import pytest

from transforms.core.near_duplicates import Group, find_near_duplicates


def directions(count: int, dimension: int, seed: int = 0) -> np.ndarray:
    vectors = np.random.default_rng(seed).standard_normal((count, dimension)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def near(vector: np.ndarray, cosine: float, seed: int) -> np.ndarray:
    """A vector with exactly this cosine to the given one."""
    other = directions(1, len(vector), seed)[0]
    across = other - (other @ vector) * vector
    across /= np.linalg.norm(across)
    found: np.ndarray = cosine * vector + np.sqrt(1 - cosine**2) * across
    return found


@pytest.mark.parametrize("dimension", [8, 64, 256, 1536])
def test_near_vectors_are_found_among_many_and_others_are_not(dimension: int) -> None:
    vectors = directions(1500, dimension)
    twins = {700: (5, 0.999), 701: (5, 0.98), 1400: (600, 0.975), 1499: (1498, 0.971), 3: (900, 0.96)}
    for row, (of, cosine) in twins.items():
        vectors[row] = near(vectors[of], cosine, row)
    if dimension == 8:  # in so few dimensions chance makes neighbours: only what was put there is asked for
        groups = {group.rows[0]: group.rows for group in find_near_duplicates(vectors)}
        assert {700, 701} <= set(groups[5])
        return
    groups = find_near_duplicates(vectors * 3)
    assert [group.rows for group in groups] == [(5, 700, 701), (600, 1400), (1498, 1499)]
    assert [group.least_cosine for group in groups] == pytest.approx([0.98, 0.975, 0.971], abs=1e-4)


def test_a_group_is_found_whole_however_large() -> None:
    vectors = directions(900, 128)
    vectors[100:800] = vectors[100] + 0.001 * directions(700, 128, seed=1)
    (group,) = find_near_duplicates(vectors)
    assert group.rows == tuple(range(100, 800))


def test_nothing_and_one_and_vectors_of_length_zero_have_no_near_ones() -> None:
    for vectors in (np.zeros((0, 8)), np.ones((1, 8)), np.zeros((5, 8))):
        assert find_near_duplicates(vectors.astype(np.float32)) == []


def test_almost_near_ones_by_the_thousand_end_the_search_early() -> None:
    """Every pair lies between the rough and the exact limit, so that each would be compared in full."""
    vectors = directions(1, 1536)[0] + 0.24 * directions(4000, 1536, seed=1)
    vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    cosines = vectors[:500] @ vectors[500:1000].T
    assert 0.93 < cosines.min() < cosines.max() < 0.97
    vectors[1], vectors[3999] = vectors[0], vectors[3998]
    assert find_near_duplicates(vectors.astype(np.float32)) == [Group((0, 1), pytest.approx(1.0))]
