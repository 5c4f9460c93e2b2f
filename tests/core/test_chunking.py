import pytest
import regex
from hypothesis import example, given, settings
from hypothesis import strategies as st

from transforms.core.chunking import SPLITTERS, ChunkSettings, chunk_text
from transforms.core.tokens import load_tokenizer, tokenizer_for_model
from transforms.records import Span

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
SETTINGS = st.builds(
    lambda size, share, splitter: ChunkSettings(size, int(size * share), splitter),
    st.integers(1, 60),
    st.floats(0, 0.99),
    st.sampled_from(SPLITTERS),
)
MEDIA_TYPES = st.sampled_from(["text/plain", "text/markdown", "text/x-rst", "text/html"])


def chunks(text: str, chunk_settings: ChunkSettings, media_type: str = "text/plain") -> list[str]:
    return [text[span.start : span.end] for span in chunk_text(text, media_type, chunk_settings, TOKENIZER)]


def boundaries_of_clusters(text: str) -> set[int]:
    return {0} | {cluster.end() for cluster in regex.finditer(r"\X", text)}


def check_laws(text: str, chunk_settings: ChunkSettings, spans: tuple[Span, ...]) -> None:
    clusters = boundaries_of_clusters(text)
    covered = 0
    for before, span in zip((None, *spans), spans, strict=False):
        chunk = text[span.start : span.end]
        assert 0 <= span.start < span.end <= len(text)
        assert chunk == chunk.strip()
        assert chunk != ""
        assert span.token_count == TOKENIZER.count(chunk)
        assert span.token_count <= chunk_settings.max_tokens or len(chunk) == 1
        if before is not None:
            assert before.start < span.start
            assert before.end < span.end
            if span.start < before.end:
                assert TOKENIZER.count(text[span.start : before.end]) <= chunk_settings.overlap_tokens
        assert text[covered : span.start].strip() == ""
        covered = span.end
        check_clusters(text, span, clusters, chunk_settings)
    assert text[covered:].strip() == ""


def check_clusters(text: str, span: Span, clusters: set[int], chunk_settings: ChunkSettings) -> None:
    for position in (span.start, span.end):
        if position not in clusters:
            begin = max(cluster for cluster in clusters if cluster < position)
            end = min(cluster for cluster in clusters if cluster > position)
            on_space = text[begin:position].isspace()
            assert on_space or TOKENIZER.count(text[begin:end]) > chunk_settings.max_tokens


@given(TEXTS, MEDIA_TYPES, SETTINGS)
@settings(max_examples=300, deadline=None)
@example(FAMILY * 20, "text/plain", ChunkSettings(20, 19))
@example(FLAGS * 20, "text/plain", ChunkSettings(9, 5))
@example("a\u0301" * 50, "text/plain", ChunkSettings(3, 2))
@example("a\r\nb" * 30, "text/plain", ChunkSettings(1, 0))
@example(" \u0301x" * 30, "text/plain", ChunkSettings(4, 2))
def test_every_text_is_cut_by_the_laws(text: str, media_type: str, chunk_settings: ChunkSettings) -> None:
    spans = chunk_text(text, media_type, chunk_settings, TOKENIZER)
    check_laws(text, chunk_settings, spans)
    assert chunk_text(text, media_type, chunk_settings, TOKENIZER) == spans


@pytest.mark.parametrize("splitter", SPLITTERS)
@pytest.mark.parametrize(
    "text",
    [
        pytest.param("a" * 300_000, id="one word"),
        pytest.param("word " * 60_000, id="one line"),
        pytest.param("\n" * 300_000 + "x" + "\n" * 300_000, id="newlines"),
        pytest.param("中" * 100_000, id="chinese without punctuation"),
        pytest.param("e" + "\u0301" * 100_000, id="one endless cluster"),
        pytest.param(FAMILY * 20_000, id="families"),
        pytest.param(FLAGS * 20_000, id="flags"),
        pytest.param("." * 200_000, id="dots"),
        pytest.param("x.)" * 70_000, id="sentence ends without a sentence"),
        pytest.param("# a\n" * 50_000, id="headings only"),
        pytest.param("```\n" * 50_000, id="fences only"),
        pytest.param(" \t" * 200_000 + "end", id="blanks"),
        pytest.param("<div>" * 50_000, id="markup"),
    ],
)
def test_hostile_text_is_cut_by_the_same_laws(splitter: str, text: str) -> None:
    chunk_settings = ChunkSettings(256, 32, splitter)
    spans = chunk_text(text, "text/markdown", chunk_settings, TOKENIZER)
    covered = 0
    for span in spans:
        assert text[covered : span.start].strip() == ""
        assert span.end > covered
        assert text[span.start : span.end].strip() == text[span.start : span.end]
        assert span.token_count == TOKENIZER.count(text[span.start : span.end])
        assert span.token_count <= 256
        covered = span.end
    assert text[covered:].strip() == ""


def test_a_text_of_white_space_has_no_chunks() -> None:
    assert chunks("", ChunkSettings()) == []
    assert chunks(" \r\n\t\u3000 ", ChunkSettings()) == []


def test_a_short_text_is_one_chunk_without_the_space_around_it() -> None:
    assert chunk_text("  hello world\n", "text/plain", ChunkSettings(), TOKENIZER) == (Span(2, 13, 2),)


def test_the_last_paragraph_end_in_reach_wins_over_later_lines_and_words() -> None:
    text = "one two three four five\nsix seven eight\n\nnine ten\neleven twelve thirteen"
    assert chunks(text, ChunkSettings(14, 0)) == [
        "one two three four five\nsix seven eight",
        "nine ten\neleven twelve thirteen",
    ]


