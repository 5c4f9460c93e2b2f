"""Counts and prices to a bill, and a bill against the budget."""

import dataclasses
import math
from collections.abc import Iterable
from dataclasses import dataclass

from transforms.core.requests import RequestLimits
from transforms.records import Bill

_BYTES_PER_ROW_BESIDE_VECTOR = 600
"""About what a row of prose costs in a zstd Parquet part beside its vector."""


@dataclass(frozen=True, slots=True)
class Budget:
    """What a run may cost at most; None means no limit.

    Attributes:
        max_cost_usd: refused before the first paid request when the bill is higher; needs a known price.
        max_tokens: the same in tokens to embed, for those who know no price.
        max_rejected_fraction: the share of documents, and of chunks, that may be rejected (0 to 1; default 1 %).
        price_per_million_tokens: USD; overrides the provider's catalog, and serves where there is no catalog.
    """

    max_cost_usd: float | None = None
    max_tokens: int | None = None
    max_rejected_fraction: float = 0.01
    price_per_million_tokens: float | None = None

    def __post_init__(self) -> None:
        for name in ("max_cost_usd", "max_tokens", "price_per_million_tokens"):
            value = getattr(self, name)
            if value is not None and (value < 0 or not math.isfinite(value)):
                raise ValueError(f"{name} must be null or 0 and more, got {value}")
        if not 0 <= self.max_rejected_fraction <= 1:
            raise ValueError(f"max_rejected_fraction must be between 0 and 1, got {self.max_rejected_fraction}")


def add_bills(bills: Iterable[Bill]) -> Bill:
    """Add the counts of several bills; prices and times are left out, for they are computed from the sums."""
    total = dict.fromkeys(_COUNTS, 0)
    for bill in bills:
        for name in _COUNTS:
            total[name] += getattr(bill, name)
    return dataclasses.replace(Bill(), **total)  # type: ignore[arg-type]  # the names are those of whole numbers


_COUNTS = tuple(field.name for field in dataclasses.fields(Bill) if field.type is int and field.name != "requests")


def price_bill(
    counts: Bill,
    price_per_million_tokens: float | None,
    price_source: str,
    limits: RequestLimits,
    requests_per_minute: int | None,
    tokens_per_minute: int | None,
    bytes_per_vector: int,
) -> Bill:
    """Complete a bill of counts with requests, money, time and size.

    Args:
        price_per_million_tokens: USD; None when unknown, and then the cost is None too unless nothing is to be embedded.
        bytes_per_vector: of one vector as stored.
    """
    requests = math.ceil(max(counts.texts_to_embed / limits.max_inputs, counts.tokens / limits.max_tokens))
    cost = None if price_per_million_tokens is None else counts.tokens * price_per_million_tokens / 1_000_000
    return dataclasses.replace(
        counts,
        requests=requests,
        cost_usd=0.0 if counts.texts_to_embed == 0 else cost,
        price_per_million_tokens=price_per_million_tokens,
        price_source=price_source,
        seconds_at_quota=60
        * max(
            requests / requests_per_minute if requests_per_minute else 0.0,
            counts.tokens / tokens_per_minute if tokens_per_minute else 0.0,
        ),
        dataset_bytes=counts.chunks * (bytes_per_vector + _BYTES_PER_ROW_BESIDE_VECTOR),
    )


def objection(bill: Bill, budget: Budget) -> str | None:
    """Say why a bill must not be paid, in one sentence with the remedy; None when it may be."""
    if bill.documents == 0:
        return "no document matched documents.paths; check the patterns and the working directory"
    rejected = bill.documents_rejected / bill.documents
    if rejected > budget.max_rejected_fraction:
        return (
            f"{bill.documents_rejected:,} of {bill.documents:,} documents cannot be read ({rejected:.1%}), more than "
            f"budget.max_rejected_fraction allows ({budget.max_rejected_fraction:.1%}); mend them, leave them out of "
            "documents.paths, or raise budget.max_rejected_fraction"
        )
    if bill.chunks == 0:
        return (
            f"the {bill.documents:,} documents that matched hold no text; nothing could be searched in such a dataset"
        )
    if budget.max_tokens is not None and bill.tokens > budget.max_tokens:
        return (
            f"{bill.tokens:,} tokens are to be embedded, more than budget.max_tokens allows ({budget.max_tokens:,}); "
            "raise it or narrow documents.paths"
        )
    if budget.max_cost_usd is None or bill.texts_to_embed == 0:
        return None
    if bill.cost_usd is None:
        return (
            f"budget.max_cost_usd is {budget.max_cost_usd:g} but the price of the model is not known; set "
            "budget.price_per_million_tokens, or use budget.max_tokens instead"
        )
    if bill.cost_usd > budget.max_cost_usd:
        return (
            f"the bill is {bill.cost_usd:.4f} USD, more than budget.max_cost_usd allows ({budget.max_cost_usd:g}); "
            "raise it or narrow documents.paths"
        )
    return None


def overspent(charged_tokens: int, bill: Bill, budget: Budget) -> str | None:
    """Say why a run must stop before its end: it was charged more than the budget allows; None when it was not.

    A bill within the budget can still be overspent where the endpoint counts more tokens than we do.
    """
    goes_on = "every answer is in the journal; raise the budget and the same command goes on"
    if budget.max_tokens is not None and charged_tokens > budget.max_tokens:
        return (
            f"the endpoint has charged {charged_tokens:,} tokens, more than budget.max_tokens allows "
            f"({budget.max_tokens:,}; the bill said {bill.tokens:,} in all); {goes_on}"
        )
    if budget.max_cost_usd is None or bill.price_per_million_tokens is None:
        return None
    charged = charged_tokens * bill.price_per_million_tokens / 1_000_000
    if charged > budget.max_cost_usd:
        return (
            f"the endpoint has charged {charged:.4f} USD, more than budget.max_cost_usd allows ({budget.max_cost_usd:g}; "
            f"the bill said {bill.cost_usd or 0:.4f} in all); {goes_on}"
        )
    return None


def too_many_rejected(rejected: int, chunks: int, budget: Budget) -> str | None:
    """Say why a finished run must not be committed: too large a share of its chunks was rejected; None when it may."""
    if not chunks or rejected / chunks <= budget.max_rejected_fraction:
        return None
    return (
        f"the endpoint refused {rejected:,} of {chunks:,} chunks ({rejected / chunks:.1%}), more than "
        f"budget.max_rejected_fraction allows ({budget.max_rejected_fraction:.1%}); nothing was committed and every paid "
        "vector is in the journal. Mend the documents or raise budget.max_rejected_fraction, then run again"
    )
