import errno
import hashlib
import os
import pickle
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.storage.builders import commit_texts, texts
from transforms.errors import ConfigError
from transforms.storage.local_files import LocalAppender
from transforms.storage.local_store import LocalStore
from transforms.storage.store import Store, open_store


def names_in(store: Store, folder: str) -> list[str]:
    """Return all names in a local folder, hidden ones too."""
    return sorted(path.name for path in Path(store.root, folder).iterdir())


def test_written_bytes_are_read_back_and_replaced(store: Store) -> None:
    store.write_bytes("a/b.json", b"one")
    store.write_bytes("a/b.json", b"two")
    assert store.read_bytes("a/b.json") == b"two"
    assert store.exists("a/b.json")


def test_reading_what_is_not_there_raises_file_not_found(store: Store) -> None:
    with pytest.raises(FileNotFoundError):
        store.read_bytes("nothing")
    with pytest.raises(FileNotFoundError):
        store.open_parquet("nothing.parquet")
    with pytest.raises(FileNotFoundError):
        store.digest("nothing")
    assert not store.exists("nothing")


def test_create_bytes_succeeds_once(store: Store) -> None:
    assert store.create_bytes("claim", b"first")
    assert not store.create_bytes("claim", b"second")
    assert store.read_bytes("claim") == b"first"
    assert [file.path for file in store.list_files("")] == ["claim"]


def test_of_many_creators_at_once_exactly_one_wins(store: Store) -> None:
    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(lambda n: store.create_bytes("claim", b"%d" % n), range(16)))
    assert won.count(True) == 1
    assert store.read_bytes("claim") == b"%d" % won.index(True)


def test_replace_bytes_compares_with_what_was_read(store: Store) -> None:
    assert not store.replace_bytes("m", b"1", b"0")
    assert store.replace_bytes("m", b"1", None)
    assert not store.replace_bytes("m", b"2", None)
    assert not store.replace_bytes("m", b"2", b"0")
    assert store.replace_bytes("m", b"2", b"1")
    assert store.read_bytes("m") == b"2"


def test_of_many_replacers_at_once_exactly_one_wins(store: Store) -> None:
    store.write_bytes("m", b"old")
    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(lambda n: store.replace_bytes("m", b"new %d" % n, b"old"), range(16)))
    assert won.count(True) == 1
    assert store.read_bytes("m") == b"new %d" % won.index(True)


def test_listing_is_recursive_sorted_and_below_the_folder_only(store: Store) -> None:
    for path in ("a/2", "a/1/x", "ab/3", "b"):
        store.write_bytes(path, path.encode())
    assert [(file.path, file.size_bytes) for file in store.list_files("a")] == [("a/1/x", 5), ("a/2", 3)]
    assert [file.path for file in store.list_files("")] == ["a/1/x", "a/2", "ab/3", "b"]
    assert store.list_files("c") == []
    assert all(file.modified > 1.7e9 for file in store.list_files(""))


def test_deleting_is_fine_when_nothing_is_there(store: Store) -> None:
    store.write_bytes("a/1", b"")
    store.write_bytes("ab", b"")
    store.delete("a/none")
    store.delete_tree("none")
    store.delete_tree("a")
    assert [file.path for file in store.list_files("")] == ["ab"]
    store.delete("ab")
    assert store.list_files("") == []


def test_output_appears_whole_with_its_digest(store: Store) -> None:
    with store.open_output("v/part") as output:
        assert output.write(b"half") == 4
        assert not store.exists("v/part")
        assert store.list_files("") == []
        output.write(memoryview(b" whole"))
        output.close()
        assert output.closed
    assert store.read_bytes("v/part") == b"half whole"
    assert (output.size_bytes, output.sha256) == (10, hashlib.sha256(b"half whole").hexdigest())
    assert store.digest("v/part") == output.sha256


def test_output_is_not_there_after_an_exception(store: Store) -> None:
    def write_half() -> None:
        with store.open_output("v/part") as output:
            output.write(b"half")
            output.close()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_half()
    assert store.list_files("") == []
    if isinstance(store, LocalStore):
        assert names_in(store, "v") == []


def test_output_is_a_sink_for_parquet_that_reads_back(store: Store) -> None:
    table = pa.table({"n": pa.array(range(10_000)), "s": [str(n) for n in range(10_000)]})
    with store.open_output("v/part.parquet") as output, pq.ParquetWriter(output, table.schema) as writer:
        writer.write_table(table, row_group_size=1000)
    file = store.open_parquet("v/part.parquet")
    assert file.metadata.num_rows == 10_000
    assert file.read_row_group(3, columns=["s"]).column("s")[0].as_py() == "3000"
    assert file.read().equals(table)
    assert store.list_files("")[0].size_bytes == output.size_bytes


