"""The page of a version: well-formed, self-contained, honest with names, and equal to the summary's numbers."""

import re
from html.parser import HTMLParser
from typing import Any

import pytest

from transforms.core.manifest import PartEntry, Stamp
from transforms.core.page import Share, columns, shares
from transforms.core.portrait import BINS
from transforms.core.report import ReportFacts, render_report
from transforms.core.specimen import Place, Resemblance, Specimen
from transforms.core.timeline import COUNTS, Column
from transforms.records import Portrait, Reject

VOID = {"meta", "rect", "br", "line"}
SUMMARY: dict[str, Any] = {
    "dataset": "out/handbook", "version": 3, "documents": 1201, "documents_rejected": 2, "documents_empty": 3,
    "documents_new": 41, "documents_changed": 52, "documents_vanished": 63, "chunks": 9104, "chunks_rejected": 4,
    "texts": 9005, "texts_reused": 8005, "texts_in_journal": 606, "texts_to_embed": 1000, "texts_embedded": 996,
    "duplicates": 99, "rows_added": 1107, "rows_removed": 208, "rows_unchanged": 7993, "rows_updated": 309,
    "requests": 17, "requests_retried": 5, "requests_throttled": 6, "prompt_tokens": 110_000,
    "estimated_tokens": 100_000, "tokens_wasted": 777, "estimated_cost_usd": 0.002, "cost_usd": 0.0022,
    "seconds": 3725.0, "limited_by": "tokens_per_minute",
}  # fmt: skip
STAMP = Stamp("text-embedding-3-small", 1536, "text-embedding-3-small-0", "api.cometapi.com", True, "", '{"a": 1}')


