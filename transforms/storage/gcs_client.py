"""How a bucket is spoken to: one client per process, its retries, its errors, and the names of objects.

Anonymous at once where STORAGE_EMULATOR_HOST is set: looking for credentials that are not there takes 20 s. What may be
repeated is repeated for two minutes: 408, 429, 500, 502, 503, 504, a connection that breaks, a minute of silence. Every
other answer counts at once. Errors leave as OSError and its kin, as a disk's do.
"""

import contextlib
import errno
import os
import threading
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import google.auth.exceptions
import requests
from google.api_core import exceptions
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage
from google.cloud.storage.exceptions import DataCorruption, InvalidResponse
from google.cloud.storage.retry import DEFAULT_RETRY

from transforms.errors import ConfigError

RETRY = DEFAULT_RETRY.with_timeout(120.0).with_delay(initial=0.5, maximum=20.0, multiplier=2.0)
CALLS_AT_ONCE = 8
"""The client keeps ten connections."""

_T = TypeVar("_T")
_NO_CREDENTIALS = (
    "it is not public, and there are no credentials here: run `gcloud auth application-default login`, or let "
    "GOOGLE_APPLICATION_CREDENTIALS name a key file"
)
_clients: dict[tuple[int, str], Any] = {}
_clients_lock = threading.Lock()


def open_client() -> Any:
    """Return this process's client; a forked process makes its own, for sockets cannot be shared."""
    key = (os.getpid(), os.environ.get("STORAGE_EMULATOR_HOST", ""))
    with _clients_lock:
        if key not in _clients:
            _clients[key] = _new_client(bool(key[1]))
        return _clients[key]


def _new_client(is_emulated: bool) -> Any:
    client = _authorised_client(is_emulated)
    # Spares a request about the bucket itself, for traces that nobody keeps, and one more after each 404. It is sent behind
    # the caller's back, billed to nobody, and asks for a permission that reading objects does not need.
    client._bucket_metadata_cache = None
    return client


def _authorised_client(is_emulated: bool) -> Any:
    if is_emulated:
        return storage.Client(project="emulator", credentials=AnonymousCredentials())
    try:
        return storage.Client()
    except (google.auth.exceptions.DefaultCredentialsError, OSError):  # OSError: there are credentials, but no project
        return storage.Client.create_anonymous_client()


def open_bucket(bucket: str, billing_project: str) -> Any:
    """Return a bucket, without asking whether it exists; every request to it is billed to the project, "" for none.

    A bucket of which the requester pays wants to know who that is.
    """
    return open_client().bucket(bucket, user_project=billing_project or None)


@contextlib.contextmanager
def naming(uri: str) -> Iterator[None]:
    """Turn the library's errors into the ones that a disk raises, with the object's name."""
    try:
        yield
    except exceptions.NotFound as error:
        raise FileNotFoundError(errno.ENOENT, "no such object or bucket", uri) from error
    except (exceptions.Forbidden, exceptions.Unauthorized) as error:
        raise PermissionError(errno.EACCES, f"access denied: {error.message}", uri) from error
    except google.auth.exceptions.InvalidOperation as error:  # what an anonymous client makes of 401
        raise PermissionError(errno.EACCES, _NO_CREDENTIALS, uri) from error
    except exceptions.BadRequest as error:
        raise _bad_request(uri, error) from error
    except (
        exceptions.GoogleAPIError,
        InvalidResponse,
        DataCorruption,
        google.auth.exceptions.GoogleAuthError,
        requests.RequestException,
    ) as error:
        raise OSError(errno.EIO, f"the bucket does not answer: {error}", uri) from error


def _bad_request(uri: str, error: exceptions.BadRequest) -> OSError:
    if "requester pays" in error.message.lower():
        remedy = (
            "the requester pays for this bucket: name the project that is billed (google_cloud.billing_project "
            "in the config, --billing-project on the command line)"
        )
        return PermissionError(errno.EACCES, remedy, uri)
    return OSError(errno.EINVAL, f"the bucket refuses the request: {error.message}", uri)


def fetch(download: Callable[[], _T]) -> _T:
    """Make a download, and again where the answer breaks off that says why there is none.

    Of such an answer the library reads the words only after it has made up its mind about repeating.
    """
    result: _T = RETRY(download)()
    return result


def split_address(address: str) -> tuple[str, str]:
    """Return (bucket, name) of ``gs://bucket/name``; the name may be empty.

    Raises:
        ConfigError: there is no bucket in it.
    """
    bucket, _, name = address.removeprefix("gs://").partition("/")
    if not bucket:
        raise ConfigError(f"{address!r} names no bucket; expected gs://bucket/prefix")
    return bucket, name


def list_objects(
    bucket: str, prefix: str, billing_project: str = "", is_flat: bool = False
) -> Iterator[tuple[str, int, float]]:
    """Yield (name, bytes, seconds since 1970 of the last change) of all objects whose names begin so, in name order.

    One request for each thousand. ``is_flat`` leaves out those with a further ``/`` in their names.
    """
    fields = "items(name,size,updated),nextPageToken"
    for blob in list_blobs(bucket, prefix, fields, billing_project, "/" if is_flat else None):
        yield blob.name, int(blob.size or 0), blob.updated.timestamp() if blob.updated else 0.0


def list_blobs(
    bucket: str, prefix: str, fields: str, billing_project: str, delimiter: str | None = None
) -> Iterator[Any]:
    """Yield the library's objects of a listing."""
    with naming(f"gs://{bucket}/{prefix}"):
        yield from open_client().list_blobs(
            open_bucket(bucket, billing_project), prefix=prefix, delimiter=delimiter, fields=fields, retry=RETRY
        )


def read_object(uri: str, billing_project: str = "", most_bytes: int | None = None) -> bytes:
    """Return the bytes of ``gs://bucket/name`` in one request, compared with the bucket's checksum.

    An object that was stored packed (``Content-Encoding: gzip``) is unpacked.

    Raises:
        OSError: FileNotFoundError, PermissionError, or with ``errno.EFBIG`` for more than ``most_bytes``: the transfer
            ends there.
    """
    bucket, name = split_address(uri)
    blob = open_bucket(bucket, billing_project).blob(name)

    def download() -> bytes:
        sink = _Sink(most_bytes, uri)
        blob.download_to_file(sink, retry=RETRY)
        return bytes(sink.data)

    with naming(uri):
        return fetch(download)


class _Sink:
    """What a download is written to: memory up to a limit."""

    def __init__(self, most_bytes: int | None, uri: str) -> None:
        self.data = bytearray()
        self._most_bytes, self._uri = most_bytes, uri

    def write(self, piece: bytes) -> int:
        self.data += piece
        if self._most_bytes is not None and len(self.data) > self._most_bytes:
            raise OSError(errno.EFBIG, f"it has more than {self._most_bytes} bytes", self._uri)
        return len(piece)

    def tell(self) -> int:
        return len(self.data)

    def seek(self, at: int) -> int:
        """Start over, as the library does when an answer comes whole again."""
        del self.data[at:]
        return at