def test_opening_what_is_no_parquet_says_so(store: Store) -> None:
    store.write_bytes("x.parquet", b"no parquet at all")
    with pytest.raises(pa.ArrowInvalid):
        store.open_parquet("x.parquet")


def test_damage_inside_a_page_is_noticed_when_it_has_checksums(local_store: Store) -> None:
    table = pa.table({"n": pa.array(range(1000), pa.int64())})
    with (
        local_store.open_output("p") as output,
        pq.ParquetWriter(
            output, table.schema, compression="none", use_dictionary=False, write_page_checksum=True
        ) as writer,
    ):
        writer.write_table(table)
    damaged = bytearray(local_store.read_bytes("p"))
    damaged[1000] ^= 1
    local_store.write_bytes("p", bytes(damaged))
    with pytest.raises(OSError, match="CRC checksum"):
        local_store.open_parquet("p").read()


def test_link_gives_a_second_name_that_outlives_the_first(store: Store) -> None:
    store.write_bytes("versions/1/part", b"vectors")
    store.write_bytes("versions/2/part", b"in the way")
    store.link("versions/1/part", "versions/2/part")
    store.delete_tree("versions/1")
    assert store.read_bytes("versions/2/part") == b"vectors"


def test_move_replaces_the_target(store: Store) -> None:
    store.write_bytes("a/x", b"new")
    store.write_bytes("b/x", b"old")
    store.move("a/x", "b/x")
    assert [(file.path, file.size_bytes) for file in store.list_files("")] == [("b/x", 3)]


def test_a_file_system_without_hard_links_gets_copies(local_store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EPERM, "no hard links here")

    monkeypatch.setattr(os, "link", refuse)
    local_store.write_bytes("a", b"vectors")
    local_store.link("a", "b")
    assert local_store.read_bytes("b") == b"vectors"
    assert local_store.create_bytes("c", b"1")
    assert not local_store.create_bytes("c", b"2")
    assert local_store.read_bytes("c") == b"1"
    assert [file.path for file in local_store.list_files("")] == ["a", "b", "c"]


def test_a_local_folder_moves_in_one_step(local_store: Store) -> None:
    local_store.write_bytes("building/part", b"1")
    local_store.move("building", "versions/000001")
    assert [file.path for file in local_store.list_files("")] == ["versions/000001/part"]


def test_appended_frames_are_read_back_in_order(store: Store) -> None:
    appender = store.append("j/x.seg")
    for frame in (b"one ", b"two ", b"three"):
        appender.append(frame)
    appender.sync()
    appender.append(b" four")
    appender.close()
    appender.close()
    assert b"".join(store.read_bytes(file.path) for file in store.list_files("j")) == b"one two three four"


def test_an_appender_is_seen_alive_until_it_is_closed(local_store: Store) -> None:
    appender = local_store.append("j/x.seg")
    assert local_store.is_being_appended("j/x.seg")
    assert not local_store.delete_unless_appended("j/x.seg")
    appender.close()
    assert not local_store.is_being_appended("j/x.seg")
    assert local_store.delete_unless_appended("j/x.seg")
    assert local_store.delete_unless_appended("j/x.seg")
    assert not local_store.exists("j/x.seg")


