"""A launch for Dataflow that nobody waits for: what it leaves in the bucket is all that the job needs.

The service is a small one that takes jobs and runs none; the job graph that was staged is then run here, in a process that has
the bucket, the endpoint and Secret Manager, and nothing of the launcher's.
"""

import json
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from tests.engines.engines import INSTALLED, environment
from tests.support.dataflow_service import JOB_ID, DataflowService, dataflow_service
from tests.support.rehearsal import rehearsal
from tests.support.secret_server import SecretServer, secret_name, secret_server
from transforms.storage.gcs import GcsStore, open_gcs_store

pytestmark = pytest.mark.engines

ROOT = Path(__file__).parents[2]
PYTHON = INSTALLED.parent / "dataflow" / "bin" / "python"
KEY = "sk-SECRET-IN-SECRET-MANAGER"
TEXT = "A sentence of a document that must stay where it is."
RUN_STAGED = """
import sys
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.portability.api import beam_runner_api_pb2
from apache_beam.runners.portability.fn_api_runner.fn_runner import FnApiRunner
from apache_beam.transforms.environments import EmbeddedPythonEnvironment
from transforms.storage.gcs import read_object
graph = beam_runner_api_pb2.Pipeline.FromString(read_object(sys.argv[1]))
for environment in graph.components.environments.values():  # containers of workers, on Dataflow
    environment.CopyFrom(EmbeddedPythonEnvironment.default().to_runner_api(None))
FnApiRunner().run_via_runner_api(graph, PipelineOptions([])).wait_until_finish()
"""


@dataclass
class Cloud:
    """A bucket with one document and a config, and the services around it."""

    bucket: GcsStore
    dataflow: DataflowService
    secrets: SecretServer

    @property
    def config(self) -> str:
        return f"{self.bucket.root}/config.yaml"

    def flags(self) -> list[str]:
        return [
            "--runner=DataflowRunner", "--project=my-project", "--region=us-central1", "--job_name=embedbeam-nightly",
            f"--temp_location={self.bucket.root}/tmp", f"--staging_location={self.bucket.root}/staging",
            "--max_num_workers=3", "--sdk_container_image=gcr.io/my-project/embedbeam:1", "--sdk_location=container",
            "--no_auth", f"--dataflow_endpoint={self.dataflow.address}",
        ]  # fmt: skip

    def python(self, *words: str) -> "subprocess.CompletedProcess[str]":
        variables = environment(SECRET_MANAGER_EMULATOR_HOST=self.secrets.address)
        variables.pop("COMETAPI_KEY", None)
        return subprocess.run([str(PYTHON), *words], capture_output=True, text=True, check=False, env=variables)

    def objects(self, prefix: str) -> dict[str, bytes]:
        return {
            file.path: self.bucket.read_bytes(file.path)
            for file in self.bucket.list_files("")
            if file.path.startswith(prefix)
        }

    def staged(self, name: str) -> str:
        (found,) = [path for path in self.objects("staging/") if path.endswith(f"/{name}")]
        return f"{self.bucket.root}/{found}"


@pytest.fixture
def cloud(gcs_bucket: str, tmp_path: Path) -> Iterator[Cloud]:
    if not PYTHON.exists():
        word = "Beam's extra for Google Cloud is not installed: make engines"
        if os.environ.get("CI") == "true":
            pytest.fail(word)
        pytest.skip(word)
    bucket = open_gcs_store(f"gs://{gcs_bucket}/{tmp_path.name}")
    bucket.write_bytes("docs/a.md", TEXT.encode())
    with (
        dataflow_service() as dataflow,
        secret_server(cometapi=KEY.encode()) as secrets,
        rehearsal("--dimensions", "16", "--api-key", KEY) as endpoint,
    ):
        config = {
            "dataset": f"{bucket.root}/out",
            "documents": {"paths": [f"{bucket.root}/docs/**/*.md"]},
            "embedding": {
                "base_url": endpoint.base_url,
                "model": "text-embedding-3-small",
                "dimensions": 16,
                "api_key_secret": secret_name("cometapi"),
            },
        }
        bucket.write_bytes("config.yaml", yaml.safe_dump(config).encode())
        yield Cloud(bucket, dataflow, secrets)


