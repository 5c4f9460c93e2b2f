"""The work that is measured: each scenario runs its programs in turn, A B A B, and gives one row for each."""

import json
import shutil
import statistics
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.corpus import make_corpus, some_changed
from benchmarks.measure import CommandFailed, Cost, measure
from benchmarks.programs import BENCH, NAIVE, OURS, PEERS, PLAIN, Program, Work, environment, install
from benchmarks.provider import ask, provider

DUPLICATES = 0.38
_TWO_WORKERS = ("--direct_num_workers=2", "--direct_running_mode=multi_processing")


@dataclass(frozen=True, slots=True)
class Run:
    """One measured run: what it cost, and what the provider saw of it."""

    cost: Cost
    chunks: int = 0
    texts: int = 0
    requests: int = 0
    tokens: int = 0
    asking_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Row:
    """The medians of one program's runs in one scenario; ``note`` says why there are none, or what else is to be known."""

    scenario: str
    program: str
    note: str = ""
    runs: int = 0
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    peak_mb: float = 0.0
    chunks: int = 0
    texts: int = 0
    requests: int = 0
    seconds_ratio: float = 0.0
    cpu_ratio: float = 0.0


@dataclass(frozen=True, slots=True)
class Scale:
    """How large and how often.

    Attributes:
        megabytes: of text in the corpus of the comparisons.
        growth_megabytes: of text in each step of the growth.
        peers: the programs beside ours and the plain script.
    """

    megabytes: float
    rounds: int
    growth_megabytes: Sequence[float]
    peers: Sequence[Program]


QUICK = Scale(8, 2, (), (NAIVE,))
FULL = Scale(62, 3, (10, 100), (NAIVE, *PEERS))


def corpus(megabytes: float) -> Path:
    """Return the folder of a corpus, made once; equal figures give equal files."""
    folder = BENCH / f"corpus-{megabytes:g}mb"
    if not folder.exists():
        growing = BENCH / f"growing-{megabytes:g}mb"
        shutil.rmtree(growing, ignore_errors=True)
        make_corpus(growing, megabytes, DUPLICATES)
        growing.rename(folder)
    return folder


def throughput(scale: Scale) -> list[Row]:
    """Against a provider that answers at once: what is left is our own work."""
    name = f"{scale.megabytes:g} MB, instant provider"
    programs = (PLAIN, OURS, *scale.peers)
    return _in_turn(name, programs, scale.rounds, lambda one: _first_run(one, Work(corpus(scale.megabytes))))


def latency(scale: Scale) -> list[Row]:
    """200 ms an answer, 16 requests in flight: how much of the ideal is used, from the first request to the last."""
    work = Work(corpus(max(8, scale.megabytes / 4)), inputs=32, in_flight=16)
    programs = (PLAIN, OURS, *scale.peers)

    def run(program: Program) -> Run:
        return _first_run(program, work, "--latency-ms", "200")

    return _in_turn("200 ms × 16", programs, 1, run, _share_of_ideal)


def reruns(scale: Scale) -> list[Row]:
    """The first run, then again with nothing changed, then with 1 % of the documents changed."""
    work = Work(corpus(scale.megabytes))
    kinds: dict[str, list[Run]] = {"first run": [], "nothing changed": [], "1 % of documents changed": []}
    for _ in range(scale.rounds):
        with tempfile.TemporaryDirectory(dir=BENCH) as output:
            kinds["first run"].append(_run(OURS, work, Path(output)))
            kinds["nothing changed"].append(_run(OURS, work, Path(output)))
            with some_changed(work.documents, 0.01):
                kinds["1 % of documents changed"].append(_run(OURS, work, Path(output)))
    return _rows("rerun", kinds, lambda runs: f"{statistics.median(run.tokens for run in runs):,.0f} tokens")


def growth(scale: Scale) -> list[Row]:
    """More of the same, 256 dimensions: time and memory for each chunk."""
    runs = {
        f"embedbeam, {size:g} MB": [_first_run(OURS, Work(corpus(size), dimensions=256))]
        for size in scale.growth_megabytes
    }
    return _rows("growth", runs, _for_each_chunk)


