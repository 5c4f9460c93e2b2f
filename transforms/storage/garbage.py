"""What of a dataset can go, and whether what stays is what its manifest says."""

import json
import time
from collections.abc import Callable

import pyarrow as pa

from transforms.core.manifest import Manifest, PartEntry
from transforms.core.tables import list_of_hashes
from transforms.storage.journal import Journal
from transforms.storage.manifests import MANIFEST, current_manifest, version_folder, versions_present, versions_to_keep
from transforms.storage.previous_version import PreviousVersion
from transforms.storage.run_folder import DEAD_AFTER_SECONDS, is_dead, remove_dead_runs, run_ids
from transforms.storage.store import Store
from transforms.storage.versions import CLAIM, remove_version

_JOURNAL = "_journal"
_IsOver = Callable[[str, float], bool]
"""A run and the time of its folder's last change to whether it is over."""


def collect_garbage(
    store: Store,
    keep: int,
    fingerprint: str = "",
    clock: Callable[[], float] = time.time,
    dead_after_seconds: float = DEAD_AFTER_SECONDS,
) -> list[tuple[str, int]]:
    """Remove what no reader and no later run needs: old versions, folders without a manifest, dead runs, journals.

    Of the journal go segments whose every text the committed version holds and, where ``fingerprint`` is given,
    finished segments of other fingerprints that are older than the last commit: the dataset refuses what they were
    paid for. Never removed: what a living run writes, and paid vectors that the committed version does not hold, under
    the given fingerprint or, without one, under any. Before the first commit only dead runs' staged files go.

    ``keep`` counts the current version; ``fingerprint`` is the journal's name under today's configuration, "" when it
    is not known. ``dead_after_seconds`` counts on gs:// only: a run whose folder has not changed for so long is over, and
    with it the version that it claimed.

    Returns:
        Each removed path, relative to the dataset, with its bytes.
    """
    removed = remove_dead_runs(store, "", clock, dead_after_seconds)
    with store.lock("commit"):
        current = current_manifest(store)
        if current is not None:
            removed += _remove_versions(
                store, current, keep, lambda run_id, changed: is_dead(store, run_id, changed, clock, dead_after_seconds)
            )
    if current is not None:
        removed += _remove_journals(store, current, fingerprint)
    store.delete_leftovers()
    store.delete_empty_folders(_JOURNAL)
    return removed


def _remove_versions(store: Store, current: Manifest, keep: int, is_over: _IsOver) -> list[tuple[str, int]]:
    kept = versions_to_keep(store, current, keep)
    present = [one for one in versions_present(store) if one not in kept]
    return [
        remove_version(store, one) for one in present if one < current.version or _is_abandoned(store, one, is_over)
    ]


def _is_abandoned(store: Store, version: int, is_over: _IsOver) -> bool:
    """Tell whether nobody fills a version's folder: locally the commit lock proves it, on gs:// a dead run's claim."""
    if store.moves_folders:
        return True
    try:
        run_id = str(json.loads(store.read_bytes(f"{version_folder(version)}/{CLAIM}"))["run_id"])
    except FileNotFoundError:
        return True
    return is_over(run_id, run_ids(store).get(run_id, 0.0))


def _remove_journals(store: Store, current: Manifest, fingerprint: str) -> list[tuple[str, int]]:
    previous = PreviousVersion(store, current)
    removed = []
    for found in journal_names(store):
        journal = Journal(store, found)
        removed += journal.remove_held("", lambda bits, bucket: _hashes(previous, bits, bucket))
        if fingerprint and found != fingerprint:
            removed += _remove_older(store, journal)
            if not journal.segments():
                store.delete(journal.facts_path)
    return removed


def _hashes(previous: PreviousVersion, bits: int, bucket: int) -> set[bytes]:
    return set(list_of_hashes(previous.read_hashes(bits, bucket)))


def _remove_older(store: Store, journal: Journal) -> list[tuple[str, int]]:
    committed = next(file.modified for file in store.list_files("") if file.path == MANIFEST)
    older = [segment for segment in journal.segments() if segment.modified < committed]
    gone = [(one.path, one.size_bytes) for one in older if store.delete_unless_appended(one.path)]
    journal.refresh()
    return gone


def journal_names(store: Store) -> list[str]:
    """Return the fingerprint of every journal of a dataset."""
    folders = {file.path.split("/")[1] for file in store.list_files(_JOURNAL)}
    return sorted(folders - {"runs", "locks"})


def verify_version(store: Store, manifest: Manifest) -> list[str]:
    """Return a sentence for each part that is not what the manifest says: missing, other bytes, other rows."""
    problems = (_find_problem(store, part) for part in manifest.parts)
    return [problem for problem in problems if problem]


def _find_problem(store: Store, part: PartEntry) -> str:
    try:
        digest = store.digest(part.path)
        if digest != part.sha256:
            return f"{part.path} has sha256 {digest} instead of {part.sha256}"
        rows = store.open_parquet(part.path).metadata.num_rows
    except FileNotFoundError:
        return f"{part.path} is missing"
    except pa.ArrowInvalid as error:
        return f"{part.path} is no Parquet file: {error}"
    return "" if rows == part.rows else f"{part.path} has {rows} rows instead of {part.rows}"
