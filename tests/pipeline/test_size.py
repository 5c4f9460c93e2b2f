"""The sizes on paper against real runs: what is reckoned from a config is what a run then measures."""

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import apache_beam as beam
import pytest

from pipeline.cli import main
from pipeline.commands.size import corpus_of, mechanics, plan_of
from pipeline.config import parse_config
from tests.engines import bundle
from tests.engines.engines import environment
from tests.engines.launches import Launches
from tests.support.builders import make_chunked, make_rows
from tests.support.corpus import write_corpus
from tests.support.pipelines import pipeline
from tests.support.rehearsal import Rehearsal, rehearsal
from transforms import ChooseBuckets, PackChunks
from transforms.core.batches import BYTES_PER_TOKEN, text_in_batch
from transforms.core.scale import Corpus, Scale, bits_for, measure, shuffle_bytes
from transforms.core.storage_use import StoragePrices
from transforms.core.tables import merge_chunks, split_by_bucket
from transforms.records import FoundDocument

DIMENSION, MAX_TOKENS, DOCUMENTS = 1024, 128, 30
DEMO = Path("configs/demo_corpus")
_TELL_PEAK = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""
"""Runs a command from a small process: a child is charged with the memory of the process that started it."""


@pytest.fixture(scope="module")
def server() -> Iterator[Rehearsal]:
    with rehearsal("--dimensions", str(DIMENSION)) as running:
        yield running


@dataclass
class Measured:
    """A real run, and what was reckoned for a corpus with its counts."""

    summary: dict[str, Any]
    parts: list[dict[str, Any]]
    peak_bytes: int
    reckoned: Scale


def config_for(folder: Path, base_url: str, part_size_mb: int) -> dict[str, Any]:
    return {
        "dataset": str(folder / "out"),
        "documents": {"paths": [f"{folder}/docs/*.txt"]},
        "chunking": {"max_tokens": MAX_TOKENS, "overlap_tokens": 0},
        "embedding": {
            "base_url": base_url,
            "model": "text-embedding-3-small",
            "dimensions": DIMENSION,
            "api_key_env": "",
        },
        "output": {"part_size_mb": part_size_mb},
    }


@pytest.fixture(scope="module", params=[1, 2, 8], ids="parts of {} MB".format)
def measured(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, server: Rehearsal) -> Measured:
    folder = tmp_path_factory.mktemp("sized")
    size = write_corpus(folder / "docs", DOCUMENTS, 200)
    config = config_for(folder, server.base_url, request.param)
    launches = Launches(folder, config)
    command = [sys.executable, "-c", _TELL_PEAK, sys.executable, "-m", "pipeline", *launches.run_arguments()]
    said = subprocess.run(command, stdout=subprocess.PIPE, text=True, env=environment(), check=True).stdout
    *_, last_line, peak_kb = said.splitlines()
    summary = json.loads(last_line)
    tokens = summary["estimated_tokens"] / summary["texts"]
    corpus = Corpus(
        summary["chunks"], tokens, tokens, summary["chunks"] / DOCUMENTS, size / summary["estimated_tokens"], False
    )
    plan = plan_of(parse_config(config, "test"), 1)
    reckoned = measure(corpus, plan, mechanics(plan.dimension), StoragePrices())
    manifest = json.loads((folder / "out" / "manifest.json").read_bytes())
    return Measured(summary, manifest["parts"], int(peak_kb) * 1024, reckoned)


def test_parts_are_as_many_and_as_large_as_reckoned(measured: Measured) -> None:
    rows = [part["rows"] for part in measured.parts]
    assert len(rows) == measured.reckoned.buckets
    assert max(rows) == pytest.approx(measured.reckoned.rows_per_part, rel=0.4)
    assert sum(part["bytes"] for part in measured.parts) == pytest.approx(measured.reckoned.dataset_bytes, rel=0.3)


def test_requests_and_tokens_are_as_many_as_reckoned(measured: Measured) -> None:
    assert measured.summary["requests"] == pytest.approx(measured.reckoned.requests, rel=0.15)
    assert measured.summary["prompt_tokens"] == pytest.approx(measured.reckoned.tokens, rel=0.02)


def test_memory_is_what_was_reckoned_within_a_third(measured: Measured) -> None:
    assert measured.peak_bytes == pytest.approx(measured.reckoned.memory_on_one_machine.total, rel=0.33)


