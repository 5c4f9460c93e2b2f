"""A comparison of two models as a person reads it: on a terminal, or as a page that needs nothing but itself."""

from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.commands.compared_models import Agreement, Example
from pipeline.commands.plain_text import counted, facts, one_line, paragraph, table
from transforms.core import page
from transforms.core.wording import duration_text, size_text, usd_text

_WIDTH = 80
_EXCERPT_CHARS = 220
_CAVEAT = (
    "This says how differently the two models see the corpus, not which of them is right: read the texts shown, or ask "
    "both the questions that your users ask. In a sample a text's true neighbours are mostly missing, so compare "
    "figures only between equal samples."
)


def comparison_lines(agreement: Agreement, models: Sequence[Mapping[str, Any]], share: float) -> list[str]:
    """Say it on a terminal of 80 columns."""
    names = [_name(one) for one in models]
    lines = [*facts([("compared", f"{names[0]} (A) with {names[1]} (B)"), ("sample", _sample_text(agreement, share))])]
    lines += [
        "",
        *facts(_figures(agreement)),
        "",
        *table(["the whole corpus", "A", "B"], _whole(models), right=("A", "B")),
    ]
    for number, example in enumerate(agreement.examples, 1):
        lines += ["", *_example_lines(number, example, agreement.k)]
    return [*lines, "", *paragraph(_CAVEAT, _WIDTH, "")]


def comparison_html(agreement: Agreement, models: Sequence[Mapping[str, Any]], share: float) -> str:
    """Return the page; it quotes the texts whose neighbours differ most."""
    names = [_name(one) for one in models]
    overlap, interval = _overlap_text(agreement)
    large = [
        (overlap, f"overlap@{agreement.k}, {interval}"),
        (f"{agreement.rank_biased_overlap:.3f}", "rank-biased overlap"),
        (f"{agreement.same_nearest:.1%}", "have the same nearest text"),
        (f"{agreement.chance:.3f}", "overlap by chance"),
    ]
    differing = [
        (_excerpt(one.text), _excerpt(one.nearest[0]), _excerpt(one.nearest[1]), f"{one.overlap * agreement.k:.0f}")
        for one in agreement.examples
    ]
    titles = ["text", "nearest in A", "nearest in B", f"of {agreement.k} the same"]
    body = [
        page.figures(large),
        page.grid(
            [
                page.section(
                    "The whole corpus, about",
                    page.table(["", f"A: {names[0]}", f"B: {names[1]}"], _whole(models), numbers=(1, 2)),
                    wide=True,
                ),
                page.section(
                    "Texts that the models see most differently", page.table(titles, differing, (3,)), wide=True
                ),
                page.section("How to read this", page.note(_CAVEAT), wide=True),
            ]
        ),
    ]
    title = " and ".join(one["model"] for one in models)
    return page.page(title, _sample_text(agreement, share), body, "embedbeam compare")


def _name(model: Mapping[str, Any]) -> str:
    return f"{model['model']}, {model['dimensions']:,} dimensions"


def _sample_text(agreement: Agreement, share: float) -> str:
    return (
        f"{counted(agreement.texts, 'text')}, {share:.2%} of the corpus chosen by hash, "
        f"{agreement.overlap.queries:,} of them as queries"
    )


def _overlap_text(agreement: Agreement) -> tuple[str, str]:
    overlap = agreement.overlap
    return f"{overlap.mean:.3f}", f"95 % interval {overlap.low:.3f} to {overlap.high:.3f}"


def _figures(agreement: Agreement) -> list[tuple[str, str]]:
    overlap, interval = _overlap_text(agreement)
    return [
        (f"overlap@{agreement.k}", f"{overlap} ({interval}); by chance {agreement.chance:.3f}"),
        ("rank-biased", f"{agreement.rank_biased_overlap:.3f}, 1 for the same neighbours in the same order"),
        ("same nearest", f"{agreement.same_nearest:.1%} of the texts"),
    ]


def _whole(models: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    rows = [
        ("dimensions", [f"{one['dimensions']:,}" for one in models]),
        ("tokens, about", [f"{one['tokens']:,}" for one in models]),
        ("requests, about", [f"{one['requests']:,}" for one in models]),
        ("cost, about", [usd_text(one["cost_usd"]) for one in models]),
        ("time at the stated quota", [_time_text(one["seconds_at_quota"]) for one in models]),
        ("size, about", [size_text(one["bytes"]) for one in models]),
    ]
    return [[name, *cells] for name, cells in rows]


def _time_text(seconds: float | None) -> str:
    return "no quota stated" if seconds is None else duration_text(seconds)


def _example_lines(number: int, example: Example, k: int) -> list[str]:
    lines = [f"{number:>2} {example.text['doc_id']}: {example.overlap * k:.0f} of {k} neighbours are the same"]
    for name, text in (
        ("   text  ", example.text),
        ("   near A", example.nearest[0]),
        ("   near B", example.nearest[1]),
    ):
        quoted = paragraph(one_line(text["chunk"], _EXCERPT_CHARS), _WIDTH, " " * (len(name) + 2))
        lines += [name + quoted[0][len(name) :], *quoted[1:]] if quoted else []
    return lines


def _excerpt(text: Mapping[str, Any]) -> str:
    return f"{text['doc_id']}: {one_line(text['chunk'], _EXCERPT_CHARS)}"
