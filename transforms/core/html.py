"""Read the main text of a web page; the secret kept here is HTML, and the library that parses it.

What is left out is what the page itself calls furniture (``nav``, ``footer``, landmark roles, scripts, styles). Where it names
its main part (``main``, ``role=main``), only that is read. Nothing is guessed: heuristics that look for an article lose real
text, and the parser's own take a time that grows with the square of the nesting.
"""

import re
from dataclasses import dataclass

from resiliparse.extract.html2text import extract_plain_text
from resiliparse.parse.encoding import map_encoding_to_html5
from resiliparse.parse.html import ElementNode, HTMLTree

from transforms.core.decoding import Decoded, decode_text
from transforms.core.page_headings import mark_headings, take_marks
from transforms.records import HeadingPlaces

_FURNITURE = [
    *("nav", "footer", "body > header", "body > aside", "script", "style", "template", "noscript", "[hidden]"),
    *(f"[role={role}]" for role in ("navigation", "banner", "contentinfo", "search", "complementary")),
]

# Parsers look for what an end tag ends in all that is open, so that their time can grow with the square of the tags, 2 ns each;
# a list is indented by all lists around it, so that the text can grow with lists times lines.
_MOST_TAGS = 50_000
_MOST_INDENTATION_BYTES = 100_000_000
_INDENTATION_BYTES = 4
_LIST = re.compile(rb"<(?:[uo]l|menu|dir)", re.IGNORECASE)

# As far as a browser looks for the charset (WHATWG HTML, 13.2.3.2).
_CHARSET_SEARCH_BYTES = 1024
_DECLARED_CHARSET = re.compile(rb"<meta[^>]{0,200}?charset\s*=\s*[\"']?\s*([\w.:\-]{1,40})", re.IGNORECASE)
_LANGUAGE = re.compile(r"[A-Za-z]{2,8}(?:-[A-Za-z0-9]{1,8})*")


@dataclass(frozen=True, slots=True)
class Page:
    """What a web page says.

    Attributes:
        text: its main part; blocks are lines and paragraphs, of links the text is kept.
        notes: ``title``, its first heading where it has none, and ``language``, both "" where the page does not tell; and
            what decoding notes.
    """

    text: str
    headings: HeadingPlaces
    notes: dict[str, object]


def read_page(content: bytes) -> Page:
    """Read a page, in time proportional to it, however deeply it is nested, unless it ``may_explode``.

    Raises:
        UnreadableDocument: as ``decode_text``.
    """
    decoded = decode_page(content)
    tree = HTMLTree.parse(mark_headings(decoded.text))
    title = " ".join(take_marks(tree.title or "")[0].split())
    language = _language(tree)
    main = _first(tree, "main, [role=main]")
    body = HTMLTree.parse(main.html) if main is not None else tree
    text, headings = take_marks(extract_plain_text(body, main_content=False, skip_elements=_FURNITURE))
    if headings and not title:
        start, end, _ = headings[0]
        title = " ".join(text[start:end].split())
    return Page(text, headings, {**decoded.notes, "title": title, "language": language})


def may_explode(content: bytes) -> bool:
    """Tell whether a page could be built to take minutes or gigabytes; large ones could, and those with many lists."""
    tags = content.count(b"<")
    if tags > _MOST_TAGS or b"\x00" in content:  # Tags in UTF-16 are not counted below.
        return True
    lists = len(_LIST.findall(content))
    return _INDENTATION_BYTES * lists * (tags + content.count(b"\n")) > _MOST_INDENTATION_BYTES


def decode_page(content: bytes) -> Decoded:
    """Decode a page as ``decode_text`` does, with the charset that it declares.

    Bytes above ASCII that happen to be UTF-8 are UTF-8, so that a page which declares another charset is not believed; ASCII
    is read as declared, for encodings like ISO-2022-JP.

    Raises:
        UnreadableDocument: as ``decode_text``, when nothing fits.
    """
    return decode_text(content, _declared_encoding(content))


def _first(tree: HTMLTree, selector: str) -> ElementNode | None:
    return tree.document.query_selector(selector) if tree.document else None


def _language(tree: HTMLTree) -> str:
    root = _first(tree, "html[lang]")
    language = (root.getattr("lang") or "").strip() if root else ""
    return language if _LANGUAGE.fullmatch(language) else ""


def _declared_encoding(content: bytes) -> str | None:
    found = _DECLARED_CHARSET.search(content[:_CHARSET_SEARCH_BYTES])
    if found is None:
        return None
    # A charset in the page's own ASCII letters cannot be UTF-16, whatever it says.
    encoding: str = map_encoding_to_html5(found[1].decode("ascii", "ignore"), False) or ""
    return None if encoding.lower().startswith("utf-16") else encoding or None
