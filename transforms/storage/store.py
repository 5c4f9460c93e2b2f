"""A dataset's folder behind one small interface; the secret kept is whether bytes lie on a disk or in a bucket.

Paths are relative to the store's root, with ``/`` between their parts. A *folder* is a path's beginning up to a ``/``.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol

import pyarrow.parquet as pq
from typing_extensions import Self

from transforms.errors import ConfigError

MakeHead = Callable[[Sequence[bytes]], bytes]
"""Frames to what goes before them where they are put whole; frames alone where they are appended one by one."""


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file in a listing.

    Attributes:
        path: relative to the store's root.
        size_bytes: 0 or more.
        modified: seconds since 1970 (UTC).
        sha256: of its bytes, known without reading them; "" when they are not those that its writer put there, None
            where the store cannot tell.
    """

    path: str
    size_bytes: int
    modified: float
    sha256: str | None = None


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


def no_head(frames: Sequence[bytes]) -> bytes:
    """Put nothing before frames."""
    return b""


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

    @property
    def calls_at_once(self) -> int:
        """How many reads of small files at once are faster than one after the other."""
        ...

    def read_bytes(self, path: str) -> bytes:
        """Return a file's bytes, or raise FileNotFoundError."""
        ...

    def read_head(self, path: str, most_bytes: int) -> bytes:
        """Return a file's first bytes without moving the others, or raise FileNotFoundError."""
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

    def append(self, path: str, make_head: MakeHead = no_head) -> Appender:
        """Start a growing file under a name that nobody else uses.

        Locally frames lie one behind the other from the moment of ``append``. On gs:// the file is a row of objects, in
        each what ``make_head`` makes of its frames and then those.
        """
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


def open_store(root: str, billing_project: str = "") -> Store:
    """Return the store of a local folder or of ``gs://bucket/prefix``, which need not exist yet.

    ``billing_project`` pays for requests to a bucket of which the requester pays; "" where its owner does.

    Raises:
        ConfigError: another scheme, an empty root, or a gs:// address without a bucket.
    """
    if root.startswith("gs://"):
        from transforms.storage.gcs import open_gcs_store  # here: local runs do without the library

        return open_gcs_store(root, billing_project)
    if not root or "://" in root:
        raise ConfigError(f"cannot use {root!r} as a dataset: it must be a local folder or gs://bucket/prefix")
    from transforms.storage.local_store import LocalStore  # here: it imports this module

    return LocalStore(root)
