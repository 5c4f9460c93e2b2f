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
    RereadChunks,
    StampSettings,
    Tariff,
    WriteParts,
)
from transforms.core.buckets import choose_bits
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


@dataclass(frozen=True)
class _Source:
    """Chunks on their way into the grouping, wherever they come from."""

    packed: beam.PCollection
    bits: beam.PCollection
    rejects: beam.PCollection
    documents: beam.PCollection | None


def build_graph(root: beam.Pipeline, config: RunConfig, facts: RunFacts) -> None:
    """Add all steps of a run, or of a plan, to a pipeline. Building has no effect on the world."""
    place = facts.place
    source = _from_dataset(root, config, facts) if facts.source_version else _from_documents(root, config, facts)
    bits = source.bits
    tables = source.packed | "Group by text" >> GroupByText(bits, every_bucket=facts.previous_bits is not None)

    counts = tables | "Plan buckets" >> PlanBuckets(place, bits, source.documents)
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
    embedded = tables | "Embed buckets" >> EmbedBuckets(place, embed, bits, bill)
    parts = embedded.tables | "Write parts" >> WriteParts(place, stamp, bits)
    commit = CommitSettings(
        stamp,
        facts.chunking,
        config.fingerprint(),
        config.output.keep_versions,
        config.budget,
        facts.started_at,
        facts.accept_new_canary,
    )
    _ = parts | "Commit version" >> CommitVersion(place, commit, bits, bill, source.rejects, embedded.usage)


def _from_documents(root: beam.Pipeline, config: RunConfig, facts: RunFacts) -> _Source:
    new_tokens = config.chunking.max_tokens - config.chunking.overlap_tokens
    found = root | "Find documents" >> FindDocuments(facts.place, config.documents.paths)
    bits = found | "Choose buckets" >> ChooseBuckets(
        new_tokens, facts.dimension, config.output.part_size_mb, facts.previous_bits
    )
    read = found | "Read documents" >> ReadDocuments()
    extracted = read.documents | "Extract text" >> ExtractText(config.documents.records)
    chunked = extracted.documents | "Chunk documents" >> ChunkDocuments(config.chunking, config.endpoint.model)
    packed = chunked | "Pack chunks" >> PackChunks(bits, config.endpoint.input_prefix)
    rejects = (read.rejects, extracted.rejects) | "All rejects" >> beam.Flatten()
    documents = chunked | "Count documents" >> CountDocuments(rejects)
    return _Source(packed, bits, rejects, documents)


def _from_dataset(root: beam.Pipeline, config: RunConfig, facts: RunFacts) -> _Source:
    size = choose_bits(facts.source_rows, facts.dimension, config.output.part_size_mb, facts.previous_bits)
    bits = root | "Bits for known rows" >> beam.Create([size], reshuffle=False)
    packed = root | "Reread chunks" >> RereadChunks(
        config.documents.dataset, facts.source_version, config.endpoint.model, config.endpoint.input_prefix, bits
    )
    rejects = root | "No rejects" >> beam.Create([], reshuffle=False)
    return _Source(packed, bits, rejects, None)


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
        chunker=json.dumps(facts.chunking, sort_keys=True),
        vector_type=config.output.vector_type,
    )