@pytest.mark.parametrize("bits", [0, 4, 8])
def test_shuffle_is_as_large_as_reckoned(bits: int) -> None:
    texts = [path.read_text(encoding="utf-8") for path in sorted(DEMO.rglob("*.md"))]
    chunks = [text[at : at + 500] for text in texts for at in range(0, len(text), 500)]
    packed = sum(len(batch) for _, batch in split_by_bucket(make_rows(chunks), bits))
    tokens = sum(map(len, chunks)) / len(chunks) / BYTES_PER_TOKEN
    reckoned = shuffle_bytes(Corpus(len(chunks), tokens, tokens, len(chunks), BYTES_PER_TOKEN, False), bits)
    assert packed == pytest.approx(reckoned, rel=0.25)


@pytest.mark.parametrize("bits", [0, 10])
def test_chunks_are_packed_when_as_much_text_has_gathered_as_is_reckoned_with(bits: int, tmp_path: Path) -> None:
    size = 3_000_000
    enough = -(-text_in_batch(bits) // size)
    documents = [make_chunked(["x" * size], f"{number}.txt") for number in range(2 * enough + 1)]
    with pipeline() as root:
        given = root | "documents" >> beam.Create(documents, reshuffle=False)
        packed = given | PackChunks(root | "bits" >> beam.Create([bits], reshuffle=False))
        rows = packed | beam.Map(lambda batch: merge_chunks([batch[1]]).num_rows)
        _ = rows | beam.Map(str) | beam.io.WriteToText(str(tmp_path / "rows"), shard_name_template="")
    assert (tmp_path / "rows").read_text().split() == [str(enough), str(enough), "1"]


def test_journal_is_as_large_and_in_as_many_files_as_reckoned(tmp_path: Path, server: Rehearsal) -> None:
    dataset, results = tmp_path / "dataset", tmp_path / "results"
    results.mkdir()
    bundle.begin(str(dataset))
    bundle.run_bundle(str(dataset), server.base_url, str(results))
    files = [path.stat().st_size for path in dataset.rglob("*.seg")]
    config = config_for(tmp_path, server.base_url, 1)
    config["embedding"]["dimensions"] = bundle.DIMENSION
    plan = plan_of(parse_config(config, "test"), 1)
    reckoned = measure(
        Corpus(bundle.TEXTS, 12, 12, bundle.TEXTS, 4, False), plan, mechanics(plan.dimension), StoragePrices()
    )
    assert sum(files) == pytest.approx(reckoned.journal_bytes, rel=0.05)
    assert len(files) == reckoned.journal_files << bundle.BITS, "reckoned for one bucket, and there are 2**BITS"


@pytest.mark.parametrize("size_mb", [1, 3, 128])
@pytest.mark.parametrize("chunks", [1, 2_000, 10**6, 10**9])
def test_buckets_are_chosen_as_a_run_chooses_them(chunks: int, size_mb: int, tmp_path: Path) -> None:
    config = parse_config(config_for(tmp_path, "http://127.0.0.1:1/v1", size_mb), "test")
    corpus = corpus_of(config, chunks, 100, 10)
    listed = FoundDocument("all", "all", chunks * 100 * 4)
    with pipeline() as root:
        found = root | beam.Create([(listed,)])
        bits = found | ChooseBuckets(MAX_TOKENS, DIMENSION, size_mb, None)
        _ = bits | beam.Map(str) | beam.io.WriteToText(str(tmp_path / "bits"), shard_name_template="")
    assert int((tmp_path / "bits").read_text()) == bits_for(corpus, plan_of(config, 1))


def test_command_prints_a_table_and_the_same_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    command = ["size", "configs/local.yaml", "--chunks", "1e6", "--chunks", "250,000", "--workers", "8"]
    assert main([*command, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [size["chunks"] for size in found["sizes"]] == [1_000_000, 250_000]
    assert found["sizes"][0]["memory_on_cloud_worker"]["total"] > found["sizes"][0]["memory_on_cloud_worker"]["vectors"]
    assert main(command) == 0
    table = capsys.readouterr().out
    assert f"{found['sizes'][0]['tokens']:,}" in table
    assert "not known" in table, "the config says no price, and nobody is asked for one"
    assert max(map(len, table.splitlines())) <= 128


def test_priced_config_says_what_the_tokens_cost(capsys: pytest.CaptureFixture[str]) -> None:
    price = ["--set", "budget.price_per_million_tokens=0.02"]
    assert main(["size", "configs/local.yaml", "--chunks", "1e6", *price]) == 0
    assert "10.24 USD" in capsys.readouterr().out


@pytest.mark.parametrize("chunks", ["0", "1.5", "many", "1e13", "-3", "nan"])
def test_count_that_is_none_is_refused(chunks: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["size", "configs/local.yaml", f"--chunks={chunks}"]) == 2
    assert "must be a whole number from 1 to 1e12" in capsys.readouterr().err
