"""``embedbeam export``: a version, or what changed since another, as files that a vector database loads."""

import argparse
import json
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TextIO

from pipeline.commands.arguments import add_json
from pipeline.commands.dataset import add_dataset_arguments, committed_versions, open_dataset
from pipeline.commands.export_changes import changes_since
from pipeline.commands.plain_text import aligned, counted, size_text
from transforms.core.manifest import Manifest
from transforms.errors import ConfigError, RunRefused
from transforms.storage.exports.destination import MARKER, Destination
from transforms.storage.exports.formats import FORMATS, load_format
from transforms.storage.exports.layout import Export, ExportFormat
from transforms.storage.exports.selection import choose_changes, choose_everything
from transforms.storage.exports.writing import write_export
from transforms.storage.manifests import manifest_of_version
from transforms.storage.store import Store, open_store


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = "formats:\n" + "\n".join(f"  {line}" for line in aligned(list(FORMATS.items())))
    add_dataset_arguments(parser)
    parser.add_argument("--to", metavar="FORMAT", required=True, type=_format, help="one of the formats below")
    parser.add_argument("destination", metavar="DEST", help="a new folder, or the one where this export was cut off")
    parser.add_argument(
        "--since", metavar="V", type=_version, help="only what changed since version V: rows to upsert, ids to delete"
    )
    parser.add_argument("--version", metavar="V", type=_version, help="the version to export (the current one)")
    parser.add_argument("--without-text", action="store_true", help="leave the chunks' text out")
    add_json(parser)


def run(arguments: argparse.Namespace, out: TextIO) -> int:
    """Write the export, or go on with it, and print what is there and how it is loaded."""
    store, current = open_dataset(arguments.dataset, arguments.billing_project)
    format_ = load_format(arguments.to)
    target = _open_target(store, arguments.destination, arguments.billing_project, format_)
    manifest = _manifest(store, current, arguments.version)
    export = _choose(store, current, manifest, arguments.since, not arguments.without_text)
    _refuse_bytes(export, format_)
    found = write_export(store, target, export, format_, _tell)
    if arguments.json:
        out.write(json.dumps(_as_json(store, target, export, format_, found)) + "\n")
    else:
        out.write("\n".join(_lines(store, target, export, format_, found)) + "\n")
    return 0


def _format(text: str) -> str:
    if text not in FORMATS:
        raise argparse.ArgumentTypeError(f"there is no format {text!r}; choose one of {', '.join(FORMATS)}")
    return text


def _version(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be the number of a version, 1 or more, got {text!r}")
    return int(text)


def _open_target(store: Store, destination: str, billing_project: str, format_: ExportFormat) -> Store:
    if format_.build is not None and "://" in destination:
        raise ConfigError(
            f"the format {format_.name} is written to a local folder, got {destination}; copy it there afterwards"
        )
    if format_.needs and find_spec(format_.needs) is None:
        raise ConfigError(
            f"the format {format_.name} needs the library {format_.needs}: pip install 'embedbeam[export]'"
        )
    if _lies_inside(destination, store.root):
        raise ConfigError(f"{destination} lies inside the dataset {store.root}: name a folder outside of it")
    return open_store(destination, billing_project)


def _lies_inside(destination: str, root: str) -> bool:
    if "://" in destination or "://" in root:
        return f"{destination.rstrip('/')}/".startswith(f"{root.rstrip('/')}/")
    return Path(destination).resolve().is_relative_to(Path(root).resolve())


def _manifest(store: Store, current: Manifest, version: int | None) -> Manifest:
    """Return the manifest of the version to export, or say which versions there are."""
    if version is None or version == current.version:
        return current
    _refuse_newer(store, current, version)
    try:
        return manifest_of_version(store, version)
    except RunRefused:
        raise RunRefused(_gone(store, current, version)) from None


def _refuse_newer(store: Store, current: Manifest, version: int) -> None:
    if version > current.version:
        raise ConfigError(f"{store.root} has no version {version}; the current one is {current.version}")


def _gone(store: Store, current: Manifest, version: int) -> str:
    there = ", ".join(str(one.version) for one in committed_versions(store, current))
    return f"version {version} of {store.root} is not there any more: gc or a run has removed it; there are {there}"


def _choose(store: Store, current: Manifest, manifest: Manifest, since: int | None, with_text: bool) -> Export:
    if since is None:
        return choose_everything(store, manifest, with_text)
    _refuse_newer(store, current, since)
    if since > manifest.version:
        raise ConfigError(f"--since {since} is newer than --version {manifest.version}")
    try:
        changes = changes_since(store, current, since, manifest)
    except RunRefused:
        raise RunRefused(
            f"{_gone(store, current, since)}. Export everything once, without --since, into a new or emptied table, or keep "
            "more versions (output.keep_versions)"
        ) from None
    return choose_changes(store, manifest, with_text, since, changes)


def _refuse_bytes(export: Export, format_: ExportFormat) -> None:
    if not format_.takes_bytes and not export.vector_type.startswith("float"):
        raise ConfigError(
            f"the vectors of {export.name} are {export.vector_type}, and the format {format_.name} takes floats: export "
            "the dataset that they were derived from, or use --to numpy, huggingface or lancedb"
        )


def _tell(line: str) -> None:
    if sys.stderr.isatty():
        sys.stderr.write(f"embedbeam: {line}\n")


def _as_json(store: Store, target: Store, export: Export, format_: ExportFormat, found: Destination) -> dict[str, Any]:
    return {
        **json.loads(target.read_bytes(MARKER)),
        "dataset": store.root,
        "destination": target.root,
        "already_complete": found.is_complete,
        "files_kept": len(found.finished),
        "guide": format_.guide_path,
    }


def _lines(store: Store, target: Store, export: Export, format_: ExportFormat, found: Destination) -> list[str]:
    version = export.manifest.version
    place = f"{store.root}  version {version}" + (
        "" if export.since is None else f", changes since version {export.since}"
    )
    files = [file for file in target.list_files("") if file.path != MARKER]
    rows = [("rows", f"{export.rows:,}")]
    if export.since is not None:
        rows = [("upserts", f"{export.rows:,}"), ("deletes", f"{len(export.deletes):,}  before the upserts")]
    size = sum(file.size_bytes for file in files)
    rows.append(("files", f"{counted(len(files), 'file')}, {size_text(size)}{_kept(found)}"))
    rows.append(("how to load", f"{target.root.rstrip('/')}/{format_.guide_path}"))
    return [f"{place}  →  {target.root}  ({format_.name})", "", *aligned(rows)]


def _kept(found: Destination) -> str:
    if found.is_complete:
        return "; all of them were there already"
    return f"; {len(found.finished)} of them were there already" if found.finished else ""
