"""Deliver texts whatever happens: retry, shrink, split, bisect, refuse or stop, as ``core/failures.py`` says.

Nothing here knows HTTP, threads or the clock; attempts, waiting and chance are handed in.
"""

import logging
import random
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from transforms.clients.attempts import Attempts
from transforms.clients.base import Answer, Refusal
from transforms.clients.circuit import Circuit
from transforms.clients.run_switch import RunSwitch
from transforms.core.failures import Action, Verdict
from transforms.core.requests import RequestLimits, split_evenly
from transforms.core.retry_policy import RetryBudget, RetryPolicy, delay_before_next_attempt
from transforms.core.wire_format import DecodedAnswer

_log = logging.getLogger(__name__)


class LearnedLimits:
    """What one request may hold, lowered as the endpoint refuses larger ones; kept for the whole run."""

    def __init__(self, limits: RequestLimits) -> None:
        self._limits = limits
        self._lock = threading.Lock()

    def today(self) -> RequestLimits:
        """Give the limits as they are now."""
        with self._lock:
            return self._limits

    def lower(self, max_inputs: int | None, max_tokens: int | None) -> None:
        """Take over smaller limits; larger ones change nothing."""
        with self._lock:
            before = self._limits
            self._limits = RequestLimits(
                max(1, min(before.max_inputs, max_inputs or before.max_inputs)),
                max(1, min(before.max_tokens, max_tokens or before.max_tokens)),
                before.max_bytes,
            )
            after = self._limits
        if after != before:
            _log.warning(
                "the endpoint takes no more than %d texts and %d tokens in one request",
                after.max_inputs,
                after.max_tokens,
            )


@dataclass(frozen=True, slots=True)
class Stuck:
    """A request that will not be answered as it is, while the endpoint is well.

    Attributes:
        action: SHRINK, SPLIT, BISECT or REJECT.
        attempts: made at this request, 1 or more.
        began: when the first of them began.
    """

    verdict: Verdict
    action: Action
    attempts: int
    began: float


@dataclass(slots=True)
class _Job:
    """The texts of one submission and what became of them."""

    texts: Sequence[str]
    token_counts: Sequence[int]
    on_answer: Callable[[Answer], None]
    refusals: list[Refusal]

    def land(self, piece: Sequence[int], decoded: DecodedAnswer) -> None:
        """Hand an answer for some of the texts to whoever submitted them."""
        self.on_answer(Answer(tuple(piece), decoded.vectors, decoded.prompt_tokens, decoded.model_reported))


