# ruff: noqa: E501 - the tables have one row a line

import json
import re

import pytest

from transforms.core.failures import (
    RULES,
    Action,
    Circumstances,
    Failure,
    NoReply,
    Reply,
    Verdict,
    Violation,
    classify,
    has_error_object,
)


def around(texts: tuple[str, ...] = ("one text", "another text"), *, proven: bool = True) -> Circumstances:
    return Circumstances(texts, 20, proven, "api.example.com", "https://api.example.com/v1", "some-model", "SOME_KEY")


def error(status: int, message: str = "", code: object = None, type: object = None, **headers: str) -> Reply:
    body = json.dumps({"error": {"message": message, "type": type, "param": None, "code": code}})
    return Reply(status, {name.replace("_", "-"): value for name, value in headers.items()}, body.encode())


def plain(status: int, body: str, **headers: str) -> Reply:
    return Reply(status, {name.replace("_", "-"): value for name, value in headers.items()}, body.encode())


def judge(failure: Failure, texts: tuple[str, ...] = ("one text", "another text"), *, proven: bool = True) -> Verdict:
    return classify(failure, around(texts, proven=proven))


TPM_429 = (
    "Rate limit reached for text-embedding-3-small in organization org-abc on tokens per min (TPM): Limit 1000000, "
    "Used 976163, Requested 70716. Please try again in 2.812s."
)
TOO_LONG_400 = (
    "This model's maximum context length is 8192 tokens, however you requested 8610 tokens (8610 in your prompt; 0 for "
    "the completion). Please reduce your prompt; or completion length."
)
HTML_502 = "<html><head><title>502 Bad Gateway</title></head><body><h1>502 Bad Gateway</h1><hr>nginx</body></html>"

