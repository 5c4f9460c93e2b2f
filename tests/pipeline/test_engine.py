import sys
from pathlib import Path

import pytest

from pipeline.engine import (
    check_installed,
    count_lanes,
    engine_name,
    is_left_alone,
    open_engine,
    parse_beam_flags,
    works_here,
)
from transforms.errors import ConfigError

FLINK = ["--runner=FlinkRunner", "--flink_master=cluster:8081"]
EXTERNAL = ["--environment_type=EXTERNAL", "--environment_config=localhost:1"]


@pytest.mark.parametrize(
    ("flags", "lanes"),
    [
        ([], 1),
        (["--runner=DirectRunner", "--direct_num_workers=4", "--direct_running_mode=multi_processing"], 1),
        (["--runner=PrismRunner"], 1),
        (["--runner=FlinkRunner", "--flink_master=[local]", "--parallelism=4"], 1),
        (["--runner=SparkRunner", "--spark_master_url=local[4]"], 1),
        (["--runner=PortableRunner", "--environment_type=LOOPBACK"], 1),
        (["--runner=PortableRunner", *EXTERNAL, "--max_num_workers=3"], 3),
        (["--runner=PrismRunner", *EXTERNAL, "--max_num_workers=1"], 1),
        ([*FLINK, "--parallelism=6"], 6),
        ([*FLINK, "--parallelism=6", "--max_num_workers=9"], 9),
        (["--runner=DataflowRunner", "--max_num_workers=12"], 12),
        (["--runner=DataflowRunner", "--num_workers=5"], 5),
    ],
)
def test_quota_is_divided_by_the_workers_that_may_be_at_work_elsewhere(flags: list[str], lanes: int) -> None:
    assert count_lanes(parse_beam_flags(flags)) == lanes


@pytest.mark.parametrize(
    ("flags", "option"),
    [
        (FLINK, "--parallelism=N"),
        (["--runner=DataflowRunner"], "--max_num_workers=N"),
        (["--runner=PortableRunner", *EXTERNAL], "--max_num_workers=N"),
        (["--runner=PrismRunner", *EXTERNAL], "--max_num_workers=N"),
    ],
)
def test_engine_that_does_not_say_how_many_workers_it_has_is_refused(flags: list[str], option: str) -> None:
    with pytest.raises(ConfigError, match=f"add {option} after --"):
        count_lanes(parse_beam_flags(flags))


def test_dataflow_starts_no_more_workers_than_the_quota_is_divided_by() -> None:
    options = parse_beam_flags(["--runner=DataflowRunner", "--num_workers=5"])
    assert (count_lanes(options), options.get_all_options()["max_num_workers"]) == (5, 5)


def test_engine_that_is_not_installed_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "google.cloud.dataflow_v1beta3", None)
    with pytest.raises(ConfigError, match=r"pip install 'embedbeam\[dataflow\]'"):
        check_installed("DataflowRunner")
    check_installed("FlinkRunner")


def test_setup_file_is_found_from_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    options = parse_beam_flags(["--setup_file=setup.py"])
    assert options.get_all_options()["setup_file"] == str(tmp_path / "setup.py")


DATAFLOW = ["--runner=DataflowRunner", "--max_num_workers=2"]


@pytest.mark.parametrize(
    ("flags", "left_alone"),
    [
        ([], False),
        (DATAFLOW, False),
        ([*DATAFLOW, "--no_wait_until_finish"], True),
        ([*DATAFLOW, "--template_location=gs://b/job_object"], True),
        ([*FLINK, "--no_wait_until_finish"], True),
    ],
)
def test_run_is_left_alone_where_beam_is_told_so(flags: list[str], left_alone: bool) -> None:
    assert is_left_alone(parse_beam_flags(flags)) == left_alone


@pytest.mark.parametrize("engine", [[], ["--runner=PrismRunner"], ["--runner=FlinkRunner", "--flink_master=[local]"]])
def test_run_in_this_process_cannot_be_left_alone(engine: list[str]) -> None:
    with pytest.raises(ConfigError, match="runs in this process and ends with it: leave --no_wait_until_finish out"):
        is_left_alone(parse_beam_flags([*engine, "--no_wait_until_finish"]))


def test_one_worker_elsewhere_is_not_here() -> None:
    assert works_here(parse_beam_flags([]))
    assert not works_here(parse_beam_flags(["--runner=DataflowRunner", "--max_num_workers=1"]))


@pytest.mark.parametrize(
    ("spelled", "name"), [("prism", "PrismRunner"), ("flinkrunner", "FlinkRunner"), ("my.own.Runner", "my.own.Runner")]
)
def test_engine_may_be_spelled_as_beam_lets_it_be(spelled: str, name: str) -> None:
    assert engine_name(parse_beam_flags([f"--runner={spelled}"])) == name


def test_engine_that_does_not_exist_is_named_with_those_that_do() -> None:
    with pytest.raises(ConfigError, match=r"--runner=FlingRunner is none of Beam's: .*FlinkRunner"):
        parse_beam_flags(["--runner=FlingRunner"])


def test_dry_run_is_refused_because_it_commits_nothing() -> None:
    with pytest.raises(ConfigError, match="--dry_run=True submits no job"):
        open_engine(parse_beam_flags(["--runner=DataflowRunner", "--dry_run=True"]), debug=False)


def test_dataflow_starts_one_process_on_each_worker() -> None:
    options = parse_beam_flags(["--runner=DataflowRunner", "--max_num_workers=2"])
    assert "no_use_multiple_sdk_containers" in options.get_all_options()["experiments"]
