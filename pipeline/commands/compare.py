"""``embedbeam compare``: would another model see this corpus differently, and what would the whole cost?"""

import argparse
import dataclasses
import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TextIO

from pipeline.commands.arguments import add_config, positive
from pipeline.commands.compared_models import Agreement, Sampled, compare_sampled, read_sampled
from pipeline.commands.comparison_page import comparison_html, comparison_lines
from pipeline.commands.paid_sample import keep_for_the_run
from pipeline.compatibility import check_same_vectors
from pipeline.config import DocumentSettings, RunConfig, load_config
from transforms.clients.catalog import look_up_price
from transforms.core.bill import price_bill
from transforms.core.identity import vector_fingerprint
from transforms.core.manifest import Manifest
from transforms.errors import ConfigError, RunRefused
from transforms.records import Bill
from transforms.storage.sampled_copy import copy_sample
from transforms.storage.store import Store, open_store
from transforms.storage.versions import current_manifest

Execute = Callable[[RunConfig, float, bool], dict[str, Any]]
"""Runs (True) or plans (False) a config on a share of its texts, saying the bill before anything is paid."""

_FOLDER = "_compare"
_FEWEST_TEXTS = 20
_BYTES_OF_A_NUMBER = {"float32": 4, "float16": 2}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_config(parser)
    parser.add_argument("--model", metavar="B", required=True, help="the other model, as the endpoint calls it")
    parser.add_argument("--dimensions", metavar="N", type=positive, help="of the other model's vectors (its own)")
    parser.add_argument(
        "--with",
        metavar="KEY.PATH=VALUE",
        action="append",
        default=[],
        dest="settings_of_b",
        help="override one config key for the other model only, as in --with embedding.base_url=URL; repeatable",
    )
    parser.add_argument(
        "--sample", metavar="SHARE", type=_share, default=0.01, help="of the texts, chosen by hash (0.01)"
    )
    parser.add_argument("--html", metavar="FILE", help="write the answer as a page, too")
    parser.add_argument("--dry-run", action="store_true", help="say the bill of the sample and pay nothing")
    parser.add_argument("--json", action="store_true", help="print one JSON object, the last line of stdout")
    parser.add_argument("--quiet", action="store_true", help="say no bills and no progress")


def run(arguments: argparse.Namespace, out: TextIO, execute: Execute) -> int:
    """Embed a sample of the corpus with the other model, and with the config's own where its dataset is not there yet.

    Raises:
        ConfigError: the config cannot be used, or both models are the same.
        RunRefused: the sample is too small to say anything, or a bill is over the budget.
    """
    config, other = _configs(arguments)
    if arguments.dry_run:
        return _say_bill(config, other, arguments, out, execute)
    store, manifest = _sample_of_first(config, arguments.sample, execute)
    if manifest.rows < _FEWEST_TEXTS:
        raise RunRefused(f"the sample has {manifest.rows} chunks, too few to say anything; raise --sample")
    other = _reading_from(other, store.root)
    execute(other, 1.0, True)
    other_store, other_manifest = _committed(other)
    sampled = read_sampled(store, manifest), read_sampled(other_store, other_manifest)
    agreement = compare_sampled(*sampled)
    whole = _rows_of_whole(config, manifest, arguments.sample)
    models = [
        _cost_of_whole(one, found.dimensions, tokens, whole)
        for one, found, tokens in zip((config, other), (manifest, other_manifest), sampled, strict=True)
    ]
    _show(arguments, agreement, models, out)
    return 0


def _configs(arguments: argparse.Namespace) -> tuple[RunConfig, RunConfig]:
    config = load_config(arguments.config, arguments.settings)
    dimensions = "null" if arguments.dimensions is None else str(arguments.dimensions)
    changed = [
        f"embedding.model={json.dumps(arguments.model)}",
        f"embedding.dimensions={dimensions}",
        "budget.price_per_million_tokens=null",  # the config's price is the first model's
        *arguments.settings_of_b,
    ]
    other = load_config(arguments.config, [*arguments.settings, *changed])
    if _fingerprint(other) == _fingerprint(config):
        raise ConfigError(f"both models are {config.endpoint.model}; name another --model or other --dimensions")
    return config, dataclasses.replace(other, dataset=_folder_of(config, other, "model"))


def _fingerprint(config: RunConfig) -> str:
    endpoint = config.endpoint
    return vector_fingerprint(endpoint.model, endpoint.dimensions, endpoint.input_prefix, config.host, config.context)


def _folder_of(config: RunConfig, model: RunConfig, kind: str) -> str:
    name = re.sub(r"[^A-Za-z0-9.]+", "-", model.endpoint.model)
    return f"{config.dataset}/{_FOLDER}/{kind}-{name}-{_fingerprint(model)[:8]}"


