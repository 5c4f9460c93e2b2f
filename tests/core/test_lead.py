import pytest

from transforms.core.lead import Leads, LeadSettings
from transforms.core.tokens import load_tokenizer

TOKENIZER = load_tokenizer("cl100k_base")
WITH_CONTEXT = LeadSettings("passage: ", "title_and_headings")


def before(title: str, headings: list[str], settings: LeadSettings = WITH_CONTEXT, limit: int = 100) -> str:
    return Leads(settings, TOKENIZER, limit).before(title, headings)


def test_title_and_headings_stand_on_a_line_of_their_own_after_the_prefix() -> None:
    assert before("Handbook", ["Bread", "Why it goes\n stale"]) == "passage: Handbook > Bread > Why it goes stale\n\n"


def test_a_first_heading_that_is_the_title_is_said_once() -> None:
    assert before("Bread", ["Bread", "Stale"]) == "passage: Bread > Stale\n\n"
    assert before("", ["Bread"]) == "passage: Bread\n\n"
    assert before("Bread", []) == "passage: Bread\n\n"
    assert before("", []) == "passage: "


def test_without_a_context_only_the_prefix_is_sent() -> None:
    assert before("Handbook", ["Bread"], LeadSettings("passage: ")) == "passage: "


@pytest.mark.parametrize("title", ["word " * 100, "\U0001f468\u200d\U0001f469\u200d\U0001f467" * 50, "x" * 400])
def test_a_long_context_is_cut_to_a_quarter_of_the_limit_between_characters(title: str) -> None:
    lead = before(title, [], LeadSettings("", "title_and_headings"), limit=100)
    assert 10 < TOKENIZER.count(lead) <= 25
    assert lead.endswith("\n\n")
    assert lead.strip() in title
    assert not lead.strip().endswith("\u200d")


def test_a_context_that_has_no_room_is_left_out() -> None:
    assert before("Handbook", [], limit=3) == "passage: "


def test_the_context_of_a_row_takes_what_its_chunk_leaves() -> None:
    leads = Leads(LeadSettings("", "title_and_headings"), TOKENIZER, 20)
    metadata = '{"headings": ["Bread", 7, "Why it goes stale"], "title": "Handbook"}'
    assert leads.of_row(metadata, "one two three") == "Handbook > Bread\n\n"
    assert leads.of_row(metadata, "word " * 16) == "Handbook\n\n"
    assert leads.of_row(metadata, "word " * 20) == ""
    assert leads.of_row('{"headings": "no list", "title": 7}', "one") == ""
    assert Leads(LeadSettings("p: "), TOKENIZER, 20).of_row("no JSON is read", "one") == "p: "


def test_a_context_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^context must be one of none, title_and_headings, got 'title'$"):
        LeadSettings("", "title")
