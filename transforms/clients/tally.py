"""What calling the endpoint took in this process, counted by all threads."""

import logging
import threading
from collections.abc import Mapping
from dataclasses import replace

from transforms.core.latency import CLASSES, latency_class
from transforms.records import Usage

_log = logging.getLogger(__name__)

_TRUNCATION_SHARE = 0.7
_LONG_ENOUGH_TOKENS = 200


class Tally:
    """Counters behind one lock, and the two warnings that only a look over many answers can give."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._usage = Usage()
        self._latencies = [0] * CLASSES
        self._probe_tokens = 0
        self._model_reported: str | None = None
        self._warned_of_truncation = False

    def attempt(self, is_retry: bool) -> None:
        """Count an attempt that leaves now."""
        with self._lock:
            self._usage = replace(
                self._usage,
                requests=self._usage.requests + 1,
                requests_retried=self._usage.requests_retried + is_retry,
            )

    def landed(self, seconds: float) -> None:
        """Count an attempt that is over, however it ended, by how long it took."""
        at = latency_class(seconds)
        with self._lock:
            self._latencies[at] += 1

    def throttled(self) -> None:
        """Count an answer that said "too many"."""
        with self._lock:
            self._usage = replace(self._usage, requests_throttled=self._usage.requests_throttled + 1)

    def wasted(self, tokens: int) -> None:
        """Count tokens that may have been charged for nothing."""
        with self._lock:
            self._usage = replace(self._usage, tokens_wasted=self._usage.tokens_wasted + tokens)

    def probed(self, tokens: int) -> None:
        """Count what a probe was charged, apart from the texts."""
        with self._lock:
            self._probe_tokens += tokens

    def answered(self, prompt_tokens: int, own_count: int, model_reported: str) -> None:
        """Count a good answer; warn once when texts seem to be cut, once more when the model's name changes."""
        with self._lock:
            self._usage = replace(self._usage, prompt_tokens=self._usage.prompt_tokens + prompt_tokens)
            before, self._model_reported = self._model_reported, model_reported or self._model_reported
            cut = 0 < prompt_tokens < _TRUNCATION_SHARE * own_count and own_count >= _LONG_ENOUGH_TOKENS
            warn_of_cut = cut and not self._warned_of_truncation
            self._warned_of_truncation = self._warned_of_truncation or cut
        if warn_of_cut:
            _log.warning(
                "texts may be cut by the endpoint: it charged %d tokens where we count %d; lower chunking.max_tokens",
                prompt_tokens,
                own_count,
            )
        if before and model_reported and before != model_reported:
            _log.warning("the endpoint's model changed during the run, from %s to %s", before, model_reported)

    def usage(self, seconds_paced: float) -> Usage:
        """Give the counts so far."""
        with self._lock:
            return replace(self._usage, seconds_paced=seconds_paced, latencies=tuple(self._latencies))

    def probe_tokens(self) -> int:
        """Tokens that probes were charged, which ``usage`` leaves out."""
        with self._lock:
            return self._probe_tokens


def main_limit(held_by: Mapping[str, float], seconds_in_flight: float, seconds: float, requests: int) -> str:
    """Name what held a process back most.

    Args:
        held_by: seconds of the wall clock that the next request waited, by what for.
        seconds_in_flight: summed over requests.
        seconds: from the first to the last request.

    Returns:
        The longest wait when it is at least a twentieth of the time; else ``latency`` when requests were in flight most of
        the time and ``cpu`` when they were not, so that this side had nothing to send; ``nothing`` without requests.
    """
    if not requests or seconds <= 0:
        return "nothing"
    name, waited = max(held_by.items(), key=lambda item: item[1], default=("", 0.0))
    if waited >= 0.05 * seconds:
        return name
    return "latency" if seconds_in_flight >= 0.5 * seconds else "cpu"
