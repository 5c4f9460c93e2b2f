"""Every format and every hostile document through the command line: a correct result or one reject, and the run goes on."""

import bz2
import gzip
import io
import itertools
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from tests.support.packages import (
    ENCRYPTED,
    make_book,
    make_pdf,
    make_slides,
    make_word,
    make_workbook,
    paragraph,
    shape,
)
from tests.support.projects import Project, prose
from tests.support.rehearsal import Rehearsal, rehearsal


@pytest.fixture(scope="module")
def server() -> Iterator[Rehearsal]:
    with rehearsal("--dimensions", "16", "--latency-ms", "0", "--latency-jitter-ms", "0") as running:
        yield running


@pytest.fixture
def project(tmp_path: Path, capsys: pytest.CaptureFixture[str], server: Rehearsal) -> Project:
    made = Project(tmp_path, capsys, server.base_url)
    made.config["embedding"] |= {"api_key_env": "", "max_inputs_per_request": 128}
    made.config["budget"] = {"max_rejected_fraction": 1}
    made.config["chunking"] = {"max_tokens": 256, "overlap_tokens": 0}
    return made


def rejects_of(project: Project) -> dict[str, tuple[str, str]]:
    table = pq.ParquetFile(project.dataset / "versions/000001/rejects.parquet").read()
    return {row["doc_id"]: (row["stage"], row["reason"]) for row in table.to_pylist()}


def texts_of(project: Project) -> dict[str, str]:
    rows = sorted(project.rows().to_pylist(), key=lambda row: (row["doc_id"], row["chunk_index"]))
    texts: dict[str, str] = {}
    for row in rows:
        texts[row["doc_id"]] = texts.get(row["doc_id"], "") + row["chunk"]
    return texts


def parquet(columns: dict[str, object]) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.table(columns), sink)
    return sink.getvalue()


def json_lines(*texts: str) -> bytes:
    return b"".join(json.dumps({"id": f"r{n}", "text": text}).encode() + b"\n" for n, text in enumerate(texts))


def test_every_format_is_read(project: Project) -> None:
    project.config["documents"]["records"] = {"id_column": "id", "metadata_columns": ["year"]}
    project.write(
        {
            "a.md": "# Title\n\nmarkdown",
            "a.rst": "Title\n=====\n\nrst",
            "a.html": "<html lang=de><title>T</title><body><nav>no</nav><h1>Top</h1><p>page <a href=/u>link</a></body></html>",
            "a.py": "print('source')",
            "a.pdf": make_pdf([["first page"], ["second page"]]),
            "a.docx": make_word(paragraph("word")),
            "a.pptx": make_slides([shape("title", "slide")]),
            "a.xlsx": make_workbook({"Sheet": "<row><c><v>7</v></c></row>"}),
            "a.epub": make_book({"c.xhtml": "<h2>Chapter</h2><p>book</p>"}),
            "a.eml": "Subject: s\n\nmail",
            "a.jsonl": json_lines("one", "two"),
            "b.jsonl.gz": gzip.compress(json_lines("packed")),
            "b.jsonl.zst": zstandard.ZstdCompressor().compress(json_lines("tight")),
            "b.csv.bz2": bz2.compress(b"id,text\n1,squeezed\n"),
            "a.csv": 'id,text,year\n1,"row\none",2024\n',
            "a.tsv": "id\ttext\tyear\n7\trow\t2023\n",
            "a.parquet": parquet({"id": [5], "text": ["column"], "year": [1999]}),
            "pdf.txt": make_pdf([["a pdf by another name"]]),
        }
    )
    outcome = project.run()
    assert rejects_of(project) == {"b.csv.bz2": ("extract", "missing_column")}
    assert texts_of(project) == {
        "a.md": "# Title\n\nmarkdown",
        "a.rst": "Title\n=====\n\nrst",
        "a.html": "Top\n\npage link",
        "a.py": "print('source')",
        "a.pdf": "first page\n\f\nsecond page",
        "a.docx": "word",
        "a.pptx": "# slide",
        "a.xlsx": "# Sheet\n\n7",
        "a.epub": "Chapter\n\nbook",
        "a.eml": "mail",
        "a.jsonl#r0": "one",
        "a.jsonl#r1": "two",
        "b.jsonl.gz#r0": "packed",
        "b.jsonl.zst#r0": "tight",
        "a.csv#1": "row\none",
        "a.tsv#7": "row",
        "a.parquet#5": "column",
        "pdf.txt": "a pdf by another name",
    }
    assert (outcome.summary["documents"], outcome.summary["documents_rejected"]) == (19, 1)
    metadata = {row["doc_id"]: json.loads(row["metadata"]) for row in project.rows().to_pylist()}
    assert metadata["a.html"] == {"headings": ["Top"], "language": "de", "media_type": "text/html", "title": "T"}
    assert metadata["a.epub"]["headings"] == ["Chapter"]
    assert metadata["a.pdf"] == {"media_type": "application/pdf", "page": 1, "pages": 2}
    assert metadata["a.parquet#5"] == {"media_type": "text/plain", "year": 1999}
    assert metadata["a.csv#1"] == {"media_type": "text/plain", "year": "2024"}


