"""GroupByText: the chunks of documents to one table for each bucket, so that equal texts meet."""

import dataclasses
import pickle
from collections.abc import Iterable, Iterator

import apache_beam as beam
import pyarrow as pa
from apache_beam.metrics import Metrics
from apache_beam.transforms.window import GlobalWindow
from apache_beam.utils.windowed_value import WindowedValue

from transforms.core.batches import estimated_rows, text_in_batch
from transforms.core.buckets import choose_bits
from transforms.core.identity import text_hash
from transforms.core.tables import CHUNKS, split_by_bucket
from transforms.records import ChunkedDocument, ChunkTable, FoundBatch

PackedChunks = tuple[int, bytes]


@dataclasses.dataclass
class ChooseBuckets(beam.PTransform):
    """Choose how many buckets the corpus needs, from the listed sizes alone: any → 1.

    Args:
        tokens_per_chunk: new text that a full chunk brings (its limit less the overlap).
        dimension: expected length of a vector.
        previous_bits: of the version before, None when there is none.
    """

    tokens_per_chunk: int
    dimension: int
    part_size_mb: int
    previous_bits: int | None

    def expand(self, found: beam.PCollection[FoundBatch]) -> beam.PCollection[int]:
        """Apply to batches of found documents."""
        return (
            found
            | "Size of documents" >> beam.Map(_listed_size)
            | "Size of corpus" >> beam.CombineGlobally(sum)
            | "Choose bits" >> beam.Map(self._bits)
        )

    def _bits(self, size_bytes: int) -> int:
        rows = estimated_rows(size_bytes, self.tokens_per_chunk)
        return choose_bits(rows, self.dimension, self.part_size_mb, self.previous_bits)


def _listed_size(batch: FoundBatch) -> int:
    return sum(found.size_bytes for found in batch)


@dataclasses.dataclass
class PackChunks(beam.PTransform):
    """Pack the chunks of documents into Arrow batches by bucket: n documents → a batch for each bucket and 8 MB of text.

    Args:
        bits: one number, from ChooseBuckets.
    """

    bits: beam.PCollection[int]

    def expand(self, documents: beam.PCollection[ChunkedDocument]) -> beam.PCollection[PackedChunks]:
        """Apply to chunked documents."""
        return documents | "Pack chunks" >> beam.ParDo(_PackChunksFn(), beam.pvalue.AsSingleton(self.bits))


@dataclasses.dataclass
class GroupByText(beam.PTransform):
    """Group packed chunks by the top bits of their text's hash: n batches → at most 2**bits tables.

    Chunks travel as packed Arrow batches, so the shuffle is columnar and smaller than the text. Repeating a bundle gives
    the same rows; their order in a table is not defined until ``core.tables.merge_chunks`` sorts them.

    Args:
        bits: one number, how many bits name a bucket.
        every_bucket: emit a table for buckets without chunks too: their rows in the previous version have vanished.
    """

    bits: beam.PCollection[int]
    every_bucket: bool

    def expand(self, packed: beam.PCollection[PackedChunks]) -> beam.PCollection[ChunkTable]:
        """Apply to packed chunks."""
        if self.every_bucket:
            named = self.bits | "Name every bucket" >> beam.FlatMap(_empty_batches).with_output_types(PackedChunks)
            packed = (packed, named) | "With every bucket" >> beam.Flatten()
        return packed | "Group by bucket" >> beam.GroupByKey() | "Name table" >> beam.Map(_chunk_table)


def _empty_batches(bits: int) -> Iterator[PackedChunks]:
    for bucket in range(1 << bits):
        yield bucket, b""


def _chunk_table(grouped: tuple[int, Iterable[bytes]]) -> ChunkTable:
    return ChunkTable(grouped[0], tuple(batch for batch in grouped[1] if batch))


class ChunkTableCoder(beam.coders.Coder):
    """Pickles as any record is pickled, but tells the size without it: runners ask for the size of what steps emit."""

    def encode(self, table: ChunkTable) -> bytes:
        """Return a table's bytes."""
        return pickle.dumps(table, pickle.HIGHEST_PROTOCOL)

    def decode(self, encoded: bytes) -> ChunkTable:
        """Return the table."""
        table: ChunkTable = pickle.loads(encoded)
        return table

    def estimate_size(self, table: ChunkTable) -> int:
        """Return about how many bytes a table is encoded in."""
        return sum(map(len, table.batches))


beam.coders.registry.register_coder(ChunkTable, ChunkTableCoder)


class _PackChunksFn(beam.DoFn):
    def __init__(self) -> None:
        self._packed = Metrics.counter("group", "chunks_packed")

    def start_bundle(self) -> None:
        self._bits = 0
        self._begin_batch()

    def _begin_batch(self) -> None:
        self._columns: dict[str, list[object]] = {name: [] for name in CHUNKS.names}
        self._size = 0

    def process(self, document: ChunkedDocument, bits: int) -> Iterator[PackedChunks]:
        self._bits = bits
        self._add(document)
        if self._size >= text_in_batch(bits):
            yield from self._pack()

    def finish_bundle(self) -> Iterator[WindowedValue]:
        for packed in self._pack():
            yield WindowedValue(packed, GlobalWindow().max_timestamp(), (GlobalWindow(),))

    def _add(self, document: ChunkedDocument) -> None:
        columns, spans, count = self._columns, document.spans, len(document.spans)
        chunks = [document.text[span.start : span.end] for span in spans]
        columns["text_hash"] += [text_hash(lead + chunk) for lead, chunk in zip(document.leads, chunks, strict=True)]
        columns["lead"] += document.leads
        columns["id"] += document.ids
        columns["chunk"] += chunks
        columns["token_count"] += [span.token_count for span in spans]
        columns["start_char"] += [span.start for span in spans]
        columns["end_char"] += [span.end for span in spans]
        columns["chunk_index"] += range(count)
        for name, value in (("doc_id", document.doc_id), ("source_uri", document.source_uri)):
            columns[name] += [value] * count
        columns["metadata"] += document.metadata
        self._size += len(document.text)

    def _pack(self) -> list[PackedChunks]:
        table = pa.table(self._columns, schema=CHUNKS)
        self._packed.inc(table.num_rows)
        self._begin_batch()
        return split_by_bucket(table, self._bits)
