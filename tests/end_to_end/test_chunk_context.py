"""What is sent with a chunk and what is told about it: prefix and context, pages, modification times; documents left whole."""

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from pipeline.rehearsal import rehearsal_vectors
from tests.support.projects import Project, prose
from tests.support.rehearsal import Rehearsal, rehearsal
from transforms.core.tokens import load_tokenizer

ABOVE = "# Bread and yeast\n\n" + "Dough rises by its yeast, and it rests in between. " * 3
BELOW = "## Why bread goes stale\n\n" + "It dries, and its starch sets again over some days. " * 3
BREAD = f"{ABOVE}\n\n{BELOW}\n"
CONTEXT = "title_and_headings"


@pytest.fixture(scope="module")
def server() -> Iterator[Rehearsal]:
    with rehearsal("--dimensions", "16") as running:
        yield running


@pytest.fixture
def project(tmp_path: Path, capsys: pytest.CaptureFixture[str], server: Rehearsal) -> Project:
    made = Project(tmp_path, capsys, server.base_url)
    made.config["embedding"] |= {"api_key_env": "", "input_prefix": "passage: "}
    made.config["chunking"] = {"max_tokens": 60, "overlap_tokens": 0}
    made.write({"bread.md": BREAD, "plain.txt": prose(1, 12)})
    return made


def check_rows(project: Project) -> dict[str, str]:
    """Check each row against what must have been sent for it; returns what was sent before each chunk."""
    leads = {}
    for row, vector in zip(project.rows().to_pylist(), project.vectors(), strict=True):
        known = json.loads(row["metadata"])
        context = " > ".join(known.get("headings", []))
        lead = "passage: " + (f"{context}\n\n" if context and project.manifest()["stamp"].get("context") else "")
        sent = lead + row["chunk"]
        assert row["text_hash"] == hashlib.sha256(sent.encode()).hexdigest()
        assert row["token_count"] == load_tokenizer("cl100k_base").count(sent) <= 60
        assert np.allclose(vector, rehearsal_vectors([sent], 16)[0])
        leads[row["chunk"]] = lead
    return leads


def test_context_is_sent_hashed_counted_and_paid_and_is_not_in_the_chunk(project: Project) -> None:
    project.config["embedding"]["context"] = CONTEXT
    outcome = project.run()
    assert outcome.code == 0, outcome.err
    assert outcome.summary["estimated_tokens"] == outcome.summary["prompt_tokens"]
    assert check_rows(project) == {
        ABOVE.strip(): "passage: Bread and yeast\n\n",
        BELOW.strip(): "passage: Bread and yeast > Why bread goes stale\n\n",
        prose(1, 12): "passage: ",
    }
    stamp = pq.ParquetFile(project.part_paths()[0]).schema_arrow.metadata
    assert (project.manifest()["stamp"]["context"], stamp[b"embedding.context"]) == (CONTEXT, CONTEXT.encode())
    assert f"context    {CONTEXT}" in project.command("inspect", str(project.dataset)).out


def test_another_context_is_refused_with_the_remedy_and_none_leaves_no_trace(project: Project) -> None:
    project.run()
    check_rows(project)
    assert "context" not in project.manifest()["stamp"]
    project.config["embedding"]["context"] = CONTEXT
    outcome = project.run()
    assert outcome.code == 3
    assert f"embedding.context is '{CONTEXT}' and the dataset has 'none'" in outcome.err
    assert "new dataset path" in outcome.err


def test_context_of_chunks_that_are_embedded_again_comes_from_their_metadata(project: Project) -> None:
    project.run()
    before = sorted(row["chunk"] for row in project.rows().to_pylist())
    from_documents = {**project.config, "dataset": str(project.folder / "direct")}
    project.config["documents"] = {"dataset": str(project.dataset)}
    project.dataset = project.folder / "other"
    project.config["dataset"] = str(project.dataset)
    project.config["embedding"]["context"] = CONTEXT
    outcome = project.run()
    assert outcome.code == 0, outcome.err
    assert outcome.summary["estimated_tokens"] == outcome.summary["prompt_tokens"]
    assert sorted(row["chunk"] for row in project.rows().to_pylist()) == before
    assert "passage: Bread and yeast > Why bread goes stale\n\n" in check_rows(project).values()
    ids = set(project.rows().column("id").to_pylist())
    project.config = from_documents
    project.dataset = project.folder / "direct"
    project.config["embedding"]["context"] = CONTEXT
    project.run()
    assert set(project.rows().column("id").to_pylist()) == ids


def test_changed_title_pays_with_context_and_is_only_an_update_without(project: Project) -> None:
    page = "<title>{}</title><main><p>Words of a page.</p></main>"
    project.write({"a.html": page.format("One")})
    project.run()
    project.write({"a.html": page.format("Two")})
    summary = project.run().summary
    assert (summary["rows_updated"], summary["texts_embedded"]) == (1, 0)
    project.dataset = project.folder / "other"
    project.config |= {"dataset": str(project.dataset)}
    project.config["embedding"]["context"] = CONTEXT
    project.run()
    project.write({"a.html": page.format("Three")})
    summary = project.run().summary
    changed = (summary["rows_added"], summary["rows_removed"], summary["rows_updated"], summary["texts_embedded"])
    assert changed == (1, 1, 0, 1)


def test_touched_document_is_no_change_unless_its_time_is_asked_for_and_pays_nothing_then(project: Project) -> None:
    path = project.documents / "bread.md"
    os.utime(path, (1e9, 1e9))
    project.run()
    assert not any("modified" in row["metadata"] for row in project.rows().to_pylist())
    os.utime(path, (2e9, 2e9))
    assert project.run().summary["version"] == 1
    project.config["documents"]["modification_time"] = True
    summary = project.run().summary
    assert (summary["version"], summary["texts_embedded"], summary["rows_updated"]) == (2, 0, summary["chunks"])
    os.utime(path, (1e9, 1e9))
    summary = project.run().summary
    assert (summary["version"], summary["texts_embedded"]) == (3, 0)
    told = {row["doc_id"]: json.loads(row["metadata"])["modified"] for row in project.rows().to_pylist()}
    assert told["bread.md"] == "2001-09-09T01:46:40+00:00"


def test_document_that_may_not_be_cut_and_is_too_long_is_one_reject(project: Project) -> None:
    project.write({"long.txt": "word " * 100})
    project.config["chunking"]["splitter"] = "none"
    project.config["budget"] = {"max_rejected_fraction": 1}
    outcome = project.run()
    assert (outcome.code, outcome.summary["documents"], outcome.summary["documents_rejected"]) == (0, 3, 2)
    rejects = pq.ParquetFile(project.dataset / "versions" / "000001" / "rejects.parquet").read().to_pylist()
    assert [(row["doc_id"], row["stage"], row["reason"]) for row in rejects] == [
        ("bread.md", "chunk", "too_long"),
        ("long.txt", "chunk", "too_long"),
    ]
    assert "the document has 103 tokens and may have 60" in rejects[1]["message"]
    assert project.rows().column("chunk").to_pylist() == [prose(1, 12)]
