import json
import logging
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tests.support.scripted_endpoint import Handler, Outcome, error_reply, scripted, vectors_reply
from transforms.clients.base import Answer
from transforms.clients.circuit import CANARY
from transforms.clients.resilient import LearnedLimits
from transforms.core.failures import NoReply, Reply
from transforms.core.pacing import Quota
from transforms.core.requests import RequestLimits
from transforms.core.retry_policy import RetryPolicy
from transforms.errors import ProviderRefused

TEXTS = [f"text {number}" for number in range(16)]


def first_times(count: int, outcome: Callable[[list[str]], Outcome]) -> Handler:
    """Fail so many requests, then answer."""
    left = [count]

    def handler(texts: list[str], body: dict[str, Any]) -> Outcome | None:
        left[0] -= 1
        return outcome(texts) if left[0] >= 0 else None

    return handler


def when(condition: Callable[[list[str]], bool], outcome: Callable[[list[str]], Outcome]) -> Handler:
    return lambda texts, body: outcome(texts) if condition(texts) else None


def always(outcome: Outcome) -> Handler:
    return lambda texts, body: outcome


def poisoned(texts: list[str]) -> bool:
    return any("poison" in text for text in texts)


def short(texts: list[str]) -> Reply:
    good = json.loads(vectors_reply(texts).body)
    return Reply(200, {}, json.dumps(good | {"data": good["data"][:-1]}).encode())


def spoiled(value: object) -> Callable[[list[str]], Reply]:
    def reply(texts: list[str]) -> Reply:
        good = json.loads(vectors_reply(texts).body)
        good["data"][-1]["embedding"][0] = value
        return Reply(200, {}, json.dumps(good).encode())

    return reply


# ---------------------------------------------------------------------------------------------------------- retry


@pytest.mark.parametrize(
    "outcome",
    [
        lambda texts: NoReply("reset", "closed"),
        lambda texts: NoReply("truncated", "broke off"),
        lambda texts: NoReply("dns", "no name"),
        lambda texts: NoReply("read_timeout", "no answer"),
        lambda texts: error_reply(500, "boom"),
        lambda texts: error_reply(502),
        lambda texts: error_reply(503),
        lambda texts: error_reply(408),
        lambda texts: error_reply(200, "Provider returned error", "502"),
        lambda texts: Reply(200, {}, b'{"data": [{"ind'),
        lambda texts: Reply(200, {}, b"<html>maintenance</html>"),
        short,
        spoiled(float("nan")),
        spoiled(None),
    ],
    ids=[
        "reset",
        "truncated",
        "dns",
        "timeout",
        "500",
        "502",
        "503",
        "408",
        "200 error",
        "json",
        "html",
        "short",
        "nan",
        "null",
    ],
)
def test_a_fault_that_passes_costs_one_more_request(outcome: Callable[[list[str]], Outcome]) -> None:
    run = scripted(first_times(1, outcome))
    assert run.embed(TEXTS) == ()
    assert run.sent() == [TEXTS, TEXTS]
    assert run.clock.waits == [0.25]
    usage = run.client.usage()
    assert (usage.requests, usage.requests_retried, usage.requests_throttled) == (2, 1, 0)


def test_delays_grow_with_full_jitter() -> None:
    run = scripted(first_times(4, lambda texts: error_reply(502)))
    run.embed(TEXTS)
    assert run.clock.waits == [0.25, 0.5, 1.0, 2.0]


def test_the_server_s_wait_is_honoured() -> None:
    run = scripted(first_times(1, lambda texts: error_reply(503, retry_after="20")))
    run.embed(TEXTS)
    assert run.clock.waits == [21.0]


def test_tokens_that_may_have_been_charged_for_nothing_are_counted() -> None:
    run = scripted(first_times(1, lambda texts: NoReply("read_timeout", "")))
    run.embed(TEXTS, tokens=10)
    assert run.client.usage().tokens_wasted == 160
    free = scripted(first_times(1, lambda texts: NoReply("refused", "")))
    free.embed(TEXTS, tokens=10)
    assert free.client.usage().tokens_wasted == 0


