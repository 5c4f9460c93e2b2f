import json
from base64 import b64encode

import numpy as np
import pytest

from transforms.core.failures import Reply, Violation
from transforms.core.profiles import PROFILES
from transforms.core.wire_format import DecodedAnswer, Vectors, decode_answer, encode_request

VECTORS = np.array([[1.0, 0.1, 0.0], [0.0, 1.0, 0.3], [0.25, 0.0, 1.0]], dtype=np.float32)


def reply(body: object, content_type: str = "application/json") -> Reply:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Reply(200, {"content-type": content_type}, content)


def base64(vector: Vectors, kind: str = "<f4") -> str:
    return b64encode(vector.astype(kind).tobytes()).decode()


def items(embeddings: list[object], indices: list[object] | None = None) -> dict[str, object]:
    numbers = indices if indices is not None else list(range(len(embeddings)))
    data = [
        {"object": "embedding", "embedding": embedding} | ({} if index is None else {"index": index})
        for embedding, index in zip(embeddings, numbers, strict=True)
    ]
    return {"object": "list", "data": data, "model": "m-0613", "usage": {"prompt_tokens": 9, "total_tokens": 9}}


def decode(
    body: object, count: int = 3, dimension: int | None = None, proven: bool = False
) -> DecodedAnswer | Violation:
    return decode_answer(body if isinstance(body, Reply) else reply(body), count, dimension, proven)


def good(body: object, count: int = 3, dimension: int | None = None, proven: bool = False) -> DecodedAnswer:
    answer = decode(body, count, dimension, proven)
    assert isinstance(answer, DecodedAnswer), answer
    return answer


def violation(body: object, count: int = 3, dimension: int | None = None, proven: bool = False) -> str:
    answer = decode(body, count, dimension, proven)
    assert isinstance(answer, Violation), answer
    return answer.kind


# -------------------------------------------------------------------------------------------------------- requests


def test_a_request_holds_what_was_asked_for_and_nothing_else() -> None:
    body = json.loads(encode_request(["a", "é"], "m", 256, "float", PROFILES["openai"]))
    assert body == {"model": "m", "input": ["a", "é"], "encoding_format": "float", "dimensions": 256}


def test_the_encoding_can_be_left_out_and_dimensions_too() -> None:
    assert json.loads(encode_request(["a"], "m", None, "absent", PROFILES["openai"])) == {"model": "m", "input": ["a"]}


def test_a_profile_spells_dimensions_and_adds_fields() -> None:
    body = json.loads(encode_request(["a"], "m", 512, "base64", PROFILES["voyage"]))
    assert body == {
        "model": "m",
        "input": ["a"],
        "encoding_format": "base64",
        "output_dimension": 512,
        "input_type": "document",
        "truncation": False,
    }


@pytest.mark.parametrize("texts", [[], [""], ["a", ""]])
def test_no_empty_string_and_no_empty_request_is_written(texts: list[str]) -> None:
    with pytest.raises(ValueError, match="none of them empty"):
        encode_request(texts, "m", None, "float", PROFILES["openai"])


def test_dimensions_that_cannot_be_asked_for_are_refused() -> None:
    with pytest.raises(ValueError, match="profile cohere take no dimensions"):
        encode_request(["a"], "m", 256, "float", PROFILES["cohere"])


# --------------------------------------------------------------------------------------------------------- answers


@pytest.mark.parametrize("rows", [VECTORS.tolist(), [base64(row) for row in VECTORS]], ids=["floats", "base64"])
def test_vectors_are_read_by_what_they_are(rows: list[object]) -> None:
    answer = good(items(rows))
    assert answer.vectors.dtype == np.float32
    assert np.array_equal(answer.vectors, VECTORS)
    assert (answer.prompt_tokens, answer.model_reported, answer.indexed) == (9, "m-0613", True)


def test_answers_out_of_order_are_put_in_order() -> None:
    rows = VECTORS[[2, 0, 1]].tolist()
    assert np.array_equal(good(items(rows, [2, 0, 1])).vectors, VECTORS)


@pytest.mark.parametrize("indices", [[None] * 3, [0, 0, 0]], ids=["absent", "all zero"])
def test_order_is_taken_on_trust_only_where_it_was_proven(indices: list[object]) -> None:
    body = items(VECTORS.tolist(), indices)
    assert violation(body) == "wrong_index"
    trusted = good(body, proven=True)
    assert np.array_equal(trusted.vectors, VECTORS)
    assert trusted.indexed is False


