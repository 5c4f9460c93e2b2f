"""Count tokens as the model does, and tell where they lie in a text; the secret kept here is how text becomes tokens.

A text is given to the tokenizer once. What a part of it counts when it stands alone follows from that one pass, because
texts come apart at *seams*: places that no token can cross, whatever stands around them. Both rank tables cut a text into
words with a regular expression that reads from left to right and never looks back, and none of its branches goes on from a
non-space to a blank, or from a letter or digit to a line break or a full stop. At such a place
``count(left + right) == count(left) + count(right)`` exactly, so that only the bits between a part's ends and its first and
last seam are counted again.
"""

import gzip
import hashlib
import re
from binascii import a2b_base64
from bisect import bisect_right
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import numpy as np
import numpy.typing as npt
import tiktoken

Offsets = npt.NDArray[np.int64]

ESTIMATE_MARGIN = 1.5
"""By how much a limit is lowered where the model's own tokenizer is not known (``Tokenizer.margin``).

Measured on the first 2 000 characters of 1 500 README, changelog and documentation files: a vocabulary of 32 000 (Llama 2's)
makes 1.36 times the tokens of cl100k_base in the median, at most 1.5 times in 95 % of them, 1.59 times at the 99th percentile.
"""

WINDOW_CHARS = 100_000
"""Texts go to the tokenizer in pieces of one to two windows.

A piece ends at a seam. Where there is none for a whole window, as in a word of 10 MB, it is cut there: tiktoken gives up
on a run of about a million blanks, and takes n log n for a word of n letters. A count can then be off by a token or two
for each such cut; text with a seam every 100 000 characters is counted exactly.
"""

_OPENAI_CL100K = re.compile(r"(?:.*/)?text-embedding-(?:3-\w+|ada-002)")

# Letters and digits that every Unicode version since 5.0 calls so; the tokenizer's tables and Python's may be of
# different ages, and a seam must be one for both.
_LETTERS = (
    "0-9A-Za-z\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u024f\u0391-\u03a1\u03a3-\u03ce\u0400-\u0481\u048a-\u04ff\u05d0-\u05ea"
    "\u0620-\u064a\u3041-\u3096\u30a1-\u30fa\u4e00-\u9fa5\uac00-\ud7a3"
)
_SEAM = re.compile(rf"(?<=\S)[ \t]|(?<=[{_LETTERS}])[\r\n.,;:!?()。、，；：！？「」（）]")

_SPLIT_CL100K = (
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$|\s*[\r\n]"
    r"|\s+(?!\S)|\s"
)
_SPLIT_O200K = "|".join(
    (
        r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
        r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
        r"\p{N}{1,3}",
        r" ?[^\s\p{L}\p{N}]+[\r\n/]*",
        r"\s*[\r\n]+",
        r"\s+(?!\S)",
        r"\s+",
    )
)


@dataclass(frozen=True, slots=True)
class _Vocabulary:
    """A rank table that ships with this package: how it splits words, and the sha256 of its unpacked bytes."""

    split: str
    sha256: str


_VOCABULARIES = {
    "cl100k_base": _Vocabulary(_SPLIT_CL100K, "223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7"),
    "o200k_base": _Vocabulary(_SPLIT_O200K, "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d"),
}


