"""Where manifests and versions lie in a dataset, and what they say."""

import re

from transforms.core.manifest import Manifest, parse_manifest
from transforms.errors import RunRefused
from transforms.storage.store import Store

MANIFEST = "manifest.json"
VERSIONS = "versions"
_VERSION_FOLDER = re.compile(r"versions/(\d{6,})/")


def version_folder(version: int) -> str:
    """Return a version's folder, relative to the dataset: ``versions/000003``."""
    return f"{VERSIONS}/{version:06d}"


def read_current(store: Store) -> bytes | None:
    """Return the bytes of the dataset's manifest, or None where nothing is committed."""
    try:
        return store.read_bytes(MANIFEST)
    except FileNotFoundError:
        return None


def current_manifest(store: Store) -> Manifest | None:
    """Return the committed version's manifest, or None where nothing is committed.

    Raises:
        FatalError: the manifest is of another format, or damaged.
    """
    data = read_current(store)
    return None if data is None else parse_manifest(data, f"{store.root}/{MANIFEST}")


def manifest_of_version(store: Store, version: int) -> Manifest:
    """Return the manifest of one committed version.

    Raises:
        RunRefused: that version is not there.
        FatalError: its manifest is of another format, or damaged.
    """
    path = f"{version_folder(version)}/{MANIFEST}"
    try:
        data = store.read_bytes(path)
    except FileNotFoundError:
        raise RunRefused(
            f"version {version} of {store.root} is not there ({path} is missing): another run or gc has removed it. "
            "Run again from the current version."
        ) from None
    return parse_manifest(data, f"{store.root}/{path}")


def versions_present(store: Store) -> list[int]:
    """Return the numbers of all version folders with files in them, committed or not, in order."""
    matches = (_VERSION_FOLDER.match(file.path) for file in store.list_files(VERSIONS))
    return sorted({int(match.group(1)) for match in matches if match})


def versions_to_keep(store: Store, current: Manifest, keep: int) -> set[int]:
    """Return the current version and those it grew from, ``keep`` in all where so many are still there."""
    kept, manifest = {current.version}, current
    while len(kept) < keep and manifest.previous_version:
        kept.add(manifest.previous_version)
        try:
            manifest = manifest_of_version(store, manifest.previous_version)
        except RunRefused:
            break
    return kept
