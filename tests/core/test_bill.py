import dataclasses

import pytest

from transforms.core.bill import Budget, add_bills, objection, overspent, price_bill, too_many_rejected
from transforms.core.requests import RequestLimits
from transforms.records import Bill

COUNTS = Bill(documents=10, chunks=500, texts=400, texts_reused=100, texts_to_embed=300, tokens=60_000)
LIMITS = RequestLimits(max_inputs=128, max_tokens=10_000)


def test_bills_of_buckets_add_up() -> None:
    assert add_bills([COUNTS, Bill(chunks=1, texts=1)]) == dataclasses.replace(COUNTS, chunks=501, texts=401)


def test_no_bills_are_an_empty_bill() -> None:
    assert add_bills([]) == Bill()


def test_priced_bill_has_requests_money_time_and_size() -> None:
    bill = price_bill(COUNTS, 0.02, "catalog", LIMITS, 3, 20_000, 6144)
    assert bill.requests == 6  # the token limit binds: 60,000 / 10,000
    assert bill.cost_usd == pytest.approx(0.0012)
    assert bill.seconds_at_quota == 180  # tokens need 3 minutes, requests 2
    assert bill.dataset_bytes == 500 * (6144 + 600)


def test_unknown_price_is_never_zero() -> None:
    assert price_bill(COUNTS, None, "", LIMITS, None, None, 4).cost_usd is None


def test_nothing_to_embed_costs_nothing_whatever_the_price() -> None:
    nothing = dataclasses.replace(COUNTS, texts_reused=400, texts_to_embed=0, tokens=0)
    assert price_bill(nothing, None, "", LIMITS, None, None, 4).cost_usd == 0.0


PRICED = dataclasses.replace(COUNTS, cost_usd=1.5)


@pytest.mark.parametrize(
    ("bill", "budget", "words"),
    [
        pytest.param(Bill(), Budget(), "no document matched documents.paths", id="nothing matched"),
        pytest.param(Bill(documents=3), Budget(), "hold no text", id="only empty documents"),
        pytest.param(
            dataclasses.replace(PRICED, documents_rejected=2),
            Budget(),
            "2 of 10 documents cannot be read",
            id="rejects",
        ),
        pytest.param(PRICED, Budget(max_tokens=59_999), "more than budget.max_tokens allows (59,999)", id="tokens"),
        pytest.param(PRICED, Budget(max_cost_usd=1.49), "the bill is 1.5000 USD", id="money"),
        pytest.param(COUNTS, Budget(max_cost_usd=9), "the price of the model is not known", id="no price"),
    ],
)
def test_bill_over_the_budget_is_refused_with_its_remedy(bill: Bill, budget: Budget, words: str) -> None:
    assert words in str(objection(bill, budget))


@pytest.mark.parametrize(
    ("bill", "budget"),
    [
        pytest.param(PRICED, Budget(), id="no budget"),
        pytest.param(PRICED, Budget(max_cost_usd=1.5, max_tokens=60_000), id="just within"),
        pytest.param(
            dataclasses.replace(PRICED, documents_rejected=2), Budget(max_rejected_fraction=0.2), id="rejects"
        ),
        pytest.param(dataclasses.replace(COUNTS, texts_to_embed=0), Budget(max_cost_usd=0), id="nothing to pay"),
    ],
)
def test_bill_within_the_budget_is_approved(bill: Bill, budget: Budget) -> None:
    assert objection(bill, budget) is None


def test_too_many_refused_chunks_stop_the_commit() -> None:
    assert too_many_rejected(1, 100, Budget()) is None
    assert "refused 2 of 100 chunks (2.0%)" in str(too_many_rejected(2, 100, Budget()))


@pytest.mark.parametrize("values", [{"max_cost_usd": -1.0}, {"max_tokens": -1}, {"max_rejected_fraction": 1.5}])
def test_senseless_budget_is_refused(values: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="must be"):
        Budget(**values)  # type: ignore[arg-type]


CHARGED = dataclasses.replace(COUNTS, price_per_million_tokens=10.0, cost_usd=0.6)


@pytest.mark.parametrize(
    ("tokens", "budget", "words"),
    [
        pytest.param(60_001, Budget(max_tokens=60_000), "has charged 60,001 tokens", id="tokens"),
        pytest.param(61_000, Budget(max_cost_usd=0.6), "has charged 0.6100 USD", id="money"),
    ],
)
def test_charges_over_the_budget_stop_the_run_resumably(tokens: int, budget: Budget, words: str) -> None:
    refusal = str(overspent(tokens, CHARGED, budget))
    assert words in refusal
    assert "the same command goes on" in refusal


@pytest.mark.parametrize("budget", [Budget(), Budget(max_tokens=60_000), Budget(max_cost_usd=0.6)])
def test_charges_within_the_budget_go_on(budget: Budget) -> None:
    assert overspent(60_000, CHARGED, budget) is None


def test_money_cannot_be_overspent_where_no_price_is_known() -> None:
    assert overspent(10**9, COUNTS, Budget(max_cost_usd=0.0)) is None
