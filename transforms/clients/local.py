"""The embedded default model behind the client protocol: no key, no network, no price, demo quality.

It lets the whole pipeline run offline within a minute. On retrieval its vectors rank below TF-IDF, so take it for
trying things out, not for a product's search.
"""

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait

import numpy as np

from transforms.clients.base import Answer, EndpointFacts, Refusal
from transforms.clients.static_model import DIMENSIONS, MODEL_NAME, load_static_model
from transforms.core.latency import latency_class
from transforms.core.requests import RequestLimits
from transforms.errors import ConfigError, RunInterrupted
from transforms.records import Usage

CANARY = "The canary sings the same song every day, and we listen for a change."
_LIMITS = RequestLimits(max_inputs=256, max_tokens=300_000, max_bytes=1_500_000)


class LocalClient:
    """Embeds on one thread of this process; a repeated call gives the same bits and costs nothing but time."""

    def __init__(self, model: str, dimensions: int | None) -> None:
        """Load the model.

        Args:
            model: ``wordllama-l2-256``, the one model there is.
            dimensions: 64, 128 or 256; None is 256. Shorter vectors are prefixes of the long one, of length 1 again.

        Raises:
            ConfigError: another model or dimensions, or the ``local`` extra is not installed.
        """
        if model != MODEL_NAME:
            raise ConfigError(f"embedding.model is {model!r}; the provider 'local' has one model: {MODEL_NAME!r}")
        if dimensions is not None and dimensions not in DIMENSIONS:
            allowed = ", ".join(map(str, DIMENSIONS))
            raise ConfigError(
                f"embedding.dimensions is {dimensions}; {MODEL_NAME} has {allowed} (null is {DIMENSIONS[-1]})"
            )
        self._model = load_static_model(dimensions or DIMENSIONS[-1])
        self._embedding = threading.Lock()
        self._counting = threading.Lock()
        self._usage = Usage()
        self._facts: EndpointFacts | None = None
        self._stop_reason: str | None = None
        self._in_flight: set[Future[tuple[Refusal, ...]]] = set()
        self._threads = ThreadPoolExecutor(max_workers=1, thread_name_prefix="embed-local")

    def prove(self) -> EndpointFacts:
        """Return the model's facts, with the canary sentence's vector."""
        if self._facts is None:
            with self._embedding:
                vector = self._model.embed([CANARY])[0].vector
            if vector is None:
                raise ConfigError(f"the local model {MODEL_NAME} gives the canary sentence no vector")
            canary = vector.astype("<f4").tobytes()
            self._facts = EndpointFacts(self._model.dimension, MODEL_NAME, normalized=True, base64=False, canary=canary)
        return self._facts

    def submit(
        self, texts: Sequence[str], token_counts: Sequence[int], on_answer: Callable[[Answer], None]
    ) -> Future[tuple[Refusal, ...]]:
        """Embed texts on the client's one thread, at most 256 an answer.

        ``token_counts`` is not needed: the model counts its own tokens.
        """
        if len(texts) != len(token_counts):
            raise ValueError(f"{len(texts)} texts came with {len(token_counts)} token counts")
        future = self._threads.submit(self._embed_all, tuple(texts), on_answer)
        with self._counting:
            self._in_flight.add(future)
        future.add_done_callback(self._landed)
        return future

    def request_limits(self) -> RequestLimits:
        """Return limits that keep a call's memory below a few MB."""
        return _LIMITS

    def usage(self) -> Usage:
        """Return what this client has used; ``prompt_tokens`` are the model's own tokens."""
        with self._counting:
            return self._usage

    def limited_by(self) -> str:
        """Name the one thing that can hold a local model back."""
        return "cpu"

    def stop(self, reason: str) -> None:
        """Embed nothing more after the call at work; futures not yet begun raise RunInterrupted."""
        if self._stop_reason is None:
            self._stop_reason = reason

    def close(self, timeout_seconds: float) -> None:
        """Wait for the call at work at most so long, then give the thread back; what waits behind it is dropped."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        with self._counting:
            in_flight = set(self._in_flight)
        wait(in_flight, timeout=timeout_seconds)

    def _landed(self, future: Future[tuple[Refusal, ...]]) -> None:
        with self._counting:
            self._in_flight.discard(future)

    def _embed_all(self, texts: tuple[str, ...], on_answer: Callable[[Answer], None]) -> tuple[Refusal, ...]:
        refusals: list[Refusal] = []
        for start in range(0, len(texts), _LIMITS.max_inputs):
            if self._stop_reason is not None:
                raise RunInterrupted(f"the run stops: {self._stop_reason}")
            answer, refused = self._embed_request(texts[start : start + _LIMITS.max_inputs], start)
            refusals += refused
            if answer.positions:
                on_answer(answer)
        return tuple(refusals)

    def _embed_request(self, texts: Sequence[str], start: int) -> tuple[Answer, list[Refusal]]:
        with self._embedding:
            began = time.monotonic()
            embedded = self._model.embed(texts)
            took = latency_class(time.monotonic() - began)
        vectors = {start + offset: text.vector for offset, text in enumerate(embedded) if text.vector is not None}
        refusals = [_no_tokens(start + offset) for offset, text in enumerate(embedded) if text.vector is None]
        tokens = sum(text.token_count for text in embedded)
        with self._counting:
            self._usage += Usage(requests=1, prompt_tokens=tokens, latencies=(*(0,) * took, 1))
        matrix = np.stack(list(vectors.values())) if vectors else np.empty((0, self._model.dimension), np.float32)
        return Answer(tuple(vectors), matrix, tokens, MODEL_NAME), refusals


def _no_tokens(position: int) -> Refusal:
    return Refusal(position, "no_tokens", f"the text has no tokens that {MODEL_NAME} knows", attempts=1, request_id="")
