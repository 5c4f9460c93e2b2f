"""The report's sections on the run: what it changed, what it paid, how fast it was."""

from collections.abc import Mapping, Sequence
from typing import Any

from transforms.core.charts import Line, legend, lines
from transforms.core.page import Share, columns, facts, note, section, shares, table
from transforms.core.timeline import Column
from transforms.core.wording import duration_text, usd_text

_STEPS_AT_LEAST = 3
"""Fewer say nothing that the sums above do not."""


def changes(summary: Mapping[str, Any]) -> str:
    """Show the rows that were added, kept and removed."""
    updated = summary["rows_updated"]
    return section(
        "What changed in the rows",
        shares(
            [
                Share("added", summary["rows_added"], "b"),
                Share("updated, the text kept", updated, "c"),
                Share("unchanged", summary["rows_unchanged"] - updated, "e"),
                Share("removed", summary["rows_removed"], "d"),
            ]
        )
        + note("changes.parquet lists the ids: what a vector database has to upsert and delete."),
    )


def texts(summary: Mapping[str, Any]) -> str:
    """Show which vectors were paid now and which before."""
    journal = summary["texts_in_journal"]
    return section(
        "Where the vectors came from",
        shares(
            [
                Share("embedded now", summary["texts_embedded"], "a"),
                Share("reused from the version before", summary["texts_reused"] - journal, "e"),
                Share("paid by an interrupted run before", journal, "c"),
            ]
        )
        + note(f"{summary['texts']:,} distinct texts; each is paid once, however many chunks share it."),
    )


def bill(summary: Mapping[str, Any]) -> str:
    """Show what was billed beforehand next to what was charged."""
    estimated, charged = summary["estimated_tokens"], summary["prompt_tokens"]
    rows = [
        ("tokens", f"{estimated:,}", f"{charged:,}", _difference(estimated, charged)),
        ("cost", usd_text(summary["estimated_cost_usd"]), usd_text(summary["cost_usd"]), ""),
    ]
    seconds = summary["seconds"]
    took = [
        ("requests", f"{summary['requests']:,}"),
        ("tried again", f"{summary['requests_retried']:,}"),
        ("refused as too many (429)", f"{summary['requests_throttled']:,}"),
        ("tokens wasted, about", f"{summary['tokens_wasted']:,}"),
        ("tokens a minute, over the whole run", f"{60 * charged / seconds:,.0f}" if seconds and charged else ""),
        ("held back most by", str(summary["limited_by"]).replace("_", " ")),
    ]
    paid_before = summary["texts_in_journal"] > 0
    caution = "The bill counts what was still to be paid when this run began." if paid_before else ""
    return section(
        "Bill against charge",
        table(["", "bill", "charged", ""], rows, numbers=(1, 2, 3))
        + "<p></p>"
        + facts(took)
        + (note(caution) if caution else ""),
    )


def documents(summary: Mapping[str, Any]) -> str:
    """Show what became of the documents."""
    names = (
        ("new", "documents_new"),
        ("changed", "documents_changed"),
        ("vanished", "documents_vanished"),
        ("without any text", "documents_empty"),
        ("rejected", "documents_rejected"),
    )
    rows = [(name, f"{summary[key]:,}") for name, key in names]
    return section("Documents", table(["", ""], [("matched", f"{summary['documents']:,}"), *rows], numbers=(1,)))


def _difference(estimated: int, charged: int) -> str:
    return f"{charged / estimated - 1:+.1%}" if estimated and charged else ""


def over_time(steps: Sequence[Column], left_out: int) -> str:
    """Show throughput, latency and refusals over time; nothing when next to nothing was embedded.

    Args:
        left_out: processes of the run whose numbers are not in it.
    """
    if len(steps) < _STEPS_AT_LEAST or not any(step.counts["requests"] for step in steps):
        return ""
    seconds = steps[0].seconds
    unit = "tokens" if any(step.counts["prompt_tokens"] for step in steps) else "texts"
    name = "prompt_tokens" if unit == "tokens" else "texts"
    rates = [round(60 * step.counts[name] / seconds) for step in steps]
    labels = [_said(step, unit, rate) for step, rate in zip(steps, rates, strict=True)]
    whole = duration_text(seconds * len(steps))
    ticks = [(0.0, "first request"), (float(len(steps)), f"{whole} later")]
    drawn = f"<p>{unit.capitalize()} a minute</p>" + columns(rates, labels, ticks)
    drawn += _latencies(steps, labels) + _refusals(steps, labels)
    words = f"Each step is {duration_text(seconds)}; point at one for its numbers."
    if left_out:
        words += f" {left_out:,} more processes were at work and are not in these pictures."
    return section("Throughput and latency over time", drawn + note(words), wide=True)


def _latencies(steps: Sequence[Column], labels: Sequence[str]) -> str:
    most = max((step.slow_seconds or 0.0 for step in steps), default=0.0)
    if not most:
        return ""
    drawn = [
        Line("95 %", "d", [step.slow_seconds for step in steps]),
        Line("half", "a", [step.median_seconds for step in steps]),
    ]
    named = legend([("a", "half of the requests took at most"), ("d", "95 % of the requests took at most")])
    return f'<p></p><p>Latency</p>{named}<div class="low">{lines(drawn, labels, _latency(most))}</div>'


def _refusals(steps: Sequence[Column], labels: Sequence[str]) -> str:
    counts = [round(step.counts["requests_throttled"]) for step in steps]
    if not any(step.counts["requests_throttled"] for step in steps):
        return ""
    return f'<p></p><p>Answers that said "too many" (429)</p><div class="low bad">{columns(counts, labels, [])}</div>'


def _said(step: Column, unit: str, rate: int) -> str:
    counts = step.counts
    requests = f"{counts['requests']:,.0f} request{'' if round(counts['requests']) == 1 else 's'}"
    words = [f"from {duration_text(step.begin)}: {rate:,} {unit} a minute, {requests}"]
    for name, what in (("requests_retried", "tried again"), ("requests_throttled", "refused (429)")):
        words += [f"{counts[name]:,.0f} {what}"] if counts[name] >= 0.5 else []
    if step.median_seconds is not None and step.slow_seconds is not None:
        words.append(f"half within {_latency(step.median_seconds)}, 95 % within {_latency(step.slow_seconds)}")
    return ", ".join(words)


def _latency(seconds: float) -> str:
    return f"{1000 * seconds:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"
