"""Objects being written: whole ones, and growing ones as a row of objects; the secret kept is how bytes are put.

An object appears when all of it is there. A writer that is killed, or ends with an exception, leaves nothing that
anybody sees; the bucket forgets the beginning of a large upload within a week.
"""

import base64
import hashlib
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import IO, Any

import google_crc32c
from google.cloud.storage.exceptions import DataCorruption
from typing_extensions import Self

from transforms.storage.gcs_client import RETRY, naming

FLUSH_BYTES = 4_000_000
FLUSH_SECONDS = 5.0
UPLOAD_BYTES = 16 << 20
"""A large object is put in pieces of this size: held in memory one by one, and repeated one by one."""

_UPLOADS = 3
"""How often an object is sent whose checksum is another one on arrival."""
_Crc32c: Any = google_crc32c.Checksum
_KIND = "application/octet-stream"
_SHA256, _CRC32C = "sha256", "crc32c-of-sha256"


def put_bytes(blob: Any, data: bytes, generation: int | None = None) -> None:
    """Put an object whole; where a generation is given, only if that is what is there (0: nothing)."""
    blob.upload_from_string(data, content_type=_KIND, if_generation_match=generation, retry=RETRY)


def vouched_sha256(blob: Any) -> str | None:
    """Return the sha256 that an object's writer noted, without reading it; None where nobody did.

    The note names the checksum (crc32c) of the bytes that it is of. The bucket computes that of what it holds by
    itself: where they differ, the object was replaced, and the answer is "", which is nobody's sha256.
    """
    note = blob.metadata or {}
    if _SHA256 not in note:
        return None
    return str(note[_SHA256]) if note.get(_CRC32C) == blob.crc32c else ""


class GcsOutput:
    """An object being written: kept in a temporary file, uploaded on a clean exit, never after an exception.

    The library's own writer finalises what was written whenever it is closed, even by garbage collection.
    """

    def __init__(self, blob: Any, uri: str) -> None:
        self._blob, self._uri = blob, uri
        self._file: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed in __exit__
        self._digest, self._checksum = hashlib.sha256(), _Crc32c()
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
        self._checksum.update(bytes(view))
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
                self._upload()

    def _upload(self) -> None:
        checksum = base64.b64encode(self._checksum.digest()).decode()
        self._blob.metadata = {_SHA256: self.sha256, _CRC32C: checksum}
        self._blob.chunk_size = UPLOAD_BYTES
        with naming(self._uri):
            for repetitions_left in reversed(range(_UPLOADS)):
                try:
                    self._blob.upload_from_file(
                        self._file, rewind=True, size=self._size_bytes, content_type=_KIND, retry=RETRY
                    )
                    return
                except DataCorruption:  # the library has removed what arrived
                    if not repetitions_left:
                        raise


class GcsAppender:
    """Frames gathered into objects ``path.000000``, ``path.000001``, ...; each is put whole.

    An object is put at ``sync`` and ``close``, and when FLUSH_BYTES have gathered or the oldest frame is FLUSH_SECONDS
    old.
    """

    def __init__(
        self,
        put: Callable[[str, bytes], None],
        path: str,
        make_head: Callable[[Sequence[bytes]], bytes],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Start without an object.

        Args:
            put: puts bytes at a path.
            make_head: what goes before an object's frames.
        """
        self._put, self._path, self._make_head, self._clock = put, path, make_head, clock
        self._lock = threading.Lock()
        self._frames: list[bytes] = []
        self._bytes = 0
        self._since = 0.0
        self._objects = 0

    def append(self, frame: bytes) -> None:
        """Add a frame; a frame that an upload failed with is tried again by the next one."""
        with self._lock:
            if not self._frames:
                self._since = self._clock()
            self._frames.append(frame)
            self._bytes += len(frame)
            if self._bytes >= FLUSH_BYTES or self._clock() - self._since >= FLUSH_SECONDS:
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
        self._put(f"{self._path}.{self._objects:06d}", b"".join([self._make_head(self._frames), *self._frames]))
        self._objects += 1
        self._frames.clear()
        self._bytes = 0
