import gzip
import random
import threading
from importlib.resources import files

import pytest
import tiktoken
from hypothesis import given, settings
from hypothesis import strategies as st

from transforms.core.tokens import ESTIMATE_MARGIN, WINDOW_CHARS, load_tokenizer, tokenizer_for_model, unpack_table

VOCABULARIES = ["cl100k_base", "o200k_base"]
PIECES = st.sampled_from(
    [
        "word",
        " Word",
        "it's",
        "WE'LL ",
        "'s",
        "'",
        "12345",
        "6.7,",
        " ",
        "  ",
        "\t",
        "\n",
        " \n ",
        "\r\n",
        "\n\n",
        ".\n",
        "//\n/",
        "!?)",
        "日本語。",
        "日本、",
        "「あ」",
        "한국어",
        "é\u0301.",
        "\u0301",
        "\u200d",
        "\u3000",
        "\x1c",
        "\x85",
        "\u2028",
        "\x00",
        "\U0001f469\u200d\U0001f467",
        "<|endoftext|>",
        "٣",
        "Ⅷ.",
        "ǅ",
        "שלום.",
        "\U00010400 ",
    ]
)
TEXTS = st.lists(PIECES | st.text(max_size=4), max_size=40).map("".join)


@pytest.mark.parametrize(
    ("vocabulary", "text", "count"),
    [
        pytest.param("cl100k_base", "", 0, id="empty"),
        pytest.param("cl100k_base", "tiktoken is great!", 6, id="the example of OpenAI's cookbook"),
        pytest.param("cl100k_base", "antidisestablishmentarianism", 6, id="a long word"),
        pytest.param("cl100k_base", "2 + 2 = 4", 7, id="arithmetic"),
        pytest.param("cl100k_base", "お誕生日おめでとう", 9, id="japanese"),
        pytest.param("o200k_base", "お誕生日おめでとう", 8, id="japanese by the newer table"),
        pytest.param("cl100k_base", "<|endoftext|>", 7, id="a special token is plain text"),
    ],
)
def test_counts_are_those_that_openai_publishes(vocabulary: str, text: str, count: int) -> None:
    assert load_tokenizer(vocabulary).count(text) == count


@pytest.mark.parametrize("vocabulary", VOCABULARIES)
@settings(max_examples=300, deadline=None)
@given(text=TEXTS, data=st.data())
def test_a_part_counts_as_much_as_when_it_stands_alone(vocabulary: str, text: str, data: st.DataObject) -> None:
    tokenizer = load_tokenizer(vocabulary)
    tokens = tokenizer.tokenize(text)
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, len(text)))
    assert tokens.count(start, end) == tokenizer.count(text[start:end])


@pytest.mark.parametrize("vocabulary", VOCABULARIES)
def test_a_text_of_many_windows_counts_as_much_as_in_one_piece(vocabulary: str) -> None:
    tokenizer = load_tokenizer(vocabulary)
    chance = random.Random(7)
    words = ["alpha", "beta's", "日本語。", "gamma.\n\n", "12345", "  ", "δέλτα,", "//\n", "(x)"]
    text = " ".join(chance.choice(words) for _ in range(WINDOW_CHARS))
    table = unpack_table(vocabulary, _packed(vocabulary))
    reference = tiktoken.Encoding(
        "reference",
        pat_str=tokenizer._encoding._pat_str,
        mergeable_ranks=tokenizer._encoding._mergeable_ranks,
        special_tokens={"<|endoftext|>": 10**6},
    )
    assert len(text) > 4 * WINDOW_CHARS
    assert len(table.splitlines()) == len(reference._mergeable_ranks)
    assert tokenizer.count(text) == len(reference.encode_ordinary(text))
    assert tokenizer.tokenize(text).count(0, len(text)) == len(reference.encode_ordinary(text))


