"""Texts to an embeddings request in JSON; an answer in JSON to checked float32 vectors."""

import json
from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import orjson

from transforms.core.failures import Reply, Violation
from transforms.core.profiles import ABSENT, Profile

Vectors = npt.NDArray[np.float32]

LEAST_NORM: Final = 1e-6
_FEWEST_FOR_IDENTICAL: Final = 3


@dataclass(frozen=True, slots=True)
class DecodedAnswer:
    """The vectors of one good answer, in the order of the texts.

    Attributes:
        vectors: float32, ``texts x dimension``, finite, each with a norm above 1e-6, read-only or fresh memory.
        prompt_tokens: as charged, 0 where the endpoint does not tell.
        model_reported: "" where it does not tell.
        indexed: whether every item carried its own index; else the order of the answer was taken on trust.
    """

    vectors: Vectors
    prompt_tokens: int
    model_reported: str
    indexed: bool


def encode_request(texts: Sequence[str], model: str, dimensions: int | None, encoding: str, profile: Profile) -> bytes:
    """Write the body of an embeddings request.

    Args:
        dimensions: wanted length of a vector, None to take the model's own.
        encoding: ``float``, ``base64``, or ``absent`` to leave the field out.

    Raises:
        ValueError: there is no text, one is empty, or dimensions cannot be asked for at this kind of server.
    """
    if not texts or not all(texts):
        raise ValueError(f"a request needs texts, none of them empty; got {len(texts)} texts")
    body: dict[str, object] = {"model": model, "input": list(texts)}
    if encoding != ABSENT:
        body["encoding_format"] = encoding
    if dimensions is not None:
        if profile.dimensions_field is None:
            raise ValueError(f"servers of profile {profile.name} take no dimensions; leave embedding.dimensions out")
        body[profile.dimensions_field] = dimensions
    body.update(profile.extra_body)
    return orjson.dumps(body)


def decode_answer(
    reply: Reply, count: int, dimension: int | None, order_is_proven: bool, distinct: bool = True
) -> DecodedAnswer | Violation:
    """Read and check one HTTP 200 body. Vectors are read by what they are, never by what was asked for.

    Args:
        count: texts that were sent.
        dimension: expected length of a vector, None to accept any one length.
        order_is_proven: whether a probe showed that answers without indices come in the order of the texts.
        distinct: whether the texts differ, so that equal vectors would mean a collapsed answer.
    """
    document = _load(reply)
    if isinstance(document, Violation):
        return document
    items = document.get("data")
    if not isinstance(items, list) or not items or not all(isinstance(item, dict) for item in items):
        return Violation("empty_data", f"no vectors for {count} texts", reply.headers)
    if len(items) != count:
        return Violation("wrong_count", f"{len(items)} vectors for {count} texts", reply.headers)
    order = _order(items, count, order_is_proven)
    if isinstance(order, str):
        return Violation("wrong_index", order, reply.headers)
    vectors = _vectors([item.get("embedding") for item in items], dimension)
    if isinstance(vectors, Violation):
        return vectors
    problem = _problem(vectors, distinct)
    if problem is not None:
        return problem
    indexed = bool(order)
    if order and order != list(range(count)):
        ordered = np.empty_like(vectors)
        ordered[order] = vectors
        vectors = ordered
    model = document.get("model")
    return DecodedAnswer(vectors, _prompt_tokens(document), model if isinstance(model, str) else "", indexed)


def is_html(reply: Reply) -> bool:
    """Say whether an answer is a web page or other text instead of JSON."""
    kind = reply.headers.get("content-type", "").lower()
    return "html" in kind or reply.body[:200].lstrip()[:1] == b"<"


def _load(reply: Reply) -> dict[str, Any] | Violation:
    if is_html(reply):
        return Violation("html", "the answer is a web page", reply.headers)
    try:
        document = orjson.loads(reply.body)
    except orjson.JSONDecodeError:
        document = _load_with_nan(reply.body)
    if document is None:
        return Violation("invalid_json", f"an answer of {len(reply.body)} bytes is no JSON", reply.headers)
    if not isinstance(document, dict):
        return Violation("empty_data", "the answer holds no object", reply.headers)
    return document


