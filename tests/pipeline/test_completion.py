"""``embedbeam completion``: scripts that the shells accept, and that complete what the parser knows."""

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.commands import run_command

CHECKS = {"bash": ["bash", "-n"], "zsh": ["zsh", "-n"], "fish": ["fish", "--no-execute"]}


def script(tmp_path: Path, shell: str) -> Path:
    code, text = run_command("completion", shell)
    assert code == 0
    path = tmp_path / f"embedbeam.{shell}"
    path.write_text(text)
    return path


@pytest.mark.parametrize("shell", CHECKS)
def test_the_script_names_every_command_and_its_options(tmp_path: Path, shell: str) -> None:
    text = script(tmp_path, shell).read_text()
    for word in ("run", "derive", "compare", "where-source", "drop-journal", "binary"):
        assert word in text


@pytest.mark.parametrize("shell", CHECKS)
def test_the_shell_accepts_the_script(tmp_path: Path, shell: str) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    checked = subprocess.run(
        [*CHECKS[shell], str(script(tmp_path, shell))], capture_output=True, text=True, check=False
    )
    assert (checked.returncode, checked.stderr) == (0, "")


def complete_in_bash(tmp_path: Path, *words: str) -> set[str]:
    """Ask bash what it would offer for the last word, as the Tab key does."""
    typed = " ".join(f"'{word}'" for word in ("embedbeam", *words))
    ask = f"""
        source {script(tmp_path, "bash")}
        COMP_WORDS=({typed}); COMP_CWORD={len(words)}
        $(complete -p embedbeam | sed 's/.*-F \\([^ ]*\\) .*/\\1/') embedbeam '{words[-1]}'
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    shown = subprocess.run(["bash", "-c", ask], capture_output=True, text=True, check=True, cwd=tmp_path)
    return set(shown.stdout.split())


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_bash_completes_commands_options_choices_and_config_files(tmp_path: Path) -> None:
    (tmp_path / "my.yaml").write_text("")
    assert complete_in_bash(tmp_path, "de") == {"derive"}
    assert complete_in_bash(tmp_path, "derive", "--di") == {"--dimensions"}
    assert complete_in_bash(tmp_path, "derive", "--type", "b") == {"binary"}
    assert "my.yaml" in complete_in_bash(tmp_path, "run", "my")
