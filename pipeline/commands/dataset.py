"""The dataset that a command line names: its store and the manifest of one of its versions, or a sentence why not."""

import argparse

from transforms.core.manifest import Manifest
from transforms.errors import ConfigError, RunRefused
from transforms.storage.manifests import MANIFEST, manifest_of_version, versions_present
from transforms.storage.store import Store, open_store
from transforms.storage.versions import current_manifest


def add_dataset_arguments(parser: argparse.ArgumentParser, help: str = "a local folder or gs://bucket/prefix") -> None:
    """Declare how a command is told which dataset it reads."""
    parser.add_argument("dataset", metavar="DATASET", help=help)
    parser.add_argument(
        "--billing-project", metavar="PROJECT", default="", help="who pays for a bucket of which the requester pays"
    )


def open_dataset(root: str, billing_project: str = "") -> tuple[Store, Manifest]:
    """Return a dataset's store and the manifest of its committed version.

    Raises:
        ConfigError: nothing is committed there.
        FatalError: the manifest is damaged or of another format.
    """
    store = open_store(root.rstrip("/") or root, billing_project)
    manifest = current_manifest(store)
    if manifest is None:
        raise ConfigError(_why_no_dataset(store))
    return store, manifest


def committed_versions(store: Store, current: Manifest) -> list[Manifest]:
    """Return the manifests of all committed versions that are still there, oldest first."""
    found = []
    for number in versions_present(store):
        if number < current.version:
            try:
                found.append(manifest_of_version(store, number))
            except RunRefused:  # a folder that never got its manifest was never committed
                continue
    return [*found, current]


def _why_no_dataset(store: Store) -> str:
    missing = f"there is no dataset at {store.root}: it has no {MANIFEST}"
    if store.list_files("_journal"):
        return f"{missing}, and its run has not finished; the same `embedbeam run` goes on where it stopped"
    return f"{missing}. Name the folder that the config calls 'dataset:'"
