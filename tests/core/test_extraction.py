import pytest

from transforms.core.extraction import Extracted, extract_text
from transforms.errors import UnreadableDocument

PAGE = b"""<!DOCTYPE html><html lang="de-AT"><head><title> Ein
 Titel </title><script>var a = 1</script><style>p {}</style></head><body><header>Site</header><nav>Home</nav>
<div>Cookies?</div>
<main><h1>Haupt</h1><p>a &amp; b<br>c</p><ul><li>eins<li>zwei</ul><p hidden>versteckt</p><pre>  x
  y</pre></main><div role="navigation">Links</div><footer>Impressum</footer></body></html>"""


def reject_of(content: bytes, source_uri: str) -> str:
    with pytest.raises(UnreadableDocument) as caught:
        extract_text(content, source_uri)
    return str(caught.value)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        pytest.param(b"", "", id="empty"),
        pytest.param("äöü\r\n日本".encode(), "äöü\r\n日本", id="utf-8"),
        pytest.param("äöü".encode("utf-8-sig"), "äöü", id="utf-8 with a mark"),
        pytest.param("äöü\U0001f600".encode("utf-16"), "äöü\U0001f600", id="utf-16 little-endian"),
        pytest.param(b"\xfe\xff" + "äöü".encode("utf-16-be"), "äöü", id="utf-16 big-endian"),
        pytest.param("äöü".encode("utf-32"), "äöü", id="utf-32 little-endian"),
        pytest.param(b"\x00\x00\xfe\xff" + "äöü".encode("utf-32-be"), "äöü", id="utf-32 big-endian"),
        pytest.param(b"one\x00two", "one\x00two", id="a single NUL"),
    ],
)
def test_text_is_decoded_by_its_mark_or_as_utf_8(content: bytes, text: str) -> None:
    assert extract_text(content, "gs://bucket/a.TXT") == Extracted(text, "text/plain", {"media_type": "text/plain"})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(
            b"caf\xe9 au lait",
            "undecodable: byte 3 is 0xe9, which is no UTF-8 (invalid continuation byte); convert the document to UTF-8",
            id="latin-1",
        ),
        pytest.param(
            b"\xff\xfeh\x00i",
            "undecodable: byte 4 is 0x69, which is no UTF-16-LE (truncated data); convert the document to UTF-8",
            id="half a character",
        ),
        pytest.param(
            b"\xed\xa0\x80",
            "undecodable: byte 0 is 0xed, which is no UTF-8 (invalid continuation byte); convert the document to UTF-8",
            id="a lone surrogate",
        ),
        pytest.param(
            "abcde".encode("utf-16-le"),
            "binary: 5 of its 10 characters are NUL, the first at 1; if it is UTF-16 without a byte order mark, "
            "convert it to UTF-8",
            id="utf-16 without a mark",
        ),
    ],
)
def test_bytes_that_are_no_text_are_refused_with_the_place(content: bytes, message: str) -> None:
    assert reject_of(content, "a.txt") == message


def test_a_name_that_lies_is_told() -> None:
    assert reject_of(b"\x89PNG\r\n", "notes.txt") == (
        "unsupported_format: the document is a PNG image (image/png) by its first bytes, whatever its name says (.txt); "
        "convert it to text, Markdown or HTML"
    )
    assert reject_of(b"\x1f\x8b", "README").endswith(
        "whatever its name says (no suffix); convert it to text, Markdown or HTML"
    )


@pytest.mark.parametrize(
    ("content", "source_uri", "extracted"),
    [
        pytest.param(
            b"intro\n\n## First #\n\n# Second\n",
            "docs/a.md",
            Extracted(
                "intro\n\n## First #\n\n# Second\n", "text/markdown", {"media_type": "text/markdown", "title": "First"}
            ),
            id="markdown",
        ),
        pytest.param(
            b"Title\n=====\n\ntext",
            "a.rst",
            Extracted("Title\n=====\n\ntext", "text/x-rst", {"media_type": "text/x-rst", "title": "Title"}),
            id="restructured text",
        ),
        pytest.param(
            b"# no title\n",
            "a.py",
            Extracted("# no title\n", "text/x-python", {"media_type": "text/x-python"}),
            id="source code",
        ),
        pytest.param(
            b"# -*- coding: latin-1 -*-\nname = 'caf\xe9'\n",
            "a.py",
            Extracted(
                "# -*- coding: latin-1 -*-\nname = 'café'\n",
                "text/x-python",
                {"encoding": "latin-1", "media_type": "text/x-python"},
            ),
            id="source code that declares its encoding",
        ),
        pytest.param(
            b"# no title\n",
            "a.log",
            Extracted("# no title\n", "text/plain", {"media_type": "text/plain"}),
            id="another text",
        ),
    ],
)
def test_the_title_is_the_first_heading(content: bytes, source_uri: str, extracted: Extracted) -> None:
    assert extract_text(content, source_uri) == extracted


@pytest.mark.parametrize("source_uri", ["page.html", "page.HTM", "page", "page.txt"])
def test_a_page_gives_its_main_text_title_and_language(source_uri: str) -> None:
    assert extract_text(PAGE, source_uri) == Extracted(
        "Haupt\n\na & b\nc\n\n  • eins\n  • zwei\n  x\n  y",
        "text/html",
        {"language": "de-AT", "media_type": "text/html", "title": "Ein Titel"},
        ((0, 5, 1),),
    )