@pytest.mark.parametrize("indices", [[0, 1, 1], [1, 2, 3], [0, 1, None], [0, 1, "2"], [False, True, 2], [-1, 0, 1]])
def test_indices_that_are_no_permutation_are_refused(indices: list[object]) -> None:
    assert violation(items(VECTORS.tolist(), indices), proven=True) == "wrong_index"


@pytest.mark.parametrize("count", [2, 4])
def test_a_wrong_number_of_vectors_is_refused(count: int) -> None:
    assert violation(items(VECTORS.tolist()), count) == "wrong_count"


@pytest.mark.parametrize("value", [None, "x", [1.0]], ids=["null", "text", "list"])
def test_what_is_no_number_is_not_finite(value: object) -> None:
    assert violation(items([[1.0, value], [1.0, 2.0]]), 2) == "non_finite"


@pytest.mark.parametrize("literal", ["NaN", "Infinity", "-Infinity", "1e39"])
def test_numbers_that_are_not_finite_are_found_in_json(literal: str) -> None:
    body = json.dumps(items([[1.0, 777.0], [1.0, 2.0]])).replace("777.0", literal).encode()
    assert violation(body, 2) == "non_finite"


def test_numbers_that_are_not_finite_are_found_in_base64() -> None:
    spoiled = VECTORS.copy()
    spoiled[1, 1] = np.nan
    assert violation(items([base64(row) for row in spoiled])) == "non_finite"


def test_a_vector_of_length_zero_is_refused() -> None:
    assert violation(items([[1.0, 0.0], [1e-7, 0.0]]), 2) == "zero_vector"


def test_one_vector_of_another_dimension_is_told_from_all_of_them() -> None:
    assert violation(items([[1.0, 2.0], [1.0], [1.0, 2.0]])) == "wrong_dimension"
    assert violation(items([[1.0, 2.0], [1.0, 3.0]]), 2, 3) == "wrong_dimension_all"
    assert violation(items([[1.0, 2.0]]), 1, 3) == "wrong_dimension"
    assert violation(items([[], []]), 2) == "wrong_dimension"


@pytest.mark.parametrize(("kind", "name"), [("<f8", "float64"), ("<f2", "float16")])
def test_base64_of_another_width_is_named(kind: str, name: str) -> None:
    answer = decode(items([base64(row, kind) for row in VECTORS[:, :2]]), dimension=2)
    assert isinstance(answer, Violation)
    assert (answer.kind, name in answer.detail) == ("wrong_precision", True)


def test_base64_that_is_cut_or_broken_is_refused() -> None:
    assert violation(items([b64encode(b"12345").decode()]), 1) == "wrong_dimension"
    assert violation(items(["*** no base64 ***"]), 1) == "invalid_json"


def test_equal_vectors_for_different_texts_are_refused() -> None:
    body = items([[1.0, 2.0]] * 3)
    assert violation(body) == "identical_vectors"
    assert isinstance(decode_answer(reply(body), 3, None, False, distinct=False), DecodedAnswer)


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"{", "invalid_json"),
        (b"NaN oops", "invalid_json"),
        (b"", "invalid_json"),
        (b"[]", "empty_data"),
        (b"{}", "empty_data"),
        (b'{"data": []}', "empty_data"),
        (b'{"data": ["x"]}', "empty_data"),
        (b'{"data": [{"index": 0}]}', "empty_data"),
        (b"<html></html>", "html"),
    ],
)
def test_bodies_without_vectors_are_told_apart(body: bytes, kind: str) -> None:
    assert violation(reply(body), 1) == kind


def test_a_web_page_is_known_by_its_type_too() -> None:
    assert violation(reply(b"Welcome", "text/html; charset=utf-8"), 1) == "html"


@pytest.mark.parametrize(
    ("usage", "tokens"),
    [
        ({"total_tokens": 4}, 4),
        ({"prompt_tokens": 0}, 0),
        ({"prompt_tokens": True}, 0),
        (None, 0),
        ({"prompt_tokens": "9"}, 0),
    ],
)
def test_usage_is_read_where_it_is_a_number(usage: object, tokens: int) -> None:
    body = items(VECTORS.tolist()) | {"usage": usage, "model": None}
    answer = good(body)
    assert (answer.prompt_tokens, answer.model_reported) == (tokens, "")


def test_base64_of_another_dimension_is_refused() -> None:
    assert violation(items([base64(row) for row in VECTORS]), dimension=5) == "wrong_dimension_all"
