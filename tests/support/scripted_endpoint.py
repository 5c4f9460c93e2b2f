"""An endpoint that is a function, and a clock that only moves when somebody waits."""

import json
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pipeline.rehearsal import rehearsal_vectors
from transforms.clients.base import Answer, Refusal
from transforms.clients.endpoint import Chance, OpenAICompatibleClient
from transforms.clients.http import EndpointSettings
from transforms.clients.paced import MemoryCell
from transforms.core.failures import NoReply, Reply
from transforms.core.pacing import PaceSettings, Quota, open_pace, share_quota
from transforms.core.requests import RequestLimits
from transforms.core.retry_policy import RetryPolicy

DIMENSION = 8

Outcome = Reply | NoReply
Handler = Callable[[list[str], dict[str, Any]], Outcome | None]


def vectors_reply(texts: Sequence[str], dimension: int = DIMENSION, **changes: object) -> Reply:
    """A good answer; ``changes`` replace fields of the body."""
    data = [
        {"object": "embedding", "index": index, "embedding": [float(value) for value in row]}
        for index, row in enumerate(rehearsal_vectors(texts, dimension))
    ]
    body = {"object": "list", "data": data, "model": "m", "usage": {"prompt_tokens": len(texts)}} | changes
    return Reply(200, {"content-type": "application/json"}, json.dumps(body).encode())


def error_reply(status: int, message: str = "", code: str | None = None, **headers: str) -> Reply:
    body = json.dumps({"error": {"message": message, "type": None, "code": code}}).encode()
    return Reply(status, {name.replace("_", "-"): value for name, value in headers.items()}, body)


class ManualClock:
    """Time that moves by what is waited; waits are kept in ``waits``."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.waits: list[float] = []
        self._lock = threading.Lock()

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        with self._lock:
            self.now += seconds
            self.waits.append(round(seconds, 3))

    def nap(self, seconds: float) -> None:
        with self._lock:
            self.now += seconds


class ScriptedExchange:
    """Ask the handler first; None stands for a good answer. Requests are kept as lists of texts."""

    def __init__(self, handler: Handler, clock: ManualClock) -> None:
        self._handler = handler
        self._clock = clock
        self._lock = threading.Lock()
        self.requests: list[list[str]] = []
        self.bodies: list[dict[str, Any]] = []
        self.closed = False

    def post(self, body: bytes) -> Outcome:
        request = json.loads(body)
        with self._lock:
            self.requests.append(request["input"])
            self.bodies.append(request)
            outcome = self._handler(request["input"], request)
        self._clock.nap(0.001)
        return outcome if outcome is not None else vectors_reply(request["input"])

    def close(self) -> None:
        self.closed = True


@dataclass
class Scripted:
    """A client over a scripted endpoint, and everything that happened."""

    client: OpenAICompatibleClient
    exchange: ScriptedExchange
    clock: ManualClock
    answers: list[Answer] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def keep(self, answer: Answer) -> None:
        with self.lock:
            self.answers.append(answer)

    def embed(self, texts: Sequence[str], tokens: int = 1) -> tuple[Refusal, ...]:
        """Submit, wait for the end, and check that each text is answered or refused once, and rightly."""
        self.answers.clear()
        refusals = self.client.submit(texts, [tokens] * len(texts), self.keep).result(20)
        positions = [position for answer in self.answers for position in answer.positions]
        assert sorted([*positions, *(refusal.position for refusal in refusals)]) == list(range(len(texts)))
        for answer in self.answers:
            expected = rehearsal_vectors([texts[position] for position in answer.positions], answer.vectors.shape[1])
            assert np.allclose(answer.vectors, expected)
        return refusals

    def sent(self) -> list[list[str]]:
        """The requests after the start-up probe."""
        return self.exchange.requests[2:]


def scripted(
    handler: Handler = lambda texts, body: None,
    *,
    quota: Quota = Quota(concurrent_requests=1),
    limits: RequestLimits = RequestLimits(),
    policy: RetryPolicy = RetryPolicy(),
    proven: bool = True,
    max_tokens_per_text: int | None = None,
    **settings: Any,
) -> Scripted:
    """Make a client over a handler. With ``proven`` the start-up probe is answered well before the handler is asked."""
    endpoint = EndpointSettings(base_url="http://endpoint.example/v1", model="m", api_key_env="KEY", **settings)
    clock = ManualClock()
    handlers: list[Handler] = [(lambda texts, body: None) if proven else handler]
    exchange = ScriptedExchange(lambda texts, body: handlers[0](texts, body), clock)
    pace: PaceSettings = share_quota(quota, 1)
    client = OpenAICompatibleClient(
        endpoint,
        endpoint.find_profile(),
        pace,
        limits,
        exchange,
        MemoryCell(open_pace(pace, clock())),
        policy,
        max_tokens_per_text,
        Chance(clock, lambda: 0.5, clock.sleep, clock.nap),
    )
    if proven:
        client.prove()
        handlers[0] = handler
    return Scripted(client, exchange, clock)
