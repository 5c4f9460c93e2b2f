"""What is particular to a bucket: what is asked again and what is not, who pays, and what a writer leaves that dies."""

import hashlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable

import pytest

from tests.engines.engines import environment, wait_until
from tests.storage.builders import commit_texts, hash_of, texts, vectors_of
from tests.storage.conftest import UNCLOSED
from tests.storage.faulty_proxy import Asked, Fault, Proxy
from transforms.errors import ConfigError
from transforms.storage import gcs_client, gcs_uploads
from transforms.storage.documents import find_documents, open_document, read_document
from transforms.storage.garbage import collect_garbage, verify_version
from transforms.storage.gcs import GcsStore
from transforms.storage.gcs_uploads import FLUSH_BYTES, FLUSH_SECONDS, GcsAppender
from transforms.storage.journal import Journal
from transforms.storage.previous_version import PreviousVersion
from transforms.storage.run_folder import RunFolder
from transforms.storage.store import Store, no_head, open_store
from transforms.storage.versions import remove_old_versions

pytestmark = [pytest.mark.engines, UNCLOSED]


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gcs_client.RETRY, "_initial", 0.01)


def first_time(fault: Fault) -> Callable[[Asked], Fault]:
    return lambda asked: None if asked.repeated or asked.is_session else fault


@pytest.mark.parametrize("fault", ["lose", "reset after"])
def test_an_upload_of_which_the_answer_was_lost_counts_as_ours_and_no_other_does(
    gs_store: Store, proxy: Proxy, fault: Fault
) -> None:
    """The library repeats the upload, and its precondition fails because of the first one."""
    gs_store.write_bytes("manifest.json", b"old")
    gs_store.write_bytes("taken", b"another's")
    proxy.spoil = first_time(fault)
    assert gs_store.create_bytes("claim", b"mine")
    assert gs_store.replace_bytes("manifest.json", b"new", b"old")
    assert not gs_store.create_bytes("taken", b"mine")
    assert not gs_store.replace_bytes("manifest.json", b"newer", b"old")
    assert [gs_store.read_bytes(path) for path in ("taken", "claim", "manifest.json")] == [
        b"another's",
        b"mine",
        b"new",
    ]


CALLS: dict[str, Callable[[Store], object]] = {
    "read": lambda store: store.read_bytes("there"),
    "head": lambda store: store.read_head("there", 2),
    "list": lambda store: store.list_files(""),
    "exists": lambda store: store.exists("there"),
    "write": lambda store: store.write_bytes("new", b"x"),
    "create": lambda store: store.create_bytes("new", b"x"),
    "delete": lambda store: store.delete("there"),
    "link": lambda store: store.link("there", "second"),
    "digest": lambda store: store.digest("there"),
}


@pytest.mark.parametrize("call", sorted(CALLS))
@pytest.mark.parametrize("fault", [408, 429, 500, 502, 503, 504, "reset", "cut"])
def test_what_may_be_repeated_is_repeated(gs_store: Store, proxy: Proxy, call: str, fault: Fault) -> None:
    gs_store.write_bytes("there", b"bytes")
    proxy.forget()
    proxy.spoil = first_time(fault)
    CALLS[call](gs_store)
    assert max(one.repeated for one in proxy.asked) >= 1
    assert len(proxy.asked) <= 7


@pytest.mark.parametrize("call", ["read_bytes", "open_parquet", "digest"])
def test_an_answer_that_breaks_off_while_it_says_that_there_is_nothing_is_asked_for_again(
    gs_store: Store, proxy: Proxy, call: str
) -> None:
    proxy.spoil = first_time("cut")
    with pytest.raises(FileNotFoundError):
        getattr(gs_store, call)("nothing")
    assert len(proxy.asked) == 2


@pytest.mark.parametrize("call", sorted(CALLS))
@pytest.mark.parametrize(("status", "error"), [(400, OSError), (401, PermissionError), (403, PermissionError)])
def test_what_cannot_get_better_is_asked_once(
    gs_store: Store, proxy: Proxy, call: str, status: int, error: type[OSError]
) -> None:
    gs_store.write_bytes("there", b"bytes")
    proxy.forget()
    proxy.spoil = lambda asked: status
    with pytest.raises(error):
        CALLS[call](gs_store)
    assert len(proxy.asked) == 1


def test_a_server_that_goes_on_failing_is_given_up(
    gs_store: Store, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gcs_client.RETRY, "_timeout", 0.2)
    proxy.spoil = lambda asked: 503
    with pytest.raises(OSError, match="the bucket does not answer"):
        gs_store.write_bytes("x", b"x")
    assert len(proxy.asked) > 2


