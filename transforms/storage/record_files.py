"""Read the records of a file, packed or not, piece by piece; the secret kept here is how files of records are stored.

JSON Lines, CSV and TSV may be packed with gzip, bzip2 or Zstandard, told by their first bytes. Of a packed file and of a
Parquet table, too, memory holds a piece at a time.
"""

import bz2
import gzip
import io
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import BinaryIO, cast

import pyarrow as pa
import pyarrow.parquet as pq
import zstandard

from transforms.core.media_types import RECORD_TYPES, named_media_type, signed_media_type
from transforms.core.record_fields import BadRecord, Record, RecordMaker, RecordSettings, check_columns
from transforms.core.record_lines import read_delimited, read_json_lines
from transforms.errors import UnreadableDocument
from transforms.storage.documents import telling_reason

MOST_RATIO = 200
"""Inflated to packed bytes beyond a gigabyte; logs and tables that repeat themselves reach 100."""
_RATIO_COUNTS_FROM_BYTES = 1_000_000_000
_BUFFER_BYTES = 1_000_000
_PARQUET = "application/vnd.apache.parquet"
_ROWS_PER_BATCH = 256
_ZSTD_STEP_BYTES = 4_096  # A block of four bytes inflates to 128 kB: at most 128 MB at once.

_UNPACKERS: dict[str, Callable[[BinaryIO], io.BufferedIOBase]] = {
    "application/gzip": lambda file: gzip.GzipFile(fileobj=file),
    "application/x-bzip2": bz2.BZ2File,
    "application/zstd": lambda file: io.BufferedReader(_ZstdFile(file)),
}
_FIRST_BYTES = 16


def holds_records(file: BinaryIO, source_uri: str) -> bool:
    """Tell whether a file is one of records: by its first bytes, and by its name where they are those of a text."""
    signed = signed_media_type(_first_bytes(file))
    if signed and signed not in _UNPACKERS:
        return signed == _PARQUET
    named = named_media_type(source_uri)
    return named in RECORD_TYPES and (named != _PARQUET or not signed)


def read_records(file: BinaryIO, source_uri: str, settings: RecordSettings) -> Iterator[Record | BadRecord]:
    """Read a file that holds records, in order; those that were read before an error stay read.

    Raises:
        UnreadableDocument: ``damaged``, ``zip_bomb``, ``missing_column``, ``ambiguous_column``, or as ``telling_reason``.
    """
    with telling_reason(source_uri), _telling_damage():
        signed, named = signed_media_type(_first_bytes(file)), named_media_type(source_uri)
        if _PARQUET in (signed, named):
            yield from _read_parquet(file, settings)
            return
        lines = _unpacked(file, signed)
        if named == "application/jsonl":
            yield from read_json_lines(lines, settings)
        else:
            yield from read_delimited(lines, "\t" if named == "text/tab-separated-values" else ",", settings)


def _first_bytes(file: BinaryIO) -> bytes:
    file.seek(0)
    head = file.read(_FIRST_BYTES)
    file.seek(0)
    return head


@contextmanager
def _telling_damage() -> Iterator[None]:
    try:
        yield
    except (
        EOFError,
        zlib.error,
        gzip.BadGzipFile,
        zstandard.ZstdError,
        pa.ArrowInvalid,
        pa.ArrowNotImplementedError,
    ) as error:
        words = str(error).partition("\n")[0][:200]
        raise UnreadableDocument(
            f"damaged: the file ends too early or is broken ({words}); the rest is not read"
        ) from None
    except OSError as error:
        if error.errno is None:  # bzip2 and Arrow say so of the data; the system gives a number.
            words = str(error).partition("\n")[0][:200]
            raise UnreadableDocument(f"damaged: the file is broken ({words}); the rest is not read") from None
        raise


def _unpacked(file: BinaryIO, packing: str) -> io.BufferedReader:
    unpack = _UNPACKERS.get(packing)
    if unpack is None:
        return io.BufferedReader(_Counted(cast("io.BufferedIOBase", file), 0), _BUFFER_BYTES)
    packed_bytes = file.seek(0, io.SEEK_END)
    file.seek(0)
    return io.BufferedReader(_Counted(unpack(file), packed_bytes), _BUFFER_BYTES)


class _Counted(io.RawIOBase):
    """A stream that ends with an error when it inflates beyond belief; ``packed_bytes`` is 0 for one that is not packed."""

    def __init__(self, stream: io.BufferedIOBase, packed_bytes: int) -> None:
        self._stream = stream
        self._packed_bytes = packed_bytes
        self._bytes = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        piece = self._stream.read1(len(buffer))  # What is there, so that an error comes after what precedes it.
        size = len(piece)
        buffer[:size] = piece
        self._bytes += size
        if self._packed_bytes and self._bytes > max(_RATIO_COUNTS_FROM_BYTES, MOST_RATIO * self._packed_bytes):
            raise UnreadableDocument(
                f"zip_bomb: {self._packed_bytes:,} packed bytes inflate to more than {self._bytes:,}; the rest is not read"
            )
        return size


class _ZstdFile(io.RawIOBase):
    """A Zstandard stream of one frame or more that says when it was cut, which ``stream_reader`` does not."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._frame: zstandard.ZstdDecompressionObj | None = None
        self._packed = self._held = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        while not self._held:
            self._packed = self._packed or self._file.read(_ZSTD_STEP_BYTES)
            if not self._packed:
                if self._frame is not None:
                    raise EOFError("the last Zstandard frame has no end")
                return 0
            self._frame = self._frame or zstandard.ZstdDecompressor().decompressobj()
            self._held = self._frame.decompress(self._packed)
            self._packed = self._frame.unused_data
            if self._frame.eof:
                self._frame = None
        size = min(len(buffer), len(self._held))
        buffer[:size], self._held = self._held[:size], self._held[size:]
        return size


def _read_parquet(file: BinaryIO, settings: RecordSettings) -> Iterator[Record | BadRecord]:
    table = pq.ParquetFile(file)
    check_columns(table.schema_arrow.names, settings)
    maker, number = RecordMaker(settings), 0
    for batch in table.iter_batches(_ROWS_PER_BATCH, columns=settings.columns, use_threads=False):
        for fields in batch.select(settings.columns).to_pylist():
            number += 1
            yield maker.make(number, fields)
