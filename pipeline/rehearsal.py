"""A provider to rehearse with: an OpenAI-compatible endpoint on loopback with a quota, a latency and faults of your choice.

It keeps what providers keep (three kinds of rate limiter, each with OpenAI's headers when asked to announce them), fails in
the ways that providers fail, in the words of OpenAI, CometAPI or TEI, and counts what a bill would say. Its vectors come
from the text alone, so that anybody can tell whether a vector belongs to a text.
"""

import asyncio
import random
import time
from base64 import b64encode
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import orjson
from aiohttp import web

FAULTS: Final = (
    "drop", "500", "500-invalid-request", "502-html", "503-model", "503", "truncated", "short-answer", "nan", "zero",
    "reorder", "no-index", "duplicate-index", "wrong-dimension", "429", "timeout", "200-error", "200-html", "empty-data",
)  # fmt: skip
LIMITERS: Final = ("token-bucket", "sliding-window", "fixed-window")
BODY_STYLES: Final = ("openai", "cometapi", "tei")
_POOL_SIZE: Final = 1 << 17
_HANG_SECONDS: Final = 3600.0
_DROPPED: Final = 599
_BYTES_PER_TOKEN: Final = 4

Vectors = npt.NDArray[np.float32]


def _make_pool() -> Vectors:
    bits = np.random.Philox(key=20_260_101).random_raw(_POOL_SIZE)
    return ((bits >> np.uint64(40)).astype(np.float32) / np.float32(1 << 23) - np.float32(1.0)).astype(np.float32)


_POOL: Final = _make_pool()


def rehearsal_vector(text: str, dimensions: int) -> Vectors:
    """Give the vector that the rehearsal provider answers for a text: float32, length 1, from the text alone."""
    vector: Vectors = rehearsal_vectors([text], dimensions)[0]
    return vector


def rehearsal_vectors(texts: Sequence[str], dimensions: int) -> Vectors:
    """Give the vectors of many texts, one a row; each is the same as when asked for alone.

    A hash of the text picks two stretches of one fixed random sequence and a weight to mix them, which takes microseconds.
    """
    digests = b"".join(blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest() for text in texts)
    numbers = np.frombuffer(digests, dtype="<u4").reshape(len(texts), 4)
    windows = np.lib.stride_tricks.sliding_window_view(_POOL, dimensions)
    first, second = windows[numbers[:, 0] % len(windows)], windows[numbers[:, 1] % len(windows)]
    weights = (numbers[:, 2:3].astype(np.float32) / np.float32(2**33)) + np.float32(0.75)
    mixed = first + weights * second
    lengths = np.sqrt((mixed.astype(np.float64) ** 2).sum(axis=1, keepdims=True))
    result: Vectors = (mixed / lengths).astype(np.float32)
    return result


