"""Is it the text or is it the endpoint? A known-good probe tells; while it fails, everybody waits here."""

import logging
import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Final

from transforms.clients.attempts import Attempts
from transforms.clients.run_switch import RunSwitch
from transforms.core.failures import Action, Verdict
from transforms.core.wire_format import DecodedAnswer
from transforms.errors import FatalError, ProviderRefused

_log = logging.getLogger(__name__)

CANARY: Final = "The quick brown fox jumps over the lazy dog."
CANARY_TOKENS: Final = 10
_FIRST_PAUSE_SECONDS: Final = 1.0
_LONGEST_PAUSE_SECONDS: Final = 30.0
_MAX_REFUSED_SHARE: Final = 0.05
_REFUSALS_WINDOW: Final = 1000
_MAX_GATES: Final = 20


class Circuit:
    """Open while the endpoint fails a probe; one thread probes, the others wait for its result.

    Args:
        max_outage_seconds: how long to go on probing before the run is given up, resumably.
    """

    def __init__(
        self,
        attempts: Attempts,
        switch: RunSwitch,
        max_outage_seconds: float,
        *,
        clock: Callable[[], float] = time.monotonic,
        jitter: Callable[[], float] = random.random,
        sleep: Callable[[float], None] | None = None,
    ) -> None:
        self._attempts = attempts
        self._switch = switch
        self._max_outage_seconds = max_outage_seconds
        self._clock = clock
        self._jitter = jitter
        self._sleep = sleep if sleep is not None else switch.wait
        self._one_prober = threading.Lock()
        self._is_open = False
        self._texts_seen = 0
        self._texts_refused = 0

    def pass_through(self) -> None:
        """Return at once while the endpoint is well, else when it is well again."""
        self._switch.check()
        if self._is_open:
            with self._one_prober:
                self._switch.check()

    def prove_well(self, since: float) -> bool:
        """Make sure that the endpoint answers a known-good text; return whether it did at once.

        Any good answer to a request that left after ``since`` counts. False means that there was an outage, which is over.

        Raises:
            ProviderRefused: it refuses the known-good text for good, or was out of reach for too long.
        """
        with self._one_prober:
            self._switch.check()
            if self._attempts.manners.last_good_sent_at > since:
                return True
            hits: Counter[str] = Counter()
            outcome = self._probe(hits)
            if outcome is None:
                return True
            self._is_open = True
            try:
                self._wait_until_well(outcome, hits, since)
            finally:
                self._is_open = False
            return False

    def count(self, texts: int, refused: int) -> None:
        """Count outcomes; too many refused texts are a systematic fault, not bad texts.

        Raises:
            ProviderRefused: more than a twentieth of the last thousand texts were refused.
        """
        self._texts_seen += texts
        self._texts_refused += refused
        if self._texts_refused > _MAX_REFUSED_SHARE * _REFUSALS_WINDOW:
            raise self.stop(
                f"the endpoint refuses more than {_MAX_REFUSED_SHARE:.0%} of {_REFUSALS_WINDOW} texts; look at the reasons "
                f"of the rejects, correct the settings or the texts, and run the same command again to go on"
            )
        if self._texts_seen >= _REFUSALS_WINDOW:
            self._texts_seen, self._texts_refused = 0, 0

    def stop(self, sentence: str) -> FatalError:
        """Stop the run on all threads and return the error to raise."""
        error = ProviderRefused(sentence)
        self._switch.turn_off(error)
        return error

    def _probe(self, hits: Counter[str]) -> Verdict | None:
        """Send the probe until it is clear how the endpoint is: None when well, else the failure of an outage."""
        while True:
            outcome = self._attempts.make([CANARY], CANARY_TOKENS, is_retry=False, is_probe=True)
            if isinstance(outcome, DecodedAnswer):
                return None
            hits[outcome.rule.name] += 1
            action = outcome.action(hits[outcome.rule.name], 1)
            if action is Action.DROP_ENCODING:
                self._attempts.leave_out_encoding()
            elif outcome.rule.outage and (action is not Action.GATE or hits[outcome.rule.name] % _MAX_GATES == 0):
                return outcome
            elif action is Action.RETRY:
                self._sleep(outcome.rule.wait_seconds or self._jitter())
            elif action is not Action.GATE:
                raise self.stop(outcome.sentence)

    def _wait_until_well(self, outcome: Verdict | None, hits: Counter[str], began: float) -> None:
        """Probe until the endpoint answers; the outage counts from ``began``, when the failing request first left."""
        pause = _FIRST_PAUSE_SECONDS
        _log.warning("the endpoint fails a known-good probe and is waited for: %s", outcome.message if outcome else "")
        while outcome is not None:
            left = began + self._max_outage_seconds - self._clock()
            if left <= 0:
                raise self.stop(outcome.sentence)
            self._sleep(min(left, pause * (0.8 + 0.4 * self._jitter())))
            pause = min(_LONGEST_PAUSE_SECONDS, 2 * pause)
            outcome = self._probe(hits)
        _log.warning("the endpoint is back after %.0f s", self._clock() - began)
