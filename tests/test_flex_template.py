"""The Flex Template: every parameter is checked, and reaches the run as the command line takes it."""

import json
import re
from pathlib import Path

import pytest

from pipeline.cli import command_parser
from pipeline.engine import count_lanes, is_left_alone, parse_beam_flags, unknown_flags
from pipeline.template import command_of

ROOT = Path(__file__).parents[1]
TEMPLATE = json.loads((ROOT / "configs" / "flex_template.json").read_text())
PARAMETERS = {parameter["name"]: parameter for parameter in TEMPLATE["parameters"]}
COMMANDS = (ROOT / "configs" / "dataflow.yaml").read_text()
CONFIG = "gs://my-bucket/configs/dataflow.yaml"
IMAGE = "us-central1-docker.pkg.dev/my-project/my-repository/embedbeam:0.1.0"
LAUNCHER = [
    "--runner=DataflowRunner", "--project=my-project", "--region=us-central1", "--job_name=embedbeam-nightly",
    "--temp_location=gs://my-bucket/tmp", "--staging_location=gs://my-bucket/staging",
    "--template_location=gs://my-bucket/staging/template_launches/2026-11-22_02_15_00-1/job_object",
    "--service_account_email=embedbeam@my-project.iam.gserviceaccount.com",
    '--labels={\n   "goog-dataflow-provided-template-type" : "flex"\n}\n',
]  # fmt: skip


def accepts(name: str, value: str) -> bool:
    """Dataflow wants a value to match every expression as a whole."""
    return all(re.fullmatch(expression, value) for expression in PARAMETERS[name]["regexes"])


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameter_has_help_and_an_example_that_its_expressions_accept(name: str) -> None:
    parameter = PARAMETERS[name]
    assert parameter["label"]
    assert len(parameter["regexes"]) == 1
    _, _, example = parameter["helpText"].partition("Example: ")
    assert accepts(name, example), example


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("config", "configs/dataflow.yaml"),
        ("config", "gs://my-bucket/"),
        ("config", "gs://my-bucket/dataflow.json"),
        ("config", "gs://My_Bucket/dataflow.yaml"),
        ("config", "gs://my-bucket/a\nb.yaml"),
        ("max_num_workers", "0"),
        ("max_num_workers", "-1"),
        ("max_num_workers", "8.5"),
        ("max_num_workers", ""),
        ("max_num_workers", "10000"),
        ("sdk_container_image", "embedbeam"),
        ("sdk_container_image", "us-central1-docker.pkg.dev/my-project/embedbeam"),
        ("sdk_container_image", "us-central1-docker.pkg.dev/my-project/embed beam:1"),
        ("sdk_container_image", "us-central1-docker.pkg.dev/my-project/embedbeam@sha256:12"),
        ("set", "budget.max_cost_usd"),
        ("set", "=5"),
        ("set", "budget..max_cost_usd=5"),
        ("set", "a=1;;b=2"),
        ("accept_new_canary", "yes"),
        ("accept_new_canary", ""),
    ],
)
def test_value_that_no_run_could_use_is_refused_before_anything_starts(name: str, value: str) -> None:
    assert not accepts(name, value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("config", "gs://my-bucket/a b/nightly run.yml"),
        ("config", "gs://bucket.example.com/x.yaml"),
        ("max_num_workers", "1"),
        ("max_num_workers", "999"),
        ("sdk_container_image", f"gcr.io/my-project/embedbeam@sha256:{'0a' * 32}"),
        ("sdk_container_image", "registry.example.com:5000/embedbeam:v1.2_3-rc1"),
        ("set", ""),
        ("set", "documents.paths=[gs://b/a.md, gs://b/c=d.md]"),
        ("set", "embedding.input_prefix="),
    ],
)
def test_value_that_a_run_can_use_is_accepted(name: str, value: str) -> None:
    assert accepts(name, value)


def test_every_parameter_becomes_an_argument_of_a_run() -> None:
    chosen = {
        "config": CONFIG,
        "max_num_workers": "8",
        "sdk_container_image": IMAGE,
        "set": "budget.max_cost_usd=50;limits.tokens_per_minute=2000000",
        "accept_new_canary": "true",
    }
    assert chosen.keys() == PARAMETERS.keys()
    command, unknown = command_of([*(f"--{name}={value}" for name, value in chosen.items()), *LAUNCHER])
    at = command.index("--")
    parsed = command_parser("run").parse_args(command[:at])
    assert (parsed.command, parsed.config, parsed.accept_new_canary) == ("run", CONFIG, True)
    assert parsed.settings == ["budget.max_cost_usd=50", "limits.tokens_per_minute=2000000"]
    options = parse_beam_flags(command[at + 1 :])
    assert options.get_all_options()["sdk_container_image"] == IMAGE
    assert (count_lanes(options), is_left_alone(options), unknown) == (8, True, [])


def test_only_required_parameters_make_a_run() -> None:
    required = {name for name, parameter in PARAMETERS.items() if not parameter.get("isOptional")}
    assert required == {"config", "max_num_workers", "sdk_container_image"}
    command, _ = command_of([f"--config={CONFIG}", "--max_num_workers=3", f"--sdk_container_image={IMAGE}", *LAUNCHER])
    assert command[:3] == ["run", CONFIG, "--"]


def test_options_that_only_a_newer_launcher_knows_are_left_out() -> None:
    command, unknown = command_of([f"--config={CONFIG}", *LAUNCHER, "--of_next_year=7"])
    assert unknown == ["--of_next_year"]
    assert command == ["run", CONFIG, "--", *LAUNCHER]


def test_no_parameter_hides_an_option_of_beam() -> None:
    own = {"config", "set", "accept_new_canary"}  # the rest is handed on to Beam, which has to know it
    assert set(unknown_flags([f"--{name}=1" for name in PARAMETERS])) == {f"--{name}" for name in own}


def test_commands_in_the_config_name_real_parameters_with_values_that_are_accepted() -> None:
    text = re.sub(r"\n#\s*", " ", COMMANDS)
    (message,) = re.findall(r"--message-body='(.*?)'", text)
    launch = json.loads(message)["launchParameter"]
    told = dict(pair.split("=", 1) for group in re.findall(r"--parameters=(\S+)", text) for pair in group.split(","))
    for parameters in (launch["parameters"], told):
        assert set(parameters) == {"config", "max_num_workers", "sdk_container_image"}
        assert all(accepts(name, value) for name, value in parameters.items())
    assert json.loads(message)["launchParameter"]["containerSpecGcsPath"].endswith(".json")
