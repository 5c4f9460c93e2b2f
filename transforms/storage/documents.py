"""Patterns to documents to bytes, local and gs:// alike; the secret kept is where files are looked for and how they are named.

A bucket is listed once for each pattern, and nothing is asked about a single object before it is read.
"""

import datetime
import errno
import hashlib
import os
import re
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, NamedTuple, cast
from urllib.parse import quote_from_bytes, unquote_to_bytes

from transforms.core.media_types import RECORD_TYPES, named_media_type
from transforms.core.register import digest_of
from transforms.errors import ConfigError, RunRefused, UnreadableDocument
from transforms.records import FoundDocument
from transforms.storage.patterns import Matcher, has_wildcard, listed_prefix, split_pattern

MAX_DOCUMENT_BYTES = 1 << 30
"""A document is held in memory whole, several times over while it is extracted; beyond a gigabyte it is no document."""

_PIECE_BYTES = 1 << 20
_TOO_LARGE = f"{{}} has {{}}, and a document may have {MAX_DOCUMENT_BYTES}; split it"

_ODD = re.compile("[\x00-\x1f\x7f\udc80-\udcff]|%(?=[0-9A-Fa-f]{2})")
_ODD_URI = re.compile("[\x00-\x1f\x7f\udc80-\udcff]")


def find_documents(patterns: Sequence[str], billing_project: str = "") -> list[FoundDocument]:
    """List what patterns match, by doc_id; a file that several patterns match counts once, for the first of them.

    A doc_id is the path below the part of its pattern before the first wildcard (without a wildcard: the file's name).
    Bytes of a name that are no UTF-8, control characters, and a ``%`` before two hex digits are percent-encoded in it.

    Raises:
        ConfigError: two different files have the same doc_id.
        RunRefused: a folder may not be listed, or a bucket cannot be; leaving its documents out would delete them from
            the dataset.
    """
    by_file: dict[str, FoundDocument] = {}
    for pattern in patterns:
        for key, document in _find(pattern, billing_project):
            by_file.setdefault(key, document)
    by_id: dict[str, FoundDocument] = {}
    for document in by_file.values():
        other = by_id.setdefault(document.doc_id, document)
        if other is not document:
            raise ConfigError(
                f"documents.paths: two files have the same doc_id {document.doc_id!r}: {other.source_uri} and "
                f'{document.source_uri}. Use one pattern that begins above both, as in "docs/**/*.md" instead of '
                '"docs/a/*.md" and "docs/b/*.md"'
            )
    return [by_id[doc_id] for doc_id in sorted(by_id)]


def read_document(uri: str, billing_project: str = "") -> bytes:
    """Return a document's bytes.

    Raises:
        UnreadableDocument: ``reason: sentence``; the reasons are vanished, permission, is_directory, too_large,
        unreadable.
    """
    with telling_reason(uri):
        if uri.startswith("gs://"):
            from transforms.storage.gcs_client import read_object

            return read_object(uri, billing_project, MAX_DOCUMENT_BYTES)
        return _read_file(uri)


def open_document(uri: str, billing_project: str = "") -> BinaryIO:
    """Open a document to be read piece by piece, of any size; an object of a bucket by ranges, as they are asked for.

    Raises:
        UnreadableDocument: as ``read_document``; whoever reads on does so under ``telling_reason``.
    """
    with telling_reason(uri):
        if uri.startswith("gs://"):
            from transforms.storage.gcs import open_object

            return cast(BinaryIO, open_object(uri, billing_project))
        return _path_of(uri).open("rb")


class Reading(NamedTuple):
    """A document's bytes with the digest to remember it by.

    Attributes:
        content: None for a file of records, which is not held whole.
        state: of a file of records, as ``state_of`` gave it before the digest was taken; else "".
    """

    content: bytes | None
    digest: bytes
    state: str = ""


def read_with_digest(found: FoundDocument, modified: str, billing_project: str = "") -> Reading:
    """Return a document's bytes and digest.

    ``modified`` is when it was modified, where its rows tell it, else "".

    Raises:
        UnreadableDocument: as ``read_document``.
    """
    if named_media_type(found.source_uri) in RECORD_TYPES:
        with telling_reason(found.source_uri):
            state = state_of(found.source_uri, billing_project)
        return Reading(
            None, digest_of(found, _digest_document(found.source_uri, billing_project, state), modified), state
        )
    content = read_document(found.source_uri, billing_project)
    return Reading(content, digest_of(found, hashlib.sha256(content).digest(), modified))


def state_of(uri: str, billing_project: str = "") -> str:
    """Name the state of a document, without reading it: another one after each change of its bytes.

    Of a file: which one it is, its size, and its time of modification as precisely as the system keeps it.

    Raises:
        OSError: FileNotFoundError when there is none.
    """
    if uri.startswith("gs://"):
        from transforms.storage.gcs import identify_object

        return identify_object(uri, billing_project).hex()
    status = _path_of(uri).stat()
    return f"{status.st_dev} {status.st_ino} {status.st_size} {status.st_mtime_ns}"


def _digest_document(uri: str, billing_project: str, state: str) -> bytes:
    """Return the SHA-256 of a document's bytes, read piece by piece; of an object its state, which tells its bytes, too."""
    if uri.startswith("gs://"):
        return bytes.fromhex(state)
    digest = hashlib.sha256()
    with telling_reason(uri), open_document(uri, billing_project) as file:
        while piece := file.read(_PIECE_BYTES):
            digest.update(piece)
    return digest.digest()


