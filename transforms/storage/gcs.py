"""A dataset in a bucket of Google Cloud Storage; the secret kept is google-cloud-storage.

One client per process, anonymous at once where STORAGE_EMULATOR_HOST is set: looking for credentials that are not
there takes 20 s. Every call retries transient failures for two minutes. Errors leave as OSError and its kin, as a
disk's do.
"""

import contextlib
import errno
import hashlib
import io
import os
import secrets
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import google.auth.exceptions
import pyarrow.parquet as pq
import requests
from google.api_core import exceptions
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage
from google.cloud.storage.exceptions import InvalidResponse
from google.cloud.storage.retry import DEFAULT_RETRY
from typing_extensions import Self

from transforms.errors import ConfigError
from transforms.storage.store import StoredFile

_RETRY = DEFAULT_RETRY.with_timeout(120.0)
_CALLS_AT_ONCE = 8
FLUSH_BYTES = 4_000_000
FLUSH_SECONDS = 5.0

_clients: dict[int, Any] = {}
_clients_lock = threading.Lock()


def _client() -> Any:
    """Return this process's client; a forked process makes its own, for sockets cannot be shared."""
    with _clients_lock:
        if os.getpid() not in _clients:
            _clients[os.getpid()] = _open_client()
        return _clients[os.getpid()]


def _open_client() -> Any:
    if os.environ.get("STORAGE_EMULATOR_HOST"):
        return storage.Client(project="emulator", credentials=AnonymousCredentials())
    try:
        return storage.Client()
    except (google.auth.exceptions.DefaultCredentialsError, OSError):  # OSError: there are credentials, but no project
        return storage.Client.create_anonymous_client()


@contextlib.contextmanager
def _named(uri: str) -> Iterator[None]:
    """Turn the library's errors into the ones that a disk raises, with the object's name."""
    try:
        yield
    except exceptions.NotFound as error:
        raise FileNotFoundError(errno.ENOENT, "no such object or bucket", uri) from error
    except (exceptions.Forbidden, exceptions.Unauthorized) as error:
        raise PermissionError(errno.EACCES, f"access denied: {error.message}", uri) from error
    except (
        exceptions.GoogleAPIError,
        InvalidResponse,
        google.auth.exceptions.GoogleAuthError,
        requests.RequestException,
    ) as error:
        raise OSError(errno.EIO, f"the bucket does not answer: {error}", uri) from error


def split_address(address: str) -> tuple[str, str]:
    """Return (bucket, name) of ``gs://bucket/name``; the name may be empty.

    Raises:
        ConfigError: there is no bucket in it.
    """
    bucket, _, name = address.removeprefix("gs://").partition("/")
    if not bucket:
        raise ConfigError(f"{address!r} names no bucket; expected gs://bucket/prefix")
    return bucket, name


def list_objects(bucket: str, prefix: str) -> Iterator[tuple[str, int, float]]:
    """Yield (name, bytes, seconds since 1970 of the last change) of all objects whose names begin so, in name order."""
    with _named(f"gs://{bucket}/{prefix}"):
        fields = "items(name,size,updated),nextPageToken"
        for blob in _client().list_blobs(bucket, prefix=prefix, fields=fields, retry=_RETRY):
            yield blob.name, int(blob.size or 0), blob.updated.timestamp() if blob.updated else 0.0


def read_object(uri: str) -> bytes:
    """Return the bytes of ``gs://bucket/name``; or raise FileNotFoundError or another OSError."""
    bucket, name = split_address(uri)
    with _named(uri):
        return bytes(_client().bucket(bucket).blob(name).download_as_bytes(retry=_RETRY))


def open_gcs_store(root: str) -> "GcsStore":
    """Return the store of ``gs://bucket/prefix``, without asking whether it exists."""
    bucket, prefix = split_address(root)
    return GcsStore(bucket, prefix.strip("/"))


