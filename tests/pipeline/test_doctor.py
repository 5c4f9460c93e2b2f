"""doctor against the rehearsal endpoint: what it finds, what it costs, what it exits with."""

import base64
import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.projects import Outcome, Project, prose
from tests.support.rehearsal import Rehearsal, rehearsal
from tests.support.secret_server import secret_name, secret_server
from transforms.core.bill import Budget, objection
from transforms.records import Bill

KEY = "sk-doctor-key-that-must-not-be-seen"


@pytest.fixture(scope="module")
def server() -> Iterator[Rehearsal]:
    with rehearsal("--dimensions", "16", "--model", "text-embedding-3-small", "--api-key", KEY) as running:
        yield running


@pytest.fixture
def project(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, server: Rehearsal
) -> Project:
    monkeypatch.setenv("COMETAPI_KEY", KEY)
    made = Project(tmp_path, capsys, server.base_url)
    made.write({f"t{n}.md": prose(n) for n in range(3)})
    return made


def doctor(project: Project, *options: str) -> tuple[Outcome, dict[str, dict[str, Any]]]:
    outcome = project.command("doctor", project.config_file(), "--json", *options)
    return outcome, {finding["check"]: finding for finding in outcome.summary["checks"]}


def states(findings: dict[str, dict[str, Any]]) -> dict[str, str]:
    return {check: finding["state"] for check, finding in findings.items() if finding["state"] != "ok"}


