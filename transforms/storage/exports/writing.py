"""Write an export's files one after another, each once; what an earlier attempt finished is kept."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import pyarrow as pa

from transforms.errors import ConfigError, FatalError, RunRefused, StorageFailed
from transforms.storage.exports.destination import Destination, open_destination
from transforms.storage.exports.layout import DELETES, Export, ExportFormat, OutputFile, RowSource
from transforms.storage.manifests import MANIFEST, version_folder
from transforms.storage.store import Output, Store

Tell = Callable[[str], None]


def write_export(source: Store, target: Store, export: Export, format_: ExportFormat, tell: Tell) -> Destination:
    """Bring a folder to the state that its export is finished; return it as it was found.

    Memory is bounded by a few batches of rows (and one part's index for usearch). Repeating it is harmless and goes on.

    Args:
        tell: takes a line for each step.

    Raises:
        ConfigError: the folder holds something else, or cannot be written.
        RunRefused: the version was removed meanwhile, or the target cannot take a row.
        FatalError: a part is damaged.
        StorageFailed: the disk or the bucket failed.
    """
    try:
        destination = open_destination(target, export, format_.name)
    except OSError as error:
        raise ConfigError(f"cannot write the export to {target.root}: {error.strerror or error}") from error
    if destination.is_complete:
        return destination
    with _telling_why(source, target, export):
        if format_.build is not None:
            format_.build(export, source, target.root, tell)
        files = [*_deletes(export), *format_.files(export), _guide(export, format_)]
        notes = []
        for number, file in enumerate(files, 1):
            note = destination.finished.get(file.path)
            notes.append(_write_file(source, destination, export, file) if note is None else note)
            tell(f"file {number} of {len(files)}, {file.path}")
        destination.finish(_found(export, notes))
    return destination


def _write_file(source: Store, destination: Destination, export: Export, file: OutputFile) -> Any:
    rows = RowSource(source, file.parts, export.width)
    with destination.store.open_output(file.path) as output:
        file.write(rows, output)
    return destination.note_finished(file.path, rows.rows, output.size_bytes, output.sha256)


def _deletes(export: Export) -> list[OutputFile]:
    if export.since is None:
        return []

    def write(_: RowSource, output: Output) -> None:
        output.write("".join(f"{id_}\n" for id_ in export.deletes).encode())

    return [OutputFile(DELETES, (), write)]


def _guide(export: Export, format_: ExportFormat) -> OutputFile:
    def write(_: RowSource, output: Output) -> None:
        output.write(format_.guide(export).encode())

    return OutputFile(format_.guide_path, (), write)


def _found(export: Export, notes: list[Any]) -> dict[str, Any]:
    return {
        "rows": export.rows,
        "deletes": len(export.deletes),
        "model": export.manifest.model,
        "dimensions": export.dimensions,
        "files": notes,
    }


@contextlib.contextmanager
def _telling_why(source: Store, target: Store, export: Export) -> Iterator[None]:
    """Turn what the disk, the bucket or a damaged part raises into a sentence with its remedy."""
    version = export.manifest.version
    try:
        yield
    except (pa.ArrowInvalid, FileNotFoundError) as error:
        if not source.exists(f"{version_folder(version)}/{MANIFEST}"):
            raise RunRefused(
                f"version {version} of {source.root} was removed while it was being exported: export the current one to "
                "another folder"
            ) from error
        raise FatalError(
            f"cannot read version {version} of {source.root}: {error}. `embedbeam inspect --verify` names the damaged part"
        ) from error
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        raise StorageFailed(
            f"cannot go on exporting {source.root} to {target.root}: {error.strerror or error}{where}; finished files are "
            "kept, and the same command goes on once this is mended"
        ) from error
