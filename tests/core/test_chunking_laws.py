"""The laws that every splitter keeps, whatever the text; and the time that it takes to cut one."""

import itertools
import time
from collections.abc import Callable

import pytest
import regex
from hypothesis import example, given, settings
from hypothesis import strategies as st

from transforms.core.chunking import SPLITTERS, ChunkSettings, chunk_text
from transforms.core.tokens import load_tokenizer
from transforms.errors import Rejected
from transforms.records import Span

CUTTING = [splitter for splitter in SPLITTERS if splitter != "none"]
TOKENIZER = load_tokenizer("cl100k_base")
FAMILY = "\U0001f468\u200d\U0001f469\u200d\U0001f467"
FLAGS = "\U0001f1e9\U0001f1ea\U0001f1eb\U0001f1f7\U0001f1ef\U0001f1f5"

PIECES = st.sampled_from(
    [
        "word",
        "The quick brown fox. ",
        "It's 12345,6! ",
        " ",
        "  ",
        "\t",
        "\n",
        "\n\n",
        "\r\n",
        "\r\n\r\n",
        "\r",
        "# Title\n",
        "Title\n=====\n",
        "```\ncode\n\n```\n",
        "- item\n",
        "日本語の文章。",
        "中文没有空格",
        "한국어 ",
        "שלום ",
        "مرحبا ",
        FAMILY,
        FLAGS,
        "e\u0301",
        "a\u0301\u0302\u0303",
        "\u0e01\u0e33",
        "\u1100\u1161\u11a8",
        "\u0915\u094d\u0937",
        "\u200b",
        "\ufeff",
        "\u00a0",
        "\x1c",
        "\x85",
        "\u2028",
        "\u3000",
        "\x00",
        "<|endoftext|>",
        "\f",
        "\n\f\n",
        "| a | b |\n",
        "|---|:-:|\n",
        "```\u0301",
        "def f(a):\n",
        "    if (x) {\n",
        "\t}\n",
        "}\u0301",
        ";\u200d",
        "/* ",
        " */",
        '"""',
        "....",
        "'s",
        "//",
        '?!)" ',
        "x" * 30,
        "é" * 9,
        "\U0001f600",
    ]
)
TEXTS = st.lists(PIECES | st.text(max_size=5), max_size=60).map("".join)
SIZES = st.tuples(st.integers(1, 60), st.floats(0, 0.99)).map(lambda pair: (pair[0], int(pair[0] * pair[1])))
LEADS = st.sampled_from(["", "", "passage: ", "Title > Part\n\n", "é\u0301?", "x"])
MEDIA_TYPES = st.sampled_from(
    ["text/plain", "text/markdown", "text/x-rst", "text/html", "text/x-python", "text/x-c", "text/x-javascript"]
)


def boundaries_of_clusters(text: str) -> set[int]:
    return {0} | {cluster.end() for cluster in regex.finditer(r"\X", text)}


def check_laws(text: str, chunk_settings: ChunkSettings, spans: tuple[Span, ...], lead: str = "") -> None:
    clusters = boundaries_of_clusters(text)
    covered = 0
    for before, span in zip((None, *spans), spans, strict=False):
        chunk = text[span.start : span.end]
        assert 0 <= span.start < span.end <= len(text)
        assert chunk == chunk.strip()
        assert chunk != ""
        assert span.token_count == TOKENIZER.count(lead + chunk)
        assert span.token_count <= chunk_settings.max_tokens or len(chunk) == 1
        if before is not None:
            assert before.start < span.start
            assert before.end < span.end
            if span.start < before.end:
                assert TOKENIZER.count(text[span.start : before.end]) <= chunk_settings.overlap_tokens
        assert text[covered : span.start].strip() == ""
        covered = span.end
        check_clusters(text, span, clusters, chunk_settings, lead)
    assert text[covered:].strip() == ""


def check_clusters(text: str, span: Span, clusters: set[int], chunk_settings: ChunkSettings, lead: str) -> None:
    for position in (span.start, span.end):
        if position not in clusters:
            begin = max(cluster for cluster in clusters if cluster < position)
            end = min(cluster for cluster in clusters if cluster > position)
            on_space = text[begin:position].isspace()
            assert on_space or TOKENIZER.count(lead + text[begin:end]) > chunk_settings.max_tokens


@pytest.mark.parametrize("splitter", CUTTING)
@given(TEXTS, MEDIA_TYPES, SIZES, LEADS)
@settings(max_examples=120, deadline=None)
@example(FAMILY * 20, "text/plain", (20, 19), "")
@example(FLAGS * 20, "text/plain", (9, 5), "x")
@example("a\u0301" * 50, "text/plain", (3, 2), "")
@example("a\r\nb" * 30, "text/plain", (1, 0), "passage: ")
@example(" \u0301x" * 30, "text/plain", (4, 2), "")
@example("{a;}\u0301" * 20, "text/x-c", (6, 2), "")
@example("```\na\n```\u0301\n" * 9, "text/markdown", (9, 2), "")
def test_every_text_is_cut_by_the_laws(
    splitter: str, text: str, media_type: str, sizes: tuple[int, int], lead: str
) -> None:
    chunk_settings = ChunkSettings(*sizes, splitter)
    spans, again = (
        chunk_text(text, media_type, chunk_settings, TOKENIZER, lead_at=lambda start: lead) for _ in range(2)
    )
    assert spans == again
    check_laws(text, chunk_settings, spans, lead)