class Deliverer:
    """Get every text of a submission answered or refused, one submission per calling thread.

    Args:
        max_tokens_per_text: longer texts are refused without being sent, None for no such limit.
        sleep: waits so many seconds or raises when the run is stopped.
        jitter: a random fraction in [0, 1).
    """

    def __init__(
        self,
        attempts: Attempts,
        circuit: Circuit,
        switch: RunSwitch,
        limits: LearnedLimits,
        policy: RetryPolicy,
        max_tokens_per_text: int | None,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] | None = None,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._attempts = attempts
        self._circuit = circuit
        self._limits = limits
        self._policy = policy
        self._max_tokens_per_text = max_tokens_per_text
        self._clock = clock
        self._sleep = sleep if sleep is not None else switch.wait
        self._jitter = jitter
        self._budget = RetryBudget(policy.budget)
        self._budget_lock = threading.Lock()

    def deliver(
        self, texts: Sequence[str], token_counts: Sequence[int], on_answer: Callable[[Answer], None]
    ) -> tuple[Refusal, ...]:
        """Answer each text through ``on_answer`` or name it in the result, sorted by position.

        Raises:
            FatalError: the run has to stop; no further request is sent.
        """
        job = _Job(texts, token_counts, on_answer, [])
        work = deque([self._sendable(job)])
        while work:
            piece = work.popleft()
            if not piece:
                continue
            parts = self._within_limits(job, piece)
            if len(parts) > 1:
                work.extendleft(reversed(parts))
                continue
            stuck = self._send(job, piece)
            if stuck is not None:
                work.extendleft(reversed(self._untangle(job, piece, stuck)))
        return tuple(sorted(job.refusals, key=lambda refusal: refusal.position))

    def _sendable(self, job: _Job) -> list[int]:
        """Refuse at once what no endpoint takes; return the positions of the rest."""
        good: list[int] = []
        limit = self._max_tokens_per_text
        for position, (text, tokens) in enumerate(zip(job.texts, job.token_counts, strict=True)):
            if not text.strip():
                job.refusals.append(Refusal(position, "empty", "the text is empty or white space", 0, ""))
            elif not _is_unicode(text):
                job.refusals.append(Refusal(position, "not_unicode", "the text holds half a surrogate pair", 0, ""))
            elif limit is not None and tokens > limit:
                message = f"the text has {tokens} tokens and a minute's quota is {limit}"
                job.refusals.append(Refusal(position, "larger_than_quota", message, 0, ""))
            else:
                good.append(position)
        return good

    def _within_limits(self, job: _Job, piece: list[int]) -> list[list[int]]:
        texts = [job.texts[position] for position in piece]
        counts = [job.token_counts[position] for position in piece]
        return [list(part.keys) for part in split_evenly(texts, counts, piece, self._limits.today())]

    def _untangle(self, job: _Job, piece: list[int], stuck: Stuck) -> list[list[int]]:
        """Find a way for a request that is stuck; return the pieces that are still to be sent."""
        if len(piece) == 1:
            self._refuse(job, piece[0], stuck)
            return []
        if stuck.action is Action.BISECT:
            return self._isolate(job, piece, stuck)
        half = (len(piece) + 1) // 2
        if stuck.action is Action.SHRINK:
            self._learn(job, piece, stuck.verdict)
        return [piece[:half], piece[half:]]

    def _learn(self, job: _Job, piece: list[int], verdict: Verdict) -> None:
        """Remember how much the endpoint takes: the number it names, else half of what it refused."""
        if verdict.max_tokens is not None:
            total = sum(job.token_counts[position] for position in piece)
            # Our count may be below theirs: a request it refuses must come out smaller than it was.
            self._limits.lower(None, min(verdict.max_tokens, max(1, total - 1)))
        elif verdict.max_inputs is not None and verdict.max_inputs < len(piece):
            self._limits.lower(verdict.max_inputs, None)
        else:
            self._limits.lower((len(piece) + 1) // 2, None)

    def _isolate(self, job: _Job, bad: list[int], stuck: Stuck) -> list[list[int]]:
        """Find one refused text among many in about log2(n) requests; the others are answered or returned.

        When the first half is answered well, the refused text is in the second, which need not be sent to know that.
        """
        name, began = stuck.verdict.rule.name, stuck.began
        put_off: list[int] = []
        seen_failing, pair_failed = True, False
        while len(bad) > 1:
            half, other = bad[: len(bad) // 2], bad[len(bad) // 2 :]
            pair_failed = seen_failing and len(bad) == 2
            outcome = self._send(job, half, began)
            if outcome is None:
                bad, seen_failing = other, False
            else:
                bad, put_off, stuck, seen_failing = half, other + put_off, outcome, True
        if not seen_failing:
            outcome = self._send(job, bad, began)
            if outcome is None:
                if pair_failed and name == "wrong_count":
                    self._limits.lower(1, None)
                return [put_off]
            stuck = outcome
        self._refuse(job, bad[0], stuck)
        return [put_off]

    def _refuse(self, job: _Job, position: int, stuck: Stuck) -> None:
        verdict = stuck.verdict
        job.refusals.append(Refusal(position, verdict.rule.reason, verdict.message, stuck.attempts, verdict.request_id))
        self._circuit.count(1, 1)

    def _send(self, job: _Job, piece: list[int], well_since: float | None = None) -> Stuck | None:
        """Send one request until it is answered (None) or stuck although the endpoint is well.

        Args:
            well_since: a good answer to anything sent after this proves that; by default after this request began.
        """
        texts = [job.texts[position] for position in piece]
        tokens = sum(job.token_counts[position] for position in piece)
        while True:
            self._circuit.pass_through()
            outcome = self._try(texts, tokens, lambda answer: job.land(piece, answer))
            if isinstance(outcome, DecodedAnswer):
                self._circuit.count(len(piece), 0)
                return None
            if outcome.action in (Action.SHRINK, Action.REJECT):
                return outcome
            exhausted = outcome.action in (Action.RETRY, Action.GATE)
            if not self._circuit.prove_well(outcome.began if exhausted or well_since is None else well_since):
                continue
            if not exhausted:
                return outcome
            if not outcome.verdict.rule.free:
                return replace(outcome, action=Action.BISECT)

    def _try(self, texts: Sequence[str], tokens: int, land: Callable[[DecodedAnswer], None]) -> DecodedAnswer | Stuck:
        """Attempt one request under the retry policy."""
        began = self._clock()
        hits: Counter[str] = Counter()
        gated = 0
        attempt = 0
        while True:
            attempt += 1
            outcome = self._attempts.make(texts, tokens, is_retry=attempt > 1, land=land)
            if isinstance(outcome, DecodedAnswer):
                self._earn()
                return outcome
            hits[outcome.rule.name] += 1
            action = outcome.action(hits[outcome.rule.name], len(texts))
            if action is Action.ABORT:
                raise self._circuit.stop(outcome.sentence)
            if action is Action.DROP_ENCODING:
                self._attempts.leave_out_encoding()
            elif action not in (Action.RETRY, Action.GATE):
                return Stuck(outcome, action, attempt, began)
            gated += action is Action.GATE
            delay = self._delay(outcome, action, attempt - gated, self._clock() - began)
            if delay is None:
                return Stuck(outcome, action, attempt, began)
            self._sleep(delay)

    def _delay(self, verdict: Verdict, action: Action, attempt: int, elapsed: float) -> float | None:
        """Give the seconds to the next attempt, None when the attempts or the time are used up.

        After a 429 the pacer's gate holds everybody back, so that nothing is added here. Without points left in the budget
        the longest delay applies: so many failures at once are no accident of one request.
        """
        with self._budget_lock:
            budget = self._budget.spend(self._policy, transient=action is not Action.GATE)
            self._budget = budget if budget is not None else self._budget
        if budget is None:
            longest = self._policy.max_delay_seconds * (0.5 + 0.5 * self._jitter())
            return longest if elapsed + longest <= self._policy.deadline_seconds else None
        if action is Action.GATE:
            return 0.0 if elapsed <= self._policy.deadline_seconds else None
        wait = verdict.rule.wait_seconds if verdict.rule.wait_seconds is not None else verdict.wait_seconds
        if wait is not None:
            wait = min(wait, self._policy.max_server_wait_seconds)
        return delay_before_next_attempt(self._policy, max(1, attempt), elapsed, wait, self._jitter())

    def _earn(self) -> None:
        with self._budget_lock:
            self._budget = self._budget.earn(self._policy)


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
