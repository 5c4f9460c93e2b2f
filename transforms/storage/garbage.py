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
from transforms.storage.run_folder import is_dead, remove_dead_runs, run_ids
from transforms.storage.store import Store
from transforms.storage.versions import CLAIM, remove_version

_JOURNAL = "_journal"


def collect_garbage(
    store: Store, keep: int, fingerprint: str = "", clock: Callable[[], float] = time.time
) -> list[tuple[str, int]]:
    """Remove what no reader and no later run needs: old versions, folders without a manifest, dead runs, journals.

    Of the journal go segments whose every text the committed version holds and, where ``fingerprint`` is given,
    finished segments of other fingerprints that are older than the last commit: the dataset refuses what they were
    paid for. Never removed: what a living run writes, and paid vectors that the committed version does not hold, under
    the given fingerprint or, without one, under any. Before the first commit only dead runs' staged files go.

    ``keep`` counts the current version; ``fingerprint`` is the journal's name under today's configuration, "" when it
    is not known.

    Returns:
        Each removed path, relative to the dataset, with its bytes.
    """
    removed = remove_dead_runs(store, "", clock)
    with store.lock("commit"):
        current = current_manifest(store)
        if current is not None:
            removed += _remove_versions(store, current, keep, clock)
    if current is not None:
        removed += _remove_journals(store, current, fingerprint)
    store.delete_leftovers()
    store.delete_empty_folders(_JOURNAL)
    return removed


def _remove_versions(store: Store, current: Manifest, keep: int, clock: Callable[[], float]) -> list[tuple[str, int]]:
    kept = versions_to_keep(store, current, keep)
    present = [one for one in versions_present(store) if one not in kept]
    return [remove_version(store, one) for one in present if one < current.version or _is_abandoned(store, one, clock)]


def _is_abandoned(store: Store, version: int, clock: Callable[[], float]) -> bool:
    """Tell whether nobody fills a version's folder: locally the commit lock proves it, on gs:// a dead run's claim."""
    if store.moves_folders:
        return True
    try:
        run_id = str(json.loads(store.read_bytes(f"{version_folder(version)}/{CLAIM}"))["run_id"])
    except FileNotFoundError:
        return True
    return is_dead(store, run_id, run_ids(store).get(run_id, 0.0), clock)


def _remove_journals(store: Store, current: Manifest, fingerprint: str) -> list[tuple[str, int]]:
    previous = PreviousVersion(store, current)
    removed = []
    for found in _fingerprints(store):
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


def _fingerprints(store: Store) -> list[str]:
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
