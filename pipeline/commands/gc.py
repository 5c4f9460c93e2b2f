"""``embedbeam gc``: remove what no reader and no later run of a dataset needs."""

import argparse
import contextlib
import json
from typing import Any, TextIO, cast

from pipeline.commands.dataset import open_dataset
from pipeline.commands.plain_text import counted, size_text, table
from transforms.storage.garbage import collect_garbage
from transforms.storage.store import Store

_KEEP = 2


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("dataset", metavar="DATASET", help="a local folder or gs://bucket/prefix")
    parser.add_argument(
        "--keep", metavar="N", type=_positive, default=_KEEP, help=f"versions to keep, with the current one ({_KEEP})"
    )
    parser.add_argument("--dry-run", action="store_true", help="say what would go and remove nothing")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(arguments: argparse.Namespace, out: TextIO) -> int:
    """Remove old versions and dead journals, and print what went."""
    store, manifest = open_dataset(arguments.dataset)
    removed = collect_garbage(_keeping_everything(store) if arguments.dry_run else store, arguments.keep)
    if arguments.json:
        out.write(json.dumps(_as_json(store.root, arguments, removed)) + "\n")
    else:
        out.write("\n".join(_lines(store.root, manifest.version, arguments.dry_run, removed)) + "\n")
    return 0


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be 1 or more, got {text!r}")
    return int(text)


class _RemovesNothing:
    """A store that answers every question and pretends to remove what it is told to."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def delete(self, path: str) -> None:
        """Leave the file where it is."""

    def delete_tree(self, folder: str) -> None:
        """Leave the folder where it is."""

    def delete_empty_folders(self, folder: str) -> None:
        """Leave the folders where they are."""

    def delete_leftovers(self) -> None:
        """Leave them where they are."""

    def delete_unless_appended(self, path: str) -> bool:
        """Tell whether the file would go."""
        return not self._store.is_being_appended(path)

    def lock(self, name: str) -> contextlib.AbstractContextManager[None]:
        """Hold nothing: what changes nothing needs no lock, and a lock is a file."""
        return contextlib.nullcontext()


def _keeping_everything(store: Store) -> Store:
    return cast(Store, _RemovesNothing(store))


def _as_json(root: str, arguments: argparse.Namespace, removed: list[tuple[str, int]]) -> dict[str, Any]:
    return {
        "dataset": root,
        "keep": arguments.keep,
        "dry_run": arguments.dry_run,
        "removed": [{"path": path, "bytes": size} for path, size in removed],
        "bytes": sum(size for _, size in removed),
    }


def _lines(root: str, version: int, dry_run: bool, removed: list[tuple[str, int]]) -> list[str]:
    if not removed:
        return [f"{root}  version {version}: nothing to remove"]
    total = size_text(sum(size for _, size in removed))
    doing = "would free" if dry_run else "freed"
    rows = [(path, size_text(size)) for path, size in removed]
    title = "would go" if dry_run else "removed"
    lines = [f"{root}  version {version} stays", "", *table((title, "size"), rows, right=("size",)), ""]
    return [*lines, f"{doing} {total} in {counted(len(removed), 'place')}"]
