"""Cut a text into chunks of a limited number of tokens; the secret kept here is where to cut.

The text is walked once from left to right. Each chunk is taken as long as its tokens allow and ends at the best boundary in
the last half of that reach: heading, paragraph, line, sentence, word and, where there is nothing else, grapheme cluster.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from transforms.core.blocks import Blocks
from transforms.core.boundaries import (
    Boundaries,
    cluster_end,
    first_cluster_boundary,
    last_cluster_boundary,
    skip_space,
    strip_space,
)
from transforms.core.code_blocks import find_code_blocks
from transforms.core.headings import Outline, find_headings, find_tables
from transforms.core.pages import page_spans
from transforms.core.source_code import is_source_code
from transforms.core.tokens import TokenizedText, Tokenizer
from transforms.errors import Rejected
from transforms.records import Span

# A grapheme cluster with more code points than this for each allowed token is taken to be over the limit.
_MOST_CHARS_PER_TOKEN_IN_CLUSTERS = 8

_NEARLY = 8
"""By how many tokens a reach may be short of a count: a text that stands alone has other tokens at its ends."""

SPLITTERS = ("auto", "recursive", "markdown", "code", "sentence", "page", "none")


@dataclass(frozen=True, slots=True)
class ChunkSettings:
    """How documents are cut.

    Attributes:
        max_tokens: most tokens of a chunk, counted as it stands alone; 1 or more. 512 fits the smallest usual models and keeps
            a chunk about one subject; higher means fewer rows and coarser answers. Where the model's tokenizer is not known
            the limit in cl100k tokens is this divided by ``Tokenizer.margin``. What is sent before the chunk counts.
        overlap_tokens: most tokens that a chunk repeats from the end of the one before it; 0 or more, less than
            ``max_tokens``. Every repeated token is paid again: 64 of 512 costs about an eighth.
        splitter: where to cut. ``auto`` takes the boundaries that the document's media type has; ``recursive`` knows no
            markup; ``markdown`` reads every text as Markdown and keeps tables and fenced code whole where they fit;
            ``code`` keeps functions and classes whole where they fit, then the blocks inside them, then lines; ``sentence``
            puts the end of a sentence above the end of a line; ``page`` makes each page, slide or sheet a chunk, without
            overlap, and cuts those over the limit as ``auto`` does; ``none`` makes each document one chunk, and rejects
            those over the limit.
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


def token_limit(max_tokens: int, margin: float) -> int:
    """Return the most tokens of a chunk in what a tokenizer counts: fewer where it only estimates the model's own."""
    return max(1, int(max_tokens / margin))


def chunk_text(
    text: str,
    media_type: str,
    settings: ChunkSettings,
    tokenizer: Tokenizer,
    outline: Outline | None = None,
    lead_at: Callable[[int], str] = lambda start: "",
) -> tuple[Span, ...]:
    """Cut a text into spans, in order.

    Every character that is no white space lies in a span; no span is empty, begins or ends with white space (as
    ``str.isspace`` sees it), or lies inside the one before it. Equal arguments give equal spans, in time proportional to the
    text.

    ``token_count`` is ``tokenizer.count(lead_at(start) + text[start:end])``, at most ``max_tokens / tokenizer.margin``,
    unless the span is one single code point. What two neighbours share counts at most
    ``overlap_tokens / tokenizer.margin``. Grapheme clusters (Unicode UAX #29) stay whole, except one that alone is over the
    limit, and one that is white space with marks upon it.

    Args:
        outline: the headings by the media type, where the caller knows them already.
        lead_at: what is sent before a chunk that begins at a place; the same for the same place.

    Raises:
        Rejected: ``too_long``: the splitter is ``none`` and the text is over the limit.
    """
    tokens = tokenizer.tokenize(text)
    walk = _Walk(tokens, _boundaries(text, media_type, settings.splitter, outline), settings, lead_at)
    if settings.splitter == "none":
        return _one_span(tokens, settings, lead_at)
    if settings.splitter == "page":
        return tuple(span for begin, end in page_spans(text) for span in walk.whole(begin, end))
    return tuple(walk.spans(0, len(text)))


def _boundaries(text: str, media_type: str, splitter: str, outline: Outline | None) -> Boundaries:
    """Read the markup that the splitter goes by: that of the media type, Markdown's, or none."""
    if splitter == "code" or (splitter in ("auto", "page") and is_source_code(media_type)):
        return Boundaries(text, Outline(), find_code_blocks(text, media_type), "code")
    if splitter == "sentence":
        return Boundaries(text, Outline(), Blocks(), "sentences")
    if splitter in ("recursive", "none"):
        return Boundaries(text, Outline(), Blocks())
    markup = "text/markdown" if splitter == "markdown" else media_type
    if outline is None or markup != media_type:
        outline = find_headings(text, markup)
    blocks = Blocks()
    if markup == "text/markdown":
        blocks = Blocks(_stripped(text, sorted((*outline.code_blocks(), *find_tables(text, outline)))))
    return Boundaries(text, outline, blocks)