class Tokenizer:
    """Count the tokens of texts; one per process and vocabulary, safe to use from several threads.

    The work is done outside the interpreter lock. No text is special: ``<|endoftext|>`` is read as the characters it is.

    Attributes:
        name: the vocabulary, as in ``cl100k_base``.
        exact: whether the counts are the model's own; otherwise they are an estimate.
        margin: 1.0 when exact. A limit divided by it is safe for a tokenizer that makes up to that many times the tokens.
    """

    def __init__(self, encoding: tiktoken.Encoding, token_bytes: npt.NDArray[np.int64], exact: bool) -> None:
        self.name: str = encoding.name
        self.exact: bool = exact
        self.margin: float = 1.0 if exact else ESTIMATE_MARGIN
        self._encoding = encoding
        self._token_bytes = token_bytes

    def count(self, text: str) -> int:
        """Count the tokens of a text that stands alone."""
        if len(text) <= WINDOW_CHARS:
            return len(self._encoding.encode_ordinary(text))  # for the short ends of a chunk twice as fast as an array
        return sum(self._ids(text[start:end]).size for start, end, _ in _windows(text))

    def tokenize(self, text: str) -> "TokenizedText":
        """Find where the tokens of a text lie, in one pass over it."""
        ends, forced = [], []
        for start, end, at_seam in _windows(text):
            ends.append(self._token_ends(text[start:end]) + start)
            if not at_seam:
                forced.append(end)
        return TokenizedText(self, text, np.concatenate(ends) if ends else np.zeros(0, np.int64), forced)

    def _ids(self, text: str) -> npt.NDArray[np.uint32]:
        return self._encoding.encode_to_numpy(text, disallowed_special=())

    def _token_ends(self, text: str) -> Offsets:
        """Return for each token how many characters have begun where it ends; a token may end inside of one."""
        byte_ends = np.cumsum(self._token_bytes[self._ids(text)])
        if text.isascii():
            return byte_ends
        utf8 = np.frombuffer(text.encode(), np.uint8)
        ends: Offsets = np.cumsum((utf8 & 0xC0) != 0x80)[byte_ends - 1]
        return ends


class TokenizedText:
    """A text whose tokens are located; answers what any part of it counts, nearly for free."""

    def __init__(self, tokenizer: Tokenizer, text: str, ends: Offsets, forced_cuts: list[int]) -> None:
        self.text = text
        self.tokenizer = tokenizer
        self._ends = ends
        self._forced_cuts = forced_cuts

    def count(self, start: int, end: int, lead: str = "") -> int:
        """Count the tokens of ``lead + text[start:end]`` standing alone: exactly what ``Tokenizer.count`` says of it."""
        text = self.text
        first = _seam_after(text, start + 1, end) if lead else _first_seam(text, start, end)
        last = _last_seam(text, first, end)
        if first >= last or bisect_right(self._forced_cuts, last) > bisect_right(self._forced_cuts, first):
            return self.tokenizer.count(lead + text[start:end])
        between = int(self._ends.searchsorted(last, "right") - self._ends.searchsorted(first, "right"))
        head = self.tokenizer.count(lead + text[start:first]) if first > start else 0
        tail = self.tokenizer.count(text[last:end]) if last < end else 0
        return head + between + tail

    def reach(self, start: int, tokens: int) -> int:
        """Return about how far that many tokens, 1 or more, go from ``start``: a position after it, or the text's end."""
        last = int(self._ends.searchsorted(start, "right")) + tokens - 1
        return max(start + 1, int(self._ends[last])) if last < self._ends.size else len(self.text)

    def reach_back(self, end: int, tokens: int) -> int:
        """Return about how far that many tokens go back from ``end``, 0 or more."""
        last = int(self._ends.searchsorted(end, "right")) - tokens - 1
        return int(self._ends[last]) if last >= 0 else 0


def tokenizer_for_model(model: str) -> Tokenizer:
    """Return the tokenizer to count with for a model, loading its table (0.2 s) on the first call in a process.

    OpenAI's ``text-embedding-3-*`` and ``text-embedding-ada-002``, also behind a vendor's prefix as in ``openai/…``, are
    counted exactly with cl100k_base. (Google's ``text-embedding-004`` and Alibaba's ``text-embedding-v3`` only look alike.)
    Every other model is counted with cl100k_base as an estimate: ``exact`` is False and ``margin`` is ESTIMATE_MARGIN,
    by which whoever holds a limit divides it. Counts are never inflated, so that a bill stays the best guess.

    Source: ``tiktoken/model.py`` of tiktoken 0.14; the margin: see ESTIMATE_MARGIN.
    """
    return load_tokenizer("cl100k_base", exact=_OPENAI_CL100K.fullmatch(model) is not None)


