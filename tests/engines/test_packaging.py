"""What workers and the container image install: the source package that Beam builds for ``--setup_file``, and its needs."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.engines.engines import INSTALLED, environment

pytestmark = pytest.mark.engines

ROOT = Path(__file__).parents[2]
PYTHON = INSTALLED.parent / "dataflow" / "bin" / "python"
STAGE = """
import sys
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.portability.api import beam_runner_api_pb2
from apache_beam.transforms.environments import python_sdk_dependencies
options = PipelineOptions([f"--setup_file={sys.argv[1]}", "--sdk_location=container"])
for artifact in python_sdk_dependencies(options, sys.argv[2]):
    print(beam_runner_api_pb2.ArtifactFilePayload.FromString(artifact.type_payload).path)
"""
LOOK = """
import importlib.resources, json, pkgutil
import pipeline, transforms, transforms.core.vocabularies as vocabularies
modules = [m.name for p in (pipeline, transforms) for m in pkgutil.walk_packages(p.__path__, p.__name__ + ".")]
files = {f.name: f.stat().st_size for f in importlib.resources.files(vocabularies).iterdir() if f.name.endswith(".gz")}
print(json.dumps({"from": pipeline.__file__, "modules": sorted(modules), "vocabularies": files}))
"""


def run(*command: str, cwd: Path = ROOT) -> str:
    ended = subprocess.run(
        command, cwd=cwd, capture_output=True, text=True, check=False, env=environment(PYTHONPATH="")
    )
    assert ended.returncode == 0, ended.stderr[-3000:]
    return ended.stdout


@pytest.fixture
def python() -> str:
    if not PYTHON.exists():
        word = "Beam's extra for Google Cloud is not installed: make engines"
        if os.environ.get("CI") == "true":
            pytest.fail(word)
        pytest.skip(word)
    return str(PYTHON)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A copy of what is shipped: building writes next to setup.py."""
    copy = tmp_path / "source"
    listed = run("git", "ls-files", "--cached", "--others", "--exclude-standard").splitlines()
    for name in listed:
        if (name.startswith(("pipeline/", "transforms/")) or "/" not in name) and (ROOT / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            (copy / name).write_bytes((ROOT / name).read_bytes())
    return copy


def test_package_that_beam_builds_for_workers_is_whole(python: str, source: Path, tmp_path: Path) -> None:
    staged = run(python, "-c", STAGE, str(source / "setup.py"), str(tmp_path), cwd=tmp_path).splitlines()
    (package,) = [line for line in staged if line.endswith(".tar.gz")]

    run(sys.executable, "-m", "venv", str(tmp_path / "worker"))
    worker = str(tmp_path / "worker" / "bin" / "python")
    run(worker, "-m", "pip", "install", "--quiet", "--no-deps", package, cwd=tmp_path)
    found = json.loads(run(worker, "-c", LOOK, cwd=tmp_path))
    assert str(tmp_path / "worker") in found["from"]
    files = [path.relative_to(source) for path in source.rglob("*.py") if path.parent != source]
    modules = {".".join(file.with_suffix("").parts).removesuffix(".__init__") for file in files}
    assert set(found["modules"]) == modules - {"pipeline", "transforms"}
    vocabularies = (source / "transforms" / "core" / "vocabularies").glob("*.gz")
    assert found["vocabularies"] == {path.name: path.stat().st_size for path in vocabularies}
    assert len(found["vocabularies"]) == 2
    assert run(str(tmp_path / "worker" / "bin" / "embedbeam"), "--version", cwd=tmp_path).startswith("embedbeam ")


def test_what_the_image_installs_can_be_had_together(python: str, source: Path, tmp_path: Path) -> None:
    (line,) = [line for line in (ROOT / "Dockerfile").read_text().splitlines() if ".whl)[" in line]
    extras = line.partition(".whl)[")[2].partition("]")[0]
    version = (ROOT / "Dockerfile").read_text().partition("ARG BEAM_VERSION=")[2].split()[0]
    wanted = [f"{source}[{extras}]", f"apache-beam=={version}"]
    report = tmp_path / "report.json"
    run(python, "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed", "--report", str(report), *wanted)
    found = {one["metadata"]["name"]: one["metadata"]["version"] for one in json.loads(report.read_text())["install"]}
    assert found["apache-beam"] == version
    assert {"embedbeam", "google-cloud-secret-manager", "wordllama", "pypdfium2"} <= set(found)


def test_dockerfile_has_nothing_that_its_linter_minds() -> None:
    linter = PYTHON.parent / "hadolint"
    if not linter.exists():
        word = "hadolint is not installed: make engines"
        if os.environ.get("CI") == "true":
            pytest.fail(word)
        pytest.skip(word)
    run(str(linter), "Dockerfile")
