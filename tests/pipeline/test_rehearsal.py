import json
import subprocess
import sys
import urllib.error
import urllib.request
from base64 import b64decode
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.rehearsal import FAULTS, RehearsalSettings, WindowLimiter, rehearsal_vector, rehearsal_vectors
from tests.support.rehearsal import rehearsal
from transforms.clients.catalog import look_up_price


def call(
    base_url: str, body: dict[str, Any], path: str = "/embeddings", key: str = ""
) -> tuple[int, dict[str, str], Any]:
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})
    request = urllib.request.Request(base_url + path, json.dumps(body).encode(), headers)
    try:
        with urllib.request.urlopen(request) as response:
            return response.status, dict(response.headers), json.loads(response.read())
    except urllib.error.HTTPError as error:
        with error:
            text = error.read().decode()
        return error.code, dict(error.headers), json.loads(text) if text.startswith("{") else text


# --------------------------------------------------------------------------------------------------------- vectors


def test_a_vector_comes_from_the_text_alone() -> None:
    texts = [f"text {number}" for number in range(50)]
    together = rehearsal_vectors(texts, 1536)
    alone = [rehearsal_vector(text, 1536) for text in texts]
    assert np.array_equal(together, np.stack(alone))
    assert together.dtype == np.float32
    assert np.allclose(np.linalg.norm(together, axis=1), 1, atol=1e-6)


def test_vectors_of_different_texts_point_elsewhere() -> None:
    vectors = rehearsal_vectors([f"text {number}" for number in range(300)], 256)
    cosines = vectors @ vectors.T - np.eye(300)
    assert np.abs(cosines).max() < 0.7


# --------------------------------------------------------------------------------------------------------- limiters


@pytest.mark.parametrize("kind", ["token-bucket", "sliding-window", "fixed-window"])
def test_a_limiter_admits_its_limit_and_says_how_long_to_wait(kind: str) -> None:
    limiter = WindowLimiter(kind, 60, 0.0)
    for second in range(60):
        assert limiter.wait(second / 10, 1) == 0
        limiter.charge(second / 10, 1)
    wait = limiter.wait(6.0, 10)
    assert limiter.remaining(6.0 + wait - 0.01) < 10
    assert limiter.remaining(6.0 + wait + 0.01) >= 10
    assert limiter.full_after(6.0) > 0


