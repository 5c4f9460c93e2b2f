"""Read the text of an e-mail (.eml); the secret kept here is MIME.

Source: RFC 5322, RFC 2045 to 2047. The message's own words are read; what is attached is only counted.
"""

import email
import email.policy
from email.header import decode_header
from email.message import Message

from transforms.core.decoding import decode_text
from transforms.core.html import read_page
from transforms.errors import UnreadableDocument

_MOST_PARTS = 1_000
_SAID = {"From": "from", "To": "to", "Date": "date"}


def read_mail(content: bytes) -> tuple[str, dict[str, object]]:
    """Return a message's text with its subject as ``title``, ``from``, ``to``, ``date`` and the number of ``attachments``.

    Of the same text as plain and as HTML, the plain one is read.

    Raises:
        UnreadableDocument: as ``decode_text``; ``damaged`` when it is nested without end.
    """
    try:
        message = email.message_from_bytes(content, policy=email.policy.compat32)
        parts = [part for part, _ in zip(message.walk(), range(_MOST_PARTS), strict=False)]
    except RecursionError:
        raise UnreadableDocument("damaged: its parts are nested without end") from None
    attached = [part for part in parts if _is_attached(part)]
    inside = {id(inner) for part in attached for inner in part.walk()}
    own = [part for part in parts if id(part) not in inside and not part.is_multipart()]
    plain = [part for part in own if part.get_content_type() == "text/plain"]
    pages = [part for part in own if part.get_content_type() == "text/html"]
    texts = [_body(part) for part in plain or pages]
    said = {key: _header(message, name) for name, key in _SAID.items()}
    text = "\n\n".join(text for text in (body.replace("\r\n", "\n").strip() for body in texts) if text)
    return text, {**said, "title": _header(message, "Subject"), "attachments": len(attached) or None}


def _is_attached(part: Message) -> bool:
    kind = part.get_content_maintype()
    return part.get_content_disposition() == "attachment" or kind not in ("text", "multipart")


def _body(part: Message) -> str:
    payload = part.get_payload(decode=True)
    content = payload if isinstance(payload, bytes) else b""
    if part.get_content_type() == "text/html":
        return read_page(content).text
    return decode_text(content, part.get_content_charset()).text


def _header(message: Message, name: str) -> str:
    """Return a header as text; what cannot be decoded is left as it stands."""
    value = message.get(name)
    if value is None:
        return ""
    words = []
    for word, charset in decode_header(value):
        if isinstance(word, str):
            words.append(word)
            continue
        try:
            words.append(word.decode(charset or "ascii"))
        except (UnicodeDecodeError, LookupError):
            words.append(word.decode("ascii", "backslashreplace"))
    return " ".join("".join(words).split())
