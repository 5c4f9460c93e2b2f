"""What is sent before a chunk; the secret kept here is how a prefix and a context are put together."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from transforms.core.boundaries import last_cluster_boundary
from transforms.core.metadata import headings_in, title_in
from transforms.core.tokens import Tokenizer

CONTEXTS = ("none", "title_and_headings")
CONTEXT_SHARE = 4
"""A context takes at most this part (one quarter) of a chunk's limit; a longer one is cut at its end."""

_BETWEEN = " > "
_END = "\n\n"


@dataclass(frozen=True, slots=True)
class LeadSettings:
    """What is sent before every chunk; it is hashed and counted with the chunk and is not stored in it.

    Attributes:
        input_prefix: the same characters for every chunk, as some models want them (``passage: ``).
        context: ``title_and_headings`` puts the title of the document and the headings above the chunk on a line of their
            own before it, so that a chunk which does not name its subject is found; each costs its tokens again for every
            chunk. ``none`` sends the chunk alone.
    """

    input_prefix: str = ""
    context: str = "none"

    def __post_init__(self) -> None:
        if self.context not in CONTEXTS:
            raise ValueError(f"context must be one of {', '.join(CONTEXTS)}, got {self.context!r}")

    def context_in(self, lead: str) -> str:
        """Return the context of what is sent before a chunk, "" for none."""
        return lead[len(self.input_prefix) :]


class Leads:
    """Makes what is sent before the chunks of one document.

    Args:
        limit: most tokens of a chunk as it is sent.
    """

    def __init__(self, settings: LeadSettings, tokenizer: Tokenizer, limit: int) -> None:
        self._settings, self._tokenizer, self._limit = settings, tokenizer, limit
        self._made: tuple[object, str] = (None, settings.input_prefix)

    def before(self, title: str, headings: Sequence[str]) -> str:
        """Return prefix and context; a first heading that says the title again is said once."""
        if self._settings.context == "none":
            return self._settings.input_prefix
        wanted = (title, tuple(headings))
        if wanted != self._made[0]:
            self._made = (wanted, self._settings.input_prefix + self._context(title, headings, 1))
        return self._made[1]

    def of_row(self, metadata: str, chunk: str) -> str:
        """Return prefix and context for a chunk that was cut before; the context takes what room the chunk has left."""
        prefix = self._settings.input_prefix
        if self._settings.context == "none":
            return prefix
        known = json.loads(metadata)
        lead = prefix + self._context(title_in(known), headings_in(known), self._tokenizer.count(chunk))
        return lead if self._tokenizer.count(lead + chunk) <= self._limit else prefix

    def _context(self, title: str, headings: Sequence[str], chunk_tokens: int) -> str:
        path = [part for part in (title, *headings) if part]
        if title and headings and path[0] == path[1]:
            del path[0]
        context = _BETWEEN.join(" ".join(part.split()) for part in path)
        room = self._limit - self._tokenizer.count(self._settings.input_prefix) - chunk_tokens
        return self._cut(context, min(self._limit // CONTEXT_SHARE, room))

    def _cut(self, context: str, most: int) -> str:
        """Cut a context to a number of tokens, its end among them, at the end of a grapheme cluster."""
        tokens = self._tokenizer.tokenize(context)
        budget, shrink = most, 1
        while context and budget > 0:
            end = last_cluster_boundary(context, 0, min(len(context), tokens.reach(0, budget))) or 0
            cut = context[:end].rstrip(_BETWEEN)
            if not cut:
                return ""
            excess = self._tokenizer.count(cut + _END) - most
            if excess <= 0:
                return cut + _END
            shrink = max(2 * shrink, excess)
            budget -= shrink
        return ""