@pytest.mark.parametrize("fault", [503, "reset"])
def test_a_large_upload_goes_on_in_the_middle(
    gs_store: Store, proxy: Proxy, monkeypatch: pytest.MonkeyPatch, fault: Fault
) -> None:
    monkeypatch.setattr(gcs_uploads, "UPLOAD_BYTES", 4 << 20)
    data = os.urandom(18 << 20)
    proxy.spoil = lambda asked: fault if asked.is_session and asked.number == 3 else None
    with gs_store.open_output("big") as output:
        output.write(data)
    assert gs_store.digest("big") == hashlib.sha256(data).hexdigest() == output.sha256
    pieces = [len(one.sent) for one in proxy.asked if one.is_session]
    assert max(pieces) == 4 << 20
    assert sum(pieces) <= (18 << 20) + (4 << 20)


@pytest.mark.parametrize("fault", ["lose", "reset after"])
def test_a_large_upload_that_arrives_with_another_checksum_is_sent_again(
    gs_store: Store, proxy: Proxy, monkeypatch: pytest.MonkeyPatch, fault: Fault
) -> None:
    """This server counts a repeated piece twice, which Google's does not; a network that flips bits looks the same."""
    monkeypatch.setattr(gcs_uploads, "UPLOAD_BYTES", 1 << 20)
    data = os.urandom(9 << 20)
    proxy.spoil = lambda asked: fault if asked.is_session and asked.number == 3 else None
    with gs_store.open_output("big") as output:
        output.write(data)
    assert gs_store.digest("big") == hashlib.sha256(data).hexdigest() == output.sha256
    assert sum(one.method == "DELETE" for one in proxy.asked) == 1


_UPLOAD = """
import os, sys
from transforms.storage import gcs_uploads
from transforms.storage.store import open_store
gcs_uploads.UPLOAD_BYTES = 1 << 20
with open_store(sys.argv[1]).open_output("part") as output:
    output.write(os.urandom(20 << 20))
"""


@pytest.mark.parametrize("ending", [signal.SIGKILL, signal.SIGINT])
def test_a_writer_that_ends_in_the_middle_of_an_upload_leaves_nothing(
    gs_store: Store, proxy: Proxy, ending: signal.Signals
) -> None:
    reached, go_on = threading.Event(), threading.Event()

    def spoil(asked: Asked) -> Fault:
        if sum(one.is_session for one in proxy.asked) == 5:
            reached.set()
            go_on.wait(30)
        return None

    proxy.spoil = spoil
    with subprocess.Popen(
        [sys.executable, "-c", _UPLOAD, gs_store.root], env=environment(), stderr=subprocess.DEVNULL
    ) as process:
        assert reached.wait(30)
        process.send_signal(ending)
        process.wait(30)
        go_on.set()
    proxy.spoil = lambda asked: None
    assert process.returncode != 0
    assert gs_store.list_files("") == []


def test_a_folder_of_objects_is_listed_in_one_request_with_what_the_store_vouches_for(
    gs_store: Store, proxy: Proxy
) -> None:
    with gs_store.open_output("part") as output:
        output.write(b"a" * 100)
    gs_store.link("part", "linked")
    gs_store.write_bytes("plain", b"x")
    proxy.forget()
    found = {file.path: file.sha256 for file in gs_store.list_files("")}
    assert found == {"part": output.sha256, "linked": output.sha256, "plain": None}
    assert len(proxy.asked) == 1


@pytest.mark.parametrize("keeps_note", [True, False])
def test_a_part_that_was_replaced_by_as_many_bytes_counts_as_absent(gs_store: Store, keeps_note: bool) -> None:
    """The bucket's own checksum tells, without a byte being read; the note alone proves nothing."""
    manifest = commit_texts(gs_store, texts(40), None, bits=1)
    first, second = manifest.parts
    damaged = bytearray(gs_store.read_bytes(first.path))
    damaged[100] ^= 1
    assert isinstance(gs_store, GcsStore)
    blob = gs_store._look_up(first.path)
    if not keeps_note:
        blob.metadata = {**blob.metadata, "sha256": second.sha256}
    blob.upload_from_string(bytes(damaged))
    previous = PreviousVersion(gs_store, manifest)
    assert previous.check_parts() == (
        f"{first.path} is damaged: its sha256 is not the manifest's; this run makes it anew",
    )
    assert previous.part_of(1, 1) == second


def test_a_dataset_that_was_copied_without_its_notes_is_whole(gs_store: Store) -> None:
    manifest = commit_texts(gs_store, texts(40), None, bits=1)
    for part in manifest.parts:
        gs_store.write_bytes(part.path, gs_store.read_bytes(part.path))
    assert PreviousVersion(gs_store, manifest).check_parts() == ()


