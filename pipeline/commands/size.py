"""``embedbeam size``: what a config would mean for a million chunks, or a billion, before there are any."""

import argparse
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import TextIO

from pipeline import progress
from pipeline.commands.arguments import add_config, add_json
from pipeline.commands.plain_text import aligned, size_text
from pipeline.config import RunConfig, load_config
from transforms import in_flight, notes
from transforms.core.batches import BYTES_PER_TOKEN
from transforms.core.models import expected_dimension
from transforms.core.scale import Corpus, Mechanics, Plan, Scale, measure
from transforms.core.storage_use import Rhythm, StoragePrices
from transforms.core.wording import duration_text
from transforms.storage.gcs_uploads import FLUSH_BYTES, FLUSH_SECONDS
from transforms.storage.journal_writer import MAX_SEGMENT_BYTES
from transforms.storage.part_files import rows_per_row_group

_CHUNKS = (10**6, 10**8, 10**9)
_TOKENS_PER_MINUTE = 10_000_000
_CHUNKS_PER_DOCUMENT = 10.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_config(parser)
    parser.add_argument(
        "--chunks",
        metavar="N",
        type=_count,
        action="append",
        help="how many chunks, such as 250000 or 1e6; repeatable (1e6, 1e8 and 1e9)",
    )
    parser.add_argument(
        "--tokens-per-chunk", metavar="N", type=_count, help="mean tokens of a chunk (the limit: every chunk full)"
    )
    parser.add_argument(
        "--chunks-per-document",
        metavar="N",
        type=_count,
        default=_CHUNKS_PER_DOCUMENT,
        help=f"mean chunks of a document ({_CHUNKS_PER_DOCUMENT:g})",
    )
    parser.add_argument("--workers", metavar="N", type=_count, default=1, help="worker processes at once (1)")
    add_json(parser)
    parser.epilog = (
        "A first run is reckoned: nothing is there yet, and every chunk is a text of its own. Without "
        f"limits.tokens_per_minute, {_TOKENS_PER_MINUTE:,} are taken; without budget.price_per_million_tokens, the tokens have "
        "no price. Reads the config only, and calls nobody."
    )


def run(arguments: argparse.Namespace, out: TextIO) -> int:
    """Reckon what a config means at several sizes, and print it as a table.

    Raises:
        ConfigError: the config cannot be used.
    """
    config = load_config(arguments.config, arguments.settings)
    plan = plan_of(config, arguments.workers)
    tokens = min(arguments.tokens_per_chunk or config.chunking.max_tokens, config.chunking.max_tokens)
    corpora = [
        corpus_of(config, chunks, tokens, arguments.chunks_per_document) for chunks in arguments.chunks or _CHUNKS
    ]
    scales = [measure(corpus, plan, mechanics(plan.dimension), StoragePrices()) for corpus in corpora]
    if arguments.json:
        found = {
            "tokens_per_minute": plan.tokens_per_minute,
            "workers": plan.workers,
            "prices": asdict(StoragePrices()),
        }
        out.write(json.dumps({**found, "sizes": [_as_json(scale) for scale in scales]}) + "\n")
    else:
        out.write("\n".join(_lines(plan, tokens, scales)) + "\n")
    return 0


def plan_of(config: RunConfig, workers: int) -> Plan:
    """Take from a config what a size depends on."""
    return Plan(
        dimension=config.endpoint.dimensions or expected_dimension(config.endpoint.model),
        bytes_per_number=2 if config.output.vector_type == "float16" else 4,
        part_size_mb=config.output.part_size_mb,
        new_tokens_of_full_chunk=config.chunking.max_tokens - config.chunking.overlap_tokens,
        limits=config.request_limits,
        requests_per_minute=config.limits.requests_per_minute,
        tokens_per_minute=config.limits.tokens_per_minute or _TOKENS_PER_MINUTE,
        price_per_million_tokens=0.0 if config.is_local else config.budget.price_per_million_tokens,
        workers=workers,
    )


