import pytest

from transforms.core import pages
from transforms.core.pages import PageNumbers, join_pages, page_spans
from transforms.errors import UnreadableDocument


def test_pages_are_joined_by_form_feeds_which_they_themselves_lose() -> None:
    text, metadata = join_pages(["one\r\nline\x00", "", "two\fhalves"])
    assert (text, metadata) == ("one\nline\n\f\n\n\f\ntwo\nhalves", {"pages": 3})
    assert [text[begin:end].strip() for begin, end in page_spans(text)] == ["one\nline", "", "two\nhalves"]
    numbers = PageNumbers(text, "application/pdf")
    assert [numbers.page_of(text.index(word)) for word in ("one", "two", "halves")] == [1, 3, 3]


def test_a_text_without_form_feeds_is_one_page() -> None:
    assert list(page_spans("text")) == [(0, 4)]
    assert list(page_spans("")) == [(0, 0)]
    assert join_pages([]) == ("", {"pages": 0})


@pytest.mark.parametrize(
    ("text", "media_type", "page"),
    [
        pytest.param("one", "application/pdf", 1, id="pdf"),
        pytest.param("a\fone", "text/plain", 2, id="printed text"),
        pytest.param("one", "text/plain", None, id="text"),
        pytest.param("a\fone", "text/x-c", None, id="source code"),
        pytest.param(
            "one", "application/vnd.openxmlformats-officedocument.presentationml.presentation", 1, id="slides"
        ),
        pytest.param("one", "application/vnd.openxmlformats-officedocument.wordprocessingml.document", None, id="word"),
    ],
)
def test_only_documents_with_pages_have_page_numbers(text: str, media_type: str, page: int | None) -> None:
    assert PageNumbers(text, media_type).page_of(text.index("one")) == page


def test_more_text_than_any_document_has_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "MOST_TEXT_CHARS", 10)
    with pytest.raises(UnreadableDocument, match=r"^too_large: its text has more than 10 characters; split it$"):
        join_pages(["12345", "67890"])
