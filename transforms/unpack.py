"""One raw document to the documents that it holds; each ends as text or as a reject."""

import dataclasses
import io
from collections.abc import Callable, Iterator
from typing import BinaryIO

from transforms.core.extraction import Extracted
from transforms.core.metadata import metadata_json
from transforms.core.record_fields import BadRecord, RecordSettings
from transforms.errors import UnreadableDocument
from transforms.records import Document, RawDocument, Reject
from transforms.storage.documents import open_document, read_document, state_of
from transforms.storage.record_files import holds_records, read_records

Extract = Callable[[bytes, str], Extracted]


def unpack_documents(
    raw: RawDocument, settings: RecordSettings, extract: Extract, billing_project: str = ""
) -> Iterator[Document | Reject]:
    """Yield the text of a document; of a file of records that of each record, as ``doc_id#record``, in order.

    A file of records without any is a document without text. One that is broken in the middle ends with a reject of its own;
    the records before it stay.

    A file of records that changed since its digest was taken may give records of both states; then its last document has no
    digest, so that the next run reads the file again.
    """
    last: Document | Reject | None = None
    for outcome in _outcomes(raw, settings, extract, billing_project):
        if last is not None:
            yield last
        last = outcome
    if isinstance(last, Document) and _has_changed(raw, billing_project):
        last = dataclasses.replace(last, digest=b"")
    if last is not None:
        yield last


def _has_changed(raw: RawDocument, billing_project: str) -> bool:
    try:
        return raw.state != "" and state_of(raw.source_uri, billing_project) != raw.state
    except OSError:
        return True


def _outcomes(
    raw: RawDocument, settings: RecordSettings, extract: Extract, billing_project: str
) -> Iterator[Document | Reject]:
    try:
        with open_document(raw.source_uri, billing_project) if raw.content is None else io.BytesIO(raw.content) as file:
            if holds_records(file, raw.source_uri):
                yield from _records(raw, file, settings)
                return
        content = read_document(raw.source_uri, billing_project) if raw.content is None else raw.content
        extracted = extract(content, raw.source_uri)
        metadata = metadata_json(_dated(raw, extracted.metadata))
        yield Document(
            raw.doc_id,
            raw.source_uri,
            extracted.text,
            extracted.media_type,
            metadata,
            raw.doc_id,
            raw.digest,
            extracted.headings,
        )
    except UnreadableDocument as error:
        reason, _, message = str(error).partition(": ")
        yield Reject(raw.doc_id, raw.source_uri, None, None, "extract", reason, message)


def _records(raw: RawDocument, file: BinaryIO, settings: RecordSettings) -> Iterator[Document | Reject]:
    is_empty = True
    for record in read_records(file, raw.source_uri, settings):
        is_empty = False
        doc_id, source_uri = f"{raw.doc_id}#{record.record_id}", f"{raw.source_uri}#{record.record_id}"
        if isinstance(record, BadRecord):
            yield Reject(doc_id, source_uri, None, None, "extract", record.reason, record.message)
        else:
            metadata = metadata_json(_dated(raw, {"media_type": "text/plain", **record.metadata}))
            yield Document(doc_id, source_uri, record.text, "text/plain", metadata, raw.doc_id, raw.digest)
    if is_empty:
        yield Document(raw.doc_id, raw.source_uri, "", "text/plain", file_id=raw.doc_id, digest=raw.digest)


def _dated(raw: RawDocument, metadata: dict[str, object]) -> dict[str, object]:
    return {"modified": raw.modified, **metadata} if raw.modified else metadata