def test_a_429_holds_everybody_back_and_is_counted() -> None:
    run = scripted(first_times(1, lambda texts: error_reply(429, retry_after="7")))
    before = run.clock.now
    assert run.embed(TEXTS) == ()
    assert run.clock.now - before >= 7
    assert run.client.usage().requests_throttled == 1
    assert run.client.usage().seconds_paced >= 7
    assert run.client.limited_by() == "server"


def test_an_empty_budget_slows_retries_down_instead_of_losing_texts() -> None:
    run = scripted(first_times(3, lambda texts: error_reply(502)), policy=RetryPolicy(budget=14))
    assert run.embed(TEXTS) == ()
    assert run.clock.waits == [0.25, 22.5, 22.5]


# ------------------------------------------------------------------------------------------------ shrink and split


def test_the_endpoint_s_maximum_is_learned_from_its_words_and_kept() -> None:
    too_many = error_reply(422, "batch size 16 > maximum allowed batch size 4")
    run = scripted(when(lambda texts: len(texts) > 4, lambda texts: too_many))
    assert run.embed(TEXTS) == ()
    assert run.client.request_limits().max_inputs == 4
    assert [len(texts) for texts in run.sent()] == [16, 4, 4, 4, 4]
    run.embed(TEXTS)
    assert [len(texts) for texts in run.sent()[5:]] == [4, 4, 4, 4]


def test_without_a_number_half_is_tried() -> None:
    run = scripted(when(lambda texts: len(texts) > 5, lambda texts: error_reply(413)))
    assert run.embed(TEXTS) == ()
    assert run.client.request_limits().max_inputs == 4


def test_a_limit_of_tokens_is_learned() -> None:
    message = "Requested 1600 tokens, max 400 tokens per request"
    run = scripted(when(lambda texts: len(texts) > 4, lambda texts: error_reply(400, message)))
    assert run.embed(TEXTS, tokens=100) == ()
    assert run.client.request_limits().max_tokens == 400


def test_a_token_limit_above_our_own_count_still_makes_requests_smaller() -> None:
    message = "Requested 9000 tokens, max 8000 tokens per request"
    run = scripted(when(lambda texts: len(texts) > 12, lambda texts: error_reply(400, message)))
    assert run.embed(TEXTS, tokens=100) == ()


def test_a_text_that_is_too_large_alone_is_refused() -> None:
    run = scripted(when(lambda texts: "text 3" in texts, lambda texts: error_reply(413)))
    refusals = run.embed(TEXTS[:4])
    assert [(refusal.position, refusal.reason, refusal.attempts) for refusal in refusals] == [(3, "too_large", 1)]


def test_a_slow_request_is_halved_without_learning() -> None:
    run = scripted(when(lambda texts: len(texts) > 8, lambda texts: NoReply("read_timeout", "")))
    assert run.embed(TEXTS) == ()
    assert [len(texts) for texts in run.sent() if texts != [CANARY]] == [16, 16, 8, 8]
    assert run.client.request_limits().max_inputs == 128


def test_more_texts_than_a_request_takes_are_spread() -> None:
    run = scripted(limits=RequestLimits(max_inputs=6))
    run.embed(TEXTS)
    assert [len(texts) for texts in run.sent()] == [6, 5, 5] or [len(texts) for texts in run.sent()] == [6, 6, 4]


# --------------------------------------------------------------------------------------------------------- bisect


@pytest.mark.parametrize("status", [400, 422, 500, 418])
@pytest.mark.parametrize("position", [0, 7, 15])
def test_one_refused_text_is_found_and_the_others_land(status: int, position: int) -> None:
    texts = list(TEXTS)
    texts[position] += " poison"
    run = scripted(when(poisoned, lambda texts: error_reply(status, "cannot be processed (request id: abc)")))
    refusals = run.embed(texts)
    assert [(refusal.position, refusal.request_id) for refusal in refusals] == [(position, "abc")]


def test_a_poisoned_text_among_128_costs_ten_more_requests_at_most() -> None:
    for position in range(0, 128, 9):
        texts = [f"text {number}" for number in range(128)]
        texts[position] += " poison"
        run = scripted(when(poisoned, lambda texts: error_reply(400, "no")))
        assert [refusal.position for refusal in run.embed(texts)] == [position]
        assert len(run.sent()) - 1 <= 10


