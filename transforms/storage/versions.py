"""Commits: a finished run's parts become the next version, once, or nothing happens; the secret kept is the protocol.

Locally, under a lock that dies with its holder: the version is put together in the run's own folder, made durable,
renamed to ``versions/NNNNNN`` in one step, and ``manifest.json`` is replaced last. A folder of that number that no
manifest points at is what a crash between the last two steps has left; the next commit removes it.

On gs://, which has neither locks nor renames: an attempt claims a number by creating ``versions/NNNNNN/_claim.json``,
which only one can. A number that is claimed is never taken over, not even from a dead run: who finds one takes the
next, so two attempts never write into one folder, and numbers may skip. The objects are copied, and ``manifest.json``
is replaced if it still is the one this run started from. A claim lives as long as its folder, so a slow attempt cannot
claim a number twice; folders of lost or dead attempts go with ``collect_garbage``.
"""

import hashlib
import json
import secrets
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from transforms.core.manifest import Manifest, parse_manifest
from transforms.errors import CommitConflict, FatalError, RunRefused
from transforms.storage.manifests import (
    MANIFEST,
    VERSIONS,
    current_manifest,
    manifest_of_version,
    read_current,
    version_folder,
    versions_present,
    versions_to_keep,
)
from transforms.storage.previous_version import PreviousVersion
from transforms.storage.run_folder import RunFolder
from transforms.storage.store import Store

__all__ = [
    "CLAIM",
    "PreviousVersion",
    "commit_version",
    "current_manifest",
    "manifest_of_version",
    "remove_old_versions",
]

CLAIM = "_claim.json"
_COPIES_AT_ONCE = 16

BuildManifest = Callable[[int, str], Manifest]


def commit_version(
    store: Store,
    run: RunFolder,
    parts: Sequence[tuple[str, str]],
    extra_files: Mapping[str, bytes],
    build_manifest: BuildManifest,
    previous: Manifest | None,
) -> Manifest:
    """Make a finished run's parts the next version.

    Repeating it after it failed half-way starts over; after it succeeded it returns what it had committed. Staged
    parts stay until the run's folder is removed, so that it can be repeated.

    ``parts`` are pairs: path of a staged or of a committed, unchanged part, and its file name in the version.
    ``extra_files`` are further files of the version by name. ``build_manifest`` makes the manifest for a version and
    its folder. ``previous`` is what the run started from, None when nothing was committed.

    Raises:
        CommitConflict: another run has committed meanwhile.
        FatalError: the manifest does not describe the files that are there.
    """
    names = [name for _, name in parts]
    if len({*names, *extra_files, MANIFEST, CLAIM}) != len(names) + len(extra_files) + 2:
        raise ValueError(f"two files of one version have the same name: {sorted([*names, *extra_files])}")
    with store.lock("commit"):
        current = read_current(store)
        committed = _committed_by(run, current)
        if committed is not None:
            return committed
        _refuse_if_changed(store, current, previous)
        attempt = _commit_by_rename if store.moves_folders else _commit_by_claim
        return attempt(store, run, parts, extra_files, build_manifest, current, previous)


def _committed_by(run: RunFolder, current: bytes | None) -> Manifest | None:
    """Return the current manifest if this very run has put it there."""
    if current is None or not run.store.exists(_intent_path(run, current)):
        return None
    return parse_manifest(current)


def _intent_path(run: RunFolder, manifest: bytes) -> str:
    return run.path(f"commits/{hashlib.sha256(manifest).hexdigest()}")


def _refuse_if_changed(store: Store, current: bytes | None, previous: Manifest | None) -> None:
    found = None if current is None else parse_manifest(current, f"{store.root}/{MANIFEST}")
    if found == previous:
        return
    started = "no version" if previous is None else f"version {previous.version}"
    now = "there is none" if found is None else f"the dataset is at version {found.version}"
    raise CommitConflict(
        f"another run has committed to {store.root} meanwhile: this run started from {started}, and now {now}. "
        "Nothing was overwritten, and what this run paid for stays in the journal: run again to commit it on top"
    )


def _refuse_if_manifest_was_lost(store: Store, previous: Manifest | None) -> None:
    """Refuse to start over at version 1 where later versions lie: a crash leaves at most the first one without a manifest."""
    present = versions_present(store)
    if previous is None and present not in ([], [1]):
        last = f"{version_folder(present[-1])}/{MANIFEST}"
        raise RunRefused(
            f"{store.root}/{MANIFEST} is missing, but versions {present[0]} to {present[-1]} are there, and a new version 1 "
            f"would replace them. Copy {last} to {MANIFEST} to go on from there, or write to a new dataset path"
        )


