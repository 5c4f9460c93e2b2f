"""The border between a run and the code that reads what can hang or crash."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.packages import make_book, make_pdf, make_word, paragraph
from transforms.core.extraction import extract_text
from transforms.errors import UnreadableDocument
from transforms.extractor_process import ExtractorProcess


@pytest.fixture
def process() -> Iterator[ExtractorProcess]:
    made = ExtractorProcess()
    yield made
    made.close()


def process_id(process: ExtractorProcess) -> int:
    assert process._process is not None
    return process._process.pid


def test_what_comes_back_is_what_would_have_been_read_here(process: ExtractorProcess) -> None:
    for content, name in (
        (make_pdf([["a"], ["b"]], "T"), "a.pdf"),
        (make_word(paragraph("Grüße \U0001f600")), "a.docx"),
        (make_book({"a.xhtml": "<h1>Eins</h1>"}), "a.epub"),
    ):
        assert process.extract(content, name) == extract_text(content, name)


def test_text_needs_no_other_process(process: ExtractorProcess) -> None:
    assert process.extract(b"# Title", "a.md").metadata["title"] == "Title"
    assert process._process is None


@pytest.mark.parametrize(
    ("page", "has_own"),
    [
        pytest.param(b"<ul><li>a" * 500, False, id="a few nested lists"),
        pytest.param(b"<html>" + "<p>ä</p>".encode() * 20_000, False, id="many paragraphs"),
        pytest.param(b"<UL><li>a" * 5_000, True, id="many nested lists"),
        pytest.param(b"<ol>" * 100 + b"<pre>" + b"\n" * 1_000_000, True, id="many lines in lists"),
        pytest.param(("<ul><li>a" * 500).encode("utf-16"), True, id="tags that are not counted"),
        pytest.param(b"<div></h1>" * 30_000, True, id="very many tags"),
    ],
)
def test_a_page_that_may_explode_is_read_in_the_other_process(
    process: ExtractorProcess, page: bytes, has_own: bool
) -> None:
    assert process.extract(page, "a.html").media_type == "text/html"
    assert (process._process is not None) == has_own


def test_a_page_that_explodes_is_refused() -> None:
    small = ExtractorProcess(most_memory_bytes=1_000_000_000)
    with pytest.raises(UnreadableDocument, match=r"^(too_large|crashed): "):
        small.extract(b"<ul><li>a" * 50_000, "a.html")
    small.close()


def test_a_refusal_crosses_the_border_and_the_process_stays(process: ExtractorProcess) -> None:
    process.extract(make_pdf([["a"]]), "a.pdf")
    before = process_id(process)
    with pytest.raises(UnreadableDocument, match=r"^damaged: the PDF cannot be opened"):
        process.extract(b"%PDF-1.7", "a.pdf")
    assert process.extract(make_pdf([["b"]]), "b.pdf").text == "b"
    assert process_id(process) == before


def test_a_name_of_odd_bytes_crosses_the_border(process: ExtractorProcess) -> None:
    assert process.extract(make_pdf([["a"]]), os.fsdecode(b"caf\xe9\n.pdf")).text == "a"


@pytest.mark.parametrize(
    ("sent", "message"),
    [
        pytest.param(signal.SIGSEGV, "crashed: .*ended on the document \\(signal 11\\)", id="crash"),
        pytest.param(signal.SIGALRM, "timed_out: reading the document took longer than 120 seconds", id="alarm"),
        pytest.param(signal.SIGKILL, "crashed: .*signal 9", id="killed"),
    ],
)
def test_a_process_that_dies_costs_one_document(process: ExtractorProcess, sent: signal.Signals, message: str) -> None:
    process.extract(make_pdf([["a"]]), "a.pdf")
    dead = process_id(process)
    os.kill(dead, sent)
    os.waitid(os.P_PID, dead, os.WEXITED | os.WNOWAIT)
    with pytest.raises(UnreadableDocument, match=f"^{message}"):
        process.extract(make_pdf([["b"]]), "b.pdf")
    assert process.extract(make_pdf([["c"]]), "c.pdf").text == "c"
    assert process_id(process) != dead


def slow_pdf() -> bytes:
    """A page that draws itself over and over: a form of forms, twenty deep, each twenty times."""
    depth, times = 20, 20
    forms = []
    for level in range(depth):
        stream = f"/F{level + 1} Do " * times if level < depth - 1 else "BT /T 12 Tf (x) Tj ET"
        forms.append(
            f"<</Type/XObject/Subtype/Form/BBox[0 0 9 9]/Length {len(stream)}/Resources<</XObject<</F{level + 1} "
            f"{6 + level} 0 R>>/Font<</T 3 0 R>>>>>>stream\n{stream}\nendstream"
        )
    objects = [
        "<</Type/Catalog/Pages 2 0 R>>",
        "<</Type/Pages/Kids[4 0 R]/Count 1>>",
        "<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>",
        "<</Type/Page/Parent 2 0 R/MediaBox[0 0 9 9]/Contents 5 0 R/Resources<</XObject<</F0 6 0 R>>>>>>",
        "<</Length 6>>stream\n/F0 Do\nendstream",
        *forms,
    ]
    body = "%PDF-1.4\n" + "".join(f"{n} 0 obj\n{content}\nendobj\n" for n, content in enumerate(objects, 1))
    return f"{body}trailer<</Size {len(objects) + 1}/Root 1 0 R>>".encode()


def test_a_document_that_takes_too_long_is_refused_and_the_next_is_read() -> None:
    process = ExtractorProcess(seconds_per_document=1)
    try:
        with pytest.raises(UnreadableDocument, match=r"^timed_out: reading the document took longer than 1 seconds"):
            process.extract(slow_pdf(), "a.pdf")
        assert process.extract(make_pdf([["c"]]), "c.pdf").text == "c"
    finally:
        process.close()


def test_a_document_that_takes_too_much_memory_is_refused() -> None:
    process = ExtractorProcess(most_memory_bytes=300_000_000)
    try:
        with pytest.raises(UnreadableDocument, match=r"^too_large: reading the document takes more than 300,000,000"):
            process.extract(b"Subject: x\n\n" + b"word " * 20_000_000, "a.eml")
        assert process.extract(make_pdf([["c"]]), "c.pdf").text == "c"
    finally:
        process.close()


def test_closing_ends_the_other_process(process: ExtractorProcess) -> None:
    process.extract(make_pdf([["a"]]), "a.pdf")
    other = process_id(process)
    process.close()
    assert not Path(f"/proc/{other}").exists()
    process.close()
