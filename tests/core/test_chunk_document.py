import json

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.core.test_chunking_laws import MEDIA_TYPES, TEXTS, check_laws
from transforms.core.chunk_document import chunk_document
from transforms.core.chunking import SPLITTERS, ChunkSettings, chunk_text
from transforms.core.lead import LeadSettings
from transforms.core.metadata import metadata_json
from transforms.core.tokens import load_tokenizer
from transforms.records import ChunkedDocument, Document

TOKENIZER = load_tokenizer("cl100k_base")
HANDBOOK = "# Bread and yeast\n\nDough rises.\n\n## Why bread goes stale\n\nIt dries.\n\n#\n\n# Soup\n\nWater."


def chunked(
    text: str,
    media_type: str = "text/markdown",
    metadata: dict[str, object] | None = None,
    lead: LeadSettings = LeadSettings(),
    max_tokens: int = 10,
    splitter: str = "auto",
) -> ChunkedDocument:
    document = Document("a", "/a", text, media_type, metadata_json(metadata or {}))
    return chunk_document(document, ChunkSettings(max_tokens, 0, splitter), lead, TOKENIZER)


def metadata_of(document: ChunkedDocument) -> list[dict[str, object]]:
    return [json.loads(metadata) for metadata in document.metadata]


def test_each_chunk_knows_the_headings_above_its_first_character() -> None:
    document = chunked(HANDBOOK, metadata={"title": "Bread and yeast"})
    assert [document.text[span.start : span.end] for span in document.spans] == [
        "# Bread and yeast\n\nDough rises.",
        "## Why bread goes stale\n\nIt dries.",
        "#\n\n# Soup\n\nWater.",
    ]
    assert [known.get("headings") for known in metadata_of(document)] == [
        ["Bread and yeast"],
        ["Bread and yeast", "Why bread goes stale"],
        None,
    ]
    assert {known["title"] for known in metadata_of(document)} == {"Bread and yeast"}


def test_headings_are_told_whatever_the_splitter_reads_and_cut_when_they_are_long() -> None:
    document = chunked("# " + "x" * 400 + "\n\nwords", splitter="recursive", max_tokens=100)
    assert metadata_of(document)[-1]["headings"] == ["x" * 300]


def test_each_chunk_knows_the_page_of_its_first_character() -> None:
    text = "one two three four five six seven eight nine ten eleven\n\f\n\n\f\nthirteen"
    document = chunked(text, "application/pdf", {"pages": 3})
    assert metadata_of(document) == [{"page": 1, "pages": 3}, {"page": 1, "pages": 3}]
    document = chunked(text, "application/pdf", {"pages": 3}, splitter="page")
    assert [known["page"] for known in metadata_of(document)] == [1, 1, 3]
    assert [known.get("page") for known in metadata_of(chunked("one\fand two", "text/plain"))] == [1]
    assert metadata_of(chunked("one", "text/plain")) == [{}]
    assert metadata_of(chunked("one\f", "text/x-c")) == [{}]


def test_what_a_record_brings_along_stays_as_it_is() -> None:
    document = chunked("a\fb", "text/plain", {"headings": ["mine"], "page": "seven", "title": 7})
    assert metadata_of(document) == [{"headings": ["mine"], "page": "seven", "title": 7}]
    lead = LeadSettings("", "title_and_headings")
    assert chunked("a\fb", "text/plain", {"headings": ["mine"]}, lead, 100).leads == ("mine\n\n",)


def test_the_context_of_a_chunk_is_that_of_its_first_character() -> None:
    document = chunked(
        HANDBOOK, metadata={"title": "Bread and yeast"}, lead=LeadSettings("p: ", "title_and_headings"), max_tokens=60
    )
    assert document.leads == ("p: Bread and yeast\n\n",)
    document = chunked(
        HANDBOOK, metadata={"title": "Bread"}, lead=LeadSettings("", "title_and_headings"), max_tokens=24
    )
    assert document.leads == ("Bread > Bread\n\n", "Bread\n\n")
    assert all(span.token_count <= 24 for span in document.spans)


@given(
    TEXTS,
    MEDIA_TYPES,
    st.integers(12, 60),
    st.sampled_from([splitter for splitter in SPLITTERS if splitter != "none"]),
    st.sampled_from(["", "Title", "t " * 40]),
)
@settings(max_examples=200, deadline=None)
def test_the_limit_holds_for_what_is_sent_whatever_the_context(
    text: str, media_type: str, max_tokens: int, splitter: str, title: str
) -> None:
    lead = LeadSettings("passage: ", "title_and_headings")
    document = chunked(text, media_type, {"title": title}, lead, max_tokens, splitter)
    for span, before in zip(document.spans, document.leads, strict=True):
        assert span.token_count == TOKENIZER.count(before + text[span.start : span.end])
        assert span.token_count <= max_tokens or span.end - span.start == 1
        assert before.startswith("passage: ")
    bare = chunked(text, media_type, {"title": title}, LeadSettings(), max_tokens, splitter)
    assert bare.spans == chunk_text(text, media_type, ChunkSettings(max_tokens, 0, splitter), TOKENIZER)
    check_laws(text, ChunkSettings(max_tokens, 0, splitter), bare.spans)