def _load_with_nan(body: bytes) -> object | None:
    """Read JSON whose only fault is a bare NaN or Infinity, as Python servers write them."""
    if b"NaN" not in body and b"Infinity" not in body:
        return None
    try:
        document: object = json.loads(body)
    except ValueError:
        return None
    return document


def _order(items: list[dict[str, Any]], count: int, order_is_proven: bool) -> list[int] | str:
    """Give each item's position; an empty list for "as they come"; or a sentence on what is wrong."""
    indices = [item.get("index") for item in items]
    numbers = [index for index in indices if type(index) is int]
    if sorted(numbers) == list(range(count)):
        return numbers
    if all(index is None for index in indices) or all(index == 0 for index in indices):
        return [] if order_is_proven else "items have no index, and no probe has shown in which order they come"
    return "the indices are no permutation of the texts"


def _vectors(embeddings: list[Any], dimension: int | None) -> Vectors | Violation:
    if all(isinstance(embedding, str) for embedding in embeddings):
        return _from_base64(embeddings, dimension)
    if all(isinstance(embedding, list) for embedding in embeddings):
        return _from_lists(embeddings, dimension)
    return Violation("empty_data", "some items hold neither a list nor base64")


def _from_lists(embeddings: list[list[Any]], dimension: int | None) -> Vectors | Violation:
    wrong = _wrong_lengths([len(embedding) for embedding in embeddings], dimension)
    if wrong is not None:
        return wrong
    try:
        with np.errstate(over="ignore"):
            return np.array(embeddings, dtype=np.float32)
    except (TypeError, ValueError):
        return Violation("non_finite", "a vector holds something that is no number")


def _from_base64(embeddings: list[str], dimension: int | None) -> Vectors | Violation:
    try:
        chunks = [b64decode(embedding, validate=True) for embedding in embeddings]
    except (Base64Error, ValueError):
        return Violation("invalid_json", "a vector is no base64")
    sizes = {len(chunk) for chunk in chunks}
    if dimension is not None and len(sizes) == 1:
        width = {2 * dimension: "float16", 8 * dimension: "float64"}.get(len(chunks[0]))
        if width is not None:
            return Violation("wrong_precision", f"vectors of {dimension} dimensions look like {width}")
    if any(size % 4 for size in sizes):
        return Violation("wrong_dimension", "the bytes of a vector are no multiple of 4")
    wrong = _wrong_lengths([len(chunk) // 4 for chunk in chunks], dimension)
    if wrong is not None:
        return wrong
    return np.frombuffer(b"".join(chunks), dtype="<f4").reshape(len(chunks), -1).astype(np.float32, copy=False)


def _wrong_lengths(lengths: list[int], dimension: int | None) -> Violation | None:
    expected = dimension if dimension is not None else max(set(lengths), key=lengths.count)
    wrong = [length for length in lengths if length != expected or length == 0]
    if not wrong:
        return None
    detail = f"expected {expected} dimensions, got {wrong[0]} in {len(wrong)} of {len(lengths)} vectors"
    systematic = 1 < len(wrong) == len(lengths) and len(set(wrong)) == 1 and wrong[0] > 0
    return Violation("wrong_dimension_all" if systematic else "wrong_dimension", detail)


def _problem(vectors: Vectors, distinct: bool) -> Violation | None:
    if not np.isfinite(vectors).all():
        return Violation("non_finite", "a vector holds a value that is not finite")
    squares = np.einsum("ij,ij->i", vectors, vectors, dtype=np.float64)
    if (squares <= LEAST_NORM**2).any():
        return Violation("zero_vector", "a vector has length zero")
    if distinct and len(vectors) >= _FEWEST_FOR_IDENTICAL and bool((vectors == vectors[0]).all()):
        return Violation("identical_vectors", f"all {len(vectors)} texts have the same vector")
    return None


def _prompt_tokens(document: dict[str, Any]) -> int:
    usage = document.get("usage")
    if not isinstance(usage, dict):
        return 0
    for name in ("prompt_tokens", "total_tokens"):
        tokens = usage.get(name)
        if isinstance(tokens, int) and not isinstance(tokens, bool) and tokens > 0:
            return tokens
    return 0
