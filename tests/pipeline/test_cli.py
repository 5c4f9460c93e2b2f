import json
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.cli import main

COMMANDS = [
    "run", "plan", "init", "doctor", "inspect", "search", "diff", "export", "derive", "compare", "gc", "size", "rehearse",
    "completion",
]  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command, "--help"]) == 0
    assert capsys.readouterr().out.startswith(f"usage: embedbeam {command}")


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    listed = [
        line.split()[0] for line in capsys.readouterr().out.splitlines() if line.startswith("    ") and line[4] != " "
    ]
    assert sorted(listed) == sorted(COMMANDS)


@pytest.mark.parametrize("arguments", [[], ["fly"], ["run"], ["run", "c.yaml", "--fast"], ["inspect"]])
def test_wrong_usage_exits_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    assert "usage: embedbeam" in capsys.readouterr().err


def test_beam_options_are_refused_where_no_pipeline_runs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", "out", "--", "--runner=FlinkRunner"]) == 2
    assert "takes nothing after --" in capsys.readouterr().err


def test_error_with_json_is_the_last_line_of_stdout(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", str(tmp_path / "none.yaml"), "--json"]) == 2
    captured = capsys.readouterr()
    assert json.loads(captured.out)["exit_code"] == 2
    assert captured.err.startswith("embedbeam: cannot read the config")


def test_module_is_the_same_as_the_console_command() -> None:
    shown = subprocess.run([sys.executable, "-m", "pipeline", "--version"], capture_output=True, text=True, check=True)
    assert shown.stdout.startswith("embedbeam ")


def test_help_loads_neither_beam_nor_arrow() -> None:
    code = (
        "import sys; from pipeline.cli import main; main(['--help']); "
        "sys.exit(bool({'apache_beam', 'pyarrow', 'numpy', 'google.cloud'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], stdout=subprocess.DEVNULL, check=False).returncode == 0


def test_commands_that_read_a_dataset_do_not_load_beam() -> None:
    code = (
        "import sys; from pipeline.cli import main; main(['inspect', 'nowhere']); "
        "sys.exit('apache_beam' in sys.modules)"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (shown.returncode, "nowhere" in shown.stderr) == (0, True)
