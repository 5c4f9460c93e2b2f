"""Find functions, classes and the blocks inside them; the secret kept here is how source code shows its structure.

No grammar is read: one pass over the lines looks at their indentation, which is syntax in some languages and the custom in
all others; code of the brace family that is not indented, such as minified scripts, is cut at its brackets instead. Lines
inside strings and comments of several lines begin nothing. A wrong guess costs a worse place to cut and nothing else.
"""

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from transforms.core.blocks import MOST_DEPTH, Blocks
from transforms.core.boundaries import is_cluster_boundary

_LEAST_INDENTED_SHARE = 0.1
_LONG_LINE = 400  # Characters in the mean; nobody indents such lines.
_TAB = 4

# What goes on with the block before it instead of beginning one of its own.
_GOES_ON = re.compile(
    r"[)\]}{]|\*/|(?:else|elif|elsif|elseif|except|catch|finally|rescue|ensure|end|fi|done|esac|then)\b"
    r"|(?:public|private|protected)[ \t]*:"
)
_DIRECTIVE = re.compile(r"#[ \t]*(?:if|else|elif|end|define|undef|pragma|region)")

# Strings on one line; one in double quotes that is not closed ends with its line, an apostrophe alone is none. The bounds
# keep a search from trying a character more than a fixed number of times.
_STRING = r'"[^"\\\n]*(?:\\.[^"\\\n]*){0,1000}"?'
_CHARACTERS = r"'[^'\\\n]*(?:\\.[^'\\\n]*){0,40}'"


@dataclass(frozen=True, slots=True)
class _Family:
    """How languages write what is no code.

    Attributes:
        quiet: matches a comment or a string on one line, or, as its only group, what opens one of several lines.
        signs: matches the same, and single brackets, semicolons and line ends.
        closers: what closes each of those.
        has_braces: whether ``{`` and ``}`` hold blocks together.
    """

    quiet: re.Pattern[str]
    signs: re.Pattern[str]
    closers: dict[str, str]
    has_braces: bool


def _family(comment: str, closers: dict[str, str], strings: str, has_braces: bool = False) -> _Family:
    openers = "|".join(re.escape(opener) for opener in sorted(closers, key=len, reverse=True)) or r"(?!)"
    quiet = rf"({openers})|{comment}|{strings}"
    return _Family(re.compile(quiet), re.compile(rf"{quiet}|[\[\](){{}};\n]"), closers, has_braces)


_BOTH = f"{_STRING}|{_CHARACTERS}"
_LIKE_C = _family("//[^\n]*", {"/*": "*/", '"""': '"""'}, _BOTH, has_braces=True)
_WITH_BACKTICKS = _family("//[^\n]*", {"/*": "*/", "`": "`"}, _BOTH, has_braces=True)
_WITH_HASHES = _family("#[^\n]*", {}, _BOTH)

_FAMILIES = {
    "python": _family("#[^\n]*", {'"""': '"""', "'''": "'''"}, _BOTH),
    "julia": _family("#[^\n]*", {'"""': '"""', "#=": "=#"}, _BOTH),
    "lua": _family("--[^\n]*", {"--[[": "]]", "[[": "]]"}, _BOTH),
    "sql": _family("--[^\n]*", {"/*": "*/"}, _BOTH),
    "rust": _family("//[^\n]*", {"/*": "*/"}, _STRING, has_braces=True),  # An apostrophe names a lifetime.
    **dict.fromkeys(("javascript", "typescript", "go"), _WITH_BACKTICKS),
    **dict.fromkeys(("ruby", "perl", "r", "shellscript"), _WITH_HASHES),
}


class _Piece(NamedTuple):
    """A line, or a statement where lines say nothing; its indentation is a number of columns, or of open brackets."""

    start: int
    end: int
    indent: int
    goes_on: bool
    after_blank: bool


def find_code_blocks(text: str, media_type: str) -> Blocks:
    """Find the blocks of source code, in time proportional to the text.

    A block begins where, at one indentation, something was blank or set in before it, and goes on until the next one begins
    or the indentation ends: a function with the comment and the decorators right above it, a method, a loop, a few
    statements between blank lines. A media type that is no source code is read as if its language were like C.
    """
    family = _FAMILIES.get(media_type.removeprefix("text/x-"), _LIKE_C)
    lines = text.count("\n") + 1
    indented = text.count("\n ") + text.count("\n\t")
    flat = indented < _LEAST_INDENTED_SHARE * lines or len(text) > _LONG_LINE * lines
    return _nest(_statements(text, family) if family.has_braces and flat else _lines(text, family))