@dataclass(frozen=True, slots=True)
class GcsStore:
    """A prefix in a bucket. Objects appear whole or not at all; the generation of an object guards its replacement."""

    bucket: str
    prefix: str

    @property
    def root(self) -> str:
        return f"gs://{self.bucket}/{self.prefix}" if self.prefix else f"gs://{self.bucket}"

    @property
    def moves_folders(self) -> bool:
        return False

    @property
    def sync_seconds(self) -> float:
        return FLUSH_SECONDS

    def _name(self, path: str) -> str:
        return f"{self.prefix}/{path}" if self.prefix else path

    def _uri(self, path: str) -> str:
        return f"gs://{self.bucket}/{self._name(path)}"

    def _blob(self, path: str) -> Any:
        return _client().bucket(self.bucket).blob(self._name(path))

    def _upload(self, path: str, data: bytes, generation: int | None) -> None:
        self._blob(path).upload_from_string(
            data, content_type="application/octet-stream", if_generation_match=generation, retry=_RETRY
        )

    def read_bytes(self, path: str) -> bytes:
        return read_object(self._uri(path))

    def write_bytes(self, path: str, data: bytes) -> None:
        with _named(self._uri(path)):
            self._upload(path, data, None)

    def create_bytes(self, path: str, data: bytes) -> bool:
        return self._upload_if(path, data, 0)

    def _upload_if(self, path: str, data: bytes, generation: int) -> bool:
        """Upload if the object's generation still is this one, counting an upload of which only the answer was lost."""
        try:
            with _named(self._uri(path)):
                try:
                    self._upload(path, data, generation)
                except exceptions.PreconditionFailed:
                    return self.read_bytes(path) == data
        except FileNotFoundError:
            if self._bucket_is_there():
                return False
            raise
        return True

    def _bucket_is_there(self) -> bool:
        with _named(self.root):
            next(iter(_client().list_blobs(self.bucket, max_results=1, retry=_RETRY)), None)
        return True

    def replace_bytes(self, path: str, data: bytes, expected: bytes | None) -> bool:
        if expected is None:
            return self.create_bytes(path, data)
        try:
            with _named(self._uri(path)):
                blob = _client().bucket(self.bucket).get_blob(self._name(path), retry=_RETRY)
                if blob is None:
                    return False
                found = blob.download_as_bytes(if_generation_match=blob.generation, retry=_RETRY)
        except FileNotFoundError:
            return False
        return found == expected and self._upload_if(path, data, blob.generation)

    def exists(self, path: str) -> bool:
        with _named(self._uri(path)):
            return bool(self._blob(path).exists(retry=_RETRY))

    def list_files(self, folder: str) -> list[StoredFile]:
        top = self._name(folder.strip("/")).rstrip("/")
        skip = len(self._name(""))
        found = list_objects(self.bucket, f"{top}/" if top else "")
        return sorted((StoredFile(name[skip:], size, changed) for name, size, changed in found), key=lambda f: f.path)

    def delete(self, path: str) -> None:
        with contextlib.suppress(FileNotFoundError), _named(self._uri(path)):
            self._blob(path).delete(retry=_RETRY)

    def delete_tree(self, folder: str) -> None:
        paths = [file.path for file in self.list_files(folder)]
        with ThreadPoolExecutor(_CALLS_AT_ONCE) as pool:
            list(pool.map(self.delete, paths))

    def delete_empty_folders(self, folder: str) -> None:
        """Do nothing: a bucket has no folders."""

    def delete_unless_appended(self, path: str) -> bool:
        self.delete(path)
        return True

    def delete_leftovers(self) -> None:
        """Do nothing: an upload that was not finished leaves no object."""

    def open_output(self, path: str) -> "GcsOutput":
        return GcsOutput(self, path)

    def _open_ranged(self, path: str) -> "_RangedObject":
        with _named(self._uri(path)):
            blob = _client().bucket(self.bucket).get_blob(self._name(path), retry=_RETRY)
        if blob is None:
            raise FileNotFoundError(errno.ENOENT, "no such object", self._uri(path))
        return _RangedObject(blob, self._uri(path))

    def open_parquet(self, path: str) -> pq.ParquetFile:
        return pq.ParquetFile(self._open_ranged(path), page_checksum_verification=True)

    def digest(self, path: str) -> str:
        digest = hashlib.sha256()
        with self._open_ranged(path) as file:
            while block := file.read(16 << 20):
                digest.update(block)
        return digest.hexdigest()

    def move(self, source: str, target: str) -> None:
        self.link(source, target)
        self.delete(source)

    def link(self, source: str, target: str) -> None:
        with _named(self._uri(source)):
            origin, goal = self._blob(source), self._blob(target)
            token, _, _ = goal.rewrite(origin, retry=_RETRY)
            while token is not None:
                token, _, _ = goal.rewrite(origin, token=token, retry=_RETRY)

    def sync_folder(self, folder: str) -> None:
        """Do nothing: an object is durable when its upload is answered."""

    def append(self, path: str) -> "GcsAppender":
        return GcsAppender(self, path)

    def is_being_appended(self, path: str) -> bool:
        return False

    def lock(self, name: str) -> AbstractContextManager[None]:
        return contextlib.nullcontext()

    def check_writable(self) -> None:
        probe = f"_journal/probe-{secrets.token_hex(6)}"
        try:
            self.write_bytes(probe, b"")
            self.delete(probe)
        except OSError as error:
            raise ConfigError(
                f"cannot write to {self.root}: {error.strerror}. Check that the bucket exists and that this account "
                "may create and delete objects in it (roles/storage.objectUser), or choose another dataset"
            ) from error


