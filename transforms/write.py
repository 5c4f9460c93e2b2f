"""WriteParts: tables with vectors to staged Parquet parts."""

import dataclasses
from collections.abc import Iterator

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from apache_beam.metrics import Metrics

from transforms.core.portrait import portray_bucket
from transforms.core.tables import (
    compare_rows,
    first_rows_of_texts,
    hashes_of,
    part_batch,
    part_schema,
    read_rows,
)
from transforms.errors import FatalError
from transforms.records import EmbeddedTable, PartSummary, Portrait
from transforms.stamp import StampSettings
from transforms.storage.part_files import open_part_writer, rows_per_row_group
from transforms.storage.place import RunPlace, open_place, telling_why


@dataclasses.dataclass
class WriteParts(beam.PTransform):
    """Write each table as one staged part, or find that the committed part is still right: 1 → 1.

    A part waits under a name that only this attempt uses, so a bundle that is repeated, or run twice at once, leaves parts
    of equal bytes of which the commit takes one.
    """

    place: RunPlace
    settings: StampSettings
    bits: beam.PCollection[int]

    def expand(self, tables: beam.PCollection[EmbeddedTable]) -> beam.PCollection[PartSummary]:
        """Apply to tables with vectors."""
        return tables | "Write part" >> beam.ParDo(
            _WritePartFn(self.place, self.settings), beam.pvalue.AsSingleton(self.bits)
        )


class _WritePartFn(beam.DoFn):
    def __init__(self, place: RunPlace, settings: StampSettings) -> None:
        self._place, self._settings = place, settings
        self._written = Metrics.counter("write", "parts_written")
        self._kept = Metrics.counter("write", "parts_kept")

    def setup(self) -> None:
        self._open = open_place(self._place)

    def process(self, table: EmbeddedTable, bits: int) -> Iterator[PartSummary]:
        with telling_why(self._open.folder):
            rows = read_rows(table.rows)
            summary = self._summarize(table, rows, bits)
            yield dataclasses.replace(summary, portrait=_portray(rows, self._settings.max_tokens()))

    def _summarize(self, table: EmbeddedTable, rows: pa.Table, bits: int) -> PartSummary:
        if table.unchanged:
            self._kept.inc()
            return self._keep(table, rows.num_rows, bits)
        summary = self._compare(table, rows, bits)
        if rows.num_rows == 0:
            return summary
        self._written.inc()
        return self._write(table, rows, bits, summary)

    def _keep(self, table: EmbeddedTable, rows: int, bits: int) -> PartSummary:
        """Name the committed part as this version's."""
        part = self._open.previous.part_of(bits, table.bucket) if self._open.previous else None
        if part is None:
            raise FatalError(f"a part of bucket {table.bucket} was damaged or removed during the run; run again")
        return PartSummary(
            bucket=table.bucket,
            path=part.path,
            rows=part.rows,
            bytes=part.bytes,
            sha256=part.sha256,
            texts_embedded=0,
            rows_added=0,
            rows_removed=0,
            rows_unchanged=rows,
            rows_updated=0,
            changes_path="",
            unchanged=True,
            rejects=(),
        )

    def _compare(self, table: EmbeddedTable, rows: pa.Table, bits: int) -> PartSummary:
        """Compare with the previous version and stage the changed ids; returns a summary without a part."""
        before = rows.slice(0, 0)
        if self._open.previous is not None:
            before = self._open.previous.read_rows(bits, table.bucket)
        comparison = compare_rows(rows, before)
        path = ""
        if comparison.changes.num_rows:
            path = self._open.folder.staged_changes_path(table.bucket)
            with self._open.store.open_output(path) as output:
                pq.write_table(comparison.changes, output, compression="zstd")
        return PartSummary(
            bucket=table.bucket,
            path="",
            rows=0,
            bytes=0,
            sha256="",
            texts_embedded=table.texts_embedded,
            rows_added=comparison.added,
            rows_removed=comparison.removed,
            rows_unchanged=comparison.kept,
            rows_updated=comparison.updated,
            changes_path=path,
            unchanged=False,
            rejects=table.rejects,
        )

    def _write(self, table: EmbeddedTable, rows: pa.Table, bits: int, summary: PartSummary) -> PartSummary:
        stamp = self._settings.stamp(self._open)
        schema = part_schema(stamp, self._settings.vector_type, self._settings.base_url)
        first_rows = first_rows_of_texts(hashes_of(rows))
        text_of_row = np.repeat(np.arange(len(first_rows)), np.diff(np.append(first_rows, rows.num_rows)))
        vectors = np.frombuffer(table.vectors, np.float32).reshape(-1, table.dimension)
        path = self._open.folder.staged_part_path(table.bucket, 1 << bits)
        most = rows_per_row_group(table.dimension)
        with self._open.store.open_output(path) as output, open_part_writer(output, schema) as writer:
            for start in range(0, rows.num_rows, most):
                texts = text_of_row[start : start + most]
                batch = part_batch(rows.slice(start, len(texts)), vectors[texts], schema, stamp)
                writer.write_table(batch, row_group_size=most)
        written = self._open.store.open_parquet(path).metadata.num_rows
        return dataclasses.replace(summary, path=path, rows=written, bytes=output.size_bytes, sha256=output.sha256)


def _portray(rows: pa.Table, max_tokens: int) -> Portrait:
    tokens, indices, ends = (rows.column(name).to_numpy() for name in ("token_count", "chunk_index", "end_char"))
    named = rows.column("doc_id").combine_chunks().dictionary_encode()
    documents, doc_ids = named.indices.to_numpy(), named.dictionary.to_pylist()
    return portray_bucket(tokens, indices, ends, first_rows_of_texts(hashes_of(rows)), documents, doc_ids, max_tokens)
