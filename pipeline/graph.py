"""RunConfig to the pipeline graph; the only file that knows the order of the steps."""

import json
from collections.abc import Mapping
from dataclasses import dataclass

import apache_beam as beam

from pipeline.config import RunConfig
from transforms import (
    ApproveBill,
    ChooseBuckets,
    ChunkDocuments,
    CommitSettings,
    CommitVersion,
    CountDocuments,
    EmbedBuckets,
    EmbedSettings,
    ExtractText,
    FindDocuments,
    GroupByText,
    PackChunks,
    PlanBuckets,
    ReadDocuments,
    RememberFiles,
    RereadChunks,
    StampSettings,
    Tariff,
    WriteParts,
)
from transforms.core.buckets import choose_bits
from transforms.core.tables import keep_sample
from transforms.records import Carry
from transforms.storage.place import RunPlace


@dataclass(frozen=True)
class RunFacts:
    """What the launcher found out before the graph is built.

    Attributes:
        dimension: expected length of a vector; sizes the buckets.
        previous_bits: how many bits name a bucket of the version before; None when there is none.
        approve: False for a plan, which ends at the bill.
        lanes: how many processes share the quota at most.
        started_at: seconds since 1970.
        chunking: the settings that the chunks were cut with.
        source_version: of the dataset whose chunks are embedded again; 0 when documents are read.
        source_rows: how many chunks it has.
        source_context: the context in its stamp, "" for none.
        sample: share of all text hashes whose chunks take part, the smallest first; 1 for all.
    """

    place: RunPlace
    dimension: int
    previous_bits: int | None
    approve: bool
    lanes: int
    started_at: float
    accept_new_canary: bool
    chunking: Mapping[str, object]
    source_version: int = 0
    source_rows: int = 0
    source_context: str = ""
    sample: float = 1.0


@dataclass(frozen=True)
class _Source:
    """Chunks on their way into the grouping, wherever they come from."""

    packed: beam.PCollection
    bits: beam.PCollection
    rejects: beam.PCollection
    documents: beam.PCollection | None
    carry: beam.PCollection
    files: beam.PCollection


def build_graph(root: beam.Pipeline, config: RunConfig, facts: RunFacts) -> None:
    """Add all steps of a run, or of a plan, to a pipeline. Building has no effect on the world."""
    place = facts.place
    source = _from_dataset(root, config, facts) if facts.source_version else _from_documents(root, config, facts)
    bits = source.bits
    packed = source.packed
    if facts.sample < 1:
        packed = packed | "Keep sample" >> beam.FlatMap(keep_sample, facts.sample)
    tables = packed | "Group by text" >> GroupByText(bits, every_bucket=facts.previous_bits is not None)

    counts = tables | "Plan buckets" >> PlanBuckets(place, bits, source.carry, source.documents)
    bill = counts | "Approve bill" >> ApproveBill(place, _tariff(config, facts))
    if not facts.approve:
        return

    stamp = _stamp_settings(config, facts)
    embed = EmbedSettings(
        config.endpoint,
        config.limits,
        config.request_limits,
        stamp,
        config.budget,
        facts.lanes,
        facts.accept_new_canary,
    )
    embedded = tables | "Embed buckets" >> EmbedBuckets(place, embed, bits, source.carry, bill)
    parts = embedded.tables | "Write parts" >> WriteParts(place, stamp, bits)
    commit = CommitSettings(
        stamp,
        facts.chunking,
        config.fingerprint(),
        config.output.keep_versions,
        config.budget,
        facts.started_at,
        facts.accept_new_canary,
        _reading(config, facts),
    )
    _ = parts | "Commit version" >> CommitVersion(
        place, commit, bits, bill, source.rejects, embedded.usage, source.files
    )


def _from_documents(root: beam.Pipeline, config: RunConfig, facts: RunFacts) -> _Source:
    new_tokens = config.chunking.max_tokens - config.chunking.overlap_tokens
    found = root | "Find documents" >> FindDocuments(facts.place, config.documents.paths, _reading(config, facts))
    bits = found.documents | "Choose buckets" >> ChooseBuckets(
        new_tokens, facts.dimension, config.output.part_size_mb, facts.previous_bits
    )
    read = found.documents | "Read documents" >> ReadDocuments(
        config.documents.modification_time, config.billing_project
    )
    extracted = read.documents | "Extract text" >> ExtractText(config.documents.records, config.billing_project)
    chunked = extracted.documents | "Chunk documents" >> ChunkDocuments(
        config.chunking, config.endpoint.model, config.lead, facts.place
    )
    packed = chunked.documents | "Pack chunks" >> PackChunks(bits)
    rejects = (read.rejects, extracted.rejects, chunked.rejects) | "All rejects" >> beam.Flatten()
    documents = chunked.documents | "Count documents" >> CountDocuments(rejects, read.unchanged)
    files = chunked.documents | "Remember files" >> RememberFiles(read.unchanged)
    carry = (found.carry, read.carry) | "What to take over" >> beam.Flatten()
    return _Source(packed, bits, rejects, documents, carry, files)


def _reading(config: RunConfig, facts: RunFacts) -> str:
    """Name what documents are read and cut with; "" where not every chunk of every document is here."""
    return "" if facts.source_version or facts.sample < 1 else config.reading_fingerprint()


def _from_dataset(root: beam.Pipeline, config: RunConfig, facts: RunFacts) -> _Source:
    size = choose_bits(facts.source_rows, facts.dimension, config.output.part_size_mb, facts.previous_bits)
    bits = root | "Bits for known rows" >> beam.Create([size], reshuffle=False)
    packed = root | "Reread chunks" >> RereadChunks(
        config.documents.dataset,
        facts.source_version,
        config.endpoint.model,
        config.lead,
        int(str(facts.chunking["max_tokens"])),
        facts.source_context,
        bits,
        config.billing_project,
    )
    rejects = root | "No rejects" >> beam.Create([], reshuffle=False)
    carry = root | "Nothing to take over" >> beam.Create([Carry()], reshuffle=False)
    files = root | "No files" >> beam.Create([], reshuffle=False)
    return _Source(packed, bits, rejects, None, carry, files)


def _tariff(config: RunConfig, facts: RunFacts) -> Tariff:
    return Tariff(
        budget=config.budget,
        limits=config.request_limits,
        requests_per_minute=config.limits.requests_per_minute,
        tokens_per_minute=config.limits.tokens_per_minute,
        bytes_per_vector=facts.dimension * (2 if config.output.vector_type == "float16" else 4),
        base_url="" if config.is_local else config.endpoint.base_url,
        model=config.endpoint.model,
        approve=facts.approve,
    )


def _stamp_settings(config: RunConfig, facts: RunFacts) -> StampSettings:
    return StampSettings(
        model=config.endpoint.model,
        base_url="" if config.is_local else config.endpoint.base_url,
        base_url_host=config.host,
        input_prefix=config.endpoint.input_prefix,
        context=config.context,
        chunker=json.dumps(facts.chunking, sort_keys=True),
        vector_type=config.output.vector_type,
    )
