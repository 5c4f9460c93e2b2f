import pytest

from transforms.core.headings import Heading, HeadingPaths, Outline, find_headings, find_tables


def test_markdown_has_headings_of_both_kinds_outside_of_code() -> None:
    text = "# One #\r\n\ntext\n```\n# code\n```\nTwo\n---\n#no heading\n###### Six\n~~~\n# open"
    outline = find_headings(text, "text/markdown")
    assert [(heading.level, heading.title) for heading in outline.headings] == [(1, "One"), (2, "Two"), (6, "Six")]
    assert [text[heading.start : heading.end] for heading in outline.headings] == ["# One #", "Two\n---", "###### Six"]
    assert [text[a:b] for a, b in zip(outline.code_starts, outline.code_ends, strict=True)] == [
        "```\n# code\n```",
        "~~~\n# open",
    ]


def test_a_position_is_in_code_between_the_fences_only() -> None:
    outline = find_headings("a\n```\nb\n```\nc", "text/markdown")
    assert [outline.is_in_code(position) for position in (1, 2, 6, 10, 11, 12)] == [
        False,
        False,
        True,
        True,
        False,
        False,
    ]


def test_restructured_text_has_levels_in_the_order_of_its_marks() -> None:
    text = "=====\n Top\n=====\n\nOne\n---\n\nsub\n~~~\n\nTwo\n---\n\ntoo long a title\n---\n\n indented\n---------\n"
    outline = find_headings(text, "text/x-rst")
    assert [(heading.level, heading.title) for heading in outline.headings] == [
        (1, "Top"),
        (2, "One"),
        (3, "sub"),
        (2, "Two"),
    ]
    assert outline.headings[0] == Heading(0, 16, 1, "Top")


def test_other_texts_have_no_headings() -> None:
    assert find_headings("# One\n\nTwo\n===\n", "text/plain") == Outline()


def test_a_place_stands_under_the_nearest_heading_and_those_above_it() -> None:
    text = "before\n# One\n### Deep\n## Two\n\n###\nlast\n# End\n"
    paths = HeadingPaths(find_headings(text, "text/markdown").headings)
    found = [
        paths.titles(paths.nearest(text.index(word))) for word in ("before", "# One", "Deep", "Two", "last", "End")
    ]
    assert found == [[], ["One"], ["One", "Deep"], ["One", "Two"], ["One", "Two"], ["End"]]
    assert HeadingPaths(()).titles(HeadingPaths(()).nearest(3)) == []


def test_a_fence_ends_with_its_line() -> None:
    text = "```\na\n```  \nb"
    assert list(find_headings(text, "text/markdown").code_blocks()) == [(0, len("```\na\n```  "))]


@pytest.mark.parametrize(
    ("text", "tables"),
    [
        pytest.param("a\n\n| b | c |\n|---|:-:|\n| 1 | 2 |\n\nd", ["| b | c |\n|---|:-:|\n| 1 | 2 |"], id="with bars"),
        pytest.param("b | c\r\n--|--\r\n1 | 2\r\n\r\nd", ["b | c\r\n--|--\r\n1 | 2\r"], id="without outer bars"),
        pytest.param("|a|\n|-|", ["|a|\n|-|"], id="no rows"),
        pytest.param("|a|\n|-|\n1\n\n|b|\n|-|\n2", ["|a|\n|-|\n1", "|b|\n|-|\n2"], id="two"),
        pytest.param("no bar\n---|---\nx", [], id="no head"),
        pytest.param("a | b\n---\nx", [], id="a heading"),
        pytest.param("|---|\n| a |", [], id="rule first"),
        pytest.param("```\n| a |\n|---|\n```", [], id="in code"),
        pytest.param("|a|\n|-|\n|-|\n|-|", ["|a|\n|-|\n|-|\n|-|"], id="rules are rows"),
    ],
)
def test_tables_have_a_head_a_rule_and_rows_up_to_an_empty_line(text: str, tables: list[str]) -> None:
    outline = find_headings(text, "text/markdown")
    assert [text[start:end] for start, end in find_tables(text, outline)] == tables