@dataclass(frozen=True, slots=True)
class RehearsalSettings:
    """How the provider behaves; ``POST /rehearsal/settings`` replaces single values while it runs.

    Attributes:
        requests_per_minute: None for no limit.
        tokens_per_minute: None for no limit.
        limiter: what the limits are measured by; a token bucket starts full and holds one minute.
        announce_limits: whether answers carry ``x-ratelimit-*`` headers.
        latency_ms: mean time to an answer.
        latency_jitter_ms: the time lies within so much of the mean, evenly.
        dimensions: of the model; a request may ask for fewer.
        model: the only one it serves, "" to serve any.
        faults: kind to the share of requests that fail so; see ``FAULTS``.
        poison: piece of text to the status that a request containing it is refused with.
        body_style: whose errors it speaks.
        api_key: the key it wants, "" to take any or none.
        balance: False to answer as an account without credit.
        max_inputs: texts in one request.
        max_tokens_per_input: a longer text is refused.
        base64: whether it honours ``encoding_format: base64``.
        price: US dollars per million tokens, as its catalog says.
        exact_tokens: count as the tokenizer of the model does; else a quarter of the bytes, which costs nothing.
        seed: of latencies and faults.
    """

    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    limiter: str = "token-bucket"
    announce_limits: bool = True
    latency_ms: float = 0.0
    latency_jitter_ms: float = 0.0
    dimensions: int = 1536
    model: str = ""
    faults: Mapping[str, float] = field(default_factory=dict)
    poison: Mapping[str, int] = field(default_factory=dict)
    body_style: str = "openai"
    api_key: str = ""
    balance: bool = True
    max_inputs: int = 2048
    max_tokens_per_input: int | None = None
    base64: bool = True
    price: float | None = 0.02
    exact_tokens: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        if self.limiter not in LIMITERS:
            raise ValueError(f"limiter must be one of {', '.join(LIMITERS)}, got {self.limiter!r}")
        if self.body_style not in BODY_STYLES:
            raise ValueError(f"body_style must be one of {', '.join(BODY_STYLES)}, got {self.body_style!r}")
        for kind, share in self.faults.items():
            if kind not in FAULTS:
                raise ValueError(f"fault must be one of {', '.join(FAULTS)}, got {kind!r}")
            if not 0 <= share <= 1:
                raise ValueError(f"the rate of fault {kind} must lie between 0 and 1, got {share}")
        if sum(self.faults.values()) > 1:
            raise ValueError(f"the rates of all faults must not sum to more than 1, got {sum(self.faults.values()):g}")
        for piece, status in self.poison.items():
            if not 400 <= status <= 599:
                raise ValueError(f"the status for poison {piece!r} must lie between 400 and 599, got {status}")
        if not 1 <= self.dimensions <= _POOL_SIZE // 2:
            raise ValueError(f"dimensions must lie between 1 and {_POOL_SIZE // 2}, got {self.dimensions}")


