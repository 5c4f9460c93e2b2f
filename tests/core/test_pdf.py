import sys

import pytest

from tests.support.packages import ENCRYPTED, make_pdf
from transforms.core.extraction import Extracted, extract_text
from transforms.core.pages import PageNumbers
from transforms.errors import UnreadableDocument


def reject_of(content: bytes) -> str:
    with pytest.raises(UnreadableDocument) as caught:
        extract_text(content, "a.pdf")
    return str(caught.value)


@pytest.mark.parametrize("source_uri", ["a.pdf", "notes.txt", "page.html", "none"])
def test_a_pdf_is_read_page_by_page_whatever_its_name_says(source_uri: str) -> None:
    content = make_pdf([["Hello world", "second line"], [], ["third page"]], "The Title")
    extracted = extract_text(content, source_uri)
    assert extracted == Extracted(
        "Hello world\nsecond line\n\f\n\n\f\nthird page",
        "application/pdf",
        {"media_type": "application/pdf", "pages": 3, "title": "The Title"},
    )
    numbers = PageNumbers(extracted.text, extracted.media_type)
    assert [numbers.page_of(position) for position in (0, 25, 29)] == [1, 2, 3]


def test_a_word_that_the_end_of_a_line_hyphenates_is_joined() -> None:
    assert extract_text(make_pdf([["an exam-", "ple of text"]]), "a.pdf").text == "an example of text"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(
            make_pdf([["x"]], trailer=ENCRYPTED),
            "encrypted: the PDF opens with a password only; save it without one",
            id="encrypted",
        ),
        pytest.param(
            b"%PDF-1.7\n",
            "damaged: the PDF cannot be opened (Failed to load document (PDFium: Data format error).)",
            id="nothing but a beginning",
        ),
        pytest.param(
            make_pdf([["x"]])[:300],
            "damaged: the PDF cannot be opened (Failed to load document (PDFium: Data format error).)",
            id="cut",
        ),
    ],
)
def test_a_pdf_that_cannot_be_opened_is_refused(content: bytes, message: str) -> None:
    assert reject_of(content) == message


def test_without_the_extra_the_command_that_installs_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pypdfium2", None)
    assert reject_of(make_pdf([["x"]])) == (
        "extra_missing: PDF is read with pypdfium2, which is not installed here; pip install 'embedbeam[pdf]'"
    )
