"""The provider's public list of models, for a price and a warning; never a reason to stop a run."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Protocol
from urllib.parse import urlsplit

import orjson
import requests

MAX_CATALOG_BYTES: Final = 4 * 1024 * 1024
_MAX_PAGES: Final = 50
_TIMEOUT_SECONDS: Final = 10.0
_DEADLINE_SECONDS: Final = 20.0


@dataclass(frozen=True, slots=True)
class CatalogEntry:
    """What the catalog says about a model, or why it says nothing.

    Attributes:
        model: as asked for.
        found: whether the catalog lists it and it is not an upcoming one.
        price_per_million_tokens: in US dollars, the list price times the provider's ratio; None when it is not known,
            which is never the same as 0.
        source: where the price comes from.
        warning: one sentence for a person, "" when all is well.
    """

    model: str
    found: bool
    price_per_million_tokens: float | None
    source: str
    warning: str


class Fetch(Protocol):
    """Get one page: an address to status and body, or None when there is no answer; redirects are not followed."""

    def __call__(self, url: str) -> tuple[int, bytes] | None: ...


def look_up_price(base_url: str, model: str, fetch: Fetch | None = None) -> CatalogEntry | None:
    """Look a model up in ``{origin}/api/models``, as CometAPI serves it.

    Args:
        fetch: how to get a page; HTTPS without a key by default.

    Returns:
        The entry; None when the catalog cannot be reached or read (see ``explain_absence`` for a sentence).

    Source: CometAPI, "Models" page; what is charged is ``pricing.input * pricing.ratio``.
    """
    parts = urlsplit(base_url)
    origin = f"{parts.scheme}://{parts.netloc}"
    records = _records(f"{origin}/api/models", fetch if fetch is not None else _fetch)
    if records is None:
        return None
    source = f"{origin}/api/models"
    for record in records:
        if record.get("id") == model and not record.get("upcoming"):
            return CatalogEntry(model, True, _price(record), source, _doubt(record, model))
    warning = f"{model!r} is not in the catalog at {source}; the probe decides whether it can be called"
    return CatalogEntry(model, False, None, source, warning)


def explain_absence(base_url: str) -> str:
    """Say in one sentence what it means that ``look_up_price`` found no catalog."""
    host = urlsplit(base_url).hostname
    return f"no model catalog at {host}, so the price is not known; budget.price_per_million_tokens sets it"


def _records(url: str, fetch: Fetch) -> list[dict[str, Any]] | None:
    """Collect all records: everything at once where it comes so, else page by page until nothing new comes."""
    first = _page(fetch(url))
    if first is None:
        return None
    records, total, size = first
    first_ids = {records[0].get("id")} if records else set()
    for number in range(2, _MAX_PAGES + 1):
        if len(records) >= total:
            break
        following = _page(fetch(f"{url}?page={number}&page_size={size}"))
        if following is None or not following[0] or following[0][0].get("id") in first_ids:
            break
        first_ids.add(following[0][0].get("id"))
        records = records + following[0]
    return records


def _page(answer: tuple[int, bytes] | None) -> tuple[list[dict[str, Any]], int, int] | None:
    if answer is None or answer[0] != 200 or len(answer[1]) > MAX_CATALOG_BYTES:
        return None
    try:
        document = orjson.loads(answer[1])
    except orjson.JSONDecodeError:
        return None
    if not isinstance(document, dict) or not isinstance(document.get("data"), list):
        return None
    records = [record for record in document["data"] if isinstance(record, dict)]
    size, total = document.get("page_size"), document.get("total")
    if isinstance(size, int) and isinstance(total, int) and size > 0:
        return records, total, size
    return records, len(records), max(1, len(records))


def _price(record: dict[str, Any]) -> float | None:
    pricing = record.get("pricing")
    if not isinstance(pricing, dict) or pricing.get("currency", "USD / M Tokens") != "USD / M Tokens":
        return None
    rate, ratio = _number(pricing.get("input")), _number(pricing.get("ratio"))
    return None if rate is None else rate * (1.0 if ratio is None else ratio)


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) and value >= 0 else None


def _doubt(record: dict[str, Any], model: str) -> str:
    features, endpoints = record.get("features") or [], record.get("endpoints") or []
    if "text-embedding" in features and "openai" in endpoints:
        return ""
    return f"the catalog does not list {model!r} as an embedding model of the OpenAI endpoint; the probe decides"


def _fetch(url: str, clock: Callable[[], float] = time.monotonic) -> tuple[int, bytes] | None:
    deadline = clock() + _DEADLINE_SECONDS
    try:
        with requests.get(
            url, timeout=_TIMEOUT_SECONDS, allow_redirects=False, stream=True, headers={"Accept": "application/json"}
        ) as response:
            body = b""
            for chunk in response.iter_content(65_536):
                body += chunk
                if len(body) > MAX_CATALOG_BYTES or clock() > deadline:
                    return None
            return response.status_code, body
    except requests.exceptions.RequestException:
        return None
