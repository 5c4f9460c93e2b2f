"""The container image, as far as it can be checked without building it."""

import fnmatch
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from pipeline.container import BOOT, command_of

ROOT = Path(__file__).parents[1]
WORKER = ["--id=sdk-0-0", "--provision_endpoint=localhost:12371", "--semi_persist_dir=/var/opt/google"]


def steps() -> list[tuple[str, str]]:
    """The Dockerfile's instructions with their arguments, continued lines joined."""
    text = re.sub(r"^#.*\n", "", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    lines = [line.split(None, 1) for line in text.splitlines() if line.strip()]
    return [(name, " ".join(arguments.split())) for name, arguments in lines]


def stages() -> list[list[tuple[str, str]]]:
    found: list[list[tuple[str, str]]] = []
    for name, arguments in steps():
        if name == "FROM":
            found.append([])
        if found:
            found[-1].append((name, arguments))
    return found


def copied_from_here() -> list[str]:
    copies = [arguments.split() for name, arguments in steps() if name == "COPY" and "--from=" not in arguments]
    return [source for copy in copies for source in copy[:-1]]


def test_all_that_is_copied_is_in_the_repository() -> None:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    for source in copied_from_here():
        assert any(name == source or name.startswith(f"{source}/") for name in listed), source


def test_builder_is_sent_what_is_copied_and_nothing_else() -> None:
    rules = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    assert rules[0] == "*"
    admitted = {rule[1:] for rule in rules if rule.startswith("!")}
    assert admitted == {source.partition("/")[0] for source in copied_from_here()}
    assert any(fnmatch.fnmatch("pipeline/commands/__pycache__", rule) for rule in rules[1:])


def test_what_setup_reads_is_copied_before_it_is_installed() -> None:
    read = set(re.findall(r'HERE / "([^"]+)"', (ROOT / "setup.py").read_text()))
    read |= set(re.findall(r'license_files=\["(\w+)", "(\w+)"\]', (ROOT / "setup.py").read_text())[0])
    assert read <= set(copied_from_here())


def test_beam_is_the_one_that_setup_asks_for() -> None:
    (version,) = [a.split("=")[1] for name, a in steps() if name == "ARG" and a.startswith("BEAM_VERSION=")]
    low, high = re.findall(r'"apache-beam>=([\d.]+),<([\d.]+)"', (ROOT / "setup.py").read_text())[0]
    numbers = [tuple(map(int, one.split("."))) for one in (low, version, high)]
    assert numbers[0] <= numbers[1] < numbers[2]
    assert 'apache-beam==${BEAM_VERSION}"' in " ".join(arguments for _, arguments in stages()[-1])


def test_python_is_the_same_in_every_image() -> None:
    images = [arguments.split()[0] for name, arguments in steps() if name == "FROM"]
    minors = {re.sub(r"\D", "", re.findall(r"python:?(3\.?\d\d)", image)[0]) for image in images}
    assert minors == {"311"}
    assert all(":" in image and not image.endswith(":latest") for image in images)


def test_image_runs_as_a_user_without_rights() -> None:
    users = [arguments for name, arguments in stages()[-1] if name == "USER"]
    assert users == ["10001"]
    assert "useradd --uid 10001" in " ".join(arguments for _, arguments in stages()[-1])


def test_worker_and_launcher_come_from_the_images_that_have_them() -> None:
    names = [arguments.partition(" AS ")[2] for name, arguments in steps() if name == "FROM"]
    taken = [arguments.split() for name, arguments in stages()[-1] if name == "COPY" and "--from=" in arguments]
    assert {copy[0].removeprefix("--from=") for copy in taken} == set(names[:-1])
    assert any(BOOT.startswith(f"{copy[-1]}/") for copy in taken)
    assert any(copy[-1] == "/opt/google/dataflow/python_template_launcher" for copy in taken)


def test_launcher_is_told_the_file_that_is_there() -> None:
    told = re.findall(r"FLEX_TEMPLATE_PYTHON_PY_FILE=(\S+)", (ROOT / "Dockerfile").read_text())
    copied = [arguments.split()[-1] for name, arguments in stages()[-1] if name == "COPY"]
    assert set(told) <= set(copied)


def test_launcher_file_works_away_from_the_package(tmp_path: Path) -> None:
    file = tmp_path / "launch.py"
    file.write_bytes((ROOT / "pipeline" / "template.py").read_bytes())
    command = [sys.executable, str(file), "--config=missing.yaml", "--runner=DataflowRunner", "--max_num_workers=1"]
    ended = subprocess.run(
        command, cwd=tmp_path, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False
    )
    assert (ended.returncode, ended.stderr) == (
        2,
        "embedbeam: cannot read the config missing.yaml: No such file or directory\n",
    )


@pytest.mark.parametrize(
    ("arguments", "command"),
    [
        pytest.param([], ["embedbeam", "--help"], id="nothing"),
        pytest.param(["--version"], ["embedbeam", "--version"], id="version"),
        pytest.param(["-h"], ["embedbeam", "-h"], id="help"),
        pytest.param(["run", "c.yaml", "--", "--id=1"], ["embedbeam", "run", "c.yaml", "--", "--id=1"], id="person"),
        pytest.param(["--worker_pool"], [BOOT, "--worker_pool"], id="worker pool"),
        pytest.param(WORKER, [BOOT, *WORKER], id="worker"),
    ],
)
def test_container_starts_what_is_asked_for(arguments: list[str], command: list[str]) -> None:
    assert command_of(arguments, lambda _: True) == command


@pytest.mark.parametrize("told", [WORKER[2:], ["-semi_persist_dir", "/var/opt/google"]])
def test_worker_that_may_not_write_where_it_is_told_uses_its_own_folder(told: list[str]) -> None:
    own = f"--semi_persist_dir={tempfile.gettempdir()}"
    assert command_of([*WORKER[:2], *told], lambda folder: folder != "/var/opt/google") == [
        BOOT,
        *WORKER[:2],
        *told,
        own,
    ]


def test_entry_point_runs_where_people_keep_a_folder_of_the_same_name(tmp_path: Path) -> None:
    (tmp_path / "pipeline").mkdir()
    (tmp_path / "pipeline" / "__init__.py").write_text("raise SystemExit('theirs was taken for ours')")
    (arguments,) = [arguments for name, arguments in stages()[-1] if name == "ENTRYPOINT"]
    words = re.findall(r'"([^"]+)"', arguments)
    assert words[0] == "python"
    shim = f"import sys; sys.path.append({str(ROOT)!r}); import runpy; runpy.run_module('pipeline.container', run_name='x')"
    ended = subprocess.run(
        [sys.executable, *words[1:2], "-c", shim], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (ended.returncode, ended.stderr) == (0, "")
