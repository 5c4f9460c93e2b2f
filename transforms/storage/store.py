"""A dataset's folder behind one small interface; the secret kept is whether bytes lie on a disk or in a bucket.

Paths are relative to the store's root, with ``/`` between their parts. A *folder* is a path's beginning up to a ``/``.
"""

import contextlib
import errno
import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Protocol

import pyarrow.parquet as pq
from typing_extensions import Self

from transforms.errors import ConfigError
from transforms.storage.local_files import (
    LocalAppender,
    LocalOutput,
    hold_lock,
    is_locked,
    is_temporary,
    make_folder,
    remove_unless_locked,
    sync_folder,
    temporary_beside,
)

LOCKS = "_journal/locks"
_NO_HARD_LINKS = frozenset({errno.EPERM, errno.EXDEV, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK})


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file in a listing.

    Attributes:
        path: relative to the store's root.
        size_bytes: 0 or more.
        modified: seconds since 1970 (UTC).
    """

    path: str
    size_bytes: int
    modified: float


class Output(Protocol):
    """A file being written: appears at its name on a clean exit, complete and durable; never after an exception."""

    @property
    def closed(self) -> bool:
        """Whether the writer said that it is done."""
        ...

    @property
    def sha256(self) -> str:
        """Hex digest of the bytes written."""
        ...

    @property
    def size_bytes(self) -> int:
        """Bytes written."""
        ...

    def write(self, data: bytes | bytearray | memoryview) -> int:
        """Add bytes and return how many."""
        ...

    def flush(self) -> None:
        """Do nothing; for writers that expect a file."""
        ...

    def tell(self) -> int:
        """Return the number of bytes written."""
        ...

    def close(self) -> None:
        """Say that no more will be written; publishes nothing by itself."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class Appender(Protocol):
    """A file that grows frame by frame, with one writer for its whole life."""

    def append(self, frame: bytes) -> None:
        """Add a frame, whole or not at all. Local: on return it survives kill -9. gs://: after the next flush."""
        ...

    def sync(self) -> None:
        """Make all frames survive power loss (local: fsync; gs://: put what is buffered into one object)."""
        ...

    def close(self) -> None:
        """Sync and let go; a second call does nothing."""
        ...


