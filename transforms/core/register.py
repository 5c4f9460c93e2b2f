"""What a version remembers of each document, so that the next run takes an unchanged one's rows over as they are.

The secret kept here is how a document is told to be unchanged and how rows find the document that they come from. A *file*
is what a pattern matched; a file of records is one file and many documents, ``doc_id#record``.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence

from transforms.records import Carry, FileEntry, FoundDocument

KEY_BYTES = 16


def digest_of(found: FoundDocument, content_digest: bytes, modified: str = "") -> bytes:
    """Return 32 bytes that stay the same as long as a file's rows would: its content and whatever else a row shows of it.

    Args:
        content_digest: SHA-256 of the file's bytes.
        modified: the modification time where rows hold it, else "".
    """
    named = "\0".join((found.source_uri, modified)).encode("utf-8", "surrogatepass")
    return hashlib.sha256(content_digest + named).digest()


def add_entries(entries: Iterable[FileEntry], rejected: Iterable[str]) -> list[FileEntry]:
    """Add the entries of one file up, by doc_id; a file of which something was rejected is not remembered.

    Args:
        entries: several for a file of records; their counts add up.
        rejected: doc_ids of rejects, of documents or of single records.
    """
    total: dict[str, FileEntry] = {}
    for entry in entries:
        before = total.get(entry.doc_id)
        total[entry.doc_id] = entry if before is None else _add(before, entry)
    for doc_id in rejected:
        for name in _possible_files(doc_id):
            entry_with_rejects = total.get(name)
            if entry_with_rejects is not None:
                total[name] = FileEntry(name, b"", *_counts(entry_with_rejects))
    return [total[doc_id] for doc_id in sorted(total)]


def _add(one: FileEntry, other: FileEntry) -> FileEntry:
    digest = one.digest if one.digest == other.digest else b""  # the file changed while it was read
    return FileEntry(one.doc_id, digest, *(a + b for a, b in zip(_counts(one), _counts(other), strict=True)))


def _counts(entry: FileEntry) -> tuple[int, int, int]:
    return entry.documents, entry.documents_empty, entry.chunks


def recall_files(found: Sequence[FoundDocument], known: Mapping[str, FileEntry]) -> tuple[dict[str, FileEntry], Carry]:
    """Tell which found files a version remembers, and which of its rows have no file any more.

    A file whose name begins like a record of another one (``a.jsonl`` and ``a.jsonl#1``) cannot be told from it by its
    rows, so both are read again.

    Returns:
        The entries of found files by doc_id; an entry without digest is of no use but to drop its rows.
    """
    here = {document.doc_id for document in found}
    unclear = {name for doc_id in here | known.keys() for name in _files_above(doc_id) if name in known or name in here}
    unclear |= {doc_id for doc_id in known if any(name in unclear for name in _files_above(doc_id))}
    recalled = {
        doc_id: FileEntry(doc_id, b"" if doc_id in unclear else entry.digest, *_counts(entry))
        for doc_id, entry in known.items()
        if doc_id in here
    }
    gone = [doc_id for doc_id in known if doc_id not in here]
    return recalled, Carry(True, b"".join(map(file_key, gone)))


def file_key(doc_id: str) -> bytes:
    """Return 16 bytes that name a file; two of 10¹² share them with a chance below 10⁻¹⁴."""
    return hashlib.blake2b(doc_id.encode("utf-8", "surrogatepass"), digest_size=KEY_BYTES).digest()


def add_carries(carries: Iterable[Carry]) -> Carry:
    """Combine what every worker says of the rows to take over: none unless the listing said so."""
    parts = list(carries)
    return Carry(any(part.active for part in parts), b"".join(part.dropped for part in parts))


def dropped_keys(carry: Carry) -> frozenset[bytes]:
    """Return the keys of the files whose rows are not taken over."""
    return frozenset(carry.dropped[at : at + KEY_BYTES] for at in range(0, len(carry.dropped), KEY_BYTES))


def is_dropped(doc_id: str, dropped: frozenset[bytes]) -> bool:
    """Tell whether a row's document belongs to a dropped file, as a whole or as one of its records."""
    return any(file_key(name) in dropped for name in _possible_files(doc_id))


def _possible_files(doc_id: str) -> Iterator[str]:
    yield doc_id
    yield from _files_above(doc_id)


def _files_above(doc_id: str) -> Iterator[str]:
    """Yield the names of files that a document of this name could be a record of."""
    at = doc_id.find("#")
    while at >= 0:
        yield doc_id[:at]
        at = doc_id.find("#", at + 1)
