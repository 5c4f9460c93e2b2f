"""What a committed version holds of a bucket, whatever number of buckets it was written with."""

import base64
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from transforms.core.buckets import overlapping, parse_part_name
from transforms.core.manifest import Manifest, PartEntry
from transforms.core.tables import VECTOR_COLUMN, Hashes, binary_hashes, hashes_of, leading_bits, part_schema
from transforms.errors import CommitConflict, FatalError
from transforms.storage.manifests import MANIFEST
from transforms.storage.store import Store, StoredFile

_checked: set[tuple[str, str, str]] = set()
"""Parts whose bytes this process has found to be the manifest's; a committed part never changes."""


class PreviousVersion:
    """A committed version, read bucket by bucket; many threads may read.

    A part that is missing, or whose size, footer, row count or sha256 is not the manifest's, is treated as absent, so that a
    run makes it anew; ``problems`` says which and why.
    """

    def __init__(self, store: Store, manifest: Manifest) -> None:
        self.manifest = manifest
        self._store = store
        self._parts = {parse_part_name(_name(part))[0]: part for part in manifest.parts}
        self._bits = parse_part_name(_name(manifest.parts[0]))[1] if manifest.parts else 0
        self._files: dict[str, StoredFile] | None = None
        self._problems: dict[str, str] = {}

    @property
    def bits(self) -> int:
        """How many bits named a bucket when this version was written."""
        return self._bits

    @property
    def dimension(self) -> int:
        """Length of its vectors."""
        return self.manifest.dimensions

    @property
    def canary(self) -> bytes:
        """The canary's vector, float32 little-endian; empty when none was asked for."""
        return base64.b64decode(self.manifest.canary)

    @property
    def problems(self) -> tuple[str, ...]:
        """A sentence for each damaged part met so far."""
        return tuple(self._problems[path] for path in sorted(self._problems))

    def part_of(self, bits: int, bucket: int) -> PartEntry | None:
        """Return the part of exactly this bucket; None when there is none, it is damaged, or buckets were others."""
        entry = self._parts.get(bucket) if bits == self._bits else None
        return entry if entry is not None and self._open(entry) is not None else None

    def read_hashes(self, bits: int, bucket: int) -> Hashes:
        """Return the distinct text hashes of a bucket, sorted, as numpy ``S32``.

        Beware of single elements and ``tolist``: numpy drops trailing zeros from them.
        """
        found = [hashes[rows] for _, hashes, rows in self._sources(bits, bucket)]
        return np.unique(np.concatenate(found)) if found else np.empty(0, "S32")

    def read_rows(self, bits: int, bucket: int, columns: Sequence[str] = ()) -> pa.Table:
        """Return a bucket's rows, sorted by (text_hash, id): the columns named, without any name all but the vector."""
        schema = part_schema(self.manifest.stamp, "float32", "").remove_metadata()
        names = list(columns) or [name for name in schema.names if name != VECTOR_COLUMN]
        tables = []
        for file, _, rows in self._sources(bits, bucket):
            present = [name for name in names if name in file.schema_arrow.names]
            tables.append(file.read(columns=present).slice(rows.start, rows.stop - rows.start))
        if not tables:
            return pa.schema([schema.field(name) for name in names]).empty_table()
        return pa.concat_tables([table.replace_schema_metadata(None) for table in tables]).unify_dictionaries()

    def read_vectors(self, bits: int, bucket: int, wanted: Sequence[bytes]) -> npt.NDArray[np.float32]:
        """Return the vectors of texts that ``read_hashes`` named, in the order given: ``wanted x dimension``.

        Only row groups that hold wanted texts are read, one at a time; float16 is widened.

        Raises:
            FatalError: a vector is not there, or its part's bytes are damaged.
        """
        texts = np.array(wanted, "S32")
        vectors = np.empty((len(texts), self.dimension), np.float32)
        missing = np.ones(len(texts), bool)
        for file, hashes, _ in self._sources(bits, bucket) if len(texts) else ():
            rows = np.searchsorted(hashes, texts)
            hit = np.flatnonzero((rows < len(hashes)) & (hashes[np.minimum(rows, len(hashes) - 1)] == texts))
            self._copy_vectors(file, rows[hit], vectors, hit)
            missing[hit] = False
        if missing.any():
            raise FatalError(
                f"version {self.manifest.version} lost {int(missing.sum())} of {len(texts)} vectors of bucket {bucket} "
                "while the run was reading it; run again"
            )
        return vectors

    def _copy_vectors(
        self,
        file: pq.ParquetFile,
        rows: npt.NDArray[np.int64],
        into: npt.NDArray[np.float32],
        at: npt.NDArray[np.int64],
    ) -> None:
        """Copy the vectors of a part's rows to ``into[at]``, row group by row group."""
        starts = np.cumsum([0] + [file.metadata.row_group(one).num_rows for one in range(file.num_row_groups)])
        group_of = np.searchsorted(starts, rows, side="right") - 1
        for group in np.unique(group_of):
            mine = group_of == group
            try:
                column = file.read_row_group(int(group), columns=[VECTOR_COLUMN]).column(VECTOR_COLUMN)
            except (pa.ArrowInvalid, OSError) as error:
                raise FatalError(
                    f"cannot read vectors of version {self.manifest.version}: {error}. If `inspect --verify` names a "
                    "damaged part, delete that file: the next run makes it anew and pays for its texts again"
                ) from error
            values = pa.concat_arrays(column.chunks).flatten().to_numpy(zero_copy_only=False)
            into[at[mine]] = values.reshape(-1, self.dimension)[rows[mine] - starts[group]]

    def _sources(self, bits: int, bucket: int) -> Iterator[tuple[pq.ParquetFile, Hashes, slice]]:
        """Yield each part that holds something of a bucket, with all its hashes and the bucket's rows among them."""
        for other in overlapping(bits, bucket, self._bits):
            entry = self._parts.get(other)
            file = self._open(entry) if entry is not None else None
            if entry is None or file is None:
                continue
            hashes = self._read_hash_column(entry, file)
            if hashes is None:
                continue
            buckets = leading_bits(hashes, bits)
            first, last = np.searchsorted(buckets, bucket, "left"), np.searchsorted(buckets, bucket, "right")
            if first < last:
                yield file, hashes, slice(int(first), int(last))

    def _read_hash_column(self, entry: PartEntry, file: pq.ParquetFile) -> Hashes | None:
        try:
            return hashes_from_hex(file.read(columns=["text_hash"]).column("text_hash"))
        except (ValueError, OSError) as error:
            self._note_damage(entry, error)
            return None

    def _open(self, entry: PartEntry) -> pq.ParquetFile | None:
        """Open a part that looks like the manifest's; None, and a problem noted, when it does not."""
        if entry.path in self._problems:
            return None
        listed = self._listed_files().get(entry.path)
        size = listed.size_bytes if listed is not None else None
        if size != entry.bytes:
            if size is None:
                self._refuse_if_removed(entry)
            found = "it is missing" if size is None else f"it has {size} bytes instead of {entry.bytes}"
            self._problems[entry.path] = f"{entry.path} is damaged: {found}; this run makes it anew"
            return None
        try:
            file = self._store.open_parquet(entry.path)
        except (ValueError, OSError) as error:
            if isinstance(error, FileNotFoundError):
                self._refuse_if_removed(entry)
            self._note_damage(entry, error)
            return None
        rows = file.metadata.num_rows
        if rows != entry.rows:
            self._problems[entry.path] = (
                f"{entry.path} is damaged: it has {rows} rows instead of {entry.rows}; this run makes it anew"
            )
            return None
        if not self._has_right_bytes(entry):
            self._problems[entry.path] = (
                f"{entry.path} is damaged: its sha256 is not the manifest's; this run makes it anew"
            )
            return None
        return file

    def check_parts(self) -> tuple[str, ...]:
        """Open every part and return a sentence for each damaged one."""
        for entry in self._parts.values():
            self._open(entry)
        return self.problems

    def _has_right_bytes(self, entry: PartEntry) -> bool:
        """Compare a part's sha256: disks rot, and a rotten vector would be kept forever.

        A local part is read for it, once for each process. A bucket keeps checksums itself and vouches for the sha256 of
        what it holds; where it cannot, as of a dataset that was copied there by other means, size and footer must do.
        """
        if not self._store.moves_folders:
            return self._listed_files()[entry.path].sha256 in (None, entry.sha256)
        known = (self._store.root, entry.path, entry.sha256)
        if known not in _checked and self._store.digest(entry.path) == entry.sha256:
            _checked.add(known)
        return known in _checked

    def _refuse_if_removed(self, entry: PartEntry) -> None:
        """Raise CommitConflict when the whole version is gone: its texts are paid for, in a version that came after."""
        if not self._store.exists(f"{entry.path.rpartition('/')[0]}/{MANIFEST}"):
            raise CommitConflict(
                f"version {self.manifest.version} of {self._store.root}, which this run started from, was removed after other "
                "runs had committed. What this run paid for stays in the journal: run again from the current version"
            )

    def _note_damage(self, entry: PartEntry, error: ValueError | OSError) -> None:
        """Note damage; raise a failure of the store (an OSError with a number) again: it says nothing about the part."""
        if isinstance(error, OSError) and error.errno is not None and not isinstance(error, FileNotFoundError):
            raise error
        self._problems[entry.path] = f"{entry.path} is damaged: {error}; this run makes it anew"

    def _listed_files(self) -> dict[str, StoredFile]:
        if self._files is None:
            folders = {part.path.rpartition("/")[0] for part in self.manifest.parts}
            self._files = {file.path: file for one in sorted(folders) for file in self._store.list_files(one)}
        return self._files


def hashes_from_hex(column: pa.ChunkedArray) -> Hashes:
    """Return a column of 64 hex digits as numpy ``S32``.

    Raises:
        ValueError: a value is no 64 hex digits.
    """
    return hashes_of(pa.table({"text_hash": binary_hashes(column.cast(pa.string()))}))


def _name(part: PartEntry) -> str:
    return part.path.rpartition("/")[2]
