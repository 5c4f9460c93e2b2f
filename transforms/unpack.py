"""One raw document to the documents that it holds; each ends as text or as a reject."""

import io
import json
from collections.abc import Callable, Iterator, Mapping
from typing import BinaryIO

from transforms.core.extraction import Extracted
from transforms.core.record_fields import BadRecord, RecordSettings
from transforms.errors import UnreadableDocument
from transforms.records import Document, RawDocument, Reject
from transforms.storage.documents import open_document, read_document
from transforms.storage.record_files import holds_records, read_records

Extract = Callable[[bytes, str], Extracted]


def unpack_documents(raw: RawDocument, settings: RecordSettings, extract: Extract) -> Iterator[Document | Reject]:
    """Yield the text of a document; of a file of records that of each record, as ``doc_id#record``, in order.

    A file of records without any is a document without text. One that is broken in the middle ends with a reject of its own;
    the records before it stay.
    """
    try:
        with open_document(raw.source_uri) if raw.content is None else io.BytesIO(raw.content) as file:
            if holds_records(file, raw.source_uri):
                yield from _records(raw, file, settings)
                return
        content = read_document(raw.source_uri) if raw.content is None else raw.content
        extracted = extract(content, raw.source_uri)
        yield Document(
            raw.doc_id, raw.source_uri, extracted.text, extracted.media_type, metadata_json(extracted.metadata)
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
            metadata = metadata_json({"media_type": "text/plain", **record.metadata})
            yield Document(doc_id, source_uri, record.text, "text/plain", metadata)
    if is_empty:
        yield Document(raw.doc_id, raw.source_uri, "", "text/plain")


def metadata_json(metadata: Mapping[str, object]) -> str:
    """Write metadata as Document wants it."""
    return json.dumps(metadata, ensure_ascii=False, sort_keys=True)
