"""``embedbeam derive``: a smaller dataset from vectors that are paid for already, and what it costs in recall."""

import argparse
import json
import sys
import time
from collections.abc import Mapping
from typing import Any, TextIO

from pipeline.commands.arguments import add_json, positive
from pipeline.commands.dataset import add_dataset_arguments, open_dataset
from pipeline.commands.derived_version import DerivedVersion
from pipeline.commands.plain_text import counted, facts, recall_text, size_text
from transforms.core.manifest import Manifest
from transforms.core.models import source_of_shortening
from transforms.core.vector_coding import BINARY, TYPES
from transforms.errors import ConfigError
from transforms.storage.derivation import Recipe
from transforms.storage.store import Store, open_store

_QUERIES = 500


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_dataset_arguments(parser, "the dataset with the vectors as paid for; it stays as it is")
    parser.add_argument(
        "--to", metavar="DEST", required=True, help="the derived dataset: a local folder or gs://bucket/prefix"
    )
    parser.add_argument(
        "--dimensions", metavar="N", type=positive, help="keep the first N numbers of each vector, at length 1 (all)"
    )
    parser.add_argument(
        "--type", choices=TYPES, default="float32", dest="vector_type", help="how numbers are stored (float32)"
    )
    parser.add_argument(
        "--queries", metavar="N", type=positive, default=_QUERIES, help=f"texts that measure the recall ({_QUERIES})"
    )
    add_json(parser)


def run(arguments: argparse.Namespace, out: TextIO) -> int:
    """Make, measure and commit the derived version, or find that nothing has changed.

    Raises:
        ConfigError: there is nothing to derive, or the numbers do not fit the type.
        RunRefused: the destination holds something else.
    """
    began = time.monotonic()
    source_store, source = open_dataset(arguments.dataset, arguments.billing_project)
    recipe = Recipe(arguments.dimensions, arguments.vector_type)
    destination = open_store(arguments.to.rstrip("/") or arguments.to, arguments.billing_project)
    _check_recipe(recipe, source, source_store, destination)
    doubt = _doubt(recipe, source)
    if doubt:
        sys.stderr.write(f"embedbeam: {doubt}\n")
    found = DerivedVersion(source_store, source, destination, recipe, arguments.queries).make()
    found |= {"warning": doubt, "seconds": round(time.monotonic() - began, 1)}
    out.write((json.dumps(found) if arguments.json else "\n".join(_lines(found))) + "\n")
    return 0


def _check_recipe(recipe: Recipe, source: Manifest, source_store: Store, destination: Store) -> None:
    dimensions = recipe.dimensions or source.dimensions
    if recipe.vector_type == "float32" and dimensions == source.dimensions:
        raise ConfigError("nothing to derive: name fewer --dimensions, or a smaller --type (float16, int8, binary)")
    if recipe.vector_type == BINARY and dimensions % 8:
        raise ConfigError(
            f"binary packs eight dimensions into a byte, and {dimensions} dimensions are no multiple of 8"
        )
    if destination.root == source_store.root:
        raise ConfigError(f"--to {destination.root} is the source itself; name another path")


def _doubt(recipe: Recipe, source: Manifest) -> str:
    if recipe.dimensions in (None, source.dimensions) or source_of_shortening(source.model):
        return ""
    return (
        f"{source.model} is not known to be trained for shorter vectors (Matryoshka); the measured recall says what "
        f"{recipe.dimensions} of its {source.dimensions} dimensions are worth"
    )


def _lines(found: Mapping[str, Any]) -> list[str]:
    origin = f"version {found['source_version']} of {found['source']}"
    if not found["committed"]:
        return [f"unchanged  {found['dataset']} stays at version {found['version']}, derived from {origin}"]
    length = f"{found['dimensions']:,}"
    if found["dimensions"] != found["source_dimensions"]:
        length += f" of {found['source_dimensions']:,}"
    recall = found["recall"]
    return facts(
        [
            ("committed", f"version {found['version']} of {found['dataset']}, derived from {origin}"),
            ("vectors", f"{length} dimensions, {found['vector_type']}"),
            ("size", f"{size_text(found['bytes'])} instead of {size_text(found['source_bytes'])}"),
            ("recall", recall_text(recall) if recall else "not measured: one text has no neighbours"),
            ("parts", f"{counted(found['parts_made'], 'part')} made, {found['parts_kept']:,} kept as they were"),
            ("paid", f"nothing; took {found['seconds']} s"),
        ]
    )