@given(TEXTS, SIZES, LEADS)
@settings(max_examples=200, deadline=None)
def test_without_a_splitter_a_text_is_one_chunk_or_refused(text: str, sizes: tuple[int, int], lead: str) -> None:
    stripped = text.strip()
    count = TOKENIZER.count(lead + stripped)
    chunk_settings = ChunkSettings(*sizes, "none")
    if stripped and count > sizes[0]:
        with pytest.raises(Rejected, match=f"^too_long: the document has {count} tokens and may have {sizes[0]} "):
            chunk_text(text, "text/markdown", chunk_settings, TOKENIZER, lead_at=lambda start: lead)
    else:
        spans = chunk_text(text, "text/markdown", chunk_settings, TOKENIZER, lead_at=lambda start: lead)
        found = [(text[span.start : span.end], span.token_count) for span in spans]
        assert found == ([(stripped, count)] if stripped else [])


@given(TEXTS, MEDIA_TYPES, SIZES)
@settings(max_examples=200, deadline=None)
@example("def f():\n  one two three four\n\f  five six\n  seven\n", "text/x-python", (12, 0))
def test_a_page_that_fits_is_one_chunk_and_no_chunk_lies_on_two_pages(
    text: str, media_type: str, sizes: tuple[int, int]
) -> None:
    spans = chunk_text(text, media_type, ChunkSettings(*sizes, "page"), TOKENIZER)
    found = [text[span.start : span.end] for span in spans]
    assert not any("\f" in chunk for chunk in found)
    for page in text.split("\f"):
        if page.strip() and TOKENIZER.count(page.strip()) <= sizes[0]:
            assert page.strip() in found


HOSTILE: dict[str, Callable[[int], str]] = {
    "one word": lambda size: "a" * size,
    "one line": lambda size: "word " * (size // 5),
    "newlines": lambda size: "\n" * (size // 2) + "x" + "\n" * (size // 2),
    "chinese without punctuation": lambda size: "中" * (size // 3),
    "one endless cluster": lambda size: "e" + "\u0301" * (size // 2),
    "families": lambda size: FAMILY * (size // 18),
    "flags": lambda size: FLAGS * (size // 24),
    "dots": lambda size: "." * size,
    "sentence ends without a sentence": lambda size: "x.)" * (size // 3),
    "headings only": lambda size: "# a\n" * (size // 4),
    "ever deeper headings": lambda size: "".join(f"{'#' * (at % 6 + 1)} a\n" for at in range(size // 6)),
    "fences only": lambda size: "```\n" * (size // 4),
    "one fenced word": lambda size: "```\n" + "a" * size + "\n```",
    "table rules only": lambda size: "|-|\n" * (size // 4),
    "one table": lambda size: "|a|b|\n|-|-|\n" + "|c|d|\n" * (size // 6),
    "blanks": lambda size: " \t" * (size // 2) + "end",
    "markup": lambda size: "<div>" * (size // 5),
    "open brackets": lambda size: "{" * size,
    "brackets and lines": lambda size: "{\n" * (size // 4) + "}\n" * (size // 4),
    "ever deeper lines": lambda size: "\n".join(" " * (at % 400) + "x" for at in range(size // 200)),
    "open quotes": lambda size: "'\\" * (size // 4) + '"' * (size // 2),
    "open comments": lambda size: "/* " * (size // 3),
    "pages": lambda size: "a\f" * (size // 2),
}


def media_types_for(splitter: str) -> tuple[str, ...]:
    """The media types that make a splitter read the text in another way."""
    return ("text/markdown", "text/x-c", "text/x-python") if splitter in ("auto", "code") else ("text/markdown",)


@pytest.mark.parametrize("splitter", CUTTING)
@pytest.mark.parametrize("make_text", [pytest.param(make, id=name) for name, make in HOSTILE.items()])
def test_hostile_text_is_cut_by_the_same_laws_in_linear_time(splitter: str, make_text: Callable[[int], str]) -> None:
    chunk_settings = ChunkSettings(256, 32, splitter)
    for media_type in media_types_for(splitter):
        seconds = []
        for size in (25_000, 200_000):
            text = make_text(size)
            before = time.process_time()
            spans = chunk_text(text, media_type, chunk_settings, TOKENIZER)
            seconds.append(time.process_time() - before)
        check_cover(text, spans, 256)
        assert seconds[1] < 8 * 3 * max(seconds[0], 0.01)  # 8 times the text; a square would take 64 times as long


def test_a_word_of_ten_megabytes_is_cut_within_the_limit() -> None:
    text = "a" * 10_000_000
    spans = chunk_text(text, "text/plain", ChunkSettings(8000, 0), TOKENIZER)
    assert (spans[0].start, spans[-1].end) == (0, len(text))
    assert all(before.end == after.start for before, after in itertools.pairwise(spans))
    assert all(span.token_count <= 8000 for span in spans)
    assert [TOKENIZER.count(text[span.start : span.end]) for span in spans[:9]] == [
        span.token_count for span in spans[:9]
    ]


def check_cover(text: str, spans: tuple[Span, ...], limit: int) -> None:
    covered = 0
    for span in spans:
        assert text[covered : span.start].strip() == ""
        assert span.end > covered
        assert text[span.start : span.end].strip() == text[span.start : span.end]
        assert span.token_count == TOKENIZER.count(text[span.start : span.end])
        assert span.token_count <= limit
        covered = span.end
    assert text[covered:].strip() == ""
