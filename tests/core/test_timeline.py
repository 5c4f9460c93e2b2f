import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transforms.core.timeline import COLUMNS, COUNTS, INTERVALS, Interval, Timeline, add_up, intervals_from_json
from transforms.records import Usage


def watched(seconds: int, per_second: int = 10, timeline: Timeline | None = None) -> Timeline:
    """So many requests in each second, each of 100 tokens and answered within the second."""
    timeline = timeline or Timeline()
    for second in range(1, seconds + 1):
        done = per_second * second
        timeline.observe(
            float(second), 5 * done, Usage(requests=done, prompt_tokens=100 * done, latencies=(0, 0, 0, done))
        )
    return timeline


def test_counts_are_of_each_interval_and_not_the_totals() -> None:
    timeline = watched(3)
    assert [one.counts for one in timeline.intervals] == [(50, 10, 0, 0, 1000)] * 3
    assert [(one.begin, one.end, one.latencies) for one in timeline.intervals] == [
        (0, 1, {3: 10}),
        (1, 2, {3: 10}),
        (2, 3, {3: 10}),
    ]


def test_time_in_which_nothing_happened_is_no_interval() -> None:
    timeline = watched(2)
    usage = Usage(requests=20, prompt_tokens=2000, latencies=(0, 0, 0, 20))
    timeline.observe(60.0, 100, usage)
    assert len(timeline.intervals) == 2
    timeline.observe(61.0, 105, usage + Usage(requests=1))
    assert (timeline.intervals[-1].begin, timeline.intervals[-1].counts) == (60.0, (5, 1, 0, 0, 0))


def test_a_long_run_is_kept_in_bounded_space_and_loses_no_count() -> None:
    timeline = watched(5000)
    assert len(timeline.intervals) <= INTERVALS
    assert len(json.dumps(timeline.to_json())) < 10_000
    assert sum(one.counts[1] for one in timeline.intervals) == 50_000
    assert sum(sum(one.latencies.values()) for one in timeline.intervals) == 50_000
    assert (timeline.intervals[0].begin, timeline.intervals[-1].end) == (0.0, 5000.0)


def test_intervals_survive_json_and_are_shifted_to_a_common_begin() -> None:
    timeline = watched(3)
    found = intervals_from_json(json.loads(json.dumps(timeline.to_json())), 0.0)
    assert found == timeline.intervals
    assert intervals_from_json(timeline.to_json(), 7.5)[0].begin == 7.5


def test_processes_add_up_at_the_same_time() -> None:
    early = watched(10).intervals
    late = intervals_from_json(watched(10).to_json(), 5.0)
    steps = add_up([*early, *late])
    assert [round(step.counts["requests"]) for step in steps] == [10] * 5 + [20] * 5 + [10] * 5
    assert {(step.seconds, step.median_seconds) for step in steps} == {(1.0, steps[0].median_seconds)}
    assert steps[0].median_seconds == pytest.approx(0.0087, rel=0.01)


latencies = st.dictionaries(st.integers(0, 51), st.integers(1, 99))
spans = st.lists(
    st.tuples(st.floats(0, 1e5), st.floats(0, 1e4), st.integers(0, 10**6), latencies),
    min_size=1,
    max_size=30,
)  # fmt: skip


@given(spans)
def test_whatever_the_intervals_nothing_is_lost_and_the_picture_is_bounded(
    found: list[tuple[float, float, int, dict[int, int]]],
) -> None:
    intervals = [
        Interval(begin, begin + took, (count,) * len(COUNTS), latencies) for begin, took, count, latencies in found
    ]
    steps = add_up(intervals)
    assert 1 <= len(steps) <= COLUMNS
    for name in COUNTS:
        assert sum(step.counts[name] for step in steps) == pytest.approx(sum(one[2] for one in found))
    assert any(step.median_seconds for step in steps) is any(one[3] for one in found)


def test_nothing_embedded_gives_no_picture() -> None:
    assert add_up([]) == []
