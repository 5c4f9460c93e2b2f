"""Patterns to documents to bytes, local and gs:// alike; the secret kept is how a pattern is matched and a file named.

Patterns: ``*``, ``?`` and ``[...]`` match within one name, ``**`` any number of folders; names that begin with a dot
are matched only by a pattern that spells the dot, as in a shell.
"""

import datetime
import errno
import fnmatch
import io
import os
import re
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote_from_bytes, unquote_to_bytes

from transforms.errors import ConfigError, RunRefused, UnreadableDocument
from transforms.records import FoundDocument

MAX_DOCUMENT_BYTES = 1 << 30
"""A document is held in memory whole, several times over while it is extracted; beyond a gigabyte it is no document."""

_WILDCARD = re.compile(r"[*?\[]")
_ODD = re.compile("[\x00-\x1f\x7f\udc80-\udcff]|%(?=[0-9A-Fa-f]{2})")
_ODD_URI = re.compile("[\x00-\x1f\x7f\udc80-\udcff]")


def find_documents(patterns: Sequence[str]) -> list[FoundDocument]:
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
        for key, document in _find(pattern):
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


def read_document(uri: str) -> bytes:
    """Return a document's bytes.

    Raises:
        UnreadableDocument: ``reason: sentence``; the reasons are vanished, permission, is_directory, too_large,
        unreadable.
    """
    with telling_reason(uri):
        if uri.startswith("gs://"):
            from transforms.storage.gcs import read_object

            return read_object(uri)
        return _read_file(uri)


def open_document(uri: str) -> BinaryIO:
    """Open a document to be read piece by piece, of any size; an object of a bucket is fetched whole.

    Raises:
        UnreadableDocument: as ``read_document``; whoever reads on does so under ``telling_reason``.
    """
    if uri.startswith("gs://"):
        return io.BytesIO(read_document(uri))
    with telling_reason(uri):
        return _path_of(uri).open("rb")


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
        raise UnreadableDocument(f"unreadable: reading {uri} failed: {error.strerror or error}") from None


def _read_file(uri: str) -> bytes:
    with _path_of(uri).open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size > MAX_DOCUMENT_BYTES:
            raise UnreadableDocument(
                f"too_large: {uri} has {size} bytes, and a document may have {MAX_DOCUMENT_BYTES}; split it"
            )
        return file.read()


def _find(pattern: str) -> Iterator[tuple[str, FoundDocument]]:
    """Yield (what tells files apart, document)."""
    if pattern.startswith("gs://"):
        return _find_objects(pattern)
    return _find_files(pattern)


class _Matcher:
    """A pattern's names, matched against a path one name at a time; a state is the set of positions reached."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = [name if name == "**" else re.compile(fnmatch.translate(name)) for name in names]
        self._spells_dot = [name.startswith(".") for name in names]
        self.start = self._close({0})

    def step(self, state: frozenset[int], name: str) -> frozenset[int]:
        """Return the state after one more name of the path."""
        reached: set[int] = set()
        for at in state - {len(self._names)}:
            wanted = self._names[at]
            if name.startswith(".") and not self._spells_dot[at]:
                continue
            if isinstance(wanted, str):
                reached.add(at)
            elif wanted.match(name):
                reached.add(at + 1)
        return self._close(reached)

    def accepts(self, state: frozenset[int]) -> bool:
        """Tell whether a file in this state is matched."""
        return len(self._names) in state

    def goes_on(self, state: frozenset[int]) -> bool:
        """Tell whether something below a folder in this state can be matched."""
        return bool(state - {len(self._names)})

    def _close(self, reached: set[int]) -> frozenset[int]:
        for at in range(len(self._names)):
            if at in reached and self._names[at] == "**":
                reached.add(at + 1)
        return frozenset(reached)


def _split(pattern: str) -> tuple[str, list[str]]:
    """Return the part before the first name with a wildcard, with its slash, and the names from there on."""
    names = pattern.split("/")
    fixed = next((at for at, name in enumerate(names) if _WILDCARD.search(name)), len(names) - 1)
    prefix = "/".join(names[:fixed])
    return (f"{prefix}/" if fixed else ""), [name for name in names[fixed:] if name]


def _find_files(pattern: str) -> Iterator[tuple[str, FoundDocument]]:
    prefix, names = _split(pattern)
    if not _WILDCARD.search(pattern):
        path = Path(pattern)
        if path.is_file():
            yield _file_key(pattern), _file_document(path.name, pattern, path.stat())
        return
    matcher = _Matcher(names)
    for below, status in _walk(prefix or ".", "", matcher, matcher.start, ()):
        yield _file_key(prefix + below), _file_document(below, prefix + below, status)


def _walk(
    top: str, below: str, matcher: _Matcher, state: frozenset[int], above: tuple[tuple[int, int], ...]
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
    entry: "os.DirEntry[str]", matcher: _Matcher, state: frozenset[int]
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


def _find_objects(pattern: str) -> Iterator[tuple[str, FoundDocument]]:
    from transforms.storage.gcs import list_objects, split_address

    bucket, wanted = split_address(pattern)
    prefix, names = _split(wanted)
    matcher = _Matcher(names)
    fixed = "" if _WILDCARD.search(wanted) else wanted[len(prefix) :]
    try:
        for name, size, changed in list_objects(bucket, prefix + fixed):
            below = name[len(prefix) :]
            if below == fixed if fixed else _matches(matcher, below):
                uri = f"gs://{bucket}/{name}"
                yield uri, FoundDocument(_doc_id(below), uri, size, _iso(changed))
    except OSError as error:
        raise RunRefused(f"documents.paths: cannot list {pattern}: {error.strerror}") from error


def _matches(matcher: _Matcher, path: str) -> bool:
    state = matcher.start
    for name in path.split("/"):
        state = matcher.step(state, name)
        if not state:
            return False
    return not path.endswith("/") and matcher.accepts(state)
