"""Cut a text into chunks of a limited number of tokens; the secret kept here is where to cut.

The text is walked once from left to right. Each chunk is taken as long as its tokens allow and ends at the best boundary in
the last half of that reach: heading, paragraph, line, sentence, word and, where there is nothing else, grapheme cluster.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from transforms.core.boundaries import (
    Boundaries,
    cluster_end,
    first_cluster_boundary,
    last_cluster_boundary,
    skip_space,
    strip_space,
)
from transforms.core.tokens import TokenizedText, Tokenizer
from transforms.records import Span

# A grapheme cluster with more code points than this for each allowed token is taken to be over the limit.
_MOST_CHARS_PER_TOKEN_IN_CLUSTERS = 8

SPLITTERS = ("auto", "recursive", "markdown", "sentence")


@dataclass(frozen=True, slots=True)
class ChunkSettings:
    """How documents are cut.

    Attributes:
        max_tokens: most tokens of a chunk, counted as it stands alone; 1 or more. 512 fits the smallest usual models and keeps
            a chunk about one subject; higher means fewer rows and coarser answers. Where the model's tokenizer is not known
            the limit in cl100k tokens is this divided by ``Tokenizer.margin``.
        overlap_tokens: most tokens that a chunk repeats from the end of the one before it; 0 or more, less than
            ``max_tokens``. Every repeated token is paid again: 64 of 512 costs about an eighth.
        splitter: ``auto`` takes the boundaries that the document's media type has; ``recursive`` knows no markup;
            ``markdown`` reads every text as Markdown; ``sentence`` puts the end of a sentence above the end of a line.
    """

    max_tokens: int = 512
    overlap_tokens: int = 64
    splitter: str = "auto"

    def __post_init__(self) -> None:
        if self.max_tokens < 1:
            raise ValueError(f"max_tokens must be 1 or more, got {self.max_tokens}")
        if not 0 <= self.overlap_tokens < self.max_tokens:
            raise ValueError(
                f"overlap_tokens must be 0 or more and less than max_tokens ({self.max_tokens}), got {self.overlap_tokens}"
            )
        if self.splitter not in SPLITTERS:
            raise ValueError(f"splitter must be one of {', '.join(SPLITTERS)}, got {self.splitter!r}")


def chunk_text(text: str, media_type: str, settings: ChunkSettings, tokenizer: Tokenizer) -> tuple[Span, ...]:
    """Cut a text into spans, in order.

    Every character that is no white space lies in a span; no span is empty, begins or ends with white space (as
    ``str.isspace`` sees it), or lies inside the one before it. Equal arguments give equal spans, in time proportional to the
    text.

    ``token_count`` is ``tokenizer.count(text[start:end])``, at most ``max_tokens / tokenizer.margin``, unless the span is one
    single code point. What two neighbours share counts at most ``overlap_tokens / tokenizer.margin``. Grapheme clusters
    (Unicode UAX #29) stay whole, except one that alone is over the limit, and one that is white space with marks upon it.
    """
    return tuple(_Walk(tokenizer.tokenize(text), media_type, settings).spans())


class _Walk:
    """One pass over one text."""

    def __init__(self, tokens: TokenizedText, media_type: str, settings: ChunkSettings) -> None:
        self._tokens = tokens
        self._text = text = tokens.text
        self._end = strip_space(text, 0, len(text))
        self._limit = max(1, int(settings.max_tokens / tokens.tokenizer.margin))
        self._overlap = min(int(settings.overlap_tokens / tokens.tokenizer.margin), self._limit - 1)
        markup = {"auto": media_type, "markdown": "text/markdown"}.get(settings.splitter, "text/plain")
        self._boundaries = Boundaries(text, markup, sentences_first=settings.splitter == "sentence")

    def spans(self) -> Iterator[Span]:
        """Yield the chunks from left to right; ``fresh`` is the first character that no chunk covers yet."""
        start = fresh = skip_space(self._text, 0)
        while fresh < self._end:
            span = self._longest_chunk(start, fresh)
            if span.end <= fresh and start < fresh:
                start = fresh  # With the overlap before it, not even one new character fits.
                continue
            yield span
            fresh = skip_space(self._text, span.end)
            start = self._overlap_start(span, fresh)

    def _longest_chunk(self, start: int, fresh: int) -> Span:
        """Take the chunk at ``start``, shrinking it until it fits; each try at least doubles what is taken off."""
        budget, shrink, ceiling = self._limit, 1, self._end
        while True:
            high = min(ceiling, self._tokens.reach(start, budget))
            end = strip_space(self._text, start, self._cut(start, fresh, high, budget))
            count = self._tokens.count(start, end)
            if count <= self._limit or end - start == 1:
                return Span(start, end, count)
            shrink = max(2 * shrink, count - self._limit)
            budget -= shrink
            ceiling = end - 1 if budget > 0 else start + (end - start) // 2
            budget = max(1, budget)

    def _cut(self, start: int, fresh: int, high: int, budget: int) -> int:
        """Return the best end at or before ``high``; after it when that keeps a cluster whole that fits the limit."""
        if high >= self._end:
            return self._end
        low = max(fresh, self._tokens.reach(start, max(1, budget // 2)))
        if low < high and (end := self._boundaries.last(low, high)) is not None:
            heading = self._boundaries.before_heading(end)
            if heading < end and heading > max(fresh, self._tokens.reach(start, max(1, budget // 4))):
                return heading
            return end
        if (end := last_cluster_boundary(self._text, start, high)) is not None:
            return end
        end = cluster_end(self._text, start, _MOST_CHARS_PER_TOKEN_IN_CLUSTERS * self._limit)
        return end if end is not None and self._tokens.count(start, end) <= self._limit else high

    def _overlap_start(self, span: Span, fresh: int) -> int:
        """Return where the next chunk begins: as far back as the overlap and a good boundary allow, else at ``fresh``."""
        budget, shrink = self._overlap, 1
        low = span.start + 1
        while budget > 0:
            low = max(low, self._tokens.reach_back(span.end, budget))
            start = self._overlap_boundary(span, low, self._tokens.reach_back(span.end, budget // 2))
            if start is None:
                return fresh
            excess = self._tokens.count(start, span.end) - self._overlap
            if excess <= 0:
                return start
            shrink = max(2 * shrink, excess)
            budget -= shrink
            low = start + 1
        return fresh

    def _overlap_boundary(self, span: Span, low: int, middle: int) -> int | None:
        start = self._boundaries.first_start(low, middle, span.end)
        if start is not None:
            return start
        start = first_cluster_boundary(self._text, span.start, low, span.end)
        return None if start is None or self._text[start].isspace() else start
