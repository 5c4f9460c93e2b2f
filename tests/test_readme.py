"""What the README promises: its commands exist, its config is the real one, and what it shows is what is printed."""

import re
import shlex
from pathlib import Path

import pytest
import yaml

from pipeline.cli import command_parser, main
from pipeline.config import known_keys, parse_config
from transforms.errors import STOPPING_ERRORS

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(\w*)\n(.*?)```", README, re.DOTALL)
COMMANDS = [
    line.removeprefix("$ ").split("#")[0].strip()
    for kind, block in BLOCKS
    if kind in ("", "sh")
    for line in block.splitlines()
    if re.match(r"(\$ )?(embedbeam|make) ", line)
]


def test_there_are_commands() -> None:
    assert {command.split()[0] for command in COMMANDS} == {"embedbeam", "make"}


@pytest.mark.parametrize("command", COMMANDS)
def test_command_exists_with_these_options(command: str) -> None:
    program, *words = shlex.split(command)
    if program == "make":
        assert re.search(rf"^{words[0]}:", (ROOT / "Makefile").read_text(), re.MULTILINE)
        return
    own = words[: words.index("--")] if "--" in words else words
    parsed = command_parser(own[0]).parse_args(own)
    assert not hasattr(parsed, "config") or Path(parsed.config).name == "my.yaml" or (ROOT / parsed.config).exists()


def shown(first_word: str) -> str:
    """What the README shows below a command."""
    (block,) = [block for _, block in BLOCKS if f"$ embedbeam {first_word}" in block]
    return block.split(f"$ embedbeam {first_word}")[1].split("\n", 1)[1].split("$ embedbeam")[0].strip()


def without_times(text: str) -> str:
    return re.sub(r"\d+\.\d+ s\b", "T s", text).strip()


def test_demo_prints_what_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    monkeypatch.chdir(tmp_path)
    commands = [shlex.split(line) for line in re.findall(r"^\$ embedbeam (.+)$", README, re.MULTILINE)]
    assert [command[0] for command in commands] == ["run", "search"]
    for command in commands:
        assert main(command) == 0
        assert without_times(capsys.readouterr().out) == without_times(shown(command[0]))


def test_config_shown_is_complete_and_has_the_real_defaults() -> None:
    (block,) = [block for kind, block in BLOCKS if kind == "yaml"]
    tree = yaml.safe_load(block)
    assert {key for key in known_keys() if key != "documents.dataset"} <= set(keys_of(tree))
    required = {
        "dataset": tree["dataset"],
        "documents": tree["documents"],
        "embedding": {"model": tree["embedding"]["model"]},
    }
    assert parse_config(tree, "README") == parse_config(required, "README")


def keys_of(tree: dict[str, object], prefix: str = "") -> list[str]:
    keys: list[str] = []
    for name, value in tree.items():
        keys.append(prefix + name)
        if isinstance(value, dict) and name != "profile_overrides":
            keys += keys_of(value, f"{prefix}{name}.")
    return keys


def test_links_lead_to_files() -> None:
    links = [link for link in re.findall(r"\]\(([^)]+)\)", README) if "://" not in link]
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_every_exit_code_of_the_errors_is_explained() -> None:
    for kind in STOPPING_ERRORS.values():
        assert f"\n| {kind.exit_code} |" in README
