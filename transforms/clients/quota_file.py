"""One quota shared exactly by several processes of one machine, through a small locked file named after the run.

The state lies in the file as a row of doubles under one lock; each place in flight is a locked byte of its own, so that the
kernel gives back what a killed process held. The last process to leave removes the file.
"""

import fcntl
import hashlib
import os
import struct
import tempfile
import threading
from collections.abc import Callable
from dataclasses import astuple, fields
from pathlib import Path
from typing import Final, TypeVar

from transforms.core.pacing import PaceState

T = TypeVar("T")

_ROW: Final = struct.Struct(f"<{1 + len(fields(PaceState))}d")
_LAYOUT_VERSION: Final = 1.0
_STATE_BYTE: Final = 0
_PRESENCE_BYTE: Final = 1
_FIRST_SLOT_BYTE: Final = 1024

_open_here: set[Path] = set()


def quota_file_path(run_id: str, folder: Path | None = None) -> Path:
    """Name the file that all processes of a run on this machine agree on; the folder is the user's own."""
    base = folder if folder is not None else Path(tempfile.gettempdir()) / f"embedbeam-{os.getuid()}"
    return base / f"quota-{hashlib.sha256(run_id.encode()).hexdigest()[:24]}"


class FileCell:
    """The pace of all processes that open the same file; keep one per file and process.

    Args:
        start: makes the state when this process is the first.
    """

    def __init__(self, path: Path, start: Callable[[], PaceState]) -> None:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _remove_abandoned(path.parent)
        _open_here.add(path)
        self._path = path
        self._lock = threading.Lock()
        self._slots: set[int] = set()
        self._left_with: PaceState | None = None
        self._file = _open_present(path)
        with self._lock, _Locked(self._file):
            if self._read() is None:
                self._write(start())

    def change(self, step: Callable[[PaceState], tuple[PaceState, T]]) -> T:
        with self._lock:
            if self._left_with is not None:
                self._left_with, result = step(self._left_with)
                return result
            with _Locked(self._file):
                before = self._known_state()
                after, result = step(before)
                if after is not before:
                    self._write(after)
                return result

    def take_slot(self, limit: int) -> int | None:
        with self._lock:
            for slot in range(limit if self._left_with is None else 0):
                if slot not in self._slots and _try_lock(self._file, _FIRST_SLOT_BYTE + slot):
                    self._slots.add(slot)
                    return slot
            return None

    def give_slot(self, slot: int) -> None:
        with self._lock:
            self._slots.discard(slot)
            if self._left_with is None:
                fcntl.lockf(self._file, fcntl.LOCK_UN, 1, _FIRST_SLOT_BYTE + slot)

    def close(self) -> None:
        """Leave; a request that is still in flight then learns for itself alone and writes to no file."""
        with self._lock:
            if self._left_with is not None:
                return
            with _Locked(self._file):
                self._left_with = self._known_state()
            if _try_lock(self._file, _PRESENCE_BYTE):
                self._path.unlink(missing_ok=True)
            os.close(self._file)
            _open_here.discard(self._path)

    def _known_state(self) -> PaceState:
        state = self._read()
        if state is None:
            raise OSError(f"the quota file {self._path} was emptied while the run was using it")
        return state

    def _read(self) -> PaceState | None:
        row = os.pread(self._file, _ROW.size, 0)
        if len(row) < _ROW.size:
            return None
        version, *numbers = _ROW.unpack(row)
        return PaceState(*numbers) if version == _LAYOUT_VERSION else None

    def _write(self, state: PaceState) -> None:
        os.pwrite(self._file, _ROW.pack(_LAYOUT_VERSION, *astuple(state)), 0)


class _Locked:
    """Hold the lock on the state; waiting for it takes microseconds because nobody sleeps while holding it."""

    def __init__(self, file: int) -> None:
        self._file = file

    def __enter__(self) -> None:
        fcntl.lockf(self._file, fcntl.LOCK_EX, 1, _STATE_BYTE)

    def __exit__(self, *_: object) -> None:
        fcntl.lockf(self._file, fcntl.LOCK_UN, 1, _STATE_BYTE)


def _open_present(path: Path) -> int:
    """Open the file and mark our presence; again when the last process removed it in between."""
    while True:
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        fcntl.lockf(file, fcntl.LOCK_SH, 1, _PRESENCE_BYTE)
        if path.exists() and os.fstat(file).st_ino == path.stat().st_ino:
            return file
        os.close(file)


def _remove_abandoned(folder: Path) -> None:
    """Remove the files of killed runs, which nobody has open any more.

    Files that this process has open are not even looked at: closing any handle on a file gives up all of the process's
    locks on it, which is how POSIX locks are.
    """
    for path in folder.glob("quota-*"):
        if path in _open_here:
            continue
        try:
            file = os.open(path, os.O_RDWR | os.O_NOFOLLOW)
        except OSError:
            continue
        if _try_lock(file, _PRESENCE_BYTE):
            path.unlink(missing_ok=True)
        os.close(file)


def _try_lock(file: int, byte: int) -> bool:
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, byte)
    except OSError:
        return False
    return True