class WindowLimiter:
    """Admit costs up to a limit per minute, measured in one of three ways.

    A refused cost is not charged. ``now`` may start anywhere and must not run backwards.
    """

    def __init__(self, kind: str, limit: int, now: float) -> None:
        self.limit = limit
        self._kind = kind
        self._credit = float(limit)
        self._refilled_at = now
        self._window = int(now // 60)
        self._log: deque[tuple[float, float]] = deque()

    def remaining(self, now: float) -> float:
        """Give what could be admitted now."""
        if self._kind == "token-bucket":
            self._credit = min(self.limit, self._credit + (now - self._refilled_at) * self.limit / 60)
            self._refilled_at = now
        elif self._kind == "fixed-window":
            if int(now // 60) != self._window:
                self._window, self._credit = int(now // 60), float(self.limit)
        else:
            while self._log and self._log[0][0] <= now - 60:
                self._credit += self._log.popleft()[1]
        return self._credit

    def charge(self, now: float, cost: float) -> None:
        """Take a cost that ``remaining`` allowed."""
        self._credit -= cost
        if self._kind == "sliding-window":
            self._log.append((now, cost))

    def wait(self, now: float, cost: float) -> float:
        """Give the seconds until a cost can be admitted, which is for ever when it is above the limit."""
        missing = cost - self.remaining(now)
        if missing <= 0:
            return 0.0
        if self._kind == "token-bucket":
            return missing / self.limit * 60
        if self._kind == "fixed-window":
            return 60 - now % 60
        for sent_at, amount in self._log:
            missing -= amount
            if missing <= 0:
                return sent_at + 60 - now
        return 60.0

    def full_after(self, now: float) -> float:
        """Give the seconds until the whole limit is there again."""
        if self._kind == "token-bucket":
            return (self.limit - self.remaining(now)) / self.limit * 60
        if self._kind == "fixed-window":
            return 60 - now % 60
        return self._log[-1][0] + 60 - now if self._log else 0.0

    def changed(self, limit: int) -> None:
        """Take a new limit; what was used stays used."""
        self._credit += limit - self.limit
        self.limit = limit


@dataclass(slots=True)
class Statistics:
    """What the provider saw; ``texts_paid_twice`` is what a client that loses answers wastes."""

    requests: int = 0
    by_status: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    texts: int = 0
    answers: Counter[bytes] = field(default_factory=Counter)
    prompt_tokens: int = 0
    in_flight: int = 0
    peak_in_flight: int = 0
    accepted_by_second: Counter[int] = field(default_factory=Counter)
    tokens_by_second: Counter[int] = field(default_factory=Counter)
    throttled_by_second: Counter[int] = field(default_factory=Counter)
    first_request_at: float | None = None
    last_request_at: float | None = None

    def as_json(self, now: float) -> dict[str, object]:
        """Give the counters as one JSON object; seconds are counted from the first request."""
        first = self.first_request_at if self.first_request_at is not None else now
        start = int(first)

        def from_start(counter: Counter[int]) -> dict[str, int]:
            return {str(second - start): amount for second, amount in sorted(counter.items())}

        minutes: Counter[int] = Counter()
        for second, amount in self.accepted_by_second.items():
            minutes[(second - start) // 60] += amount
        return {
            "requests": self.requests,
            "by_status": dict(self.by_status),
            "faults": dict(self.faults),
            "texts": self.texts,
            "distinct_texts": len(self.answers),
            "texts_paid_twice": sum(self.answers.values()) - len(self.answers),
            "prompt_tokens": self.prompt_tokens,
            "peak_in_flight": self.peak_in_flight,
            "accepted_per_minute": [minutes[minute] for minute in range(max(minutes, default=-1) + 1)],
            "accepted_by_second": from_start(self.accepted_by_second),
            "tokens_by_second": from_start(self.tokens_by_second),
            "throttled_by_second": from_start(self.throttled_by_second),
            "seconds": 0.0 if self.last_request_at is None else self.last_request_at - first,
        }


class RehearsalProvider:
    """The provider's state and handlers; ``application`` makes an aiohttp application of it."""

    def __init__(
        self,
        settings: RehearsalSettings,
        count_tokens: Callable[[str], int] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.settings = settings
        self.statistics = Statistics()
        self._count_tokens = count_tokens
        self._clock = clock
        self._random = random.Random(settings.seed)
        self._requests_limiter: WindowLimiter | None = None
        self._tokens_limiter: WindowLimiter | None = None
        self._request_number = 0
        self._set_limits()

    def application(self) -> web.Application:
        """Make the web application: embeddings, models, catalog, statistics and settings."""
        application = web.Application(client_max_size=64 * 1024 * 1024)
        application.router.add_post("/v1/embeddings", self._embeddings)
        application.router.add_get("/v1/models", self._models)
        application.router.add_get("/api/models", self._catalog)
        application.router.add_get("/rehearsal/statistics", self._statistics)
        application.router.add_post("/rehearsal/settings", self._change_settings)
        application.router.add_route("*", "/{path:.*}", self._no_such_path)
        return application

    def change(self, changes: Mapping[str, Any]) -> None:
        """Replace single settings.

        Raises:
            ValueError: a value that is not allowed.
            TypeError: an unknown setting.
        """
        self.settings = replace(self.settings, **changes)
        self._set_limits()

    def _set_limits(self) -> None:
        settings = self.settings
        self._requests_limiter = self._limiter(self._requests_limiter, settings.requests_per_minute)
        self._tokens_limiter = self._limiter(self._tokens_limiter, settings.tokens_per_minute)

    def _limiter(self, before: WindowLimiter | None, limit: int | None) -> WindowLimiter | None:
        if limit is None:
            return None
        if before is None:
            return WindowLimiter(self.settings.limiter, limit, self._clock())
        before.remaining(self._clock())
        before.changed(limit)
        return before

    # ------------------------------------------------------------------------------------------------ embeddings

    async def _embeddings(self, request: web.Request) -> web.StreamResponse:
        statistics = self.statistics
        now = self._clock()
        statistics.requests += 1
        statistics.in_flight += 1
        statistics.peak_in_flight = max(statistics.peak_in_flight, statistics.in_flight)
        statistics.first_request_at = now if statistics.first_request_at is None else statistics.first_request_at
        statistics.last_request_at = now
        try:
            response = await self._answer(request, now)
            statistics.by_status["dropped" if response.status == _DROPPED else str(response.status)] += 1
            return response
        finally:
            statistics.in_flight -= 1

    async def _answer(self, request: web.Request, now: float) -> web.StreamResponse:
        body = orjson.loads(await request.read())
        texts = [body["input"]] if isinstance(body["input"], str) else body["input"]
        refused = self._refuse_account(request, body) or self._refuse_request(texts, body)
        if refused is not None:
            return refused
        tokens = [self._tokens(text) for text in texts]
        throttled = self._throttle(now, sum(tokens))
        if throttled is not None:
            return throttled
        fault = self._draw_fault()
        settings = self.settings
        delay = settings.latency_ms + settings.latency_jitter_ms * (2 * self._random.random() - 1)
        if fault in ("429", "500-invalid-request"):
            delay = 0.0
        await asyncio.sleep(max(0.0, delay) / 1000)
        if fault is not None:
            self.statistics.faults[fault] += 1
        broken = await self._broken(request, fault)
        if broken is not None:
            return broken
        poisoned = self._refuse_content(texts, tokens)
        if poisoned is not None:
            return poisoned
        return await self._good(request, body, texts, sum(tokens), fault, now)

    def _refuse_account(self, request: web.Request, body: Mapping[str, Any]) -> web.Response | None:
        settings = self.settings
        comet = settings.body_style == "cometapi"
        if settings.api_key and request.headers.get("Authorization") != f"Bearer {settings.api_key}":
            return self._error(401, "Incorrect API key provided", "invalid_request_error", "invalid_api_key")
        if not settings.balance:
            if comet:
                return self._error(403, "user quota is not enough", "comet_api_error", "insufficient_user_quota")
            text = "You exceeded your current quota, please check your plan and billing details."
            return self._error(429, text, "insufficient_quota", "insufficient_quota")
        if settings.model and body.get("model") != settings.model:
            if comet:
                text = f"no available channel for group default and model {body.get('model')}"
                return self._error(503, text, "comet_api_error", "model_not_found")
            text = f"The model `{body.get('model')}` does not exist or you do not have access to it."
            return self._error(404, text, "invalid_request_error", "model_not_found")
        return None

    def _refuse_request(self, texts: Sequence[object], body: Mapping[str, Any]) -> web.Response | None:
        settings = self.settings
        if not texts or not all(isinstance(text, str) and text for text in texts):
            return self._error(
                400, "'$.input' is invalid. Please check the API reference.", "invalid_request_error", None
            )
        if len(texts) > settings.max_inputs:
            if settings.body_style == "tei":
                text = f"batch size {len(texts)} > maximum allowed batch size {settings.max_inputs}"
                return self._error(422, text, "Validation", None)
            text = f"'$.input' is invalid: list of at most {settings.max_inputs} items expected."
            return self._error(400, text, "invalid_request_error", None)
        wanted = body.get("dimensions")
        if wanted is not None and not (isinstance(wanted, int) and 1 <= wanted <= settings.dimensions):
            text = f"dimensions must lie between 1 and {settings.dimensions}"
            return self._error(400, text, "invalid_request_error", None)
        if body.get("encoding_format", "float") not in ("float", "base64"):
            return self._error(400, "encoding_format must be float or base64", "invalid_request_error", None)
        return None

    def _throttle(self, now: float, tokens: int) -> web.Response | None:
        """Charge both limits or neither."""
        pairs = [(self._requests_limiter, 1.0, "requests"), (self._tokens_limiter, float(tokens), "tokens")]
        limited = [(limiter, cost, name) for limiter, cost, name in pairs if limiter is not None]
        waits = [(limiter.wait(now, cost), limiter, cost, name) for limiter, cost, name in limited]
        longest = max(waits, key=lambda entry: entry[0], default=None)
        if longest is not None and longest[0] > 0:
            wait, limiter, cost, name = longest
            self.statistics.throttled_by_second[int(now)] += 1
            used = limiter.limit - limiter.remaining(now)
            text = (
                f"Rate limit reached for rehearsal on {name} per min: Limit {limiter.limit}, Used {used:.0f}, "
                f"Requested {cost:.0f}."
            )
            if self.settings.announce_limits:
                text += f" Please try again in {wait:.3f}s."
            return self._error(429, text, name, "rate_limit_exceeded", self._limit_headers(now))
        for limiter, cost, _ in limited:
            limiter.charge(now, cost)
        return None

    def _limit_headers(self, now: float) -> dict[str, str]:
        if not self.settings.announce_limits:
            return {}
        headers: dict[str, str] = {}
        for name, limiter in (("requests", self._requests_limiter), ("tokens", self._tokens_limiter)):
            if limiter is not None:
                headers[f"x-ratelimit-limit-{name}"] = str(limiter.limit)
                headers[f"x-ratelimit-remaining-{name}"] = str(max(0, int(limiter.remaining(now))))
                headers[f"x-ratelimit-reset-{name}"] = f"{limiter.full_after(now):.3f}s"
        return headers

    def _draw_fault(self) -> str | None:
        point = self._random.random()
        for kind, share in self.settings.faults.items():
            point -= share
            if point < 0:
                return kind
        return None

    async def _broken(self, request: web.Request, fault: str | None) -> web.StreamResponse | None:
        """Answer with a fault that brings no vectors; None when the answer goes on."""
        if fault == "drop":
            return _cut_off(request, web.Response(status=_DROPPED))
        if fault == "timeout":
            await asyncio.sleep(_HANG_SECONDS)
        html = "<html><head><title>{0}</title></head><body><h1>{0}</h1><hr>nginx</body></html>"
        plain = {
            "502-html": (502, html.format("502 Bad Gateway")),
            "200-html": (200, html.format("Welcome")),
        }
        if fault in plain:
            status, text = plain[fault]
            return web.Response(status=status, text=text, content_type="text/html")
        errors = {
            "500": (500, "The server had an error while processing your request", "server_error", None),
            "500-invalid-request": (500, "field input is required", "comet_api_error", "invalid_request"),
            "503": (503, "The engine is currently overloaded, please try again later", "server_error", None),
            "503-model": (503, "no available channel for group default", "comet_api_error", "model_not_found"),
            "429": (429, "Too many requests", "requests", "rate_limit_exceeded"),
            "200-error": (200, "Provider returned error", None, 502),
        }  # fmt: skip
        return self._error(*errors[fault]) if fault in errors else None

    def _refuse_content(self, texts: Sequence[str], tokens: Sequence[int]) -> web.Response | None:
        settings = self.settings
        for piece, status in settings.poison.items():
            if any(piece in text for text in texts):
                return self._error(status, "the input cannot be processed", "invalid_request_error", None)
        limit = settings.max_tokens_per_input
        longest = max(tokens)
        if limit is not None and longest > limit:
            text = (
                f"This model's maximum context length is {limit} tokens, however you requested {longest} tokens "
                f"({longest} in your prompt; 0 for the completion). Please reduce your prompt; or completion length."
            )
            return self._error(400, text, "invalid_request_error", None)
        return None

    async def _good(
        self,
        request: web.Request,
        body: Mapping[str, Any],
        texts: Sequence[str],
        tokens: int,
        fault: str | None,
        now: float,
    ) -> web.StreamResponse:
        dimensions = body.get("dimensions") or self.settings.dimensions
        vectors = _spoiled(rehearsal_vectors(texts, dimensions), fault)
        use_base64 = self.settings.base64 and body.get("encoding_format") == "base64"
        payload = _payload(vectors, use_base64, str(body.get("model", "")), tokens, fault)
        self._book(texts, tokens, now)
        headers = self._limit_headers(now)
        if fault != "truncated":
            return web.Response(body=payload, content_type="application/json", headers=headers)
        response = web.StreamResponse(headers={**headers, "Content-Length": str(len(payload))})
        await response.prepare(request)
        await response.write(payload[: len(payload) // 2])
        return _cut_off(request, response)

    def _book(self, texts: Sequence[str], tokens: int, now: float) -> None:
        statistics = self.statistics
        statistics.texts += len(texts)
        statistics.prompt_tokens += tokens
        statistics.accepted_by_second[int(now)] += 1
        statistics.tokens_by_second[int(now)] += tokens
        statistics.answers.update(
            blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest() for text in texts
        )

    def _tokens(self, text: str) -> int:
        if self._count_tokens is not None:
            return self._count_tokens(text)
        return max(1, len(text.encode("utf-8", "surrogatepass")) // _BYTES_PER_TOKEN)

    def _error(
        self,
        status: int,
        message: str,
        kind: str | None,
        code: str | int | None,
        headers: Mapping[str, str] | None = None,
    ) -> web.Response:
        self._request_number += 1
        document: dict[str, object]
        if self.settings.body_style == "cometapi":
            text = f"{message} (request id: 2026{self._request_number:016d})"
            document = {"error": {"message": text, "type": "comet_api_error", "param": "", "code": code or ""}}
        elif self.settings.body_style == "tei":
            document = {"message": message, "code": status, "type": kind or "Backend"}
        else:
            document = {"error": {"message": message, "type": kind, "param": None, "code": code}}
        return web.Response(
            status=status, body=orjson.dumps(document), content_type="application/json", headers=dict(headers or {})
        )

    # -------------------------------------------------------------------------------------------- everything else

    async def _models(self, request: web.Request) -> web.Response:
        entry = {"id": self.settings.model or "text-embedding-3-small", "object": "model", "owned_by": "rehearsal"}
        return _json({"object": "list", "data": [entry]})

    async def _catalog(self, request: web.Request) -> web.Response:
        model = self.settings.model or "text-embedding-3-small"
        pricing = {"currency": "USD / M Tokens", "input": self.settings.price, "output": None, "ratio": 1.0}
        entry = {
            "id": model,
            "code": model,
            "features": ["text-embedding"],
            "endpoints": ["openai"],
            "pricing": pricing,
        }
        return _json({"success": True, "page": 1, "page_size": 20, "total": 1, "data": [entry]})

    async def _statistics(self, request: web.Request) -> web.Response:
        return _json(self.statistics.as_json(self._clock()))

    async def _change_settings(self, request: web.Request) -> web.Response:
        try:
            self.change(orjson.loads(await request.read()))
        except (ValueError, TypeError) as error:
            return web.Response(status=400, text=str(error))
        return _json({"changed": True})

    async def _no_such_path(self, request: web.Request) -> web.Response:
        if self.settings.body_style == "cometapi":
            return web.Response(text="<!doctype html><html><body>Comet</body></html>", content_type="text/html")
        text = f"Invalid URL ({request.method} {request.path})"
        return self._error(404, text, "invalid_request_error", None)


def _cut_off(request: web.Request, response: web.StreamResponse) -> web.StreamResponse:
    """Break the connection; what the server would still send goes nowhere."""
    if request.transport is not None:
        request.transport.abort()
    return response


def _json(document: Mapping[str, object]) -> web.Response:
    return web.Response(body=orjson.dumps(document), content_type="application/json")


def _spoiled(vectors: Vectors, fault: str | None) -> Vectors:
    if fault == "nan":
        vectors[len(vectors) // 2, 0] = np.nan
    elif fault == "zero":
        vectors[len(vectors) // 2] = 0.0
    elif fault == "wrong-dimension":
        vectors = vectors[:, :-1]
    return vectors


def _payload(vectors: Vectors, use_base64: bool, model: str, tokens: int, fault: str | None) -> bytes:
    items: list[dict[str, object]] = []
    for index, vector in enumerate(vectors):
        row = np.ascontiguousarray(vector)
        embedding: object = b64encode(row.data).decode("ascii") if use_base64 else row
        items.append({"object": "embedding", "index": index, "embedding": embedding})
    if fault == "short-answer":
        items.pop()
    elif fault == "reorder":
        items.reverse()
    elif fault == "duplicate-index":
        items[-1]["index"] = 0
    elif fault == "no-index":
        for item in items:
            del item["index"]
    elif fault == "empty-data":
        items = []
    document = {
        "object": "list",
        "data": items,
        "model": model,
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    }
    return orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY)