class Store(Protocol):
    """Everything that datasets, journals and runs ask of a folder. Stores pickle: they hold a name, never a handle."""

    @property
    def root(self) -> str:
        """The folder as the config spells it."""
        ...

    @property
    def moves_folders(self) -> bool:
        """Whether ``move`` takes a whole folder in one atomic step."""
        ...

    @property
    def sync_seconds(self) -> float:
        """How often an appender's bytes should be synced: what a power loss may cost."""
        ...

    def read_bytes(self, path: str) -> bytes:
        """Return a file's bytes, or raise FileNotFoundError."""
        ...

    def write_bytes(self, path: str, data: bytes) -> None:
        """Put a file at its name, replacing another atomically; durable on return."""
        ...

    def create_bytes(self, path: str, data: bytes) -> bool:
        """Put a file at its name only where none is; False when one was there.

        On gs:// an answer lost in the network makes "was it me?" a matter of content: True also when equal bytes are
        there. Content that must tell winners apart names its writer.
        """
        ...

    def replace_bytes(self, path: str, data: bytes, expected: bytes | None) -> bool:
        """Replace a file if it still holds what was read last (None: if there still is none); else return False."""
        ...

    def exists(self, path: str) -> bool:
        """Tell whether there is a file of that name."""
        ...

    def list_files(self, folder: str) -> list[StoredFile]:
        """List all files below a folder ("" is the root), sorted by path; unfinished outputs are not in it."""
        ...

    def delete(self, path: str) -> None:
        """Remove a file; none there is fine."""
        ...

    def delete_tree(self, folder: str) -> None:
        """Remove a folder with all that is in it; none there is fine."""
        ...

    def delete_empty_folders(self, folder: str) -> None:
        """Remove folders without files, from the leaves up to and with ``folder``."""
        ...

    def delete_unless_appended(self, path: str) -> bool:
        """Remove a file unless a living writer appends to it; True when it is gone."""
        ...

    def delete_leftovers(self) -> None:
        """Remove what killed processes left half-written; what living ones are writing stays."""
        ...

    def open_output(self, path: str) -> Output:
        """Start a file; use it in a ``with``."""
        ...

    def open_parquet(self, path: str) -> pq.ParquetFile:
        """Open a Parquet file for reading; page checksums, where it has them, are verified.

        Raises:
            FileNotFoundError: there is none.
            pyarrow.ArrowInvalid: it is no Parquet file.
        """
        ...

    def digest(self, path: str) -> str:
        """Return the sha256 of a file's bytes as hex, or raise FileNotFoundError."""
        ...

    def move(self, source: str, target: str) -> None:
        """Give a file another name, replacing what was there; with ``moves_folders`` also a folder, to a free name."""
        ...

    def link(self, source: str, target: str) -> None:
        """Put an immutable file under a second name, replacing what was there, without moving bytes where that can be.

        The new name is durable after ``sync_folder``.
        """
        ...

    def sync_folder(self, folder: str) -> None:
        """Make the names in a folder survive power loss."""
        ...

    def append(self, path: str) -> Appender:
        """Start a growing file under a name that nobody else uses."""
        ...

    def is_being_appended(self, path: str) -> bool:
        """Tell whether a living process has the file open in an appender; always False on gs://."""
        ...

    def lock(self, name: str) -> AbstractContextManager[None]:
        """Hold a lock of this dataset, waiting for it; free at once when its holder dies. No lock on gs://."""
        ...

    def check_writable(self) -> None:
        """Raise ConfigError, naming the folder, the system's reason and the remedy, when nothing can be written here."""
        ...


def open_store(root: str) -> Store:
    """Return the store of a local folder or of ``gs://bucket/prefix``, which need not exist yet.

    Raises:
        ConfigError: another scheme, an empty root, or a gs:// address without a bucket.
    """
    if root.startswith("gs://"):
        from transforms.storage.gcs import open_gcs_store  # here: local runs do without the library

        return open_gcs_store(root)
    if not root or "://" in root:
        raise ConfigError(f"cannot use {root!r} as a dataset: it must be a local folder or gs://bucket/prefix")
    return LocalStore(root)


