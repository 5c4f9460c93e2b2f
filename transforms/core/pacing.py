"""The limiter's arithmetic: how fast requests may go out, as pure transitions of one small state.

Requests and tokens each have a theoretical arrival time (GCRA): sending moves it forward by the cost, and a request may leave
once it lies no more than ``STORED_CREDIT_SECONDS`` ahead. So an idle minute is not saved up and spent in a burst, which is
what makes servers with sliding or short windows refuse. All times are seconds of one monotonic clock shared by everyone who
shares the state; a state holds numbers only, so that it fits into a small file.

Source: ITU-T I.371 (GCRA); the margins and the one-probe gate were chosen by simulation against token-bucket, sliding-window
and fixed-window servers, which tests/core/test_pacing.py repeats.
"""

import math
from dataclasses import dataclass, replace
from typing import Final

MARGIN: Final = 0.01
MOST_MARGIN: Final = 0.025
STORED_CREDIT_SECONDS: Final = 0.5
PROBE_PATIENCE_SECONDS: Final = 90.0
PROBE_POLL_SECONDS: Final = 0.05
BRAKE_HORIZON_SECONDS: Final = 4.0
LEAST_REQUESTS_FOR_BRAKE: Final = 500
REGROW_SECONDS: Final = 40.0
PERIOD_SECONDS: Final = 5.0
FEWEST_IN_PERIOD: Final = 8
UNEXPLAINED_BELIEVED: Final = 2
UNEXPLAINED_AT_MOST: Final = 6
NEVER: Final = -math.inf


