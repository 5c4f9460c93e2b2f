import hashlib

from hypothesis import given
from hypothesis import strategies as st

from transforms.core.identity import (
    chunk_ids,
    ids_with_context,
    settings_fingerprint,
    text_hash,
    vector_fingerprint,
)


def test_text_hash_is_the_sha256_of_the_bytes_sent() -> None:
    assert text_hash("query: naïve") == hashlib.sha256("query: naïve".encode()).digest()


def test_ids_are_32_hex_digits_that_never_change() -> None:
    # Written down once: another value here means that every dataset in the world pays a full upsert.
    assert chunk_ids("a.md", ["one", "two"]) == ["07c459d8bea277f91d5aba9b85a57966", "3171d7011ba3a9cb9574fe5edec334b0"]


def test_an_edit_elsewhere_in_the_document_moves_no_id() -> None:
    before = chunk_ids("a.md", ["intro", "body", "end"])
    after = chunk_ids("a.md", ["new", "intro changed", "body", "end"])
    assert after[2:] == before[1:]


@given(st.text(max_size=5), st.lists(st.text(max_size=3), max_size=30))
def test_equal_chunks_of_one_document_have_different_ids(doc_id: str, chunks: list[str]) -> None:
    assert len(set(chunk_ids(doc_id, chunks))) == len(chunks)


def test_equal_chunks_of_different_documents_have_different_ids() -> None:
    assert chunk_ids("a.md", ["same"]) != chunk_ids("b.md", ["same"])


def test_fingerprint_tells_everything_that_determines_a_vector() -> None:
    base = ("m", None, "", "h")
    others = [("n", None, "", "h"), ("m", 256, "", "h"), ("m", None, "query: ", "h"), ("m", None, "", "i")]
    assert len({vector_fingerprint(*base), *(vector_fingerprint(*other) for other in others)}) == 5


def test_context_is_part_of_what_determines_a_vector_and_none_changes_nothing() -> None:
    base = ("m", 3, "p", "h")
    assert vector_fingerprint(*base, "none") == vector_fingerprint(*base)
    assert vector_fingerprint(*base, "title_and_headings") != vector_fingerprint(*base)


def test_ids_depend_on_a_context_where_there_is_one() -> None:
    ids = chunk_ids("a.md", ["one", "two"])
    assert ids_with_context(ids, ["", ""]) == ids
    # Written down once, as above.
    assert ids_with_context(ids, ["Title\n\n", ""]) == ["331a9869b2a9edd87506d4e5a92a0cee", ids[1]]


def test_settings_fingerprint_does_not_depend_on_the_order_of_keys() -> None:
    assert settings_fingerprint({"a": 1, "b": (2, 3)}) == settings_fingerprint({"b": [2, 3], "a": 1})