def test_several_refused_texts_are_all_found() -> None:
    texts = [text + (" poison" if number in (1, 2, 11) else "") for number, text in enumerate(TEXTS)]
    run = scripted(when(poisoned, lambda texts: error_reply(400, "no")))
    assert [refusal.position for refusal in run.embed(texts)] == [1, 2, 11]


def test_a_vector_that_is_never_finite_rejects_its_text_only() -> None:
    texts = [*TEXTS, "poison"]
    run = scripted(when(poisoned, spoiled(None)))
    assert [(refusal.position, refusal.reason) for refusal in run.embed(texts)] == [(16, "non_finite")]


def test_refusals_say_nothing_of_the_text() -> None:
    text = "the secret recipe is two spoons of poison"
    run = scripted(when(poisoned, lambda texts: error_reply(400, f"cannot embed '{text}'")))
    assert run.embed([text])[0].message == "cannot embed '[text]'"


def test_no_text_is_refused_when_even_a_known_good_one_is() -> None:
    run = scripted(always(error_reply(400, "dimensions must be lower")))
    with pytest.raises(ProviderRefused, match=r"does not accept embedding\.dimensions"):
        run.embed(TEXTS)
    assert run.sent() == [TEXTS, [CANARY]]


def test_an_endpoint_that_collapses_lists_is_asked_for_one_text_at_a_time(caplog: pytest.LogCaptureFixture) -> None:
    run = scripted(when(lambda texts: len(texts) > 1, short))
    with caplog.at_level(logging.WARNING):
        assert run.embed(TEXTS[:4]) == ()
    assert run.client.request_limits().max_inputs == 1
    assert "takes no more than 1 texts" in caplog.text


def test_too_many_refused_texts_stop_the_run() -> None:
    run = scripted(when(lambda texts: texts != [CANARY], lambda texts: error_reply(400, "no")))
    with pytest.raises(ProviderRefused, match="refuses more than 5% of 1000 texts"):
        run.embed([f"text {number}" for number in range(200)])


def test_counting_of_refused_texts_starts_again_after_a_thousand() -> None:
    run = scripted(when(poisoned, lambda texts: error_reply(400, "no")), limits=RequestLimits(max_inputs=100))
    texts = [f"text {number}" + (" poison" if number % 40 == 0 else "") for number in range(3000)]
    assert len(run.embed(texts)) == 75


@pytest.mark.parametrize(("text", "reason"), [("", "empty"), (" \n", "empty"), ("half \ud800", "not_unicode")])
def test_what_no_endpoint_takes_is_refused_without_a_request(text: str, reason: str) -> None:
    run = scripted()
    refusals = run.client.submit([text], [1], run.keep).result(20)
    assert [(refusal.reason, refusal.attempts) for refusal in refusals] == [(reason, 0)]
    assert run.sent() == []


def test_a_text_larger_than_a_minute_s_quota_is_refused_without_a_request() -> None:
    run = scripted(max_tokens_per_text=50)
    refusals = run.embed(["long"], tokens=51)
    assert refusals[0].reason == "larger_than_quota"
    assert run.sent() == []


# --------------------------------------------------------------------------------------------------------- outage


def test_an_outage_is_waited_out_and_no_text_is_lost() -> None:
    run = scripted(first_times(30, lambda texts: NoReply("reset", "closed")))
    assert run.embed(TEXTS) == ()
    probes = [texts for texts in run.sent() if texts == [CANARY]]
    assert len(probes) == 23
    assert max(run.clock.waits) == 30.0


def test_an_outage_that_does_not_end_gives_the_run_up_resumably() -> None:
    run = scripted(always(error_reply(503, "maintenance")), max_outage_seconds=300.0)
    before = run.clock.now
    with pytest.raises(ProviderRefused, match="is out of reach: maintenance; run the same command again to go on"):
        run.embed(TEXTS)
    assert 300 <= run.clock.now - before <= 400


