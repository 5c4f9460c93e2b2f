"""Records with defaults, so that a test shows only what matters to it."""

import pyarrow as pa

from transforms.core.identity import chunk_ids, text_hash
from transforms.core.tables import CHUNKS
from transforms.records import ChunkedDocument, Document, RawDocument, Span


def make_raw(content: bytes | str = "Some text.", doc_id: str = "a.md") -> RawDocument:
    return RawDocument(doc_id, f"docs/{doc_id}", content.encode() if isinstance(content, str) else content)


def make_document(text: str = "Some text.", doc_id: str = "a.md", media_type: str = "text/plain") -> Document:
    return Document(doc_id, f"docs/{doc_id}", text, media_type)


def make_chunked(chunks: list[str], doc_id: str = "a.md", metadata: str = "{}", lead: str = "") -> ChunkedDocument:
    """A document whose text is its chunks, one after another with a blank between, each of one token a word."""
    spans, at = [], 0
    for chunk in chunks:
        spans.append(Span(at, at + len(chunk), len(chunk.split())))
        at += len(chunk) + 1
    ids, count = tuple(chunk_ids(doc_id, chunks)), len(chunks)
    return ChunkedDocument(
        doc_id, f"docs/{doc_id}", " ".join(chunks), tuple(spans), ids, (metadata,) * count, (lead,) * count
    )


def make_rows(chunks: list[str], doc_id: str = "a.md", metadata: str = "{}", lead: str = "") -> pa.Table:
    """Chunks as the shuffle carries them."""
    document = make_chunked(chunks, doc_id, metadata)
    columns = {
        "text_hash": [text_hash(lead + chunk) for chunk in chunks],
        "lead": [lead] * len(chunks),
        "id": chunk_ids(doc_id, chunks),
        "doc_id": [doc_id] * len(chunks),
        "token_count": [span.token_count for span in document.spans],
        "chunk": chunks,
        "source_uri": [document.source_uri] * len(chunks),
        "chunk_index": list(range(len(chunks))),
        "start_char": [span.start for span in document.spans],
        "end_char": [span.end for span in document.spans],
        "metadata": [metadata] * len(chunks),
    }
    return pa.table(columns, schema=CHUNKS)
