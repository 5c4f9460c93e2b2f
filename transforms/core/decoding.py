"""Turn the bytes of a text file into text, or say exactly why they are none; the secret kept here is how text is encoded."""

from transforms.errors import UnreadableDocument

# Longest first: the mark of little-endian UTF-32 begins with that of UTF-16.
_BYTE_ORDER_MARKS = (
    (b"\x00\x00\xfe\xff", "utf-32-be"),
    (b"\xff\xfe\x00\x00", "utf-32-le"),
    (b"\xef\xbb\xbf", "utf-8"),
    (b"\xfe\xff", "utf-16-be"),
    (b"\xff\xfe", "utf-16-le"),
)


def decode_text(content: bytes, encoding: str = "utf-8") -> str:
    """Decode by the byte order mark, else by the encoding given; nothing is replaced.

    The mark is taken off, line ends stay as they are. The result has no lone surrogates.

    Raises:
        UnreadableDocument: ``undecodable``, naming the first byte that does not fit; or ``binary``: too many NULs for a text.
    """
    mark, encoding = byte_order_mark(content) or (b"", encoding)
    try:
        text = content[len(mark) :].decode(encoding)
    except UnicodeDecodeError as error:
        position = len(mark) + error.start
        raise UnreadableDocument(
            f"undecodable: byte {position} is 0x{content[position]:02x}, which is no {encoding.upper()} ({error.reason}); "
            "convert the document to UTF-8"
        ) from None
    nulls = text.count("\x00")
    if nulls > 3 + len(text) // 10_000:
        raise UnreadableDocument(
            f"binary: {nulls} of its {len(text)} characters are NUL, the first at {text.index(chr(0))}; "
            "if it is UTF-16 without a byte order mark, convert it to UTF-8"
        )
    return text


def byte_order_mark(content: bytes) -> tuple[bytes, str] | None:
    """Return the mark at the start of the bytes and the encoding that it stands for, or None."""
    return next(((mark, encoding) for mark, encoding in _BYTE_ORDER_MARKS if content.startswith(mark)), None)