@cache
def load_tokenizer(vocabulary: str, *, exact: bool = True) -> Tokenizer:
    """Load one of the rank tables that ship with the package: ``cl100k_base`` or ``o200k_base``.

    Raises:
        ValueError: no such vocabulary, or its data is not what was shipped.
    """
    if vocabulary not in _VOCABULARIES:
        raise ValueError(f"no vocabulary {vocabulary!r}; there are {', '.join(_VOCABULARIES)}")
    encoding, token_bytes = _load_encoding(vocabulary)
    return Tokenizer(encoding, token_bytes, exact)


@cache
def _load_encoding(vocabulary: str) -> tuple[tiktoken.Encoding, npt.NDArray[np.int64]]:
    packed = files("transforms.core.vocabularies").joinpath(f"{vocabulary}.tiktoken.gz").read_bytes()
    table = unpack_table(vocabulary, packed)
    words = table.split()
    ranks = dict(zip(map(a2b_base64, words[::2]), map(int, words[1::2]), strict=True))
    token_bytes = np.zeros(max(ranks.values()) + 1, np.int64)
    token_bytes[list(ranks.values())] = [len(token) for token in ranks]
    encoding = tiktoken.Encoding(
        vocabulary,
        pat_str=_VOCABULARIES[vocabulary].split,
        mergeable_ranks=ranks,
        special_tokens={"<|endoftext|>": token_bytes.size},  # Never used; with none, tiktoken takes half as long again.
    )
    return encoding, token_bytes


def unpack_table(vocabulary: str, packed: bytes) -> bytes:
    """Unpack a rank table and check that it is the one that was shipped.

    Raises:
        ValueError: the unpacked bytes have another sha256, or are no gzip at all.
    """
    try:
        table = gzip.decompress(packed)
    except (OSError, EOFError) as error:
        raise ValueError(f"the rank table {vocabulary} cannot be unpacked ({error}); reinstall the package") from error
    digest = hashlib.sha256(table).hexdigest()
    if digest != _VOCABULARIES[vocabulary].sha256:
        expected = _VOCABULARIES[vocabulary].sha256
        raise ValueError(
            f"the rank table {vocabulary} is damaged: sha256 {digest}, not {expected}; reinstall the package"
        )
    return table


def _windows(text: str) -> list[tuple[int, int, bool]]:
    """Cut a text into pieces of at most two windows; the flag tells whether the piece ends at a seam or the text's end."""
    pieces = []
    start = 0
    while len(text) - start > WINDOW_CHARS:
        earliest = start + WINDOW_CHARS
        seam = _SEAM.search(text, earliest, earliest + WINDOW_CHARS)
        end = seam.start() if seam else min(earliest, len(text))
        pieces.append((start, end, seam is not None))
        start = end
    if start < len(text):
        pieces.append((start, len(text), True))
    return pieces


def _first_seam(text: str, start: int, end: int) -> int:
    """Return the first seam from ``start`` on, or ``end``; the text's own ends count as seams."""
    if start == 0:
        return start
    return _seam_after(text, start, end)


def _seam_after(text: str, start: int, end: int) -> int:
    """Return the first seam from ``start`` on, or ``end``; what comes before ``start`` may be another text's end."""
    seam = _SEAM.search(text, start, end)
    return seam.start() if seam else end


def _last_seam(text: str, start: int, end: int) -> int:
    """Return the last seam up to ``end``, or ``start``; searched from behind in growing steps."""
    if end == len(text) or _SEAM.match(text, end):
        return end
    step = 24  # An English word and the seam before it; where there is none, the steps grow.
    while end > start:
        window = max(start, end - step)
        seams = [seam.start() for seam in _SEAM.finditer(text, window, end)]
        if seams:
            return seams[-1]
        if window == start:
            break
        step *= 8
    return start
