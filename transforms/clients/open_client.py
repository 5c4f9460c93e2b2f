"""The client that a process uses for given settings: opened once, the same for everyone who asks again."""

import threading
import time

from transforms.clients.base import EmbeddingClient
from transforms.clients.credentials import find_key
from transforms.clients.endpoint import Chance, OpenAICompatibleClient, fitting_limits, fitting_pace
from transforms.clients.http import EndpointSettings, HttpExchange
from transforms.clients.paced import MemoryCell, PaceCell
from transforms.clients.quota_file import FileCell, quota_file_path
from transforms.core.pacing import PaceSettings, Quota, open_pace
from transforms.core.requests import RequestLimits
from transforms.core.retry_policy import RetryPolicy

_Key = tuple[EndpointSettings, Quota, RequestLimits, str, int]

_open_clients: dict[_Key, EmbeddingClient] = {}
_lock = threading.Lock()


def open_client(
    settings: EndpointSettings, quota: Quota, limits: RequestLimits, *, run_id: str, lanes: int
) -> EmbeddingClient:
    """Open the client of these settings, or return the one that this process has open already.

    Nothing is sent before the client is asked to. The quota is for the whole run: with one lane all processes of this
    machine that name the same ``run_id`` share it exactly through a small file; with more lanes this process takes an equal
    share, so that no more processes than lanes may be at work at once.

    Raises:
        ConfigError: the key cannot be had in this process.
    """
    key = (settings, quota, limits, run_id, lanes)
    with _lock:
        client = _open_clients.get(key)
        if client is None:
            client = _open_clients[key] = _open(settings, quota, limits, run_id, lanes)
        return client


def close_clients(run_id: str, timeout_seconds: float) -> None:
    """Close the clients of a run and forget them; asking again opens new ones."""
    with _lock:
        ours = [key for key in _open_clients if key[3] == run_id]
        clients = [_open_clients.pop(key) for key in ours]
    for client in clients:
        client.close(timeout_seconds)


def any_client_open() -> bool:
    """Tell whether this process may have requests in flight. Takes no lock, so that a signal handler may ask."""
    return bool(_open_clients)


def stop_clients(reason: str) -> None:
    """Let no client of this process send anything more; requests in flight are answered."""
    with _lock:
        clients = list(_open_clients.values())
    for client in clients:
        client.stop(reason)


def _open(settings: EndpointSettings, quota: Quota, limits: RequestLimits, run_id: str, lanes: int) -> EmbeddingClient:
    if settings.provider == "local":
        from transforms.clients.local import LocalClient

        local: EmbeddingClient = LocalClient(settings.model, settings.dimensions)
        return local
    profile = settings.find_profile()
    request_limits = fitting_limits(limits, profile, quota, lanes)
    pace = fitting_pace(quota, profile, request_limits, lanes)
    key = find_key(settings.api_key_env, settings.api_key_secret)
    return OpenAICompatibleClient(
        settings,
        profile,
        pace,
        request_limits,
        HttpExchange(settings, profile, key, connections=pace.concurrency),
        _open_cell(settings, pace, run_id),
        RetryPolicy(deadline_seconds=min(RetryPolicy().deadline_seconds, settings.max_outage_seconds)),
        quota.tokens_per_minute,
        Chance(),
    )


def _open_cell(settings: EndpointSettings, pace: PaceSettings, run_id: str) -> PaceCell:
    if pace.lanes > 1:
        return MemoryCell(open_pace(pace, time.monotonic()))
    name = f"{run_id} {settings.host} {settings.model} {pace}"
    return FileCell(quota_file_path(name), lambda: open_pace(pace, time.monotonic()))
