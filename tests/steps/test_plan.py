from pathlib import Path

import apache_beam as beam
import pytest
from apache_beam.testing.util import assert_that, equal_to

from tests.support.builders import make_chunked
from tests.support.pipelines import pipeline
from transforms.clients.catalog import CatalogEntry
from transforms.core.bill import Budget
from transforms.core.requests import RequestLimits
from transforms.errors import RunRefused
from transforms.group import GroupByText, PackChunks
from transforms.plan import CountDocuments, PlanBuckets, Tariff, approve_bill
from transforms.records import Bill, Carry, ChunkedDocument, FileEntry, Reject
from transforms.storage.place import RunPlace, open_place

COUNTS = Bill(documents=3, chunks=10, texts=9, texts_to_embed=9, tokens=1_000_000)


@pytest.fixture
def place(tmp_path: Path) -> RunPlace:
    return RunPlace(str(tmp_path / "dataset"), "run-1", 0, "f")


def tariff(budget: Budget | None = None, base_url: str = "https://x/v1", approve: bool = True) -> Tariff:
    return Tariff(budget or Budget(), RequestLimits(), None, None, 4, base_url, "m", approve)


def entry(price: float | None, warning: str = "") -> CatalogEntry:
    return CatalogEntry("m", True, price, "https://x/api/models", warning)


def test_bill_counts_chunks_texts_and_documents(place: RunPlace) -> None:
    documents = [make_chunked(["one", "two words"], "a.md"), make_chunked(["one"], "b.md"), make_chunked([], "c.md")]
    rejects = [Reject("d.md", "d.md", None, None, "read", "vanished", "gone")]
    with pipeline() as root:
        bits = root | "bits" >> beam.Create([1])
        chunked = root | "chunked" >> beam.Create(documents).with_output_types(ChunkedDocument)
        unchanged = root | "unchanged" >> beam.Create([FileEntry("e.jsonl", b"d", 5, 2, 9)])
        counts = chunked | CountDocuments(root | "rejects" >> beam.Create(rejects), unchanged)
        tables = chunked | PackChunks(bits) | GroupByText(bits, every_bucket=False)
        expected = Bill(
            documents=9,
            documents_rejected=1,
            documents_empty=3,
            documents_unchanged=5,
            documents_new=2,
            chunks=3,
            texts=2,
            texts_to_embed=2,
            tokens=3,
        )
        assert_that(
            tables | PlanBuckets(place, bits, root | "carry" >> beam.Create([Carry()]), counts), equal_to([expected])
        )


def test_bill_without_documents_counts_those_that_the_chunks_name(place: RunPlace) -> None:
    with pipeline() as root:
        bits = root | "bits" >> beam.Create([1])
        chunked = root | "chunked" >> beam.Create([make_chunked(["one"], "a.md"), make_chunked(["one"], "b.md")])
        tables = chunked | PackChunks(bits) | GroupByText(bits, every_bucket=False)
        planned = tables | PlanBuckets(place, bits, root | "carry" >> beam.Create([Carry()]), None)
        bill = planned | beam.Map(lambda b: (b.documents, b.chunks, b.texts))
        assert_that(bill, equal_to([(2, 2, 1)]))


def test_price_of_the_config_wins_and_the_catalog_is_not_asked(place: RunPlace) -> None:
    def nobody(base_url: str, model: str) -> CatalogEntry | None:
        raise AssertionError("asked the catalog")

    bill = approve_bill(COUNTS, place, tariff(Budget(price_per_million_tokens=0.5)), nobody)
    assert (bill.cost_usd, bill.price_source) == (0.5, "config")


@pytest.mark.parametrize(
    ("answer", "cost", "warning"),
    [
        pytest.param(entry(0.02), 0.02, "", id="price"),
        pytest.param(entry(None, "no token price"), None, "no token price", id="no price"),
        pytest.param(None, None, "no model catalog at x", id="no catalog"),
    ],
)
def test_catalog_prices_the_bill_or_a_warning_says_why_not(
    place: RunPlace, answer: CatalogEntry | None, cost: float | None, warning: str
) -> None:
    bill = approve_bill(COUNTS, place, tariff(), lambda base_url, model: answer)
    assert bill.cost_usd == cost
    note = open_place(place).folder.bill()
    assert note is not None
    assert note["price_warning"].startswith(warning)
    assert bool(note["price_warning"]) == bool(warning)


def test_local_model_is_free(place: RunPlace) -> None:
    assert approve_bill(COUNTS, place, tariff(base_url=""), lambda base_url, model: None).cost_usd == 0.0


def test_refused_bill_leaves_its_reason_for_everybody(place: RunPlace) -> None:
    with pytest.raises(RunRefused, match=r"more than budget\.max_tokens allows"):
        approve_bill(COUNTS, place, tariff(Budget(max_tokens=1)), lambda base_url, model: entry(0.02))
    notice = open_place(place).folder.stop_notice()
    assert notice is not None
    assert (notice.kind, "budget.max_tokens" in notice.message) == ("RunRefused", True)


def test_plan_shows_a_refusal_and_refuses_nothing(place: RunPlace) -> None:
    bill = approve_bill(COUNTS, place, tariff(Budget(max_tokens=1), approve=False), lambda base_url, model: None)
    assert bill.tokens == 1_000_000
    note = open_place(place).folder.bill()
    assert note is not None
    assert "budget.max_tokens" in note["refusal"]
