"""A dataset's folder on a disk; what is promised stands in ``store``, when bytes are durable in ``local_files``."""

import contextlib
import errno
import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq

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
from transforms.storage.store import MakeHead, StoredFile, no_head

LOCKS = "_journal/locks"
_NO_HARD_LINKS = frozenset({errno.EPERM, errno.EXDEV, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK})


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

    @property
    def calls_at_once(self) -> int:
        return 1

    def read_bytes(self, path: str) -> bytes:
        return self._path(path).read_bytes()

    def read_head(self, path: str, most_bytes: int) -> bytes:
        with self._path(path).open("rb") as file:
            return file.read(most_bytes)

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

    def append(self, path: str, make_head: MakeHead = no_head) -> LocalAppender:
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
