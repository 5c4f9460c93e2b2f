"""``embedbeam inspect``: what a dataset holds, what its vectors mean, what they cost."""

import argparse
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, TextIO

import numpy as np
import pyarrow as pa

from pipeline.commands.arguments import add_json
from pipeline.commands.dataset import add_dataset_arguments, committed_versions, open_dataset
from pipeline.commands.plain_text import counted, facts, money_text, one_line, recall_text, size_text, table, when_text
from transforms.core.manifest import Manifest
from transforms.core.tables import codes_of
from transforms.errors import RunRefused
from transforms.storage.garbage import verify_version
from transforms.storage.manifests import version_folder
from transforms.storage.store import Store

_SAMPLE_CHARS = 80
_SAMPLE_COLUMNS = ("id", "doc_id", "token_count", "chunk")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_dataset_arguments(parser)
    parser.add_argument("--rows", metavar="N", type=_count, default=3, help="sample rows to show (3)")
    parser.add_argument("--verify", action="store_true", help="read every part and compare it with the manifest")
    add_json(parser)


def run(arguments: argparse.Namespace, out: TextIO) -> int:
    """Print what the dataset holds.

    Returns:
        0; 3 when ``--verify`` finds a part that is not what the manifest says.
    """
    store, manifest = open_dataset(arguments.dataset, arguments.billing_project)
    problems = verify_version(store, manifest) if arguments.verify else None
    found = {
        **_describe(store, manifest),
        "sample_rows": [] if problems else _sample_rows(store, manifest, arguments.rows),
        "problems": problems,
    }
    text = json.dumps(found) if arguments.json else "\n".join(_lines(found))
    out.write(text + "\n")
    return RunRefused.exit_code if found["problems"] else 0


def _count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"must be 0 or more, got {text!r}")
    return int(text)


def _describe(store: Store, manifest: Manifest) -> dict[str, Any]:
    return {
        "dataset": store.root,
        "version": manifest.version,
        "created_at": manifest.created_at,
        "model": manifest.model,
        "dimensions": manifest.dimensions,
        "rows": manifest.rows,
        "parts": len(manifest.parts),
        "bytes": sum(part.bytes for part in manifest.parts),
        "stamp": asdict(manifest.stamp),
        "derived": {key: value for key, value in manifest.derived.items() if key != "parts"},
        "chunking": dict(manifest.chunking),
        "config_fingerprint": manifest.config_fingerprint,
        "summary": dict(manifest.summary),
        "rejects": _count_rejects(store, manifest),
        "versions": [_describe_version(one) for one in committed_versions(store, manifest)],
    }


def _describe_version(manifest: Manifest) -> dict[str, Any]:
    names = ("rows_added", "rows_removed", "texts_embedded", "prompt_tokens", "cost_usd")
    return {
        "version": manifest.version,
        "created_at": manifest.created_at,
        "rows": manifest.rows,
        "bytes": sum(part.bytes for part in manifest.parts),
        **{name: manifest.summary.get(name) for name in names},
    }


def _count_rejects(store: Store, manifest: Manifest) -> list[dict[str, Any]]:
    """Count a version's rejects by stage and reason, the most frequent first."""
    try:
        file = store.open_parquet(f"{version_folder(manifest.version)}/rejects.parquet")
    except FileNotFoundError:
        return []
    rows = file.read(columns=["stage", "reason"]).to_pylist()
    counts = Counter((row["stage"], row["reason"]) for row in rows)
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return [{"stage": stage, "reason": reason, "count": count} for (stage, reason), count in ordered]


def _sample_rows(store: Store, manifest: Manifest, wanted: int) -> list[dict[str, Any]]:
    """Return the first rows of the version; parts are sorted by hash, so these are as good as drawn at random."""
    rows: list[dict[str, Any]] = []
    for part in manifest.parts:
        if len(rows) >= wanted:
            break
        file = store.open_parquet(part.path)
        columns = [*_SAMPLE_COLUMNS, manifest.stamp.column]
        for batch in file.iter_batches(batch_size=min(wanted, 1000), columns=columns):
            rows += _rows_of(batch, manifest)[: wanted - len(rows)]
            if len(rows) >= wanted:
                break
    return rows


def _rows_of(batch: pa.RecordBatch, manifest: Manifest) -> list[dict[str, Any]]:
    vectors = manifest.stamp.coding().decode(codes_of(batch, manifest.stamp.column))
    norms = np.linalg.norm(vectors.astype(np.float64), axis=1)
    rows: list[dict[str, Any]] = batch.select(list(_SAMPLE_COLUMNS)).to_pylist()
    return [
        {**row, "chunk": one_line(row["chunk"], _SAMPLE_CHARS), "vector_norm": round(float(norm), 6)}
        for row, norm in zip(rows, norms, strict=True)
    ]


