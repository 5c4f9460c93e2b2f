"""A run takes over what did not change; what it commits is what a run from nothing would have committed, byte for byte."""

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.projects import Project
from tests.support.rehearsal import Rehearsal, rehearsal

PARAGRAPHS = [f"Paragraph {n} speaks of thing {n * 7 % 31} and of nothing else at all." for n in range(40)]


@pytest.fixture(scope="module")
def server() -> Iterator[Rehearsal]:
    with rehearsal("--latency-ms", "0", "--latency-jitter-ms", "0") as running:
        yield running


@pytest.fixture
def project(tmp_path: Path, capsys: pytest.CaptureFixture[str], server: Rehearsal) -> Project:
    made = Project(tmp_path, capsys, server.base_url)
    made.config["embedding"]["api_key_env"] = ""
    made.config["documents"]["records"] = {"id_column": "name"}
    made.config["output"] = {"part_size_mb": 1}
    return made


def version_files(dataset: Path) -> dict[str, bytes]:
    """What the current version says of the documents, by file name."""
    manifest = json.loads((dataset / "manifest.json").read_text())
    folder = dataset / f"versions/{manifest['version']:06d}"
    names = [*(path.name for path in folder.glob("part-*.parquet")), "rejects.parquet"]
    return {name: (folder / name).read_bytes() for name in sorted(names)}


def register(dataset: Path) -> bytes:
    (last,) = dataset.glob(f"versions/{json.loads((dataset / 'manifest.json').read_text())['version']:06d}/documents.*")
    return last.read_bytes()


