import csv
import io
import json
from collections.abc import Iterator

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transforms.core import record_lines
from transforms.core.record_fields import BadRecord, Record, RecordSettings
from transforms.core.record_lines import read_delimited, read_json_lines
from transforms.errors import UnreadableDocument

PLAIN = RecordSettings()
NAMED = RecordSettings("body", "key", ("lang", "year"))


def opened(content: bytes) -> io.BufferedReader:
    return io.BufferedReader(io.BytesIO(content))  # type: ignore[arg-type]


def json_lines(content: bytes, wanted: RecordSettings = PLAIN) -> list[Record | BadRecord]:
    return list(read_json_lines(opened(content), wanted))


def rows(content: bytes, wanted: RecordSettings = PLAIN, delimiter: str = ",") -> list[Record | BadRecord]:
    return list(read_delimited(opened(content), delimiter, wanted))


def reasons(records: list[Record | BadRecord]) -> list[str]:
    return [one.reason if isinstance(one, BadRecord) else one.text for one in records]


def test_each_line_is_a_record_with_its_id_and_metadata() -> None:
    lines = (
        b'{"key": "a", "body": "one", "year": 2024, "lang": null}\r\n\n{"key": 7, "body": null, "lang": {"x": [1.5]}}'
    )
    assert json_lines(lines, NAMED) == [
        Record("a", "one", {"year": 2024}),
        Record("7", "", {"lang": {"x": [1.5]}}),
    ]


def test_without_an_id_column_a_record_is_named_by_its_line() -> None:
    assert json_lines(b'{"text": "a"}\n\n{"text": "c"}\n') == [Record("1", "a", {}), Record("3", "c", {})]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_lines_with_a_byte_order_mark_are_read(encoding: str) -> None:
    assert json_lines('{"text": "äö\U0001f600"}\n{"text": "b"}'.encode(encoding)) == [
        Record("1", "äö\U0001f600", {}),
        Record("2", "b", {}),
    ]


@pytest.mark.parametrize(
    ("line", "bad"),
    [
        pytest.param(b'{"text": ', ("invalid_json", "unexpected end of data, at character 10"), id="cut"),
        pytest.param(b'{"text": NaN}', ("invalid_json", ""), id="not a number"),
        pytest.param(b'{"text": "\\ud800"}', ("invalid_json", ""), id="a lone surrogate"),
        pytest.param(b'["text"]', ("invalid_json", "the line is a list, not an object"), id="a list"),
        pytest.param(b'{"text": "caf\xe9"}', ("undecodable", "byte 13 of the line is no UTF-8"), id="latin-1"),
        pytest.param(b'{"text": 7}', ("not_text", "column 'text' is a int, not a text"), id="a number"),
        pytest.param(
            b'{"a": 1, "b": 2}',
            (
                "missing_column",
                "there is no field named 'text'; it has 'a', 'b'. documents.records says which are read",
            ),
            id="no text",
        ),
        pytest.param(b"[" * 100_000, ("invalid_json", ""), id="deep nesting"),
    ],
)
def test_a_bad_line_is_one_bad_record_and_the_next_is_read(line: bytes, bad: tuple[str, str]) -> None:
    first, second = json_lines(line + b'\n{"text": "next"}')
    assert isinstance(first, BadRecord)
    assert (first.record_id, first.reason) == ("1", bad[0])
    assert first.message == bad[1] or not bad[1]
    assert second == Record("2", "next", {})


@pytest.mark.parametrize(
    ("key", "reason"),
    [
        ('"a"', "duplicate_id"),
        ("null", "bad_id"),
        ('""', "bad_id"),
        ("true", "bad_id"),
        ("1.5", "bad_id"),
        (f'"{"x" * 501}"', "bad_id"),
    ],
)
def test_an_id_that_names_nothing_or_another_record_is_bad(key: str, reason: str) -> None:
    lines = f'{{"key": "a", "body": "one"}}\n{{"key": {key}, "body": "two"}}\n'.encode()
    first, second = json_lines(lines, NAMED)
    assert first == Record("a", "one", {})
    assert isinstance(second, BadRecord)
    assert (second.record_id, second.reason) == ("2", reason)


def test_an_id_is_written_so_that_it_fits_a_line() -> None:
    assert json_lines(b'{"key": "a\\nb%41 #", "body": ""}', NAMED) == [Record("a%0Ab%2541 #", "", {})]


def test_a_line_without_end_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record_lines, "MAX_RECORD_BYTES", 100)
    lines = b'{"text": "%s"}\n{"text": "next"}\n' % (b"x" * 1_000)
    assert json_lines(lines) == [
        BadRecord("1", "too_large", "the line has more than 100 bytes"),
        Record("2", "next", {}),
    ]


def test_rows_have_their_fields_by_the_header_and_quoted_line_ends() -> None:
    content = b'key,body,lang,year\r\na,"one, ""two""\r\nthree",de,2024\r\n\r\nb,,,\r\n'
    assert rows(content, NAMED) == [
        Record("a", 'one, "two"\r\nthree', {"lang": "de", "year": "2024"}),
        Record("b", "", {"lang": "", "year": ""}),
    ]


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_delimiter_is_the_one_that_finds_the_text_column(delimiter: str) -> None:
    content = delimiter.join(("id", "text", "n")) + "\n" + delimiter.join(("1", "words", "2"))
    assert rows(content.encode()) == [Record("1", "words", {})]


