import random
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.storage.builders import DIMENSION, hash_of, texts, vectors_of
from transforms.core.buckets import bucket_of
from transforms.storage.journal import Journal, JournalWriter
from transforms.storage.journal_frames import index_bytes, pack_frame, pack_index, read_frames, read_index
from transforms.storage.journal_writer import MAX_SEGMENT_BYTES
from transforms.storage.local_store import LocalStore
from transforms.storage.run_folder import RunFolder
from transforms.storage.store import MakeHead, Store, no_head

BITS = 2


def hashes_of(some: Sequence[str], bits: int = 0, bucket: int = 0) -> set[bytes]:
    return {hash_of(text) for text in some if bucket_of(hash_of(text), bits) == bucket}


def append(writer: JournalWriter, some: Sequence[str], bits: int = BITS) -> None:
    writer.append(bits, [hash_of(text) for text in some], vectors_of(some), 7, "tiny-1")


def write(store: Store, some: Sequence[str], run_id: str = "run", bits: int = BITS) -> None:
    with Journal(store, "f").writer(run_id) as writer:
        append(writer, some, bits)


def check_readable(journal: Journal, some: Sequence[str], bits: int = BITS) -> None:
    """Every bucket holds exactly its texts, each with its own vector."""
    for bucket in range(1 << bits):
        here = [text for text in some if bucket_of(hash_of(text), bits) == bucket]
        assert journal.read_hashes(bits, bucket) == hashes_of(here)
        found, vectors = journal.read_vectors(bits, bucket, [hash_of(text) for text in here], DIMENSION)
        assert found == [hash_of(text) for text in here]
        assert np.array_equal(vectors, vectors_of(here))


def test_paid_vectors_are_read_back_by_bucket(store: Store) -> None:
    some = texts(50)
    with Journal(store, "f").writer("run") as writer:
        append(writer, some[:20])
        append(writer, some[20:])
    check_readable(Journal(store, "f"), some)


@pytest.mark.parametrize("read_bits", [0, 1, 3, 5])
def test_a_run_with_another_number_of_buckets_reads_them(store: Store, read_bits: int) -> None:
    some = texts(60)
    write(store, some[:30], "one", bits=2)
    write(store, some[30:], "two", bits=3)
    check_readable(Journal(store, "f"), some, read_bits)


def test_only_wanted_vectors_are_returned_in_the_order_wanted_and_once(store: Store) -> None:
    some = texts(10)
    write(store, some, bits=0)
    write(store, some, "again", bits=0)
    wanted = [hash_of(some[7]), hash_of("unpaid"), hash_of(some[2]), hash_of(some[7])]
    found, vectors = Journal(store, "f").read_vectors(0, 0, wanted, DIMENSION)
    assert found == [hash_of(some[7]), hash_of(some[2])]
    assert np.array_equal(vectors, vectors_of([some[7], some[2]]))


def test_a_hash_that_numpy_robbed_of_its_zeros_is_found(local_store: Store) -> None:
    ends_in_zero = next(text for text in texts(2000) if hash_of(text).endswith(b"\0"))
    write(local_store, [ends_in_zero], bits=0)
    robbed = np.array([hash_of(ends_in_zero)], "S32").tolist()
    assert len(robbed[0]) < 32
    found, vectors = Journal(local_store, "f").read_vectors(0, 0, robbed, DIMENSION)
    assert found == [hash_of(ends_in_zero)]
    assert np.array_equal(vectors, vectors_of([ends_in_zero]))
    with Journal(local_store, "g").writer("run") as writer:
        writer.append(0, robbed, vectors_of([ends_in_zero]), 0, "")
    assert Journal(local_store, "g").read_hashes(0, 0) == {hash_of(ends_in_zero)}


def test_vectors_of_another_dimension_are_passed_over(local_store: Store) -> None:
    write(local_store, texts(3), bits=0)
    found, vectors = Journal(local_store, "f").read_vectors(0, 0, [hash_of("text 0")], 8)
    assert (found, vectors.shape) == ([], (0, 8))


def test_journals_of_other_fingerprints_are_not_read(store: Store) -> None:
    write(store, texts(3), bits=0)
    assert Journal(store, "other").read_hashes(0, 0) == set()


