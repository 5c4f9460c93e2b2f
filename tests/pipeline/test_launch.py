"""Runs that nobody waits for, as far as no engine is needed; the rest is in tests/engines."""

from pathlib import Path

import pytest

from pipeline.launch import launch_lines, launched_run
from tests.support.projects import Project

FLINK = ["--runner=FlinkRunner", "--flink_master=cluster:8081", "--parallelism=2", "--no_wait_until_finish"]
DATAFLOW = ["--runner=DataflowRunner", "--max_num_workers=2"]


@pytest.fixture
def project(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Project:
    made = Project(tmp_path, capsys, "http://127.0.0.1:9/v1")
    made.config["embedding"]["api_key_env"] = ""
    return made


class JobResult:
    """What Dataflow's runner returns, as far as a launch looks at it."""

    def __init__(self, job: str) -> None:
        self._job = job

    @property
    def has_job(self) -> bool:
        return bool(self._job)

    def job_id(self) -> str:
        return self._job


@pytest.mark.parametrize(
    ("command", "flags", "sentence"),
    [
        pytest.param("plan", FLINK, "plan waits for the bill that it shows; leave --no_wait_until_finish out", id="plan"),
        pytest.param("run", FLINK, "is a local folder, where the next run takes one that nobody waits for as dead", id="run"),
        pytest.param("run", DATAFLOW, "workers on Dataflow see no local folder: put {dataset}, {docs}/**/*.* on gs", id="seen"),
        pytest.param("run", ["--no_wait_until_finish"], "DirectRunner runs in this process and ends with it", id="here"),
    ],
)  # fmt: skip
def test_run_that_nobody_could_finish_is_refused_before_anything_is_made(
    project: Project, command: str, flags: list[str], sentence: str
) -> None:
    outcome = project.command(command, project.config_file(), "--", *flags)
    assert outcome.code == 2
    assert sentence.format(dataset=project.dataset, docs=project.documents) in outcome.err
    assert not project.dataset.exists()


def test_job_is_told_with_where_to_watch_it() -> None:
    told = {"runner": "DataflowRunner", "project": "my-project", "region": "us-central1"}
    assert launch_lines(launched_run(JobResult("2026-1"), told, "gs://b/out", "r1")) == [
        "launched   DataflowRunner job 2026-1; nobody waits for it here",
        "watch      https://console.cloud.google.com/dataflow/jobs/us-central1/2026-1?project=my-project",
        "           gcloud dataflow jobs describe 2026-1 --project=my-project --region=us-central1",
        "result     embedbeam inspect gs://b/out   shows the version once the job has committed it",
    ]


def test_engine_that_does_not_name_its_job_is_told_without() -> None:
    launched = launched_run(object(), {"runner": "FlinkRunner"}, "gs://b/out", "r1")
    assert launched["job"] == ""
    assert launch_lines(launched)[0] == "launched   FlinkRunner; nobody waits for it here"
