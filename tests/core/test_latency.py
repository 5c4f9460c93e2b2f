import math

import numpy as np
import pytest

from transforms.core.latency import CLASSES, latency_class, percentile_seconds


def counts_of(seconds: list[float]) -> list[int]:
    counts = [0] * CLASSES
    for one in seconds:
        counts[latency_class(one)] += 1
    return counts


@pytest.mark.parametrize("seed", range(5))
def test_percentiles_are_right_within_an_eighth(seed: int) -> None:
    seconds = np.random.default_rng(seed).lognormal(-1, 1, 2000).tolist()
    for fraction in (0.5, 0.95, 0.99):
        found = percentile_seconds(counts_of(seconds), fraction)
        true = sorted(seconds)[math.ceil(fraction * len(seconds)) - 1]
        assert found == pytest.approx(true, rel=0.125)


def test_longer_times_are_in_later_classes_and_none_is_left_out() -> None:
    classes = [latency_class(seconds) for seconds in (0.0, 0.001, 0.0051, 0.1, 1.0, 60.0, 340.0, 1e6)]
    assert classes == sorted(classes)
    assert (classes[0], classes[-1]) == (0, CLASSES - 1)


def test_without_requests_there_is_no_percentile() -> None:
    assert percentile_seconds([0] * CLASSES, 0.5) is None
    assert percentile_seconds([], 0.5) is None


def test_shares_of_requests_count_as_requests() -> None:
    assert percentile_seconds([0.0, 0.25, 0.75], 0.5) == percentile_seconds([0, 1, 3], 0.5)
