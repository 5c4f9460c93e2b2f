import json
import logging
import threading
from concurrent.futures import Future
from typing import Any

import pytest

from tests.support.scripted_endpoint import DIMENSION, Outcome, Scripted, error_reply, scripted, vectors_reply
from transforms.clients.base import Answer
from transforms.clients.circuit import CANARY
from transforms.clients.endpoint import fitting_limits, fitting_pace
from transforms.clients.probe import OTHER
from transforms.clients.tally import main_limit
from transforms.core.failures import NoReply, Reply
from transforms.core.latency import latency_class
from transforms.core.pacing import Quota
from transforms.core.profiles import PROFILES
from transforms.core.requests import RequestLimits
from transforms.errors import ProviderRefused, RunInterrupted


def rewritten(reply: Reply, **changes: Any) -> Reply:
    return Reply(reply.status, reply.headers, json.dumps(json.loads(reply.body) | changes).encode())


def without_indices(texts: list[str], reverse: bool = False) -> Reply:
    data = json.loads(vectors_reply(texts).body)["data"]
    for item in data:
        del item["index"]
    return rewritten(vectors_reply(texts), data=data[::-1] if reverse else data)


# ----------------------------------------------------------------------------------------------------------- probe


def test_the_probe_proves_dimension_model_and_order() -> None:
    run = scripted(proven=False)
    facts = run.client.prove()
    assert (facts.dimension, facts.model_reported, facts.normalized) == (DIMENSION, "m", True)
    assert len(facts.canary) == 4 * DIMENSION
    assert run.exchange.requests == [[CANARY, OTHER], [OTHER, CANARY]]


def test_the_probe_is_sent_once_and_not_counted_as_a_request() -> None:
    run = scripted(proven=False)
    run.client.prove()
    assert run.client.prove() is run.client.prove()
    assert len(run.exchange.requests) == 2
    assert run.client.usage().requests == 0
    assert run.client.probe_tokens() == 4


def test_submitting_without_a_proof_proves_first() -> None:
    run = scripted(proven=False)
    run.embed(["a"])
    assert run.exchange.requests[0] == [CANARY, OTHER]


def test_base64_is_asked_for_only_after_it_was_proven() -> None:
    def handler(texts: list[str], body: dict[str, Any]) -> Outcome | None:
        return error_reply(400, "encoding_format base64 unsupported") if body["encoding_format"] == "base64" else None

    refusing, taking = scripted(handler, proven=False), scripted(proven=False)
    assert refusing.client.prove().base64 is False
    assert taking.client.prove().base64 is True
    refusing.embed(["a"])
    taking.embed(["a"])
    assert refusing.exchange.bodies[-1]["encoding_format"] == "float"
    assert taking.exchange.bodies[-1]["encoding_format"] == "base64"


def test_base64_that_gives_other_vectors_is_not_used() -> None:
    def handler(texts: list[str], body: dict[str, Any]) -> Outcome | None:
        return vectors_reply([text + "!" for text in texts]) if body["encoding_format"] == "base64" else None

    run = scripted(handler, proven=False)
    assert run.client.prove().base64 is False


def test_base64_is_not_tried_where_the_profile_forbids_it() -> None:
    run = scripted(proven=False, profile="gemini")
    assert run.client.prove().base64 is False
    assert len(run.exchange.requests) == 1


def test_an_encoding_that_the_probe_may_not_name_is_left_out() -> None:
    def handler(texts: list[str], body: dict[str, Any]) -> Outcome | None:
        return error_reply(400, "Unknown parameter: 'encoding_format'") if "encoding_format" in body else None

    run = scripted(handler, proven=False)
    assert run.client.prove().base64 is False
    assert "encoding_format" not in run.exchange.bodies[-1]


def test_answers_without_an_index_are_used_after_their_order_was_shown() -> None:
    run = scripted(lambda texts, body: without_indices(texts), proven=False, profile="gemini")
    assert run.client.prove().dimension == DIMENSION
    assert run.embed(["a", "b", "c"]) == ()


def test_answers_without_an_index_in_another_order_stop_the_run() -> None:
    run = scripted(
        lambda texts, body: without_indices(texts, reverse=texts[0] == OTHER), proven=False, profile="gemini"
    )
    with pytest.raises(ProviderRefused, match="without an index and not in the order"):
        run.client.prove()