@pytest.mark.parametrize(
    ("page", "text", "headings"),
    [
        pytest.param("<h1>A</h1><p>b<h2 id=x>C</h2>d", "A\n\nb\n\nC\n\nd", [("A", 1), ("C", 2)], id="two levels"),
        pytest.param(
            "<h1> <a href=/u>A <i>b</i></a><br>c </h1>d", "A b\nc\n\nd", [("A b\nc", 1)], id="with markup inside"
        ),
        pytest.param("<ul><li><h3>A</h3>b</ul>", "  • A\n\n    b", [("A", 3)], id="in a list"),
        pytest.param("<h1></h1><h2> </h2><p>a", "a", [], id="without words"),
        pytest.param("<h1><div><h2>A</h2></div></h1>b", "A\n\nb", [("A", 2)], id="inside one another"),
        pytest.param("<h1><nav>no</nav></h1><p>a", "a", [], id="with words that are left out"),
        pytest.param("<h1>A<p>b", "A\n\nb", [], id="never closed"),
        pytest.param("</h2>a<h1>B</h1>", "a\n\nB", [("B", 1)], id="closed before it began"),
        pytest.param("<nav><h2>No</h2></nav><!--<h1>no</h1>--><p>a", "a", [], id="in what is left out"),
        pytest.param("<pre># no\n<h2>A</h2></pre>", "# no\n\nA", [("A", 2)], id="text that looks like one"),
        pytest.param("<main><h1>A</h1></main><h1>No</h1>", "A", [("A", 1)], id="outside of the main part"),
        pytest.param("\ufdd1a\ufdd0b<h1>A</h1>", "ab\n\nA", [("A", 1)], id="a page with the marks of ours"),
    ],
)
def test_a_page_tells_where_its_headings_are(page: str, text: str, headings: list[tuple[str, int]]) -> None:
    extracted = extract_text(page.encode(), "a.html")
    assert extracted.text == text
    assert [(text[start:end], level) for start, end, level in extracted.headings] == headings


def test_the_title_of_a_page_without_one_is_its_first_heading() -> None:
    assert extract_text(b"<h2>The\n <b>first</b></h2><h1>x</h1>", "a.html").metadata["title"] == "The first"


@pytest.mark.parametrize(
    "piece", ["<h1>", "<h1><div>", "<h1 ", "<h2>x</h2>", "</h1>", "\ufdd0", "\ufdd1", "<p>\n</h1>"]
)
def test_headings_without_end_take_time_in_proportion(piece: str) -> None:
    extracted = extract_text(("<body>" + piece * 200_000).encode(), "a.html")
    assert len(extracted.headings) == (200_000 if piece == "<h2>x</h2>" else 0)


def test_a_page_without_a_main_part_gives_all_but_its_furniture() -> None:
    page = (
        b"<header>Site</header><nav>Home</nav><article><header>Head</header><p>text</p></article><footer>foot</footer>"
    )
    assert extract_text(page, "a.html").text == "Head\n\ntext"


@pytest.mark.parametrize(
    ("content", "text"),
    [
        pytest.param(b"<meta charset=shift_jis><p>\x83e\x83X\x83g", "テスト", id="as declared"),
        pytest.param(b"<meta charset='iso-8859-1'><p>caf\xe9 \x93q\x94", "café “q”", id="latin-1 means windows-1252"),
        pytest.param("<meta charset=us-ascii><p>日本".encode(), "日本", id="declared wrongly"),
        pytest.param("<p>日本".encode(), "日本", id="undeclared utf-8"),
        pytest.param("<meta charset=iso-2022-jp><p>日本".encode("iso-2022-jp"), "日本", id="seven bits, as declared"),
        pytest.param("<p>日本".encode("utf-16"), "日本", id="with a mark"),
        pytest.param(b"<meta charset=utf-16><p>abc", "abc", id="declared as what it cannot be"),
        pytest.param(b"<meta charset=nonsense><p>abc", "abc", id="declared as nothing"),
        pytest.param(
            "<p>Съешь же ещё этих мягких французских булок".encode("cp1251"),
            "Съешь же ещё этих мягких французских булок",
            id="guessed",
        ),
        pytest.param(b"", "", id="empty"),
        pytest.param(b"<p>open <b>and <i>never closed", "open and never closed", id="malformed"),
        pytest.param(b"<script>never closed", "", id="an open script"),
    ],
)
def test_a_page_is_decoded_as_its_bytes_and_its_own_word_allow(content: bytes, text: str) -> None:
    assert extract_text(content, "a.html").text == text


def test_a_page_in_which_nothing_fits_is_refused() -> None:
    assert reject_of(b"<p>" + b"\xc3\x28\x00" * 40, "a.html").startswith(("undecodable: byte 3 is 0xc3", "binary: "))


@pytest.mark.parametrize("opening", [b"<body>", b"<body><main>"])
def test_a_page_nested_a_hundred_thousand_deep_is_read(opening: bytes) -> None:
    assert extract_text(opening + b"<div>" * 100_000 + b"deep", "a.html").text == "deep"


def test_a_page_of_one_node_of_ten_megabytes_is_read() -> None:
    assert len(extract_text(b"<body><p>" + b"word " * 2_000_000, "a.html").text) == 9_999_999


def test_a_title_is_cut_to_its_longest() -> None:
    assert extract_text(b"# " + b"x" * 1000, "a.md").metadata["title"] == "x" * 300