def _lines(found: Mapping[str, Any]) -> list[str]:
    lines = [
        f"{found['dataset']}  version {found['version']}, committed {when_text(found['created_at'])}",
        "",
        *facts(_fact_pairs(found)),
        "",
        *_version_lines(found["versions"]),
    ]
    if found["sample_rows"]:
        lines += ["", *_sample_lines(found["sample_rows"])]
    if found["problems"] is not None:
        lines += ["", *_verify_lines(found)]
    return lines


def _fact_pairs(found: Mapping[str, Any]) -> list[tuple[str, str]]:
    stamp, summary = found["stamp"], found["summary"]
    reported = stamp["model_reported"]
    length = "all of length 1" if stamp["normalized"] else "of any length"
    return [
        ("model", found["model"] + (f", reported as {reported}" if reported not in ("", found["model"]) else "")),
        ("vectors", f"{found['dimensions']:,} dimensions, {length}" + _storage_text(stamp)),
        ("derived", _derived_text(found["derived"])),
        ("served by", stamp["base_url_host"] or "the local model"),
        ("prefix", repr(stamp["input_prefix"]) if stamp["input_prefix"] else ""),
        ("context", stamp["context"]),
        ("chunking", ", ".join(f"{key} {value}" for key, value in found["chunking"].items())),
        ("rows", _rows_text(found["rows"], summary)),
        ("parts", f"{counted(found['parts'], 'file')}, {size_text(found['bytes'])}"),
        ("last run", _run_text(summary)),
        ("rejects", _rejects_text(found["rejects"])),
    ]


def _storage_text(stamp: Mapping[str, Any]) -> str:
    return f", stored as {stamp['quantization']}" if stamp["quantization"] else ""


def _derived_text(derived: Mapping[str, Any]) -> str:
    if not derived:
        return ""
    if "sample" in derived:
        return f"a sample of {derived['sample']:.2%} of version {derived['version']} of {derived['dataset']}"
    text = f"from version {derived['version']} of {derived['dataset']} as {derived['vector_type']}"
    return f"{text}; {recall_text(derived['recall'])}" if derived["recall"] else text


def _rows_text(rows: int, summary: Mapping[str, Any]) -> str:
    text = counted(rows, "chunk")
    if "documents" in summary:
        text += f" of {counted(summary['documents'], 'document')}"
    return text


def _run_text(summary: Mapping[str, Any]) -> str:
    if "texts_embedded" not in summary:
        return ""
    if not summary["texts_embedded"]:
        return "embedded nothing new"
    return (
        f"{counted(summary['texts_embedded'], 'text')} embedded, {counted(summary.get('prompt_tokens', 0), 'token')}, "
        f"cost {money_text(summary.get('cost_usd'))}"
    )


def _rejects_text(rejects: Sequence[Mapping[str, Any]]) -> str:
    total = sum(one["count"] for one in rejects)
    reasons = ", ".join(f"{one['count']:,} {one['reason']} ({one['stage']})" for one in rejects)
    return f"{total:,}: {reasons}" if rejects else "none"


def _version_lines(versions: Sequence[Mapping[str, Any]]) -> list[str]:
    titles = ("version", "committed", "rows", "added", "removed", "tokens", "cost USD", "size")
    rows = [
        (
            str(one["version"]),
            when_text(one["created_at"]),
            f"{one['rows']:,}",
            _number(one["rows_added"]),
            _number(one["rows_removed"]),
            _number(one["prompt_tokens"]),
            "?" if one["cost_usd"] is None else f"{one['cost_usd']:.4f}",
            size_text(one["bytes"]),
        )
        for one in versions
    ]
    return table(titles, rows, right=[title for title in titles if title != "committed"])


def _number(value: int | None) -> str:
    return "?" if value is None else f"{value:,}"


def _sample_lines(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    lines = ["sample rows"]
    for row in rows:
        lines.append(f"  {row['id']}  {row['doc_id']}")
        lines.append(f"    {row['token_count']:,} tokens, vector of length {row['vector_norm']:.4f}")
        lines.append(f"    {one_line(row['chunk'], 76)}")
    return lines


def _verify_lines(found: Mapping[str, Any]) -> list[str]:
    if not found["problems"]:
        return [f"verified  {counted(found['parts'], 'part')}: bytes and rows are what the manifest says"]
    return ["DAMAGED", *[f"  {problem}" for problem in found["problems"]]]