def test_submitted_job_finds_all_it_needs_in_the_bucket(cloud: Cloud) -> None:
    ended = cloud.python(
        "-m", "pipeline", "run", cloud.config, "--json", "--", *cloud.flags(), "--no_wait_until_finish"
    )
    assert ended.returncode == 0, ended.stderr
    told = json.loads(ended.stdout)
    assert (told["launched"], told["job"], told["dataset"]) == (True, JOB_ID, f"{cloud.bucket.root}/out")
    assert f"jobs/us-central1/{JOB_ID}?project=my-project" in ended.stderr
    ((path, job),) = cloud.dataflow.jobs
    assert path == "/v1b3/projects/my-project/locations/us-central1/jobs"
    assert any(name.startswith(f"out/_journal/runs/{told['run_id']}/") for name in cloud.objects("out/"))
    assert cloud.secrets.asked == []  # the launcher needs no key, so it may not have the right to read it
    seen = [json.dumps(job), ended.stdout, ended.stderr, *map(str, cloud.objects("staging/").values())]
    assert not [one for one in seen if KEY in one or TEXT in one]

    ran = cloud.python("-c", RUN_STAGED, cloud.staged("pipeline.pb"))
    assert ran.returncode == 0, ran.stderr
    assert json.loads(cloud.bucket.read_bytes("out/manifest.json"))["rows"] == 1
    assert cloud.secrets.asked == [secret_name("cometapi")]
    assert KEY not in ran.stdout + ran.stderr
    assert not [name for name, content in cloud.objects("out/").items() if KEY.encode() in content]


def test_template_launch_writes_the_job_graph_and_submits_nothing(cloud: Cloud, tmp_path: Path) -> None:
    launcher = tmp_path / "launch.py"
    launcher.write_bytes((ROOT / "pipeline" / "template.py").read_bytes())
    ended = cloud.python(
        str(launcher), f"--config={cloud.config}", "--set=chunking.max_tokens=64;chunking.overlap_tokens=0",
        *cloud.flags(), f"--template_location={cloud.bucket.root}/template_launches/1/job_object",
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.splitlines() == [
        f"launched   the job graph is at {cloud.bucket.root}/template_launches/1/job_object; Dataflow makes the job out of it",
        f"result     embedbeam inspect {cloud.bucket.root}/out   shows the version once the job has committed it",
    ]
    assert cloud.dataflow.jobs == []
    (graph,) = cloud.objects("template_launches/").values()
    job = json.loads(graph)
    assert job["name"] == "embedbeam-nightly"
    assert job["environment"]["sdkPipelineOptions"]["options"]["pipelineUrl"] == cloud.staged("pipeline.pb")
    assert len(cloud.objects("out/_journal/runs/")) == 1
    assert not [
        one for one in [graph, *cloud.objects("staging/").values()] if KEY.encode() in one or TEXT.encode() in one
    ]

    ran = cloud.python("-c", RUN_STAGED, cloud.staged("pipeline.pb"))
    assert ran.returncode == 0, ran.stderr
    manifest = json.loads(cloud.bucket.read_bytes("out/manifest.json"))
    assert (manifest["rows"], manifest["chunking"]["max_tokens"]) == (1, 64)


def test_job_that_dataflow_refuses_leaves_nothing_and_is_said_in_a_line(cloud: Cloud) -> None:
    cloud.dataflow.refusal = "(1a2b): The workers' account may not be used."
    ended = cloud.python("-m", "pipeline", "run", cloud.config, "--", *cloud.flags(), "--no_wait_until_finish")
    assert ended.returncode == 1
    (line,) = ended.stderr.splitlines()
    assert line.startswith("embedbeam: Dataflow does not take the job: 403 ")
    assert line.endswith(cloud.dataflow.refusal)
    assert cloud.objects("out/") == {}


def test_job_that_fails_while_it_is_waited_for_is_said_in_a_line(cloud: Cloud) -> None:
    cloud.dataflow.state = "JOB_STATE_FAILED"
    ended = cloud.python("-m", "pipeline", "run", cloud.config, "--", *cloud.flags())
    assert (ended.returncode, ended.stderr.splitlines()[1:]) == (1, [])
    assert ended.stderr.startswith("embedbeam: Dataflow pipeline failed. State: FAILED")
    assert (len(cloud.dataflow.jobs), cloud.objects("out/")) == (1, {})


def test_missing_options_are_listed(cloud: Cloud) -> None:
    flags = ["--runner=DataflowRunner", "--max_num_workers=1", f"--temp_location={cloud.bucket.root}/tmp"]
    ended = cloud.python("-m", "pipeline", "run", cloud.config, "--", *flags)
    assert (ended.returncode, ended.stderr.splitlines()) == (
        2,
        [
            "embedbeam: DataflowRunner cannot start with these options after --:",
            "  Missing required option: project.",
            "  Missing required option: region.",
        ],
    )


def test_config_that_is_not_in_the_bucket_is_said_so(cloud: Cloud) -> None:
    ended = cloud.python("-m", "pipeline", "run", f"{cloud.bucket.root}/none.yaml", "--", *cloud.flags())
    assert (ended.returncode, ended.stderr) == (
        2,
        f"embedbeam: cannot read the config {cloud.bucket.root}/none.yaml: no such object or bucket\n",
    )