# Each row: failure, action at first, rule. Messages are verbatim from the servers named in the ids.
ROWS: list[tuple[str, Failure, Action, str]] = [
    ("dns", NoReply("dns", "its name cannot be resolved"), Action.RETRY, "cannot_connect"),
    ("refused", NoReply("refused", "the connection is refused"), Action.RETRY, "cannot_connect"),
    ("connect timeout", NoReply("connect_timeout", "no connection in time"), Action.RETRY, "cannot_connect"),
    ("certificate", NoReply("tls_certificate", "its certificate does not verify"), Action.ABORT, "tls_certificate"),
    ("handshake", NoReply("tls_handshake", "broke off"), Action.RETRY, "tls_handshake"),
    ("read timeout", NoReply("read_timeout", "no answer within 60 s"), Action.RETRY, "read_timeout"),
    ("write timeout", NoReply("write_failed", "not taken in whole"), Action.RETRY, "body_refused"),
    ("reset", NoReply("reset", "closed without an answer"), Action.RETRY, "connection_lost"),
    ("truncated", NoReply("truncated", "the answer broke off"), Action.RETRY, "connection_lost"),
    ("bad gzip", NoReply("bad_encoding", "the content coding is broken"), Action.RETRY, "bad_encoding"),
    ("proxy", NoReply("proxy", "it did not open a connection"), Action.ABORT, "proxy"),
    ("too big", NoReply("too_big", "larger than 256 MB"), Action.SPLIT, "answer_too_big"),
    ("200 html", Violation("html", "the answer is a web page"), Action.RETRY, "html"),
    ("200 no json", Violation("invalid_json", "no JSON"), Action.RETRY, "invalid_json"),
    ("200 empty data", Violation("empty_data", "no vectors"), Action.DROP_ENCODING, "empty_data"),
    ("200 short", Violation("wrong_count", "1 vectors for 2 texts"), Action.RETRY, "wrong_count"),
    ("200 index", Violation("wrong_index", "no permutation"), Action.RETRY, "wrong_count"),
    ("200 collapsed", Violation("identical_vectors", "same vector"), Action.RETRY, "wrong_count"),
    ("200 nan", Violation("non_finite", "not finite"), Action.RETRY, "non_finite"),
    ("200 zero", Violation("zero_vector", "length zero"), Action.RETRY, "zero_vector"),
    ("200 one dimension", Violation("wrong_dimension", "expected 3"), Action.RETRY, "wrong_dimension"),
    ("200 all dimensions", Violation("wrong_dimension_all", "expected 3"), Action.ABORT, "wrong_dimension_all"),
    ("200 float64", Violation("wrong_precision", "looks like float64"), Action.ABORT, "wrong_precision"),
    ("200 openrouter 429", error(200, "Provider returned error", 429), Action.GATE, "throttled"),
    ("200 error 502", error(200, "Provider returned error", 502), Action.RETRY, "bad_gateway"),
    ("200 error no code", error(200, "Provider returned error"), Action.RETRY, "server_error"),
    ("301 comet", plain(301, "", location="https://www.example.com/"), Action.ABORT, "redirect"),
    ("302", plain(302, ""), Action.ABORT, "redirect"),
    ("307", plain(307, ""), Action.ABORT, "redirect"),
    ("308", plain(308, ""), Action.ABORT, "redirect"),
    ("400 openai too long", error(400, TOO_LONG_400, None, "invalid_request_error"), Action.BISECT, "too_long_text"),
    ("400 code", error(400, "no", "context_length_exceeded"), Action.BISECT, "too_long_code"),
    ("422 tei too long", plain(422, '{"message":"`inputs` must have less than 512 tokens. Given: 600","code":422,"type":"Validation"}'), Action.BISECT, "too_long_text"),
    ("400 openai tokens", error(400, "Requested 309209 tokens, max 300000 tokens per request", "max_tokens_per_request", "max_tokens_per_request"), Action.SHRINK, "too_many"),
    ("400 openai input", error(400, "'$.input' is invalid. Please check the API reference.", None, "invalid_request_error"), Action.SHRINK, "too_many"),
    ("400 mistral inputs", plain(400, '{"object":"error","message":"Too many inputs in request, split into more batches.","type":"invalid_request_error","code":"3210"}'), Action.SHRINK, "too_many"),
    ("400 mistral tokens", plain(400, '{"object":"error","message":"Too many tokens in batch. Max is 16384 got 17555","code":"3210"}'), Action.SHRINK, "too_many"),
    ("400 mistral overall", plain(400, '{"object":"error","message":"Too many tokens overall, split into more batches.","code":"3210"}'), Action.SHRINK, "too_many"),
    ("400 mistral code", plain(400, '{"object":"error","message":"no","code":"3210"}'), Action.SHRINK, "too_many_code"),
    ("400 dashscope", error(400, "batch size is invalid, it should not be larger than 10.: input.contents", "InvalidParameter"), Action.SHRINK, "too_many"),
    ("400 gemini", plain(400, '[{"error":{"code":400,"message":"* BatchEmbedContentsRequest.requests: at most 100 requests can be in one batch","status":"INVALID_ARGUMENT"}}]'), Action.SHRINK, "too_many"),
    ("422 tei batch", plain(422, '{"message":"batch size 64 > maximum allowed batch size 32","code":422,"type":"Validation"}'), Action.SHRINK, "too_many"),
    ("413 tei old", plain(413, '{"message":"batch size 64 > maximum allowed batch size 32","code":413,"type":"Validation"}'), Action.SHRINK, "too_large_request"),
    ("413 axum", plain(413, "Failed to buffer the request body: length limit exceeded"), Action.SHRINK, "too_large_request"),
    ("400 dimensions", error(400, "This model does not support specifying dimensions.", None, "invalid_request_error"), Action.BISECT, "dimensions_unsupported"),
    ("400 vllm matryoshka", error(400, 'Model "x" does not support matryoshka representation', 400), Action.BISECT, "dimensions_unsupported"),
    ("400 encoding", error(400, "Unknown parameter: 'encoding_format'.", None, "invalid_request_error"), Action.DROP_ENCODING, "encoding_unsupported"),
    ("400 litellm encoding", error(400, "litellm.UnsupportedParamsError: x does not support parameters: {'encoding_format': 'base64'}", "400"), Action.DROP_ENCODING, "encoding_unsupported"),
    ("400 policy", error(400, "user sensitive words detected (request id: 20260624)", "sensitive_words_detected", "comet_api_error"), Action.BISECT, "content_policy"),
    ("403 policy", error(403, "blocked", "prompt_blocked"), Action.BISECT, "content_policy"),
    ("400 other", error(400, "bad", "invalid_value", "invalid_request_error"), Action.BISECT, "bad_request"),
    ("400 ollama nan", error(400, "embedding contains NaN or Inf values", None, "invalid_request_error"), Action.BISECT, "bad_request"),
    ("422 fastapi", plain(422, '{"detail":[{"loc":["body","input"],"msg":"field required"}]}'), Action.BISECT, "bad_request"),
    ("401", error(401, "Incorrect API key provided: sk-abc***xyz.", "invalid_api_key", "invalid_request_error"), Action.RETRY, "key_refused"),
    ("402", plain(402, '{"detail":"Insufficient balance"}'), Action.ABORT, "balance_status"),
    ("403 new-api", error(403, "用户额度不足, 剩余额度: $0.00 (request id: 2026062412)", "insufficient_user_quota", "comet_api_error"), Action.ABORT, "balance"),
    ("403 new-api token", error(403, "token quota is not enough", "pre_consume_token_quota_failed", "new_api_error"), Action.ABORT, "balance"),
    ("403 region", error(403, "Country, region, or territory not supported", "unsupported_country_region_territory"), Action.ABORT, "forbidden"),
    ("403 cloudflare", plain(403, "<!DOCTYPE html><html><title>Attention Required! | Cloudflare</title></html>"), Action.RETRY, "firewall"),
    ("404 path", error(404, "Invalid URL (POST /embeddings)", None, "invalid_request_error"), Action.ABORT, "not_found"),
    ("404 ollama", error(404, 'model "x" not found, try pulling it first', None, "api_error"), Action.ABORT, "not_found"),
    ("405", plain(405, "Method Not Allowed"), Action.ABORT, "wrong_method"),
    ("415", plain(415, ""), Action.ABORT, "wrong_method"),
    ("407", plain(407, "Proxy Authentication Required"), Action.ABORT, "proxy_status"),
    ("408", plain(408, ""), Action.RETRY, "try_again"),
    ("409", plain(409, ""), Action.RETRY, "try_again"),
    ("425", plain(425, ""), Action.RETRY, "try_again"),
    ("424 tei", plain(424, '{"message":"DriverError(CUDA_ERROR_OUT_OF_MEMORY)","code":424,"type":"Backend"}'), Action.RETRY, "backend_error"),
    ("429 quota", error(429, "You exceeded your current quota, please check your plan and billing details.", "insufficient_quota", "insufficient_quota"), Action.ABORT, "balance"),
    ("429 credit", error(429, "no", "credit_balance_exhausted", "insufficient_quota"), Action.ABORT, "balance"),
    ("429 spend", error(429, "no", "organization_spend_limit_exceeded"), Action.ABORT, "balance"),
    ("429 project", error(429, "no", "project_spend_limit_exceeded"), Action.ABORT, "balance"),
    ("429 usage", error(429, "no", "organization_usage_limit_exceeded"), Action.ABORT, "balance"),
    ("429 daily header", error(429, "Rate limit reached", "rate_limit_exceeded", retry_after="7200"), Action.ABORT, "daily_limit"),
    ("429 daily named", error(429, "Rate limit reached for x on requests per day (RPD): Limit 200, Used 200, Requested 1.", "rate_limit_exceeded"), Action.ABORT, "daily_limit_named"),
    ("429 overdrawn", error(429, "Request too large for x on tokens per min (TPM): Limit 40000, Requested 70716.", "rate_limit_exceeded", "tokens"), Action.SHRINK, "over_any_quota"),
    ("429 tpm", error(429, TPM_429, "rate_limit_exceeded", "tokens"), Action.GATE, "throttled"),
    ("429 slow down", error(429, "Slow down", "slow_down", "rate_limit_error"), Action.GATE, "throttled"),
    ("429 new-api saturated", error(429, "当前分组上游负载已饱和，请稍后再试", "", "comet_api_error"), Action.GATE, "saturated"),
    ("429 tei", plain(429, '{"message":"Model is overloaded","code":429,"type":"Overloaded"}'), Action.GATE, "saturated"),
    ("500 comet", error(500, "field input is required (request id: 20260624093021)", "invalid_request", "comet_api_error"), Action.BISECT, "refused_as_500"),
    ("500 comet convert", error(500, "no", "convert_request_failed", "comet_api_error"), Action.BISECT, "refused_as_500"),
    ("500 llama.cpp", error(500, "input (690 tokens) is too large to process. increase the physical batch size (current batch size: 512)", 500, "server_error"), Action.BISECT, "too_long_text"),
    ("500 vllm", error(500, "Out of range float values are not JSON compliant", 500), Action.RETRY, "server_error"),
    ("501", plain(501, ""), Action.ABORT, "wrong_method"),
    ("505", plain(505, ""), Action.ABORT, "wrong_method"),
    ("502 nginx", plain(502, HTML_502), Action.RETRY, "bad_gateway"),
    ("503 comet model", error(503, "no available channel for group default and model x (request id: 20260624)", "model_not_found", "comet_api_error"), Action.RETRY, "model_not_found"),
    ("503 comet channel", error(503, "no available channel for group default and model x", ""), Action.RETRY, "no_channel"),
    ("503 openai", error(503, "The server is overloaded", "server_is_overloaded"), Action.RETRY, "unavailable"),
    ("504", plain(504, ""), Action.RETRY, "gateway_timeout"),
    ("524 cloudflare", plain(524, "<html>524</html>"), Action.RETRY, "gateway_timeout"),
    ("520", plain(520, ""), Action.RETRY, "origin_down"),
    ("527", plain(527, ""), Action.RETRY, "origin_down"),
    ("525", plain(525, ""), Action.RETRY, "origin_tls"),
    ("529", plain(529, '{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}'), Action.GATE, "overloaded"),
    ("418", plain(418, ""), Action.BISECT, "unknown_refusal"),
    ("599", plain(599, ""), Action.RETRY, "unknown_server_error"),
    ("204", plain(204, ""), Action.ABORT, "unknown_status"),
]  # fmt: skip


