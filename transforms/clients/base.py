"""What a step may ask of an endpoint, whichever it is: texts in, checked float32 vectors out.

The secret kept behind this protocol is everything between a text and its vector: transport, retries, pacing, splitting.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from transforms.core.requests import RequestLimits
from transforms.records import Usage

Vectors = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class EndpointFacts:
    """What one tiny probe proved about the endpoint.

    Attributes:
        dimension: length of every vector it returns with these settings.
        model_reported: the model's name as the endpoint gives it back, "" where it does not.
        normalized: whether the probe's vectors have length 1 (within 1e-3).
        base64: whether base64 answers were proved to equal the float answers.
        canary: the fixed sentence's vector, float32 little-endian bytes; compared in later runs.
    """

    dimension: int
    model_reported: str
    normalized: bool
    base64: bool
    canary: bytes


@dataclass(frozen=True, slots=True)
class Answer:
    """One good response: vectors for some positions of the submitted texts.

    Attributes:
        positions: indices into the texts that were submitted, in the order of ``vectors``.
        vectors: float32, ``len(positions) x dimension``, finite, non-zero.
        prompt_tokens: tokens charged, 0 where the endpoint does not tell.
        model_reported: as in the response, "" where it is missing.
    """

    positions: tuple[int, ...]
    vectors: Vectors
    prompt_tokens: int
    model_reported: str


@dataclass(frozen=True, slots=True)
class Refusal:
    """One text that the endpoint will not embed, proven alone after a known-good probe answered."""

    position: int
    reason: str
    message: str
    attempts: int
    request_id: str


class EmbeddingClient(Protocol):
    """One per process: owns the connection pool, the threads and this process's share of the quota."""

    def prove(self) -> EndpointFacts:
        """Return the facts of the endpoint, sending the probe on the first call only.

        Raises:
            ProviderRefused: key, model, path or balance; or dimensions other than asked for.
        """
        ...

    def submit(
        self, texts: Sequence[str], token_counts: Sequence[int], on_answer: Callable[[Answer], None]
    ) -> "Future[tuple[Refusal, ...]]":
        """Embed texts on the client's threads.

        ``on_answer`` is called on a client thread for every good response before anything else happens to it, and the
        future is done only after it has returned. Each position is either in exactly one answer or in one refusal of the
        result. The future raises FatalError when the run has to stop; then no further request is sent by any thread.
        """
        ...

    def request_limits(self) -> RequestLimits:
        """Return today's limits of one request; they shrink as the endpoint teaches us its own."""
        ...

    def usage(self) -> Usage:
        """Return what this process has used since it started."""
        ...

    def limited_by(self) -> str:
        """Name what held this process back most.

        One of requests_per_minute, tokens_per_minute, concurrency, latency, server, cpu and nothing.
        """
        ...

    def stop(self, reason: str) -> None:
        """Send nothing more; requests in flight are finished and answered."""
        ...

    def close(self, timeout_seconds: float) -> None:
        """Wait for requests in flight at most so long, then give the pool back."""
        ...
