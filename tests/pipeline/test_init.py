"""The config that init writes is the one that run reads, and the schema says what run says."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from pipeline.cli import main
from pipeline.commands.init import described_schema
from pipeline.config import known_keys, load_config, parse_config
from tests.support.commands import run_command
from tests.test_readme import BLOCKS, keys_of
from transforms.errors import ConfigError

ROOT = Path(__file__).parents[2]
REQUIRED: dict[str, Any] = {
    "dataset": "out/handbook",
    "documents": {"paths": ["docs/**/*.*"]},
    "embedding": {"model": "text-embedding-3-small"},
}


def leaves(section: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    for name, inner in section["properties"].items():
        yield prefix + name, inner
        if "properties" in inner:
            yield from leaves(inner, f"{prefix}{name}.")


def test_config_that_init_writes_is_complete_and_has_the_real_defaults(tmp_path: Path) -> None:
    path = tmp_path / "my.yaml"
    code, said = run_command("init", str(path))
    assert (code, f"embedbeam doctor {path}" in said) == (0, True)
    tree = yaml.safe_load(path.read_text())
    assert {key for key in known_keys() if key != "documents.dataset"} == set(keys_of(tree))
    assert load_config(str(path)) == parse_config(REQUIRED, "required")
    assert f"embedbeam plan {path}" in path.read_text()


def test_init_never_replaces_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "my.yaml"
    path.write_text("mine")
    assert main(["init", str(path)]) == 2
    assert "is there already and stays as it is" in capsys.readouterr().err
    assert path.read_text() == "mine"
    assert main(["init", str(tmp_path / "none" / "my.yaml")]) == 2
    assert "No such file or directory" in capsys.readouterr().err


def test_schema_is_valid_and_describes_every_key() -> None:
    code, printed = run_command("init", "--schema")
    schema = json.loads(printed)
    jsonschema.Draft202012Validator.check_schema(schema)
    assert code == 0
    assert schema == described_schema()
    found = dict(leaves(schema))
    assert set(found) == set(known_keys())
    sections = {"documents", "chunking", "embedding", "budget", "output"}
    assert {key for key, inner in found.items() if "description" not in inner} == sections
    assert found["limits.concurrent_requests"]["description"] == "in flight at once"


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("*.yaml")), ids=lambda path: path.name)
def test_schema_allows_every_config_that_comes_along(path: Path) -> None:
    jsonschema.validate(yaml.safe_load(path.read_text()), described_schema())


def test_schema_allows_the_config_of_the_readme() -> None:
    (block,) = [block for kind, block in BLOCKS if kind == "yaml"]
    jsonschema.validate(yaml.safe_load(block), described_schema())


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({}, id="as it is"),
        pytest.param({"embeding": {}}, id="mistyped section"),
        pytest.param({"chunking": {"max_token": 5}}, id="mistyped key"),
        pytest.param({"chunking": {"max_tokens": 0}}, id="below the least"),
        pytest.param({"documents": {}}, id="no documents"),
        pytest.param({"documents": {"paths": ["a"], "dataset": "b"}}, id="two sources"),
        pytest.param({"documents": {"dataset": "b"}}, id="another dataset"),
        pytest.param({"embedding": {}}, id="no model"),
        pytest.param({"embedding": {"provider": "local"}}, id="local model"),
        pytest.param({"embedding": {"model": "m", "provider": "cloud"}}, id="unknown provider"),
        pytest.param({"budget": {"max_rejected_fraction": 2}}, id="above the most"),
        pytest.param({"budget": {"max_cost_usd": None}}, id="null"),
        pytest.param({"output": {"vector_type": "float64"}}, id="not one of these"),
    ],
)
def test_schema_and_loader_agree(change: dict[str, Any]) -> None:
    tree = {**REQUIRED, **change}
    try:
        parse_config(tree, "c")
        loads = True
    except ConfigError:
        loads = False
    assert jsonschema.Draft202012Validator(described_schema()).is_valid(tree) is loads