def test_a_line_end_wins_over_a_later_sentence_end() -> None:
    text = "one two three four five six\nseven. Eight nine ten eleven twelve"
    assert chunks(text, ChunkSettings(10, 0))[0] == "one two three four five six"


def test_the_sentence_splitter_puts_sentences_above_lines() -> None:
    text = "one two three four five six\nseven. Eight nine ten eleven twelve"
    assert chunks(text, ChunkSettings(10, 0, "sentence"))[0] == "one two three four five six\nseven."


def test_a_sentence_does_not_end_at_an_abbreviation_or_an_initial() -> None:
    text = "one two three four five six. Seven by J. Smith e.g. eight nine ten"
    assert chunks(text, ChunkSettings(12, 0))[0] == "one two three four five six."


def test_a_boundary_in_the_first_half_is_not_taken() -> None:
    text = "one.\n\ntwo three four five six seven eight nine ten eleven twelve"
    assert chunks(text, ChunkSettings(10, 0))[0] == "one.\n\ntwo three four five six seven eight nine"


def test_markdown_is_cut_before_the_highest_heading_in_reach() -> None:
    text = "intro words to fill the first half\n\n# Main\n\nmore\n\n## Sub\n\nmore and more and more and more and more"
    assert chunks(text, ChunkSettings(14, 0), "text/markdown")[0] == "intro words to fill the first half"
    assert chunks(text, ChunkSettings(14, 0, "markdown"), "text/plain")[0] == "intro words to fill the first half"
    assert chunks(text, ChunkSettings(14, 0, "recursive"), "text/markdown")[0].endswith("# Main\n\nmore")


@pytest.mark.parametrize("kind", ["wordprocessingml.document", "presentationml.presentation", "spreadsheetml.sheet"])
def test_office_documents_are_cut_before_their_headings_too(kind: str) -> None:
    text = "intro words to fill the first half\n\n# Main\n\nmore\n\n## Sub\n\nmore and more and more and more and more"
    media_type = f"application/vnd.openxmlformats-officedocument.{kind}"
    assert chunks(text, ChunkSettings(14, 0), media_type)[0] == "intro words to fill the first half"


def test_a_heading_is_not_left_alone_at_the_end_of_a_chunk() -> None:
    text = "# Main\n\nmore\n\n## Sub\n\nmore and more and more and more and more"
    assert chunks(text, ChunkSettings(12, 0), "text/markdown")[0] == "# Main\n\nmore"
    assert chunks(text, ChunkSettings(12, 0), "text/plain")[0] == "# Main\n\nmore\n\n## Sub"


def test_restructured_text_is_cut_before_a_heading() -> None:
    text = "intro words to fill the first half of it\n\nTitle\n=====\n\nmore and more and more and more and more words"
    assert chunks(text, ChunkSettings(18, 0), "text/x-rst")[0] == "intro words to fill the first half of it"


def test_a_blank_line_in_fenced_code_is_no_end_of_a_paragraph() -> None:
    text = "words\n\n```\nfirst = 1\nsecond = 2\n\nthird = 3\nfourth = 4\n```\n\nwords and more words and more words"
    assert chunks(text, ChunkSettings(20, 0), "text/markdown")[0].endswith("third = 3")
    assert chunks(text, ChunkSettings(20, 0), "text/plain")[0].endswith("second = 2")


def test_the_overlap_begins_at_a_sentence_and_is_measured_in_tokens() -> None:
    text = "Alpha beta gamma delta. Epsilon zeta eta theta. Iota kappa lambda mu. Nu xi omicron pi rho. Sigma tau."
    assert chunks(text, ChunkSettings(24, 10)) == [
        "Alpha beta gamma delta. Epsilon zeta eta theta. Iota kappa lambda mu.",
        "Iota kappa lambda mu. Nu xi omicron pi rho. Sigma tau.",
    ]


def test_chinese_is_cut_after_a_full_stop() -> None:
    text = "今天天气很好。我们去公园散步。他们在家里看书和写字和画画和唱歌"
    assert chunks(text, ChunkSettings(24, 0))[0].endswith("。")


def test_a_full_stop_with_a_mark_upon_it_is_no_place_to_cut() -> None:
    plain, marked = "今天天气很好我们去公园。散步他们在家里看书", "今天天气很好我们去公园。\u0301散步他们在家里看书"
    assert chunks(plain, ChunkSettings(16, 0))[0].endswith("。")
    assert not any(chunk.startswith("\u0301") for chunk in chunks(marked, ChunkSettings(16, 0)))


def test_a_cluster_over_the_limit_is_cut_between_code_points() -> None:
    spans = chunk_text(FAMILY, "text/plain", ChunkSettings(4, 0), TOKENIZER)
    assert all(span.token_count <= 4 for span in spans)
    assert (spans[0].start, spans[-1].end) == (0, len(FAMILY))


def test_the_limit_is_lowered_by_the_margin_where_the_tokenizer_is_an_estimate() -> None:
    estimate = tokenizer_for_model("some-other-model")
    spans = chunk_text("word " * 400, "text/plain", ChunkSettings(150, 0), estimate)
    assert [span.token_count for span in spans] == [100, 100, 100, 100]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param((0, 0, "auto"), "max_tokens must be 1 or more, got 0", id="no tokens"),
        pytest.param(
            (10, 10, "auto"), r"overlap_tokens must be 0 or more and less than max_tokens \(10\), got 10", id="overlap"
        ),
        pytest.param(
            (10, -1, "auto"), r"overlap_tokens must be 0 or more and less than max_tokens \(10\), got -1", id="negative"
        ),
        pytest.param(
            (10, 1, "none"), "splitter must be one of auto, recursive, markdown, sentence, got 'none'", id="splitter"
        ),
    ],
)
def test_settings_that_cannot_be_obeyed_are_refused(arguments: tuple[int, int, str], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        ChunkSettings(*arguments)
