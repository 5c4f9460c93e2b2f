"""The client of an OpenAI-compatible endpoint: puts transport, pace and resilience together behind ``EmbeddingClient``."""

import random
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass

from transforms.clients.attempts import Attempts, Exchange
from transforms.clients.base import Answer, EndpointFacts, Refusal
from transforms.clients.circuit import Circuit
from transforms.clients.http import EndpointSettings
from transforms.clients.paced import PaceCell, Pacer
from transforms.clients.probe import Prober
from transforms.clients.resilient import Deliverer, LearnedLimits
from transforms.clients.run_switch import RunSwitch
from transforms.clients.tally import Tally, main_limit
from transforms.core.pacing import PaceSettings, Quota, share_quota, tokens_that_pass
from transforms.core.profiles import Profile
from transforms.core.requests import RequestLimits
from transforms.core.retry_policy import RetryPolicy
from transforms.errors import RunInterrupted
from transforms.records import Usage

_THREADS_PER_PLACE = 2
_REQUESTS_A_MINUTE_AT_LEAST = 12


@dataclass(frozen=True, slots=True)
class Chance:
    """What a client takes from the world besides the network; a test gives its own.

    Attributes:
        clock: monotonic seconds, the same for all processes of the machine.
        jitter: a random fraction in [0, 1).
        sleep: None to sleep in real time, interrupted when the run stops.
        nap: how the pacer waits, None for real time, cut short when a place in flight is given back.
    """

    clock: Callable[[], float] = time.monotonic
    jitter: Callable[[], float] = random.random
    sleep: Callable[[float], None] | None = None
    nap: Callable[[float], None] | None = None


class OpenAICompatibleClient:
    """Owns the threads, the connections and this process's share of the quota.

    Twice as many threads as requests in flight: a thread that waits to retry or hands an answer on leaves its place to
    another. Every text of a submission is answered once or refused once. Calling ``submit`` again after a crash is
    harmless but for what it costs.
    """

    def __init__(
        self,
        settings: EndpointSettings,
        profile: Profile,
        pace: PaceSettings,
        limits: RequestLimits,
        exchange: Exchange,
        cell: PaceCell,
        policy: RetryPolicy,
        max_tokens_per_text: int | None,
        chance: Chance,
    ) -> None:
        self._switch = RunSwitch()
        self._exchange = exchange
        self._limits = LearnedLimits(limits)
        self._tally = Tally()
        self._pacer = Pacer(pace, cell, self._switch, clock=chance.clock, jitter=chance.jitter, wait=chance.nap)
        self._attempts = Attempts(
            settings, profile, exchange, self._pacer, self._tally, policy.max_server_wait_seconds, chance.clock
        )
        self._circuit = Circuit(
            self._attempts, self._switch, settings.max_outage_seconds,
            clock=chance.clock, jitter=chance.jitter, sleep=chance.sleep,
        )  # fmt: skip
        self._prober = Prober(
            settings,
            profile,
            self._attempts,
            self._circuit,
            self._switch,
            policy,
            sleep=chance.sleep,
            jitter=chance.jitter,
        )
        self._deliverer = Deliverer(
            self._attempts, self._circuit, self._switch, self._limits, policy, max_tokens_per_text,
            clock=chance.clock, sleep=chance.sleep, jitter=chance.jitter,
        )  # fmt: skip
        self._facts: EndpointFacts | None = None
        self._facts_lock = threading.Lock()
        self._pool = ThreadPoolExecutor(_THREADS_PER_PLACE * pace.concurrency, "embedding-request")
        self._futures: set[Future[tuple[Refusal, ...]]] = set()
        self._futures_lock = threading.Lock()
        self._closed = False

    def prove(self) -> EndpointFacts:
        with self._facts_lock:
            self._switch.check()
            if self._facts is None:
                self._facts = self._prober.prove()
            return self._facts

    def submit(
        self, texts: Sequence[str], token_counts: Sequence[int], on_answer: Callable[[Answer], None]
    ) -> "Future[tuple[Refusal, ...]]":
        if len(texts) != len(token_counts):
            raise ValueError(f"each text needs its token count, got {len(texts)} texts and {len(token_counts)} counts")
        with self._futures_lock:
            if self._closed:
                raise RunInterrupted("the client is closed and takes no more texts")
            future = self._pool.submit(self._deliver, tuple(texts), tuple(token_counts), on_answer)
            self._futures.add(future)
        future.add_done_callback(self._forget)
        return future

    def request_limits(self) -> RequestLimits:
        return self._limits.today()

    def usage(self) -> Usage:
        held_by = self._pacer.held_by()
        return self._tally.usage(sum(seconds for name, seconds in held_by.items() if name != "concurrency"))

    def probe_tokens(self) -> int:
        """Tokens that probes were charged; ``usage`` leaves them out."""
        return self._tally.probe_tokens()

    def limited_by(self) -> str:
        in_flight, seconds = self._attempts.flight()
        return main_limit(self._pacer.held_by(), in_flight, seconds, self._tally.usage(0.0).requests)

    def stop(self, reason: str) -> None:
        self._switch.turn_off(RunInterrupted(reason))

    def close(self, timeout_seconds: float) -> None:
        with self._futures_lock:
            already, self._closed = self._closed, True
            futures = set(self._futures)
        if already:
            return
        self._switch.turn_off(RunInterrupted("the client was closed"))
        wait(futures, timeout_seconds)
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._exchange.close()
        self._pacer.close()

    def _deliver(
        self, texts: tuple[str, ...], token_counts: tuple[int, ...], on_answer: Callable[[Answer], None]
    ) -> tuple[Refusal, ...]:
        try:
            self.prove()
            return self._deliverer.deliver(texts, token_counts, on_answer)
        except BaseException as error:
            # Also when the caller could not keep an answer: sending more would pay for what gets lost.
            self._switch.turn_off(error)
            raise

    def _forget(self, future: "Future[tuple[Refusal, ...]]") -> None:
        with self._futures_lock:
            self._futures.discard(future)


def fitting_limits(limits: RequestLimits, profile: Profile, quota: Quota, lanes: int) -> RequestLimits:
    """Lower the limits of a request to what the server takes and to what the quota lets pass smoothly."""
    share = Quota(
        None if quota.requests_per_minute is None else max(1, quota.requests_per_minute // lanes),
        None if quota.tokens_per_minute is None else max(1, quota.tokens_per_minute // lanes),
    )
    max_inputs = min(limits.max_inputs, profile.max_inputs)
    if profile.requests_cost_per_input and share.requests_per_minute is not None:
        max_inputs = min(max_inputs, max(1, share.requests_per_minute // _REQUESTS_A_MINUTE_AT_LEAST))
    max_tokens = min(limits.max_tokens, profile.max_tokens_per_request or limits.max_tokens)
    return RequestLimits(max_inputs, tokens_that_pass(share, max_tokens), limits.max_bytes)


def fitting_pace(quota: Quota, profile: Profile, limits: RequestLimits, lanes: int) -> PaceSettings:
    """Give this process's share of the quota, with no more in flight than the server works on at once."""
    places = [profile.max_concurrent_requests] if profile.max_concurrent_requests else []
    if profile.max_inputs_in_flight:
        places.append(max(1, profile.max_inputs_in_flight // limits.max_inputs))
    return share_quota(quota, lanes, limits.max_tokens, min(places, default=None), profile.announced_window_seconds)