def corpus_of(config: RunConfig, chunks: int, tokens_per_chunk: float, chunks_per_document: float) -> Corpus:
    """Imagine documents that give so many chunks under a config: English prose."""
    return Corpus(
        chunks=chunks,
        tokens_per_chunk=tokens_per_chunk,
        new_tokens_per_chunk=max(tokens_per_chunk - config.chunking.overlap_tokens, 1),
        chunks_per_document=chunks_per_document,
        bytes_per_token=BYTES_PER_TOKEN,
        in_bucket=any(path.startswith("gs://") for path in config.documents.paths),
    )


def mechanics(dimension: int) -> Mechanics:
    """Gather the numbers that the rooms keep, for vectors of so many numbers."""
    return Mechanics(
        segment_bytes=MAX_SEGMENT_BYTES,
        rhythm=Rhythm(
            upload_bytes=FLUSH_BYTES,
            upload_seconds=FLUSH_SECONDS,
            look_seconds=in_flight.POLL_SECONDS,
            note_seconds=notes.NOTE_SECONDS,
            timeline_seconds=notes.TIMELINE_SECONDS,
            watch_seconds=progress.LOOK_SECONDS,
        ),
        waiting_bytes=in_flight.WAITING_BYTES,
        rows_per_row_group=rows_per_row_group(dimension),
    )


def _count(text: str) -> int:
    try:
        number = float(text.replace(",", "").replace("_", ""))
    except ValueError:
        number = math.nan
    if not 1 <= number <= 1e12 or number != int(number):
        raise argparse.ArgumentTypeError(f"must be a whole number from 1 to 1e12, got {text!r}")
    return int(number)


def _as_json(scale: Scale) -> dict[str, object]:
    memories = ("memory_on_cloud_worker", "memory_on_one_machine")
    return asdict(scale) | {
        name: {**asdict(getattr(scale, name)), "total": getattr(scale, name).total} for name in memories
    }


def _lines(plan: Plan, tokens: int, scales: Sequence[Scale]) -> list[str]:
    workers = "1 worker" if plan.workers == 1 else f"{plan.workers:,} workers"
    head = (
        f"First run at {plan.tokens_per_minute:,} tokens a minute with {workers}: {plan.dimension:,} dimensions, chunks of "
        f"{tokens:,} tokens, parts of {plan.part_size_mb:,} MB of vectors; about"
    )
    rows = [("chunks", *(f"{scale.chunks:,}" for scale in scales))]
    rows += [(name, *(tell(scale) for scale in scales)) for name, tell in _ROWS]
    return [head, "", *aligned(rows, range(1, len(scales) + 1))]


_ROWS: Sequence[tuple[str, Callable[[Scale], str]]] = (
    ("tokens", lambda s: f"{s.tokens:,}"),
    ("price of the tokens", lambda s: "not known" if s.cost_usd is None else _usd(s.cost_usd)),
    ("requests to the endpoint", lambda s: f"{s.requests:,}"),
    ("time at the quota", lambda s: duration_text(s.hours * 3600)),
    ("buckets = parts", lambda s: f"{s.buckets:,}"),
    ("rows in a part", lambda s: f"{s.rows_per_part:,}"),
    ("size of a part", lambda s: size_text(s.part_bytes)),
    ("size of the dataset", lambda s: size_text(s.dataset_bytes)),
    ("shuffle", lambda s: size_text(s.shuffle_bytes)),
    ("journal", lambda s: size_text(s.journal_bytes)),
    ("journal objects on gs://", lambda s: f"{s.journal_objects:,}"),
    ("journal files on a disk", lambda s: f"{s.journal_files:,}"),
    ("class A operations on gs://", lambda s: f"{s.class_a:,}"),
    ("class B operations on gs://", lambda s: f"{s.class_b:,}"),
    ("price of the operations", lambda s: _usd(s.operations_usd)),
    ("price of storing it, a month", lambda s: _usd(s.storage_usd_a_month)),
    ("memory of a worker in the cloud", lambda s: size_text(s.memory_on_cloud_worker.total)),
    ("disk of a worker in the cloud", lambda s: size_text(s.disk_on_cloud_worker)),
    ("memory on one machine", lambda s: size_text(s.memory_on_one_machine.total)),
    ("disk on one machine", lambda s: size_text(s.disk_on_one_machine)),
)


def _usd(amount: float) -> str:
    return f"{amount:,.2f} USD"