@dataclass(frozen=True, slots=True)
class LocalStore:
    """A folder on a disk.

    Attributes:
        root: the folder's path; it is made when the first file is put into it.
    """

    root: str

    @property
    def moves_folders(self) -> bool:
        return True

    @property
    def sync_seconds(self) -> float:
        return 1.0

    def _path(self, path: str) -> Path:
        if path.startswith("/") or ".." in path.split("/"):
            raise ValueError(f"a path inside {self.root} is relative and without '..', got {path!r}")
        return Path(self.root, path)

    def read_bytes(self, path: str) -> bytes:
        return self._path(path).read_bytes()

    def write_bytes(self, path: str, data: bytes) -> None:
        with self.open_output(path) as output:
            output.write(data)

    def create_bytes(self, path: str, data: bytes) -> bool:
        target = self._path(path)
        with contextlib.suppress(FileNotFoundError):
            if target.stat():
                return False
        try:
            with LocalOutput(target, is_first=True) as output:
                output.write(data)
        except FileExistsError:
            return False
        except OSError as error:
            if error.errno not in _NO_HARD_LINKS:
                raise
            return self._create_under_lock(path, data)
        return True

    def _create_under_lock(self, path: str, data: bytes) -> bool:
        with self.lock("create"):
            if self.exists(path):
                return False
            self.write_bytes(path, data)
        return True

    def replace_bytes(self, path: str, data: bytes, expected: bytes | None) -> bool:
        with self.lock("replace"):
            try:
                found: bytes | None = self.read_bytes(path)
            except FileNotFoundError:
                found = None
            if found != expected:
                return False
            self.write_bytes(path, data)
            return True

    def exists(self, path: str) -> bool:
        return self._path(path).is_file()

    def list_files(self, folder: str) -> list[StoredFile]:
        files: list[StoredFile] = []
        for entry, path in self._walk(folder):
            if not is_temporary(entry.name):
                with contextlib.suppress(FileNotFoundError):  # gone between the listing and this look
                    status = entry.stat()
                    files.append(StoredFile(path, status.st_size, status.st_mtime))
        return sorted(files, key=lambda file: file.path)

    def _walk(self, folder: str) -> "Iterator[tuple[os.DirEntry[str], str]]":
        pending = [folder.strip("/")]
        while pending:
            current = pending.pop()
            try:
                entries = list(os.scandir(self._path(current)))
            except (FileNotFoundError, NotADirectoryError):
                continue
            for entry in entries:
                path = f"{current}/{entry.name}" if current else entry.name
                if entry.is_dir(follow_symlinks=False):
                    pending.append(path)
                else:
                    yield entry, path

    def delete(self, path: str) -> None:
        self._path(path).unlink(missing_ok=True)

    def delete_tree(self, folder: str) -> None:
        target = self._path(folder)
        while True:
            try:
                shutil.rmtree(target)
                return
            except FileNotFoundError:  # all of it was gone, or a neighbour removed one file first
                if not target.exists():
                    return

    def delete_empty_folders(self, folder: str) -> None:
        for current, _, _ in os.walk(self._path(folder), topdown=False):
            with contextlib.suppress(OSError):  # not empty, or gone already
                Path(current).rmdir()

    def delete_unless_appended(self, path: str) -> bool:
        return remove_unless_locked(self._path(path))

    def delete_leftovers(self) -> None:
        for entry, path in self._walk(""):
            if is_temporary(entry.name):
                remove_unless_locked(self._path(path))

    def open_output(self, path: str) -> LocalOutput:
        return LocalOutput(self._path(path))

    def open_parquet(self, path: str) -> pq.ParquetFile:
        return pq.ParquetFile(self._path(path), memory_map=True, page_checksum_verification=True)

    def digest(self, path: str) -> str:
        with self._path(path).open("rb") as file:
            digest = hashlib.sha256()
            while block := file.read(1 << 20):
                digest.update(block)
            return digest.hexdigest()

    def move(self, source: str, target: str) -> None:
        origin, goal = self._path(source), self._path(target)
        make_folder(goal.parent)
        origin.replace(goal)
        sync_folder(goal.parent)
        sync_folder(origin.parent)

    def link(self, source: str, target: str) -> None:
        origin, goal = self._path(source), self._path(target)
        make_folder(goal.parent)
        goal.unlink(missing_ok=True)
        try:
            goal.hardlink_to(origin)
        except OSError as error:
            if error.errno not in _NO_HARD_LINKS:
                raise
            self._copy(origin, target)

    def _copy(self, origin: Path, target: str) -> None:
        with origin.open("rb") as file, self.open_output(target) as output:
            while block := file.read(1 << 20):
                output.write(block)

    def sync_folder(self, folder: str) -> None:
        sync_folder(self._path(folder))

    def append(self, path: str) -> LocalAppender:
        return LocalAppender(self._path(path))

    def is_being_appended(self, path: str) -> bool:
        return is_locked(self._path(path))

    def lock(self, name: str) -> AbstractContextManager[None]:
        return hold_lock(self._path(f"{LOCKS}/{name}.lock"))

    def check_writable(self) -> None:
        probe = temporary_beside(self._path("probe"))
        try:
            with LocalOutput(probe) as output:
                output.write(b"")
            probe.unlink()
        except OSError as error:
            raise ConfigError(
                f"cannot write to the dataset folder {self.root}: {error.strerror or error}. "
                "Choose another folder (dataset: in the config) or give yourself write access to it."
            ) from error
