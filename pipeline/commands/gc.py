"""``embedbeam gc``: remove what no reader and no later run of a dataset needs."""

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, TextIO

from pipeline.commands.arguments import add_json, positive
from pipeline.commands.dataset import add_dataset_arguments, open_dataset
from pipeline.commands.plain_text import counted, size_text, table
from pipeline.commands.unremoving_store import keeping_everything
from transforms.core.identity import vector_fingerprint
from transforms.core.manifest import Manifest
from transforms.core.wording import usd_text
from transforms.storage.dropped_journal import DroppedVectors, drop_journals
from transforms.storage.garbage import collect_garbage, journal_names

_KEEP = 2
_DEAD_AFTER_HOURS = 24


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_dataset_arguments(parser)
    parser.add_argument(
        "--keep", metavar="N", type=positive, default=_KEEP, help=f"versions to keep, with the current one ({_KEEP})"
    )
    parser.add_argument(
        "--dead-after",
        metavar="HOURS",
        type=positive,
        default=_DEAD_AFTER_HOURS,
        help=f"on gs://: a run whose folder has not changed for so long is over ({_DEAD_AFTER_HOURS})",
    )
    parser.add_argument(
        "--drop-journal", action="store_true", help="remove paid vectors, too, that the committed version does not hold"
    )
    parser.add_argument("--dry-run", action="store_true", help="say what would go and remove nothing")
    add_json(parser)


def run(arguments: argparse.Namespace, out: TextIO) -> int:
    """Remove old versions and dead journals, and print what went."""
    store, manifest = open_dataset(arguments.dataset, arguments.billing_project)
    if arguments.dry_run:
        store = keeping_everything(store)
    removed = collect_garbage(store, arguments.keep, dead_after_seconds=arguments.dead_after * 3600.0)
    dropped: list[DroppedVectors] = []
    if arguments.drop_journal:
        gone = {path for path, _ in removed}
        dropped = drop_journals(store, manifest, journal_names(store), _own_journals(manifest), gone)
    price = _price_paid(manifest)
    if arguments.json:
        out.write(json.dumps(_as_json(store.root, arguments, removed, dropped, price)) + "\n")
    else:
        lines = _lines(store.root, manifest.version, arguments.dry_run, removed, dropped)
        out.write("\n".join([*lines, *_dropped_lines(dropped, price, arguments.dry_run)]) + "\n")
    return 0


def _own_journals(manifest: Manifest) -> set[str]:
    """Return the names that the journal of the dataset's own vectors may have: a config may state the dimension or not."""
    stamp = manifest.stamp
    return {
        vector_fingerprint(stamp.model, dimensions, stamp.input_prefix, stamp.base_url_host, stamp.context or "none")
        for dimensions in (None, stamp.dimensions)
    }


def _price_paid(manifest: Manifest) -> float | None:
    """Return what the last run paid for a million tokens; None where it paid for none, or the price was not known."""
    cost, tokens = manifest.summary.get("cost_usd"), manifest.summary.get("prompt_tokens")
    return cost / tokens * 1_000_000 if cost is not None and tokens else None


def _cost_again(one: DroppedVectors, price: float | None) -> float | None:
    return one.tokens * price / 1_000_000 if one.is_of_this_dataset and price is not None else None


def _as_json(
    root: str,
    arguments: argparse.Namespace,
    removed: Sequence[tuple[str, int]],
    dropped: Sequence[DroppedVectors],
    price: float | None,
) -> dict[str, Any]:
    found = {
        "dataset": root,
        "keep": arguments.keep,
        "dry_run": arguments.dry_run,
        "removed": [{"path": path, "bytes": size} for path, size in removed],
        "bytes": sum(size for _, size in removed) + sum(one.bytes for one in dropped),
    }
    if arguments.drop_journal:
        found["dropped"] = [{**asdict(one), "cost_usd_again": _cost_again(one, price)} for one in dropped]
    return found


def _lines(
    root: str,
    version: int,
    dry_run: bool,
    removed: Sequence[tuple[str, int]],
    dropped: Sequence[DroppedVectors],
) -> list[str]:
    if not removed:
        return [f"{root}  version {version}: nothing " + ("else " if dropped else "") + "to remove"]
    total = size_text(sum(size for _, size in removed))
    doing = "would free" if dry_run else "freed"
    rows = [(path, size_text(size)) for path, size in removed]
    title = "would go" if dry_run else "removed"
    lines = [f"{root}  version {version} stays", "", *table((title, "size"), rows, right=("size",)), ""]
    return [*lines, f"{doing} {total} in {counted(len(removed), 'place')}"]


def _dropped_lines(dropped: Sequence[DroppedVectors], price: float | None, dry_run: bool) -> list[str]:
    if not dropped:
        return []
    titles = ("would drop" if dry_run else "dropped", "texts", "tokens paid", "again, about", "size")
    rows = [
        (
            (one.model or one.fingerprint) + ("" if one.is_of_this_dataset else " (not this dataset's vectors)"),
            f"{one.texts:,}",
            f"{one.tokens:,}",
            usd_text(_cost_again(one, price)),
            size_text(one.bytes),
        )
        for one in dropped
    ]
    return ["", *table(titles, rows, right=titles[1:])]
