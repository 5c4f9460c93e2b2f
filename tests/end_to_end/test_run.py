"""The command line against a real local server that speaks the protocol, and what is left on disk."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from pipeline.rehearsal import rehearsal_vector
from tests.support.projects import Outcome, Project, prose
from tests.support.rehearsal import Rehearsal, rehearsal

KEY = "sk-rehearsal-key-that-must-not-be-seen"
PROBE_TEXTS = 4
"""Two at the start, and the same two turned round in base64: a few tokens that prove order, dimension and encoding."""
SUMMARY = [
    "dataset", "version", "documents", "documents_rejected", "chunks", "chunks_rejected", "texts",
    "texts_reused", "texts_to_embed", "texts_embedded", "duplicates", "rows_added", "rows_removed",
    "rows_unchanged", "requests", "requests_retried", "requests_throttled", "prompt_tokens",
    "estimated_tokens", "cost_usd", "seconds", "limited_by",
]  # fmt: skip


@pytest.fixture(scope="module")
def server() -> Iterator[Rehearsal]:
    with rehearsal("--dimensions", "16", "--latency-ms", "0", "--latency-jitter-ms", "0", "--api-key", KEY) as running:
        yield running


@pytest.fixture
def project(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, server: Rehearsal
) -> Project:
    monkeypatch.setenv("COMETAPI_KEY", KEY)
    made = Project(tmp_path, capsys, server.base_url)
    made.write({f"d{n % 5}/t{n}.txt": prose(n) for n in range(40)})
    return made


def check_committed(project: Project, outcome: Outcome) -> None:
    """What must hold of every committed version, whatever happened on the way."""
    assert outcome.code == 0, outcome.err
    manifest, summary, rows = project.manifest(), outcome.summary, project.rows()
    assert set(SUMMARY) <= set(summary)
    assert manifest["rows"] == rows.num_rows == sum(part["rows"] for part in manifest["parts"])
    assert summary["chunks"] == rows.num_rows + summary["chunks_rejected"]
    assert summary["texts"] == summary["texts_reused"] + summary["texts_to_embed"]
    assert summary["rows_added"] + summary["rows_unchanged"] == rows.num_rows
    for part in manifest["parts"]:
        content = (project.dataset / part["path"]).read_bytes()
        assert (len(content), hashlib.sha256(content).hexdigest()) == (part["bytes"], part["sha256"])
    dimension = manifest["dimensions"]
    for row, vector in zip(rows.select(["chunk", "text_hash"]).to_pylist(), project.vectors(), strict=True):
        assert np.allclose(vector, rehearsal_vector(row["chunk"], dimension), atol=1e-6)
        assert row["text_hash"] == hashlib.sha256(row["chunk"].encode()).hexdigest()
    assert len(set(rows.column("id").to_pylist())) == rows.num_rows
    assert not (project.dataset / "_journal").exists()


def check_coverage(project: Project) -> None:
    """Every character that is no white space lies in a chunk, and every chunk is where it says it is."""
    rows = project.rows().to_pylist()
    for path in project.documents.rglob("*.txt"):
        text, doc_id = path.read_text(), str(path.relative_to(project.documents))
        covered = np.zeros(len(text), bool)
        for row in (row for row in rows if row["doc_id"] == doc_id):
            assert text[row["start_char"] : row["end_char"]] == row["chunk"]
            covered[row["start_char"] : row["end_char"]] = True
        assert all(text[at].isspace() for at in np.flatnonzero(~covered))


def test_every_row_carries_the_vector_of_its_own_text(project: Project) -> None:
    outcome = project.run()
    check_committed(project, outcome)
    check_coverage(project)
    assert outcome.summary["documents"] == 40
    assert outcome.summary["version"] == 1
    assert outcome.summary["texts_embedded"] == outcome.summary["texts"]


def test_two_fresh_runs_give_the_same_bytes(project: Project) -> None:
    first = project.run().summary
    parts = {path.name: path.read_bytes() for path in project.part_paths()}
    project.dataset = project.folder / "again"
    second = project.run("--set", f"dataset={project.dataset}").summary
    assert second["version"] == first["version"] == 1
    assert {path.name: path.read_bytes() for path in project.part_paths()} == parts


def test_identical_texts_are_sent_once(project: Project, server: Rehearsal) -> None:
    project.write({f"copy{n}.txt": prose(1) for n in range(9)})
    before = server.statistics()
    outcome = project.run()
    after = server.statistics()
    check_committed(project, outcome)
    assert outcome.summary["duplicates"] >= 9
    assert after["texts"] - before["texts"] == outcome.summary["texts"] + PROBE_TEXTS


def test_unchanged_rerun_commits_nothing_and_calls_nobody(project: Project, server: Rehearsal) -> None:
    project.run()
    files, before = project.files(), server.statistics()
    outcome = project.run()
    assert outcome.code == 0
    assert (outcome.summary["version"], outcome.summary["committed"], outcome.summary["requests"]) == (1, False, 0)
    assert "nothing was paid" in outcome.err
    assert project.files() == files
    assert server.statistics() == before


def test_edited_document_pays_for_its_changed_chunks_only(project: Project) -> None:
    rows = project.run().summary["chunks"]
    (project.documents / "d0" / "t0.txt").write_text(
        prose(0) + "\n\nA new last paragraph that nobody has written before."
    )
    (project.documents / "d1" / "t1.txt").unlink()
    (project.documents / "d2" / "t2.txt").rename(project.documents / "d2" / "renamed.txt")
    outcome = project.run()
    check_committed(project, outcome)
    summary = outcome.summary
    assert summary["version"] == 2
    assert 0 < summary["texts_embedded"] <= 2
    assert (summary["documents_new"], summary["documents_changed"], summary["documents_vanished"]) == (1, 1, 2)
    assert summary["rows_unchanged"] + summary["rows_removed"] == rows
    changes = pq.ParquetFile(project.dataset / "versions/000002/changes.parquet").read().to_pylist()
    counts = Counter(row["change"] for row in changes)
    assert (counts["added"], counts["removed"]) == (summary["rows_added"], summary["rows_removed"])
    assert json.loads((project.dataset / "versions/000002/manifest.json").read_bytes()) == project.manifest()


def test_texts_after_faults_are_right_and_none_is_lost(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    faults = ["drop", "500", "502-html", "truncated", "short-answer", "nan", "reorder", "429"]
    options = [word for fault in faults for word in ("--fault", f"{fault}=0.05")]
    with rehearsal(
        "--dimensions", "16", "--latency-ms", "0", "--latency-jitter-ms", "0", "--seed", "7", *options
    ) as server:
        project = Project(tmp_path, capsys, server.base_url)
        project.config["embedding"]["api_key_env"] = ""
        project.config["embedding"]["max_inputs_per_request"] = 4
        project.write({f"t{n}.txt": prose(n) for n in range(60)})
        outcome = project.run()
    check_committed(project, outcome)
    check_coverage(project)
    assert outcome.summary["requests_retried"] > 0


def test_refused_text_is_rejected_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with rehearsal(
        "--dimensions", "16", "--latency-ms", "0", "--latency-jitter-ms", "0", "--poison", "POISON=400"
    ) as server:
        project = Project(tmp_path, capsys, server.base_url)
        project.config["embedding"]["api_key_env"] = ""
        project.config["budget"] = {"max_rejected_fraction": 0.2}
        project.write({f"t{n}.txt": prose(n, 15) for n in range(30)})
        project.write({"bad.txt": "A short POISON text."})
        outcome = project.run()
        check_committed(project, outcome)
        refused = project.run("--set", "budget.max_rejected_fraction=0", "--set", f"dataset={tmp_path / 'strict'}")
    assert outcome.summary["chunks_rejected"] == 1
    assert "REJECTED" in outcome.err
    (reject,) = pq.ParquetFile(project.dataset / "versions/000001/rejects.parquet").read().to_pylist()
    assert (reject["doc_id"], reject["stage"], reject["start_char"], reject["end_char"]) == ("bad.txt", "embed", 0, 20)
    assert "POISON" not in json.dumps(reject)
    assert refused.code == 3
    assert "more than budget.max_rejected_fraction allows" in refused.err
    assert not (tmp_path / "strict" / "manifest.json").exists()
    assert (tmp_path / "strict" / "_journal").exists()


def test_plan_says_the_bill_and_commits_nothing(project: Project, server: Rehearsal) -> None:
    before = server.statistics()["requests"]
    planned = project.plan("--set", "budget.price_per_million_tokens=0.02")
    assert planned.code == 0
    assert server.statistics()["requests"] == before
    assert project.files() == set()
    bill = planned.summary
    summary = project.run("--set", "budget.price_per_million_tokens=0.02").summary
    for name in ("documents", "chunks", "texts", "texts_to_embed", "duplicates"):
        assert bill[name] == summary[name]
    assert bill["tokens"] == summary["estimated_tokens"] == summary["prompt_tokens"]
    assert bill["cost_usd"] == pytest.approx(summary["cost_usd"])
    assert bill["requests"] == summary["requests"]


def test_bill_over_the_budget_is_refused_before_the_first_call(project: Project, server: Rehearsal) -> None:
    before = server.statistics()["requests"]
    outcome = project.run("--set", "budget.max_tokens=10")
    assert outcome.code == 3
    assert "more than budget.max_tokens allows (10)" in outcome.err
    assert "Traceback" not in outcome.err
    assert server.statistics()["requests"] == before
    assert not (project.dataset / "manifest.json").exists()


def test_other_model_into_the_dataset_is_refused_with_the_remedy(project: Project) -> None:
    project.run()
    outcome = project.run("--set", "embedding.model=text-embedding-3-large")
    assert outcome.code == 3
    assert "embedding.model is 'text-embedding-3-large' and the dataset has 'text-embedding-3-small'" in outcome.err
    assert "new dataset path" in outcome.err


def test_chunks_of_a_dataset_are_embedded_again_without_its_documents(project: Project) -> None:
    first = project.run().summary
    before = {row["id"]: row for row in project.rows().drop(["vector"]).to_pylist()}
    for path in project.documents.rglob("*.txt"):
        path.unlink()
    project.config["documents"] = {"dataset": str(project.dataset)}
    project.dataset = project.folder / "other"
    project.config["dataset"] = str(project.dataset)
    project.config["embedding"] |= {"model": "text-embedding-3-large", "dimensions": 8}
    outcome = project.run()
    check_committed(project, outcome)
    assert (outcome.summary["documents"], outcome.summary["chunks"]) == (40, first["chunks"])
    after = {row["id"]: row for row in project.rows().drop(["vector"]).to_pylist()}
    assert after.keys() == before.keys()
    assert all(after[i] == {**before[i], "model": "text-embedding-3-large", "dimensions": 8} for i in before)


@pytest.mark.parametrize(
    ("change", "code", "words"),
    [
        pytest.param(
            {"documents": {"paths": ["nothing/*.md"]}}, 3, "no document matched documents.paths", id="no match"
        ),
        pytest.param({"dataset": "/proc/nowhere/out"}, 2, "/proc/nowhere", id="not writable"),
        pytest.param({"embeding": {}}, 2, "embeding: unknown key; did you mean embedding?", id="mistyped key"),
    ],
)
def test_wrong_input_gets_one_clear_error(project: Project, change: dict[str, object], code: int, words: str) -> None:
    project.config |= change
    outcome = project.run()
    assert (outcome.code, words in outcome.err) == (code, True), outcome.err
    assert "Traceback" not in outcome.err
    assert project.files() == set()


def test_missing_key_is_said_with_the_variables_name(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COMETAPI_KEY")
    outcome = project.run()
    assert outcome.code == 2
    assert "COMETAPI_KEY" in outcome.err
    assert project.files() == set()


def test_refused_key_ends_the_run_at_once_and_is_not_shown(
    project: Project, monkeypatch: pytest.MonkeyPatch, server: Rehearsal
) -> None:
    monkeypatch.setenv("COMETAPI_KEY", "sk-a-wrong-secret")
    outcome = project.run()
    assert outcome.code == 4
    assert "key" in outcome.err
    assert "sk-a-wrong-secret" not in outcome.err + outcome.out
    assert "Traceback" not in outcome.err


def test_file_that_is_no_text_is_one_reject(project: Project) -> None:
    project.write({"latin1.txt": "caf\xe9 au lait".encode("latin-1")})
    strict = project.run()
    assert strict.code == 3
    assert "1 of 41 documents cannot be read" in strict.err
    lax = project.run("--set", "budget.max_rejected_fraction=0.05")
    check_committed(project, lax)
    (reject,) = pq.ParquetFile(project.dataset / "versions/000001/rejects.parquet").read().to_pylist()
    assert (reject["doc_id"], reject["stage"], reject["reason"]) == ("latin1.txt", "extract", "undecodable")


def test_key_and_text_are_in_no_file_but_the_chunks(project: Project) -> None:
    project.run()
    for path in project.dataset.rglob("*"):
        if path.is_file():
            assert KEY.encode() not in path.read_bytes()
    assert prose(0)[:30].encode() not in (project.dataset / "manifest.json").read_bytes()


def test_unknown_option_for_beam_is_refused_without_its_value(project: Project) -> None:
    outcome = project.run("--", "--openai_api_key=sk-SECRET")
    assert outcome.code == 2
    assert "Beam does not know --openai_api_key" in outcome.err
    assert "SECRET" not in outcome.err


def test_damaged_part_is_named_and_made_anew(project: Project) -> None:
    project.run()
    (part,) = project.part_paths()
    good = part.read_bytes()
    part.write_bytes(good[:5000] + bytes([good[5000] ^ 1]) + good[5001:])
    assert project.command("inspect", str(project.dataset), "--verify").code == 3
    outcome = project.run()
    check_committed(project, outcome)
    assert "DAMAGED" in outcome.err
    assert "sha256 is not the manifest's" in outcome.err
    assert outcome.summary["texts_embedded"] == outcome.summary["texts"]
    assert [path.read_bytes() for path in project.part_paths()] == [good]
