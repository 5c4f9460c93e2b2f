import os
import subprocess
import sys

import pytest

from tests.storage.lossy_proxy import lossy_proxy
from transforms.errors import ConfigError
from transforms.storage.gcs import FLUSH_BYTES, FLUSH_SECONDS, GcsAppender, GcsStore
from transforms.storage.store import Store, open_store

pytestmark = pytest.mark.engines

_UPLOAD = """
import sys
from transforms.storage.store import open_store
store = open_store(sys.argv[1])
what = sys.argv[2]
if what == "create":
    done = store.create_bytes("claim", b"mine")
elif what == "replace":
    done = store.replace_bytes("manifest.json", b"new", b"old")
else:
    done = store.create_bytes("taken", b"mine")
sys.stdout.write(str(done))
"""


@pytest.mark.parametrize(("what", "done"), [("create", "True"), ("replace", "True"), ("taken", "False")])
def test_an_upload_of_which_the_answer_was_lost_counts_as_ours_and_no_other_does(
    gs_store: Store, what: str, done: str
) -> None:
    """The library repeats the upload, and its precondition fails because of the first one."""
    gs_store.write_bytes("manifest.json", b"old")
    gs_store.write_bytes("taken", b"another's")
    with lossy_proxy(os.environ["STORAGE_EMULATOR_HOST"]) as address:
        told = subprocess.run(
            [sys.executable, "-c", _UPLOAD, gs_store.root, what],
            env=os.environ | {"STORAGE_EMULATOR_HOST": address},
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
    assert told.stdout == done
    assert gs_store.read_bytes("taken") == b"another's"
    if what == "create":
        assert gs_store.read_bytes("claim") == b"mine"
    if what == "replace":
        assert gs_store.read_bytes("manifest.json") == b"new"


def test_the_first_access_without_credentials_takes_no_search(gs_store: Store) -> None:
    """Looking for credentials takes 20 s; a new process that is told of an emulator does not look."""
    script = "import sys; from transforms.storage.store import open_store; open_store(sys.argv[1]).list_files('')"
    subprocess.run([sys.executable, "-c", script, gs_store.root], check=True, timeout=15)


def test_frames_are_put_when_many_bytes_have_gathered_or_the_oldest_is_old(gs_store: Store) -> None:
    assert isinstance(gs_store, GcsStore)
    now = [0.0]
    appender = GcsAppender(gs_store, "j/x.seg", lambda: now[0])
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


def test_a_bucket_that_is_not_there_is_refused_with_the_remedy(gcs_bucket: str) -> None:
    with pytest.raises(ConfigError, match=r"cannot write to gs://not-corpus/x: .*Check that the bucket exists"):
        open_store(f"gs://not-{gcs_bucket}/x").check_writable()
