import numpy as np

from transforms.core.specimen import DOTS, Specimen, examine, shorten_name, snippet


def vectors_of(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, 32)).astype(np.float32)


def test_the_map_has_some_of_the_rows_and_near_texts_are_sought_in_all() -> None:
    count = DOTS + 300
    vectors = vectors_of(count)
    vectors[count - 1] = vectors[count - 2]
    doc_ids = [f"{'ab'[n % 2]}/{n}.md" for n in range(count)]
    found = examine(doc_ids, [f"chunk  {n}\n" for n in range(count)], vectors)
    assert (found.looked_at, len(found.places), found.resembling) == (count, DOTS, 2)
    assert (found.places[3].doc_id, found.places[3].snippet, found.places[3].source) == ("b/3.md", "chunk 3", "b")
    assert found.sources() == [("a", DOTS // 2), ("b", DOTS // 2)]
    (pair,) = found.resemblances
    assert pair.count == 2
    assert pair.examples == (("a/1498.md", "chunk 1498"), ("b/1499.md", "chunk 1499"))


def test_nothing_to_look_at_gives_an_empty_specimen() -> None:
    assert examine([], [], np.empty((0, 0), np.float32)) == Specimen()


def test_snippet_is_one_line_without_characters_that_turn_or_hide_what_follows() -> None:
    assert snippet(" a\tb \n\n c ", 20) == "a b c"
    assert snippet("abc\u202edef\x00\x1b[31m", 40) == "abc\N{REPLACEMENT CHARACTER}def\N{REPLACEMENT CHARACTER}" + (
        "\N{REPLACEMENT CHARACTER}[31m"
    )
    assert snippet("word " * 50, 12) == "word word w…"
    assert len(snippet("x" * 10_000, 110)) == 110


def test_long_names_keep_their_end() -> None:
    assert shorten_name("a/b.md") == "a/b.md"
    long = shorten_name("folder/" * 30 + "file.md")
    assert (len(long), long[0], long[-7:]) == (60, "…", "file.md")