class _RangedObject(io.RawIOBase):
    """An object read in the ranges that are asked for, one request each, all from one generation."""

    def __init__(self, blob: Any, uri: str) -> None:
        super().__init__()
        self._blob, self._uri, self._size, self._at = blob, uri, int(blob.size), 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = base + offset
        return self._at

    def read(self, size: int = -1) -> bytes:
        end = self._size if size < 0 else min(self._at + size, self._size)
        if end <= self._at:
            return b""
        with _named(self._uri):
            data = self._blob.download_as_bytes(
                start=self._at, end=end - 1, if_generation_match=self._blob.generation, checksum=None, retry=_RETRY
            )
        self._at += len(data)
        return bytes(data)


class GcsOutput:
    """An object being written: kept in a temporary file, uploaded on a clean exit, never after an exception.

    The library's own writer finalises what was written whenever it is closed, even by garbage collection.
    """

    def __init__(self, store: GcsStore, path: str) -> None:
        self._store, self._path = store, path
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 - closed in __exit__
        self._digest = hashlib.sha256()
        self._size_bytes = 0
        self._closed = False

    @property
    def closed(self) -> bool:
        """Whether the writer said that it is done."""
        return self._closed

    @property
    def sha256(self) -> str:
        """Hex digest of the bytes written so far."""
        return self._digest.hexdigest()

    @property
    def size_bytes(self) -> int:
        """Bytes written so far."""
        return self._size_bytes

    def write(self, data: bytes | bytearray | memoryview) -> int:
        """Add bytes and return how many."""
        view = memoryview(data).cast("B")
        self._digest.update(view)
        self._file.write(view)
        self._size_bytes += len(view)
        return len(view)

    def writable(self) -> bool:
        return True

    def flush(self) -> None:
        """Do nothing: bytes count only once all of them are there."""

    def tell(self) -> int:
        """Return the number of bytes written."""
        return self._size_bytes

    def close(self) -> None:
        """Say that no more will be written."""
        self._closed = True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closed = True
        with self._file:
            if kind is None:
                with _named(self._store._uri(self._path)):
                    self._store._blob(self._path).upload_from_file(
                        self._file,
                        rewind=True,
                        size=self._size_bytes,
                        content_type="application/octet-stream",
                        retry=_RETRY,
                    )


class GcsAppender:
    """Frames gathered into objects ``path.000000``, ``path.000001``, ...; each is put whole.

    An object is put at ``sync`` and ``close``, and when FLUSH_BYTES have gathered or the oldest frame is FLUSH_SECONDS
    old.
    """

    def __init__(self, store: GcsStore, path: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._store, self._path, self._clock = store, path, clock
        self._lock = threading.Lock()
        self._frames: list[bytes] = []
        self._since = 0.0
        self._objects = 0

    def append(self, frame: bytes) -> None:
        """Add a frame; a frame that an upload failed with is tried again by the next one."""
        with self._lock:
            if not self._frames:
                self._since = self._clock()
            self._frames.append(frame)
            if sum(map(len, self._frames)) >= FLUSH_BYTES or self._clock() - self._since >= FLUSH_SECONDS:
                self._flush()

    def sync(self) -> None:
        """Put what has gathered."""
        with self._lock:
            self._flush()

    def close(self) -> None:
        """Put what has gathered; a second call does nothing."""
        self.sync()

    def _flush(self) -> None:
        if not self._frames:
            return
        self._store.write_bytes(f"{self._path}.{self._objects:06d}", b"".join(self._frames))
        self._objects += 1
        self._frames.clear()
