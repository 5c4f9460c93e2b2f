"""Make a document of one record of a table; the secret kept here is which field means what, and what a record may lack."""

import datetime
import decimal
import hashlib
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from transforms.errors import UnreadableDocument

MAX_ID_CHARS = 500
_NAMES_SHOWN = 8
_ODD = re.compile("[\x00-\x1f\x7f]|%(?=[0-9A-Fa-f]{2})")
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class RecordSettings:
    """Which columns of JSON Lines, CSV, TSV and Parquet files are read.

    Attributes:
        text_column: what is chunked and embedded.
        id_column: names a record for good: its document is ``path#id``. "" numbers the records from 1 instead, so that one
            inserted above moves the ids of all below it (their texts are not paid again).
        metadata_columns: copied into the metadata of every chunk of the record; with the same names.
    """

    text_column: str = "text"
    id_column: str = ""
    metadata_columns: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.text_column:
            raise ValueError("text_column must name a column, got ''")

    @property
    def columns(self) -> list[str]:
        """Every column that is read, each once."""
        wanted = (self.text_column, *([self.id_column] if self.id_column else []), *self.metadata_columns)
        return list(dict.fromkeys(wanted))


@dataclass(frozen=True, slots=True)
class Record:
    """One record: its name in its file, its text, and the metadata that its columns give, of JSON's types."""

    record_id: str
    text: str
    metadata: dict[str, object]


@dataclass(frozen=True, slots=True)
class BadRecord:
    """A record that cannot be read: its name or number, a short stable word, one sentence for a person."""

    record_id: str
    reason: str
    message: str


class RecordMaker:
    """Makes the records of one file; remembers their ids (about 80 bytes each) where a column gives them.

    Args:
        encoding: noted in the metadata of every record; "" for UTF-8, which needs no note.
    """

    def __init__(self, settings: RecordSettings, encoding: str = "") -> None:
        self._settings = settings
        self._notes: dict[str, object] = {"encoding": encoding} if encoding else {}
        self._seen: set[bytes] = set()

    def make(self, number: int, fields: Mapping[str, object]) -> Record | BadRecord:
        """Make record ``number`` (the first is 1) of its fields; a text that is null is empty."""
        settings = self._settings
        try:
            text = _text(fields, settings.text_column)
            record_id = self._id(number, fields) if settings.id_column else str(number)
            columns = {name: _plain(fields[name]) for name in settings.metadata_columns if name in fields}
        except UnreadableDocument as error:
            reason, _, message = str(error).partition(": ")
            return BadRecord(str(number), reason, message)
        known = {name: value for name, value in columns.items() if value is not None}
        return Record(record_id, text, {**self._notes, **known})

    def _id(self, number: int, fields: Mapping[str, object]) -> str:
        value = fields.get(self._settings.id_column)
        where = f"column {self._settings.id_column!r} of record {number}"
        if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
            kind = "empty or missing" if value in (None, "") else f"a {type(value).__name__}"
            raise UnreadableDocument(f"bad_id: {where} must be a text or a whole number that names it, and is {kind}")
        text = str(value)
        if len(text) > MAX_ID_CHARS or _LONE_SURROGATE.search(text):
            raise UnreadableDocument(f"bad_id: {where} is no name: over {MAX_ID_CHARS} characters, or undecodable")
        name = _ODD.sub(lambda odd: f"%{ord(odd.group()):02X}", text)
        digest = hashlib.blake2b(name.encode(), digest_size=16).digest()
        if digest in self._seen:
            raise UnreadableDocument(f"duplicate_id: {where} names a record above it; ids must differ within a file")
        self._seen.add(digest)
        return name


def check_columns(names: Sequence[str], settings: RecordSettings) -> None:
    """Refuse a table that lacks a wanted column, or has it twice.

    Raises:
        UnreadableDocument: ``missing_column`` or ``ambiguous_column``, naming some of those that are there.
    """
    for wanted in settings.columns:
        if names.count(wanted) == 1:
            continue
        reason, what = ("ambiguous_column", "two columns") if wanted in names else ("missing_column", "no column")
        raise UnreadableDocument(
            f"{reason}: there is {what} named {wanted!r}; it has {_listed(names)}. documents.records says which are read"
        )


def check_fields(fields: Mapping[str, object], settings: RecordSettings) -> None:
    """Refuse an object without the text column; others may be absent where each object has its own fields.

    Raises:
        UnreadableDocument: ``missing_column``, naming some of those that are there.
    """
    if settings.text_column not in fields:
        raise UnreadableDocument(
            f"missing_column: there is no field named {settings.text_column!r}; it has {_listed(list(fields))}. "
            "documents.records says which are read"
        )


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(repr(name[:40]) for name in names[:_NAMES_SHOWN])
    return (shown or "none") + (f" and {len(names) - _NAMES_SHOWN} more" if len(names) > _NAMES_SHOWN else "")


def _text(fields: Mapping[str, object], column: str) -> str:
    value = fields.get(column)
    if value is None:
        return ""
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError as error:
            raise UnreadableDocument(f"undecodable: byte {error.start} of column {column!r} is no UTF-8") from None
    if not isinstance(value, str):
        raise UnreadableDocument(f"not_text: column {column!r} is a {type(value).__name__}, not a text")
    if found := _LONE_SURROGATE.search(value):
        raise UnreadableDocument(
            f"undecodable: character {found.start()} of column {column!r} is a byte that is no text in the file's encoding"
        )
    return value


def _plain(value: object) -> object:
    """Return a value of JSON's types: dates as ISO 8601, numbers too exact for it and all else as text."""
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, str):
        if _LONE_SURROGATE.search(value):
            raise UnreadableDocument(
                "undecodable: a metadata column holds bytes that are no text in the file's encoding"
            )
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    return format(value, "f") if isinstance(value, decimal.Decimal) else str(value)