@pytest.mark.parametrize(
    ("content", "found"),
    [
        pytest.param(b"text,b\none,2,3\ntwo,2\n", ["ragged_row", "two"], id="too many fields"),
        pytest.param(b"text,b\none\ntwo,2\n", ["ragged_row", "two"], id="too few fields"),
        pytest.param(b'text,b\n"one" x,1\ntwo,2\n', ["invalid_csv", "two"], id="text after a quote"),
        pytest.param(b'text,b\none,1\n"two,2\n', ["one", "invalid_csv"], id="a quote never closed"),
        pytest.param(b"text,b\ncaf\xe9,1\ntwo,2\n", ["undecodable", "two"], id="an odd byte"),
        pytest.param(b"text\n", [], id="a header only"),
        pytest.param(b"", [], id="nothing"),
    ],
)
def test_a_bad_row_is_one_bad_record_and_the_next_is_read(content: bytes, found: list[str]) -> None:
    assert reasons(rows(content)) == found


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            b"a,b\n1,2\n",
            "missing_column: there is no column named 'text'; it has 'a', 'b'. documents.records says which",
        ),
        (b"text,text\n1,2\n", "ambiguous_column: there is two columns named 'text'"),
        (b'"text\n1,2\n', "missing_column: there is no column named 'text'; it has none"),
    ],
)
def test_a_header_without_the_wanted_columns_is_refused(content: bytes, message: str) -> None:
    with pytest.raises(UnreadableDocument) as caught:
        rows(content)
    assert str(caught.value).startswith(message)


def test_a_table_in_another_encoding_is_read_and_says_so() -> None:
    content = "text;n\r\nDie Bäckerei öffnet früh, über der Straße hängt Nebel;1\r\n" * 6
    first = rows(content.encode("cp1252"))[0]
    assert first == Record("1", "Die Bäckerei öffnet früh, über der Straße hängt Nebel", {"encoding": "cp1252"})


def test_a_field_without_end_ends_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    before = csv.field_size_limit(1_000)
    try:
        records = rows(b'text\none\n"' + b"x\n" * 5_000)
    finally:
        csv.field_size_limit(before)
    assert reasons(records) == ["one", "too_large"]


def test_a_large_file_is_read_a_piece_at_a_time() -> None:
    produced = 0

    class Endless(io.RawIOBase):
        def readable(self) -> bool:
            return True

        def readinto(self, buffer: bytearray) -> int:  # type: ignore[override]
            nonlocal produced
            line = b'{"text": "word word"}\n'
            produced += len(line)
            buffer[: len(line)] = line
            return len(line)

    records: Iterator[Record | BadRecord] = read_json_lines(io.BufferedReader(Endless()), PLAIN)
    assert [next(records) for _ in range(3)][2] == Record("3", "word word", {})
    assert produced < 100_000


TEXTS = st.text(st.characters(codec="utf-8"), max_size=40)


@given(st.lists(TEXTS, max_size=8))
@settings(max_examples=200, deadline=None)
def test_every_text_that_is_written_as_json_lines_is_read_again(texts: list[str]) -> None:
    lines = b"".join(orjson.dumps({"text": text}) + b"\n" for text in texts)
    escaped = "".join(json.dumps({"text": text}) + "\r\n" for text in texts).encode()
    expected = [Record(str(n), text, {}) for n, text in enumerate(texts, 1)]
    assert json_lines(lines) == json_lines(escaped) == expected


@given(st.lists(TEXTS, max_size=8), st.sampled_from(",;\t|"))
@settings(max_examples=200, deadline=None)
def test_every_text_that_is_written_as_csv_is_read_again(texts: list[str], delimiter: str) -> None:
    texts = [text.replace("\x00", "") for text in texts]  # Python 3.10 does not write it.
    out = io.StringIO(newline="")
    writer = csv.writer(out, delimiter=delimiter, quoting=csv.QUOTE_ALL)
    writer.writerow(["text", "n"])
    writer.writerows([text, n] for n, text in enumerate(texts))
    found = rows(out.getvalue().encode(), delimiter=delimiter)
    assert found == [Record(str(n), text, {}) for n, text in enumerate(texts, 1)]


@given(st.binary(max_size=300), st.sampled_from([b"text\n", b"text,b\n", b'{"text":"', b""]))
@settings(max_examples=300, deadline=None)
def test_any_bytes_are_records_or_refused(content: bytes, beginning: bytes) -> None:
    assert all(isinstance(record, Record | BadRecord) for record in json_lines(beginning + content))
    reason = ""
    try:
        for one in rows(beginning + content):
            (one.text if isinstance(one, Record) else one.message).encode()
    except UnreadableDocument as error:
        reason = str(error).partition(": ")[0]
    assert reason in ("", "missing_column", "ambiguous_column")
