import json

import pytest

from tests.support.raw_server import answer, raw_server
from transforms.clients import catalog
from transforms.clients.catalog import CatalogEntry, explain_absence, look_up_price

URL = "https://api.cometapi.com/v1"
SOURCE = "https://api.cometapi.com/api/models"


def record(name: str = "m", price: object = 0.1, **changes: object) -> dict[str, object]:
    pricing = {"currency": "USD / M Tokens", "input": price, "output": None, "ratio": 0.8}
    return {"id": name, "features": ["text-embedding"], "endpoints": ["openai"], "pricing": pricing} | changes


class Pages:
    """A catalog that is served from a list of bodies; None is no answer."""

    def __init__(self, *bodies: object) -> None:
        self.bodies = list(bodies)
        self.urls: list[str] = []

    def __call__(self, url: str) -> tuple[int, bytes] | None:
        self.urls.append(url)
        body = self.bodies.pop(0)
        if body is None or isinstance(body, tuple):
            return body
        return 200, body if isinstance(body, bytes) else json.dumps(body).encode()


def whole(*records: object) -> dict[str, object]:
    return {"success": True, "page": 0, "page_size": 0, "total": len(records), "data": list(records)}


def look(*bodies: object, model: str = "m") -> CatalogEntry | None:
    return look_up_price(URL, model, Pages(*bodies))


def price(entry: dict[str, object]) -> float | None:
    found = look(whole(entry))
    assert found is not None
    return found.price_per_million_tokens


def test_the_price_is_the_list_price_times_the_ratio() -> None:
    found = look(whole(record("other", 9), record()))
    assert found == CatalogEntry("m", True, pytest.approx(0.08), SOURCE, "")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("pricing", "expected"),
    [
        ({"input": 0.1}, 0.1),
        ({"input": 0.1, "ratio": None}, 0.1),
        ({"input": 0, "ratio": 1}, 0.0),
        ({"input": None, "ratio": 0.8}, None),
        ({"input": -1}, None),
        ({"input": "0.1"}, None),
        ({"input": 0.1, "currency": "CNY"}, None),
        (None, None),
    ],
)
def test_an_unknown_price_is_never_zero(pricing: object, expected: float | None) -> None:
    assert price(record(pricing=pricing)) == expected


def test_upcoming_models_do_not_count() -> None:
    found = look(whole(record(upcoming=True)))
    assert found is not None
    assert (found.found, found.price_per_million_tokens) == (False, None)
    assert "'m' is not in the catalog" in found.warning


def test_a_model_that_is_not_listed_for_embedding_is_doubted() -> None:
    found = look(whole(record(features=None)))
    assert found is not None
    assert found.price_per_million_tokens == pytest.approx(0.08)
    assert "does not list 'm' as an embedding model" in found.warning


def test_pages_are_followed_until_everything_is_there() -> None:
    def page(number: int, *names: str) -> dict[str, object]:
        return {"page": number, "page_size": 2, "total": 5, "data": [record(name) for name in names]}

    pages = Pages(page(1, "a", "b"), page(2, "c", "d"), page(3, "m"))
    found = look_up_price(URL, "m", pages)
    assert found is not None
    assert found.found
    assert pages.urls == [SOURCE, f"{SOURCE}?page=2&page_size=2", f"{SOURCE}?page=3&page_size=2"]


@pytest.mark.parametrize("last", [{"data": [record("a")]}, {"data": []}, None], ids=["repeated", "empty", "no answer"])
def test_paging_ends_when_nothing_new_comes(last: object) -> None:
    found = look({"page_size": 1, "total": 9, "data": [record("a")]}, last)
    assert found is not None
    assert found.found is False


@pytest.mark.parametrize(
    "body",
    [None, (404, b"{}"), (301, b""), b"<html>", b"[]", b'{"data": {}}', (200, b" " * (4 * 1024 * 1024 + 1))],
    ids=["no answer", "404", "redirect", "html", "list", "no data", "too large"],
)
def test_no_catalog_is_no_error(body: object) -> None:
    assert look(body) is None


def test_absence_can_be_explained() -> None:
    assert explain_absence(URL).startswith("no model catalog at api.cometapi.com, so the price is not known")


def test_the_catalog_is_fetched_without_a_key_and_without_following() -> None:
    body = json.dumps(whole(record())).encode()
    with raw_server(answer("200 OK", "", body)) as base_url:
        found = look_up_price(base_url, "m")
    assert found is not None
    assert found.found
    with raw_server(answer("302 Found", "Location: http://127.0.0.1:1/\r\n", b"")) as base_url:
        assert look_up_price(base_url, "m") is None
    with raw_server(lambda connection: None) as base_url:
        assert look_up_price(base_url, "m") is None


def test_a_catalog_that_is_too_large_is_not_read_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalog, "MAX_CATALOG_BYTES", 10)
    with raw_server(answer("200 OK", "", b" " * 100)) as base_url:
        assert look_up_price(base_url, "m") is None


def test_a_catalog_without_end_is_given_up() -> None:
    endless = [{"page_size": 1, "total": 10**6, "data": [record(f"model {number}")]} for number in range(60)]
    found = look(*endless)
    assert found is not None
    assert found.found is False


def test_an_empty_catalog_lists_nothing() -> None:
    found = look(whole())
    assert found is not None
    assert found.found is False
