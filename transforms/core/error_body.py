"""Error bodies, in all the shapes that servers have for them, to one shape; and what of them may be shown to a person."""

import html
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import orjson

MAX_MESSAGE_CHARS: Final = 200
_LOOKED_AT_CHARS: Final = 2000
_ECHO_CHARS: Final = 16
_SHORTEST_ECHO_CHARS: Final = 4

_TAGS = re.compile(r"<(script|style)\b.*?</\1\s*>|<[^>]*>", re.S | re.I)
_KEY = re.compile(r"\b(?:sk|pa|jina|gsk|tgp)[-_][A-Za-z0-9_*\-.]{6,}|\bBearer\s+\S+", re.I)
_REQUEST_ID = re.compile(r"request[ _]id:?\s*([^)\s,;]+)", re.I)
_REQUEST_ID_HEADERS: Final = (
    "x-request-id",
    "x-oneapi-request-id",
    "request-id",
    "apim-request-id",
    "x-ms-request-id",
    "cf-ray",
)


@dataclass(frozen=True, slots=True)
class ErrorBody:
    """What a server says about an error, "" for what it does not say.

    Attributes:
        code: ``error.code``, as text whether it was text or a number.
        type: ``error.type``.
        message: in the server's words; may hold markup, a key or a sent text, so it is never shown as it is.
        html: the body is a web page.
    """

    code: str
    type: str
    message: str
    html: bool


def read_error_body(body: bytes) -> ErrorBody:
    """Find code, type and message in an error body of any known shape.

    Known are ``{"error": {…}}``, ``{"error": "text"}``, flat ``{"message", "code", "type"}``, ``{"detail": …}``,
    ``{"object": "error", …}``, a list around any of these, Gemini's ``status``, web pages and plain text.
    """
    text = body[:_LOOKED_AT_CHARS].decode("utf-8", "replace").strip()
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        return ErrorBody("", "", text, text[:1] == "<")
    if isinstance(document, list) and document:
        document = document[0]
    if isinstance(document, str):
        return ErrorBody("", "", document, False)
    if not isinstance(document, dict):
        return ErrorBody("", "", "", False)
    return _from_object(document)


def _from_object(document: dict[str, object]) -> ErrorBody:
    error = document.get("error")
    if isinstance(error, dict):
        code = _text(error.get("code"))
        return ErrorBody(
            code, _text(error.get("type")) or _text(error.get("status")), _text(error.get("message")), False
        )
    kind = _text(document.get("error_type")) or _text(document.get("type")) or _text(document.get("status"))
    message = _text(error) or _text(document.get("message")) or _text(document.get("detail"))
    return ErrorBody(_text(document.get("code")), kind, message, False)


def _text(value: object) -> str:
    if value is None or value is False:
        return ""
    return value if isinstance(value, str) else orjson.dumps(value).decode()


def find_request_id(headers: Mapping[str, str], message: str) -> str:
    """Find the endpoint's name for an attempt, in the headers or inside the message; "" where there is none."""
    for name in _REQUEST_ID_HEADERS:
        if headers.get(name):
            return headers[name][:100]
    found = _REQUEST_ID.search(message)
    return found.group(1)[:100] if found else ""


def clean_message(message: str, sent_texts: Sequence[str]) -> str:
    """Make a server's message fit to be shown: no markup, no key, no piece of a sent text, 200 characters at most.

    Every stretch of 16 characters that also occurs in a sent text is taken out, as is any shorter text as a whole; servers
    like to quote what they refuse.
    """
    plain = html.unescape(_TAGS.sub(" ", message[:_LOOKED_AT_CHARS]))
    plain = _KEY.sub("[key]", " ".join(plain.split()))
    plain = _without_echo(plain, sent_texts)
    return plain if len(plain) <= MAX_MESSAGE_CHARS else plain[: MAX_MESSAGE_CHARS - 1] + "…"


def _without_echo(message: str, sent_texts: Sequence[str]) -> str:
    for text in sent_texts:
        short = " ".join(text.split())
        if _SHORTEST_ECHO_CHARS <= len(short) < _ECHO_CHARS:
            message = message.replace(short, "[text]")
    everything = "\n".join(" ".join(text.split()) for text in sent_texts)
    kept: list[str] = []
    position = 0
    while position < len(message):
        length = _echo_length(message, position, everything)
        kept.append("[text]" if length else message[position])
        position += length or 1
    return "".join(kept)


def _echo_length(message: str, position: int, everything: str) -> int:
    """Measure how much of the message from here on is a piece of what was sent; 0 when it is less than 16 characters."""
    if position + _ECHO_CHARS > len(message) or message[position : position + _ECHO_CHARS] not in everything:
        return 0
    length = _ECHO_CHARS
    while position + length < len(message) and message[position : position + length + 1] in everything:
        length += 1
    return length
