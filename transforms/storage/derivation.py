"""One dataset's vectors to another dataset's: the same rows in the same parts, with shorter or smaller vectors.

The secret kept is which of the parts have to be made. A derived part depends on its source part's bytes and on the stamp
alone, so what has not changed since the last time is linked, and deriving twice does nothing. Memory is bounded by a row
group: parts are read, changed and written 8,192 rows at a time.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from transforms.core.buckets import parse_part_name, part_name
from transforms.core.manifest import Manifest, PartEntry, Stamp
from transforms.core.tables import CHANGES, VECTOR_COLUMN, codes_of, compare_rows, numpy_type
from transforms.core.vector_coding import FLOATS, INT8, Codes, Floats, scales_of, shorten
from transforms.errors import FatalError, RunRefused
from transforms.storage.part_files import open_part_writer, rows_per_row_group
from transforms.storage.previous_version import PreviousVersion
from transforms.storage.run_folder import RunFolder
from transforms.storage.store import Store

_MOST_CLIPPED = 1e-3
"""Share of numbers beyond the calibrated range above which int8 is calibrated anew: at it, the error stays far below a
step's rounding; a new calibration changes every vector, so every row must be upserted again."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """What is asked for.

    Attributes:
        dimensions: first numbers that are kept of each vector; None for all.
        vector_type: float32, float16, int8 or binary.
    """

    dimensions: int | None = None
    vector_type: str = "float32"


@dataclass(frozen=True, slots=True)
class DerivedPart:
    """A part of the version to come.

    Attributes:
        bucket: whose part it is.
        entry: where it lies now: staged, or in the previous version.
        source_sha256: of the part that it was made from.
        is_new: False for one that the previous version has already.
    """

    bucket: int
    entry: PartEntry
    source_sha256: str
    is_new: bool


class Derivation:
    """Makes the parts of a derived version in a run's folder of the dataset that is derived."""

    def __init__(self, source: PreviousVersion, source_store: Store, run: RunFolder, previous: Manifest | None) -> None:
        self._source, self._source_store, self._run = source, source_store, run
        self._previous = PreviousVersion(run.store, previous) if previous else None
        self.bits = source.bits

    def stamp(self, recipe: Recipe) -> Stamp:
        """Return the stamp of what is asked for; int8 keeps the previous version's scales, where there is one.

        Raises:
            RunRefused: the source cannot give this, or the previous version holds something else.
        """
        manifest = self._source.manifest
        source, dimensions = manifest.stamp, recipe.dimensions or manifest.dimensions
        if source.quantization or source.source_dimensions:
            raise RunRefused("the source is derived itself; derive from the dataset that holds the vectors as paid for")
        if dimensions > manifest.dimensions:
            raise RunRefused(f"the source has {manifest.dimensions} dimensions, and {dimensions} are more than that")
        stamp = replace(
            source,
            dimensions=dimensions,
            normalized=recipe.vector_type in FLOATS and (source.normalized or dimensions < manifest.dimensions),
            quantization="" if recipe.vector_type in FLOATS else recipe.vector_type,
            source_dimensions=manifest.dimensions if dimensions < manifest.dimensions else 0,
        )
        if recipe.vector_type != INT8:
            return stamp
        known = self._previous.manifest.stamp.scales if self._previous else ""
        return replace(stamp, scales=known or self._calibrate(dimensions))

    def recalibrated(self, stamp: Stamp) -> Stamp:
        """Return a stamp with scales measured anew over all vectors of the source."""
        return replace(stamp, scales=self._calibrate(stamp.dimensions))

    def parts(self, stamp: Stamp, schema: pa.Schema) -> tuple[list[DerivedPart], bool]:
        """Make every part that is not there already, and tell whether int8 had to clip too much for its scales."""
        parts, clipped, numbers = [], 0, 0
        for entry in self._source.manifest.parts:
            bucket = parse_part_name(entry.path.rpartition("/")[2])[0]
            known = self._known_part(bucket, entry, stamp)
            if known is None:
                made, clipped_here = self._make(bucket, entry, stamp, schema)
                clipped, numbers = clipped + clipped_here, numbers + made.entry.rows * stamp.dimensions
                known = made
            parts.append(known)
        return parts, clipped > _MOST_CLIPPED * numbers

    def changes(self, parts: Sequence[DerivedPart], all_vectors: bool) -> tuple[pa.Table, dict[str, int]]:
        """Return what has changed since the previous version, and the counts of rows of the summary.

        Args:
            all_vectors: every vector is another one than before, so what stayed is updated.
        """
        made = {part.bucket: part.is_new for part in parts}
        tables, counts = [CHANGES.empty_table()], dict.fromkeys(("added", "removed", "unchanged", "updated"), 0)
        for bucket in range(1 << self.bits) if self._previous else sorted(made):
            if made.get(bucket) is False:
                counts["unchanged"] += next(part.entry.rows for part in parts if part.bucket == bucket)
                continue
            table, found = self._changes_of(bucket, all_vectors)
            tables.append(table)
            counts = {name: counts[name] + found[name] for name in counts}
        return pa.concat_tables(tables).sort_by("id"), {f"rows_{name}": count for name, count in counts.items()}

    def _changes_of(self, bucket: int, all_vectors: bool) -> tuple[pa.Table, dict[str, int]]:
        rows = self._source.read_rows(self.bits, bucket)
        before = self._previous.read_rows(self.bits, bucket) if self._previous else rows.slice(0, 0)
        changes, added, removed, kept, updated = compare_rows(rows, before)
        if all_vectors and kept:
            changes = changes.filter(pc.not_equal(changes.column("change"), "updated"))
            stayed = rows.filter(pc.is_in(rows.column("id"), before.column("id").combine_chunks()))
            words = pa.array(["updated"] * stayed.num_rows, pa.string())
            again = pa.table([stayed.column("id"), words, stayed.column("doc_id")], schema=CHANGES)
            changes, updated = pa.concat_tables([changes, again]), kept
        return changes, {"added": added, "removed": removed, "unchanged": kept, "updated": updated}

    def _known_part(self, bucket: int, source: PartEntry, stamp: Stamp) -> DerivedPart | None:
        """Return the previous version's part where making it again would give the same bytes, and it is undamaged."""
        if self._previous is None or self._previous.manifest.stamp != stamp:
            return None
        made_from = self._previous.manifest.derived["parts"]
        entry = self._previous.part_of(self.bits, bucket)
        if entry is None or made_from.get(part_name(bucket, self.bits)) != source.sha256:
            return None
        return DerivedPart(bucket, entry, source.sha256, is_new=False)

    def _make(self, bucket: int, source: PartEntry, stamp: Stamp, schema: pa.Schema) -> tuple[DerivedPart, int]:
        coding, clipped = stamp.coding(), 0
        path = self._run.staged_part_path(bucket, 1 << self.bits)
        vector_type = numpy_type(schema.field(VECTOR_COLUMN).type.value_type)
        with self._run.store.open_output(path) as output, open_part_writer(output, schema) as writer:
            most = rows_per_row_group(self._source.manifest.dimensions)
            for batch in self._open_source(bucket).iter_batches(most):
                vectors = _taken(codes_of(batch), stamp)
                clipped += coding.count_clipped(vectors)
                codes = coding.encode(vectors).astype(vector_type, copy=False)
                writer.write_table(_with_codes(batch, codes, schema, stamp), row_group_size=most)
        entry = PartEntry(path, source.rows, output.size_bytes, output.sha256)
        return DerivedPart(bucket, entry, source.sha256, is_new=True), clipped

    def _open_source(self, bucket: int) -> pq.ParquetFile:
        """Open a part of the source; one that is not what its manifest says is never derived from."""
        entry = self._source.part_of(self.bits, bucket)
        if entry is None:
            raise FatalError(
                f"cannot derive: {self._source_store.root} is damaged at {part_name(bucket, self.bits)} (inspect --verify says "
                "how). Run its own config again, which makes the part anew, and then derive"
            )
        return self._source_store.open_parquet(entry.path)

    def _calibrate(self, dimensions: int) -> str:
        largest = np.zeros(dimensions, np.float32)
        stamp = replace(self._source.manifest.stamp, dimensions=dimensions)
        most = rows_per_row_group(self._source.manifest.dimensions)
        for entry in self._source.manifest.parts:
            file = self._open_source(parse_part_name(entry.path.rpartition("/")[2])[0])
            for batch in file.iter_batches(most, columns=[VECTOR_COLUMN]):
                largest = np.maximum(largest, np.abs(_taken(codes_of(batch), stamp)).max(axis=0))
        return scales_of(largest)


def _taken(vectors: Codes, stamp: Stamp) -> Floats:
    """Return float32 vectors of the stamped length."""
    if vectors.shape[1] == stamp.dimensions:
        return vectors.astype(np.float32, copy=False)
    shorter, empty = shorten(vectors.astype(np.float32, copy=False), stamp.dimensions)
    if empty:
        raise RunRefused(
            f"{empty} vectors have only zeros in their first {stamp.dimensions} dimensions; keep more dimensions"
        )
    return shorter


def _with_codes(batch: pa.RecordBatch, codes: Codes, schema: pa.Schema, stamp: Stamp) -> pa.Table:
    """Return a part's rows with other vectors: the stored numbers of ``codes`` (``rows x width``)."""
    columns = {name: batch.column(name) for name in batch.schema.names}
    columns[VECTOR_COLUMN] = pa.FixedSizeListArray.from_arrays(pa.array(codes.reshape(-1)), codes.shape[1])
    columns["dimensions"] = pa.array(np.full(batch.num_rows, stamp.dimensions, np.int32))
    return pa.table([columns[name].cast(schema.field(name).type) for name in schema.names], schema=schema)
