from pathlib import Path

import apache_beam as beam
import pytest

from pipeline.config import parse_config
from pipeline.graph import RunFacts, build_graph
from transforms.storage.place import RunPlace


def graph_of(approve: bool = True, source_version: int = 0) -> str:
    documents = {"dataset": "out/source"} if source_version else {"paths": ["nowhere/*.md"]}
    tree = {"dataset": "out/never-made", "documents": documents, "embedding": {"model": "m"}}
    config = parse_config(tree, "c.yaml")
    place = RunPlace("out/never-made", "run-1", 0, "f")
    facts = RunFacts(place, 8, None, approve, 1, 0.0, False, config.chunking_section(), source_version, 10)
    root = beam.Pipeline()
    build_graph(root, config, facts)
    return str(root.to_runner_api())


STEPS = [
    "Find documents", "Choose buckets", "Read documents", "Extract text", "Chunk documents", "Pack chunks", "Group by text",
    "Plan buckets", "Approve bill", "Embed buckets", "Write parts", "Commit version",
]  # fmt: skip


def test_graph_has_the_steps_under_stable_labels() -> None:
    graph = graph_of()
    assert [step for step in STEPS if f'"{step}"' not in graph] == []


def test_plan_ends_at_the_bill() -> None:
    graph = graph_of(approve=False)
    assert '"Approve bill"' in graph
    assert '"Embed buckets"' not in graph


def test_chunks_of_a_dataset_replace_the_documents() -> None:
    graph = graph_of(source_version=3)
    assert '"Reread chunks"' in graph
    assert '"Read documents"' not in graph


def test_no_secret_is_in_the_job_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMETAPI_KEY", "sk-SECRET-IN-THE-ENVIRONMENT")
    assert "SECRET" not in graph_of()


def test_building_the_graph_touches_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    graph_of()
    assert list(tmp_path.iterdir()) == []
