import pytest

from transforms.core.rate_headers import read_announced, read_duration, read_wait
from transforms.core.retry_policy import RetryBudget, RetryPolicy, delay_before_next_attempt

POLICY = RetryPolicy()


@pytest.mark.parametrize("field", ["max_attempts", "deadline_seconds", "first_delay_seconds", "budget"])
def test_a_policy_without_room_is_refused(field: str) -> None:
    with pytest.raises(ValueError, match=f"{field} must be"):
        RetryPolicy(**{field: 0})


def test_delays_double_up_to_the_longest() -> None:
    delays = [delay_before_next_attempt(POLICY, attempt, 0.0, None, 0.999999) for attempt in range(1, 8)]
    assert delays == pytest.approx([0.5, 1, 2, 4, 8, 16, 30], rel=1e-3)


def test_full_jitter_reaches_down_to_zero() -> None:
    assert delay_before_next_attempt(POLICY, 5, 0.0, None, 0.0) == 0


def test_the_server_s_wait_wins_over_the_computed_delay() -> None:
    assert delay_before_next_attempt(POLICY, 1, 0.0, 7.0, 0.0) == 7
    assert delay_before_next_attempt(POLICY, 1, 0.0, 7.0, 0.5) == pytest.approx(7.35)


def test_attempts_and_time_run_out() -> None:
    assert delay_before_next_attempt(POLICY, POLICY.max_attempts, 0.0, None, 0.5) is None
    assert delay_before_next_attempt(POLICY, 1, POLICY.deadline_seconds, 1.0, 0.5) is None


def test_the_budget_is_spent_by_retries_and_earned_by_successes() -> None:
    policy = RetryPolicy(budget=20)
    budget = RetryBudget(20)
    spent = budget.spend(policy, transient=True)
    assert spent == RetryBudget(6)
    assert spent.spend(policy, transient=True) is None
    assert spent.spend(policy, transient=False) == RetryBudget(1)
    assert spent.earn(policy) == RetryBudget(16)
    assert budget.earn(policy) == RetryBudget(20)


DATE = "Wed, 24 Jun 2026 09:00:00 GMT"
WAITS: list[tuple[str, dict[str, str], str, float | None]] = [
    ("milliseconds", {"retry-after-ms": "1500", "retry-after": "9"}, "", 1.5),
    ("seconds", {"retry-after": "7"}, "", 7.0),
    ("fraction", {"retry-after": "7.5"}, "", 7.5),
    ("date", {"retry-after": "Wed, 24 Jun 2026 09:00:20 GMT", "date": DATE}, "", 20.0),
    ("past date", {"retry-after": "Wed, 24 Jun 2026 08:00:00 GMT", "date": DATE}, "", None),
    ("date without date", {"retry-after": "Wed, 24 Jun 2026 09:00:20 GMT"}, "", None),
    ("zero", {"retry-after": "0"}, "", None),
    ("garbage", {"retry-after": "soon"}, "", None),
    ("negative", {"retry-after": "-5"}, "", None),
    ("nan", {"retry-after": "nan"}, "", None),
    ("timestamp", {"retry-after": "1782291600"}, "", None),
    ("reset", {"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "6m0s"}, "", 120.0),
    ("reset of the other", {"x-ratelimit-remaining-tokens": "5", "x-ratelimit-reset-tokens": "6s"}, "", None),
    ("draft", {"ratelimit": '"p";r=0;t=5'}, "", 5.0),
    ("openai text", {}, "Requested 70716. Please try again in 2.812s.", 2.812),
    ("openai ms", {}, "Please try again in 976ms.", 0.976),
    ("openai long", {}, "Please try again in 6m0s.", 360.0),
    ("azure text", {}, "Please retry after 26 seconds.", 26.0),
    ("azure ms text", {}, "Please retry after 500 milliseconds.", 0.5),
    ("nothing", {}, "Too many requests", None),
]


@pytest.mark.parametrize(("headers", "text", "seconds"), [row[1:] for row in WAITS], ids=[row[0] for row in WAITS])
def test_the_wait_is_found_in_whichever_form(headers: dict[str, str], text: str, seconds: float | None) -> None:
    assert read_wait(headers, text, 120.0) == (seconds if seconds is None else pytest.approx(seconds))


def test_the_first_form_in_the_order_of_precedence_wins() -> None:
    headers = {"retry-after": "3", "x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "9s"}
    assert read_wait(headers, "try again in 1s", 120.0) == 3
    del headers["retry-after"]
    assert read_wait(headers, "try again in 1s", 120.0) == 9


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("1s", 1), ("6m0s", 360), ("12ms", 0.012), ("1h2m3.5s", 3723.5), ("30", 30), ("", 0), ("soon", 0), ("-3", 0)],
)
def test_durations_are_read_as_go_writes_them(text: str, seconds: float) -> None:
    assert read_duration(text) == pytest.approx(seconds)


def test_announced_limits_are_read_and_odd_values_ignored() -> None:
    announced = read_announced(
        {
            "x-ratelimit-limit-requests": "3000",
            "x-ratelimit-remaining-requests": "2999",
            "x-ratelimit-limit-tokens": "-1",
            "x-ratelimit-remaining-tokens": "many",
        }
    )
    assert (announced.requests_limit, announced.requests_remaining) == (3000, 2999)
    assert (announced.tokens_limit, announced.tokens_remaining) == (-1, -1)
