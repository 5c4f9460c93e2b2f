"""What a person looks at after a run: a version's numbers as one page."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from transforms.core.manifest import PartEntry, Stamp
from transforms.core.page import columns, facts, figures, grid, note, page, section, table
from transforms.core.portrait import count_reasons
from transforms.core.report_corpus import longest, map_of_chunks, repeated, resembling, tokens
from transforms.core.report_run import bill, changes, documents, over_time, texts
from transforms.core.specimen import Specimen
from transforms.core.timeline import Column
from transforms.core.wording import duration_text, size_text, usd_text
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
        over_time: what the run did, step by step; empty when it embedded nothing.
        processes_left_out: of ``over_time``.
    """

    summary: Mapping[str, Any]
    committed_at: str
    previous_version: int
    stamp: Stamp
    max_tokens: int
    parts: Sequence[PartEntry]
    portrait: Portrait
    rejects: Sequence[Reject]
    specimen: Specimen
    over_time: Sequence[Column] = ()
    processes_left_out: int = 0


def render_report(facts_: ReportFacts) -> str:
    """Return the page, as HTML; it holds names of documents and how some chunks begin, as the parts beside it do."""
    summary, portrait = facts_.summary, facts_.portrait
    stamp, specimen = facts_.stamp, facts_.specimen
    came = f"follows version {facts_.previous_version}" if facts_.previous_version else "the first version"
    when = f"{facts_.committed_at[:10]} {facts_.committed_at[11:16]} UTC"
    sections = [
        *_rejects(facts_.rejects, summary),
        changes(summary),
        texts(summary),
        bill(summary),
        documents(summary),
        over_time(facts_.over_time, facts_.processes_left_out),
        map_of_chunks(specimen),
        tokens(portrait, facts_.max_tokens),
        longest(portrait),
        repeated(portrait, summary),
        resembling(specimen),
        _parts(facts_.parts),
        _stamp(stamp),
    ]
    return page(
        str(summary["dataset"]),
        f"{came}, committed {when} · {stamp.model}, {stamp.dimensions:,} dimensions",
        [_headline(facts_), grid(one for one in sections if one)],
        "Written by embedbeam. This page loads nothing. It shows how some chunks begin: keep it where the dataset is.",
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
            (usd_text(summary["cost_usd"]).removesuffix(" USD"), "USD, the cost"),
            (duration_text(summary["seconds"]), "from start to commit"),
        ]
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
        ("all together", size_text(sum(sizes))),
        ("smallest", size_text(sizes[0]) if len(sizes) > 1 else ""),
        ("in the middle", size_text(sizes[len(sizes) // 2]) if len(sizes) > 2 else ""),
        ("largest", size_text(sizes[-1]) if len(sizes) > 1 else ""),
    ]
    drawn = ""
    if len(parts) in _PART_COLUMNS:
        labels = [f"{part.path}: {part.rows:,} rows, {size_text(part.bytes)}" for part in parts]
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
                ("context", stamp.context),
                ("chunker", stamp.chunker.strip("{}").replace('"', "")),
            ]
        ),
    )
