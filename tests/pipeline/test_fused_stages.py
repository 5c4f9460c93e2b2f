"""What crosses a stage's border in Beam's in-process runner is encoded and held; no text and no vector may.

Counting stages and borders is a guard of speed and memory that no busy machine can disturb.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

import apache_beam as beam
import pytest
import yaml
from apache_beam.runners.portability.fn_api_runner.fn_runner import FnApiRunner

from pipeline.config import load_config
from pipeline.graph import RunFacts, build_graph
from transforms.embed import EmbeddedTableCoder
from transforms.group import ChunkTableCoder
from transforms.records import ChunkTable, EmbeddedTable
from transforms.storage.place import RunPlace

MOST_STAGES = 15
"""Each costs 30 to 50 ms, whatever the corpus."""


def stages(tmp_path: Path) -> list[list[str]]:
    """The names of the steps in each stage that the runner makes of a run's graph."""
    config = {
        "dataset": str(tmp_path / "out"),
        "documents": {"paths": [str(tmp_path / "docs/**/*.md")]},
        "embedding": {"model": "text-embedding-3-small", "base_url": "http://127.0.0.1:1/v1"},
    }
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(config))
    facts = RunFacts(RunPlace(config["dataset"], "run-1", 0, "f"), 1536, None, True, 1, 0.0, False, {})
    pipeline = beam.Pipeline(runner=FnApiRunner())
    build_graph(pipeline, load_config(str(path), []), facts)
    _, fused = FnApiRunner().create_stages(pipeline.to_runner_api(default_environment=beam_environment()))
    return [[transform.unique_name for transform in stage.transforms] for stage in fused]


def beam_environment() -> object:
    return beam.transforms.environments.EmbeddedPythonEnvironment.default()


def test_documents_are_read_and_packed_in_one_stage(tmp_path: Path) -> None:
    reading = next(one for one in stages(tmp_path) if any("Read document/" in name for name in one))
    steps = ("Extract text/", "Chunk document", "Pack chunks", "Count chunked")
    assert [step for step in steps if not any(step in name for name in reading)] == []


def test_tables_are_embedded_and_written_in_one_stage(tmp_path: Path) -> None:
    embedding = next(one for one in stages(tmp_path) if any("Embed bucket" in name for name in one))
    assert any("Write part" in name for name in embedding)


def test_run_has_few_stages(tmp_path: Path) -> None:
    assert len(stages(tmp_path)) <= MOST_STAGES


class Unpicklable(bytes):
    def __reduce__(self) -> tuple[Callable[..., object], Mapping[str, object]]:
        raise AssertionError("encoded to know its size")


@pytest.mark.parametrize(
    ("table", "coder", "size"),
    [
        pytest.param(ChunkTable(3, (Unpicklable(10), Unpicklable(5))), ChunkTableCoder, 15, id="chunks"),
        pytest.param(EmbeddedTable(3, Unpicklable(10), b"1234", 1, 1, ()), EmbeddedTableCoder, 14, id="vectors"),
    ],
)
def test_size_of_a_table_is_known_without_encoding_it(
    table: ChunkTable | EmbeddedTable, coder: type[beam.coders.Coder], size: int
) -> None:
    known = beam.coders.registry.get_coder(type(table))
    assert isinstance(known, coder)
    assert known.get_impl().estimate_size(table) == size


@pytest.mark.parametrize("table", [ChunkTable(3, (b"one", b"two")), EmbeddedTable(3, b"rows", b"1234", 1, 1, ())])
def test_table_comes_back_from_its_coder(table: ChunkTable | EmbeddedTable) -> None:
    impl = beam.coders.registry.get_coder(type(table)).get_impl()
    assert impl.decode(impl.encode(table)) == table
