"""The lines of a chunk that answer a query, for a person who scans a page of results."""

import re

_WORD = re.compile(r"\w+")
_SENTENCE_END = re.compile(r"(?<=[.!?。！？])\s+")
_MARKED_HEADING = re.compile(r"^[ \t]*#{1,6}[ \t]+(.+?)[ \t#]*$", re.MULTILINE)
_UNDERLINED_HEADING = re.compile(r"^(.*\S.*)\r?\n[ \t]*([=\-~^])\2{2,}[ \t]*$", re.MULTILINE)
_SHORTEST_WORD_CHARS = 3
_ELLIPSIS = "…"


def best_excerpt(chunk: str, query: str, size_chars: int) -> str:
    """Cut the stretch of at most about ``size_chars`` out of a chunk that shares most words with the query.

    It begins at a sentence's beginning and ends at a word's end; ellipses mark what was left out. Of equally good stretches
    the one that comes to the point first is taken; a chunk that shares no word is shown from its beginning.
    """
    text = " ".join(_without_markup(chunk).split())
    if len(text) <= size_chars:
        return text
    starts = [0, *[match.end() for match in _SENTENCE_END.finditer(text)]]
    wanted = _words(query)
    last = max((start for start in starts if len(text) - start >= size_chars // 2), default=0)
    shared = {start: len(wanted & _words(text[start : start + size_chars])) for start in starts if start <= last}
    best = max(shared, key=lambda start: (shared[start], start)) if any(shared.values()) else 0
    head = f"{_ELLIPSIS} " if best else ""
    rest = text[best:]
    if len(rest) <= size_chars:
        return head + rest
    return head + rest[:size_chars].rsplit(" ", 1)[0].rstrip(",;:") + f" {_ELLIPSIS}"


def _without_markup(chunk: str) -> str:
    """Take headings' marks off and set a dash between a heading and what follows it."""
    return _UNDERLINED_HEADING.sub(r"\1 —", _MARKED_HEADING.sub(r"\1 —", chunk)).strip().removesuffix(" —")


def _words(text: str) -> frozenset[str]:
    return frozenset(word for word in _WORD.findall(text.casefold()) if len(word) >= _SHORTEST_WORD_CHARS)
