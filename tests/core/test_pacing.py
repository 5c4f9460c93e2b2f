import math
from collections.abc import Callable
from dataclasses import replace
from random import Random

import pytest

from tests.support.simulation import Server, Simulation
from transforms.core import pacing
from transforms.core.pacing import Announced, PaceState, Quota, open_pace, share_quota

KINDS = ("token-bucket", "sliding-window", "fixed-window")
SETTINGS = share_quota(Quota(600, 60_000, 4), 1)


def whole(tokens: float) -> float:
    return tokens


def cut_once(state: PaceState, now: float) -> PaceState:
    for _ in range(20):
        state = pacing.accept(state, SETTINGS, now, now - 1, 1, 100, 100)
    return pacing.refuse(state, now, now, 0, 0.5)


@pytest.mark.parametrize("field", ["requests_per_minute", "tokens_per_minute", "concurrent_requests"])
def test_a_quota_below_one_is_refused(field: str) -> None:
    with pytest.raises(ValueError, match=f"{field} must be 1 or more, got 0"):
        Quota(**{field: 0})


def test_lanes_below_one_are_refused() -> None:
    with pytest.raises(ValueError, match="lanes must be 1 or more, got 0"):
        share_quota(Quota(), 0)


def test_lanes_divide_rates_and_concurrency() -> None:
    one, four = share_quota(Quota(6000, None, 16), 1), share_quota(Quota(6000, None, 16), 4)
    assert four.requests_per_second == pytest.approx(one.requests_per_second / 4)
    assert four.tokens_per_second == math.inf
    assert (one.concurrency, four.concurrency) == (16, 4)


def test_a_server_that_works_on_few_requests_lowers_the_concurrency() -> None:
    assert share_quota(Quota(concurrent_requests=16), 1, max_concurrency=1).concurrency == 1


def test_any_minute_stays_within_the_quota_with_stored_credit_and_the_largest_request() -> None:
    for quota, largest in ((120, 1), (1200, 1), (600_000, 3000)):
        rate = share_quota(Quota(None, quota), 1, largest).tokens_per_second
        assert rate * (60 + pacing.STORED_CREDIT_SECONDS) + largest <= quota


def test_a_request_waits_for_the_scarcer_of_the_two_limits() -> None:
    state, _ = pacing.admit(open_pace(SETTINGS, 0.0), 0.0, 1, 2000)
    after, admission = pacing.admit(state, 0.0, 1, 2000)
    assert after == state
    assert admission.held_by == "tokens_per_minute"
    assert admission.wait_seconds == pytest.approx(2000 / SETTINGS.tokens_per_second - 0.5)


def test_requests_bind_when_they_are_small() -> None:
    state = open_pace(SETTINGS, 0.0)
    for _ in range(6):
        state, admission = pacing.admit(state, 0.0, 1, 1)
    assert admission.held_by == "requests_per_minute"


def test_an_idle_minute_is_not_saved_up() -> None:
    state, sent = open_pace(SETTINGS, 0.0), 0
    while True:
        state, admission = pacing.admit(state, 60.0, 1, 1)
        if admission.wait_seconds > 0:
            break
        sent += 1
    assert sent == 5


def test_usage_corrects_the_charge() -> None:
    state, _ = pacing.admit(open_pace(SETTINGS, 0.0), 0.0, 1, 1000)
    more = pacing.accept(state, SETTINGS, 0.2, 0.0, 1, 1000, 1500)
    unknown = pacing.accept(state, SETTINGS, 0.2, 0.0, 1, 1000, 0)
    assert more.tokens_due - state.tokens_due == pytest.approx(500 / SETTINGS.tokens_per_second)
    assert unknown.tokens_due == state.tokens_due


def test_a_burst_of_refusals_cuts_the_pace_once() -> None:
    first = cut_once(open_pace(SETTINGS, 0.0), 10.0)
    second = pacing.refuse(first, 10.1, 9.9, 0, 0.5)
    assert first.closed == 1
    assert second == first


def test_a_closed_gate_lets_one_probe_through_after_the_hold() -> None:
    closed = pacing.refuse(open_pace(SETTINGS, 0.0), 10.0, 9.9, 3.0, 0.0)
    _, held = pacing.admit(closed, 12.0, 1, 1)
    probing, probe = pacing.admit(closed, 13.0, 1, 1)
    _, other = pacing.admit(probing, 13.0, 1, 1)
    assert (held.wait_seconds, held.held_by) == (pytest.approx(1.0), "server")
    assert probe.wait_seconds == 0
    assert (other.wait_seconds, other.held_by) == (pacing.PROBE_POLL_SECONDS, "server")


def test_a_probe_whose_process_died_is_replaced() -> None:
    closed = pacing.refuse(open_pace(SETTINGS, 0.0), 10.0, 9.9, 3.0, 0.0)
    probing, _ = pacing.admit(closed, 13.0, 1, 1)
    _, other = pacing.admit(probing, 13.0 + pacing.PROBE_PATIENCE_SECONDS, 1, 1)
    assert other.wait_seconds == 0


