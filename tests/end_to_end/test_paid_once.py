"""What a dataset's second run pays, and what stops a run half-way and lets it go on."""

import base64
import json
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.end_to_end.test_run import PROBE_TEXTS, check_committed, check_coverage
from tests.support.projects import Project, prose
from tests.support.rehearsal import Rehearsal, rehearsal


@pytest.fixture(scope="module")
def server() -> Iterator[Rehearsal]:
    with rehearsal("--dimensions", "64") as running:
        yield running


@pytest.fixture
def project(tmp_path: Path, capsys: pytest.CaptureFixture[str], server: Rehearsal) -> Project:
    made = Project(tmp_path, capsys, server.base_url)
    made.config["embedding"]["api_key_env"] = ""
    made.write({f"t{n}.txt": prose(n) for n in range(30)})
    return made


def edit_manifest(project: Project, **changes: object) -> None:
    """Write other values into the committed manifest, at both places where it lies."""
    manifest = {**project.manifest(), **changes}
    for path in ("manifest.json", f"versions/{manifest['version']:06d}/manifest.json"):
        (project.dataset / path).write_text(json.dumps(manifest))


def test_model_that_was_swapped_behind_its_name_is_refused(project: Project) -> None:
    project.run()
    canary = np.frombuffer(base64.b64decode(project.manifest()["canary"]), "<f4")
    edit_manifest(project, canary=base64.b64encode(np.roll(canary, 1).tobytes()).decode())
    project.write({"new.txt": prose(100)})
    refused = project.run()
    assert refused.code == 3
    assert "the model behind this name has changed" in refused.err
    assert project.manifest()["version"] == 1
    accepted = project.run("--accept-new-canary")
    assert (accepted.code, accepted.summary["version"]) == (0, 2)
    project.write({"newer.txt": prose(101)})
    assert project.run().code == 0, "an accepted canary is the one that later runs are held to"


def test_swapped_model_does_not_matter_to_a_run_that_embeds_nothing(project: Project, server: Rehearsal) -> None:
    project.run()
    edit_manifest(project, canary=base64.b64encode(np.ones(16, "<f4").tobytes()).decode())
    before = server.statistics()["requests"]
    (project.documents / "t0.txt").unlink()
    outcome = project.run()
    assert (outcome.code, outcome.summary["version"], outcome.summary["requests"]) == (0, 2, 0)
    assert server.statistics()["requests"] == before


def test_other_chunker_pays_for_changed_texts_only_and_rewrites_the_stamp(project: Project) -> None:
    project.write({"short.txt": "A document of one chunk, however long chunks are."})
    first = project.run().summary
    outcome = project.run("--set", "chunking.max_tokens=40")
    check_committed(project, outcome)
    assert 0 < outcome.summary["texts_reused"] < first["texts"]
    assert json.loads(project.manifest()["stamp"]["chunker"])["max_tokens"] == 40


def test_chunker_setting_that_changes_no_chunk_pays_nothing_but_is_stamped(project: Project) -> None:
    project.run()
    outcome = project.run("--set", "chunking.splitter=recursive")
    check_committed(project, outcome)
    assert (outcome.summary["requests"], outcome.summary["version"], outcome.summary["rows_added"]) == (0, 2, 0)
    assert b'"recursive"' in project.part_paths()[0].read_bytes()


def test_changed_metadata_rewrites_rows_and_pays_nothing(project: Project) -> None:
    page = "<html><head><title>{}</title></head><body><main><p>" + prose(500) + "</p></main></body></html>"
    project.write({"page.html": page.format("Old")})
    project.run()
    project.write({"page.html": page.format("New")})
    outcome = project.run()
    check_committed(project, outcome)
    assert (outcome.summary["requests"], outcome.summary["rows_added"], outcome.summary["version"]) == (0, 0, 2)
    assert outcome.summary["rows_updated"] > 0
    assert {json.loads(row)["title"] for row in project.rows().column("metadata").to_pylist() if "title" in row} == {
        "New"
    }


def test_growing_corpus_doubles_its_buckets_and_pays_for_the_new_texts_only(project: Project) -> None:
    project.config["output"] = {"part_size_mb": 1}
    project.config["embedding"]["dimensions"] = 64
    project.config["chunking"] = {"max_tokens": 16, "overlap_tokens": 0}
    project.write({f"many{n}.txt": prose(2000 + n, 4000) for n in range(8)})
    first = project.run().summary
    project.write({f"more{n}.txt": prose(3000 + n, 4000) for n in range(16)})
    outcome = project.run()
    check_committed(project, outcome)
    check_coverage(project)
    names = [path.name for path in project.part_paths()]
    assert len(names) > len({name[-13:] for name in names}) == 1
    assert outcome.summary["texts_reused"] >= first["texts"]
    assert outcome.summary["rows_unchanged"] == first["chunks"]


def test_float16_dataset_is_half_the_size_and_can_be_updated(project: Project) -> None:
    project.config["output"] = {"vector_type": "float16"}
    first = project.run()
    assert first.code == 0
    assert str(project.rows().schema.field("vector").type.value_type) == "halffloat"
    project.write({"new.txt": prose(100)})
    outcome = project.run()
    assert outcome.code == 0, outcome.err
    assert outcome.summary["texts_reused"] == first.summary["texts"]
    assert project.rows().num_rows == outcome.summary["chunks"]


def test_charges_beyond_the_budget_stop_the_run_and_the_same_command_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with rehearsal("--dimensions", "16", "--latency-ms", "5", exact_tokens=False) as counting_bytes:
        project = Project(tmp_path, capsys, counting_bytes.base_url)
        project.config["embedding"] |= {"api_key_env": "", "max_inputs_per_request": 2}
        project.config["limits"] = {"concurrent_requests": 1}
        project.write({f"t{n}.txt": " ".join(["incomprehensibilities"] * 20) + f" {n}" for n in range(40)})
        bill = project.plan().summary["tokens"]
        outcome = project.run("--set", f"budget.max_tokens={bill}")
        assert outcome.code == 3, outcome.err
        assert "has charged" in outcome.err
        assert "Traceback" not in outcome.err
        again = project.run()
    check_committed(project, again)
    assert again.summary["texts_in_journal"] > 0


def test_disk_that_is_full_stops_the_run_and_the_same_command_goes_on(project: Project, server: Rehearsal) -> None:
    before = server.statistics()["texts"]
    project.config["limits"] = {"concurrent_requests": 1}

    def small_files_only() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (12_000, 12_000))

    command = [sys.executable, "-m", "pipeline", "run", project.config_file()]
    stopped = subprocess.run(command, capture_output=True, text=True, check=False, preexec_fn=small_files_only)
    assert stopped.returncode == 1
    assert "File too large" in stopped.stderr
    assert "the same command goes on" in stopped.stderr
    assert "Traceback" not in stopped.stderr
    outcome = project.run()
    check_committed(project, outcome)
    assert outcome.summary["texts_in_journal"] > 0
    in_flight = 2 * 16  # the next request leaves while an answer is being journaled
    paid = server.statistics()["texts"] - before
    assert paid <= outcome.summary["texts"] + in_flight + 2 * PROBE_TEXTS


def test_old_versions_go_and_the_kept_ones_stay_whole(project: Project) -> None:
    for number in range(4):
        project.write({f"new{number}.txt": prose(100 + number)})
        assert project.run().code == 0
    versions = sorted(path.name for path in (project.dataset / "versions").iterdir())
    assert versions == ["000003", "000004"]
    assert project.command("inspect", str(project.dataset), "--verify").code == 0
    shown = project.command("diff", str(project.dataset), "--json")
    assert shown.code == 0
