"""The start-up probe: two tiny texts that show key, address, model, dimensions, order and base64 before anything is paid."""

import random
from collections import Counter
from collections.abc import Callable

import numpy as np

from transforms.clients.attempts import Attempts, first_encoding
from transforms.clients.base import EndpointFacts
from transforms.clients.circuit import CANARY, CANARY_TOKENS, Circuit
from transforms.clients.http import EndpointSettings
from transforms.clients.run_switch import RunSwitch
from transforms.core.failures import Action, Verdict
from transforms.core.profiles import BASE64, Profile
from transforms.core.retry_policy import RetryPolicy, delay_before_next_attempt
from transforms.core.wire_format import DecodedAnswer, Vectors

OTHER = "Invoices are due within thirty days of receipt; late payment incurs interest."
_OTHER_TOKENS = 16
_SAME_DIRECTION = 0.9999
_SAME_VECTOR = 0.999


class Prober:
    """Find out what the endpoint does with our settings, with two requests of two texts, or one where base64 is not taken."""

    def __init__(
        self,
        settings: EndpointSettings,
        profile: Profile,
        attempts: Attempts,
        circuit: Circuit,
        switch: RunSwitch,
        policy: RetryPolicy,
        *,
        sleep: Callable[[float], None] | None = None,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._settings = settings
        self._profile = profile
        self._attempts = attempts
        self._circuit = circuit
        self._policy = policy
        self._sleep = sleep if sleep is not None else switch.wait
        self._jitter = jitter

    def prove(self) -> EndpointFacts:
        """Ask, check, and set the manners that all later requests follow.

        Raises:
            ProviderRefused: key, address, model or balance; other dimensions than asked for; equal vectors for two texts.
        """
        manners = self._attempts.manners
        manners.order_is_proven = True  # for the probe only, whose order is looked at below
        first = self._ask([CANARY, OTHER])
        if isinstance(first, Verdict):
            raise self._circuit.stop(first.sentence)
        if _cosine(first.vectors[0], first.vectors[1]) >= _SAME_DIRECTION:
            raise self._circuit.stop(
                f"{self._settings.base_url} gives {self._settings.model!r} the same vector for two different texts, so it "
                f"looks at the first of a list only; this model cannot be used through it"
            )
        base64 = self._prove_base64(first.vectors)
        manners.order_is_proven = first.indexed or base64 or self._is_in_order(first.vectors)
        if not manners.order_is_proven:
            raise self._circuit.stop(
                f"{self._settings.base_url} gives vectors without an index and not in the order of the texts; "
                f"this model cannot be used through it"
            )
        canary = first.vectors[0]
        return EndpointFacts(
            dimension=len(canary),
            model_reported=first.model_reported,
            normalized=bool(np.all(np.abs(np.linalg.norm(first.vectors, axis=1) - 1) < 1e-3)),
            base64=base64,
            canary=canary.astype("<f4").tobytes(),
        )

    def _prove_base64(self, known: Vectors) -> bool:
        """Ask for the same texts in the other order as base64; keep to it only when the vectors are the same."""
        manners = self._attempts.manners
        if BASE64 not in self._profile.encodings or manners.encoding != first_encoding(self._profile):
            return False
        before, manners.encoding = manners.encoding, BASE64
        proven = self._is_in_order(known)
        if not proven:
            manners.encoding = before
        return proven

    def _is_in_order(self, known: Vectors) -> bool:
        answer = self._ask([OTHER, CANARY], give_up_early=True)
        return (
            isinstance(answer, DecodedAnswer)
            and _cosine(answer.vectors[1], known[0]) > _SAME_VECTOR
            and _cosine(answer.vectors[0], known[1]) > _SAME_VECTOR
        )

    def _ask(self, texts: list[str], give_up_early: bool = False) -> DecodedAnswer | Verdict:
        """Attempt one probe until it is answered or clearly refused.

        Args:
            give_up_early: return the refusal of something optional instead of trying to do without it.
        """
        hits: Counter[str] = Counter()
        waited = 0.0
        attempt = 0
        while True:
            outcome = self._attempts.make(texts, CANARY_TOKENS + _OTHER_TOKENS, is_retry=False, is_probe=True)
            if isinstance(outcome, DecodedAnswer):
                return outcome
            hits[outcome.rule.name] += 1
            action = outcome.action(hits[outcome.rule.name], 2 if give_up_early else 1)
            if action is Action.DROP_ENCODING and not give_up_early:
                self._attempts.leave_out_encoding()
            elif action not in (Action.RETRY, Action.GATE):
                return outcome
            attempt += action is not Action.GATE
            delay = self._delay(outcome, action, attempt, waited)
            if delay is None:
                return outcome
            self._sleep(delay)
            waited += delay

    def _delay(self, verdict: Verdict, action: Action, attempt: int, waited: float) -> float | None:
        if action is Action.GATE:
            return 0.0
        wait = verdict.rule.wait_seconds if verdict.rule.wait_seconds is not None else verdict.wait_seconds
        return delay_before_next_attempt(self._policy, attempt, waited, wait, self._jitter())


def _cosine(one: Vectors, other: Vectors) -> float:
    product = float(np.dot(one.astype(np.float64), other.astype(np.float64)))
    return product / float(np.linalg.norm(one.astype(np.float64)) * np.linalg.norm(other.astype(np.float64)))