def test_an_answer_of_the_wrong_shape_is_refused(local_store: Store) -> None:
    with Journal(local_store, "f").writer("run") as writer:
        with pytest.raises(ValueError, match="2 texts, 1 vectors"):
            writer.append(0, [hash_of("a"), hash_of("b")], vectors_of(["a"]), 0, "")
        with pytest.raises(ValueError, match="32 bytes"):
            writer.append(0, [b"x" * 33], vectors_of(["a"]), 0, "")
        writer.append(0, [], vectors_of([]), 0, "")
    assert local_store.list_files("") == []


def _frames(count: int) -> list[bytes]:
    some = texts(count)
    return [pack_frame([hash_of(text)], vectors_of([text]), 5, "tiny") for text in some]


def test_a_torn_tail_of_any_length_costs_only_the_torn_frame() -> None:
    frames = _frames(3)
    data = b"".join(frames)
    whole = [len(frames[0]), len(frames[0]) + len(frames[1]), len(data)]
    for length in range(len(data) + 1):
        read = [frame.hash_list() for frame in read_frames(data[:length])]
        assert read == [[hash_of(f"text {n}")] for n in range(sum(end <= length for end in whole))]


def test_a_tail_of_zeros_is_ignored() -> None:
    frames = _frames(2)
    for kept in (0, 1, 4, 16, 40, len(frames[1]) - 1):
        data = frames[0] + frames[1][:kept] + b"\0" * 5000
        assert [frame.hash_list() for frame in read_frames(data)] == [[hash_of("text 0")]]


def test_any_damaged_byte_ends_the_reading_before_its_frame() -> None:
    frames = _frames(2)
    for at in range(len(frames[1])):
        data = bytearray(b"".join(frames))
        data[len(frames[0]) + at] ^= 0x40
        assert [frame.hash_list() for frame in read_frames(bytes(data))] == [[hash_of("text 0")]]


def test_an_index_names_the_hashes_of_the_frames_behind_it() -> None:
    frames = [pack_frame([hash_of(text) for text in some], vectors_of(some), 1, "m") for some in (["a", "b"], ["c"])]
    index = pack_index(frames)
    data = b"".join([index, *frames])
    assert index_bytes(data) == len(index) == 16 + 3 * 32
    assert read_index(index) == read_index(data) == [hash_of(text) for text in "abc"]
    assert [frame.hash_list() for frame in read_frames(data)] == [[hash_of("a"), hash_of("b")], [hash_of("c")]]
    assert read_index(b"".join(frames)) is None
    assert index_bytes(b"".join(frames)) == index_bytes(b"EBI1") == 0
    for at in range(len(index)):
        damaged = bytearray(index)
        damaged[at] ^= 1
        assert read_index(bytes(damaged)) is None
        assert read_index(index[:at]) is None


def test_a_segment_with_a_damaged_index_is_read_by_its_frames(local_store: Store) -> None:
    frame = pack_frame([hash_of("a")], vectors_of(["a"]), 1, "m")
    damaged = bytearray(pack_index([frame]))
    damaged[-1] ^= 1
    local_store.write_bytes("_journal/f/00-00000/run-abc.seg.000000", bytes(damaged) + frame)
    check_readable(Journal(local_store, "f"), ["a"], 0)


def test_frames_say_what_was_charged_and_by_whom() -> None:
    (frame,) = read_frames(pack_frame([hash_of("a")], vectors_of(["a"]), 2**40, "größte"))
    assert (frame.prompt_tokens, frame.model_reported, frame.texts, frame.dimension) == (2**40, "größte", 1, DIMENSION)


def test_an_answer_over_several_buckets_is_charged_once(local_store: Store) -> None:
    write(local_store, texts(40))
    files = local_store.list_files("_journal/f")
    charged = [frame.prompt_tokens for file in files for frame in read_frames(local_store.read_bytes(file.path))]
    assert sorted(charged) == [0, 0, 0, 7]


def test_many_threads_write_one_journal(local_store: Store) -> None:
    some = texts(400)
    with Journal(local_store, "f").writer("run", max_open_segments=3) as writer:
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda n: append(writer, some[n : n + 10], 3), range(0, 400, 10)))
        open_now = [f for f in local_store.list_files("_journal/f") if local_store.is_being_appended(f.path)]
        assert len(open_now) == 3
    check_readable(Journal(local_store, "f"), some, 3)


