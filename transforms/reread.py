"""RereadChunks: the committed chunks of a dataset to packed chunks, so that another model needs no documents."""

import dataclasses
from collections.abc import Iterator

import apache_beam as beam
import pyarrow as pa

from transforms.core.identity import text_hash
from transforms.core.manifest import PartEntry
from transforms.core.tables import CHUNKS, split_by_bucket
from transforms.core.tokens import tokenizer_for_model
from transforms.storage.manifests import manifest_of_version
from transforms.storage.store import open_store

_ROWS_AT_ONCE = 8192


@dataclasses.dataclass
class RereadChunks(beam.PTransform):
    """Read the chunks of a committed version and pack them for grouping: its parts → batches by bucket.

    Ids, offsets and metadata stay; text hashes and token counts are made anew for the new prefix and model. Vectors are
    not read. Repeating it reads the same immutable parts.

    Args:
        dataset: local folder or gs://bucket/prefix of the version.
        model: whose tokenizer counts.
        input_prefix: sent before every chunk, so part of its text hash.
        bits: one number, how many bits name a bucket.
    """

    dataset: str
    version: int
    model: str
    input_prefix: str
    bits: beam.PCollection[int]

    def expand(self, root: beam.pvalue.PBegin) -> beam.PCollection[tuple[int, bytes]]:
        """Apply to the root of a pipeline."""
        return (
            root
            | "Name version" >> beam.Create([self.version], reshuffle=False)
            | "List parts" >> beam.FlatMap(_parts_of, self.dataset).with_output_types(PartEntry)
            | "Spread parts over workers" >> beam.Reshuffle()
            | "Reread part"
            >> beam.FlatMap(
                _reread_part, beam.pvalue.AsSingleton(self.bits), self.dataset, self.model, self.input_prefix
            ).with_output_types(tuple[int, bytes])
        )


def _parts_of(version: int, dataset: str) -> tuple[PartEntry, ...]:
    return manifest_of_version(open_store(dataset), version).parts


def _reread_part(part: PartEntry, bits: int, dataset: str, model: str, prefix: str) -> Iterator[tuple[int, bytes]]:
    count = tokenizer_for_model(model).count
    columns = [name for name in CHUNKS.names if name not in ("text_hash", "token_count")]
    for batch in open_store(dataset).open_parquet(part.path).iter_batches(_ROWS_AT_ONCE, columns=columns):
        rows = pa.Table.from_batches([batch])
        chunks = rows.column("chunk").to_pylist()
        made_anew = {
            "text_hash": pa.array([text_hash(prefix + chunk) for chunk in chunks], pa.binary(32)),
            "token_count": pa.array([count(chunk) for chunk in chunks], pa.int32()),
        }
        table = pa.table({name: made_anew[name] if name in made_anew else rows.column(name) for name in CHUNKS.names})
        yield from split_by_bucket(table.cast(CHUNKS), bits)
