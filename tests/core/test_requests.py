import pytest
from hypothesis import given
from hypothesis import strategies as st

from transforms.core.requests import PackedRequest, RequestLimits, RequestPacker, split_evenly, utf8_length

texts = st.lists(st.tuples(st.text("aé漢", min_size=1, max_size=30), st.integers(0, 50)), max_size=80)
limits = st.builds(RequestLimits, st.integers(1, 9), st.integers(1, 120), st.integers(1, 90))


def pack(pairs: list[tuple[str, int]], limit: RequestLimits) -> list[PackedRequest[int]]:
    packer = RequestPacker[int]()
    requests = [request for key, (text, tokens) in enumerate(pairs) for request in packer.add(key, text, tokens, limit)]
    return [*requests, *packer.flush(limit)]


def fits(request: PackedRequest[int], limit: RequestLimits) -> bool:
    return len(request.texts) == 1 or (
        len(request.texts) <= limit.max_inputs
        and request.tokens <= limit.max_tokens
        and sum(map(utf8_length, request.texts)) <= limit.max_bytes
    )


@given(texts, limits)
def test_every_text_goes_out_once_in_order_and_within_the_limits(
    pairs: list[tuple[str, int]], limit: RequestLimits
) -> None:
    requests = pack(pairs, limit)
    assert [key for request in requests for key in request.keys] == list(range(len(pairs)))
    assert [(text, count) for r in requests for text, count in zip(r.texts, r.token_counts, strict=True)] == pairs
    assert all(request.texts and fits(request, limit) for request in requests)


@given(texts, limits, limits)
def test_limits_may_shrink_while_texts_are_held_back(
    pairs: list[tuple[str, int]], first: RequestLimits, second: RequestLimits
) -> None:
    packer = RequestPacker[int]()
    early = [request for key, pair in enumerate(pairs) for request in packer.add(key, *pair, first)]
    late = packer.flush(second)
    assert [key for request in early + late for key in request.keys] == list(range(len(pairs)))
    assert all(fits(request, first) for request in early)
    assert all(fits(request, second) for request in late)


def test_a_shrunk_limit_splits_what_was_full_before() -> None:
    packer = RequestPacker[int]()
    for key in range(16):
        packer.add(key, "a", 1, RequestLimits(8))
    requests = packer.add(16, "a", 1, RequestLimits(2))
    assert [len(request.texts) for request in requests] == [2, 2, 2, 2]


def test_requests_are_full_while_texts_arrive_and_equal_at_the_end() -> None:
    assert [len(request.texts) for request in pack([("a", 1)] * 300, RequestLimits(128))] == [128, 86, 86]


def test_a_few_texts_are_one_request() -> None:
    assert [len(request.texts) for request in pack([("a", 1)] * 5, RequestLimits(128))] == [5]


def test_nothing_makes_no_request() -> None:
    assert pack([], RequestLimits()) == []


def test_a_text_over_the_limits_goes_alone() -> None:
    requests = pack([("a", 1), ("b", 1000), ("c", 1)], RequestLimits(max_tokens=10))
    assert [request.texts for request in requests] == [("a",), ("b",), ("c",)]


def test_held_back_texts_are_counted() -> None:
    packer = RequestPacker[str]()
    for _ in range(3):
        packer.add("k", "a", 1, RequestLimits(2))
    assert len(packer) == 3
    packer.flush(RequestLimits(2))
    assert len(packer) == 0


def test_an_empty_text_is_refused() -> None:
    with pytest.raises(ValueError, match="an empty text cannot be embedded"):
        RequestPacker[int]().add(0, "", 0, RequestLimits())


def test_a_negative_count_is_refused() -> None:
    with pytest.raises(ValueError, match="token_count must be 0 or more, got -1"):
        RequestPacker[int]().add(0, "a", -1, RequestLimits())


@pytest.mark.parametrize("field", ["max_inputs", "max_tokens", "max_bytes"])
def test_limits_below_one_are_refused(field: str) -> None:
    with pytest.raises(ValueError, match=f"{field} must be 1 or more, got 0"):
        RequestLimits(**{field: 0})


def test_splitting_keeps_positions() -> None:
    parts = split_evenly(["a", "b", "c"], [1, 1, 1], [4, 7, 9], RequestLimits(2))
    assert [part.keys for part in parts] == [(4, 7), (9,)]


@pytest.mark.parametrize(("text", "size"), [("abc", 3), ("é", 2), ("漢", 3), ("\ud800", 3), ("🦊", 4)])
def test_bytes_are_counted_as_utf8(text: str, size: int) -> None:
    assert utf8_length(text) == size
