import dataclasses
from pathlib import Path

import pytest

from tests.support.datasets import DatasetBuilder, embed_by_hash, make_stamp
from transforms.core.manifest import Manifest
from transforms.records import FileEntry
from transforms.storage.registers import REGISTER, pack_entries, read_register, register_bytes, unpack_entries
from transforms.storage.store import open_store

ENTRIES = [FileEntry("a.md", b"\x00digest", 1, 0, 2), FileEntry("b.jsonl", b"", 3, 1, 1)]


def commit(folder: Path, entries: list[FileEntry]) -> Manifest:
    manifest = DatasetBuilder(folder, make_stamp(), embed_by_hash()).commit(
        {"a.md": ["one", "two"], "b.jsonl#1": ["x"]}
    )
    (folder / f"versions/000001/{REGISTER}").write_bytes(register_bytes(entries, "settings"))
    return manifest


def test_entries_come_back_from_their_journey() -> None:
    assert unpack_entries(pack_entries(ENTRIES)) == ENTRIES
    assert unpack_entries(pack_entries([])) == []


def test_register_is_read_back_by_doc_id(tmp_path: Path) -> None:
    manifest = commit(tmp_path, ENTRIES)
    found = read_register(open_store(str(tmp_path)), manifest, "settings")
    assert found == {"a.md": ENTRIES[0], "b.jsonl": ENTRIES[1]}


def test_register_is_the_same_bytes_for_the_same_entries() -> None:
    assert register_bytes(ENTRIES, "settings") == register_bytes(ENTRIES, "settings")


@pytest.mark.parametrize(
    ("entries", "reading", "kept"),
    [
        pytest.param(ENTRIES, "other settings", True, id="documents were cut with other settings"),
        pytest.param(ENTRIES[:1], "settings", True, id="it does not account for every row"),
        pytest.param(ENTRIES, "settings", False, id="it is missing"),
    ],
)
def test_register_that_cannot_be_trusted_is_none(
    tmp_path: Path, entries: list[FileEntry], reading: str, kept: bool
) -> None:
    manifest = commit(tmp_path, entries)
    if not kept:
        (tmp_path / f"versions/000001/{REGISTER}").unlink()
    assert read_register(open_store(str(tmp_path)), manifest, reading) is None


def test_torn_register_is_none(tmp_path: Path) -> None:
    manifest = commit(tmp_path, ENTRIES)
    path = tmp_path / f"versions/000001/{REGISTER}"
    path.write_bytes(path.read_bytes()[:-9])
    assert read_register(open_store(str(tmp_path)), manifest, "settings") is None


def test_rows_that_were_refused_are_accounted_for(tmp_path: Path) -> None:
    manifest = commit(tmp_path, [ENTRIES[0], dataclasses.replace(ENTRIES[1], chunks=3)])
    refused = dataclasses.replace(manifest, summary={**manifest.summary, "chunks_rejected": 2})
    assert read_register(open_store(str(tmp_path)), refused, "settings") is not None