@contextmanager
def telling_reason(uri: str) -> Iterator[None]:
    """Turn what the system says while a document is read into UnreadableDocument."""
    try:
        yield
    except FileNotFoundError:
        raise UnreadableDocument(f"vanished: {uri} was there when documents were listed and is gone now") from None
    except PermissionError:
        raise UnreadableDocument(f"permission: this account may not read {uri}") from None
    except IsADirectoryError:
        raise UnreadableDocument(f"is_directory: {uri} is a folder now") from None
    except OSError as error:
        if error.errno == errno.EFBIG:
            raise UnreadableDocument(f"too_large: {_TOO_LARGE.format(uri, 'more bytes')}") from None
        raise UnreadableDocument(f"unreadable: reading {uri} failed: {error.strerror or error}") from None


def _read_file(uri: str) -> bytes:
    with _path_of(uri).open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size > MAX_DOCUMENT_BYTES:
            raise UnreadableDocument(f"too_large: {_TOO_LARGE.format(uri, f'{size} bytes')}")
        return file.read()


def _find(pattern: str, billing_project: str) -> Iterator[tuple[str, FoundDocument]]:
    """Yield (what tells files apart, document)."""
    if pattern.startswith("gs://"):
        return _find_objects(pattern, billing_project)
    return _find_files(pattern)


def _find_files(pattern: str) -> Iterator[tuple[str, FoundDocument]]:
    prefix, names = split_pattern(pattern)
    if not has_wildcard(pattern):
        path = Path(pattern)
        if path.is_file():
            yield _file_key(pattern), _file_document(path.name, pattern, path.stat())
        return
    matcher = Matcher(names)
    for below, status in _walk(prefix or ".", "", matcher, matcher.start, ()):
        yield _file_key(prefix + below), _file_document(below, prefix + below, status)


def _walk(
    top: str, below: str, matcher: Matcher, state: frozenset[int], above: tuple[tuple[int, int], ...]
) -> Iterator[tuple[str, os.stat_result]]:
    """Yield (path below the top, status) of matched files; a link back to a folder above is not followed."""
    folder = Path(top, below)
    try:
        status = folder.stat()
        here = (status.st_dev, status.st_ino)
        entries = [] if here in above else [(entry, *_look(entry, matcher, state)) for entry in os.scandir(folder)]
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        raise RunRefused(
            f"documents.paths: cannot list {folder}: {error.strerror}. Its documents would vanish from the dataset; "
            "give yourself read access or leave the folder out of the patterns"
        ) from error
    for entry, reached, found in sorted(entries, key=lambda looked: looked[0].name):
        if found is None:
            continue
        if stat.S_ISDIR(found.st_mode):
            yield from _walk(top, f"{below}{entry.name}/", matcher, reached, (*above, here))
        else:
            yield f"{below}{entry.name}", found


def _look(
    entry: "os.DirEntry[str]", matcher: Matcher, state: frozenset[int]
) -> tuple[frozenset[int], os.stat_result | None]:
    """Return the state after an entry's name, with the status of a folder to go into or of a matched file, else None."""
    reached = matcher.step(state, entry.name)
    try:
        is_wanted = matcher.goes_on(reached) if entry.is_dir() else matcher.accepts(reached) and entry.is_file()
        return reached, entry.stat() if is_wanted else None
    except FileNotFoundError:  # gone since it was listed
        return reached, None
    except OSError as error:
        if error.errno == errno.ELOOP:  # a link that leads to itself
            return reached, None
        raise


def _file_key(path: str) -> str:
    return os.path.normpath(Path(path).absolute())


def _file_document(below: str, path: str, status: os.stat_result) -> FoundDocument:
    return FoundDocument(_doc_id(below), _uri_of(path), status.st_size, _iso(status.st_mtime))


def _iso(seconds: float) -> str:
    return datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc).isoformat(timespec="seconds")


def _doc_id(below: str) -> str:
    """Return a path as text that any encoder takes, from which the path's bytes can be had back."""
    return _ODD.sub(lambda odd: "".join(f"%{byte:02X}" for byte in os.fsencode(odd.group())), below)


def _uri_of(path: str) -> str:
    """Return the path as it is, or a ``file:`` URI when it holds bytes that are no text."""
    if _ODD_URI.search(path) or path.startswith("file:"):
        return "file:" + quote_from_bytes(os.fsencode(path))
    return path


def _path_of(uri: str) -> Path:
    return Path(os.fsdecode(unquote_to_bytes(uri[5:]))) if uri.startswith("file:") else Path(uri)


def _find_objects(pattern: str, billing_project: str) -> Iterator[tuple[str, FoundDocument]]:
    from transforms.storage.gcs_client import list_objects, split_address

    bucket, wanted = split_address(pattern)
    prefix, names = split_pattern(wanted)
    matcher = Matcher(names)
    is_flat = len(names) == 1 and names[0] != "**"
    try:
        for name, size, changed in list_objects(bucket, listed_prefix(prefix, names), billing_project, is_flat):
            below = name[len(prefix) :]
            if matcher.matches(below) if has_wildcard(wanted) else below and name == wanted:
                uri = f"gs://{bucket}/{name}"
                yield uri, FoundDocument(_doc_id(below), uri, size, _iso(changed))
    except OSError as error:
        raise RunRefused(f"documents.paths: cannot list {pattern}: {error.strerror}") from error