def test_segments_stay_small_enough_to_be_read_whole(local_store: Store) -> None:
    vectors = np.ones((20, 100_000), np.float32)
    with Journal(local_store, "f").writer("run") as writer:
        for number in range(5):
            writer.append(0, [hash_of(text) for text in texts(20, f"answer {number}")], vectors, 0, "")
    sizes = [file.size_bytes for file in local_store.list_files("_journal/f")]
    assert len(sizes) == 2
    assert max(sizes) <= MAX_SEGMENT_BYTES
    assert len(Journal(local_store, "f").read_hashes(0, 0)) == 100


def test_a_journal_sees_its_own_writers_answers_at_once(local_store: Store) -> None:
    journal = Journal(local_store, "f")
    assert journal.read_hashes(0, 0) == set()
    with journal.writer("run") as writer:
        append(writer, ["a"])
        assert journal.read_hashes(0, 0) == {hash_of("a")}
        append(writer, ["b"])
        assert journal.read_hashes(0, 0) == {hash_of("a"), hash_of("b")}


class CountingStore(LocalStore):
    """Counts listings; each is a request that costs on gs://."""

    listings = 0

    def list_files(self, folder: str) -> Any:
        type(self).listings += 1
        return super().list_files(folder)


def test_reading_a_thousand_buckets_lists_once(tmp_path: Path) -> None:
    store = CountingStore(str(tmp_path))
    write(store, texts(20), bits=10)
    CountingStore.listings = 0
    journal = Journal(store, "f")
    assert set().union(*(journal.read_hashes(10, bucket) for bucket in range(1024))) == hashes_of(texts(20))
    assert CountingStore.listings == 1


def test_refresh_shows_what_others_have_written_meanwhile(store: Store) -> None:
    journal = Journal(store, "f")
    assert journal.read_hashes(0, 0) == set()
    write(store, ["a"])
    assert journal.read_hashes(0, 0) == set()
    journal.refresh()
    assert journal.read_hashes(0, 0) == {hash_of("a")}


class SyncedStore(LocalStore):
    """A local store whose appenders tell when they are synced."""

    synced = threading.Event()
    sync_fails = False

    @property
    def sync_seconds(self) -> float:
        return 0.001

    def append(self, path: str, make_head: MakeHead = no_head) -> Any:
        appender = super().append(path, make_head)
        really_sync = appender.sync

        def sync() -> None:
            if SyncedStore.sync_fails:
                raise OSError(5, "Input/output error")
            really_sync()
            SyncedStore.synced.set()

        appender.sync = sync  # type: ignore[method-assign]
        return appender


def test_answers_are_synced_without_anybody_asking(tmp_path: Path) -> None:
    SyncedStore.synced.clear()
    with Journal(SyncedStore(str(tmp_path)), "f").writer("run") as writer:
        append(writer, ["a"])
        assert SyncedStore.synced.wait(10)


def test_a_disk_that_cannot_sync_stops_the_next_append(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SyncedStore, "sync_fails", True)
    before = set(threading.enumerate())
    writer = Journal(SyncedStore(str(tmp_path)), "f").writer("run")
    append(writer, ["a"])
    (thread,) = set(threading.enumerate()) - before
    thread.join(10)
    with pytest.raises(OSError, match="could not be synced"):
        append(writer, ["b"])
    with pytest.raises(OSError, match="Input/output error"):
        writer.close()


def test_a_closed_writer_leaves_no_thread_and_takes_nothing(local_store: Store) -> None:
    before = set(threading.enumerate())
    writer = Journal(local_store, "f").writer("run")
    append(writer, ["a"])
    assert [t.name for t in set(threading.enumerate()) - before] == ["journal-sync"]
    writer.close()
    writer.close()
    assert set(threading.enumerate()) <= before
    with pytest.raises(ValueError, match="closed"):
        append(writer, ["b"])


_WRITE = """
import sys
from tests.storage.builders import DIMENSION, hash_of, vectors_of
from transforms.storage.journal import Journal
from transforms.storage.store import open_store
writer = Journal(open_store(sys.argv[1]), "f").writer(sys.argv[2])
number = 0
while True:
    some = [f"{sys.argv[2]} {number} {n}" for n in range(5)]
    number += 1
    writer.append(3, [hash_of(text) for text in some], vectors_of(some), 1, "m")
    sys.stdout.write("".join(text + chr(10) for text in some))
    sys.stdout.flush()
"""