@pytest.mark.parametrize("budget", [1, 500])
def test_an_outage_is_not_waited_for_longer_than_allowed_however_its_retries_go(budget: int) -> None:
    policy = RetryPolicy(deadline_seconds=10.0, budget=budget)
    run = scripted(always(error_reply(503, "maintenance")), policy=policy, max_outage_seconds=10.0)
    before = run.clock.now
    with pytest.raises(ProviderRefused, match="is out of reach"):
        run.embed(TEXTS)
    assert run.clock.now - before <= 11


def test_a_key_that_is_revoked_in_an_outage_ends_it() -> None:
    outcomes = iter([*[error_reply(502)] * 10, *[error_reply(401, "revoked")] * 10])
    run = scripted(lambda texts, body: next(outcomes))
    with pytest.raises(ProviderRefused, match="the key in KEY is no longer accepted"):
        run.embed(TEXTS)


def test_a_throttled_probe_is_repeated_and_after_twenty_taken_for_an_outage() -> None:
    outcomes = iter([*[error_reply(502)] * 8, *[error_reply(429)] * 20])
    run = scripted(lambda texts, body: next(outcomes, None))
    assert run.embed(TEXTS) == ()


def test_a_probe_with_a_passing_fault_is_repeated() -> None:
    outcomes = iter([error_reply(400, "no"), short([CANARY, "x"]), Reply(200, {}, b'{"data": []}')])
    run = scripted(lambda texts, body: next(outcomes, None))
    assert run.embed(TEXTS) == ()


# ---------------------------------------------------------------------------------------------------------- abort

ABORTS: list[tuple[str, Outcome, str]] = [
    (
        "key",
        error_reply(401, "invalid token"),
        "the key in KEY is no longer accepted by endpoint.example: invalid token",
    ),
    ("balance", error_reply(402, "no money"), "out of balance: no money; add credit"),
    (
        "quota",
        error_reply(429, "exceeded your quota", "insufficient_quota"),
        "add credit, then run the same command again",
    ),
    ("comet balance", error_reply(403, "no", "insufficient_user_quota"), "add credit"),
    (
        "model",
        error_reply(503, "no available channel", "model_not_found"),
        "the model 'm' is not served at http://endpoint",
    ),
    ("path", error_reply(404, "no"), "check embedding.base_url, which usually ends in /v1"),
    (
        "redirect",
        Reply(301, {"location": "https://elsewhere.example"}, b""),
        "redirects to 'https://elsewhere.example'",
    ),
    ("certificate", NoReply("tls_certificate", "does not verify"), "REQUESTS_CA_BUNDLE"),
    ("proxy", NoReply("proxy", "no"), "check HTTPS_PROXY"),
    ("daily", error_reply(429, "later", retry_after="7200"), "comes back only in 2 h 0 min"),
    ("dimension", vectors_reply(TEXTS, 9), "vectors of another length: expected 8 dimensions, got 9 in 16 of 16"),
]


@pytest.mark.parametrize(("outcome", "sentence"), [row[1:] for row in ABORTS], ids=[row[0] for row in ABORTS])
def test_what_cannot_get_better_stops_the_run_with_one_sentence(outcome: Outcome, sentence: str) -> None:
    run = scripted(always(outcome))
    with pytest.raises(ProviderRefused) as caught:
        run.embed(TEXTS)
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)
    sent = len(run.exchange.requests)
    with pytest.raises(ProviderRefused) as again:
        run.embed(TEXTS)
    assert str(again.value) == str(caught.value)
    assert len(run.exchange.requests) == sent


def test_a_key_that_is_refused_once_in_passing_is_asked_about_again() -> None:
    run = scripted(first_times(1, lambda texts: error_reply(401)))
    assert run.embed(TEXTS) == ()
    assert run.clock.waits == [5.25]


def test_an_encoding_that_is_refused_is_left_out_from_then_on() -> None:
    def handler(texts: list[str], body: dict[str, Any]) -> Outcome | None:
        return error_reply(400, "Unknown parameter: 'encoding_format'") if "encoding_format" in body else None

    run = scripted(handler)
    run.client._attempts.manners.encoding = "float"
    assert run.embed(TEXTS) == ()
    assert "encoding_format" not in run.exchange.bodies[-1]


