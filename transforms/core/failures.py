"""What every failure of an embedding endpoint means and what to do about it: the whole table, as data.

A failure is looked at body first, status second: gateways answer a wrong model with 503 and a malformed request with 500, so
that a client which obeys status codes alone tries hopeless requests again and gives hopeful ones up. ``RULES`` is read from
top to bottom and the first row that matches decides. Nothing here sends, waits or knows a clock.

Source: the endpoint's documentation and the observed answers that tests/core/test_failures.py holds verbatim.
"""

# ruff: noqa: E501 - the table has one row a line

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from transforms.core.error_body import ErrorBody, clean_message, find_request_id, read_error_body
from transforms.core.rate_headers import read_wait


class Action(Enum):
    """What to do about a failed request."""

    RETRY = "try again after a random delay"
    GATE = "hold all requests back, then let one through"
    SHRINK = "split, and never send so much in one request again"
    SPLIT = "halve this request and try the halves; nothing is learned"
    BISECT = "after a known-good probe, halve until the refused text stands alone"
    REJECT = "this text cannot be embedded; the run goes on without it"
    DROP_ENCODING = "leave out the optional encoding_format and try again"
    ABORT = "stop the run on all threads"


@dataclass(frozen=True, slots=True)
class Reply:
    """An HTTP answer, good or bad.

    Attributes:
        headers: names in lower case.
        body: decoded of any transfer or content coding.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class NoReply:
    """No complete HTTP answer came.

    Attributes:
        kind: dns, refused, tls_certificate, tls_handshake, connect_timeout, read_timeout, write_failed, reset, truncated,
            bad_encoding, proxy or too_big.
        detail: one line without secrets or document text.
    """

    kind: str
    detail: str


@dataclass(frozen=True, slots=True)
class Violation:
    """HTTP 200, but the vectors cannot be used.

    Attributes:
        kind: html, invalid_json, empty_data, wrong_count, wrong_index, non_finite, zero_vector, wrong_dimension,
            wrong_dimension_all, wrong_precision or identical_vectors.
        detail: what was expected and what came, in numbers.
    """

    kind: str
    detail: str
    headers: Mapping[str, str] = field(default_factory=dict)


Failure = Reply | NoReply | Violation


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What is known around a failure.

    Attributes:
        texts: as sent; error texts are cleaned of them.
        tokens: local count over all texts.
        proven: whether this endpoint has ever given a good answer in this run.
        max_wait_seconds: a 429 that asks for more than this stops the run.
        host: for the abort's sentence, as are ``base_url``, ``model`` and ``key_variable``.
    """

    texts: Sequence[str]
    tokens: int
    proven: bool
    host: str
    base_url: str
    model: str
    key_variable: str
    max_wait_seconds: float = 120.0


