"""Every config that the repository ships loads."""

from pathlib import Path

import pytest

from pipeline.config import load_config

CONFIGS = sorted((Path(__file__).parent.parent / "configs").glob("*.yaml"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_config_loads(path: Path) -> None:
    assert load_config(str(path)).dataset


def test_there_are_configs() -> None:
    assert {path.name for path in CONFIGS} >= {"demo.yaml", "local.yaml"}