def test_every_answer_that_was_journaled_before_a_kill_is_read_after_it(local_store: Store) -> None:
    """Twelve writers, each killed at another moment: what they reported as journaled is all there, and never half."""
    seeded = random.Random(7)
    reported: list[str] = []
    for number in range(12):
        command = [sys.executable, "-c", _WRITE, local_store.root, f"run{number}"]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        for _ in range(seeded.randrange(1, 400)):
            reported.append(process.stdout.readline().strip())
        process.kill()
        reported += [line.strip() for line in process.stdout.read().splitlines(keepends=True) if line.endswith("\n")]
        process.stdout.close()
        process.wait()
    journal = Journal(local_store, "f")
    found = set().union(*(journal.read_hashes(3, bucket) for bucket in range(8)))
    assert hashes_of(reported) <= found
    assert len(found) <= len(reported) + 12 * 10
    for bucket in range(8):
        here = [text for text in reported if bucket_of(hash_of(text), 3) == bucket]
        hashes, vectors = journal.read_vectors(3, bucket, [hash_of(text) for text in here], DIMENSION)
        assert len(hashes) == len(here)
        assert np.array_equal(vectors, vectors_of(here))


def test_the_first_process_records_the_facts_for_all(store: Store) -> None:
    journal = Journal(store, "f")
    assert journal.facts() is None
    with ThreadPoolExecutor(8) as pool:
        seen = set(pool.map(lambda n: journal.record_facts(b"facts %d" % n), range(8)))
    assert seen == {journal.facts()}


def _held(some: Sequence[str]) -> Any:
    return lambda bits, bucket: hashes_of(some, bits, bucket)


def test_after_a_commit_the_runs_own_segments_and_held_ones_go(store: Store) -> None:
    some = texts(20)
    write(store, some[:10], "mine")
    write(store, some[5:8], "held")
    Journal(store, "f").record_facts(b"facts")
    removed = Journal(store, "f").remove_held("mine", _held(some))
    assert sum(size for _, size in removed) > 0
    assert store.list_files("") == []


def test_vectors_that_nobody_holds_stay(store: Store) -> None:
    some = texts(20)
    write(store, some[:10], "mine")
    write(store, some[8:12], "other")
    Journal(store, "f").record_facts(b"facts")
    journal = Journal(store, "f")
    journal.remove_held("mine", _held(some[:10]))
    left = set().union(*(journal.read_hashes(BITS, bucket) for bucket in range(1 << BITS)))
    assert hashes_of(some[10:12]) <= left <= hashes_of(some[8:12])
    assert journal.facts() == b"facts"


def test_what_a_living_writer_appends_to_stays(local_store: Store) -> None:
    with Journal(local_store, "f").writer("other") as writer:
        append(writer, ["a"])
        Journal(local_store, "f").remove_held("mine", _held(["a"]))
        append(writer, ["b"])
    assert Journal(local_store, "f").read_hashes(0, 0) == hashes_of(["a", "b"])


class BusyStore(LocalStore):
    """A local store on which something happens right after a segment was read."""

    after_read: list[Callable[[], None]] = []  # noqa: RUF012 - emptied by the one test that uses it

    def read_bytes(self, path: str) -> bytes:
        data = super().read_bytes(path)
        if path.endswith(".seg") and BusyStore.after_read:
            BusyStore.after_read.pop()()
        return data


def test_an_answer_that_is_appended_while_its_segment_is_judged_stays(tmp_path: Path) -> None:
    store = BusyStore(str(tmp_path))
    writer = Journal(store, "f").writer("other")
    append(writer, ["held"], 0)

    def append_and_end() -> None:
        append(writer, ["paid"], 0)
        writer.close()

    BusyStore.after_read.append(append_and_end)
    Journal(store, "f").remove_held("mine", _held(["held"]))
    if BusyStore.after_read:
        BusyStore.after_read.pop()()
    assert Journal(store, "f").read_hashes(0, 0) == hashes_of(["held", "paid"])


def test_facts_stay_while_another_run_lives(local_store: Store) -> None:
    journal = Journal(local_store, "f")
    journal.record_facts(b"facts")
    with RunFolder(local_store, "other").alive():
        journal.remove_held("mine", _held([]))
        assert journal.facts() == b"facts"
    journal.remove_held("mine", _held([]))
    assert journal.facts() is None


def test_an_empty_segment_of_a_killed_writer_goes(local_store: Store) -> None:
    local_store.append("_journal/f/00-00000/dead-1.seg").close()
    Journal(local_store, "f").remove_held("mine", _held([]))
    assert local_store.list_files("") == []