@dataclass(frozen=True, slots=True)
class Rule:
    """One row of the table. A condition that is None or empty holds always; all must hold.

    Attributes:
        name: stable; what the row is about.
        action: what to do at first.
        patience: how often this row may hit one request before ``then`` takes over.
        single_patience: the same for a request of one text, where giving up means losing it.
        then: what to do when patience is over.
        kinds: transport failures and violations.
        statuses: HTTP status codes, single or ranges.
        codes: pattern on ``error.code`` or ``error.type``, matched whole.
        says: pattern searched in the error's message.
        html: the body is HTML.
        proven: the endpoint has answered well before.
        single: the request held one text.
        long_wait: the server asks for a wait above the limit.
        overdrawn: the message says that more was requested than the limit can ever let pass.
        effect: ``saturate`` (fewer requests in flight) beside the action.
        wait_seconds: fixed delay instead of a random one.
        free: nothing can have been charged: the request was not sent, or was refused for its rate.
        outage: a probe that fails by this row means waiting for the endpoint; else the run is stopped.
        reason: of the reject, when the text stands alone.
        remedy: the abort's sentence: what happened and what to do.
    """

    name: str
    action: Action
    patience: int = 0
    single_patience: int | None = None
    then: Action | None = None
    kinds: tuple[str, ...] = ()
    statuses: tuple[int | range, ...] = ()
    codes: str = ""
    says: str = ""
    html: bool | None = None
    proven: bool | None = None
    single: bool | None = None
    long_wait: bool = False
    overdrawn: bool = False
    effect: str = ""
    wait_seconds: float | None = None
    free: bool = False
    outage: bool = False
    reason: str = "refused_by_endpoint"
    remedy: str = "the endpoint {host} keeps failing: {message}; run the same command again to go on"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a failure means for this request.

    Attributes:
        rule: the row that matched.
        message: cleaned of markup, keys and sent texts, 200 characters at most.
        request_id: the endpoint's name for the attempt, "" where it gives none.
        wait_seconds: what the server asks for, None when it does not.
        max_inputs: the number of texts it takes, where it says so.
        max_tokens: the number of tokens it takes, where it says so.
        sentence: for an abort: what happened and what to do.
    """

    rule: Rule
    message: str
    request_id: str
    wait_seconds: float | None
    max_inputs: int | None
    max_tokens: int | None
    sentence: str

    def action(self, hits: int, texts: int) -> Action:
        """Give the action for the ``hits``-th time that this row hits one request of ``texts`` texts."""
        patience = self.rule.patience
        if texts == 1 and self.rule.single_patience is not None:
            patience = self.rule.single_patience
        if self.rule.then is None or hits <= patience:
            return self.rule.action
        return self.rule.then


_BALANCE = (
    r"insufficient_quota|credit_balance_exhausted|.*spend_limit_exceeded|.*usage_limit_exceeded"
    r"|insufficient_user_quota|pre_consume_token_quota_failed|insufficient_balance|billing_hard_limit_reached"
)
_TOO_MANY = (
    r"max_tokens_per_request|max \d+ tokens per request|too many inputs|too many tokens|batch size is invalid"
    r"|at most \d+ (requests|inputs|texts|items)|'\$\.input' is invalid|array too long|maximum allowed batch size"
    r"|batch size \d+ > |list of at most|input array (is|exceeds)|exceeds? the maximum (batch|number)|max_client_batch_size"
)
_TOO_LONG = (
    r"maximum context length|context_length_exceeded|context length|is too long|input is too large|too large to process"
    r"|must have less than \d+ tokens|exceeds? the (maximum|max) (input|token|sequence)|maximum (input|sequence) length"
    r"|range of input length"
)
_POLICY = r"sensitive_words_detected|prompt_blocked|content_policy_violation|content_filter|data_inspection_failed"
_ENCODING = r"encoding_format"
_DIMENSIONS = r"\bdimensions?\b|output_dimension|matryoshka"

_CHECK_MODEL = "the model {model!r} is not served at {base_url}: {message}; check embedding.model against the provider's model list"
_CHECK_URL = "{base_url} is not an embeddings API: {message}; check embedding.base_url, which usually ends in /v1"
_REFUSED = (
    "the endpoint {host} refuses even a known-good request for model {model!r}: {message}; check the embedding settings"
)
_OUTAGE = "the endpoint {host} is out of reach: {message}; run the same command again to go on where this run stopped"
_UNREACHABLE = "cannot reach {host}: {message}; check embedding.base_url, the network and any proxy"

A = Action

RULES: Final[tuple[Rule, ...]] = (
    # ---- no complete answer ------------------------------------------------------------------------------------------
    Rule("cannot_connect_yet", A.RETRY, 4, 4, A.ABORT, kinds=("dns", "refused"), proven=False, free=True, wait_seconds=0.4, remedy=_UNREACHABLE),
    Rule("cannot_connect", A.RETRY, kinds=("dns", "refused", "connect_timeout"), free=True, remedy=_OUTAGE, outage=True),
    Rule("tls_certificate", A.ABORT, kinds=("tls_certificate",), free=True, remedy="{host} has no certificate that can be trusted: {message}; if a proxy stands in between, name its CA bundle in REQUESTS_CA_BUNDLE"),
    Rule("tls_handshake", A.RETRY, kinds=("tls_handshake",), free=True, remedy=_OUTAGE, outage=True),
    Rule("proxy", A.ABORT, kinds=("proxy",), free=True, remedy="the proxy refuses to connect to {host}: {message}; check HTTPS_PROXY and NO_PROXY"),
    Rule("read_timeout", A.RETRY, 1, 4, A.SPLIT, kinds=("read_timeout",), effect="saturate", reason="no_answer_in_time", remedy=_OUTAGE, outage=True),
    Rule("body_refused_single", A.RETRY, 3, 3, A.REJECT, kinds=("write_failed",), single=True, reason="too_large"),
    Rule("body_refused", A.RETRY, 1, 1, A.SHRINK, kinds=("write_failed",), reason="too_large"),
    Rule("connection_lost", A.RETRY, kinds=("reset", "truncated"), remedy=_OUTAGE, outage=True),
    Rule("bad_encoding", A.RETRY, 4, 4, A.ABORT, kinds=("bad_encoding",), remedy="answers of {host} cannot be decoded: {message}; look for a proxy that changes them"),
    Rule("answer_too_big", A.SPLIT, kinds=("too_big",), reason="answer_too_big"),
    # ---- HTTP 200 with a body that cannot be used ---------------------------------------------------------------------
    Rule("html_before_success", A.ABORT, kinds=("html",), proven=False, remedy=_CHECK_URL),
    Rule("html", A.RETRY, kinds=("html",), remedy=_CHECK_URL, outage=True),
    Rule("invalid_json", A.RETRY, 1, 5, A.BISECT, kinds=("invalid_json",), reason="unreadable_answer", remedy="answers of {host} are no JSON even for a known-good text: {message}; look for a proxy that changes them"),
    Rule("empty_data", A.DROP_ENCODING, 1, 4, A.BISECT, kinds=("empty_data",), reason="no_vector", remedy=_REFUSED),
    Rule("wrong_count", A.RETRY, 1, 4, A.BISECT, kinds=("wrong_count", "wrong_index", "identical_vectors"), reason="wrong_count", remedy="the endpoint {host} does not give one vector for each text: {message}; this model cannot be used through it"),
    Rule("non_finite", A.RETRY, 1, 4, A.BISECT, kinds=("non_finite",), reason="non_finite", remedy=_REFUSED),
    Rule("zero_vector", A.RETRY, 1, 4, A.BISECT, kinds=("zero_vector",), reason="zero_vector", remedy=_REFUSED),
    Rule("wrong_dimension", A.RETRY, 1, 4, A.BISECT, kinds=("wrong_dimension",), reason="wrong_dimension", remedy=_REFUSED),
    Rule("wrong_dimension_all", A.ABORT, kinds=("wrong_dimension_all",), remedy="the endpoint {host} answers {model!r} with vectors of another length: {message}; set embedding.dimensions to what it gives, or use a new dataset"),
    Rule("wrong_precision", A.ABORT, kinds=("wrong_precision",), remedy="the endpoint {host} sends base64 that is not float32: {message}; set encodings: [float] in embedding.profile"),
    # ---- redirects and proxies come first: their bodies mean nothing --------------------------------------------------
    Rule("redirect", A.ABORT, statuses=(range(300, 400),), free=True, remedy="{base_url} redirects to {location!r}, which is not followed because that would hand over the key; check embedding.base_url"),
    Rule("proxy_status", A.ABORT, statuses=(407,), free=True, remedy="the proxy wants credentials (407): {message}; check HTTPS_PROXY"),
    # ---- money, model, policy: by the body, whatever the status ------------------------------------------------------
    Rule("balance", A.ABORT, codes=_BALANCE, free=True, remedy="the account at {host} is out of balance or over its spending limit: {message}; add credit, then run the same command again to go on"),
    Rule("balance_status", A.ABORT, statuses=(402,), free=True, remedy="the account at {host} is out of balance: {message}; add credit, then run the same command again to go on"),
    Rule("model_not_found_yet", A.ABORT, codes="model_not_found", proven=False, free=True, remedy=_CHECK_MODEL),
    Rule("no_channel_yet", A.ABORT, says="no available channel", proven=False, free=True, remedy=_CHECK_MODEL),
    Rule("model_not_found", A.RETRY, 2, 2, A.ABORT, codes="model_not_found", wait_seconds=30.0, free=True, remedy=_CHECK_MODEL),
    Rule("no_channel", A.RETRY, 2, 2, A.ABORT, says="no available channel", wait_seconds=30.0, free=True, remedy=_CHECK_MODEL),
    Rule("content_policy", A.BISECT, codes=_POLICY, reason="content_policy", remedy=_REFUSED),
    # ---- 429: what the server does to our rate ------------------------------------------------------------------------
    Rule("over_any_quota_single", A.REJECT, statuses=(429,), overdrawn=True, single=True, free=True, reason="larger_than_quota"),
    Rule("over_any_quota", A.SHRINK, statuses=(429,), overdrawn=True, free=True, reason="larger_than_quota"),
    Rule("daily_limit", A.ABORT, statuses=(429,), long_wait=True, free=True, remedy="the quota at {host} comes back only in {wait}: {message}; run the same command again then to go on"),
    Rule("daily_limit_named", A.ABORT, statuses=(429,), says=r"per day|\((RPD|TPD)\)", free=True, remedy="the daily quota at {host} is used up: {message}; run the same command again tomorrow to go on"),
    Rule("saturated", A.GATE, statuses=(429,), says="saturat|overload|饱和|capacity", effect="saturate", free=True, remedy=_OUTAGE, outage=True),
    Rule("throttled", A.GATE, statuses=(429,), free=True, remedy=_OUTAGE, outage=True),
    # ---- a request or a text that is too large ------------------------------------------------------------------------
    Rule("too_large_text", A.REJECT, statuses=(413,), single=True, reason="too_large"),
    Rule("too_large_request", A.SHRINK, statuses=(413,), reason="too_large"),
    Rule("too_long_text", A.BISECT, statuses=(400, 422, 424, range(500, 600)), says=_TOO_LONG, reason="too_long", remedy=_REFUSED),
    Rule("too_long_code", A.BISECT, codes="context_length_exceeded", reason="too_long", remedy=_REFUSED),
    Rule("too_many_single", A.BISECT, statuses=(400, 422), says=_TOO_MANY, single=True, reason="too_long", remedy=_REFUSED),
    Rule("too_many", A.SHRINK, statuses=(400, 422), says=_TOO_MANY, reason="too_long"),
    Rule("too_many_code", A.SHRINK, statuses=(400, 422), codes="max_tokens_per_request|3210", reason="too_long", single=False),
    # ---- a parameter this server does not know ------------------------------------------------------------------------
    Rule("encoding_unsupported", A.DROP_ENCODING, 2, 2, A.ABORT, statuses=(400, 422), says=_ENCODING, remedy=_REFUSED),
    Rule("dimensions_unsupported", A.BISECT, statuses=(400, 422), says=_DIMENSIONS, remedy="the endpoint {host} does not accept embedding.dimensions for {model!r}: {message}; leave it out or choose a model that can be shortened"),
    # ---- server errors that are really refusals -----------------------------------------------------------------------
    Rule("refused_as_500", A.BISECT, statuses=(range(500, 600),), codes="invalid_request|convert_request_failed|invalid_request_error", remedy=_REFUSED),
    # ---- by status ----------------------------------------------------------------------------------------------------
    Rule("bad_request", A.BISECT, statuses=(400, 422), remedy=_REFUSED),
    Rule("key_refused_yet", A.ABORT, statuses=(401,), proven=False, free=True, remedy="the key in {key_variable} is not accepted by {host}: {message}; check the variable and embedding.base_url"),
    Rule("key_refused", A.RETRY, 1, 1, A.ABORT, statuses=(401,), wait_seconds=5.0, free=True, remedy="the key in {key_variable} is no longer accepted by {host}: {message}; renew it, then run the same command again to go on"),
    Rule("firewall", A.RETRY, 3, 3, A.ABORT, statuses=(403,), html=True, proven=True, remedy="a firewall in front of {host} refuses requests: {message}; run the same command again to go on"),
    Rule("forbidden", A.ABORT, statuses=(403,), free=True, remedy="the key in {key_variable} may not use {model!r} at {host}: {message}; check the account's access to the model and the region"),
    Rule("not_found", A.ABORT, statuses=(404,), free=True, remedy="nothing at {base_url} serves {model!r} (404): {message}; check embedding.base_url, which usually ends in /v1, and embedding.model"),
    Rule("wrong_method", A.ABORT, statuses=(405, 415, 501, 505), free=True, remedy=_CHECK_URL),
    Rule("try_again", A.RETRY, statuses=(408, 409, 425), remedy=_OUTAGE, outage=True),
    Rule("backend_error", A.RETRY, 3, 3, A.BISECT, statuses=(424,), reason="server_rejects_item", remedy=_REFUSED),
    Rule("bad_gateway", A.RETRY, statuses=(502,), remedy=_OUTAGE, outage=True),
    Rule("unavailable", A.RETRY, statuses=(503,), effect="saturate", remedy=_OUTAGE, outage=True),
    Rule("gateway_timeout", A.RETRY, 1, 4, A.SPLIT, statuses=(504, 524), effect="saturate", reason="no_answer_in_time", remedy=_OUTAGE, outage=True),
    Rule("origin_tls", A.RETRY, 3, 3, A.ABORT, statuses=(525, 526), remedy="the provider's own TLS is broken behind {host}: {message}; run the same command again later to go on"),
    Rule("origin_down", A.RETRY, statuses=(520, 521, 522, 523, 527), remedy=_OUTAGE, outage=True),
    Rule("overloaded", A.GATE, statuses=(529,), effect="saturate", free=True, remedy=_OUTAGE, outage=True),
    Rule("server_error", A.RETRY, 1, 4, A.BISECT, statuses=(500,), reason="server_rejects_item", remedy=_OUTAGE, outage=True),
    Rule("unknown_refusal", A.BISECT, statuses=(range(400, 500),), remedy=_REFUSED),
    Rule("unknown_server_error", A.RETRY, statuses=(range(500, 600),), remedy=_OUTAGE, outage=True),
    Rule("unknown_status", A.ABORT, remedy="{host} answers with HTTP {status}, which is no answer to an embeddings request; check embedding.base_url"),
)  # fmt: skip

_NUMBER_OF_INPUTS = (
    re.compile(r"at most (\d+) (?:requests|inputs|texts|items)", re.I),
    re.compile(r"should not be larger than (\d+)", re.I),
    re.compile(r"maximum allowed batch size (?:is )?(\d+)", re.I),
    re.compile(r"batch size \d+ > maximum allowed batch size (\d+)", re.I),
    re.compile(r"list of at most (\d+)", re.I),
)
_NUMBER_OF_TOKENS = (
    re.compile(r"max (\d+) tokens per request", re.I),
    re.compile(r"max is (\d+) got \d+", re.I),
    re.compile(r"limit:? (\d+),.*requested:? \d+", re.I),
)
_OVERDRAWN = re.compile(r"limit:? (\d+),.*requested:? (\d+)", re.I)


def classify(failure: Failure, around: Circumstances) -> Verdict:
    """Find the row that matches a failure, with everything its text and headers teach.

    An HTTP 200 whose body is an error object is judged by the embedded code, as if that were the status.
    """
    headers = {} if isinstance(failure, NoReply) else failure.headers
    error = read_error_body(failure.body) if isinstance(failure, Reply) else ErrorBody("", "", failure.detail, False)
    status = _status(failure, error)
    wait = read_wait(headers, error.message, around.max_wait_seconds)
    overdrawn = _is_overdrawn(error.message)
    kind = "" if isinstance(failure, Reply) else failure.kind
    long_wait = wait is not None and wait > around.max_wait_seconds
    rule = next(rule for rule in RULES if _matches(rule, kind, status, error, around, long_wait, overdrawn))
    message = clean_message(error.message, around.texts) or (f"HTTP {status}" if status else kind)
    return Verdict(
        rule,
        message,
        find_request_id(headers, error.message),
        wait,
        _first_number(_NUMBER_OF_INPUTS, error.message),
        _first_number(_NUMBER_OF_TOKENS, error.message),
        _sentence(rule, message, status, headers.get("location", ""), wait, around),
    )


def has_error_object(reply: Reply) -> bool:
    """Say whether a 200 carries an error instead of vectors, as some gateways send."""
    error = read_error_body(reply.body)
    return bool(error.code or error.type or error.message) and not error.html


def _status(failure: Failure, error: ErrorBody) -> int:
    if not isinstance(failure, Reply):
        return 0
    if failure.status != 200:
        return failure.status
    return int(error.code) if error.code.isdecimal() and 300 <= int(error.code) < 600 else 500


def _matches(
    rule: Rule, kind: str, status: int, error: ErrorBody, around: Circumstances, long_wait: bool, overdrawn: bool
) -> bool:
    if kind:
        return kind in rule.kinds and _fits(rule, error, around)
    if rule.kinds or (rule.statuses and not _has_status(rule, status)):
        return False
    if (rule.long_wait and not long_wait) or (rule.overdrawn and not overdrawn):
        return False
    if rule.codes and not (_is_code(rule.codes, error.code) or _is_code(rule.codes, error.type)):
        return False
    if rule.says and not re.search(rule.says, error.message, re.I):
        return False
    return _fits(rule, error, around)


def _fits(rule: Rule, error: ErrorBody, around: Circumstances) -> bool:
    return (
        rule.html in (None, error.html)
        and rule.proven in (None, around.proven)
        and rule.single in (None, len(around.texts) == 1)
    )


def _has_status(rule: Rule, status: int) -> bool:
    return any(status in known if isinstance(known, range) else status == known for known in rule.statuses)


def _is_code(pattern: str, code: str) -> bool:
    return re.fullmatch(pattern, code, re.I) is not None


def _is_overdrawn(message: str) -> bool:
    found = _OVERDRAWN.search(message)
    return found is not None and int(found.group(2)) > int(found.group(1))


def _first_number(patterns: Sequence[re.Pattern[str]], message: str) -> int | None:
    for pattern in patterns:
        found = pattern.search(message)
        if found and int(found.group(1)) > 0:
            return int(found.group(1))
    return None


def _sentence(rule: Rule, message: str, status: int, location: str, wait: float | None, around: Circumstances) -> str:
    return rule.remedy.format(
        host=around.host,
        base_url=around.base_url,
        model=around.model,
        key_variable=around.key_variable or "no variable (embedding.api_key_env is empty)",
        message=message.rstrip(" ."),
        status=status,
        location=clean_message(location, around.texts),
        wait=_spoken(wait or 0.0),
    )


def _spoken(seconds: float) -> str:
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{max(1, minutes)} min"
