"""What an export is made of: the rows chosen, the files planned, the format's own words on how to load them."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from transforms.core.manifest import Manifest, PartEntry
from transforms.storage.store import Output, Store

DELETES = "deletes.txt"
"""Ids to delete, one a line; in exports of changes only."""

_BATCH_BYTES = 32 << 20
_MOST_ROWS_AT_ONCE = 16384
_TEXT_COLUMN = "chunk"
_COLUMNS = (
    "id",
    "chunk",
    "vector",
    "doc_id",
    "source_uri",
    "chunk_index",
    "start_char",
    "end_char",
    "token_count",
    "text_hash",
    "metadata",
    "model",
    "dimensions",
)


@dataclass(frozen=True, slots=True)
class PartRows:
    """The rows of one part that are exported.

    Attributes:
        entry: the part.
        rows: how many of them, 1 or more.
        mask: which ones, a value for each row of the part; None for all.
    """

    entry: PartEntry
    rows: int
    mask: npt.NDArray[np.bool_] | None = None

    @property
    def stem(self) -> str:
        """The part's file name without its ending; exported files are named after it."""
        return self.entry.path.rpartition("/")[2].removesuffix(".parquet")


@dataclass(frozen=True, slots=True)
class Export:
    """One version, whole or what changed since another, on its way into one format.

    Attributes:
        name: the dataset's own name, the last part of its address: what is exported may be published.
        manifest: of the version.
        vector_type: of the numbers in a stored vector: float32, float16, int8 or uint8.
        width: how many numbers a stored vector has; its dimensions, or an eighth of them where bits are packed.
        stamp: what the vectors mean, as in the parts' key-value metadata.
        since: export changes since this version; None: everything.
        with_text: whether the chunks' text goes along.
        parts: parts with exported rows, in the manifest's order.
        deletes: ids that the target must delete, sorted; empty without ``since``.
    """

    name: str
    manifest: Manifest
    vector_type: str
    width: int
    stamp: Mapping[bytes, bytes]
    since: int | None
    with_text: bool
    parts: tuple[PartRows, ...]
    deletes: tuple[str, ...] = ()

    @property
    def rows(self) -> int:
        """Rows exported."""
        return sum(part.rows for part in self.parts)

    @property
    def dimensions(self) -> int:
        """Length of each vector."""
        return self.manifest.dimensions

    def columns(self, *left_out: str) -> list[str]:
        """Return the columns to export, without those named, and without the text where it stays behind."""
        without = {*left_out, *(() if self.with_text else (_TEXT_COLUMN,))}
        return [name for name in _COLUMNS if name not in without]


@dataclass(frozen=True, slots=True)
class RowSource:
    """Rows of some parts, read a few megabytes at a time.

    Attributes:
        width: how many numbers a stored vector has.
        most_rows: of one batch; wide vectors have fewer.
    """

    store: Store
    parts: tuple[PartRows, ...]
    width: int
    most_rows: int = _MOST_ROWS_AT_ONCE

    @property
    def rows(self) -> int:
        """Rows that ``batches`` yields in all."""
        return sum(part.rows for part in self.parts)

    def batches(self, columns: Iterable[str]) -> Iterator[pa.RecordBatch]:
        """Yield the rows, these columns of them, in the order of the parts; never an empty batch."""
        names = list(columns)
        at_once = max(1, min(self.most_rows, _BATCH_BYTES // (4 * self.width)))
        for part in self.parts:
            first = 0
            for batch in self.store.open_parquet(part.entry.path).iter_batches(at_once, columns=names):
                kept = batch if part.mask is None else _masked(batch, part.mask[first : first + batch.num_rows])
                first += batch.num_rows
                if kept.num_rows:
                    yield kept.select(names)

    def vectors(self, column: pa.Array) -> npt.NDArray[np.float32]:
        """Return a batch's vectors, ``rows x width``, in the type they are stored in."""
        flat: npt.NDArray[np.float32] = column.flatten().to_numpy(zero_copy_only=False)
        return flat.reshape(-1, self.width)


def _masked(batch: pa.RecordBatch, mask: npt.NDArray[np.bool_]) -> pa.RecordBatch:
    return batch if mask.all() else batch.filter(pa.array(mask))


WriteRows = Callable[[RowSource, Output], None]


@dataclass(frozen=True, slots=True)
class OutputFile:
    """One file of an export: where it lies, which parts it holds, what writes it.

    Attributes:
        path: relative to the export's folder; depends on nothing but the version and the format.
    """

    path: str
    parts: tuple[PartRows, ...]
    write: WriteRows


class BuildTable(Protocol):
    """Fill a target that is no stream of bytes, going on where an earlier attempt stopped."""

    def __call__(self, export: Export, source: Store, folder: str, tell: Callable[[str], None]) -> None:
        """Add all rows; ``tell`` takes a line for each part."""
        ...


@dataclass(frozen=True, slots=True)
class ExportFormat:
    """How one target wants its data.

    Attributes:
        name: as given to ``--to``.
        files: the files that hold the rows.
        guide: how to load them, as Markdown.
        guide_path: the file that the guide is written to.
        build: for a target that only its own library can write: fills a local folder; None for all others.
        takes_bytes: whether it takes vectors of int8 and of packed bits as well as those of floats.
        needs: the library that writes it, which comes with the extra ``export``; "" where none is needed.
    """

    name: str
    files: Callable[[Export], list[OutputFile]]
    guide: Callable[[Export], str]
    guide_path: str = "LOAD.md"
    build: BuildTable | None = None
    takes_bytes: bool = False
    needs: str = ""


def file_per_part(export: Export, folder: str, ending: str, write: WriteRows) -> list[OutputFile]:
    """Plan one file for each part, so that an export that was cut off goes on behind the last one."""
    return [OutputFile(f"{folder}/{part.stem}{ending}", (part,), write) for part in export.parts]


def guide_text(export: Export, target: str, *sections: str) -> str:
    """Return a guide: what this folder holds, then the format's own sections."""
    manifest = export.manifest
    if export.since is None:
        what = f"All {export.rows:,} rows of version {manifest.version} of **{export.name}**"
    else:
        what = (
            f"What changed in **{export.name}** from version {export.since} to version {manifest.version}: "
            f"{export.rows:,} rows to upsert and {len(export.deletes):,} ids to delete ({DELETES}, one a line)"
        )
    length = "of length 1" if manifest.stamp.normalized else "not normalised"
    head = [
        f"# {export.name}, version {manifest.version}, for {target}",
        "",
        f"{what}; vectors of {export.dimensions:,} dimensions, {length}, from {manifest.model}.",
    ]
    if export.since is not None:
        head += [
            "",
            "Delete first, then upsert. No id is in both, so a run that was cut off can be repeated whole; this order never "
            "shows a document's old and new text side by side.",
        ]
    after = f"The next export of changes alone: `embedbeam export DATASET --to FORMAT DEST --since {manifest.version}`."
    return "\n".join([*head, "", *(f"{section.strip()}\n" for section in sections), after]) + "\n"


def code(language: str, text: str) -> str:
    """Return a fenced block of code."""
    return f"```{language}\n{text.strip()}\n```"


def collection_name(export: Export) -> str:
    """Return the dataset's name as databases take it for a collection: a letter first, then letters, digits, underscores."""
    letters = (letter if letter.isascii() and letter.isalnum() else "_" for letter in export.name)
    return "c_" + "".join(letters)