def test_a_frame_that_a_full_disk_cuts_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    appender = LocalAppender(tmp_path / "x.seg")
    appender.append(b"whole")
    really_write, calls = os.write, [0]

    def write_half(descriptor: int, data: bytes) -> int:
        calls[0] += 1
        if calls[0] == 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        return really_write(descriptor, bytes(data)[: len(data) // 2])

    monkeypatch.setattr(os, "write", write_half)
    with pytest.raises(OSError, match="No space left"):
        appender.append(b"does not fit")
    monkeypatch.setattr(os, "write", really_write)
    appender.append(b" again")
    appender.close()
    assert (tmp_path / "x.seg").read_bytes() == b"whole again"


_HOLD = """
import sys
from transforms.storage.store import open_store
store = open_store(sys.argv[1])
if sys.argv[2] == "append":
    held = store.append("j/x.seg")
    held.append(b"paid")
elif sys.argv[2] == "output":
    held = store.open_output("v/part")
    held.write(b"half")
else:
    held = store.lock("commit")
    held.__enter__()
sys.stdout.write("held\\n")
sys.stdout.flush()
sys.stdin.read()
"""


def _hold(store: Store, what: str) -> "subprocess.Popen[bytes]":
    process = subprocess.Popen(
        [sys.executable, "-c", _HOLD, store.root, what], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"held\n"
    return process


def _kill(process: "subprocess.Popen[bytes]") -> None:
    process.kill()
    process.communicate()


def test_an_appender_of_a_killed_process_is_dead_and_its_frame_is_there(local_store: Store) -> None:
    process = _hold(local_store, "append")
    assert local_store.is_being_appended("j/x.seg")
    _kill(process)
    assert not local_store.is_being_appended("j/x.seg")
    assert local_store.read_bytes("j/x.seg") == b"paid"


def test_a_lock_is_free_when_its_holder_is_killed(local_store: Store) -> None:
    process = _hold(local_store, "lock")
    got = threading.Event()

    def take() -> None:
        with local_store.lock("commit"):
            got.set()

    waiting = threading.Thread(target=take)
    waiting.start()
    assert not got.is_set()
    _kill(process)
    assert got.wait(10)
    waiting.join()


def test_a_lock_keeps_others_out_and_leaves_no_file(local_store: Store) -> None:
    local_store.write_bytes("count", b"0")

    def work(_: int) -> None:
        for _ in range(10):
            with local_store.lock("commit"):
                local_store.write_bytes("count", b"%d" % (int(local_store.read_bytes("count")) + 1))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    assert local_store.read_bytes("count") == b"80"
    assert [file.path for file in local_store.list_files("")] == ["count"]


def test_leftovers_of_the_killed_go_and_those_of_the_living_stay(local_store: Store) -> None:
    process = _hold(local_store, "output")
    with local_store.open_output("v/other") as output:
        output.write(b"half")
        local_store.delete_leftovers()
        assert len(names_in(local_store, "v")) == 2
        _kill(process)
        local_store.delete_leftovers()
        assert len(names_in(local_store, "v")) == 1
    assert names_in(local_store, "v") == ["other"]


def test_empty_folders_go_and_others_stay(local_store: Store) -> None:
    local_store.write_bytes("j/a/1", b"")
    local_store.write_bytes("j/b/c/2", b"")
    local_store.delete("j/b/c/2")
    local_store.delete_empty_folders("j")
    assert sorted(names_in(local_store, "j")) == ["a"]
    local_store.delete("j/a/1")
    local_store.delete_empty_folders("j")
    assert names_in(local_store, "") == []


def test_writers_survive_a_neighbour_that_tidies_up(local_store: Store) -> None:
    done = threading.Event()

    def tidy() -> None:
        while not done.is_set():
            local_store.delete_empty_folders("j")

    tidying = threading.Thread(target=tidy)
    tidying.start()
    try:
        for number in range(20):
            local_store.write_bytes(f"j/k/{number}", b"x")
            local_store.delete(f"j/k/{number}")
            local_store.append(f"j/l/{number}.seg").close()
            local_store.delete(f"j/l/{number}.seg")
    finally:
        done.set()
        tidying.join()


def test_a_folder_that_may_not_be_written_is_refused_with_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(
        ConfigError, match=r"cannot write to the dataset folder .*file/dataset: Not a directory\. Choose"
    ):
        open_store(str(tmp_path / "file" / "dataset")).check_writable()


def test_a_writable_folder_passes_and_nothing_is_left(store: Store) -> None:
    store.check_writable()
    assert store.list_files("") == []


@pytest.mark.parametrize("root", ["", "s3://bucket/x", "gs://", "gs:///x"])
def test_an_address_that_is_no_dataset_is_refused(root: str) -> None:
    with pytest.raises(ConfigError, match="gs://bucket/prefix"):
        open_store(root)


@pytest.mark.parametrize("path", ["/etc/passwd", "a/../../b"])
def test_a_path_out_of_the_root_is_refused(local_store: Store, path: str) -> None:
    with pytest.raises(ValueError, match="relative"):
        local_store.read_bytes(path)


def test_stores_travel_to_other_processes(store: Store) -> None:
    store.write_bytes("a", b"1")
    assert pickle.loads(pickle.dumps(store)).read_bytes("a") == b"1"


def test_power_loss_finds_every_file_synced_before_its_name_and_every_name_before_the_next_step(
    local_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Records what a commit asks of the disk: no rename of bytes that are not synced, no rename left unsynced."""
    synced: set[str] = set()
    unsynced_names: set[str] = set()
    really_sync, really_replace = os.fsync, os.replace

    def sync(descriptor: int) -> None:
        path = str(Path(f"/proc/self/fd/{descriptor}").readlink())
        synced.add(path)
        unsynced_names.discard(path)
        really_sync(descriptor)

    def replace(source: str, target: str) -> None:
        assert os.fspath(source) in synced
        assert not unsynced_names
        really_replace(source, target)
        unsynced_names.update({str(Path(target).parent), str(Path(source).parent)})

    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(os, "replace", replace)
    first = commit_texts(local_store, texts(6), None)
    commit_texts(local_store, texts(7), first)
    assert not unsynced_names
    assert f"{local_store.root}/_journal/runs/run/version" in synced