def test_key_is_read_from_secret_manager_and_never_shown(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COMETAPI_KEY")
    with secret_server(doctored=KEY.encode()) as secrets:
        monkeypatch.setenv("SECRET_MANAGER_EMULATOR_HOST", secrets.address)
        project.config["embedding"]["api_key_secret"] = secret_name("doctored")
        outcome, findings = doctor(project)
        assert (outcome.code, states(findings)) == (0, {}), outcome.out
        assert findings["key"]["message"] == f"{secret_name('doctored')} can be read"
        assert KEY not in outcome.out + outcome.err
        project.config["embedding"]["api_key_secret"] = secret_name("gone")
        outcome, findings = doctor(project)
    assert (outcome.code, findings["key"]["state"]) == (2, "FAILED")
    assert findings["key"]["message"].startswith(f"the secret {secret_name('gone')} does not exist")


def test_all_is_well_for_less_than_a_hundred_tokens(project: Project, server: Rehearsal) -> None:
    before = server.statistics()["prompt_tokens"]
    outcome, findings = doctor(project, "--set", "embedding.max_inputs_per_request=128")
    assert (outcome.code, states(findings)) == (0, {}), outcome.out
    assert list(findings) == [
        "config", "key", "endpoint", "model", "dimensions", "order", "encoding", "batch", "price", "documents",
        "formats", "dataset", "version", "engine",
    ]  # fmt: skip
    assert 0 < outcome.summary["tokens"] < 100
    assert outcome.summary["tokens"] == server.statistics()["prompt_tokens"] - before
    assert outcome.summary["seconds"] < 5
    assert findings["documents"]["message"].startswith("3 documents, ")
    assert findings["price"]["message"] == "0.02 USD per million tokens, from the catalog"
    assert project.files() == set()
    assert not project.dataset.exists()


def test_lines_for_people_end_with_the_cost(project: Project) -> None:
    outcome = project.command("doctor", project.config_file())
    lines = outcome.out.splitlines()
    assert lines[1].split() == ["ok", "key", "COMETAPI_KEY", "is", "set"]
    assert lines[-1].startswith("a run can begin; this cost ")
    assert KEY not in outcome.out + outcome.err


def test_wrong_key_is_found_and_not_shown(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMETAPI_KEY", "sk-a-wrong-secret")
    outcome, findings = doctor(project)
    assert (outcome.code, states(findings)) == (4, {"model": "FAILED"})
    assert "the key in COMETAPI_KEY is not accepted" in findings["model"]["message"]
    assert "sk-a-wrong-secret" not in outcome.out + outcome.err


def test_missing_key_keeps_the_endpoint_from_being_asked(
    project: Project, server: Rehearsal, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = server.statistics()["requests"]
    monkeypatch.delenv("COMETAPI_KEY")
    outcome, findings = doctor(project)
    assert (outcome.code, states(findings)) == (2, {"key": "FAILED"})
    assert "endpoint" not in findings
    assert server.statistics()["requests"] == before


def test_wrong_model_is_found(project: Project) -> None:
    project.config["embedding"]["model"] = "text-embedding-9"
    outcome, findings = doctor(project)
    assert (outcome.code, states(findings)) == (4, {"model": "FAILED"})
    assert "text-embedding-9" in findings["model"]["message"]


def test_unreachable_port_is_said_at_once(project: Project) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    project.config["embedding"]["base_url"] = f"http://127.0.0.1:{port}/v1"
    outcome, findings = doctor(project)
    assert (outcome.code, states(findings)) == (4, {"endpoint": "FAILED"})
    assert "the connection is refused; check embedding.base_url" in findings["endpoint"]["message"]
    assert outcome.summary["seconds"] < 5


def test_floats_and_small_batches_are_notes(project: Project) -> None:
    with rehearsal("--dimensions", "16", "--max-inputs", "4") as small:
        project.config["embedding"] |= {"base_url": small.base_url, "profile": "dashscope"}
        outcome, findings = doctor(project)
    assert (outcome.code, states(findings)) == (0, {"encoding": "note", "batch": "note"})
    assert findings["batch"]["message"].endswith("set embedding.max_inputs_per_request to 4")


def test_server_that_answers_floats_to_base64_is_no_reason_to_worry(project: Project) -> None:
    with rehearsal("--dimensions", "16", "--no-base64") as plain:
        project.config["embedding"]["base_url"] = plain.base_url
        outcome, findings = doctor(project)
    assert (outcome.code, states(findings)) == (0, {})
    assert "the vectors are the same" in findings["encoding"]["message"]


def test_endpoint_that_never_answers_well_is_given_up_in_seconds(project: Project) -> None:
    with rehearsal("--dimensions", "16", "--fault", "500=1.0") as sick:
        project.config["embedding"]["base_url"] = sick.base_url
        outcome, findings = doctor(project)
    assert (outcome.code, states(findings)) == (4, {"endpoint": "FAILED"})
    assert "127.0.0.1 is out of reach" in findings["endpoint"]["message"]
    assert outcome.summary["seconds"] < 6


def test_empty_account_is_said_in_one_finding(project: Project) -> None:
    with rehearsal("--dimensions", "16", "--no-balance") as poor:
        project.config["embedding"]["base_url"] = poor.base_url
        outcome, findings = doctor(project)
    assert outcome.code == 4
    assert list(states(findings).values()) == ["FAILED"]


def test_price_that_is_needed_and_unknown_is_a_refusal(project: Project, server: Rehearsal) -> None:
    server.change(price=None)
    try:
        free, findings = doctor(project)
        bounded, bounded_findings = doctor(project, "--set", "budget.max_cost_usd=1")
    finally:
        server.change(price=0.02)
    assert (free.code, states(findings)) == (0, {"price": "note"})
    assert (bounded.code, states(bounded_findings)) == (3, {"price": "FAILED"})
    said = objection(Bill(documents=1, chunks=1, texts_to_embed=1), Budget(max_cost_usd=1))
    assert bounded_findings["price"]["message"] == said


@pytest.mark.parametrize(
    ("pattern", "code", "words"),
    [
        pytest.param("nothing/*.md", 3, "no document matched documents.paths", id="no match"),
        pytest.param("*/*.md", 2, "two files have the same doc_id", id="ambiguous"),
    ],
)
def test_documents_that_cannot_be_taken_are_said(project: Project, pattern: str, code: int, words: str) -> None:
    project.write({"one/x/a.md": "one", "two/x/a.md": "two"})
    paths = [f"{project.documents}/one/{pattern}", f"{project.documents}/two/{pattern}"]  # x/a.md in both
    project.config["documents"] = {"paths": paths}
    outcome, findings = doctor(project)
    assert (outcome.code, states(findings)) == (code, {"documents": "FAILED"})
    assert words in findings["documents"]["message"]


def test_documents_that_hold_no_text_are_named(project: Project) -> None:
    project.write({"scan.png": b"\x89PNG\r\n..."})
    strict, strict_findings = doctor(project)
    lax, findings = doctor(project, "--set", "budget.max_rejected_fraction=0.5")
    assert (strict.code, states(strict_findings)) == (3, {"formats": "FAILED"})
    assert (lax.code, states(findings)) == (0, {"formats": "note"})
    assert "1 of 4 documents tried cannot be read" in findings["formats"]["message"]
    assert "scan.png" in findings["formats"]["message"]


def test_some_of_each_kind_are_tried_and_files_of_records_by_their_columns(project: Project) -> None:
    project.write({f"more{n}.txt": "Some text." for n in range(300)})
    project.write({"rows.jsonl": '{"body": "no text column here"}\n'})
    lax, findings = doctor(project, "--set", "budget.max_rejected_fraction=0.5")
    named, named_findings = doctor(project, "--set", "documents.records.text_column=body")
    assert (lax.code, states(findings)) == (0, {"formats": "note"})
    assert "rows.jsonl" in findings["formats"]["message"]
    assert (named.code, states(named_findings)) == (0, {})


def test_dataset_of_another_model_and_one_that_cannot_be_written_are_said(project: Project) -> None:
    assert project.run().code == 0
    kept, kept_findings = doctor(project)
    other, findings = doctor(project, "--set", "embedding.dimensions=8")
    nowhere, nowhere_findings = doctor(project, "--set", "dataset=/proc/nowhere/out")
    assert (kept.code, states(kept_findings)) == (0, {})
    assert kept_findings["canary"]["state"] == "ok"
    assert (other.code, states(findings)) == (3, {"dataset": "FAILED"})
    assert "embedding.dimensions is 8 and the dataset has 16" in findings["dataset"]["message"]
    assert (nowhere.code, states(nowhere_findings)) == (2, {"dataset": "FAILED"})


def test_model_that_changed_behind_its_name_is_found_by_the_canary(project: Project) -> None:
    assert project.run().code == 0
    manifest = project.manifest()
    other = np.random.default_rng(1).standard_normal(16).astype("<f4").tobytes()
    manifest["canary"] = base64.b64encode(other).decode()
    (project.dataset / "manifest.json").write_text(json.dumps(manifest))
    outcome, findings = doctor(project)
    assert (outcome.code, states(findings)) == (3, {"canary": "FAILED"})
    assert "the model behind this name has changed" in findings["canary"]["message"]


@pytest.mark.parametrize(
    ("flags", "code", "words"),
    [
        ([], 0, "DirectRunner, works on this machine"),
        (["--runner=PrismRunner"], 0, "PrismRunner, works on this machine"),
        (["--runner=FlinkRunner", "--flink_master=far:8081", "--parallelism=4"], 0, "FlinkRunner, 4 workers"),
        (["--runner=FlinkRunner", "--flink_master=far:8081", "--parallelism=1"], 0, "FlinkRunner, 1 worker"),
        (["--openai_api_key=sk-SECRET"], 2, "Beam does not know --openai_api_key"),
        (["--runner=FastRunner"], 2, "--runner=FastRunner is none of Beam's"),
    ],
)
def test_engine_is_checked_by_its_options(project: Project, flags: list[str], code: int, words: str) -> None:
    outcome, findings = doctor(project, "--", *flags)
    assert (outcome.code, words in findings["engine"]["message"]) == (code, True), findings["engine"]
    assert "SECRET" not in outcome.out + outcome.err


def test_source_dataset_without_a_version_is_refused(project: Project) -> None:
    project.config["documents"] = {"dataset": str(project.folder / "none")}
    outcome, findings = doctor(project)
    assert (outcome.code, states(findings)) == (3, {"documents": "FAILED"})
    project.config["documents"] = {"dataset": str(project.dataset)}
    outcome, findings = doctor(project)
    assert (outcome.code, states(findings)) == (2, {"documents": "FAILED"})


def test_local_model_needs_no_key_and_costs_nothing(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COMETAPI_KEY")
    project.config["embedding"] = {"provider": "local"}
    outcome, findings = doctor(project)
    assert (outcome.code, states(findings), outcome.summary["tokens"]) == (0, {}, 0)
    assert "key" not in findings


def test_config_that_cannot_be_used_exits_2(project: Project) -> None:
    project.config["embeding"] = {}
    outcome = project.command("doctor", project.config_file())
    assert outcome.code == 2
    assert "embeding: unknown key; did you mean embedding?" in outcome.err