def test_a_part_is_vouched_for_as_long_as_later_versions_take_it_over(gs_store: Store, proxy: Proxy) -> None:
    manifest = commit_texts(gs_store, texts(40), None, bits=1)
    gs_store.link(manifest.parts[0].path, "versions/000002/part")
    gs_store.move("versions/000002/part", "versions/000003/part")
    (file,) = gs_store.list_files("versions/000003")
    assert file.sha256 == manifest.parts[0].sha256
    copies = [one.sent for one in proxy.asked if "/rewriteTo/" in one.path]
    assert all(
        manifest.parts[0].sha256.encode() in sent for sent in copies[-2:]
    )  # not every server keeps notes by itself


def test_every_request_names_who_is_billed(gs_store: Store, proxy: Proxy, gcs_bucket: str) -> None:
    store = open_store(gs_store.root, "payer-1")
    first = commit_texts(store, texts(20), None)
    second = commit_texts(store, texts(21), first)
    with Journal(store, "f").writer("run") as writer:
        writer.append(0, [hash_of("a")], vectors_of(["a"]), 0, "")
    assert Journal(store, "f").read_hashes(0, 0) == {hash_of("a")}
    assert verify_version(store, second) == []
    PreviousVersion(store, second).read_rows(0, 0)
    with store.open_output("big") as output:
        output.write(os.urandom(9 << 20))
    store.replace_bytes("manifest.json", b"{}", b"no")
    store.exists("big")
    store.check_writable()
    remove_old_versions(store, 1)
    collect_garbage(store, 1)
    (document,) = find_documents([f"{store.root}/bi*"], "payer-1")
    with open_document(document.source_uri, "payer-1") as file:
        file.read(10)
    read_document(document.source_uri, "payer-1")
    store.delete_tree("")
    methods = {one.method for one in proxy.asked}
    assert methods == {"GET", "POST", "PUT", "DELETE"}
    assert [one for one in proxy.asked if one.query.get("userProject") != ["payer-1"] and not one.is_session] == []


def test_without_a_billing_project_nobody_is_named(gs_store: Store, proxy: Proxy) -> None:
    commit_texts(gs_store, texts(5), None)
    assert not any("userProject" in one.query for one in proxy.asked)


def test_a_bucket_of_which_the_requester_pays_names_the_remedy(gs_store: Store, proxy: Proxy) -> None:
    proxy.message = "Bucket is a requester pays bucket but no user project provided."
    proxy.spoil = lambda asked: 400
    with pytest.raises(ConfigError, match=r"cannot write to gs://.*google_cloud\.billing_project in the config"):
        gs_store.check_writable()


def test_the_first_access_without_credentials_takes_no_search(gs_store: Store) -> None:
    """Looking for credentials takes 20 s; a new process that is told of an emulator does not look."""
    script = "import sys; from transforms.storage.store import open_store; open_store(sys.argv[1]).list_files('')"
    subprocess.run([sys.executable, "-c", script, gs_store.root], check=True, timeout=15)


def test_frames_are_put_when_many_bytes_have_gathered_or_the_oldest_is_old(gs_store: Store) -> None:
    now = [0.0]
    appender = GcsAppender(gs_store.write_bytes, "j/x.seg", no_head, lambda: now[0])
    appender.append(b"a")
    now[0] = FLUSH_SECONDS - 0.1
    appender.append(b"b")
    assert gs_store.list_files("j") == []
    now[0] = FLUSH_SECONDS
    appender.append(b"c")
    assert [(file.path, file.size_bytes) for file in gs_store.list_files("j")] == [("j/x.seg.000000", 3)]
    appender.append(b"x" * FLUSH_BYTES)
    assert len(gs_store.list_files("j")) == 2
    appender.append(b"d")
    assert len(gs_store.list_files("j")) == 2
    appender.close()
    assert gs_store.read_bytes("j/x.seg.000002") == b"d"


def test_frames_of_which_the_upload_failed_are_put_by_the_next(
    gs_store: Store, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gcs_client.RETRY, "_timeout", 0.05)
    appender = GcsAppender(gs_store.write_bytes, "j/x.seg", lambda frames: b"%d:" % len(frames))
    appender.append(b"a")
    proxy.spoil = lambda asked: 503
    with pytest.raises(OSError, match="does not answer"):
        appender.sync()
    proxy.spoil = lambda asked: None
    appender.append(b"b")
    appender.close()
    assert gs_store.read_bytes("j/x.seg.000000") == b"2:ab"


def test_a_living_run_gives_its_sign_again_and_again(gs_store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("transforms.storage.run_folder.SIGN_SECONDS", 0.01)
    run = RunFolder(gs_store, "long")
    with run.alive():
        assert wait_until(lambda: len(gs_store.list_files(run.path("").rstrip("/"))) >= 3)
    assert not [thread for thread in threading.enumerate() if thread.name == "sign-of-life"]


def test_a_bucket_that_is_not_there_is_refused_with_the_remedy(gcs_bucket: str) -> None:
    with pytest.raises(ConfigError, match=r"cannot write to gs://not-corpus/x: .*Check that the bucket exists"):
        open_store(f"gs://not-{gcs_bucket}/x").check_writable()
