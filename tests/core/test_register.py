import pytest

from transforms.core.register import (
    add_carries,
    add_entries,
    digest_of,
    dropped_keys,
    file_key,
    is_dropped,
    recall_files,
)
from transforms.records import Carry, FileEntry, FoundDocument


def entry(doc_id: str, digest: bytes = b"d", documents: int = 1, empty: int = 0, chunks: int = 2) -> FileEntry:
    return FileEntry(doc_id, digest, documents, empty, chunks)


def found(*doc_ids: str) -> list[FoundDocument]:
    return [FoundDocument(doc_id, f"docs/{doc_id}", 1) for doc_id in doc_ids]


def known(*entries: FileEntry) -> dict[str, FileEntry]:
    return {one.doc_id: one for one in entries}


def test_digest_changes_with_content_place_and_time() -> None:
    here = FoundDocument("a.md", "docs/a.md", 1)
    base = digest_of(here, b"content")
    assert base == digest_of(FoundDocument("a.md", "docs/a.md", 9, "2026-01-01T00:00:00+00:00"), b"content")
    others = [
        digest_of(here, b"other"),
        digest_of(FoundDocument("a.md", "moved/a.md", 1), b"content"),
        digest_of(here, b"content", "2026-01-01T00:00:00+00:00"),
    ]
    assert len({base, *others}) == 4


def test_shares_of_one_file_add_up_in_the_order_of_doc_ids() -> None:
    shares = [entry("b.md"), entry("a.jsonl", b"x", 3, 1, 4), entry("a.jsonl", b"x", 2, 0, 5)]
    assert add_entries(shares, ()) == [entry("a.jsonl", b"x", 5, 1, 9), entry("b.md")]


def test_file_that_changed_while_it_was_read_is_not_remembered() -> None:
    assert add_entries([entry("a.jsonl", b"x"), entry("a.jsonl", b"y")], ()) == [entry("a.jsonl", b"", 2, 0, 4)]


@pytest.mark.parametrize("rejected", ["a.jsonl", "a.jsonl#7", "a.jsonl#part#7"])
def test_file_with_a_reject_is_not_remembered(rejected: str) -> None:
    assert add_entries([entry("a.jsonl"), entry("b.md")], [rejected]) == [entry("a.jsonl", b""), entry("b.md")]


def test_reject_of_a_file_without_entry_changes_nothing() -> None:
    assert add_entries([entry("b.md")], ["gone.pdf"]) == [entry("b.md")]


def test_known_files_are_recalled_and_gone_ones_leave_their_rows_behind() -> None:
    recalled, carry = recall_files(found("a.md", "new.md"), known(entry("a.md"), entry("gone.md")))
    assert recalled == {"a.md": entry("a.md")}
    assert carry.active
    assert dropped_keys(carry) == {file_key("gone.md")}


@pytest.mark.parametrize(
    ("here", "before"),
    [
        pytest.param(["a.jsonl", "a.jsonl#1"], ["a.jsonl", "a.jsonl#1"], id="both remembered"),
        pytest.param(["a.jsonl", "a.jsonl#1"], ["a.jsonl#1"], id="the file of records is new"),
        pytest.param(["a.jsonl#1"], ["a.jsonl", "a.jsonl#1"], id="the file of records is gone"),
    ],
)
def test_files_that_rows_cannot_tell_apart_are_read_again(here: list[str], before: list[str]) -> None:
    recalled, _ = recall_files(found(*here), known(*map(entry, before)))
    assert {one.digest for one in recalled.values()} == {b""}
    assert set(recalled) == set(here) & set(before)


def test_hash_sign_in_a_name_alone_makes_nothing_unclear() -> None:
    recalled, _ = recall_files(found("c#.md"), known(entry("c#.md")))
    assert recalled == {"c#.md": entry("c#.md")}


def test_rows_of_dropped_files_and_of_their_records_are_dropped() -> None:
    dropped = dropped_keys(Carry(True, file_key("a.jsonl") + file_key("b.md")))
    names = ["a.jsonl", "a.jsonl#1", "a.jsonl#1#2", "b.md", "b.md.bak", "c.md", "xa.jsonl#1"]
    assert [name for name in names if is_dropped(name, dropped)] == ["a.jsonl", "a.jsonl#1", "a.jsonl#1#2", "b.md"]


def test_rows_are_taken_over_only_when_the_listing_said_so() -> None:
    assert add_carries([Carry(False, b"x"), Carry()]).active is False
    assert add_carries([Carry(False, b"x" * 16), Carry(True, b"y" * 16)]) == Carry(True, b"x" * 16 + b"y" * 16)
