"""An embedding client that is honest and small: deterministic vectors, refusals and failures on demand, no network."""

import hashlib
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np

from transforms.clients.base import Answer, EndpointFacts, Refusal, Vectors
from transforms.core.requests import RequestLimits
from transforms.records import Usage

DIMENSION = 4


def fake_vector(text: str) -> Vectors:
    digest = hashlib.sha256(text.encode()).digest()
    return np.frombuffer(digest[: DIMENSION * 2], np.uint16).astype(np.float32) + 1


class FakeClient:
    """Answers on its own threads; counts what it was asked.

    Args:
        poison: texts that hold this are refused.
        fail_after: requests answered before every further one fails with ``failure``.
        halves: answer each request in two responses, as a client does that had to shrink it.
    """

    def __init__(
        self,
        limits: RequestLimits | None = None,
        poison: str = "\0",
        fail_after: int | None = None,
        failure: BaseException | None = None,
        halves: bool = False,
    ) -> None:
        self.limits = limits or RequestLimits(max_inputs=4)
        self._poison, self._fail_after, self._failure, self._halves = poison, fail_after, failure, halves
        self._threads = ThreadPoolExecutor(3)
        self._lock = threading.Lock()
        self.requests: list[tuple[str, ...]] = []
        self.stopped = ""
        self.proofs = 0

    def prove(self) -> EndpointFacts:
        self.proofs += 1
        return EndpointFacts(DIMENSION, "fake-001", False, False, fake_vector("canary").tobytes())

    def submit(
        self, texts: Sequence[str], token_counts: Sequence[int], on_answer: Callable[[Answer], None]
    ) -> "Future[tuple[Refusal, ...]]":
        assert len(texts) == len(token_counts)
        return self._threads.submit(self._embed, tuple(texts), on_answer)

    def _embed(self, texts: tuple[str, ...], on_answer: Callable[[Answer], None]) -> tuple[Refusal, ...]:
        with self._lock:
            if self._failure is not None and self._fail_after is not None and len(self.requests) >= self._fail_after:
                raise self._failure
            self.requests.append(texts)
        good = [at for at, text in enumerate(texts) if self._poison not in text]
        cut = len(good) // 2 if self._halves else len(good)
        for positions in (good[cut:], good[:cut]):
            if positions:
                vectors = np.stack([fake_vector(texts[at]) for at in positions])
                on_answer(Answer(tuple(positions), vectors, len(positions), "fake-001"))
        return tuple(Refusal(at, "refused", "refused", 1, "r-1") for at in range(len(texts)) if at not in good)

    def request_limits(self) -> RequestLimits:
        return self.limits

    def usage(self) -> Usage:
        return Usage(requests=len(self.requests))

    def limited_by(self) -> str:
        return "cpu"

    def stop(self, reason: str) -> None:
        self.stopped = reason

    def close(self, timeout_seconds: float) -> None:
        self._threads.shutdown(wait=True)