@pytest.mark.parametrize("vocabulary", VOCABULARIES)
@pytest.mark.parametrize(
    ("text", "most"),
    [
        pytest.param(" " * 1_200_000 + "x", 20_000, id="blanks"),
        pytest.param("\n" * 1_200_000, 80_000, id="newlines"),
        pytest.param("a" * 1_200_000, 150_100, id="a word"),
        pytest.param("\u3000" * 1_200_000 + "x", 1_200_100, id="wide blanks"),
    ],
)
def test_runs_that_make_the_library_give_up_are_counted(vocabulary: str, text: str, most: int) -> None:
    tokenizer = load_tokenizer(vocabulary)
    assert 1_000 < tokenizer.count(text) <= most
    assert tokenizer.tokenize(text).count(0, len(text)) == tokenizer.count(text)


def test_a_part_across_a_cut_within_a_word_counts_as_when_it_stands_alone() -> None:
    tokenizer = load_tokenizer("cl100k_base")
    chance = random.Random(3)
    text = "first second " + "".join(chance.choices("abcdefgh", k=2 * WINDOW_CHARS)) + " third"
    tokens = tokenizer.tokenize(text)
    for start in range(12):
        assert tokens.count(start, len(text)) == tokenizer.count(text[start:])


def test_positions_reach_as_far_as_the_tokens_do() -> None:
    tokens = load_tokenizer("cl100k_base").tokenize("one two three four")
    assert [tokens.reach(0, count) for count in (1, 2, 3, 4, 5)] == [3, 7, 13, 18, 18]
    assert [tokens.reach_back(18, count) for count in (1, 2, 3, 4, 5)] == [13, 7, 3, 0, 0]


@pytest.mark.parametrize(
    ("model", "exact"),
    [
        pytest.param("text-embedding-3-small", True, id="small"),
        pytest.param("text-embedding-3-large", True, id="large"),
        pytest.param("text-embedding-ada-002", True, id="ada"),
        pytest.param("openai/text-embedding-3-small", True, id="behind a vendor's prefix"),
        pytest.param("text-embedding-004", False, id="of Google, with a name alike"),
        pytest.param("text-embedding-v3", False, id="of Alibaba, with a name alike"),
        pytest.param("wordllama-256", False, id="the local model"),
        pytest.param("bge-m3", False, id="an open model"),
    ],
)
def test_only_the_models_of_openai_are_counted_exactly(model: str, exact: bool) -> None:
    tokenizer = tokenizer_for_model(model)
    assert (tokenizer.name, tokenizer.exact) == ("cl100k_base", exact)
    assert tokenizer.margin == (1.0 if exact else ESTIMATE_MARGIN)
    assert tokenizer is tokenizer_for_model(model)


def test_several_threads_count_the_same() -> None:
    tokenizer = load_tokenizer("cl100k_base")
    text = "The same text, counted at the same time. " * 2_000
    counts: list[int] = []
    threads = [threading.Thread(target=lambda: counts.append(tokenizer.count(text))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counts == [20_001] * 4


def test_an_unknown_vocabulary_is_refused_with_those_there_are() -> None:
    with pytest.raises(ValueError, match=r"^no vocabulary 'gpt2'; there are cl100k_base, o200k_base$"):
        load_tokenizer("gpt2")


def test_a_damaged_rank_table_is_refused() -> None:
    table = unpack_table("cl100k_base", _packed("cl100k_base"))
    with pytest.raises(ValueError, match=r"^the rank table cl100k_base is damaged: sha256 .*; reinstall the package$"):
        unpack_table("cl100k_base", gzip.compress(table[:-1]))
    with pytest.raises(
        ValueError, match=r"^the rank table cl100k_base cannot be unpacked \(.*\); reinstall the package$"
    ):
        unpack_table("cl100k_base", _packed("cl100k_base")[:1000])


def _packed(vocabulary: str) -> bytes:
    return files("transforms.core.vocabularies").joinpath(f"{vocabulary}.tiktoken.gz").read_bytes()