class Page(HTMLParser):
    """Reads a page strictly: every element is closed in order; keeps its text and its attributes."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.words: list[str] = []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in VOID or tag == "rect":
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(self.words)


def reject(doc_id: str, reason: str = "content_policy") -> Reject:
    return Reject(doc_id, f"docs/{doc_id}", 0, 9, "embed", reason, "SECRET-TEXT was refused", 1, "req-1")


def render(
    summary: dict[str, Any] | None = None,
    portrait: Portrait | None = None,
    rejects: tuple[Reject, ...] = (),
    parts: int = 2,
    specimen: Specimen | None = None,
    over_time: tuple[Column, ...] = (),
    processes_left_out: int = 0,
) -> str:
    histogram = tuple(range(BINS))
    return render_report(
        ReportFacts(
            summary={**SUMMARY, **(summary or {})},
            committed_at="2026-11-22T09:30:00+00:00",
            previous_version=2,
            stamp=STAMP,
            max_tokens=512,
            parts=[PartEntry(f"part-{n:05d}.parquet", 4550, 1_000_000 + n, "0" * 64) for n in range(parts)],
            portrait=portrait or Portrait(histogram, ((72, 24_219, "big.md"),), ((41, "footer.md"),)),
            rejects=rejects,
            specimen=specimen or Specimen(),
            over_time=over_time,
            processes_left_out=processes_left_out,
        )
    )


def step(at: int, tokens: float, throttled: float = 0, latency: float | None = 0.2) -> Column:
    counts = dict(zip(COUNTS, (tokens / 50, tokens / 1000, 0, throttled, tokens), strict=True))
    return Column(10.0 * at, 10.0, counts, latency, latency and 4 * latency)


def specimen(*sources: str, words: str = "how it begins") -> Specimen:
    places = tuple(Place(0.1 * at, 0.5, source, f"{source}/{at}.md", words) for at, source in enumerate(sources))
    twins = (("a/1.md", words), ("b/2.md", "how another one begins"))
    return Specimen(4000, places, 0.081, 37, (Resemblance(25, 0.9712, twins), Resemblance(12, 0.9999, twins)))


def test_page_shows_the_numbers_of_the_summary() -> None:
    text = Page(render(rejects=(reject("x.md"),))).text
    numbers = [
        "1,201", "9,100", "996", "110,000", "0.0022", "1 h 02 min", "1,107", "309", "7,684", "208", "7,399", "606",
        "100,000", "+10.0%", "0.0020 USD", "17", "777", "41", "52", "63", "72", "24,219", "99",
    ]  # fmt: skip
    assert [number for number in numbers if number not in text] == []
    for words in ("out/handbook", "follows version 2, committed 2026-11-22 09:30 UTC", "tokens per minute", "big.md"):
        assert words in text


def test_page_is_well_formed_and_loads_nothing() -> None:
    steps = (step(0, 1000), step(1, 0, latency=None), step(2, 3000, throttled=3))
    html = render(rejects=(reject("x.md"),), parts=40, specimen=specimen("a", "b", "a"), over_time=steps)
    page = Page(html)
    assert html.startswith("<!doctype html>")
    assert not {"script", "link", "img", "iframe", "object", "base", "form"} & set(page.tags)
    assert not {name for name, _ in page.attributes} & {"src", "href", "srcset", "action", "data", "onload", "onclick"}
    assert not re.search(r"https?://|url\(|@import", html)
    assert "prefers-color-scheme:dark" in html
    assert ("name", "viewport") in page.attributes


def test_name_of_a_document_never_becomes_markup() -> None:
    name = "<script>alert('1')</script>\"&.md"
    portrait = Portrait((1,) * BINS, ((1, 1, name),), ((2, name),))
    shown = specimen(name, name, name, words=name)
    html = render({"dataset": f"out/{name}"}, portrait, (reject(name),), specimen=shown)
    page = Page(html)
    assert "script" not in page.tags
    # title, heading, biggest, repeated, rejected; the legend of the map; two groups of texts that say nearly the same
    assert page.text.count(name) == 5 + 1 + 2
    labels = [value for attribute, value in page.attributes if attribute == "data-t"]
    assert labels == [f"{name}/{at}.md — {name}" for at in range(3)]


def test_rejects_are_named_by_document_and_reason_and_never_by_their_message() -> None:
    rejects = (*(reject(f"d{n}.md") for n in range(9)), reject("z.md", "vanished"))
    html = render(rejects=rejects)
    text = Page(html).text
    assert "2 documents and 4 chunks are not in this version" in text
    assert "content policy, in embed" in text
    assert "d0.md, d1.md, d2.md, d3.md" in text
    assert "d4.md" not in text
    assert "SECRET-TEXT" not in html


def test_page_without_rejects_or_repeats_is_quiet_about_them() -> None:
    text = Page(render(portrait=Portrait((1,) * BINS, ((1, 1, "a.md"),)))).text
    assert "Rejected" not in text
    assert "occur most often" not in text


def test_throughput_latency_and_refusals_are_shown_over_time() -> None:
    steps = (step(0, 1000, latency=0.25), step(1, 0, latency=None), step(2, 3000, throttled=3, latency=0.5))
    page = Page(render(over_time=steps, processes_left_out=7))
    assert "Throughput and latency over time" in page.words
    for words in (
        "from 0.0 s: 6,000 tokens a minute, 1 request, half within 250 ms, 95 % within 1.0 s",
        "from 10.0 s: 0 tokens a minute, 0 requests",
        "from 20.0 s: 18,000 tokens a minute, 3 requests, 3 refused (429), half within 500 ms, 95 % within 2.0 s",
        "30.0 s later",
        "2.0 s",
        "Each step is 10.0 s; point at one for its numbers. 7 more processes were at work and are not in these pictures.",
    ):
        assert words in page.words, words
    lines = [value for name, value in page.attributes if name == "d"]
    assert lines == [
        "M0.0 52.0H333.3M666.7 4.0H1000.0",  # 95 %: 1.0 s, nothing, 2.0 s, of 2.0 s at most
        "M0.0 88.0H333.3M666.7 76.0H1000.0",
    ]


def test_short_runs_and_endpoints_that_do_not_tell_tokens_get_the_picture_that_says_something() -> None:
    assert "over time" not in Page(render(over_time=(step(0, 1000), step(1, 1000)))).text
    silent = tuple(
        Column(one.begin, 10.0, {**one.counts, "prompt_tokens": 0.0}, None, None)
        for one in map(step, range(3), [500] * 3)
    )
    text = Page(render(over_time=silent)).text
    assert "Texts a minute" in text
    assert "Latency" not in text
    assert "429" not in text.partition("over time")[2].partition("Tokens in a chunk")[0]


def test_map_colours_sources_and_says_what_each_dot_is() -> None:
    html = render(specimen=specimen("docs", "mail", "docs", "other"))
    page = Page(html)
    kinds = re.findall(r'<i class="(s\d)" style="left:([\d.]+)%;top:([\d.]+)%"', html)
    assert kinds == [("s0", "0.0", "50.0"), ("s1", "10.0", "50.0"), ("s0", "20.0", "50.0"), ("s7", "30.0", "50.0")]
    for words in ("docs (2)", "mail (1)", "other (1)"):
        assert words in page.words
    assert ("data-t", "docs/2.md — how it begins") in page.attributes
    assert "two directions show 8% of their variance" in page.text


def test_texts_that_say_nearly_the_same_are_shown_in_pairs() -> None:
    page = Page(render(specimen=specimen("a", "b", "c")))
    at = page.words.index("Texts that say nearly the same")
    shown = [word.strip() for word in page.words[at + 1 :] if word.strip()]
    assert shown[:10] == [
        "25 texts, cosine 0.971 or more", "a/1.md", "how it begins", "b/2.md", "how another one begins",
        "12 texts, cosine 0.999 or more", "a/1.md", "how it begins", "b/2.md", "how another one begins",
    ]  # fmt: skip
    assert "37 of 4,000 texts looked at (0.9%)" in page.text


def test_page_of_the_largest_specimen_stays_below_a_megabyte() -> None:
    words = "語" * 109 + "…"
    places = tuple(Place(0.12345, 0.5, f"s{n % 8}", "漢" * 60, words) for n in range(1200))
    groups = tuple(Resemblance(9, 0.98, (("漢" * 60, "語" * 180),) * 2) for _ in range(10))
    steps = tuple(step(at, 1e6, throttled=1e3) for at in range(60))
    page = render(parts=128, specimen=Specimen(4000, places, 0.1, 90, groups), over_time=steps)
    assert len(page.encode()) < 1_000_000


@pytest.mark.parametrize(
    ("summary", "shown", "not_shown"),
    [
        pytest.param({"cost_usd": None, "estimated_cost_usd": None}, "not known", "0.00 USD", id="price unknown"),
        pytest.param({"prompt_tokens": 0, "seconds": 0.0}, "100,000", "tokens a minute", id="no usage told"),
        pytest.param({"texts_in_journal": 0}, "embedded now", "when this run began", id="nothing interrupted"),
    ],
)
def test_what_is_not_known_is_not_made_up(summary: dict[str, Any], shown: str, not_shown: str) -> None:
    text = Page(render(summary)).text
    assert shown in text
    assert not_shown not in text


def test_large_parts_are_drawn_only_when_their_number_says_something() -> None:
    assert "kB of each part" not in render(parts=2)
    assert "kB of each part" in render(parts=40)
    assert "kB of each part" not in render(parts=1000)


def test_bars_are_as_long_as_their_share() -> None:
    html = shares([Share("one", 1, "a"), Share("three", 3, "b"), Share("none", 0, "c")])
    assert re.findall(r'<i class="(.)" style="flex:(\d+)">', html) == [("a", "1"), ("b", "3")]
    assert re.findall(r'class="n">([\d.]+%)', html) == ["25.0%", "75.0%", "0.0%"]
    drawn = columns([5, 0, 10], ["five", "none", "ten"], [(0, "0"), (3, "3")])
    assert re.findall(r'y="([\d.]+)" width="[\d.]+" height="([\d.]+)"', drawn) == [
        ("50.00", "50.00"),
        ("0.00", "100.00"),
    ]