def test_a_changed_column_of_metadata_pays_nothing(project: Project) -> None:
    project.config["documents"]["records"] = {"id_column": "id", "metadata_columns": ["year"]}
    project.write({"a.csv": "id,text,year\n1,row,2024\n"})
    project.run()
    project.write({"a.csv": "id,text,year\n1,row,2025\n"})
    summary = project.run().summary
    assert (summary["version"], summary["rows_updated"], summary["requests"]) == (2, 1, 0)
    assert [json.loads(row["metadata"])["year"] for row in project.rows().to_pylist()] == ["2025"]


def test_one_bad_record_in_a_file_is_one_reject_of_that_record(project: Project) -> None:
    project.write({"a.jsonl": json_lines("one", "two") + b'{"text": \n' + json_lines("four")})
    outcome = project.run()
    assert rejects_of(project) == {"a.jsonl#3": ("extract", "invalid_json")}
    assert sorted(texts_of(project)) == ["a.jsonl#1", "a.jsonl#2", "a.jsonl#4"]
    assert (outcome.summary["documents"], outcome.summary["documents_rejected"]) == (4, 1)


HOSTILE_RIGHT = {
    "nul.txt": b"one\x00two",
    "rtl.txt": "שלום עולם \u202eevil\u202c \u200bzero\u200b".encode(),
    "crlf.txt": b"one\r\ntwo\rthree\n\r\nfour",
    "mark.txt": b"\xef\xbb\xbftext",
    "deep.html": b"<div>" * 100_000 + b"deep",
    "few.txt": b"plain words " * 500 + b"\xff.",
}
HOSTILE_REFUSED = {
    "surrogate.txt": (b"\xed\xa0\x80", "undecodable"),
    "broken.txt": (b"\xc3\x28" * 20, "undecodable"),
    "noise.bin": (bytes(range(256)) * 20, "undecodable"),
    "utf16.txt": ("abcde " * 20).encode("utf-16-le"),
    "locked.pdf": (make_pdf([["x"]], trailer=ENCRYPTED), "encrypted"),
    "broken.pdf": (make_pdf([["x"]])[:300], "damaged"),
    "bomb.docx": (make_word(" " * 40_000_000), "zip_bomb"),
    "cut.docx": (make_word(paragraph("x"))[:-40], "damaged"),
    "cut.jsonl.gz": (gzip.compress(json_lines("text"))[:-9], "damaged"),
    "picture.md": (b"\x89PNG\r\n\x1a\n", "unsupported_format"),
    "no.parquet": (b"not a table", "damaged"),
    "other.csv": (b"a,b\n1,2\n", "missing_column"),
}


def test_hostile_documents_cost_one_reject_each_and_the_run_goes_on(project: Project) -> None:
    refused = {
        name: value if isinstance(value, tuple) else (value, "binary") for name, value in HOSTILE_REFUSED.items()
    }
    project.write({**HOSTILE_RIGHT, **{name: content for name, (content, _) in refused.items()}})
    project.write({"empty.txt": b"", "blank.md": b" \r\n\t\n", "empty.jsonl": b"", "good.txt": prose(1)})
    (project.documents / "folder.md").mkdir()
    (project.documents / "loop").symlink_to(project.documents)
    (project.documents / "self.md").symlink_to(project.documents / "self.md")
    (project.documents / os.fsdecode(b"caf\xe9.txt")).write_bytes(b"odd name")
    (project.documents / "two\nlines.txt").write_bytes(b"line end in its name")
    outcome = project.run()
    assert outcome.code == 0, outcome.err
    assert rejects_of(project) == {name: ("extract", reason) for name, (_, reason) in refused.items()}
    texts = texts_of(project)
    assert texts["nul.txt"] == "one\x00two"
    assert texts["rtl.txt"] == HOSTILE_RIGHT["rtl.txt"].decode()
    assert texts["crlf.txt"] == "one\r\ntwo\rthree\n\r\nfour"
    assert texts["mark.txt"] == "text"
    assert texts["deep.html"] == "deep"
    assert texts["good.txt"] == prose(1)
    assert texts["few.txt"].endswith("\ufffd.")
    assert texts["caf%E9.txt"] == "odd name"
    assert texts["two%0Alines.txt"] == "line end in its name"
    assert set(texts) == {*HOSTILE_RIGHT, "good.txt", "caf%E9.txt", "two%0Alines.txt", "cut.jsonl.gz#1"}
    assert outcome.summary["documents"] == len(texts) + len(refused) + 3


