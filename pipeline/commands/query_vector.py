"""A query's vector from the model that made a dataset's vectors.

The secret kept here is what of an endpoint a dataset remembers, and to whom a key may be sent.
"""

import base64
import json
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

import numpy as np

from transforms.clients.base import Answer, EmbeddingClient
from transforms.clients.http import EndpointSettings
from transforms.clients.open_client import close_clients, open_client
from transforms.core.manifest import Manifest
from transforms.core.pacing import Quota
from transforms.core.requests import RequestLimits
from transforms.core.vector_coding import Floats, shorten
from transforms.errors import ConfigError, RunRefused
from transforms.storage.store import Store

DEFAULT_KEY_VARIABLE = "COMETAPI_KEY"
_DEFAULT_KEY_DOMAIN = "cometapi.com"
_THIS_MACHINE = ("localhost", "127.0.0.1", "::1")
_LOCAL_HOSTS = ("", "local")
_SAME_MODEL_COSINE = 0.99
_RUN_ID = "search"
_CLOSE_SECONDS = 5.0
_PATIENCE_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class QuerySettings:
    """How to reach the model.

    Attributes:
        base_url: "" for the address that the dataset remembers.
        api_key_env: name of the variable with the key, "" for a server without keys; None for COMETAPI_KEY, which only
            CometAPI or this machine gets to see.
        prefix: put before the query, for models that tell queries from documents.
    """

    base_url: str = ""
    api_key_env: str | None = None
    prefix: str = ""


def embed_query(store: Store, manifest: Manifest, query: str, settings: QuerySettings) -> tuple[Floats, str]:
    """Embed a query with the stamped model: one tiny probe and one request, none for the local model.

    Returns:
        The vector, and a warning when the model behind the name seems to have changed since the dataset was made, or "".

    Raises:
        ConfigError: the key would go to a host that nobody named, or the local model is not installed.
        RunRefused: the model refuses the query, or returns vectors of another length.
        ProviderRefused: key, model, path or balance.
    """
    try:
        client = _open(store, manifest, settings)
        facts = client.prove()
        if facts.dimension != _length_asked_for(manifest):
            raise RunRefused(
                f"{manifest.model} returns {facts.dimension} dimensions and {store.root} was made of "
                f"{_length_asked_for(manifest)}: the model behind the name has changed; search with the endpoint that made "
                "the dataset (--base-url)"
            )
        vector = _embed(client, settings.prefix + query)
        if manifest.dimensions < len(vector):
            vector = shorten(vector.reshape(1, -1), manifest.dimensions)[0][0]
    finally:
        close_clients(_RUN_ID, _CLOSE_SECONDS)
    return vector, _warn_of_change(facts.canary, manifest)


def _length_asked_for(manifest: Manifest) -> int:
    """Return how long a vector the model is asked for: a derived dataset may have kept the first numbers only."""
    return manifest.stamp.source_dimensions or manifest.dimensions


def _open(store: Store, manifest: Manifest, settings: QuerySettings) -> EmbeddingClient:
    stamp, length = manifest.stamp, _length_asked_for(manifest)
    if stamp.base_url_host in _LOCAL_HOSTS and not settings.base_url:
        endpoint = EndpointSettings(provider="local", base_url="", model=stamp.model, dimensions=length)
        return _client_of(endpoint)
    base_url = settings.base_url or remembered_url(store, manifest)
    if not settings.base_url and settings.api_key_env is None and not _may_see_default_key(base_url):
        raise ConfigError(
            f"{store.root} was embedded at {base_url}. Searching sends your query and an API key there: name the variable "
            "that holds the key for it with --api-key-env, as in --api-key-env OPENAI_API_KEY"
        )
    endpoint = _endpoint(base_url, stamp.model, settings)
    client = _client_of(endpoint)
    if client.prove().dimension == length:
        return client
    # The dataset's vectors were shortened on request: ask for the same length.
    return _client_of(replace(endpoint, dimensions=length))


def _client_of(endpoint: EndpointSettings) -> EmbeddingClient:
    # Two lanes keep the pace in memory: one query shares its quota with no other process, and leaves no file for it.
    return open_client(endpoint, Quota(concurrent_requests=1), RequestLimits(), run_id=_RUN_ID, lanes=2)


def _endpoint(base_url: str, model: str, settings: QuerySettings) -> EndpointSettings:
    try:
        return EndpointSettings(
            provider="openai-compatible",
            base_url=base_url,
            model=model,
            api_key_env=DEFAULT_KEY_VARIABLE if settings.api_key_env is None else settings.api_key_env,
            total_timeout_seconds=_PATIENCE_SECONDS,
            max_outage_seconds=_PATIENCE_SECONDS,
        )
    except ValueError as error:
        raise ConfigError(f"cannot embed the query: {error}") from error


def remembered_url(store: Store, manifest: Manifest) -> str:
    """Return the address that the parts' metadata holds for readers that embed by themselves, or one made of the host.

    "" for the local model.
    """
    if manifest.stamp.base_url_host in _LOCAL_HOSTS:
        return ""
    if manifest.derived.get("base_url"):
        return str(manifest.derived["base_url"])
    if manifest.parts:
        metadata = store.open_parquet(manifest.parts[0].path).schema_arrow.metadata or {}
        functions = json.loads(metadata.get(b"embedding_functions", b"[]"))
        if functions:
            return str(functions[0]["model"]["base_url"])
    return f"https://{manifest.stamp.base_url_host}/v1"


def _may_see_default_key(base_url: str) -> bool:
    """Tell whether the default key is meant for a host that only the dataset names: a dataset may come from a stranger."""
    parts = urlsplit(base_url)
    host = parts.hostname or ""
    is_provider = host == _DEFAULT_KEY_DOMAIN or host.endswith("." + _DEFAULT_KEY_DOMAIN)
    return host in _THIS_MACHINE or (is_provider and parts.scheme == "https")


def _embed(client: EmbeddingClient, text: str) -> Floats:
    answers: list[Answer] = []
    tokens = len(text.encode()) // 4 + 1
    refusals = client.submit([text], [tokens], answers.append).result()
    if refusals:
        raise RunRefused(f"the query has no vector: {refusals[0].message} ({refusals[0].reason}); try other words")
    vector: Floats = answers[0].vectors[0]
    return vector


def _warn_of_change(canary: bytes, manifest: Manifest) -> str:
    """Compare the fixed sentence's vector of today with the one that the dataset keeps."""
    if not manifest.canary or not canary:
        return ""
    before = np.frombuffer(base64.b64decode(manifest.canary), "<f4").astype(np.float64)
    now = np.frombuffer(canary, "<f4").astype(np.float64)
    if before.shape != now.shape:
        return ""
    cosine = float(before @ now / (np.linalg.norm(before) * np.linalg.norm(now)))
    if cosine >= _SAME_MODEL_COSINE:
        return ""
    return (
        f"{manifest.model} has changed since this dataset was made (a fixed sentence's vectors agree to {cosine:.3f} "
        "instead of 1): scores mean little; embed the documents again into a new dataset"
    )
