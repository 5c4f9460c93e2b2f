"""The report's sections on the corpus: what its chunks look like, where they lie, which of them repeat each other."""

import math
from collections.abc import Mapping
from typing import Any

from transforms.core.charts import KINDS, Dot, legend, plane
from transforms.core.corpus_map import OTHER
from transforms.core.page import columns, note, quotes, section, table
from transforms.core.portrait import bin_width
from transforms.core.specimen import Resemblance, Specimen
from transforms.records import Portrait


def tokens(portrait: Portrait, max_tokens: int) -> str:
    """Show how long chunks are."""
    counts, width = portrait.token_histogram, bin_width(max_tokens)
    labels = [f"{_range(at * width + 1, (at + 1) * width)} tokens: {count:,} chunks" for at, count in enumerate(counts)]
    marks = sorted({0, max_tokens // 4, max_tokens // 2, max_tokens})
    ticks = [(mark / width, f"{mark:,}") for mark in marks]
    ticks[-1] = (ticks[-1][0], f"{max_tokens:,}, the most allowed")
    return section("Tokens in a chunk", columns(counts, labels, ticks), wide=True)


def _range(first: int, last: int) -> str:
    return f"{first:,}" if first == last else f"{first:,} to {last:,}"


def longest(portrait: Portrait) -> str:
    """Show the biggest documents."""
    rows = [(doc_id, f"{chunks:,}", f"{characters:,}") for chunks, characters, doc_id in portrait.longest_documents]
    return section(
        "Biggest documents", table(["document", "chunks", "characters"], rows, numbers=(1, 2), bars=True), wide=True
    )


def repeated(portrait: Portrait, summary: Mapping[str, Any]) -> str:
    """Show texts that many chunks share; nothing when there are none."""
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


def resembling(specimen: Specimen) -> str:
    """Show texts that say nearly the same; nothing when there are none."""
    if not specimen.resemblances:
        return ""
    shown = "".join(_resemblance(one) for one in specimen.resemblances)
    share = specimen.resembling / specimen.looked_at
    return section(
        "Texts that say nearly the same",
        shown
        + note(
            f"{specimen.resembling:,} of {specimen.looked_at:,} texts looked at ({share:.1%}) are near another one: cosine "
            "0.97 or more. Each of them is paid, and they take the place of other answers in a search."
        ),
        wide=True,
    )


def _resemblance(one: Resemblance) -> str:
    cosine = math.floor(1000 * one.least_cosine) / 1000  # "at least" would be untrue of a rounded one
    return quotes(f"{one.count:,} texts, cosine {cosine:.3f} or more", one.examples)


def map_of_chunks(specimen: Specimen) -> str:
    """Show where chunks lie, coloured by source; nothing when there are too few."""
    if len(specimen.places) < 3:
        return ""
    sources = specimen.sources()
    kinds = {source: KINDS - 1 if source == OTHER else at for at, (source, _) in enumerate(sources)}
    dots = [
        Dot(place.x, place.y, min(kinds[place.source], KINDS - 1), f"{place.doc_id} — {place.snippet}")
        for place in specimen.places
    ]
    named = legend([(f"s{min(kinds[source], KINDS - 1)}", f"{source} ({count:,})") for source, count in sources])
    return section(
        "Map of the chunks",
        named
        + plane(dots, f"{len(dots):,} chunks, placed by their vectors")
        + note(
            f"{len(dots):,} chunks; point at one, or tap it, to read how it begins. What lies close has similar vectors; two "
            f"directions show {specimen.shown:.0%} of their variance, so what lies close may still differ."
        ),
        wide=True,
    )