# -------------------------------------------------------------------------------------------------------- warnings


def test_a_charge_far_below_our_count_is_warned_about_once(caplog: pytest.LogCaptureFixture) -> None:
    run = scripted()
    with caplog.at_level(logging.WARNING):
        run.embed(TEXTS, tokens=100)
        run.embed(TEXTS, tokens=100)
    assert caplog.text.count("it charged 16 tokens where we count 1600") == 1


def test_a_model_that_changes_is_warned_about(caplog: pytest.LogCaptureFixture) -> None:
    names = iter(["m-1", "m-1", "m-2"])
    run = scripted(lambda texts, body: vectors_reply(texts, model=next(names)))
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            run.embed(TEXTS)
    assert caplog.text.count("model changed during the run, from m-1 to m-2") == 1


def test_answers_are_handed_on_before_the_future_is_done() -> None:
    run = scripted()
    seen: list[int] = []

    def keep(answer: Answer) -> None:
        seen.extend(answer.positions)
        assert answer.vectors.dtype == np.float32

    run.client.submit(TEXTS, [1] * 16, keep).add_done_callback(lambda future: seen.append(-1))
    run.client.close(5)
    assert seen[-1] == -1


def test_a_text_that_breaks_the_connection_each_time_is_refused_alone() -> None:
    texts = [*TEXTS[:3], "poison"]
    run = scripted(when(poisoned, lambda texts: NoReply("reset", "closed")))
    assert [refusal.position for refusal in run.embed(texts)] == [3]


def test_connections_that_fail_for_a_while_are_no_reason_to_refuse_a_text() -> None:
    left = [9]

    def handler(texts: list[str], body: dict[str, Any]) -> Outcome | None:
        left[0] -= texts != [CANARY]
        return NoReply("refused", "no") if texts != [CANARY] and left[0] >= 0 else None

    assert scripted(handler).embed(TEXTS) == ()


def test_a_429_that_never_ends_is_waited_out_by_probing() -> None:
    left = [200]

    def handler(texts: list[str], body: dict[str, Any]) -> Outcome | None:
        left[0] -= 1
        return error_reply(429) if left[0] >= 0 else None

    assert scripted(handler).embed(TEXTS) == ()


def test_a_probe_leaves_the_encoding_out_when_that_is_what_is_refused() -> None:
    def handler(texts: list[str], body: dict[str, Any]) -> Outcome | None:
        if texts == [CANARY] and "encoding_format" in body:
            return error_reply(400, "Unknown parameter: 'encoding_format'")
        return error_reply(400, "no") if poisoned(texts) else None

    assert [refusal.position for refusal in scripted(handler).embed(["poison"])] == [0]


def test_requests_wait_while_somebody_else_probes() -> None:
    down, probing, go_on = threading.Event(), threading.Event(), threading.Event()
    down.set()

    def handler(texts: list[str], body: dict[str, Any]) -> Outcome | None:
        if not down.is_set():
            return None
        if texts == [CANARY]:
            probing.set()
        return error_reply(502)

    run = scripted(handler, quota=Quota(concurrent_requests=4))
    sleep = run.clock.sleep

    def slow_sleep(seconds: float) -> None:
        if probing.is_set():
            go_on.wait(10)
        sleep(seconds)

    run.client._circuit._sleep = slow_sleep
    first = run.client.submit(["a"], [1], run.keep)
    assert probing.wait(10)
    while not run.client._circuit._is_open:
        pass
    sent = len(run.sent())
    second = run.client.submit(["b"], [1], run.keep)
    assert len(run.sent()) == sent
    down.clear()
    go_on.set()
    assert (first.result(10), second.result(10)) == ((), ())


def test_larger_limits_teach_nothing(caplog: pytest.LogCaptureFixture) -> None:
    limits = LearnedLimits(RequestLimits(10, 100))
    with caplog.at_level(logging.WARNING):
        limits.lower(20, 200)
    assert limits.today() == RequestLimits(10, 100)
    assert caplog.text == ""
