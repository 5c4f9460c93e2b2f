"""RereadChunks: the committed chunks of a dataset to packed chunks, so that another model needs no documents."""

import dataclasses
from collections.abc import Iterator

import apache_beam as beam
import pyarrow as pa

from transforms.core.identity import ids_with_context, text_hash
from transforms.core.lead import Leads, LeadSettings
from transforms.core.manifest import PartEntry
from transforms.core.tables import CHUNKS, split_by_bucket
from transforms.core.tokens import tokenizer_for_model
from transforms.storage.manifests import manifest_of_version
from transforms.storage.store import open_store

_ROWS_AT_ONCE = 8192


@dataclasses.dataclass
class RereadChunks(beam.PTransform):
    """Read the chunks of a committed version and pack them for grouping: its parts → batches by bucket.

    Offsets and metadata stay, and so do ids, unless a context comes to chunks that had none; text hashes and token counts
    are made anew for the new prefix, context and model. A context is made of the metadata, as far as the chunk's limit
    leaves room for it. Vectors are not read. Repeating it reads the same immutable parts.

    Args:
        dataset: local folder or gs://bucket/prefix of the version.
        model: whose tokenizer counts.
        lead: what is sent before every chunk, so part of its text hash.
        max_tokens: the limit that the chunks were cut with.
        source_context: what the dataset's own vectors were made with, as its stamp names it; "" for none.
        bits: one number, how many bits name a bucket.
        billing_project: pays for reading from a bucket of which the requester pays.
    """

    dataset: str
    version: int
    model: str
    lead: LeadSettings
    max_tokens: int
    source_context: str
    bits: beam.PCollection[int]
    billing_project: str = ""

    def expand(self, root: beam.pvalue.PBegin) -> beam.PCollection[tuple[int, bytes]]:
        """Apply to the root of a pipeline."""
        return (
            root
            | "Name version" >> beam.Create([self.version], reshuffle=False)
            | "List parts" >> beam.FlatMap(_parts_of, self.dataset, self.billing_project).with_output_types(PartEntry)
            | "Spread parts over workers" >> beam.Reshuffle()
            | "Reread part"
            >> beam.FlatMap(
                _reread_part,
                beam.pvalue.AsSingleton(self.bits),
                self.dataset,
                self.model,
                self.lead,
                self.max_tokens,
                self.source_context,
                self.billing_project,
            ).with_output_types(tuple[int, bytes])
        )


def _parts_of(version: int, dataset: str, billing_project: str) -> tuple[PartEntry, ...]:
    return manifest_of_version(open_store(dataset, billing_project), version).parts


def _reread_part(
    part: PartEntry,
    bits: int,
    dataset: str,
    model: str,
    lead: LeadSettings,
    max_tokens: int,
    source_context: str,
    billing_project: str,
) -> Iterator[tuple[int, bytes]]:
    tokenizer = tokenizer_for_model(model)
    leads = Leads(lead, tokenizer, max_tokens)
    columns = [name for name in CHUNKS.names if name not in ("text_hash", "token_count", "lead")]
    file = open_store(dataset, billing_project).open_parquet(part.path)
    for batch in file.iter_batches(_ROWS_AT_ONCE, columns=columns):
        rows = pa.Table.from_batches([batch])
        chunks, metadata = rows.column("chunk").to_pylist(), rows.column("metadata").to_pylist()
        before = [leads.of_row(one, chunk) for one, chunk in zip(metadata, chunks, strict=True)]
        texts = [one + chunk for one, chunk in zip(before, chunks, strict=True)]
        made_anew = {
            "text_hash": pa.array([text_hash(text) for text in texts], pa.binary(32)),
            "token_count": pa.array([tokenizer.count(text) for text in texts], pa.int32()),
            "lead": pa.array(before, pa.string()),
        }
        if not source_context:
            contexts = [lead.context_in(one) for one in before]
            made_anew["id"] = pa.array(ids_with_context(rows.column("id").to_pylist(), contexts), pa.string())
        table = pa.table({name: made_anew[name] if name in made_anew else rows.column(name) for name in CHUNKS.names})
        yield from split_by_bucket(table.cast(CHUNKS), bits)
