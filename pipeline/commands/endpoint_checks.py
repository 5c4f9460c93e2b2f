"""``doctor``'s checks of the endpoint: with a few requests, under a hundred tokens in all.

The secret kept is how little has to be sent to know what a run would meet.
"""

import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from pipeline.commands.finding import FAILED, NOTE, OK, Finding, findings_of
from pipeline.commands.plain_text import counted
from pipeline.config import RunConfig
from transforms.clients.base import Answer, EmbeddingClient, EndpointFacts
from transforms.clients.catalog import CatalogEntry, explain_absence, look_up_price
from transforms.clients.credentials import find_key
from transforms.clients.endpoint import OpenAICompatibleClient
from transforms.clients.http import EndpointSettings, HttpExchange
from transforms.clients.open_client import close_clients, open_client
from transforms.core.failures import Circumstances, NoReply, Reply, classify
from transforms.core.pacing import Quota
from transforms.core.profiles import ABSENT
from transforms.core.requests import RequestLimits
from transforms.core.wire_format import DecodedAnswer, decode_answer, encode_request
from transforms.errors import ConfigError, ProviderRefused, RunInterrupted

MOST_BATCH_TEXTS = 12
"""With two special tokens a text, as some servers count, twelve more texts still stay under a hundred tokens in all."""

_PATIENCE_SECONDS = 3.0
_KNOCK = "ok"
_TOO_MANY_REQUESTS = 429
_RUN_ID = "doctor"


@dataclass
class EndpointCheck:
    """One look at the endpoint of a config.

    Attributes:
        facts: what the probe proved, None where it did not get so far.
        tokens: charged for all of it.
    """

    config: RunConfig
    facts: EndpointFacts | None = None
    tokens: int = 0
    _endpoint: EndpointSettings = field(init=False)

    def __post_init__(self) -> None:
        self._endpoint = replace(
            self.config.endpoint,
            connect_timeout_seconds=_PATIENCE_SECONDS,
            read_timeout_seconds=_PATIENCE_SECONDS,
            total_timeout_seconds=_PATIENCE_SECONDS,
        )

    def look(self) -> Iterator[Finding]:
        """Look at key, address, model, dimensions, order, encoding, batches and price; stops where a run could not go on."""
        if self.config.is_local:
            yield from findings_of("model", self._look_at_local_model)
            return
        for check, look in (("key", self._read_key), ("endpoint", self._knock), ("model", self._ask_model_and_price)):
            findings = list(findings_of(check, look))
            yield from findings
            if any(finding.state == FAILED for finding in findings):
                return

    def _look_at_local_model(self) -> Iterator[Finding]:
        try:
            self.facts = self._open().prove()
        finally:
            close_clients(_RUN_ID, _PATIENCE_SECONDS)
        message = f"{self._endpoint.model}, {self.facts.dimension:,} dimensions, runs in this process without a key"
        yield Finding("model", OK, message)
        yield Finding("price", OK, "free")

    def _read_key(self) -> Iterator[Finding]:
        variable, secret = self._endpoint.api_key_env, self._endpoint.api_key_secret
        find_key(variable, secret)
        there = f"{secret} can be read" if secret else f"{variable} is set"
        yield Finding("key", OK, there if secret or variable else "none is sent: embedding.api_key_env is empty")

    def _knock(self) -> Iterator[Finding]:
        """Send one word once: an endpoint that is out of reach or overloaded is said to be so without waiting for it.

        Raises:
            ConfigError: the server takes no dimensions.
            ProviderRefused: no answer, or none but "busy".
        """
        settings, profile = self._endpoint, self._endpoint.find_profile()
        try:
            body = encode_request([_KNOCK], settings.model, settings.dimensions, ABSENT, profile)
        except ValueError as error:
            raise ConfigError(f"embedding.dimensions: {error}") from error
        key = find_key(settings.api_key_env, settings.api_key_secret)
        exchange = HttpExchange(settings, profile, key, connections=1)
        outcome = exchange.post(body)
        exchange.close()
        if isinstance(outcome, NoReply) or outcome.status == _TOO_MANY_REQUESTS or outcome.status >= 500:
            around = Circumstances(
                [_KNOCK], 1, False, settings.host, settings.base_url, settings.model, settings.key_name
            )
            raise ProviderRefused(classify(outcome, around).sentence)
        self.tokens += _tokens_of(outcome)
        yield Finding("endpoint", OK, f"{settings.base_url} answers")

    def _ask_model_and_price(self) -> Iterator[Finding]:
        with ThreadPoolExecutor(1, "catalog") as pool:
            entry = pool.submit(look_up_price, self._endpoint.base_url, self._endpoint.model)
            yield from self._ask_model()
            yield self._price(entry)

    def _ask_model(self) -> Iterator[Finding]:
        client = self._open()
        try:
            with _impatience(client, self._endpoint.base_url):
                self.facts = client.prove()
                yield from self._explain(self.facts)
                yield _try_batch(client, self.config.request_limits.max_inputs)
        except RunInterrupted as error:
            raise ProviderRefused(str(error)) from error
        finally:
            self.tokens += client.usage().prompt_tokens
            if isinstance(client, OpenAICompatibleClient):
                self.tokens += client.probe_tokens()
            close_clients(_RUN_ID, _PATIENCE_SECONDS)

    def _open(self) -> EmbeddingClient:
        # Two lanes keep the pace in memory; no quota, for a slow pace would make six requests last minutes.
        limits = RequestLimits(self.config.request_limits.max_inputs, self.config.request_limits.max_tokens)
        return open_client(self._endpoint, Quota(concurrent_requests=1), limits, run_id=_RUN_ID, lanes=2)

    def _explain(self, facts: EndpointFacts) -> Iterator[Finding]:
        wanted, model = self._endpoint.dimensions, self._endpoint.model
        name = "" if facts.model_reported in ("", model) else f", and calls itself {facts.model_reported}"
        yield Finding("model", OK, f"{model} answers{name}")
        own = "as asked for" if wanted else "the model's own; embedding.dimensions asks for fewer where it can"
        length = "vectors of length 1" if facts.normalized else "vectors of any length"
        yield Finding("dimensions", OK, f"{facts.dimension:,}, {own}; {length}")
        yield Finding("order", OK, "two texts, sent in both orders, each got its own vector")
        if facts.base64:
            yield Finding("encoding", OK, "base64 is asked for: the vectors are the same as those asked for as floats")
        else:
            message = "floats as text, for base64 is not taken or not the same; nothing to do, but answers are larger"
            yield Finding("encoding", NOTE, message)

    def _price(self, looked_up: "Future[CatalogEntry | None]") -> Finding:
        budget = self.config.budget
        if budget.price_per_million_tokens is not None:
            message = f"{budget.price_per_million_tokens:g} USD per million tokens, from the config"
            return Finding("price", OK, message)
        entry = looked_up.result()
        price = entry.price_per_million_tokens if entry else None
        doubt = entry.warning if entry else explain_absence(self._endpoint.base_url)
        if price is not None:
            message = f"{price:g} USD per million tokens, from the catalog"
            return Finding("price", NOTE if doubt else OK, f"{message}; {doubt}" if doubt else message)
        if budget.max_cost_usd is None:
            remedy = "" if "price_per_million_tokens" in doubt else "; budget.price_per_million_tokens sets the price"
            return Finding("price", NOTE, (doubt or "the catalog names no price") + remedy)
        message = (
            f"budget.max_cost_usd is {budget.max_cost_usd:g} but the price of the model is not known; set "
            "budget.price_per_million_tokens, or use budget.max_tokens instead"
        )
        return Finding("price", FAILED, message, 3)


