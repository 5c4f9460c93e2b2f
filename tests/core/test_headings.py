from transforms.core.headings import Heading, Outline, find_headings


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
