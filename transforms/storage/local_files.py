"""Files on a local disk that survive kill -9 and power loss; the secret kept is when to fsync and how to hold a lock.

Locks are ``flock``: the kernel gives them back when their process dies, however it dies. POSIX only (Linux, macOS).
"""

import contextlib
import fcntl
import hashlib
import os
import secrets
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

from typing_extensions import Self

TEMPORARY_SUFFIX = ".tmp"
_SECONDS_TO_OPEN = 30.0
_BUFFER_BYTES = 1 << 20


def is_temporary(name: str) -> bool:
    """Tell whether a file name is one that ``temporary_beside`` makes: hidden, never part of a dataset."""
    return name.startswith(".") and name.endswith(TEMPORARY_SUFFIX)


def temporary_beside(target: Path) -> Path:
    """Return a fresh name in the target's own folder, so that the file can be renamed to the target."""
    return target.with_name(f".{target.name[:100]}.{secrets.token_hex(6)}{TEMPORARY_SUFFIX}")


def sync_folder(folder: Path) -> None:
    """Make the names in a folder survive power loss: files created, renamed or removed before this call."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folder(folder: Path) -> None:
    """Create a folder with those above it, each durable before the next is put into it."""
    if folder.is_dir():
        return
    make_folder(folder.parent)
    with contextlib.suppress(FileExistsError):
        folder.mkdir()
    sync_folder(folder.parent)


def open_creating(path: Path, flags: int) -> int:
    """Open a file for writing and return its descriptor.

    Folders above it are made, as often as a neighbour that tidies up removes them as empty.

    Raises:
        OSError: the file cannot be opened; FileNotFoundError only when its folder vanishes again and again.
    """
    began = time.monotonic()
    while True:
        try:
            make_folder(path.parent)
            return os.open(path, flags | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except FileNotFoundError:
            if time.monotonic() - began > _SECONDS_TO_OPEN:
                raise


def write_fully(descriptor: int, data: bytes | memoryview) -> None:
    """Write all of the bytes, however few the system takes at a time."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def is_same_file(descriptor: int, path: Path) -> bool:
    """Tell whether a name still leads to an open file (somebody may have removed or replaced it meanwhile)."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _open_locked(path: Path, flags: int) -> int:
    while True:
        descriptor = open_creating(path, flags)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            if is_same_file(descriptor, path):
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


@contextlib.contextmanager
def hold_lock(path: Path) -> Iterator[None]:
    """Wait for a lock and hold it; the lock's file is there only while somebody holds it."""
    descriptor = _open_locked(path, os.O_RDWR)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(descriptor)


def is_locked(path: Path) -> bool:
    """Tell whether a living process holds the file, as ``LocalAppender`` does; False when there is no such file."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def remove_unless_locked(path: Path) -> bool:
    """Remove a file that no living process holds; True when it is gone afterwards."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if is_same_file(descriptor, path):
            path.unlink(missing_ok=True)
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)
    return True


class LocalOutput:
    """A file that appears at its name, complete and durable, on a clean exit; and not at all after an exception.

    Good as a sink for ``pyarrow.parquet.ParquetWriter``. ``close`` alone publishes nothing. With ``is_first`` the exit raises
    FileExistsError when there is a file of that name, and another OSError where the disk has no hard links.
    """

    def __init__(self, target: Path, is_first: bool = False) -> None:
        self._target, self._is_first = target, is_first
        self._temporary = temporary_beside(target)
        self._file = os.fdopen(_open_locked(self._temporary, os.O_WRONLY), "wb", buffering=_BUFFER_BYTES)
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
        """Return the position, which is the number of bytes written."""
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
        try:
            if kind is None:
                self._file.flush()
                os.fsync(self._file.fileno())
                if self._is_first:
                    self._target.hardlink_to(self._temporary)
                else:
                    self._temporary.replace(self._target)
                sync_folder(self._target.parent)
        finally:
            self._temporary.unlink(missing_ok=True)
            with contextlib.suppress(OSError):  # a full disk refuses the buffer's rest again; it was reported above
                self._file.close()


class LocalAppender:
    """A file that grows frame by frame; holds a lock, so that others can tell that its writer lives.

    One name has one writer: a second one would wait for the first. Not for several threads at once, except that
    ``sync`` may run beside ``append``.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor = _open_locked(path, os.O_WRONLY | os.O_APPEND)
        self._size_bytes = os.fstat(self._descriptor).st_size
        self._name_is_durable = False

    def append(self, frame: bytes) -> None:
        """Add a frame whole or not at all; on return it survives kill -9 of this process, though not yet power loss."""
        try:
            write_fully(self._descriptor, frame)
        except BaseException:
            # What follows a torn frame is ignored by readers, so a full disk must not leave one in the middle.
            os.ftruncate(self._descriptor, self._size_bytes)
            raise
        self._size_bytes += len(frame)

    def sync(self) -> None:
        """Make everything appended so far survive power loss."""
        os.fsync(self._descriptor)
        if not self._name_is_durable:
            sync_folder(self._path.parent)
            self._name_is_durable = True

    def close(self) -> None:
        """Sync and give the lock back; a second call does nothing."""
        if self._descriptor < 0:
            return
        try:
            self.sync()
        finally:
            os.close(self._descriptor)
            self._descriptor = -1
