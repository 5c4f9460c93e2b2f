"""One document to its chunks, each with what is known of its place; the secret kept here is which keys metadata gains."""

import json
from collections.abc import Callable

from transforms.core.chunking import ChunkSettings, chunk_text, token_limit
from transforms.core.headings import Heading, HeadingPaths, Outline, find_headings
from transforms.core.identity import chunk_ids, ids_with_context
from transforms.core.lead import Leads, LeadSettings
from transforms.core.metadata import headings_in, metadata_json, title_in
from transforms.core.pages import PageNumbers
from transforms.core.tokens import Tokenizer
from transforms.records import ChunkedDocument, Document

MOST_HEADING_CHARS = 300
"""Of one heading in the metadata of a chunk, as of a title."""


def chunk_document(
    document: Document, settings: ChunkSettings, lead_settings: LeadSettings, tokenizer: Tokenizer
) -> ChunkedDocument:
    """Cut a document by ``chunk_text`` and say of each chunk where it stands and what is sent before it.

    The metadata of a chunk is the document's, with ``headings``, those that its first character stands under, the highest
    first, and ``page``, on which that character lies; each where the document has them. A key that the document brings
    along, as records bring their columns, stays as it is.

    Raises:
        Rejected: as ``chunk_text``.
    """
    outline = _outline(document)
    places = _Places(document, HeadingPaths(outline.headings), PageNumbers(document.text, document.media_type))
    leads = Leads(lead_settings, tokenizer, token_limit(settings.max_tokens, tokenizer.margin))
    lead_at: Callable[[int], str] = lambda start: leads.before(places.title, places.headings_at(start))  # noqa: E731
    if lead_settings.context == "none":
        lead_at = lambda start: lead_settings.input_prefix  # noqa: E731
    spans = chunk_text(document.text, document.media_type, settings, tokenizer, outline, lead_at)
    before = tuple(lead_at(span.start) for span in spans)
    ids = chunk_ids(document.doc_id, (document.text[span.start : span.end] for span in spans))
    return ChunkedDocument(
        document.doc_id,
        document.source_uri,
        document.text,
        spans,
        tuple(ids_with_context(ids, (lead_settings.context_in(lead) for lead in before))),
        tuple(places.metadata_at(span.start) for span in spans),
        before,
        document.file_id,
        document.digest,
    )


def _outline(document: Document) -> Outline:
    if not document.headings:
        return find_headings(document.text, document.media_type)
    words = (" ".join(document.text[start:end].split()) for start, end, _ in document.headings)
    return Outline(tuple(Heading(*place, title) for place, title in zip(document.headings, words, strict=True)))


class _Places:
    """What is known of each place of a document."""

    def __init__(self, document: Document, paths: HeadingPaths, pages: PageNumbers) -> None:
        self._document, self._paths, self._pages = document, paths, pages
        self._known: dict[str, object] = json.loads(document.metadata)
        self._made: tuple[object, str] = (None, document.metadata)
        self.title = title_in(self._known)

    def headings_at(self, position: int) -> list[str]:
        if "headings" in self._known:
            return headings_in(self._known)
        return [title[:MOST_HEADING_CHARS] for title in self._paths.titles(self._paths.nearest(position))]

    def metadata_at(self, position: int) -> str:
        place = self._paths.nearest(position), self._pages.page_of(position)
        if place != self._made[0]:
            found = {"headings": self.headings_at(position) or None, "page": place[1]}
            new = {key: value for key, value in found.items() if value is not None and key not in self._known}
            self._made = (place, metadata_json({**self._known, **new}) if new else self._document.metadata)
        return self._made[1]