def test_a_long_text_with_every_line_end_is_cut_at_exact_offsets(project: Project) -> None:
    hostile = [
        "\r\n",
        "\r",
        "\n",
        "\u2028",
        "\x85",
        "\n\r\n\r\r",
        "\x0b",
        "\u202eשלום\u202c",
        "\u200b",
        "e\u0301",
        "👩\u200d👩\u200d👧",
        "\x00",
    ]
    text = "".join(f"Sentence {n} says {n * n}. {hostile[n % len(hostile)]}" for n in range(40_000))
    text = text.replace("\x00", "", text.count("\x00") - 3)  # More of them are no text.
    project.write({"long.txt": text, "marked.txt": b"\xef\xbb\xbf" + text.encode()})
    outcome = project.run()
    assert outcome.code == 0, outcome.err
    rows = project.rows().to_pylist()
    assert {row["doc_id"] for row in rows} == {"long.txt", "marked.txt"}
    for row in rows:
        assert row["chunk"] == text[row["start_char"] : row["end_char"]]
    for doc_id in ("long.txt", "marked.txt"):
        spans = sorted((row["start_char"], row["end_char"]) for row in rows if row["doc_id"] == doc_id)
        assert len(spans) > 1_000
        covered = 0
        for start, end in spans:
            assert not text[covered:start].strip()
            covered = max(covered, end)
        assert not text[covered:].strip()


def while_opened(monkeypatch: pytest.MonkeyPatch, name: str, openings: int, happens: Callable[[Path], None]) -> None:
    """Let something happen to a file just before the program opens it for the n-th time, as another program would."""
    really_open, seen = Path.open, itertools.count(1)

    def interfere(path: Path, *arguments: Any, **options: Any) -> Any:
        if path.name == name and next(seen) == openings:
            happens(path)
        return really_open(path, *arguments, **options)

    monkeypatch.setattr(Path, "open", interfere)


def test_a_document_that_vanishes_after_it_was_listed_is_one_reject(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.write({"gone.txt": "gone", "gone.jsonl": json_lines("gone"), "here.txt": "here"})
    while_opened(monkeypatch, "gone.txt", 1, Path.unlink)
    while_opened(monkeypatch, "gone.jsonl", 2, Path.unlink)
    outcome = project.run()
    assert outcome.code == 0, outcome.err
    assert rejects_of(project) == {"gone.txt": ("read", "vanished"), "gone.jsonl": ("extract", "vanished")}
    assert texts_of(project) == {"here.txt": "here"}


def test_a_file_of_records_that_changes_after_it_was_hashed_is_read_again_by_the_next_run(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, after = json_lines("before"), json_lines("afterwards")
    project.write({"a.jsonl": before, "b.jsonl": json_lines("b")})
    with monkeypatch.context() as patched:
        while_opened(patched, "a.jsonl", 2, lambda path: project.write({path.name: after}))
        assert project.run().code == 0
    assert texts_of(project) == {"a.jsonl#1": "afterwards", "b.jsonl#1": "b"}
    project.write({"a.jsonl": before})
    outcome = project.run()
    assert outcome.summary["documents_unchanged"] == 1
    assert texts_of(project) == {"a.jsonl#1": "before", "b.jsonl#1": "b"}


CRASHING_READER = """
import ctypes

class PdfiumError(Exception):
    pass

def PdfDocument(content):
    ctypes.string_at(0)
"""


def test_a_reader_that_crashes_natively_costs_one_reject(
    project: Project, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "libraries").mkdir()
    (tmp_path / "libraries/pypdfium2.py").write_text(CRASHING_READER)
    monkeypatch.syspath_prepend(tmp_path / "libraries")
    project.write({"a.pdf": make_pdf([["x"]]), "b.docx": make_word(paragraph("word")), "c.pdf": make_pdf([["y"]])})
    outcome = project.run()
    assert outcome.code == 0, outcome.err
    assert rejects_of(project) == {"a.pdf": ("extract", "crashed"), "c.pdf": ("extract", "crashed")}
    assert texts_of(project) == {"b.docx": "word"}
