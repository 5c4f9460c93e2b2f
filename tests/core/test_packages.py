"""Office documents, books and mail: what is read of them, and what is refused."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.packages import (
    TYPES,
    make_book,
    make_slides,
    make_word,
    make_workbook,
    make_zip,
    paragraph,
    relations,
    shape,
)
from transforms.core import archives, pages
from transforms.core.extraction import Extracted, extract_text
from transforms.core.pages import PageNumbers
from transforms.errors import UnreadableDocument

REASONS = ("unsupported_format", "undecodable", "binary", "encrypted", "damaged", "too_large", "zip_bomb")
OOXML = "application/vnd.openxmlformats-officedocument"


def reject_of(content: bytes, source_uri: str = "a.docx") -> str:
    with pytest.raises(UnreadableDocument) as caught:
        extract_text(content, source_uri)
    return str(caught.value)


def outcome_of(content: bytes, source_uri: str) -> str:
    """The reason of the reject, "" when the document is read."""
    try:
        extract_text(content, source_uri).text.encode()
    except UnreadableDocument as error:
        return str(error).partition(": ")[0]
    return ""


def text_of(content: bytes) -> str:
    return extract_text(content, "document").text


def cell(*paragraphs: str) -> str:
    return f"<w:tc>{''.join(paragraphs)}</w:tc>"


def test_a_word_document_is_read_with_its_headings_tables_and_notes_whatever_its_name_says() -> None:
    table = f"<w:tbl><w:tr>{cell(paragraph('a'))}{cell(paragraph('b'), paragraph('b2'))}</w:tr>"
    inner = f"<w:tbl><w:tr>{cell(paragraph('i'))}{cell(paragraph('j'))}</w:tr></w:tbl>"
    body = (
        paragraph("The Title", "Titel")
        + paragraph("Section", "berschrift2")
        + "<w:p><w:r><w:t>one</w:t><w:tab/><w:t>two</w:t><w:br/><w:t> three</w:t></w:r></w:p>"
        + table
        + f"<w:tr>{cell(paragraph('c'), inner)}{cell(paragraph('d'))}</w:tr></w:tbl>"
        + paragraph("")
        + paragraph("end &amp; out")
    )
    notes = '<w:footnotes xmlns:w="w">' + paragraph("a note") + "</w:footnotes>"
    core = "<c><title>Of the properties</title><language>de-AT</language></c>"
    assert extract_text(make_word(body, footnotes=notes, core=core), "a.txt") == Extracted(
        "# The Title\n\n## Section\n\none\ttwo\n three\n\na\tb b2\nc i j\td\n\nend & out\n\na note",
        f"{OOXML}.wordprocessingml.document",
        {
            "language": "de-AT",
            "media_type": f"{OOXML}.wordprocessingml.document",
            "title": "Of the properties",
        },
    )


def test_of_a_word_document_deleted_text_field_codes_and_second_copies_are_left_out() -> None:
    body = (
        "<w:p><w:del><w:r><w:delText>gone</w:delText></w:r></w:del><w:ins><w:r><w:t>new</w:t></w:r></w:ins>"
        "<w:r><w:instrText>PAGE</w:instrText></w:r><w:hyperlink><w:r><w:t> link</w:t></w:r></w:hyperlink></w:p>"
        "<w:p><AlternateContent><Choice><w:txbxContent>"
        + paragraph("box")
        + "</w:txbxContent></Choice><Fallback>"
        + paragraph("box")
        + "</Fallback></AlternateContent></w:p>"
    )
    assert text_of(make_word(body)) == "new link\n\nbox"


def test_slides_are_read_in_their_order_with_titles_and_notes_and_say_where_each_begins() -> None:
    table = "<a:tbl><a:tr><a:tc><a:p><a:r><a:t>x</a:t></a:r></a:p></a:tc><a:tc><a:p/></a:tc></a:tr></a:tbl>"
    first = shape("title", "First") + shape("body", "one", "two") + shape("sldNum", "1")
    content = make_slides([first, shape("ctrTitle", "Second") + table], notes=shape("body", "say this"))
    extracted = extract_text(content, "a.pptx")
    assert extracted.text == "# First\n\none\n\ntwo\n\nsay this\n\f\n# Second\n\nx\t"
    assert extracted.metadata == {
        "media_type": f"{OOXML}.presentationml.presentation",
        "pages": 2,
        "title": "First",
    }
    assert extracted.text[30:].startswith("# Second")


def test_each_sheet_of_a_workbook_is_a_page_an_empty_one_too() -> None:
    cell = '<row><c r="A1"><v>1</v></c></row>'
    content = make_workbook({"One": cell, "Empty": "<row/>", "Three": cell.replace("1</v>", "3</v>")})
    extracted = extract_text(content, "a.xlsx")
    assert extracted.text == "# One\n\n1\n\f\n\n\f\n# Three\n\n3"
    assert PageNumbers(extracted.text, extracted.media_type).page_of(extracted.text.index("# Three")) == 3


def test_a_workbook_gives_its_sheets_with_dates_as_dates() -> None:
    rows = (
        '<row><c r="A1" t="s"><v>0</v></c><c r="C1" t="inlineStr"><is><t>in</t></is></c></row>'
        '<row><c r="A2" s="1"><v>45418</v></c><c r="B2" s="2"><v>45418.5</v></c><c r="C2" s="3"><v>7</v></c></row>'
        '<row><c r="A3" t="b"><v>1</v></c><c r="B3"><f>1/3</f><v>0.333</v></c><c r="C3" t="e"><v>#DIV/0!</v></c></row>'
        '<row><c r="A4" t="s"><v>9</v></c></row>'
        '<row><c r="XFD5"><v>5</v></c></row>'
    )
    styles = (
        '<numFmts><numFmt numFmtId="164" formatCode="yyyy\\-mm\\-dd hh:mm"/>'
        '<numFmt numFmtId="165" formatCode="0.0 &quot;days&quot;"/>'
        '</numFmts><cellStyleXfs><xf numFmtId="14"/></cellStyleXfs><cellXfs><xf numFmtId="0"/><xf numFmtId="14"/>'
        '<xf numFmtId="164"/><xf numFmtId="165"/></cellXfs>'
    )
    strings = "<si><r><t>sha</t></r><r><t>red</t></r><rPh><t>no</t></rPh></si>"
    content = make_workbook({"One  sheet": rows, "Empty": "<row/>"}, strings, styles)
    extracted = extract_text(content, "a.csv")
    assert extracted.text.split("\n") == [
        "# One sheet",
        "",
        "shared\t\tin",
        "2024-05-06\t2024-05-06 12:00:00\t7",
        "TRUE\t0.333\t#DIV/0!",
        "\t" * 50 + "5",
    ]
    assert extracted.metadata == {"media_type": f"{OOXML}.spreadsheetml.sheet", "sheets": 2}


def test_a_workbook_that_counts_from_1904_is_dated_right() -> None:
    row, styles = '<row><c s="0"><v>1</v></c></row>', '<cellXfs><xf numFmtId="14"/></cellXfs>'
    assert text_of(make_workbook({"S": row}, styles=styles)).endswith("1899-12-31")
    assert text_of(make_workbook({"S": row}, styles=styles, properties='<workbookPr date1904="1"/>')).endswith(
        "1904-01-02"
    )


def test_a_book_is_read_in_the_order_of_its_spine() -> None:
    chapters = {"z%20one.xhtml": "<html><body><h1>One</h1><p>first</p></body></html>", "a.xhtml": "<p>second</p>"}
    extracted = extract_text(make_book(chapters), "a.epub")
    assert extracted.text == "One\n\nfirst\n\nsecond"
    assert extracted.metadata == {"language": "en", "media_type": "application/epub+zip", "title": "A Book"}


def test_a_book_tells_where_its_headings_are() -> None:
    chapters = {"a.xhtml": "<ul><li><h1>One</h1></ul>first", "b.xhtml": "<p> </p>", "c.xhtml": "second<h2>Two</h2>"}
    extracted = extract_text(make_book(chapters), "a.epub")
    assert [(extracted.text[start:end], level) for start, end, level in extracted.headings] == [("One", 1), ("Two", 2)]


def test_a_book_whose_chapters_are_locked_is_refused_and_one_with_locked_fonts_is_not() -> None:
    chapters = {"a.xhtml": "<p>text</p>"}
    locked = '<encryption><CipherReference URI="OPS/{}"/></encryption>'
    assert reject_of(make_book(chapters, encryption=locked.format("a.xhtml"))).startswith(
        "encrypted: the book's chapters"
    )
    assert text_of(make_book(chapters, encryption=locked.format("font.otf"))) == "text"


MAIL = b"""From: =?utf-8?q?J=C3=BCrgen?= <j@x.org>\r
To: b@x.org\r
Subject: =?iso-8859-1?q?caf=E9?= news\r
Date: Mon, 1 Jan 2024 00:00:00 +0000\r
MIME-Version: 1.0\r
Content-Type: multipart/mixed; boundary=B\r
\r
--B\r
Content-Type: multipart/alternative; boundary=C\r
\r
--C\r
Content-Type: text/plain; charset=iso-8859-1\r
Content-Transfer-Encoding: quoted-printable\r
\r
plain caf=E9\r
line\r
--C\r
Content-Type: text/html\r
\r
<p>page</p>\r
--C--\r
--B\r
Content-Type: text/plain\r
Content-Disposition: attachment; filename=a.txt\r
\r
attached\r
--B--\r
"""


def test_a_mail_gives_its_own_words_and_counts_what_is_attached() -> None:
    extracted = extract_text(MAIL, "a.eml")
    assert extracted.text == "plain café\nline"
    assert extracted.metadata == {
        "attachments": 1,
        "date": "Mon, 1 Jan 2024 00:00:00 +0000",
        "from": "Jürgen <j@x.org>",
        "media_type": "message/rfc822",
        "title": "café news",
        "to": "b@x.org",
    }


def test_a_mail_that_is_only_a_page_is_read_as_one() -> None:
    assert extract_text(b"Content-Type: text/html\n\n<p>a &amp; b</p>", "a.eml").text == "a & b"


def test_a_mail_nested_without_end_ends() -> None:
    nested = b"".join(b'Content-Type: multipart/mixed; boundary="%d"\n\n--%d\n' % (n, n) for n in range(5_000))
    assert outcome_of(nested, "a.eml") in ("", "damaged")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(b"PK\x03\x04", "damaged: the archive cannot be opened (File is not a zip file)", id="cut"),
        pytest.param(
            make_zip({"a.txt": "text"}),
            "unsupported_format: the document is a ZIP archive and no DOCX, PPTX, XLSX or EPUB; unpack it, or convert it",
            id="another archive",
        ),
        pytest.param(
            make_zip({"[Content_Types].xml": TYPES, "_rels/.rels": "<Relationships"}),
            "damaged: its XML is broken (unclosed token: line 1, column 0)",
            id="broken markup",
        ),
        pytest.param(
            make_word("").replace(b"PK\x01\x02", b"PK\x01\x09", 1),
            "damaged: the archive cannot be opened (Bad magic number for central directory)",
            id="broken directory",
        ),
        pytest.param(
            make_zip({"[Content_Types].xml": TYPES, "_rels/.rels": relations(("a", "officeDocument", "word/d.xml"))}),
            "damaged: the document lacks its part 'word/d.xml'",
            id="without its main part",
        ),
    ],
)
def test_a_package_that_is_broken_is_refused(content: bytes, message: str) -> None:
    assert reject_of(content) == message


def test_entities_that_grow_are_refused() -> None:
    laughs = '<!DOCTYPE d [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;">]>'
    bomb = make_zip({"[Content_Types].xml": TYPES, "_rels/.rels": f"{laughs}<r>&b;</r>"})
    assert reject_of(bomb) == "damaged: its XML defines entities, which no such document needs"


def test_a_member_that_inflates_beyond_the_ratio_is_refused() -> None:
    bomb = make_word(" " * 50_000_000)
    assert len(bomb) < 100_000
    assert reject_of(bomb).startswith("zip_bomb: ")


def test_members_that_inflate_beyond_the_limit_together_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "MOST_INFLATED_BYTES", 1_000)
    assert "and 1,000 bytes in all" in reject_of(make_word(paragraph("x" * 2_000)))


def test_more_members_than_any_document_has_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "MOST_MEMBERS", 4)
    assert reject_of(make_word(paragraph("x"))) == "zip_bomb: the archive has 5 members; 4 are read"


def test_a_string_that_cells_repeat_without_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "MOST_TEXT_CHARS", 10_000)
    rows = '<row><c t="s"><v>0</v></c></row>' * 200
    assert reject_of(make_workbook({"S": rows}, f"<si><t>{'long ' * 20}</t></si>")).startswith(
        "too_large: its text has more"
    )


def test_a_member_with_a_password_is_refused() -> None:
    content = bytearray(make_word(paragraph("x")))
    at = content.find(b"PK\x01\x02")
    while at >= 0:  # Set the flag in every entry of the directory, and of each member.
        content[at + 8] |= 1
        at = content.find(b"PK\x01\x02", at + 4)
    at = content.find(b"PK\x03\x04")
    while at >= 0:
        content[at + 6] |= 1
        at = content.find(b"PK\x03\x04", at + 4)
    assert reject_of(bytes(content)) == "encrypted: the document is protected by a password; save it without one"


SAMPLES = [
    make_word(paragraph("text", "Titel")),
    make_slides([shape("title", "T")]),
    make_workbook({"S": "<row><c><v>1</v></c></row>"}),
    make_book({"a.xhtml": "<p>t</p>"}),
]


@given(st.sampled_from(SAMPLES), st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), min_size=1, max_size=5))
@settings(max_examples=300, deadline=None)
def test_a_package_with_broken_bytes_is_read_or_refused(content: bytes, changes: list[tuple[float, int]]) -> None:
    broken = bytearray(content)
    for place, value in changes:
        broken[4 + int(place * (len(broken) - 5))] = value
    assert outcome_of(bytes(broken), "a.docx") in ("", *REASONS)


@given(st.binary(max_size=300) | st.text(max_size=300).map(lambda text: text.encode("utf-8", "replace")))
@settings(max_examples=300, deadline=None)
def test_any_bytes_are_a_mail_or_refused(content: bytes) -> None:
    assert outcome_of(b"Subject: " + content, "a.eml") in ("", *REASONS)