@dataclass(frozen=True, slots=True)
class Quota:
    """What the run may use, over all its threads, processes and workers.

    Attributes:
        requests_per_minute: None when it is not known; then the pace is learned from the endpoint's answers.
        tokens_per_minute: None when it is not known.
        concurrent_requests: requests in flight at once. Rate times latency are needed to use a quota up; more than the
            server can work on at once only makes it slower.
    """

    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    concurrent_requests: int = 8

    def __post_init__(self) -> None:
        for name in ("requests_per_minute", "tokens_per_minute", "concurrent_requests"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be 1 or more, got {value}")


@dataclass(frozen=True, slots=True)
class PaceSettings:
    """One process's share of a quota, in the units of the arithmetic.

    Attributes:
        requests_per_second: inf where no quota is stated.
        tokens_per_second: inf where no quota is stated.
        concurrency: requests in flight at once, 1 or more.
        lanes: how many equal shares the quota was divided into; announced limits are divided by it too.
        window_seconds: what the server's announced limits are per.
    """

    requests_per_second: float
    tokens_per_second: float
    concurrency: int
    lanes: int = 1
    window_seconds: float = 60.0


def share_quota(
    quota: Quota,
    lanes: int,
    max_tokens_per_request: int = 1,
    max_concurrency: int | None = None,
    window_seconds: float = 60.0,
) -> PaceSettings:
    """Give one of ``lanes`` equal shares of a quota, less the margin that keeps any minute within it.

    Args:
        max_tokens_per_request: the largest request; all lanes may send one at the same moment.
    """
    if lanes < 1:
        raise ValueError(f"lanes must be 1 or more, got {lanes}")
    concurrency = max(1, quota.concurrent_requests // lanes)
    return PaceSettings(
        _per_second(quota.requests_per_minute, lanes, 1),
        _per_second(quota.tokens_per_minute, lanes, max_tokens_per_request),
        min(concurrency, max_concurrency or concurrency),
        lanes,
        window_seconds,
    )


def _per_second(per_minute: int | None, lanes: int, largest: int) -> float:
    """Share a limit so that a minute's flow, the stored credit and one request of each lane stay within it together."""
    if per_minute is None:
        return math.inf
    needed = 1 - (1 - lanes * largest / per_minute) / (1 + STORED_CREDIT_SECONDS / 60)
    margin = min(MOST_MARGIN, max(MARGIN, needed + 0.0005))
    return (1 - margin) * per_minute / 60 / lanes


@dataclass(frozen=True, slots=True)
class Announced:
    """Rate limits as an answer's headers give them; 0 or less stands for "not given".

    Attributes:
        requests_limit: requests in one window of the server.
        requests_remaining: of those, what is left now.
        tokens_limit: tokens in one window.
        tokens_remaining: of those, what is left now.
    """

    requests_limit: float = 0.0
    requests_remaining: float = -1.0
    tokens_limit: float = 0.0
    tokens_remaining: float = -1.0


@dataclass(frozen=True, slots=True)
class PaceState:
    """Where the limiter stands; floats only, in a fixed order, so that it can be stored as a row of doubles.

    Attributes:
        requests_due: theoretical arrival time of requests.
        tokens_due: theoretical arrival time of tokens.
        requests_ceiling: highest rate, per second: the stated or the announced one, whichever is lower.
        tokens_ceiling: the same for tokens.
        requests_after_cut: rate right after the last refusal, from which it grows again; inf before the first one.
        tokens_after_cut: the same for tokens.
        cut_at: when that growth began.
        brake: factor in (0, 1] from what the headers say is left.
        announced_at: when a header last gave a limit.
        closed: 0 while the gate is open, else 1 plus the number of probes refused since it closed.
        changed_at: when the gate last opened, closed or refused a probe; older requests bring no news.
        hold_until: nothing leaves before.
        probe_sent_at: when the one request left that is let through a closed gate; -inf when there is none.
        requests_accepted: requests answered since ``counted_since``.
        tokens_accepted: tokens of those.
        counted_since: the last refusal, or the start.
        concurrency: requests in flight that the server bears, between 1 and the setting.
        concurrency_cut_at: when it was last lowered.
        period_accepted: requests per second accepted in the period that the last cut ended.
        unexplained: how many cuts more than not were for a refusal below that rate.
    """

    requests_due: float
    tokens_due: float
    requests_ceiling: float
    tokens_ceiling: float
    requests_after_cut: float
    tokens_after_cut: float
    cut_at: float
    brake: float
    announced_at: float
    closed: float
    changed_at: float
    hold_until: float
    probe_sent_at: float
    requests_accepted: float
    tokens_accepted: float
    counted_since: float
    concurrency: float
    concurrency_cut_at: float
    period_accepted: float
    unexplained: float


@dataclass(frozen=True, slots=True)
class Admission:
    """Whether a request may leave now.

    Attributes:
        wait_seconds: 0.0 when it may, and then it has been charged; else when to ask again.
        held_by: ``requests_per_minute``, ``tokens_per_minute`` or ``server``; "" when it may leave.
    """

    wait_seconds: float
    held_by: str


def open_pace(settings: PaceSettings, now: float) -> PaceState:
    """Start with no stored credit beyond half a second, the gate open and nothing learned."""
    return PaceState(
        requests_due=now,
        tokens_due=now,
        requests_ceiling=settings.requests_per_second,
        tokens_ceiling=settings.tokens_per_second,
        requests_after_cut=math.inf,
        tokens_after_cut=math.inf,
        cut_at=now,
        brake=1.0,
        announced_at=NEVER,
        closed=0.0,
        changed_at=NEVER,
        hold_until=NEVER,
        probe_sent_at=NEVER,
        requests_accepted=0.0,
        tokens_accepted=0.0,
        counted_since=now,
        concurrency=float(settings.concurrency),
        concurrency_cut_at=NEVER,
        period_accepted=0.0,
        unexplained=0.0,
    )


def admit(state: PaceState, now: float, requests: float, tokens: float) -> tuple[PaceState, Admission]:
    """Charge a request if it may leave now, else say when to ask again and leave the state as it was.

    Args:
        requests: its cost against requests per minute, usually 1.
        tokens: its cost against tokens per minute, by our own count.
    """
    if now < state.hold_until:
        return state, Admission(state.hold_until - now, "server")
    if state.closed:
        if now - state.probe_sent_at < PROBE_PATIENCE_SECONDS:
            return state, Admission(PROBE_POLL_SECONDS, "server")
        state = replace(state, probe_sent_at=now)
    else:
        wait_requests = state.requests_due - STORED_CREDIT_SECONDS - now
        wait_tokens = state.tokens_due - STORED_CREDIT_SECONDS - now
        if wait_requests > 0 or wait_tokens > 0:
            name = "requests_per_minute" if wait_requests >= wait_tokens else "tokens_per_minute"
            return state, Admission(max(wait_requests, wait_tokens), name)
    requests_rate, tokens_rate = rates(state, now)
    charged = replace(
        state,
        requests_due=max(now, state.requests_due) + requests / requests_rate,
        tokens_due=max(now, state.tokens_due) + tokens / tokens_rate,
    )
    return charged, Admission(0.0, "")


def rates(state: PaceState, now: float) -> tuple[float, float]:
    """Give today's pace: requests and tokens per second, inf where nothing limits them."""
    return (
        _rate(state, now, state.requests_ceiling, state.requests_after_cut) * state.brake,
        _rate(state, now, state.tokens_ceiling, state.tokens_after_cut) * state.brake,
    )


def _rate(state: PaceState, now: float, ceiling: float, after_cut: float) -> float:
    """Grow from the last cut towards the ceiling.

    With headers, which would show the next shortage before it hurts, in 40 s. Without, flat at first and then ever faster
    (the shape of TCP CUBIC): long at the rate that was proven, and back within minutes when a quota returns.
    """
    if math.isinf(after_cut):
        return ceiling
    elapsed = max(0.0, now - state.cut_at)
    if math.isfinite(ceiling) and now - state.announced_at < REGROW_SECONDS:
        return min(ceiling, after_cut + ceiling * max(0.0, elapsed - 2) / REGROW_SECONDS)
    return min(ceiling, after_cut * (1 + 0.08 * elapsed / 60 + (elapsed / 80) ** 3))


def accept(
    state: PaceState,
    settings: PaceSettings,
    now: float,
    sent_at: float,
    requests: float,
    tokens: float,
    tokens_reported: float,
) -> PaceState:
    """Learn from a good answer: open the gate, correct the charge by ``usage``, let concurrency grow.

    Args:
        tokens: what was charged when it left.
        tokens_reported: what the endpoint says it cost, 0 where it does not tell.
    """
    if state.closed and sent_at >= state.changed_at:
        state = replace(
            state,
            closed=0.0,
            changed_at=now,
            cut_at=now,
            probe_sent_at=NEVER,
            requests_due=max(state.requests_due, now),
            tokens_due=max(state.tokens_due, now),
        )
    correction = (tokens_reported - tokens) / rates(state, now)[1] if tokens_reported > 0 else 0.0
    return replace(
        state,
        tokens_due=state.tokens_due + correction,
        requests_accepted=state.requests_accepted + requests,
        tokens_accepted=state.tokens_accepted + (tokens_reported or tokens),
        concurrency=min(float(settings.concurrency), state.concurrency + 1 / state.concurrency),
    )


def announce(state: PaceState, settings: PaceSettings, now: float, headers: Announced, tokens: float) -> PaceState:
    """Take over announced limits and brake before what is left runs out.

    An announced limit lowers the stated one and never raises it: behind a reseller it may describe somebody else's account.

    Args:
        tokens: size of the request that was answered; a limit of few such requests is too coarse to brake on.
    """
    if headers.requests_limit <= 0 and headers.tokens_limit <= 0:
        return state
    share = (1 - MARGIN) / settings.window_seconds / settings.lanes
    requests_ceiling, tokens_ceiling = settings.requests_per_second, settings.tokens_per_second
    if headers.requests_limit > 0:
        requests_ceiling = min(requests_ceiling, headers.requests_limit * share)
    if headers.tokens_limit > 0:
        tokens_ceiling = min(tokens_ceiling, headers.tokens_limit * share)
    brake = min(
        _brake(headers.requests_limit, headers.requests_remaining, 1.0),
        _brake(headers.tokens_limit, headers.tokens_remaining, max(1.0, tokens)),
    )
    return replace(
        state, requests_ceiling=requests_ceiling, tokens_ceiling=tokens_ceiling, announced_at=now, brake=brake
    )


def _brake(limit: float, remaining: float, cost: float) -> float:
    """Slow down by up to half while less is left than three standard deviations of the traffic of a few seconds."""
    if remaining < 0 or limit <= 0 or limit / cost < LEAST_REQUESTS_FOR_BRAKE:
        return 1.0
    kept_in_hand = max(3 * math.sqrt(BRAKE_HORIZON_SECONDS / (120 * limit / cost)), 3 * cost / limit)
    return 1 + 0.5 * max(-1.0, min(0.0, remaining / limit / kept_in_hand - 1))


def refuse(state: PaceState, now: float, sent_at: float, wait_seconds: float, jitter: float) -> PaceState:
    """Learn from a 429: close the gate and cut the pace once per event; a refused probe only waits longer.

    Requests that left before the gate last moved bring no news: without this a burst of refusals would cut once for each.

    Args:
        wait_seconds: what the server asked for, 0 when it did not.
        jitter: a fraction in [0, 1).
    """
    if state.closed:
        if sent_at <= state.changed_at:
            return state
        closed = state.closed + 1
        own_wait = (0.5 + 0.5 * jitter) * min(0.5 * 2**closed, 8.0)
        hold = now + max(wait_seconds, own_wait)
        return replace(state, closed=closed, changed_at=now, hold_until=hold, probe_sent_at=NEVER)
    if sent_at < state.changed_at:
        return state
    own_wait = (0.1 if state.unexplained > UNEXPLAINED_BELIEVED else 0.5) * (0.2 + 0.8 * jitter)
    hold = now + max(wait_seconds, own_wait)
    closed_state = replace(_cut(state, now), closed=1.0, changed_at=now, hold_until=hold, probe_sent_at=NEVER)
    return replace(closed_state, cut_at=now)


def _cut(state: PaceState, now: float) -> PaceState:
    """Lower the pace to just under what was accepted since the cut before, which is what refills; once a period at most.

    A refusal need not have to do with our rate: gateways also refuse for reasons of their own. It is unexplained when it
    comes at no more than the rate that was accepted in the period before, or when sending less has brought less and no
    fewer refusals. The first such periods may mean that the quota fell and lower the pace too; where they go on, the pace
    grows again until refusals have an explanation.
    """
    elapsed = now - state.counted_since
    first = math.isinf(state.requests_after_cut)
    if state.requests_accepted < FEWEST_IN_PERIOD or (elapsed < PERIOD_SECONDS and not first):
        return state
    requests_rate, tokens_rate = rates(state, now)
    accepted = state.requests_accepted / max(elapsed, 1e-3)
    explained = requests_rate > state.period_accepted and accepted >= 0.9 * state.period_accepted
    unexplained = max(0.0, state.unexplained - 1) if explained else min(UNEXPLAINED_AT_MOST, state.unexplained + 1)
    if unexplained > UNEXPLAINED_BELIEVED:
        change = 0.95 if explained else 1.5
        after_requests, after_tokens = change * requests_rate, change * tokens_rate
    elif not explained:
        after_requests, after_tokens = 0.8 * requests_rate, 0.8 * tokens_rate
    else:
        after_requests = _after_cut(requests_rate, accepted)
        after_tokens = _after_cut(tokens_rate, state.tokens_accepted / max(elapsed, 1e-3))
    return replace(
        state,
        requests_after_cut=after_requests,
        tokens_after_cut=after_tokens,
        requests_accepted=0.0,
        tokens_accepted=0.0,
        counted_since=now,
        period_accepted=accepted,
        unexplained=unexplained,
    )


def _after_cut(rate: float, accepted: float) -> float:
    if math.isinf(rate):
        return 0.97 * accepted
    return min(0.95 * rate, max(0.6 * rate, 0.97 * accepted))


def saturate(state: PaceState, now: float, sent_at: float) -> PaceState:
    """Learn from an overloaded server: a tenth less in flight, once per round trip."""
    state = drop(state, sent_at)
    if sent_at < state.concurrency_cut_at:
        return state
    return replace(state, concurrency=max(1.0, 0.9 * state.concurrency), concurrency_cut_at=now)


def drop(state: PaceState, sent_at: float) -> PaceState:
    """Note a failure that has nothing to do with the pace: it counts as let through, and another probe may go."""
    state = replace(state, requests_accepted=state.requests_accepted + 1)
    if state.closed and sent_at >= state.probe_sent_at:
        return replace(state, probe_sent_at=NEVER)
    return state


def tokens_that_pass(quota: Quota, max_tokens: int) -> int:
    """Give the largest request that keeps the flow smooth under a quota of tokens.

    A sliding window refuses what arrives in lumps, so a request holds about a 200th of a minute's tokens; when requests
    are the scarcer of the two, twice what each must carry to use the tokens up. Never more than a minute's tokens: such a
    request could not pass at all.
    """
    if quota.tokens_per_minute is None:
        return max_tokens
    smooth = quota.tokens_per_minute / 200
    if quota.requests_per_minute is not None:
        smooth = max(smooth, 2 * quota.tokens_per_minute / quota.requests_per_minute)
    return max(1, min(max_tokens, int(smooth), quota.tokens_per_minute))