def fresh_run(project: Project, updated: dict[str, Any]) -> dict[str, Any]:
    """Run the same config into a new dataset, compare it with the updated one, and return the new one's summary.

    Documents can change without a change in any row; then nothing is committed, and the register stays as it was.
    """
    fresh = project.folder / "fresh"
    outcome = project.run(f"--set=dataset={fresh}")
    assert outcome.code == 0, outcome.err
    assert version_files(project.dataset) == version_files(fresh)
    assert not updated["committed"] or register(project.dataset) == register(fresh)
    for path in sorted(fresh.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    return outcome.summary


class Editor:
    """Edits a folder of documents and a file of records at random, from a seed."""

    def __init__(self, project: Project, seed: int) -> None:
        self._project, self._random = project, random.Random(seed)
        self._documents: dict[str, str] = {}
        self._records: dict[str, str] = {}
        for _ in range(12):
            self._add()
        self._leave()

    def edit(self) -> None:
        for _ in range(self._random.randrange(1, 4)):
            self._random.choice([self._add, self._remove, self._change, self._rename, self._swap])()
        self._leave()

    def _text(self) -> str:
        return "\n\n".join(self._random.sample(PARAGRAPHS, self._random.randrange(0, 6)))

    def _shelf(self) -> dict[str, str]:
        return self._random.choice([self._documents, self._records])

    def _name(self) -> str:
        return f"n{self._random.randrange(1000)}"

    def _add(self) -> None:
        self._shelf()[self._name()] = self._text()

    def _remove(self) -> None:
        shelf = self._shelf()
        if len(shelf) > 1:
            del shelf[self._random.choice(sorted(shelf))]

    def _change(self) -> None:
        shelf = self._shelf()
        if shelf:
            shelf[self._random.choice(sorted(shelf))] += "\n\n" + self._random.choice(PARAGRAPHS)

    def _rename(self) -> None:
        shelf = self._shelf()
        if shelf:
            shelf[self._name()] = shelf.pop(self._random.choice(sorted(shelf)))

    def _swap(self) -> None:
        if len(self._documents) > 1:
            one, other = self._random.sample(sorted(self._documents), 2)
            self._documents[one], self._documents[other] = self._documents[other], self._documents[one]

    def _leave(self) -> None:
        for path in self._project.documents.iterdir():
            path.unlink()
        records = [json.dumps({"name": name, "text": text}) for name, text in sorted(self._records.items())]
        documents = {f"{name}.md": text for name, text in self._documents.items()}
        self._project.write({**documents, "all.jsonl": "\n".join(records)})


@pytest.mark.parametrize("seed", range(3))
def test_any_row_of_edits_ends_where_a_run_from_nothing_ends(project: Project, seed: int) -> None:
    editor = Editor(project, seed)
    assert project.run().code == 0
    for _ in range(3):
        editor.edit()
        outcome = project.run()
        assert outcome.code == 0, outcome.err
        fresh = fresh_run(project, outcome.summary)
        counted = ("documents", "documents_empty", "chunks", "texts", "duplicates")
        assert {name: outcome.summary[name] for name in counted} == {name: fresh[name] for name in counted}


def test_only_what_changed_is_cut_again(project: Project) -> None:
    project.write({f"{n}.md": "\n\n".join(PARAGRAPHS[n : n + 5]) for n in range(9)})
    assert project.run().code == 0
    project.write({"4.md": PARAGRAPHS[30]})
    summary = project.run().summary
    assert (summary["documents"], summary["documents_unchanged"], summary["documents_changed"]) == (9, 8, 1)
    assert summary["texts_to_embed"] == 1


def test_run_without_any_change_gives_the_same_summary_whether_or_not_an_engine_was_started(project: Project) -> None:
    project.write({"a.md": "\n\n".join(PARAGRAPHS[:9]), "empty.md": " ", "b.md": "\n\n".join(PARAGRAPHS[:9])})
    assert project.run().code == 0
    at_once, looked = project.run().summary, project.run("--", "--direct_num_workers=1").summary
    assert at_once["documents_unchanged"] == 3
    del at_once["seconds"], looked["seconds"]
    assert at_once == looked


def test_rejected_document_is_tried_again_although_it_did_not_change(project: Project) -> None:
    project.config["budget"] = {"max_rejected_fraction": 1}
    project.write({"a.md": PARAGRAPHS[0], "b.txt": b"caf\xe9"})
    first = project.run().summary
    assert (first["documents_rejected"], first["documents_unchanged"]) == (1, 0)
    again = project.run().summary
    assert (again["documents_rejected"], again["documents_unchanged"], again["version"]) == (1, 1, 1)


def test_other_settings_cut_every_document_again(project: Project) -> None:
    project.write({f"{n}.md": "\n\n".join(PARAGRAPHS[n : n + 9]) for n in range(4)})
    assert project.run().code == 0
    project.config["chunking"]["max_tokens"] = 64
    summary = project.run().summary
    assert summary["documents_unchanged"] == 0
    fresh_run(project, summary)


def test_moved_folder_changes_the_uris_and_pays_nothing(project: Project) -> None:
    project.write({"a.md": PARAGRAPHS[0]})
    assert project.run().code == 0
    project.documents.rename(project.folder / "elsewhere")
    project.config["documents"]["paths"] = [f"{project.folder}/elsewhere/**/*.*"]
    summary = project.run().summary
    assert (summary["documents_unchanged"], summary["rows_updated"], summary["texts_to_embed"]) == (0, 1, 0)


def test_damaged_part_is_made_anew_although_no_document_changed(project: Project) -> None:
    project.write({f"{n}.md": PARAGRAPHS[n] for n in range(9)})
    assert project.run().code == 0
    before = version_files(project.dataset)
    (part, *_) = project.dataset.glob("versions/000001/part-*")
    part.write_bytes(part.read_bytes()[:-1] + b"x")
    summary = project.run().summary
    assert (summary["documents_unchanged"], summary["texts_to_embed"]) == (0, 9)
    assert version_files(project.dataset) == before


def test_growth_that_doubles_the_buckets_takes_the_old_rows_along(project: Project) -> None:
    project.config["embedding"]["dimensions"] = 1024
    project.write({f"{n}.md": " ".join(f"{word}-{n}" for word in PARAGRAPHS[n].split()) for n in range(30)})
    assert project.run().code == 0
    project.write({f"more {n}.md": " ".join(PARAGRAPHS[n % 40].split() * 12) + str(n) for n in range(160)})
    summary = project.run().summary
    assert summary["documents_unchanged"] == 30
    assert len(list(project.dataset.glob("versions/000002/part-*"))) > 1
    rows = {name: content for name, content in version_files(project.dataset).items() if name.startswith("part")}
    assert rows
