"""Read the records of JSON Lines, CSV and TSV, piece by piece; the secret kept here is how these formats are written.

Memory holds one record at a time, whatever the size of the file.
"""

import codecs
import csv
import io
from collections.abc import Iterator
from typing import BinaryIO

import orjson

from transforms.core.decoding import byte_order_mark, sample_encoding
from transforms.core.record_fields import BadRecord, Record, RecordMaker, RecordSettings, check_columns, check_fields
from transforms.errors import UnreadableDocument

MAX_RECORD_BYTES = 100_000_000
"""A line of a file of records; also a field of a CSV. Beyond it something is wrong: a quote or a line that never ends."""

_SAMPLE_BYTES = 1_000_000
_DELIMITERS = (",", ";", "\t", "|")

csv.field_size_limit(MAX_RECORD_BYTES)


def read_json_lines(file: io.BufferedReader, settings: RecordSettings) -> Iterator[Record | BadRecord]:
    """Read one JSON object a line, numbered by line; blank lines are none.

    Source: jsonlines.org; RFC 8259 (JSON is UTF-8; NaN and lone surrogates are none of it).
    """
    maker = RecordMaker(settings)
    for number, line in enumerate(_lines(_as_utf_8(file)), 1):
        if isinstance(line, BadRecord):
            yield line
        elif line.strip():
            try:
                fields = _parse_object(line)
                check_fields(fields, settings)
            except UnreadableDocument as error:
                reason, _, message = str(error).partition(": ")
                yield BadRecord(str(number), reason, message)
            else:
                yield maker.make(number, fields)


def _parse_object(line: bytes) -> dict[str, object]:
    try:
        value = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        try:
            line.decode()
        except UnicodeDecodeError as wrong:
            raise UnreadableDocument(f"undecodable: byte {wrong.start} of the line is no UTF-8") from None
        raise UnreadableDocument(f"invalid_json: {error.msg.partition(':')[0]}, at character {error.pos}") from None
    if not isinstance(value, dict):
        raise UnreadableDocument(f"invalid_json: the line is a {type(value).__name__}, not an object")
    return value


def _lines(file: BinaryIO) -> Iterator[bytes | BadRecord]:
    """Yield lines in order, a BadRecord for one that is too long; its rest is passed over."""
    number = 0
    while line := file.readline(MAX_RECORD_BYTES):
        number += 1
        if len(line) < MAX_RECORD_BYTES or line.endswith(b"\n"):
            yield line
            continue
        while line and not line.endswith(b"\n"):
            line = file.readline(MAX_RECORD_BYTES)
        yield BadRecord(str(number), "too_large", f"the line has more than {MAX_RECORD_BYTES:,} bytes")


def _as_utf_8(file: io.BufferedReader) -> BinaryIO:
    """Take a byte order mark off, and turn UTF-16 and UTF-32 into UTF-8 on the way."""
    mark, encoding = byte_order_mark(file.peek(4)[:4]) or (b"", "utf-8")
    file.read(len(mark))
    if encoding == "utf-8":
        return file
    return io.BufferedReader(_Transcoded(file, encoding))


class _Transcoded(io.RawIOBase):
    """A stream in another encoding, as UTF-8."""

    def __init__(self, file: BinaryIO, encoding: str) -> None:
        self._file = file
        self._decoder = codecs.getincrementaldecoder(encoding)("backslashreplace")
        self._held = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        while not self._held:
            taken = self._file.read(io.DEFAULT_BUFFER_SIZE)
            self._held = self._decoder.decode(taken, final=not taken).encode("utf-8", "backslashreplace")
            if not taken:
                break
        size = min(len(buffer), len(self._held))
        buffer[:size], self._held = self._held[:size], self._held[size:]
        return size


def read_delimited(file: io.BufferedReader, delimiter: str, settings: RecordSettings) -> Iterator[Record | BadRecord]:
    """Read CSV or TSV with a header, numbered by record; fields may be quoted and hold line ends.

    Where the header does not have the text column with ``delimiter``, it is looked for with the other usual ones.

    Source: RFC 4180; every record has as many fields as the header, or is bad.

    Raises:
        UnreadableDocument: the header lacks a wanted column, before any record was made.
    """
    encoding = sample_encoding(file.peek(_SAMPLE_BYTES)[:_SAMPLE_BYTES])
    mark, _ = byte_order_mark(file.peek(4)[:4]) or (b"", "")
    file.read(len(mark))
    text = io.TextIOWrapper(file, encoding, errors="surrogateescape", newline="")
    header = text.readline(MAX_RECORD_BYTES)
    if not header.strip():
        return
    delimiter = _delimiter(header, delimiter, settings.text_column)
    names = _header(header, delimiter)
    check_columns(names, settings)
    maker = RecordMaker(settings, "" if mark or encoding == "utf-8" else encoding)
    yield from _rows(text, names, delimiter, maker)


def _delimiter(header: str, expected: str, wanted: str) -> str:
    tried = (expected, *_DELIMITERS)
    return next((one for one in tried if wanted in _header(header, one)), expected)


def _header(line: str, delimiter: str) -> list[str]:
    try:
        return next(csv.reader([line], delimiter=delimiter, strict=True), [])
    except csv.Error:
        return []


def _rows(text: io.TextIOWrapper, names: list[str], delimiter: str, maker: RecordMaker) -> Iterator[Record | BadRecord]:
    number, expected = 0, len(names)
    rows = csv.reader(_bounded_lines(text), delimiter=delimiter, strict=True)
    while True:
        number += 1
        try:
            row = next(rows)
        except StopIteration:
            return
        except csv.Error as error:
            if "field larger than" in str(error):
                message = f"a field has more than {MAX_RECORD_BYTES:,} characters; the rest of the file is not read"
                yield BadRecord(str(number), "too_large", message)
                return
            yield BadRecord(str(number), "invalid_csv", f"{error}; fields with quotes must be quoted, quotes doubled")
            continue
        if not row:
            number -= 1
        elif len(row) != expected:
            yield BadRecord(str(number), "ragged_row", f"it has {len(row)} fields, and the header has {expected}")
        else:
            yield maker.make(number, dict(zip(names, row, strict=True)))


def _bounded_lines(text: io.TextIOWrapper) -> Iterator[str]:
    while line := text.readline(MAX_RECORD_BYTES + 1):
        if len(line) > MAX_RECORD_BYTES:
            raise csv.Error("field larger than a record may be")
        yield line
