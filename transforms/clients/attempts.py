"""One paced attempt at one request: sent, read, checked, counted, and its lesson taught to the pacer."""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from transforms.clients.http import EndpointSettings
from transforms.clients.paced import Pacer, Ticket
from transforms.clients.tally import Tally
from transforms.core.failures import (
    Action,
    Circumstances,
    Failure,
    NoReply,
    Reply,
    Verdict,
    Violation,
    classify,
    has_error_object,
)
from transforms.core.profiles import ABSENT, BASE64, FLOAT, Profile
from transforms.core.rate_headers import read_announced
from transforms.core.wire_format import DecodedAnswer, decode_answer, encode_request


class Exchange(Protocol):
    """One HTTP exchange; ``clients/http.py`` is the real one."""

    def post(self, body: bytes) -> Reply | NoReply:
        """Send one request body and return what came of it."""
        ...

    def close(self) -> None:
        """Give connections back."""
        ...


@dataclass(slots=True)
class Manners:
    """How this endpoint wants to be asked, as far as it has been learned; shared by all threads.

    Attributes:
        encoding: what is asked for.
        dimension: expected length of a vector, None before the first answer.
        order_is_proven: whether answers without indices were shown to come in order.
        proven: whether any answer was good.
        last_good_sent_at: when the last request left that was answered well.
    """

    encoding: str
    dimension: int | None
    order_is_proven: bool = False
    proven: bool = False
    last_good_sent_at: float = float("-inf")


def first_encoding(profile: Profile) -> str:
    """Choose what to ask for before anything is proven: floats where they are taken."""
    return FLOAT if FLOAT in profile.encodings else profile.encodings[0]


class Attempts:
    """Make single attempts; whether to make another one is decided elsewhere."""

    def __init__(
        self,
        settings: EndpointSettings,
        profile: Profile,
        exchange: Exchange,
        pacer: Pacer,
        tally: Tally,
        max_wait_seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.manners = Manners(first_encoding(profile), settings.dimensions)
        self._settings = settings
        self._profile = profile
        self._exchange = exchange
        self._pacer = pacer
        self._tally = tally
        self._max_wait_seconds = max_wait_seconds
        self._clock = clock
        self._lock = threading.Lock()
        self._seconds_in_flight = 0.0
        self._first_sent_at: float | None = None
        self._last_read_at = 0.0

    def make(
        self,
        texts: Sequence[str],
        tokens: int,
        *,
        is_retry: bool,
        is_probe: bool = False,
        land: Callable[[DecodedAnswer], None] = lambda answer: None,
    ) -> DecodedAnswer | Verdict:
        """Wait for the pace, send, and return checked vectors or what the failure means.

        Args:
            land: puts a good answer where it is safe. The place in flight is given back after that, so that a kill never
                costs more answers than requests may be in flight.

        Raises:
            FatalError: the run was stopped while waiting.
        """
        body = encode_request(
            texts, self._settings.model, self._settings.dimensions, self.manners.encoding, self._profile
        )
        cost = len(texts) if self._profile.requests_cost_per_input else 1
        ticket = self._pacer.admit(cost, tokens)
        try:
            outcome = self._post(body, ticket, is_retry, is_probe)
            checked = self._check(outcome, texts)
            if isinstance(checked, DecodedAnswer):
                answer = self._good(checked, outcome, ticket, tokens, is_probe)
                land(answer)
                return answer
        finally:
            self._pacer.release(ticket)
        return self._bad(checked, texts, ticket, tokens)

    def _post(self, body: bytes, ticket: Ticket, is_retry: bool, is_probe: bool) -> Reply | NoReply:
        try:
            if not is_probe:
                self._tally.attempt(is_retry)
            return self._exchange.post(body)
        finally:
            if not is_probe:
                self._tally.landed(self._clock() - ticket.sent_at)
            self._note_flight(ticket)

    def leave_out_encoding(self) -> None:
        """Ask for floats from now on, or leave ``encoding_format`` out where floats were asked for already."""
        self.manners.encoding = (
            FLOAT if self.manners.encoding == BASE64 and FLOAT in self._profile.encodings else ABSENT
        )

    def flight(self) -> tuple[float, float]:
        """Give seconds in flight summed over requests, and seconds from the first request to the last answer."""
        with self._lock:
            first = self._first_sent_at
            return self._seconds_in_flight, 0.0 if first is None else self._last_read_at - first

    def _check(self, outcome: Reply | NoReply, texts: Sequence[str]) -> DecodedAnswer | Failure:
        if isinstance(outcome, NoReply) or outcome.status != 200:
            return outcome
        manners = self.manners
        checked = decode_answer(outcome, len(texts), manners.dimension, manners.order_is_proven, len(set(texts)) > 1)
        if isinstance(checked, Violation) and checked.kind == "empty_data" and has_error_object(outcome):
            return outcome
        return checked

    def _good(
        self, answer: DecodedAnswer, outcome: Reply | NoReply, ticket: Ticket, tokens: int, is_probe: bool
    ) -> DecodedAnswer:
        headers = outcome.headers if isinstance(outcome, Reply) else {}
        self._pacer.accepted(ticket, answer.prompt_tokens, read_announced(headers))
        with self._lock:
            self.manners.proven = True
            self.manners.last_good_sent_at = max(self.manners.last_good_sent_at, ticket.sent_at)
            if self.manners.dimension is None:
                self.manners.dimension = answer.vectors.shape[1]
        if is_probe:
            self._tally.probed(answer.prompt_tokens or tokens)
        else:
            self._tally.answered(answer.prompt_tokens, tokens, answer.model_reported)
        return answer

    def _bad(self, failure: Failure, texts: Sequence[str], ticket: Ticket, tokens: int) -> Verdict:
        settings = self._settings
        verdict = classify(
            failure,
            Circumstances(
                texts,
                tokens,
                self.manners.proven,
                settings.host,
                settings.base_url,
                settings.model,
                settings.key_name,
                self._max_wait_seconds,
            ),
        )
        if not verdict.rule.free:
            self._tally.wasted(tokens)
        self._teach_pacer(verdict, failure, ticket)
        return verdict

    def _teach_pacer(self, verdict: Verdict, failure: Failure, ticket: Ticket) -> None:
        if verdict.rule.action is Action.GATE:
            self._tally.throttled()
            announced = read_announced(failure.headers if isinstance(failure, Reply) else {})
            self._pacer.refused(ticket, verdict.wait_seconds, announced)
        if verdict.rule.effect == "saturate":
            self._pacer.saturated(ticket)
        elif verdict.rule.action is not Action.GATE:
            self._pacer.dropped(ticket)

    def _note_flight(self, ticket: Ticket) -> None:
        now = self._clock()
        with self._lock:
            self._seconds_in_flight += now - ticket.sent_at
            self._last_read_at = max(self._last_read_at, now)
            if self._first_sent_at is None or ticket.sent_at < self._first_sent_at:
                self._first_sent_at = ticket.sent_at
