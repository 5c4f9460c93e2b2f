"""``make bench``: measures the scenarios and leaves one table in .bench/, as Markdown and as JSON."""

import argparse
import dataclasses
import json
import os
import platform
import subprocess
import sys
from collections.abc import Sequence

from benchmarks.documents import Throughput, measure_documents, table
from benchmarks.programs import BENCH
from benchmarks.scenarios import FULL, QUICK, SCENARIOS, Row, Scale

_HEAD = (
    "| scenario | program | seconds | × | CPU s | × | peak MB | chunks | texts paid | requests | note |",
    "|---|---|---|---|---|---|---|---|---|---|---|",
)
_DOCUMENTS, _DOCUMENT_MEGABYTES = "documents", 4.0


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "--quick", action="store_true", help="small corpus, ours against the plain script and naive Beam"
    )
    parser.add_argument(
        "--only",
        default="",
        help=f"some of {', '.join([*SCENARIOS, _DOCUMENTS])}; the provider client's table is left out",
    )
    parser.add_argument("--megabytes", type=float, help="of text in the corpus")
    parser.add_argument("--rounds", type=int, help="runs of each program")
    parser.add_argument("--million", action="store_true", help="grow to a million chunks, 1 GB of text")
    given = parser.parse_args()
    scale = _scale(given)
    BENCH.mkdir(exist_ok=True)
    wanted = given.only.split(",") if given.only else [*SCENARIOS, _DOCUMENTS]
    rows: list[Row] = []
    if wanted != [_DOCUMENTS]:
        print("\n".join(_HEAD), flush=True)
    for name in wanted:
        if name == _DOCUMENTS or (name == "growth" and not scale.growth_megabytes):
            continue
        found = SCENARIOS[name](scale)
        rows += found
        print("\n".join(map(_line, found)), flush=True)
    throughputs = _documents(given.megabytes or _DOCUMENT_MEGABYTES, scale.rounds) if _DOCUMENTS in wanted else []
    _leave(rows, throughputs, scale)
    if not given.only and not given.quick:
        return subprocess.run([sys.executable, "-m", "benchmarks.provider"], check=False).returncode
    return 0


def _documents(megabytes: float, rounds: int) -> list[Throughput]:
    found = list(measure_documents(BENCH / _DOCUMENTS, megabytes, rounds))
    print("\n".join(["", *table(found)]), flush=True)
    return found


def _scale(given: argparse.Namespace) -> Scale:
    scale = QUICK if given.quick else FULL
    if given.megabytes:
        scale = dataclasses.replace(scale, megabytes=given.megabytes)
    if given.rounds:
        scale = dataclasses.replace(scale, rounds=given.rounds)
    if given.million:
        scale = dataclasses.replace(scale, growth_megabytes=(*scale.growth_megabytes, 1000.0))
    return scale


def _line(row: Row) -> str:
    if not row.runs:
        return f"| {row.scenario} | {row.program} | | | | | | | | | {row.note} |"
    figures = f"{row.seconds:.1f} | {row.seconds_ratio:.2f} | {row.cpu_seconds:.1f} | {row.cpu_ratio:.2f} | {row.peak_mb:,.0f}"
    chunks = f"{row.chunks:,}" if row.chunks else ""
    return f"| {row.scenario} | {row.program} | {figures} | {chunks} | {row.texts:,} | {row.requests:,} | {row.note} |"


def _leave(rows: Sequence[Row], throughputs: Sequence[Throughput], scale: Scale) -> None:
    machine = f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}, Python {platform.python_version()}"
    facts: dict[str, object] = {"machine": machine, "megabytes": scale.megabytes, "rounds": scale.rounds}
    facts |= {"rows": [dataclasses.asdict(row) for row in rows]}
    facts |= {_DOCUMENTS: [dataclasses.asdict(one) for one in throughputs]}
    (BENCH / "bench.json").write_text(json.dumps(facts, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    said = f"Medians of {scale.rounds} runs in turn; ratios to the first row of each scenario. {machine}.\n\n"
    lines = [*_HEAD, *map(_line, rows)] if rows else []
    lines += ["", *table(throughputs)] if throughputs else []
    (BENCH / "bench.md").write_text(said + "\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