@pytest.mark.parametrize(("failure", "action", "rule"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS])
def test_each_failure_has_its_row(failure: Failure, action: Action, rule: str) -> None:
    verdict = judge(failure)
    assert (verdict.rule.name, verdict.action(1, 2)) == (rule, action)


BEFORE_SUCCESS: list[tuple[str, Failure, str, str]] = [
    ("dns", NoReply("dns", "its name cannot be resolved"), "cannot_connect_yet", "cannot reach api.example.com: its name cannot be resolved; check embedding.base_url, the network and any proxy"),
    ("html", Violation("html", "the answer is a web page"), "html_before_success", "https://api.example.com/v1 is not an embeddings API: the answer is a web page; check embedding.base_url, which usually ends in /v1"),
    ("401", error(401, "invalid token"), "key_refused_yet", "the key in SOME_KEY is not accepted by api.example.com: invalid token; check the variable and embedding.base_url"),
    ("403 html", plain(403, "<html>blocked</html>"), "forbidden", "the key in SOME_KEY may not use 'some-model' at api.example.com: blocked; check the account's access to the model and the region"),
    ("503 model", error(503, "no available channel", "model_not_found"), "model_not_found_yet", "the model 'some-model' is not served at https://api.example.com/v1: no available channel; check embedding.model against the provider's model list"),
    ("503 channel", error(503, "No available channel for model x"), "no_channel_yet", "the model 'some-model' is not served at https://api.example.com/v1: No available channel for model x; check embedding.model against the provider's model list"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("failure", "rule", "sentence"), [row[1:] for row in BEFORE_SUCCESS], ids=[row[0] for row in BEFORE_SUCCESS]
)
def test_before_the_first_success_a_setting_is_to_blame(failure: Failure, rule: str, sentence: str) -> None:
    verdict = judge(failure, proven=False)
    assert (verdict.rule.name, verdict.sentence) == (rule, sentence)
    assert Action.ABORT in (verdict.rule.action, verdict.rule.then)


SINGLE: list[tuple[str, Failure, Action, str]] = [
    ("413", plain(413, ""), Action.REJECT, "too_large"),
    ("write failed", NoReply("write_failed", ""), Action.RETRY, "too_large"),
    ("overdrawn", error(429, "Limit 40000, Requested 70716."), Action.REJECT, "larger_than_quota"),
    ("tokens", error(400, "Requested 309209 tokens, max 300000 tokens per request"), Action.BISECT, "too_long"),
    ("too long", error(400, TOO_LONG_400), Action.BISECT, "too_long"),
]


@pytest.mark.parametrize(("failure", "action", "reason"), [row[1:] for row in SINGLE], ids=[row[0] for row in SINGLE])
def test_a_text_alone_is_refused_with_a_reason(failure: Failure, action: Action, reason: str) -> None:
    verdict = judge(failure, ("one text",))
    assert (verdict.action(1, 1), verdict.rule.reason) == (action, reason)


PATIENCE: list[tuple[str, Failure, int, list[Action]]] = [
    ("read timeout", NoReply("read_timeout", ""), 2, [Action.RETRY, Action.SPLIT]),
    ("504", plain(504, ""), 2, [Action.RETRY, Action.SPLIT]),
    ("500", error(500, "boom"), 2, [Action.RETRY, Action.BISECT]),
    ("500 alone", error(500, "boom"), 1, [Action.RETRY] * 4 + [Action.BISECT]),
    ("nan", Violation("non_finite", ""), 2, [Action.RETRY, Action.BISECT]),
    ("424", plain(424, ""), 2, [Action.RETRY] * 3 + [Action.BISECT]),
    ("empty data", Violation("empty_data", ""), 2, [Action.DROP_ENCODING, Action.BISECT]),
    ("401", error(401), 2, [Action.RETRY, Action.ABORT]),
    ("model", error(503, "", "model_not_found"), 2, [Action.RETRY, Action.RETRY, Action.ABORT]),
    ("525", plain(525, ""), 2, [Action.RETRY] * 3 + [Action.ABORT]),
    ("502 for ever", plain(502, ""), 2, [Action.RETRY] * 9),
]


@pytest.mark.parametrize(
    ("failure", "texts", "actions"), [row[1:] for row in PATIENCE], ids=[row[0] for row in PATIENCE]
)
def test_patience_ends_as_the_row_says(failure: Failure, texts: int, actions: list[Action]) -> None:
    verdict = judge(failure)
    assert [verdict.action(hits, texts) for hits in range(1, len(actions) + 1)] == actions


LEARNED: list[tuple[str, Failure, int | None, int | None]] = [
    ("openai", error(400, "Requested 309209 tokens, max 300000 tokens per request"), None, 300_000),
    ("mistral", error(400, "Too many tokens in batch. Max is 16384 got 17555"), None, 16_384),
    ("quota", error(429, "Request too large: Limit 40000, Requested 70716."), None, 40_000),
    ("dashscope", error(400, "batch size is invalid, it should not be larger than 10"), 10, None),
    ("gemini", error(400, "at most 100 requests can be in one batch"), 100, None),
    ("tei", plain(422, '{"message":"batch size 64 > maximum allowed batch size 32","code":422}'), 32, None),
    ("none", error(400, "Too many inputs in request, split into more batches."), None, None),
]


@pytest.mark.parametrize(
    ("failure", "max_inputs", "max_tokens"), [row[1:] for row in LEARNED], ids=[row[0] for row in LEARNED]
)
def test_the_number_in_the_message_is_learned(failure: Failure, max_inputs: int | None, max_tokens: int | None) -> None:
    verdict = judge(failure)
    assert (verdict.max_inputs, verdict.max_tokens) == (max_inputs, max_tokens)


@pytest.mark.parametrize(
    ("failure", "request_id"),
    [
        (error(500, "boom (request id: 20260624093021abc)"), "20260624093021abc"),
        (error(500, "boom", x_request_id="req_123"), "req_123"),
        (error(500, "boom", x_oneapi_request_id="2026", cf_ray="ray"), "2026"),
        (error(500, "boom"), ""),
        (NoReply("reset", "closed"), ""),
    ],
    ids=["message", "header", "gateway header", "none", "no reply"],
)
def test_the_request_id_is_found(failure: Failure, request_id: str) -> None:
    assert judge(failure).request_id == request_id


def test_a_redirect_names_its_target_and_does_not_follow_it() -> None:
    sentence = judge(plain(301, "", location="https://www.example.com/home")).sentence
    assert "redirects to 'https://www.example.com/home'" in sentence


def test_a_daily_limit_says_when_to_come_back() -> None:
    assert "comes back only in 2 h 0 min" in judge(error(429, "later", retry_after="7200")).sentence
    assert "comes back only in 3 min" in judge(error(429, "later", retry_after="180")).sentence


def test_an_endpoint_without_a_key_variable_is_told_so() -> None:
    verdict = classify(error(401, "no"), Circumstances((), 0, False, "h", "http://h/v1", "m", ""))
    assert "the key in no variable (embedding.api_key_env is empty)" in verdict.sentence


def test_no_message_shows_sent_text_markup_or_keys() -> None:
    secret = "The patient John Doe was admitted on Monday with a broken arm."
    body = f"<b>bad</b> input: '{secret[4:50]}' key sk-abcdefgh12345678 and Bearer abc.def"
    verdict = judge(error(400, body), (secret, "short one"))
    assert verdict.message == "bad input: '[text]' key [key] and [key]"
    assert "short one" not in judge(error(400, "cannot embed short one"), (secret, "short one")).message


def test_messages_are_cut_at_two_hundred_characters() -> None:
    assert len(judge(error(400, "long " * 100)).message) == 200


def test_a_failure_without_words_is_named_by_its_status() -> None:
    assert judge(plain(502, "")).message == "HTTP 502"
    assert judge(NoReply("reset", "")).message == "reset"


@pytest.mark.parametrize(
    ("body", "found"),
    [(b'{"error": {"message": "x"}}', True), (b'{"data": []}', False), (b"<html></html>", False)],
)
def test_an_error_inside_a_200_is_noticed(body: bytes, found: bool) -> None:
    assert has_error_object(Reply(200, {}, body)) is found


@pytest.mark.parametrize("body", ['"just text"', "[]", "17", '{"error": "text"}', "not json", '{"status":"INVALID"}'])
def test_error_bodies_of_any_shape_are_survived(body: str) -> None:
    assert judge(plain(400, body)).rule.name == "bad_request"


def test_every_row_can_be_reached() -> None:
    reached = {judge(row[1]).rule.name for row in ROWS}
    reached |= {judge(row[1], proven=False).rule.name for row in BEFORE_SUCCESS}
    reached |= {judge(row[1], ("one text",)).rule.name for row in SINGLE}
    assert {rule.name for rule in RULES} - reached == set()


def test_every_sentence_can_be_spoken() -> None:
    for row in ROWS:
        assert not re.search(
            r"\{(host|base_url|model|message|status|location|wait|key_variable)\}", judge(row[1]).sentence
        )
