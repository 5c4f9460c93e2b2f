"""A static embedding model in numpy: one vector per token, and a text is the mean of its tokens' vectors.

The secret kept here is where the model's two files lie and how a text becomes tokens. They come with the ``wordllama``
wheel (MIT licence; Llama-2's vocabulary, 256 dimensions) and are read without importing that package, because its own
loader asks a hub before it looks beside itself. Both files are checked against the digests below, so that a model name
promises the same vectors everywhere.
"""

import hashlib
import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import chain
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from transforms.errors import ConfigError

MODEL_NAME = "wordllama-l2-256"
DIMENSIONS = (64, 128, 256)
"""Lengths the model was trained for (matryoshka): a prefix of the vector is a vector of the smaller model."""

WEIGHTS = ("weights/l2_supercat_256.safetensors", "64b47a2dc493cb8e85944076601189739852d7b64e0e1eedcb1937a251cd9fd5")
TOKENIZER = (
    "tokenizers/l2_supercat_tokenizer_config.json",
    "93248f2a9ec36c7b35f700a033d5f36228aae48db61aee31007fa49062cdeb68",
)
INSTALL_HINT = "pip install 'embedbeam[local]'"

_WORD = re.compile("\n|\u2581*[^\u2581\n]+|\u2581+")
"""Places where a text may be cut without changing its tokens: no token of the vocabulary holds a line feed, nor the
word mark U+2581 after any other character."""
_LONGEST_CACHED_WORD_CHARS = 32
_MOST_CACHED_WORDS = 200_000


class _Encoding(Protocol):
    @property
    def ids(self) -> list[int]: ...


class _Tokenizer(Protocol):
    def encode_batch_fast(self, input: Sequence[str], *, add_special_tokens: bool) -> Sequence[_Encoding]: ...


@dataclass(frozen=True, slots=True)
class EmbeddedText:
    """One text's vector: float32 of length 1, or None where the text has no tokens to make it from."""

    vector: npt.NDArray[np.float32] | None
    token_count: int


class StaticModel:
    """Texts in, unit vectors out; one thread at a time.

    A vector depends on the text's own characters and on nothing else: not on the other texts of the call, their order,
    what was embedded before, or the number of threads. Sums run row by row in float32 and lengths are summed exactly,
    so that processors with other vector units give the same bits.
    """

    def __init__(self, weights: npt.NDArray[np.float32], tokenizer: _Tokenizer, dimension: int) -> None:
        """Keep the first ``dimension`` columns of ``weights`` (vocabulary x 256)."""
        self._weights = np.ascontiguousarray(weights[:, :dimension])
        self._tokenizer = tokenizer
        self._tokens_of_word: dict[str, tuple[int, ...]] = {}

    @property
    def dimension(self) -> int:
        """Length of every vector."""
        return int(self._weights.shape[1])

    def embed(self, texts: Sequence[str]) -> list[EmbeddedText]:
        """Return one result a text, in order; an empty text has no vector."""
        words_of_texts = [_words(text) for text in texts]
        known = self._tokens_of(words_of_texts)
        return [self._mean(list(chain.from_iterable(map(known.__getitem__, words)))) for words in words_of_texts]

    def _tokens_of(self, words_of_texts: Sequence[Sequence[str]]) -> dict[str, tuple[int, ...]]:
        """Return tokens for every word of the call, asking the tokenizer only for words not met before."""
        known = self._tokens_of_word
        new = sorted(set(chain.from_iterable(words_of_texts)).difference(known))
        if not new:
            return known
        encodings = self._tokenizer.encode_batch_fast(new, add_special_tokens=False)
        found = {word: tuple(encoding.ids) for word, encoding in zip(new, encodings, strict=True)}
        everything = {**known, **found} if any(len(word) > _LONGEST_CACHED_WORD_CHARS for word in new) else known
        known.update((word, ids) for word, ids in found.items() if len(word) <= _LONGEST_CACHED_WORD_CHARS)
        if len(known) > _MOST_CACHED_WORDS:
            self._tokens_of_word = {}
        return everything

    def _mean(self, ids: Sequence[int]) -> EmbeddedText:
        # The sum points where the mean points, and only the direction is kept.
        total = self._weights[np.array(ids, dtype=np.intp)].sum(axis=0, dtype=np.float32).astype(np.float64)
        length = math.sqrt(math.fsum((total * total).tolist()))
        return EmbeddedText((total / length).astype(np.float32) if length > 0.0 else None, len(ids))


def _words(text: str) -> list[str]:
    """Cut a text into words whose tokens, one after the other, are the text's tokens."""
    return _WORD.findall("\u2581" + text.replace(" ", "\u2581")) if text else []


def load_static_model(dimension: int) -> StaticModel:
    """Read the model's two files from the installed ``wordllama`` wheel.

    Takes about 0.2 s and 40 MB. Needs no network and does not import ``wordllama``.

    Raises:
        ConfigError: the wheel or a library that reads it is missing, or a file is not the one the digest promises.
    """
    try:
        from safetensors.numpy import load as load_safetensors
        from tokenizers import Tokenizer
    except ImportError as error:
        raise ConfigError(f"the local model {MODEL_NAME} needs the package {error.name!r}: {INSTALL_HINT}") from error
    folder = _wordllama_folder()
    weights = load_safetensors(_read_checked(folder, *WEIGHTS))["embedding.weight"].astype(np.float32)
    tokenizer = Tokenizer.from_str(_without_normalizer(_read_checked(folder, *TOKENIZER)))
    tokenizer.encode_special_tokens = True  # "<s>" in a document is three characters, not a control token
    return StaticModel(weights, tokenizer, dimension)


def _wordllama_folder() -> Path:
    spec = find_spec("wordllama")
    if spec is None or not spec.submodule_search_locations:
        raise ConfigError(f"the local model {MODEL_NAME} is in a package that is not installed: {INSTALL_HINT}")
    return Path(next(iter(spec.submodule_search_locations)))


def _read_checked(folder: Path, name: str, sha256: str) -> bytes:
    path = folder / name
    if not path.is_file():
        raise ConfigError(f"the local model {MODEL_NAME} lacks its file wordllama/{name}: {INSTALL_HINT}")
    content = path.read_bytes()
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise ConfigError(
            f"the local model {MODEL_NAME} has another wordllama/{name} than its name promises "
            f"(sha256 {found[:12]}…, expected {sha256[:12]}…): {INSTALL_HINT}"
        )
    return content


def _without_normalizer(tokenizer_json: bytes) -> str:
    """Take out the step that marks word starts, which ``_words`` has done before its words meet the tokenizer."""
    description = json.loads(tokenizer_json)
    description["normalizer"] = None
    return json.dumps(description)
