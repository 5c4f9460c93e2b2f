"""``embedbeam search``: the chunks nearest to a query, embedded with the model that the dataset is stamped with."""

import argparse
import json
import shutil
import sys
from typing import Any, TextIO

from pipeline.commands.arguments import add_json, pair, positive
from pipeline.commands.dataset import add_dataset_arguments, open_dataset
from pipeline.commands.nearest import Hit, RowFilter, find_nearest
from pipeline.commands.plain_text import counted, one_line, paragraph
from pipeline.commands.query_vector import DEFAULT_KEY_VARIABLE, QuerySettings, embed_query
from pipeline.commands.snippet import best_excerpt
from transforms.core.manifest import Manifest
from transforms.errors import ConfigError

_COLUMNS = ("id", "doc_id", "source_uri", "chunk_index", "start_char", "end_char", "token_count", "metadata", "chunk")
_WIDEST = 100
_EXCERPT_LINES = 4
_INDENT = "   "


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_dataset_arguments(parser)
    parser.add_argument("query", metavar="QUERY", help="what to look for, in quotes")
    parser.add_argument("-k", metavar="N", type=positive, default=5, help="how many chunks to show (5)")
    parser.add_argument(
        "--where-source", metavar="GLOB", default="", help="only chunks whose source_uri or doc_id match, as in 'sea/*'"
    )
    parser.add_argument(
        "--where-metadata",
        metavar="KEY=VALUE",
        type=pair,
        action="append",
        default=[],
        help="repeatable: all must hold",
    )
    parser.add_argument("--query-prefix", metavar="TEXT", default="", help="put before the query, as in 'query: '")
    parser.add_argument("--base-url", metavar="URL", default="", help="the endpoint, where it is not the dataset's own")
    parser.add_argument(
        "--api-key-env", metavar="NAME", help=f"variable that holds the key ({DEFAULT_KEY_VARIABLE}); '' for none"
    )
    add_json(parser)


def run(arguments: argparse.Namespace, out: TextIO) -> int:
    """Print the nearest chunks; equal scores come in the order of their ids."""
    query = _readable(arguments.query)
    store, manifest = open_dataset(arguments.dataset, arguments.billing_project)
    settings = QuerySettings(arguments.base_url, arguments.api_key_env, arguments.query_prefix)
    vector, warning = embed_query(store, manifest, query, settings)
    row_filter = RowFilter(arguments.where_source, tuple(arguments.where_metadata))
    hits, compared = find_nearest(store, manifest, vector, arguments.k, row_filter, _COLUMNS)
    if warning:
        sys.stderr.write(f"embedbeam: {warning}\n")
    if arguments.json:
        out.write(json.dumps(_as_json(store.root, manifest, query, hits, compared)) + "\n")
    else:
        width = min(shutil.get_terminal_size((80, 24)).columns, _WIDEST)
        out.write("\n".join(_lines(store.root, manifest, query, hits, compared, width)) + "\n")
    return 0


def _readable(query: str) -> str:
    if not query.strip():
        raise ConfigError("the query is empty; say in a few words what to look for")
    try:
        query.encode()
    except UnicodeEncodeError:
        raise ConfigError("the query is not valid text in this terminal's encoding; use UTF-8") from None
    return query


def _as_json(root: str, manifest: Manifest, query: str, hits: list[Hit], compared: int) -> dict[str, Any]:
    return {
        "dataset": root,
        "version": manifest.version,
        "model": manifest.model,
        "query": query,
        "chunks_compared": compared,
        "hits": [
            {"rank": rank, "score": round(hit.score, 6), **hit.row, "metadata": json.loads(hit.row["metadata"] or "{}")}
            for rank, hit in enumerate(hits, 1)
        ],
    }


def _lines(root: str, manifest: Manifest, query: str, hits: list[Hit], compared: int, width: int) -> list[str]:
    if not hits:
        return [
            f"no chunk of {root} passes the filter ({counted(manifest.rows, 'chunk')} in version {manifest.version})"
        ]
    of = counted(compared, "chunk") + (
        "" if compared == manifest.rows else f" that pass the filter, of {manifest.rows:,}"
    )
    lines = [f"{len(hits)} nearest of {of}  ({root}, version {manifest.version}, {manifest.model})"]
    for rank, hit in enumerate(hits, 1):
        place = f"{hit.row['doc_id']}, characters {hit.row['start_char']:,} to {hit.row['end_char']:,}"
        title = json.loads(hit.row["metadata"] or "{}").get("title", "")
        excerpt = best_excerpt(hit.row["chunk"], query, _EXCERPT_LINES * (width - len(_INDENT)) - width // 4)
        head = f"{rank:>2} {hit.score:.3f}  {place}"
        lines += ["", head + (", " + one_line(title, max(width - len(head) - 2, 20)) if title else "")]
        if not hit.row["source_uri"].endswith(hit.row["doc_id"]):
            lines.append(f"{_INDENT}{hit.row['source_uri']}")
        lines += paragraph(excerpt, width, _INDENT)
    return lines
