import os
from pathlib import Path

import pytest

from transforms.errors import ConfigError, RunRefused, UnreadableDocument
from transforms.storage.documents import find_documents, read_document
from transforms.storage.store import Store

TREE = ["docs/a.md", "docs/b.txt", "docs/guide/c.md", "docs/guide/deep/d.md", "docs/.hidden/e.md", "docs/.f.md", "x.md"]


def make_tree(root: Path, paths: list[str]) -> None:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(path.encode())


def ids(*patterns: str) -> list[str]:
    return [document.doc_id for document in find_documents(patterns)]


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    make_tree(tmp_path, TREE)
    monkeypatch.chdir(tmp_path)
    return tmp_path


PATTERNS = [
    ("docs/**/*.md", ["a.md", "guide/c.md", "guide/deep/d.md"]),
    ("docs/**", ["a.md", "b.txt", "guide/c.md", "guide/deep/d.md"]),
    ("docs/*.md", ["a.md"]),
    ("docs/*/*.md", ["guide/c.md"]),
    ("docs/gu??e/[a-c].md", ["guide/c.md"]),
    ("docs/[!b].*", ["a.md"]),
    ("docs/**/deep/**/*.md", ["guide/deep/d.md"]),
    ("docs/**/**/*.md", ["a.md", "guide/c.md", "guide/deep/d.md"]),
    ("docs/.*", [".f.md"]),
    ("docs/.hidden/*.md", ["e.md"]),
    ("docs/guide/c.md", ["c.md"]),
    ("docs/*", ["a.md", "b.txt"]),
    ("docs/guide", []),
    ("nowhere/**/*.md", []),
    ("docs/a.md/*", []),
    ("*.md", ["x.md"]),
    ("d*/guide/*.md", ["docs/guide/c.md"]),
]


@pytest.mark.parametrize(("pattern", "expected"), PATTERNS)
def test_patterns_match_as_in_a_shell(tree: Path, pattern: str, expected: list[str]) -> None:
    assert ids(pattern) == expected
    assert ids(f"{tree}/{pattern}") == expected
    assert ids(f"./{pattern}") == expected


@pytest.mark.engines
@pytest.mark.parametrize(("pattern", "expected"), PATTERNS)
def test_patterns_match_objects_as_they_match_files(gs_store: Store, pattern: str, expected: list[str]) -> None:
    for path in TREE:
        gs_store.write_bytes(path, path.encode())
    gs_store.write_bytes("docs/guide/placeholder/", b"")
    found = find_documents([f"{gs_store.root}/{pattern}"])
    assert [document.doc_id for document in found] == expected
    for document in found:
        content = read_document(document.source_uri)
        assert f"{gs_store.root}/{content.decode()}" == document.source_uri
        assert document.size_bytes == len(content)
        assert document.modified.startswith("20")


def test_a_found_document_says_where_it_is_and_how_big(tree: Path) -> None:
    os.utime(tree / "docs/a.md", (86_400, 86_400))
    (document,) = find_documents(["docs/*.md"])
    assert document.source_uri == "docs/a.md"
    assert (document.size_bytes, document.modified) == (9, "1970-01-02T00:00:00+00:00")
    assert read_document(document.source_uri) == b"docs/a.md"


def test_a_file_that_several_patterns_match_counts_once_for_the_first(tree: Path) -> None:
    assert ids("docs/guide/*.md", "docs/**/*.md", "./docs/a.md") == ["a.md", "c.md", "guide/deep/d.md"]


def test_two_files_of_one_doc_id_are_refused_with_the_remedy(tree: Path) -> None:
    make_tree(tree, ["other/a.md"])
    with pytest.raises(
        ConfigError, match=r"same doc_id 'a\.md': docs/a\.md and other/a\.md\. Use one pattern that begins"
    ):
        find_documents(["docs/*.md", "other/*.md"])


def test_folders_with_the_name_of_a_document_are_no_documents(tree: Path) -> None:
    (tree / "docs/folder.md").mkdir()
    assert "folder.md" not in ids("docs/*.md")
    assert "folder.md" not in ids("docs/**")


def test_links_in_a_circle_do_not_hang_and_links_to_files_count(tree: Path) -> None:
    (tree / "docs/guide/up").symlink_to(tree / "docs")
    (tree / "docs/self").symlink_to(tree / "docs/self")
    (tree / "docs/gone.md").symlink_to(tree / "docs/nothing")
    (tree / "docs/link.md").symlink_to(tree / "x.md")
    assert ids("docs/**/*.md") == ["a.md", "guide/c.md", "guide/deep/d.md", "link.md"]


ODD = [b"caf\xe9.md", b"two\nlines.md", b"caf%E9.md", b"100%.md", b"%\xff.md", "größe.md".encode(), b"tab\t.md"]


def test_odd_names_have_doc_ids_that_encode_and_are_read(tmp_path: Path) -> None:
    for name in ODD:
        (tmp_path / os.fsdecode(name)).write_bytes(name)
    found = find_documents([f"{tmp_path}/*.md"])
    assert sorted(document.doc_id for document in found) == sorted(
        ["caf%E9.md", "two%0Alines.md", "caf%25E9.md", "100%.md", "%%FF.md", "größe.md", "tab%09.md"]
    )
    for document in found:
        document.doc_id.encode()
        document.source_uri.encode()
        assert "\n" not in document.source_uri
    assert sorted(read_document(document.source_uri) for document in found) == sorted(ODD)


def test_a_folder_that_may_not_be_listed_stops_the_run(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    really_scan = os.scandir

    def refuse(path: Path) -> object:
        if str(path).endswith("deep"):
            raise PermissionError(13, "Permission denied", str(path))
        return really_scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(RunRefused, match=r"cannot list docs/guide/deep: Permission denied\. .*vanish"):
        find_documents(["docs/**/*.md"])


def test_a_document_that_vanished_is_unreadable(tree: Path) -> None:
    with pytest.raises(UnreadableDocument, match=r"^vanished: docs/none\.md was there"):
        read_document("docs/none.md")


def test_a_folder_is_unreadable(tree: Path) -> None:
    with pytest.raises(UnreadableDocument, match=r"^is_directory: docs/guide is"):
        read_document("docs/guide")


def test_a_document_beyond_a_gigabyte_is_unreadable(tree: Path) -> None:
    with (tree / "huge").open("wb") as file:
        file.truncate((1 << 30) + 1)
    with pytest.raises(UnreadableDocument, match=r"^too_large: huge has 1073741825 bytes"):
        read_document("huge")


@pytest.mark.parametrize(
    ("error", "reason"),
    [(PermissionError(13, "Permission denied"), "permission"), (OSError(5, "I/O error"), "unreadable")],
)
def test_what_the_system_refuses_is_unreadable(
    tree: Path, monkeypatch: pytest.MonkeyPatch, error: OSError, reason: str
) -> None:
    def refuse(*_: object) -> None:
        raise error

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(UnreadableDocument, match=f"^{reason}: .*docs/a.md"):
        read_document("docs/a.md")


@pytest.mark.engines
def test_an_object_that_vanished_is_unreadable(gs_store: Store) -> None:
    with pytest.raises(UnreadableDocument, match=r"^vanished: gs://"):
        read_document(f"{gs_store.root}/none.md")


@pytest.mark.engines
def test_a_bucket_that_is_not_there_stops_the_run(gs_store: Store) -> None:
    with pytest.raises(RunRefused, match=r"cannot list gs://no-such-bucket/\*\*"):
        find_documents(["gs://no-such-bucket/**"])
