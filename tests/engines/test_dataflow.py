"""The job graph for Dataflow, built offline by Beam's own dry run; it needs an extra of Beam in an environment of its own."""

import json
import os
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.engines.engines import INSTALLED, environment

pytestmark = pytest.mark.engines

ROOT = Path(__file__).parents[2]
PYTHON = INSTALLED.parent / "dataflow" / "bin" / "python"
KEY = "sk-SECRET-IN-THE-ENVIRONMENT"
TEXT = "A sentence of a document that must stay where it is."
FLAGS = [
    "--runner=DataflowRunner", "--project=my-project-1", "--region=us-central1", "--job_name=embedbeam",
    "--temp_location=gs://my-bucket/tmp", "--staging_location=gs://my-bucket/staging", "--max_num_workers=4",
    "--template_location=gs://my-bucket/staging/template_launches/1/job_object", "--dry_run=True",
]  # fmt: skip
BUILD = """
import base64, bz2, json, re, sys
import apache_beam as beam
from pipeline.config import load_config
from pipeline.engine import count_lanes, engine_name, parse_beam_flags
from pipeline.graph import RunFacts, build_graph
from transforms.storage.place import RunPlace
config = load_config(sys.argv[1], [])
options = parse_beam_flags(sys.argv[2:])
place = RunPlace(config.dataset, "run-1", 0, "f")
facts = RunFacts(place, 8, None, True, count_lanes(options), 0.0, False, config.chunking_section())
pipeline = beam.Pipeline(runner=engine_name(options), options=options)
build_graph(pipeline, config, facts)
pipeline.run()
graph = pipeline.runner.proto_pipeline
def unpacked(payload):
    packed = re.findall(rb"QlpoO[A-Za-z0-9+/]{40,}={0,2}", payload)  # how every bzip2 begins in base64
    return b" ".join(bz2.decompress(base64.b64decode(one)) for one in packed)
words = b" ".join(unpacked(one.spec.payload) for one in graph.components.transforms.values()).decode("latin-1")
steps = sorted({one.unique_name.partition("/")[0] for one in graph.components.transforms.values()})
told = str(options.get_all_options())
print(json.dumps({"steps": steps, "graph": str(graph) + words, "options": told, "lanes": facts.lanes}))
"""


def test_job_graph_for_dataflow_holds_neither_key_nor_text(tmp_path: Path) -> None:
    if not PYTHON.exists():
        word = "Beam's extra for Google Cloud is not installed: make engines"
        if os.environ.get("CI") == "true":
            pytest.fail(word)
        pytest.skip(word)
    (tmp_path / "document.md").write_text(TEXT)
    config = yaml.safe_load((ROOT / "configs" / "dataflow.yaml").read_text())
    config["documents"]["paths"].append(str(tmp_path / "*.md"))
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    built = subprocess.run(
        [str(PYTHON), "-c", BUILD, str(tmp_path / "config.yaml"), *FLAGS],
        capture_output=True,
        text=True,
        check=False,
        env=environment(COMETAPI_KEY=KEY),
    )
    assert built.returncode == 0, built.stderr
    found = json.loads(built.stdout.splitlines()[-1])
    assert {"Find documents", "Group by text", "Approve bill", "Embed buckets", "Commit version"} <= set(found["steps"])
    assert found["lanes"] == 4
    assert "no_use_multiple_sdk_containers" in found["options"]
    assert "text-embedding-3-small" in found["graph"]
    assert config["embedding"]["api_key_secret"] in found["graph"]  # its name, for each worker to read the key by
    for secret in (KEY, TEXT):
        assert secret not in found["graph"] + found["options"] + built.stderr