@dataclass(slots=True)
class _Level:
    """An indentation at which a block is open."""

    indent: int
    block: int
    has_body: bool = False


def _nest(pieces: Iterable[_Piece]) -> Blocks:
    blocks = Blocks()
    levels: list[_Level] = []
    end = 0
    for piece in pieces:
        while levels and piece.indent < levels[-1].indent:
            blocks.close(levels.pop().block, end)
            if levels:
                levels[-1].has_body = True
        parent = levels[-1].block if levels else -1
        if not levels or piece.indent > levels[-1].indent:
            if len(levels) < MOST_DEPTH:
                levels.append(_Level(piece.indent, blocks.open(piece.start, len(levels), parent)))
        elif not piece.goes_on and (piece.after_blank or levels[-1].has_body):
            blocks.close(levels.pop().block, end)
            parent = levels[-1].block if levels else -1
            levels.append(_Level(piece.indent, blocks.open(piece.start, len(levels), parent)))
        end = piece.end
    for level in levels:
        blocks.close(level.block, end)
    return blocks


def _lines(text: str, family: _Family) -> Iterator[_Piece]:
    """Yield the lines that hold code; those inside a string or comment of several lines lengthen the one before."""
    inside = _long_literals(text, family)
    starts = [start for start, _ in inside]
    at, after_blank = 0, False
    held: _Piece | None = None
    for line in text.split("\n"):
        begin, at = at, at + len(line) + 1
        code = line.strip()
        if not code:
            after_blank = True
            continue
        literal = bisect_right(starts, begin) - 1
        indentation = line[: len(line) - len(line.lstrip())]
        start = begin + len(indentation)
        end = start + len(code)
        if held is not None and (
            (literal >= 0 and starts[literal] < begin < inside[literal][1])
            or (family.has_braces and held.indent and not indentation and _DIRECTIVE.match(code))
        ):
            held = held._replace(end=end)
        else:
            if held is not None:
                yield held
            indent = len(indentation.expandtabs(_TAB)) if "\t" in indentation else len(indentation)
            held = _Piece(start, end, indent, _GOES_ON.match(code) is not None, after_blank)
        after_blank = False
    if held is not None:
        yield held


def _long_literals(text: str, family: _Family) -> list[tuple[int, int]]:
    """Return where strings and comments of several lines begin and end; one that nobody closes goes on to the end."""
    found: list[tuple[int, int]] = []
    at = 0
    if not any(opener in text for opener in family.closers):
        return found
    while (match := _next_opener(text, family, at)) is not None:
        closer = family.closers[match[1]]
        end = text.find(closer, match.end())
        at = len(text) if end < 0 else end + len(closer)
        if text.find("\n", match.start(), at) >= 0:
            found.append((match.start(), at))
    return found


def _next_opener(text: str, family: _Family, at: int) -> re.Match[str] | None:
    return next((match for match in family.quiet.finditer(text, at) if match[1]), None)


def _statements(text: str, family: _Family) -> Iterator[_Piece]:
    """Yield what stands between brackets, semicolons and line ends, with the number of brackets open at its start."""
    depth, start, depth_there = 0, 0, 0
    for at, sign in _signs(text, family):
        if sign in "([{":
            depth += 1
        elif sign in ")]}":
            depth = max(0, depth - 1)
        if sign in "{};\n" and is_cluster_boundary(text, at + 1):
            piece = text[start : at + 1]
            code = piece.strip()
            if code:
                begin = start + len(piece) - len(piece.lstrip())
                yield _Piece(begin, begin + len(code), depth_there, _GOES_ON.match(code) is not None, False)
            start, depth_there = at + 1, depth
    code = text[start:].strip()
    if code:
        yield _Piece(
            len(text) - len(text[start:].lstrip()), start + len(text[start:].rstrip()), depth_there, False, False
        )


def _signs(text: str, family: _Family) -> Iterator[tuple[int, str]]:
    """Yield brackets, semicolons and line ends that stand in no string and no comment."""
    at = 0
    while at < len(text):
        for match in family.signs.finditer(text, at):
            if match[1]:
                end = text.find(family.closers[match[1]], match.end())
                at = len(text) if end < 0 else end + len(family.closers[match[1]])
                break
            if match.end() == match.start() + 1:
                yield match.start(), match[0]
        else:
            return
