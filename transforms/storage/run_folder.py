"""One run's own folder: its stop flag, bill, progress and staged files; gone after the run.

The secret kept is where these lie (``_journal/runs/<run_id>/``) and how others can tell that the run still lives.
"""

import contextlib
import json
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Literal

from transforms.storage.store import Appender, Store

NoteKind = Literal["reading", "progress", "timeline"]
"""What a process leaves for those who watch: documents and chunks read, texts embedded, and that over time."""

RUNS = "_journal/runs"
DEAD_AFTER_SECONDS = 86_400.0
"""On gs://, where nobody can hold a lock: a run whose folder has not changed for a day is dead."""
SIGN_SECONDS = 600.0
"""How often a living run changes its folder there, whatever else it does."""


@dataclass(frozen=True, slots=True)
class StopNotice:
    """Why a run has to stop: the name of an error of ``transforms.errors``, with its sentence."""

    kind: str
    message: str


@dataclass(frozen=True, slots=True)
class RunFolder:
    """What all processes of one run share.

    Attributes:
        run_id: unique for each start of the program; letters, digits, ``-`` and ``_``.
    """

    store: Store
    run_id: str

    def path(self, name: str) -> str:
        """Return the path of a file of this run, relative to the dataset."""
        return f"{RUNS}/{self.run_id}/{name}"

    def stop(self, kind: str, message: str) -> None:
        """Ask all processes of the run to stop; the first reason given is the one that counts."""
        notice = {"kind": kind, "message": message}
        self.store.create_bytes(self.path("stop.json"), json.dumps(notice).encode())

    def stop_notice(self) -> StopNotice | None:
        """Return why the run has to stop, or None; each call looks at the store, so ask about once a second at most."""
        found = self._read("stop.json")
        return StopNotice(str(found["kind"]), str(found["message"])) if found else None

    def write_bill(self, bill: Mapping[str, Any]) -> None:
        """Leave the bill for the launcher."""
        self._write("bill.json", bill)

    def bill(self) -> dict[str, Any] | None:
        """Return the bill, or None while it is not known."""
        return self._read("bill.json")

    def is_tidied_away(self) -> bool:
        """Tell, once the bill is known, whether the launcher or a later run has removed this folder: the run is over."""
        return not self.store.exists(self.path("bill.json"))

    def write_outcome(self, outcome: Mapping[str, Any]) -> None:
        """Leave what the run has come to for the launcher."""
        self._write("outcome.json", outcome)

    def outcome(self) -> dict[str, Any] | None:
        """Return what the run has come to, or None while it goes on."""
        return self._read("outcome.json")

    def write_note(self, kind: NoteKind, process: str, note: Mapping[str, Any]) -> None:
        """Leave one process's latest numbers of a kind, in place of its earlier ones."""
        self._write(f"{kind}/{process}.json", note)

    def notes(self, kind: NoteKind, most: int) -> tuple[list[dict[str, Any]], int]:
        """Return the latest numbers of at most so many processes, in the order of their names, and how many there are."""
        files = self.store.list_files(self.path(kind))
        found = [self._read_path(file.path) for file in files[:most]]
        return [one for one in found if one is not None], len(files)

    def write_progress(self, process: str, progress: Mapping[str, Any]) -> None:
        """Leave one process's latest numbers of embedding, in place of its earlier ones."""
        self.write_note("progress", process, progress)

    def progress(self) -> list[dict[str, Any]]:
        """Return the latest numbers of embedding of every process, in the order of their names."""
        files = self.store.list_files(self.path("progress"))
        found = [self._read_path(file.path) for file in files]
        return [one for one in found if one is not None]

    def staged_part_path(self, bucket: int, buckets: int) -> str:
        """Return where an attempt writes a bucket's part: a fresh name at each call, and no reader's glob finds it."""
        return self.path(f"staged/part-{bucket:05d}-of-{buckets:05d}.{secrets.token_hex(8)}.staged")

    def staged_changes_path(self, bucket: int) -> str:
        """Return where an attempt writes a bucket's changed ids: a fresh name at each call."""
        return self.path(f"staged/changes-{bucket:05d}.{secrets.token_hex(8)}.staged")

    @contextlib.contextmanager
    def alive(self) -> Iterator[None]:
        """Hold the sign of life, for the launcher, around the whole run: nobody tidies the folder up meanwhile."""
        with self.store.lock("runs"):
            sign = self.store.append(self.path("alive"))
        try:
            sign.append(b"\n")
            sign.sync()
            with contextlib.nullcontext() if self.store.moves_folders else _renewed(sign):
                yield
        finally:
            sign.close()

    def remove(self) -> None:
        """Remove the folder with what is staged in it; for the run itself, once it is over."""
        self.store.delete_tree(self.path("").rstrip("/"))
        self.store.delete_empty_folders("_journal")

    def _write(self, name: str, value: Mapping[str, Any]) -> None:
        self.store.write_bytes(self.path(name), json.dumps(value).encode())

    def _read(self, name: str) -> dict[str, Any] | None:
        return self._read_path(self.path(name))

    def _read_path(self, path: str) -> dict[str, Any] | None:
        try:
            found = json.loads(self.store.read_bytes(path))
        except FileNotFoundError:
            return None
        return found if isinstance(found, dict) else None


def _renewed(sign: Appender) -> AbstractContextManager[None]:
    def give() -> None:
        sign.append(b"\n")
        sign.sync()

    return renewed(give, SIGN_SECONDS)


@contextlib.contextmanager
def renewed(give: Callable[[], None], every_seconds: float) -> Iterator[None]:
    """Give a sign of life again and again, on a thread of its own."""
    ended = threading.Event()

    def renew() -> None:
        while not ended.wait(every_seconds):
            with contextlib.suppress(OSError):  # the next one may succeed before anybody takes us for dead
                give()

    thread = threading.Thread(target=renew, name="sign-of-life", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def run_ids(store: Store) -> dict[str, float]:
    """Return every run that has a folder, with the time of its folder's last change (seconds since 1970)."""
    runs: dict[str, float] = {}
    for file in store.list_files(RUNS):
        run_id = file.path[len(RUNS) + 1 :].split("/", 1)[0]
        runs[run_id] = max(runs.get(run_id, 0.0), file.modified)
    return runs


def is_dead(
    store: Store,
    run_id: str,
    last_change: float,
    clock: Callable[[], float] = time.time,
    dead_after_seconds: float = DEAD_AFTER_SECONDS,
) -> bool:
    """Tell whether a run is over: locally nobody holds its sign of life, on gs:// its folder has not changed for long."""
    if store.moves_folders:
        return not store.is_being_appended(f"{RUNS}/{run_id}/alive")
    return clock() - last_change > dead_after_seconds


def remove_dead_runs(
    store: Store,
    except_run_id: str,
    clock: Callable[[], float] = time.time,
    dead_after_seconds: float = DEAD_AFTER_SECONDS,
) -> list[tuple[str, int]]:
    """Remove the folders of runs that are over; paid vectors do not lie in them and stay.

    Returns:
        Each removed folder with its bytes.
    """
    removed = []
    with store.lock("runs"):
        for run_id, last_change in sorted(run_ids(store).items()):
            if run_id != except_run_id and is_dead(store, run_id, last_change, clock, dead_after_seconds):
                folder = f"{RUNS}/{run_id}"
                removed.append((folder, sum(file.size_bytes for file in store.list_files(folder))))
                store.delete_tree(folder)
    store.delete_empty_folders("_journal")
    return removed
