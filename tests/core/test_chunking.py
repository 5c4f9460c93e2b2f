import pytest

from transforms.core.chunking import ChunkSettings, chunk_text
from transforms.core.tokens import load_tokenizer, tokenizer_for_model
from transforms.errors import Rejected
from transforms.records import Span

TOKENIZER = load_tokenizer("cl100k_base")
FAMILY = "\U0001f468\u200d\U0001f469\u200d\U0001f467"


def chunks(text: str, chunk_settings: ChunkSettings, media_type: str = "text/plain") -> list[str]:
    return [text[span.start : span.end] for span in chunk_text(text, media_type, chunk_settings, TOKENIZER)]


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


CODE = """import os


# Says hello.
@cache
def hello(name):
    if name:
        print("hello", name)

    return name


class Greeter:
    def greet(self):
        return hello("you")

    def leave(self):
        return hello("nobody") and hello("anybody") and hello("everybody")
"""


def test_code_is_cut_so_that_functions_stay_whole_with_what_belongs_to_them() -> None:
    assert chunks(CODE, ChunkSettings(40, 0), "text/x-python") == [
        CODE[: CODE.index("\n\n\nclass")],
        CODE[CODE.index("class") :].strip(),
    ]
    assert chunks(CODE, ChunkSettings(28, 0), "text/x-python")[0] == CODE[: CODE.index("\n\n\nclass")]
    assert chunks(CODE, ChunkSettings(27, 0), "text/x-python") == [
        "import os",
        CODE[CODE.index("# Says") : CODE.index("\n\n\nclass")],
        CODE[CODE.index("class") : CODE.index("\n\n    def leave")],
        CODE[CODE.index("def leave") :].strip(),
    ]


def test_a_function_over_the_limit_is_cut_between_its_blocks_and_these_between_lines() -> None:
    assert chunks(CODE, ChunkSettings(20, 0), "text/x-python") == [
        "import os",
        "# Says hello.\n@cache\ndef hello(name):",
        'if name:\n        print("hello", name)\n\n    return name',
        'class Greeter:\n    def greet(self):\n        return hello("you")',
        "def leave(self):",
        'return hello("nobody") and hello("anybody") and hello("everybody")',
    ]


def test_code_is_read_as_code_where_it_is_asked_for_and_as_text_where_it_is_not() -> None:
    as_code = chunks(CODE, ChunkSettings(32, 0), "text/x-python")
    assert chunks(CODE, ChunkSettings(32, 0, "code"), "text/plain") == as_code
    assert chunks(CODE, ChunkSettings(32, 0, "recursive"), "text/x-python") != as_code


def test_the_overlap_gives_way_where_a_function_would_not_fit_with_it() -> None:
    function = CODE[CODE.index("# Says") : CODE.index("\n\n\nclass")]
    text = f"one = 1\ntwo = 2\n\n\n{function}\n\n\nlast = 3\n"
    assert chunks(text, ChunkSettings(28, 10), "text/x-python")[:2] == ["one = 1\ntwo = 2", function]


TABLE = "| city | people |\n|------|-------:|\n| Graz | 303 |\n| Linz | 213 |\n| Wels | 66 |"


def test_a_table_of_markdown_stays_whole_where_it_fits() -> None:
    text = f"Some words before it.\n\n{TABLE}\n\nSome words that come after it."
    assert chunks(text, ChunkSettings(33, 0), "text/markdown") == [
        "Some words before it.",
        TABLE,
        "Some words that come after it.",
    ]
    assert TABLE not in chunks(text, ChunkSettings(33, 0), "text/plain")


def test_a_table_over_the_limit_is_cut_between_its_rows() -> None:
    found = chunks(f"Words.\n\n{TABLE}", ChunkSettings(24, 0), "text/markdown")
    assert [row for chunk in found for row in chunk.split("\n")] == f"Words.\n\n{TABLE}".split("\n")


def test_fenced_code_stays_whole_where_it_fits() -> None:
    code = "```\nfirst = 1\n\nsecond = 2\n\nthird = 3\n```"
    text = f"Some words before it, and some more.\n\n{code}\n\nWords after it."
    assert code in chunks(text, ChunkSettings(20, 0), "text/markdown")
    assert code not in chunks(text, ChunkSettings(20, 0), "text/plain")


def test_a_page_is_a_chunk_and_one_over_the_limit_is_cut_as_auto_cuts() -> None:
    text = "one\n\ntwo\n\f\n\n\f\nthree four five six. Seven eight nine ten\n\f\nlast"
    assert chunks(text, ChunkSettings(8, 4, "page"), "application/pdf") == [
        "one\n\ntwo",
        "three four five six.",
        "four five six. Seven eight nine ten",
        "last",
    ]
    assert chunks("no pages at all", ChunkSettings(8, 4, "page")) == ["no pages at all"]


def test_none_says_how_long_a_document_is_that_may_not_be_cut() -> None:
    with pytest.raises(Rejected) as refused:
        chunk_text("word " * 400, "text/plain", ChunkSettings(150, 0, "none"), tokenizer_for_model("some-other-model"))
    assert str(refused.value) == (
        "too_long: the document has 400 tokens and may have 100 (chunking.max_tokens, lowered because the model's own "
        "tokenizer is not known); raise max_tokens, or let another splitter than none cut it"
    )


def test_what_is_sent_before_a_chunk_takes_its_place_and_is_counted() -> None:
    text = "word " * 30
    spans = chunk_text(text, "text/plain", ChunkSettings(13, 0), TOKENIZER, lead_at=lambda start: "three words: ")
    assert [span.token_count for span in spans] == [13, 13, 13]
    assert TOKENIZER.count("three words: " + text[: spans[0].end]) == 13


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
            (10, 1, "word"),
            "splitter must be one of auto, recursive, markdown, code, sentence, page, none, got 'word'",
            id="splitter",
        ),
    ],
)
def test_settings_that_cannot_be_obeyed_are_refused(arguments: tuple[int, int, str], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        ChunkSettings(*arguments)
