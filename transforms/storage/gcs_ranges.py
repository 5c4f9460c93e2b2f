"""An object read in pieces, of any size in bounded memory; the secret kept is which ranges are asked for.

A reader that jumps, as of a Parquet table, gets the ranges that it asks for. One that goes on where it stopped is read
ahead of: by as much as it has read in sequence so far, up to READ_AHEAD_BYTES, and then the next piece is under way while
it works on this one. Large pieces come over several connections at once, for one connection to a bucket is slower than
the network.
"""

import errno
import io
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from google.api_core import exceptions

from transforms.storage.gcs_client import RETRY, fetch, naming

READ_AHEAD_BYTES = 8_000_000
PIECE_BYTES = 8_000_000
"""A range beyond twice this is asked for in pieces of this size."""
FIRST_BYTES = 65_536
"""The least that is asked for: a request takes as long as this much of it."""
_PIECES_AT_ONCE = 4


class RangedObject(io.RawIOBase):
    """An object that is open for reading: all ranges from one generation; for one thread."""

    def __init__(self, blob: Any, uri: str) -> None:
        """Take an object whose properties are known, generation and size among them."""
        super().__init__()
        self._bucket, self._name, self._generation, self._uri = blob.bucket, blob.name, blob.generation, uri
        self._size = int(blob.size)
        self._at = 0
        self._held_from, self._held = 0, b""
        self._sequence_from = self._fetched_to = 0
        self._next: Future[bytes] | None = None
        self._pool: ThreadPoolExecutor | None = None

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

    def readinto(self, buffer: Any) -> int:
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def read1(self, size: int = -1) -> bytes:
        """Return some bytes, at most ``size`` of them: what is there, or the result of one request."""
        return self._take(self._wanted(size), is_some_enough=True)

    def read(self, size: int = -1) -> bytes:
        """Return ``size`` bytes, fewer only at the object's end."""
        return self._take(self._wanted(size), is_some_enough=False)

    def close(self) -> None:
        """Let go of the connections; what is under way is not waited for."""
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
            self._pool = None
        self._next, self._held = None, b""
        super().close()

    def _wanted(self, size: int) -> int:
        left = max(0, self._size - self._at)
        return left if size < 0 else min(size, left)

    def _take(self, size: int, is_some_enough: bool) -> bytes:
        head = self._from_held(size)
        if len(head) == size or (head and is_some_enough):
            return head
        self._hold(size - len(head))
        tail = self._from_held(size - len(head))
        return head + tail if head else tail

    def _from_held(self, size: int) -> bytes:
        """Return what is held at the place of reading, ``size`` bytes at most, and go on behind it."""
        start = self._at - self._held_from
        if not 0 <= start < len(self._held):
            return b""
        data = self._held[start : start + size]
        self._at += len(data)
        if self._at == self._fetched_to:
            self._held = b""
        return data

    def _hold(self, size: int) -> None:
        """Fetch what is to be read next and is not held: ``size`` bytes, and what is worth reading ahead."""
        at, left = self._at, self._size - self._at
        if at != self._fetched_to:
            self._sequence_from, self._next = at, None
        ahead = min(READ_AHEAD_BYTES, at - self._sequence_from)
        coming, self._next = self._next, None
        data = coming.result() if coming is not None else b""
        if len(data) < size:
            least = size if data else max(size, ahead, FIRST_BYTES)
            data += self._fetch(at + len(data), min(least, left) - len(data))
        self._held_from, self._held, self._fetched_to = at, data, at + len(data)
        if ahead == READ_AHEAD_BYTES and len(data) < left:
            more = min(ahead, left - len(data))
            self._next = self._threads().submit(self._fetch_piece, self._fetched_to, more)

    def _fetch(self, start: int, size: int) -> bytes:
        if size <= 2 * PIECE_BYTES:
            return self._fetch_piece(start, size)
        starts = range(start, start + size, PIECE_BYTES)
        sizes = [min(PIECE_BYTES, start + size - one) for one in starts]
        return b"".join(self._threads().map(self._fetch_piece, starts, sizes))

    def _fetch_piece(self, start: int, size: int) -> bytes:
        blob = self._bucket.blob(self._name)
        asked = {"start": start, "end": start + size - 1, "if_generation_match": self._generation}
        with naming(self._uri):
            try:
                data: bytes = fetch(
                    lambda: blob.download_as_bytes(**asked, raw_download=True, checksum=None, retry=RETRY)
                )
            except (exceptions.PreconditionFailed, exceptions.RequestRangeNotSatisfiable) as error:
                raise self._replaced() from error
        if str(blob.generation) != str(self._generation):
            raise self._replaced()
        if len(data) != size:
            raise OSError(errno.EIO, f"the bucket sent {len(data)} bytes instead of {size}", self._uri)
        return data

    def _replaced(self) -> OSError:
        return OSError(errno.ESTALE, "the object was replaced while it was read", self._uri)

    def _threads(self) -> ThreadPoolExecutor:
        if self._pool is None:
            self._pool = ThreadPoolExecutor(_PIECES_AT_ONCE, thread_name_prefix="gcs-read")
        return self._pool