def test_a_good_probe_opens_the_gate_and_an_older_answer_does_not() -> None:
    closed = pacing.refuse(open_pace(SETTINGS, 0.0), 10.0, 9.9, 1.0, 0.0)
    old = pacing.accept(closed, SETTINGS, 11.5, 9.8, 1, 1, 1)
    new = pacing.accept(closed, SETTINGS, 11.5, 11.1, 1, 1, 1)
    assert (old.closed, new.closed) == (1, 0)


def test_a_refused_probe_waits_longer_each_time() -> None:
    state, waits = pacing.refuse(open_pace(SETTINGS, 0.0), 0.0, 0.0, 0.0, 1.0), []
    now = 0.0
    for _ in range(6):
        now = state.hold_until
        state, _ = pacing.admit(state, now, 1, 1)
        state = pacing.refuse(state, now + 0.1, now + 0.05, 0.0, 1.0)
        waits.append(round(state.hold_until - now - 0.1, 3))
    assert waits == [2, 4, 8, 8, 8, 8]


def test_a_probe_that_failed_otherwise_makes_room_for_another() -> None:
    closed = pacing.refuse(open_pace(SETTINGS, 0.0), 10.0, 9.9, 1.0, 0.0)
    probing, _ = pacing.admit(closed, 11.0, 1, 1)
    _, admission = pacing.admit(pacing.drop(probing, 11.0), 11.2, 1, 1)
    assert admission.wait_seconds == 0


def test_saturation_takes_a_tenth_off_once_per_round_trip_and_success_gives_it_back() -> None:
    full = replace(open_pace(SETTINGS, 0.0), concurrency=4.0)
    less = pacing.saturate(full, 10.0, 9.0)
    again = pacing.saturate(less, 10.1, 9.5)
    grown = pacing.accept(less, SETTINGS, 11.0, 10.5, 1, 1, 1)
    assert less.concurrency == pytest.approx(3.6)
    assert again.concurrency == pytest.approx(3.6)
    assert grown.concurrency == pytest.approx(3.6 + 1 / 3.6)
    assert pacing.saturate(replace(full, concurrency=1.0), 10.0, 9.0).concurrency == 1.0


def test_an_announced_limit_lowers_a_stated_one_and_never_raises_it() -> None:
    state = open_pace(SETTINGS, 0.0)
    lower = pacing.announce(state, SETTINGS, 1.0, Announced(300, 200, 30_000, 20_000), 10)
    higher = pacing.announce(state, SETTINGS, 1.0, Announced(9000, 8000, 900_000, 800_000), 10)
    assert lower.requests_ceiling == pytest.approx(0.99 * 5)
    assert lower.tokens_ceiling == pytest.approx(0.99 * 500)
    assert higher.requests_ceiling == SETTINGS.requests_per_second


def test_an_announced_limit_serves_where_none_is_stated() -> None:
    settings = share_quota(Quota(), 2)
    state = pacing.announce(open_pace(settings, 0.0), settings, 1.0, Announced(600, 500), 10)
    assert state.requests_ceiling == pytest.approx(0.99 * 600 / 60 / 2)
    assert state.tokens_ceiling == math.inf


def test_headers_that_say_nothing_change_nothing() -> None:
    state = open_pace(SETTINGS, 0.0)
    assert pacing.announce(state, SETTINGS, 1.0, Announced(0, -1, -1, 0), 10) == state


@pytest.mark.parametrize(("remaining", "brake"), [(1000, 1.0), (0, 0.5)], ids=["plenty left", "nothing left"])
def test_the_brake_follows_what_is_left(remaining: float, brake: float) -> None:
    state = pacing.announce(open_pace(SETTINGS, 0.0), SETTINGS, 1.0, Announced(1200, remaining), 10)
    assert state.brake == brake


def test_a_coarse_limit_is_not_braked_on() -> None:
    state = pacing.announce(open_pace(SETTINGS, 0.0), SETTINGS, 1.0, Announced(100, 0), 10)
    assert state.brake == 1.0


def test_the_pace_grows_back_within_forty_seconds_where_headers_show_the_limit() -> None:
    state = replace(cut_once(open_pace(SETTINGS, 0.0), 10.0), announced_at=11.0)
    assert pacing.rates(state, 10.0)[0] < SETTINGS.requests_per_second
    assert pacing.rates(replace(state, announced_at=50.0), 52.0)[0] == SETTINGS.requests_per_second


def test_the_pace_stays_near_what_was_proven_where_nothing_shows_the_limit() -> None:
    state = cut_once(open_pace(SETTINGS, 0.0), 10.0)
    start = pacing.rates(state, 10.0)[0]
    assert pacing.rates(state, 30.0)[0] == pytest.approx(start * (1 + 0.08 / 3 + 1 / 64))


