import numpy as np
import pytest

from transforms.core.corpus_map import OTHER, name_sources, project


def clouds(seed: int = 0, dimension: int = 200) -> tuple[np.ndarray, np.ndarray]:
    """Three clouds, 100 vectors each."""
    generator = np.random.default_rng(seed)
    centres = generator.standard_normal((3, dimension)) * 3
    of = np.repeat(np.arange(3), 100)
    return (centres[of] + generator.standard_normal((300, dimension))).astype(np.float32), of


def test_places_are_those_of_the_principal_components() -> None:
    vectors, _ = clouds()
    places, shown = project(vectors)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    centred = (unit - unit.mean(axis=0)).astype(np.float64)
    left, sizes, _ = np.linalg.svd(centred, full_matrices=False)
    true = left[:, :2] * sizes[:2]
    for axis in range(2):
        assert abs(np.corrcoef(places[:, axis], true[:, axis])[0, 1]) == pytest.approx(1, abs=1e-4)
    assert shown == pytest.approx((sizes[:2] ** 2).sum() / (sizes**2).sum(), rel=1e-3)


def test_clouds_stay_apart_and_fit_the_picture() -> None:
    vectors, of = clouds()
    places, _ = project(vectors)
    assert places.min() >= 0
    assert places.max() <= 1
    assert np.ptp(places, axis=0).max() == pytest.approx(1)
    centres = np.stack([places[of == one].mean(axis=0) for one in range(3)])
    within = max(np.linalg.norm(places[of == one] - centres[one], axis=1).mean() for one in range(3))
    between = min(np.linalg.norm(centres[a] - centres[b]) for a, b in ((0, 1), (0, 2), (1, 2)))
    assert between > 4 * within


def test_places_do_not_depend_on_lengths_and_are_the_same_again() -> None:
    vectors, _ = clouds()
    again = project(vectors * 7)[0]
    assert np.abs(project(vectors)[0] - again).max() < 1e-3


@pytest.mark.parametrize(
    "vectors",
    [np.zeros((0, 4)), np.ones((1, 4)), np.ones((50, 4)), np.zeros((50, 4)), np.eye(2), np.ones((3, 1))],
    ids=["none", "one", "all the same", "all zero", "two", "one dimension"],
)
def test_vectors_without_a_spread_lie_in_the_middle(vectors: np.ndarray) -> None:
    places, shown = project(vectors.astype(np.float32))
    assert places.shape == (len(vectors), 2)
    assert (places == 0.5).all()
    assert shown == 1.0


def test_fewer_dimensions_or_rows_than_directions_are_placed_too() -> None:
    generator = np.random.default_rng(1)
    for shape in ((50, 2), (50, 3), (3, 100), (5, 2)):
        places, shown = project(generator.standard_normal(shape).astype(np.float32))
        assert np.isfinite(places).all()
        assert 0 < shown <= 1


def test_sources_are_the_first_folders_that_tell_documents_apart() -> None:
    assert name_sources(["a/x.md", "b/y.md"]) == ["a", "b"]
    assert name_sources(["docs/a/x.md", "docs/b/y.md"]) == ["docs/a", "docs/b"]
    assert name_sources(["docs/x.md", "docs/y.md"]) == ["docs/x.md", "docs/y.md"]
    assert name_sources(["all.jsonl#1", "all.jsonl#2"]) == ["all.jsonl", "all.jsonl"]
    assert name_sources([]) == []


def test_rare_sources_are_one() -> None:
    doc_ids = [f"s{one}/{n}.md" for one in range(20) for n in range(20 - one)]
    names = name_sources(doc_ids)
    assert set(names) == {f"s{one}" for one in range(7)} | {OTHER}
    assert names.count("s0") == 20
    assert names.count(OTHER) == sum(20 - one for one in range(7, 20))