def test_a_limit_that_changes_keeps_what_was_used() -> None:
    limiter = WindowLimiter("sliding-window", 100, 0.0)
    limiter.charge(0.0, 60)
    limiter.changed(50)
    assert limiter.remaining(1.0) == -10
    assert limiter.remaining(61.0) == 50


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"limiter": "leaky"}, "limiter must be one of token-bucket, sliding-window, fixed-window, got 'leaky'"),
        ({"body_style": "x"}, "body_style must be one of"),
        ({"faults": {"bang": 0.1}}, "fault must be one of drop, .*, got 'bang'"),
        ({"faults": {"drop": 1.5}}, "the rate of fault drop must lie between 0 and 1, got 1.5"),
        ({"faults": {"drop": 0.6, "500": 0.6}}, "must not sum to more than 1, got 1.2"),
        ({"poison": {"x": 200}}, "the status for poison 'x' must lie between 400 and 599, got 200"),
        ({"dimensions": 0}, "dimensions must lie between 1 and"),
    ],
)
def test_settings_that_make_no_sense_are_refused(changes: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        RehearsalSettings(**changes)


# -------------------------------------------------------------------------------------------------------- the server


def test_it_answers_as_the_api_does_and_counts() -> None:
    with rehearsal("--dimensions", "8") as running:
        status, headers, floats = call(running.base_url, {"model": "m", "input": ["a", "b"]})
        _, _, packed = call(
            running.base_url, {"model": "m", "input": "a", "encoding_format": "base64", "dimensions": 4}
        )
        statistics = running.statistics()
    assert (status, headers["Content-Type"]) == (200, "application/json")
    assert np.array_equal(np.array(floats["data"][1]["embedding"], np.float32), rehearsal_vector("b", 8))
    assert np.array_equal(np.frombuffer(b64decode(packed["data"][0]["embedding"]), "<f4"), rehearsal_vector("a", 4))
    assert (floats["model"], floats["usage"]) == ("m", {"prompt_tokens": 2, "total_tokens": 2})
    assert (statistics["requests"], statistics["texts"], statistics["distinct_texts"]) == (2, 3, 2)
    assert (statistics["texts_paid_twice"], statistics["prompt_tokens"], statistics["by_status"]) == (1, 3, {"200": 2})


def test_it_keeps_and_announces_its_quota() -> None:
    with rehearsal(
        "--requests-per-minute", "2", "--tokens-per-minute", "1000", "--limiter", "sliding-window"
    ) as running:
        first, headers, _ = call(running.base_url, {"model": "m", "input": ["a"]})
        call(running.base_url, {"model": "m", "input": ["a"]})
        third, refused, body = call(running.base_url, {"model": "m", "input": ["a"]})
        running.change(requests_per_minute=10)
        fourth, _, _ = call(running.base_url, {"model": "m", "input": ["a"]})
    assert [first, third, fourth] == [200, 429, 200]
    assert headers["x-ratelimit-limit-requests"] == "2"
    assert headers["x-ratelimit-remaining-requests"] == "1"
    assert refused["x-ratelimit-remaining-requests"] == "0"
    assert body["error"]["message"].startswith("Rate limit reached for rehearsal on requests per min: Limit 2, Used 2")


def test_it_can_keep_its_quota_to_itself() -> None:
    with rehearsal("--requests-per-minute", "1", "--no-announce-limits") as running:
        _, headers, _ = call(running.base_url, {"model": "m", "input": ["a"]})
        _, refused, body = call(running.base_url, {"model": "m", "input": ["a"]})
    assert not [name for name in {**headers, **refused} if "ratelimit" in name]
    assert "try again" not in body["error"]["message"]


REFUSALS: list[tuple[str, tuple[str, ...], dict[str, Any], int, str]] = [
    ("key", ("--api-key", "right"), {}, 401, "Incorrect API key"),
    ("model", ("--model", "other"), {}, 404, "does not exist"),
    ("comet model", ("--model", "other", "--body-style", "cometapi"), {}, 503, "no available channel"),
    ("balance", ("--no-balance",), {}, 429, "exceeded your current quota"),
    ("comet balance", ("--no-balance", "--body-style", "cometapi"), {}, 403, "(request id: 2026"),
    ("too many", ("--max-inputs", "1"), {"input": ["a", "b"]}, 400, "list of at most 1 items"),
    ("tei too many", ("--max-inputs", "1", "--body-style", "tei"), {"input": ["a", "b"]}, 422, "maximum allowed batch size 1"),
    ("empty", (), {"input": ["a", ""]}, 400, "'$.input' is invalid"),
    ("too long", ("--max-tokens-per-input", "3"), {"input": ["one two three four five"]}, 400, "maximum context length is 3"),
    ("dimensions", ("--dimensions", "8"), {"dimensions": 9}, 400, "dimensions must lie between 1 and 8"),
    ("encoding", (), {"encoding_format": "hex"}, 400, "encoding_format must be"),
    ("poison", ("--poison", "bad=415"), {"input": ["a bad one"]}, 415, "cannot be processed"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("options", "body", "status", "message"), [row[1:] for row in REFUSALS], ids=[row[0] for row in REFUSALS]
)
def test_it_refuses_what_providers_refuse(
    options: tuple[str, ...], body: dict[str, Any], status: int, message: str
) -> None:
    with rehearsal("--dimensions", "8", *options) as running:
        found, _, answer = call(running.base_url, {"model": "m", "input": ["a"]} | body)
    assert found == status
    assert message in json.dumps(answer)


def test_a_wrong_path_is_answered_as_each_provider_does() -> None:
    with rehearsal() as running:
        assert call(running.base_url, {}, "/wrong")[0] == 404
    with (
        rehearsal("--body-style", "cometapi") as running,
        urllib.request.urlopen(running.base_url + "/wrong") as response,
    ):
        assert response.read().startswith(b"<!doctype html>")


def test_it_has_a_catalog_with_a_price_and_a_list_of_models() -> None:
    with rehearsal("--price", "0.13", "--model", "big") as running:
        found = look_up_price(running.base_url, "big")
        with urllib.request.urlopen(running.base_url + "/models") as response:
            models = json.load(response)
    assert found is not None
    assert (found.price_per_million_tokens, found.warning) == (0.13, "")
    assert models["data"][0]["id"] == "big"


@pytest.mark.parametrize("kind", [kind for kind in FAULTS if kind not in ("drop", "truncated", "timeout", "200-html")])
def test_each_fault_can_be_had(kind: str) -> None:
    with rehearsal("--dimensions", "4", "--fault", f"{kind}=1") as running:
        call(running.base_url, {"model": "m", "input": ["a", "b"]})
        assert running.statistics()["faults"] == {kind: 1}


@pytest.mark.parametrize(
    "option", [("--fault", "drop"), ("--fault", "bang=1"), ("--poison", "=400"), ("--fault", "drop=x")]
)
def test_options_that_make_no_sense_are_named(option: tuple[str, str], tmp_path: Path) -> None:

    done = subprocess.run(
        [sys.executable, "-m", "pipeline", "rehearse", *option], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 2
    assert "rehearse: " in done.stderr
    assert "Traceback" not in done.stderr


def test_a_setting_that_makes_no_sense_is_refused_while_it_runs() -> None:
    with rehearsal() as running:
        with pytest.raises(urllib.error.HTTPError, match="400") as caught:
            running.change(limiter="leaky")
        caught.value.close()
