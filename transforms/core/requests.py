"""Texts to requests under limits of count, tokens and bytes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

K = TypeVar("K")

_BALANCE_STEPS = 12


@dataclass(frozen=True, slots=True)
class RequestLimits:
    """What one request may hold at most; all three hold at once.

    Attributes:
        max_inputs: texts in one request, 1 or more.
        max_tokens: tokens over all texts of one request; a single text over it still goes out, alone.
        max_bytes: UTF-8 bytes of the texts; proxies in front of an endpoint cut bodies of about 2 MB.
    """

    max_inputs: int = 128
    max_tokens: int = 300_000
    max_bytes: int = 1_500_000

    def __post_init__(self) -> None:
        for name in ("max_inputs", "max_tokens", "max_bytes"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be 1 or more, got {getattr(self, name)}")


@dataclass(frozen=True, slots=True)
class PackedRequest(Generic[K]):
    """The texts of one request, each with the caller's key, in the order they were added.

    Attributes:
        keys: what the caller gave with each text.
        texts: never empty, and never an empty string.
        token_counts: local count of each text.
    """

    keys: tuple[K, ...]
    texts: tuple[str, ...]
    token_counts: tuple[int, ...]

    @property
    def tokens(self) -> int:
        """Tokens over all texts."""
        return sum(self.token_counts)


@dataclass(frozen=True, slots=True)
class _Item(Generic[K]):
    key: K
    text: str
    tokens: int
    bytes: int


class _Group(Generic[K]):
    """Texts that fit into one request together."""

    def __init__(self) -> None:
        self.items: list[_Item[K]] = []
        self.tokens = 0
        self.bytes = 0

    def takes(self, item: _Item[K], limits: RequestLimits) -> bool:
        """Say whether one more text keeps the request within its limits; an empty group takes any text."""
        return not self.items or (
            len(self.items) < limits.max_inputs
            and self.tokens + item.tokens <= limits.max_tokens
            and self.bytes + item.bytes <= limits.max_bytes
        )

    def add(self, item: _Item[K]) -> None:
        self.items.append(item)
        self.tokens += item.tokens
        self.bytes += item.bytes


class RequestPacker(Generic[K]):
    """Pack texts that arrive one at a time into requests, across whatever boundaries the caller has.

    Requests that leave while texts still arrive are full: the next text would not have fitted. About one request is held
    back, so that ``flush`` can spread what is left over equal-sized requests instead of sending a small last one. Order is
    kept. The limits are an argument of every call because an endpoint teaches us smaller ones during a run.
    """

    def __init__(self) -> None:
        self._full: _Group[K] | None = None
        self._open: _Group[K] = _Group()

    def __len__(self) -> int:
        """Count the texts that are held back."""
        return len(self._open.items) + (len(self._full.items) if self._full else 0)

    def add(self, key: K, text: str, token_count: int, limits: RequestLimits) -> list[PackedRequest[K]]:
        """Take one text; return the requests that are full because of it, usually none.

        Raises:
            ValueError: the text is empty, or its count is negative. One empty string makes endpoints refuse a whole request.
        """
        if not text:
            raise ValueError("an empty text cannot be embedded and must be filtered out before it is packed")
        if token_count < 0:
            raise ValueError(f"token_count must be 0 or more, got {token_count}")
        item = _Item(key, text, token_count, utf8_length(text))
        if self._open.takes(item, limits):
            self._open.add(item)
            return []
        leaving = self._full
        self._full, self._open = self._open, _Group()
        self._open.add(item)
        return _spread(leaving.items, limits) if leaving else []

    def flush(self, limits: RequestLimits) -> list[PackedRequest[K]]:
        """Return everything that is held back as the least number of requests, about equal in size."""
        items = [*(self._full.items if self._full else []), *self._open.items]
        self._full, self._open = None, _Group()
        return _spread(items, limits)


def utf8_length(text: str) -> int:
    """Count the bytes of a text in UTF-8; a lone surrogate counts as three."""
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


def split_evenly(
    texts: Sequence[str], token_counts: Sequence[int], positions: Sequence[int], limits: RequestLimits
) -> list[PackedRequest[int]]:
    """Cut texts into the least number of requests within the limits, about equal in size, keyed by position."""
    items = [
        _Item(position, text, tokens, utf8_length(text))
        for position, text, tokens in zip(positions, texts, token_counts, strict=True)
    ]
    return _spread(items, limits)


def _spread(items: list[_Item[K]], limits: RequestLimits) -> list[PackedRequest[K]]:
    groups = _pack(items, limits)
    if len(groups) > 1:
        groups = _pack(items, _tightest(items, limits, len(groups)))
    return [_packed(group) for group in groups]


def _pack(items: list[_Item[K]], limits: RequestLimits) -> list[_Group[K]]:
    groups: list[_Group[K]] = []
    for item in items:
        if not groups or not groups[-1].takes(item, limits):
            groups.append(_Group())
        groups[-1].add(item)
    return groups


def _tightest(items: list[_Item[K]], limits: RequestLimits, count: int) -> RequestLimits:
    """Find the smallest share of the limits that still needs no more than ``count`` requests, by bisection."""
    low, high, best = 0.0, 1.0, limits
    for _ in range(_BALANCE_STEPS):
        middle = (low + high) / 2
        candidate = _scaled(limits, middle)
        if len(_pack(items, candidate)) <= count:
            high, best = middle, candidate
        else:
            low = middle
    return best


def _scaled(limits: RequestLimits, share: float) -> RequestLimits:
    return RequestLimits(
        max(1, round(limits.max_inputs * share)),
        max(1, round(limits.max_tokens * share)),
        max(1, round(limits.max_bytes * share)),
    )


def _packed(group: _Group[K]) -> PackedRequest[K]:
    return PackedRequest(
        tuple(item.key for item in group.items),
        tuple(item.text for item in group.items),
        tuple(item.tokens for item in group.items),
    )
