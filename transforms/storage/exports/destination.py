"""The folder that an export is written to: whose it is, how far it has come, when it is finished.

``_export/plan.json`` is written first and says what is being exported; ``_export/done/`` has a note for each finished file;
``export.json`` is written last, and only what has one is finished. Everything is named by the version and the format, so the
same command goes on where an earlier one stopped, and another one is refused.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from transforms.errors import ConfigError
from transforms.storage.exports.layout import Export
from transforms.storage.store import Store

MARKER = "export.json"
_WORK = "_export"
_PLAN = f"{_WORK}/plan.json"
_RELEASE = "embedbeam-export/1"


@dataclass(frozen=True, slots=True)
class Destination:
    """A folder that this export may write to.

    Attributes:
        store: the folder.
        plan: what is exported.
        finished: notes on the files that are there already, by path.
        is_complete: whether nothing is left to do.
    """

    store: Store
    plan: Mapping[str, Any]
    finished: Mapping[str, Mapping[str, Any]]
    is_complete: bool

    def note_finished(self, path: str, rows: int, size_bytes: int, sha256: str) -> dict[str, Any]:
        """Remember that a file is finished, so that it is not written again; return the note."""
        note = {"path": path, "rows": rows, "bytes": size_bytes, "sha256": sha256}
        self.store.write_bytes(f"{_WORK}/done/{path.replace('/', '__')}.json", json.dumps(note).encode())
        return note

    def finish(self, found: Mapping[str, Any]) -> None:
        """Write the marker, last, and remove the notes."""
        self.store.write_bytes(MARKER, (json.dumps({**self.plan, **found}, indent=2) + "\n").encode())
        self.store.delete_tree(_WORK)


def open_destination(store: Store, export: Export, format_name: str) -> Destination:
    """Take a folder for an export: an empty one, or the one that the same export was writing to.

    Raises:
        ConfigError: it holds something else; with the remedy.
    """
    plan = _plan(export, format_name)
    files = {file.path: file.size_bytes for file in store.list_files("")}
    if MARKER in files:
        marker = _read(store, MARKER)
        _refuse_other(store, plan, marker, "holds an")
        _refuse_incomplete(store, marker, files)
        store.delete_tree(_WORK)
        return Destination(store, plan, {note["path"]: note for note in marker["files"]}, True)
    if _PLAN in files:
        _refuse_other(store, plan, _read(store, _PLAN), "holds an unfinished")
        store.delete_leftovers()
        return Destination(store, plan, _finished(store, files), False)
    if files:
        raise ConfigError(
            f"{store.root} is not empty (it has {min(files)}) and is no export: name a new or an empty folder"
        )
    store.write_bytes(_PLAN, json.dumps(plan).encode())
    return Destination(store, plan, {}, False)


def _plan(export: Export, format_name: str) -> dict[str, Any]:
    parts = "".join(entry.sha256 for entry in export.manifest.parts)
    return {
        "release": _RELEASE,
        "format": format_name,
        "dataset": export.name,
        "version": export.manifest.version,
        "since": export.since,
        "with_text": export.with_text,
        "parts_sha256": hashlib.sha256(parts.encode()).hexdigest(),
    }


def _read(store: Store, path: str) -> dict[str, Any]:
    try:
        found = json.loads(store.read_bytes(path))
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise ConfigError(f"{store.root}/{path} is not what an export writes: name a new or an empty folder")
    return found


def _refuse_other(store: Store, plan: Mapping[str, Any], found: Mapping[str, Any], holds: str) -> None:
    if all(found.get(key) == value for key, value in plan.items()):
        return
    raise ConfigError(
        f"{store.root} {holds} export of {_words(found)}, and this one is of {_words(plan)}: name another folder, or remove "
        "that one first"
    )


def _words(plan: Mapping[str, Any]) -> str:
    since = f" since version {plan['since']}" if plan.get("since") is not None else ""
    without = "" if plan.get("with_text", True) else ", without text"
    parts = str(plan.get("parts_sha256", ""))[:8]
    return f"{plan.get('dataset')} ({parts}) version {plan.get('version')}{since} as {plan.get('format')}{without}"


def _refuse_incomplete(store: Store, marker: Mapping[str, Any], files: Mapping[str, int]) -> None:
    wrong = [note["path"] for note in marker["files"] if files.get(note["path"]) != note["bytes"]]
    if wrong:
        raise ConfigError(
            f"{store.root} was a finished export, and {wrong[0]} is missing or changed since: remove the folder "
            "and export again"
        )


def _finished(store: Store, files: Mapping[str, int]) -> dict[str, dict[str, Any]]:
    """Return the notes on files that are there with the size they were finished with."""
    notes = [_read(store, path) for path in files if path.startswith(f"{_WORK}/done/")]
    return {note["path"]: note for note in notes if files.get(note["path"]) == note["bytes"]}
