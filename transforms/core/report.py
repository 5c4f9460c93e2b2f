"""What a person looks at after a run: a version's numbers as one page."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from transforms.core.manifest import PartEntry, Stamp
from transforms.core.page import Share, columns, facts, figures, grid, note, page, section, shares, table
from transforms.core.portrait import bin_width, count_reasons
from transforms.core.wording import duration_text
from transforms.records import Portrait, Reject

_EXAMPLES = 4
_PART_COLUMNS = range(8, 129)


@dataclass(frozen=True, slots=True)
class ReportFacts:
    """What the report says, all of it handed in.

    Attributes:
        summary: the run's summary, as printed.
        committed_at: ISO-8601 UTC.
        previous_version: 0 for none.
        max_tokens: of a chunk.
        parts: names as they are in the version's folder.
    """

    summary: Mapping[str, Any]
    committed_at: str
    previous_version: int
    stamp: Stamp
    max_tokens: int
    parts: Sequence[PartEntry]
    portrait: Portrait
    rejects: Sequence[Reject]


def render_report(facts_: ReportFacts) -> str:
    """Return the page, as HTML; it names documents and reasons, and holds no text of any document."""
    summary, stamp = facts_.summary, facts_.stamp
    came = f"follows version {facts_.previous_version}" if facts_.previous_version else "the first version"
    when = f"{facts_.committed_at[:10]} {facts_.committed_at[11:16]} UTC"
    sections = [
        *_rejects(facts_.rejects, summary),
        _changes(summary),
        _texts(summary),
        _bill(summary),
        _documents(summary),
        _tokens(facts_.portrait, facts_.max_tokens),
        _longest(facts_.portrait),
        _repeated(facts_.portrait, summary),
        _parts(facts_.parts),
        _stamp(stamp),
    ]
    return page(
        str(summary["dataset"]),
        f"{came}, committed {when} · {stamp.model}, {stamp.dimensions:,} dimensions",
        [_headline(facts_), grid(one for one in sections if one)],
        "Written by embedbeam. This page loads nothing and holds no text of any document.",
    )


def _headline(facts_: ReportFacts) -> str:
    summary = facts_.summary
    rows = sum(part.rows for part in facts_.parts)
    return figures(
        [
            (f"{summary['documents']:,}", "documents"),
            (f"{rows:,}", "chunks, a row each"),
            (f"{summary['texts_embedded']:,}", "texts embedded now"),
            (f"{summary['prompt_tokens']:,}", "tokens charged"),
            (_usd(summary["cost_usd"]).removesuffix(" USD"), "USD, the cost"),
            (duration_text(summary["seconds"]), "from start to commit"),
        ]
    )


def _changes(summary: Mapping[str, Any]) -> str:
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


def _texts(summary: Mapping[str, Any]) -> str:
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


def _bill(summary: Mapping[str, Any]) -> str:
    estimated, charged = summary["estimated_tokens"], summary["prompt_tokens"]
    rows = [
        ("tokens", f"{estimated:,}", f"{charged:,}", _difference(estimated, charged)),
        ("cost", _usd(summary["estimated_cost_usd"]), _usd(summary["cost_usd"]), ""),
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


def _documents(summary: Mapping[str, Any]) -> str:
    names = (
        ("new", "documents_new"),
        ("changed", "documents_changed"),
        ("vanished", "documents_vanished"),
        ("without any text", "documents_empty"),
        ("rejected", "documents_rejected"),
    )
    rows = [(name, f"{summary[key]:,}") for name, key in names]
    return section("Documents", table(["", ""], [("matched", f"{summary['documents']:,}"), *rows], numbers=(1,)))


def _tokens(portrait: Portrait, max_tokens: int) -> str:
    counts, width = portrait.token_histogram, bin_width(max_tokens)
    labels = [f"{_range(at * width + 1, (at + 1) * width)} tokens: {count:,} chunks" for at, count in enumerate(counts)]
    marks = sorted({0, max_tokens // 4, max_tokens // 2, max_tokens})
    ticks = [(mark / width, f"{mark:,}") for mark in marks]
    ticks[-1] = (ticks[-1][0], f"{max_tokens:,}, the most allowed")
    return section("Tokens in a chunk", columns(counts, labels, ticks), wide=True)


def _range(first: int, last: int) -> str:
    return f"{first:,}" if first == last else f"{first:,} to {last:,}"


def _longest(portrait: Portrait) -> str:
    rows = [(doc_id, f"{chunks:,}", f"{characters:,}") for chunks, characters, doc_id in portrait.longest_documents]
    return section(
        "Biggest documents", table(["document", "chunks", "characters"], rows, numbers=(1, 2), bars=True), wide=True
    )


def _repeated(portrait: Portrait, summary: Mapping[str, Any]) -> str:
    if not portrait.repeated_texts:
        return ""
    rows = [(doc_id, f"{count:,}") for count, doc_id in portrait.repeated_texts]
    return section(
        "Texts that occur most often",
        table(["one of the documents", "chunks"], rows, numbers=(1,), bars=True)
        + note(
            f"{summary['duplicates']:,} of {summary['chunks']:,} chunks repeat a text and cost nothing. They can crowd "
            "search results: headers and footers are worth leaving out."
        ),
        wide=True,
    )


def _rejects(rejects: Sequence[Reject], summary: Mapping[str, Any]) -> Iterable[str]:
    if not rejects:
        return
    reasons = count_reasons([(one.stage, one.reason, one.doc_id) for one in rejects], _EXAMPLES)
    rows = [
        (f"{reason.replace('_', ' ')}, in {stage}", f"{count:,}", ", ".join(names))
        for stage, reason, count, names in reasons
    ]
    said = (
        f"{summary['documents_rejected']:,} documents and {summary['chunks_rejected']:,} chunks are not in this version"
    )
    yield section(
        f"Rejected: {said}",
        table(["reason", "how many", "for example"], rows, numbers=(1,))
        + note("rejects.parquet has them all, with what was said. The next run tries them again."),
        wide=True,
        alarm=True,
    )


def _parts(parts: Sequence[PartEntry]) -> str:
    sizes = sorted(part.bytes for part in parts)
    said = [
        ("files", f"{len(parts):,}"),
        ("all together", _size(sum(sizes))),
        ("smallest", _size(sizes[0]) if len(sizes) > 1 else ""),
        ("in the middle", _size(sizes[len(sizes) // 2]) if len(sizes) > 2 else ""),
        ("largest", _size(sizes[-1]) if len(sizes) > 1 else ""),
    ]
    drawn = ""
    if len(parts) in _PART_COLUMNS:
        labels = [f"{part.path}: {part.rows:,} rows, {_size(part.bytes)}" for part in parts]
        drawn = "<p></p>" + columns([part.bytes // 1000 for part in parts], labels, [(0, "kB of each part, in order")])
    return section("Parts", facts(said) + drawn)


def _stamp(stamp: Stamp) -> str:
    reported = stamp.model_reported if stamp.model_reported != stamp.model else ""
    return section(
        "Stamp",
        facts(
            [
                ("model", stamp.model),
                ("reported as", reported),
                ("dimensions", f"{stamp.dimensions:,}"),
                ("vectors", "of length 1" if stamp.normalized else "of any length"),
                ("served by", stamp.base_url_host or "the local model"),
                ("input prefix", repr(stamp.input_prefix) if stamp.input_prefix else "none"),
                ("chunker", stamp.chunker.strip("{}").replace('"', "")),
            ]
        ),
    )


def _difference(estimated: int, charged: int) -> str:
    return f"{charged / estimated - 1:+.1%}" if estimated and charged else ""


def _usd(amount: float | None) -> str:
    if amount is None:
        return "not known"
    return f"{amount:,.2f} USD" if amount >= 100 or amount == 0 else f"{amount:,.4f} USD"


def _size(count: int) -> str:
    for unit, size in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count} bytes"
