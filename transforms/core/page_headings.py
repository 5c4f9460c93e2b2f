"""Follow the headings of a web page through a library that gives only its words; the secret kept here are the marks.

The marks are two code points that no text holds (Unicode noncharacters): they go into the page before its words are taken
out, and out of the words again. Where a page holds them itself, they are lost.
"""

import re

from transforms.records import HeadingPlaces

_OPEN, _CLOSE = "\ufdd0", "\ufdd1"
_LEVELS = "123456"
# No quantifier can pass the next tag, so that a search takes time in proportion to the page.
_TAG = re.compile(r"<(?P<close>/?)[hH](?P<level>[1-6])(?:\s[^<>]*)?>")


def mark_headings(page: str) -> str:
    """Put marks around what each heading of a page says; those in comments and scripts go where these go.

    Only a start tag whose end tag is the next one of any heading counts.
    """
    pieces: list[str] = []
    taken, start = 0, None
    for tag in _TAG.finditer(page):
        if not tag["close"]:
            start = tag
        elif start is not None:
            said = page[start.end() : tag.start()]
            if said and not said.isspace():
                pieces += (page[taken : start.end()], _OPEN, start["level"], said, _CLOSE)
                taken = tag.start()
            start = None
    return "".join((*pieces, page[taken:]))


def take_marks(marked: str) -> tuple[str, HeadingPlaces]:
    """Return a text without its marks, and where its headings are, in order."""
    first, *parts = marked.split(_OPEN)
    pieces = [_without_ends(first)]
    found: list[tuple[int, int, int]] = []
    length = len(pieces[0])
    for part in parts:
        level = part[:1] if part[:1] in _LEVELS else ""
        said, close, after = part[len(level) :].partition(_CLOSE)
        said = said.strip() if close else said.lstrip()
        if close and said and level:
            found.append((length, length + len(said), int(level)))
        after = _without_ends(after)
        pieces += (said, after if said else after.lstrip("\n"))
        length += len(pieces[-2]) + len(pieces[-1])
    return "".join(pieces), tuple(found)


def _without_ends(text: str) -> str:
    """Take out marks that the library parted from their beginnings."""
    *before, last = text.split(_CLOSE)
    return "".join((*(piece.rstrip() for piece in before), last))