def test_one_vector_for_two_texts_stops_the_run() -> None:
    run = scripted(lambda texts, body: vectors_reply([texts[0]] * 2), proven=False)
    with pytest.raises(ProviderRefused, match="the same vector for two different texts"):
        run.client.prove()


def test_dimensions_other_than_asked_for_stop_the_run() -> None:
    run = scripted(proven=False, dimensions=3)
    with pytest.raises(ProviderRefused, match="expected 3 dimensions, got 8 in 2 of 2"):
        run.client.prove()


@pytest.mark.parametrize(
    ("outcome", "requests"),
    [
        (error_reply(401, "no"), 1),
        (error_reply(404, "no"), 1),
        (error_reply(503, "no available channel", "model_not_found"), 1),
        (error_reply(429, "no", "insufficient_quota"), 1),
        (Reply(301, {"location": "/"}, b""), 1),
        (Reply(200, {}, b"<html>"), 1),
        (NoReply("refused", "the connection is refused"), 5),
        (NoReply("dns", "no name"), 5),
        (error_reply(502), 8),
        (error_reply(400, "dimensions"), 1),
    ],
)
def test_a_refused_probe_ends_the_run_with_few_requests(outcome: Outcome, requests: int) -> None:
    run = scripted(lambda texts, body: outcome, proven=False)
    with pytest.raises(ProviderRefused):
        run.client.prove()
    assert len(run.exchange.requests) == requests


def test_a_probe_survives_passing_faults_and_a_throttle() -> None:
    outcomes = iter([error_reply(502), error_reply(429), Reply(200, {}, b'{"data": []'), None, None])
    run = scripted(lambda texts, body: next(outcomes), proven=False)
    assert run.client.prove().base64 is True


# ------------------------------------------------------------------------------------------------- threads and stop


def blocked(run: Scripted, released: threading.Event, texts: int = 4) -> "list[Future[Any]]":
    return [run.client.submit([f"text {number}"], [1], run.keep) for number in range(texts)]


def test_stopping_sends_nothing_more_and_keeps_what_is_in_flight() -> None:
    entered, released = threading.Event(), threading.Event()

    def handler(texts: list[str], body: dict[str, Any]) -> Outcome | None:
        entered.set()
        released.wait(10)
        return None

    run = scripted(handler)
    futures = blocked(run, released)
    assert entered.wait(10)
    run.client.stop("somebody pressed a key")
    released.set()
    errors = [future.exception(10) for future in futures]
    assert [error for error in errors if error is None] == [None]
    assert {str(error) for error in errors if error} == {"somebody pressed a key"}
    assert all(isinstance(error, RunInterrupted) for error in errors if error)
    assert len(run.answers) == 1
    assert len(run.sent()) == 1


def test_an_abort_reaches_every_future_with_the_same_sentence() -> None:
    run = scripted(lambda texts, body: error_reply(404, "gone"), quota=Quota(concurrent_requests=4))
    futures = blocked(run, threading.Event(), 40)
    sentences = {str(future.exception(10)) for future in futures}
    assert len(sentences) == 1
    assert "check embedding.base_url" in sentences.pop()
    assert len(run.sent()) <= 4


def test_an_answer_that_cannot_be_kept_stops_the_client() -> None:
    run = scripted()

    def full(answer: Answer) -> None:
        raise OSError("no space left on device")

    future = run.client.submit(["a"], [1], full)
    with pytest.raises(OSError, match="no space left"):
        future.result(10)
    with pytest.raises(RunInterrupted, match="an answer could not be kept: no space left on device"):
        run.client.submit(["b"], [1], run.keep).result(10)
    assert len(run.sent()) == 1


def test_closing_gives_everything_back_and_takes_no_more() -> None:
    run = scripted()
    run.embed(["a"])
    run.client.close(5)
    run.client.close(5)
    assert run.exchange.closed
    with pytest.raises(RunInterrupted, match="the client is closed"):
        run.client.submit(["b"], [1], run.keep)


def test_texts_and_counts_must_match() -> None:
    with pytest.raises(ValueError, match="got 2 texts and 1 counts"):
        scripted().client.submit(["a", "b"], [1], lambda answer: None)