def _tokens_of(reply: Reply) -> int:
    answer = decode_answer(reply, 1, None, True, False) if reply.status == 200 else None
    return answer.prompt_tokens or 1 if isinstance(answer, DecodedAnswer) else 0


def _try_batch(client: EmbeddingClient, max_inputs: int) -> Finding:
    """Send several texts in one request: as many as the config allows, where that is cheap."""
    count = min(max_inputs, MOST_BATCH_TEXTS)
    answers: list[Answer] = []
    client.submit([str(number) for number in range(count)], [1] * count, answers.append).result()
    answered = sum(len(answer.positions) for answer in answers)
    taken = client.request_limits().max_inputs
    if answered < count:
        message = f"{count - answered} of {counted(count, 'tiny text')} refused; try `embedbeam run` on a few documents"
        return Finding("batch", NOTE, message)
    if taken < max_inputs:
        message = f"the endpoint takes at most {counted(taken, 'text')} a request; set embedding.max_inputs_per_request"
        return Finding("batch", NOTE, f"{message} to {taken}")
    if count < max_inputs:
        rest = f"; {max_inputs} at once are not tried, to stay cheap, and a run shrinks its requests by itself"
        return Finding("batch", OK, f"{counted(count, 'text')} in one request{rest}")
    return Finding("batch", OK, f"{counted(count, 'text')} in one request, as many as the config allows")


@contextmanager
def _impatience(client: EmbeddingClient, base_url: str) -> Iterator[None]:
    """Stop the client when it takes long: it would go on trying for minutes, as a run should."""
    sentence = (
        f"{base_url} has not given a good answer within {_PATIENCE_SECONDS:g} s of trying; a run would wait for it up to "
        "embedding.max_outage_seconds. Ask again later, or see the provider's status page"
    )
    timer = threading.Timer(_PATIENCE_SECONDS, client.stop, [sentence])
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