def _reading_from(other: RunConfig, dataset: str) -> RunConfig:
    return dataclasses.replace(other, documents=DocumentSettings((), dataset))


def _sample_of_first(config: RunConfig, share: float, execute: Execute) -> tuple[Store, Manifest]:
    """Return the first model's sample as a dataset: copied where its vectors are paid for, else embedded now."""
    store = open_store(config.dataset, config.billing_project)
    manifest = current_manifest(store)
    check_same_vectors(config, manifest)
    if manifest is not None:
        copy = open_store(_folder_of(config, config, "sample"), config.billing_project)
        return copy, copy_sample(store, manifest, copy, share)
    embedded = dataclasses.replace(config, dataset=_folder_of(config, config, "model"))
    execute(embedded, share, True)
    found = _committed(embedded)
    keep_for_the_run(*found, store, _fingerprint(config))
    return found


def _committed(config: RunConfig) -> tuple[Store, Manifest]:
    store = open_store(config.dataset, config.billing_project)
    manifest = current_manifest(store)
    if manifest is None:
        raise RunRefused(f"{config.dataset} is gone; another process has removed it")
    return store, manifest


def _say_bill(config: RunConfig, other: RunConfig, arguments: argparse.Namespace, out: TextIO, execute: Execute) -> int:
    """Plan the runs that the comparison would make; a model's bill is that of its own tokenizer."""
    store = open_store(config.dataset, config.billing_project)
    manifest = current_manifest(store)
    check_same_vectors(config, manifest)
    bills = {}
    if manifest is None:
        bills["a"] = execute(
            dataclasses.replace(config, dataset=_folder_of(config, config, "model")), arguments.sample, False
        )
        bills["b"] = execute(other, arguments.sample, False)
    else:
        copy = open_store(_folder_of(config, config, "sample"), config.billing_project)
        copy_sample(store, manifest, copy, arguments.sample)
        bills["b"] = execute(_reading_from(other, copy.root), 1.0, False)
    if arguments.json:
        out.write(json.dumps(bills) + "\n")
    return RunRefused.exit_code if any(bill.get("refusal") for bill in bills.values()) else 0


def _rows_of_whole(config: RunConfig, manifest: Manifest, share: float) -> int:
    """Return how many chunks the whole corpus has: counted where it is committed, else about."""
    current = current_manifest(open_store(config.dataset, config.billing_project))
    return current.rows if current is not None else round(manifest.rows / share)


def _cost_of_whole(config: RunConfig, dimensions: int, sampled: Sampled, rows: int) -> dict[str, Any]:
    """Say what embedding the whole corpus takes, from the sample's tokens and the share of the rows that it is."""
    scale = rows / sampled.rows
    counts = Bill(chunks=rows, texts_to_embed=round(len(sampled.vectors) * scale), tokens=round(sampled.tokens * scale))
    bill = price_bill(
        counts,
        _price(config),
        "",
        config.request_limits,
        config.limits.requests_per_minute,
        config.limits.tokens_per_minute,
        dimensions * _BYTES_OF_A_NUMBER[config.output.vector_type],
    )
    return {
        "model": config.endpoint.model,
        "dimensions": dimensions,
        "tokens": bill.tokens,
        "requests": bill.requests,
        "cost_usd": bill.cost_usd,
        "seconds_at_quota": bill.seconds_at_quota or None,
        "bytes": bill.dataset_bytes,
    }


def _price(config: RunConfig) -> float | None:
    if config.budget.price_per_million_tokens is not None or config.is_local:
        return config.budget.price_per_million_tokens or 0.0
    entry = look_up_price(config.endpoint.base_url, config.endpoint.model)
    return entry.price_per_million_tokens if entry else None


def _show(arguments: argparse.Namespace, agreement: Agreement, models: Sequence[dict[str, Any]], out: TextIO) -> None:
    if arguments.html:
        try:
            Path(arguments.html).write_text(comparison_html(agreement, models, arguments.sample), encoding="utf-8")
        except OSError as error:
            raise ConfigError(f"cannot write the page to {arguments.html}: {error.strerror or error}") from error
    if arguments.json:
        out.write(json.dumps({"sample": arguments.sample, **dataclasses.asdict(agreement), "models": models}) + "\n")
    else:
        out.write("\n".join(comparison_lines(agreement, models, arguments.sample)) + "\n")


def _share(text: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = 0.0
    if not 0 < share <= 1:
        raise argparse.ArgumentTypeError(f"must be above 0 and at most 1, got {text!r}")
    return share