def _stripped(text: str, blocks: Iterable[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    for start, end in blocks:
        yield skip_space(text, start), strip_space(text, start, end)


def _one_span(tokens: TokenizedText, settings: ChunkSettings, lead_at: Callable[[int], str]) -> tuple[Span, ...]:
    start, end = skip_space(tokens.text, 0), strip_space(tokens.text, 0, len(tokens.text))
    if start >= end:
        return ()
    count, limit = tokens.count(start, end, lead_at(start)), token_limit(settings.max_tokens, tokens.tokenizer.margin)
    if count > limit:
        lowered = "" if limit == settings.max_tokens else ", lowered because the model's own tokenizer is not known"
        raise Rejected(
            f"too_long: the document has {count:,} tokens and may have {limit:,} (chunking.max_tokens{lowered}); raise "
            "max_tokens, or let another splitter than none cut it"
        )
    return (Span(start, end, count),)


class _Walk:
    """One pass over one text."""

    def __init__(
        self, tokens: TokenizedText, boundaries: Boundaries, settings: ChunkSettings, lead_at: Callable[[int], str]
    ) -> None:
        self._tokens = tokens
        self._text = tokens.text
        self._boundaries = boundaries
        self._limit = token_limit(settings.max_tokens, tokens.tokenizer.margin)
        self._overlap = min(int(settings.overlap_tokens / tokens.tokenizer.margin), self._limit - 1)
        self._lead_at = lead_at
        self._lead, self._lead_tokens = "", 0
        self._end = 0

    def whole(self, begin: int, end: int) -> Iterator[Span]:
        """Yield a part of the text as one chunk when it fits, else its chunks."""
        start, end = skip_space(self._text, begin), strip_space(self._text, begin, end)
        if start < end and self._fits(start, end):
            yield Span(start, end, self._tokens.count(start, end, self._lead_at(start)))
        else:
            yield from self.spans(begin, end)

    def spans(self, begin: int, end: int) -> Iterator[Span]:
        """Yield the chunks of a part of the text from left to right.

        ``fresh`` is the first character that no chunk covers yet.
        """
        self._end = strip_space(self._text, begin, end)
        start = fresh = skip_space(self._text, begin)
        while fresh < self._end:
            span = self._longest_chunk(start, fresh)
            if span.end <= fresh and start < fresh:
                start = fresh  # With the overlap before it, not even one new character fits, or a block is parted.
                continue
            yield span
            fresh = skip_space(self._text, span.end)
            start = self._overlap_start(span, fresh)

    def _fits(self, start: int, end: int) -> bool:
        """Tell whether a part may be a chunk; a part that is far too long is not counted."""
        if self._tokens.reach(start, self._limit + _NEARLY) < end:
            return False
        return self._tokens.count(start, end, self._lead_at(start)) <= self._limit

    def _keeps(self, start: int, end: int) -> bool:
        """Tell whether a block is to be kept whole."""
        return end <= self._end and self._fits(start, end)

    def _room(self, start: int) -> int:
        """Return about how many tokens a chunk may have that begins at ``start``, beside what is sent before it."""
        lead = self._lead_at(start)
        if lead != self._lead:
            self._lead, self._lead_tokens = lead, self._tokens.tokenizer.count(lead.rstrip(" "))
        return max(1, self._limit - self._lead_tokens)

    def _longest_chunk(self, start: int, fresh: int) -> Span:
        """Take the chunk at ``start``, shrinking it until it fits; each try at least doubles what is taken off."""
        budget, shrink, ceiling = self._room(start), 1, self._end
        while True:
            high = min(ceiling, self._tokens.reach(start, budget))
            end = strip_space(self._text, start, self._cut(start, fresh, high, budget))
            count = self._tokens.count(start, end, self._lead)
            if count <= self._limit or end - start == 1:
                return Span(start, end, count)
            shrink = max(2 * shrink, count - self._limit)
            budget -= shrink
            ceiling = end - 1 if budget > 0 else start + (end - start) // 2
            budget = max(1, budget)

    def _cut(self, start: int, fresh: int, high: int, budget: int) -> int:
        """Return the best end at or before ``high``; after it when that keeps a block or a cluster whole that fits."""
        if high >= self._end:
            return self._end
        if (block := self._boundaries.whole(fresh, high, self._keeps)) is not None:
            return block[1] if block[0] == start else self._boundaries.before_heading(block[0], fresh)
        low = max(fresh, self._tokens.reach(start, max(1, budget // 2)))
        if low < high and (end := self._boundaries.last(low, high)) is not None:
            return self._boundaries.before_heading(end, max(fresh, self._tokens.reach(start, max(1, budget // 4))))
        if (end := last_cluster_boundary(self._text, start, high)) is not None:
            return end
        end = cluster_end(self._text, start, _MOST_CHARS_PER_TOKEN_IN_CLUSTERS * self._limit)
        return end if end is not None and self._tokens.count(start, end, self._lead) <= self._limit else high

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