def cores(scale: Scale) -> list[Row]:
    """One process and two, where the processor is the limit: a plan calls nobody; a run shares the cores with the provider."""
    size = scale.megabytes
    rows = []
    for verb in ("plan", "run"):
        one = replace(OURS, name=f"embedbeam {verb}, 1 process", verb=verb)
        two = replace(OURS, name=f"embedbeam {verb}, 2 processes", verb=verb, beam_flags=_TWO_WORKERS)
        rows += _in_turn("cores", (one, two), scale.rounds, lambda program: _first_run(program, Work(corpus(size))))
    return rows


def _first_run(program: Program, work: Work, *provider_options: str) -> Run:
    with tempfile.TemporaryDirectory(dir=BENCH) as output:
        return _run(program, work, Path(output), *provider_options)


def _run(program: Program, work: Work, output: Path, *provider_options: str) -> Run:
    with provider(*provider_options) as base_url:
        cost, last_line = measure(program.command(work, base_url, output), environment())
        seen = ask(base_url, "statistics")
    said = json.loads(last_line)
    return Run(cost, said.get("chunks", 0), seen["texts"], seen["requests"], seen["prompt_tokens"], seen["seconds"])


def _in_turn(
    scenario: str,
    programs: Sequence[Program],
    rounds: int,
    run: Callable[[Program], Run],
    note: Callable[[Sequence[Run]], str] = lambda _: "",
) -> list[Row]:
    """Measure every program once in each round; those that cannot be installed or fail get a row with the reason."""
    skipped: dict[str, str] = {}
    runs: dict[str, list[Run]] = {program.name: [] for program in programs}
    for number in range(rounds):
        for program in programs:
            if program.name in skipped or (program.slow and number):
                continue
            try:
                skipped.update({program.name: reason} if (reason := install(program)) else {})
                if program.name not in skipped:
                    runs[program.name].append(run(program))
            except CommandFailed as failure:
                skipped[program.name] = f"failed: {str(failure).splitlines()[-1]}"
    return _rows(scenario, runs, note, skipped)


def _rows(
    scenario: str,
    runs: dict[str, list[Run]],
    note: Callable[[Sequence[Run]], str],
    skipped: dict[str, str] | None = None,
) -> list[Row]:
    rows = [
        _medians(scenario, name, found, note(found)) if found else Row(scenario, name, (skipped or {}).get(name, ""))
        for name, found in runs.items()
    ]
    base = rows[0]
    return [
        replace(row, seconds_ratio=row.seconds / base.seconds, cpu_ratio=row.cpu_seconds / base.cpu_seconds)
        if row.runs and base.runs
        else row
        for row in rows
    ]


def _medians(scenario: str, program: str, runs: Sequence[Run], note: str) -> Row:
    return Row(
        scenario,
        program,
        note,
        len(runs),
        statistics.median(run.cost.seconds for run in runs),
        statistics.median(run.cost.cpu_seconds for run in runs),
        statistics.median(run.cost.peak_mb for run in runs),
        round(statistics.median(run.chunks for run in runs)),
        round(statistics.median(run.texts for run in runs)),
        round(statistics.median(run.requests for run in runs)),
    )


def _share_of_ideal(runs: Sequence[Run]) -> str:
    """From the first request to the last, start-up probes included, every lane can send one each 200 ms."""
    ideal = [(run.requests / 16 - 1) * 0.2 / run.asking_seconds for run in runs]
    return f"{statistics.median(ideal):.2f} of ideal"


def _for_each_chunk(runs: Sequence[Run]) -> str:
    run = runs[0]
    return f"{run.cost.cpu_seconds / run.chunks * 1e6:.0f} µs CPU, {run.cost.peak_mb / run.chunks * 1e3:.1f} kB a chunk"


SCENARIOS: dict[str, Callable[[Scale], list[Row]]] = {
    "throughput": throughput,
    "latency": latency,
    "reruns": reruns,
    "growth": growth,
    "cores": cores,
}
