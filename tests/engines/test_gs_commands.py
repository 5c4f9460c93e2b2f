"""What is done with a committed dataset on gs://: derive from it, look into it, search it, compare models on it."""

import json
from pathlib import Path

import pytest

from tests.support.commands import run_command
from tests.support.projects import Project, prose

pytestmark = pytest.mark.engines


@pytest.fixture
def project(gcs_bucket: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Project:
    made = Project(tmp_path, capsys)
    made.config |= {"dataset": f"gs://{gcs_bucket}/{tmp_path.name}/out"}
    made.config["embedding"] = {"provider": "local", "dimensions": 256}
    made.write({f"{seed}.txt": prose(seed, 300) for seed in range(12)})
    assert made.run().code == 0
    return made


def test_a_dataset_is_derived_inspected_and_searched(project: Project) -> None:
    source = project.config["dataset"]
    arguments = ("derive", source, "--type", "int8", "--to", f"{source}-int8", "--json")
    _, text = run_command(*arguments)
    made = json.loads(text)
    assert made["committed"]
    assert made["recall"]["mean"] > 0.9
    assert not json.loads(run_command(*arguments)[1])["committed"]
    code, text = run_command("inspect", f"{source}-int8", "--verify", "--json")
    assert (code, json.loads(text)["rows"]) == (0, made["rows"])
    hits = [
        json.loads(run_command("search", root, prose(3, 20), "-k", "1", "--json")[1])["hits"][0]["id"]
        for root in (source, f"{source}-int8")
    ]
    assert hits[0] == hits[1]


def test_models_are_compared_beside_the_dataset(project: Project) -> None:
    options = ("--model", "wordllama-l2-256", "--dimensions", "64", "--sample", "0.5", "--json")
    found = project.command("compare", project.config_file(), *options)
    assert found.code == 0, found.err
    assert 0 < found.summary["overlap"]["mean"] < 1
    assert project.plan().summary["texts_to_embed"] == 0