def test_too_few_answers_teach_no_pace() -> None:
    state = pacing.refuse(open_pace(SETTINGS, 0.0), 10.0, 9.9, 0, 0.5)
    assert state.requests_after_cut == math.inf


def test_refusals_that_do_not_follow_the_rate_stop_lowering_it() -> None:
    simulation = Simulation(
        Server("token-bucket", random_refusals=0.05, announces=False), share_quota(Quota(concurrent_requests=16), 1)
    ).run(300)
    assert len([at for at, _ in simulation.accepted if at > 200]) / 100 > 10


@pytest.mark.parametrize(
    ("quota", "max_tokens", "largest"),
    [
        (Quota(None, None), 300_000, 300_000),
        (Quota(None, 600_000), 300_000, 3000),
        (Quota(60, 600_000), 300_000, 20_000),
        (Quota(None, 600_000), 1000, 1000),
        (Quota(1, 90), 300_000, 90),
    ],
    ids=["no quota", "smooth", "requests are scarce", "limit is lower", "never above a minute"],
)  # fmt: skip
def test_a_request_is_never_larger_than_the_quota_passes_smoothly(quota: Quota, max_tokens: int, largest: int) -> None:
    assert pacing.tokens_that_pass(quota, max_tokens) == largest


# ---------------------------------------------------------------------------------------- against simulated servers


@pytest.mark.parametrize("announces", [True, False], ids=["headers", "no headers"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_stated_quota_of_requests_is_used_and_not_exceeded(kind: str, announces: bool) -> None:
    simulation = Simulation(Server(kind, 1200, announces=announces), share_quota(Quota(1200, None, 16), 1)).run(180)
    assert simulation.used(1200, 5, 180) >= 0.97
    assert simulation.refused_share() <= 0.001


@pytest.mark.parametrize("kind", KINDS)
def test_a_stated_quota_of_tokens_is_used_and_not_exceeded(kind: str) -> None:
    simulation = Simulation(
        Server(kind, None, 600_000),
        share_quota(Quota(None, 600_000, 16), 1, 3000),
        tokens=lambda chance: 3000 * (0.3 + 0.7 * chance.random()),
    ).run(180)
    assert simulation.used(600_000, 5, 180, whole) >= 0.97
    assert simulation.refused_share() <= 0.001


@pytest.mark.parametrize("kind", KINDS)
def test_two_stated_quotas_that_bind_in_turn_are_both_used(kind: str) -> None:
    simulation = Simulation(
        Server(kind, 1200, 600_000),
        share_quota(Quota(1200, 600_000, 16), 1, 1000),
        tokens=lambda chance: 500 * (0.5 + chance.random()),
    ).run(180)
    assert simulation.used(1200, 5, 180) >= 0.97
    assert simulation.refused_share() <= 0.001


@pytest.mark.parametrize("kind", KINDS)
def test_an_unknown_quota_is_found_without_headers(kind: str) -> None:
    simulation = Simulation(Server(kind, 1200, announces=False), share_quota(Quota(None, None, 16), 1)).run(420)
    stored = 1200 if kind == "token-bucket" else 0
    assert (len(simulation.accepted) - stored) / (20 * 420) >= 0.85
    assert simulation.refused_share() <= 0.03


@pytest.mark.parametrize("kind", KINDS)
def test_a_quota_that_halves_is_followed_within_a_minute_where_headers_say_so(kind: str) -> None:
    server = Server(kind, 1200)
    assert server.requests is not None
    halve: Callable[[], None] = lambda: server.requests.changed(600)  # type: ignore[union-attr] # noqa: E731
    simulation = Simulation(server, share_quota(Quota(1200, None, 16), 1)).run(300, {100: halve})
    assert simulation.used(600, 165, 300) >= 0.95
    assert simulation.refused_share(165) <= 0.001


def test_four_lanes_share_a_quota() -> None:
    server = Server("sliding-window", 1200)
    lanes = [
        Simulation(server, share_quota(Quota(1200, None, 16), 4), places=4, chance=Random(lane)) for lane in range(4)
    ]
    for second in range(1, 1801):
        for lane in lanes:
            lane.run(second / 10)
    accepted = sum(lane.used(1200, 5, 180) for lane in lanes)
    assert accepted >= 0.97
    assert sum(len(lane.refused) for lane in lanes) <= 0.001 * sum(len(lane.accepted) for lane in lanes)


def test_a_refusal_of_a_request_older_than_the_opening_is_no_news() -> None:
    closed = pacing.refuse(open_pace(SETTINGS, 0.0), 10.0, 9.9, 1.0, 0.0)
    opened = pacing.accept(closed, SETTINGS, 11.5, 11.1, 1, 1, 1)
    assert pacing.refuse(opened, 11.6, 9.9, 1.0, 0.0) == opened