def test_no_more_than_the_stated_number_is_in_flight() -> None:
    lock, busy, peak = threading.Lock(), [0], [0]
    run = scripted(quota=Quota(concurrent_requests=3))
    post = run.exchange.post

    def counted(body: bytes) -> Outcome:
        with lock:
            busy[0] += 1
            peak[0] = max(peak[0], busy[0])
        outcome = post(body)
        with lock:
            busy[0] -= 1
        return outcome

    run.exchange.post = counted  # type: ignore[method-assign]
    for future in blocked(run, threading.Event(), 60):
        future.result(10)
    assert 1 <= peak[0] <= 3


# ------------------------------------------------------------------------------------------------ limits and figures


def test_a_server_s_limits_and_the_quota_lower_a_request() -> None:
    limits = RequestLimits(2048, 300_000)
    assert fitting_limits(limits, PROFILES["tei"], Quota(), 1).max_inputs == 32
    assert fitting_limits(limits, PROFILES["mistral"], Quota(), 1).max_tokens == 16_000
    assert fitting_limits(limits, PROFILES["openai"], Quota(None, 1_000_000), 1).max_tokens == 5_000
    assert fitting_limits(limits, PROFILES["openai"], Quota(3000, 1_000_000), 10).max_tokens == 666
    assert fitting_limits(limits, PROFILES["gemini"], Quota(600), 1).max_inputs == 50


def test_a_server_s_habits_lower_the_concurrency() -> None:
    quota, limits = Quota(concurrent_requests=64), RequestLimits(32)
    assert fitting_pace(quota, PROFILES["tei"], limits, 1).concurrency == 16
    assert fitting_pace(quota, PROFILES["ollama"], limits, 1).concurrency == 1
    assert fitting_pace(quota, PROFILES["openai"], limits, 1).concurrency == 64
    assert fitting_pace(quota, PROFILES["together"], limits, 1).window_seconds == 1.0


def test_requests_are_charged_by_the_text_where_the_server_counts_so() -> None:
    run = scripted(profile="gemini", quota=Quota(60, None, 1))
    before = run.clock.now
    run.embed([f"text {number}" for number in range(50)])
    run.embed(["one more"])
    assert run.clock.now - before > 45
    assert run.client.limited_by() == "requests_per_minute"


@pytest.mark.parametrize(
    ("held_by", "in_flight", "seconds", "requests", "name"),
    [
        ({}, 0.0, 0.0, 0, "nothing"),
        ({"tokens_per_minute": 5.0, "server": 1.0}, 50.0, 10.0, 5, "tokens_per_minute"),
        ({"concurrency": 9.0}, 50.0, 10.0, 5, "concurrency"),
        ({"server": 0.1}, 9.0, 10.0, 5, "latency"),
        ({}, 1.0, 10.0, 5, "cpu"),
    ],
)
def test_what_held_the_run_back_is_named(
    held_by: dict[str, float], in_flight: float, seconds: float, requests: int, name: str
) -> None:
    assert main_limit(held_by, in_flight, seconds, requests) == name


def test_usage_adds_up(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        run = scripted()
        run.embed(["a", "b"])
        run.embed(["c"])
    usage = run.client.usage()
    assert (usage.requests, usage.prompt_tokens, usage.tokens_wasted) == (2, 3, 0)
    assert run.client.limited_by() in ("latency", "cpu")
    assert caplog.text == ""


def test_attempts_are_counted_by_how_long_they_took_and_are_in_flight_until_then() -> None:
    in_flight: list[int] = []

    def slow_then_quick(texts: list[str], body: dict[str, Any]) -> Outcome | None:
        in_flight.append(run.client.usage().requests_in_flight)
        run.clock.now += 3.0 if len(in_flight) == 1 else 0.2
        return error_reply(502) if len(in_flight) == 1 else None

    run = scripted(slow_then_quick)
    run.embed(["a"])
    usage = run.client.usage()
    assert in_flight == [1, 1]
    assert (usage.requests, usage.requests_in_flight) == (2, 0)
    found = {at: count for at, count in enumerate(usage.latencies) if count}
    assert found == {latency_class(3.0): 1, latency_class(0.2): 1}
    doubled = usage + usage
    assert (sum(doubled.latencies), sum((doubled - usage).latencies)) == (4, 2)


def test_probes_are_no_requests_in_flight() -> None:
    run = scripted(proven=False)
    run.client.prove()
    assert run.client.usage().requests_in_flight == sum(run.client.usage().latencies) == 0