def _next_version(previous: Manifest | None) -> int:
    return 1 if previous is None else previous.version + 1


def _commit_by_rename(
    store: Store,
    run: RunFolder,
    parts: Sequence[tuple[str, str]],
    extra_files: Mapping[str, bytes],
    build_manifest: BuildManifest,
    current: bytes | None,
    previous: Manifest | None,
) -> Manifest:
    _refuse_if_manifest_was_lost(store, previous)
    version, building = _next_version(previous), run.path("version")
    folder = version_folder(version)
    store.delete_tree(building)
    store.delete_tree(folder)
    for source, name in parts:
        store.link(source, f"{building}/{name}")
    for name, data in extra_files.items():
        store.write_bytes(f"{building}/{name}", data)
    manifest = build_manifest(version, folder)
    _check_files(store, building, folder, manifest)
    data = manifest.to_json()
    store.write_bytes(f"{building}/{MANIFEST}", data)
    store.sync_folder(building)
    store.write_bytes(_intent_path(run, data), b"")
    store.move(building, folder)
    if not store.replace_bytes(MANIFEST, data, current):
        _refuse_if_changed(store, read_current(store), previous)
    return manifest


def _commit_by_claim(
    store: Store,
    run: RunFolder,
    parts: Sequence[tuple[str, str]],
    extra_files: Mapping[str, bytes],
    build_manifest: BuildManifest,
    current: bytes | None,
    previous: Manifest | None,
) -> Manifest:
    version = _claim_version(store, run, _next_version(previous))
    folder = version_folder(version)
    with ThreadPoolExecutor(_COPIES_AT_ONCE) as pool:
        list(pool.map(lambda part: store.link(part[0], f"{folder}/{part[1]}"), parts))
    for name, content in extra_files.items():
        store.write_bytes(f"{folder}/{name}", content)
    manifest = build_manifest(version, folder)
    _check_files(store, folder, folder, manifest)
    data = manifest.to_json()
    store.write_bytes(f"{folder}/{MANIFEST}", data)
    store.write_bytes(_intent_path(run, data), b"")
    if store.replace_bytes(MANIFEST, data, current):
        return manifest
    store.delete_tree(folder)
    found = read_current(store)
    committed = _committed_by(run, found)  # by another attempt of this run
    if committed is None:
        _refuse_if_changed(store, found, previous)
        raise FatalError(f"{store.root}/{MANIFEST} changed and changed back while this run was committing; run again")
    return committed


def _claim_version(store: Store, run: RunFolder, lowest: int) -> int:
    """Return the lowest number that nobody has claimed, claimed for this attempt."""
    claim = json.dumps({"run_id": run.run_id, "attempt": secrets.token_hex(8)}).encode()
    version = lowest
    while not store.create_bytes(f"{version_folder(version)}/{CLAIM}", claim):
        version += 1
    return version


def _check_files(store: Store, where: str, folder: str, manifest: Manifest) -> None:
    """Refuse a manifest whose parts are not there, byte for byte as many as it says."""
    sizes = {f"{folder}/{file.path[len(where) + 1 :]}": file.size_bytes for file in store.list_files(where)}
    wrong = [part.path for part in manifest.parts if sizes.get(part.path) != part.bytes]
    unnamed = {path for path in sizes if "/part-" in path} - {part.path for part in manifest.parts}
    if wrong or unnamed:
        raise FatalError(
            f"version {manifest.version} is not committed, because its files are not those of its manifest: "
            f"{', '.join([*wrong, *sorted(unnamed)][:5])}. What was paid stays in the journal: run again"
        )


def remove_old_versions(store: Store, keep: int) -> list[tuple[str, int]]:
    """Remove versions older than the current one, except the ``keep - 1`` that it grew from last.

    Newer folders stay: on gs:// a run may be filling one.

    Returns:
        Each removed folder with its bytes.
    """
    with store.lock("commit"):
        current = current_manifest(store)
        if current is None:
            return []
        kept = versions_to_keep(store, current, keep)
        old = [one for one in versions_present(store) if one < current.version and one not in kept]
        return [remove_version(store, version) for version in old]


def remove_version(store: Store, version: int) -> tuple[str, int]:
    """Remove a version's folder, its manifest (which makes it finished) first; return the folder and its bytes."""
    folder = version_folder(version)
    size = sum(file.size_bytes for file in store.list_files(folder))
    store.delete(f"{folder}/{MANIFEST}")
    store.delete_tree(folder)
    store.delete_empty_folders(VERSIONS)
    return folder, size
