"""``embedbeam export`` from and to gs://, against a server that honours preconditions."""

from pathlib import Path

import pytest

from tests.support.commands import run_command
from tests.support.exports import export, make_dataset
from transforms.errors import ConfigError
from transforms.storage.gcs import GcsStore, open_gcs_store

pytestmark = pytest.mark.engines


@pytest.fixture
def bucket(gcs_bucket: str, tmp_path: Path) -> GcsStore:
    """A dataset in a bucket of its own, and the same one on disk."""
    make_dataset(tmp_path / "handbook")
    store = open_gcs_store(f"gs://{gcs_bucket}/{tmp_path.name}")
    for path in (tmp_path / "handbook").rglob("*.*"):
        store.write_bytes(str(path.relative_to(tmp_path)), path.read_bytes())
    return store


@pytest.mark.parametrize("name", ["pinecone", "pgvector", "faiss"])
@pytest.mark.parametrize("options", [(), ("--since", "1")], ids=["whole", "changes"])
def test_a_bucket_gets_the_same_bytes_as_a_folder(
    bucket: GcsStore, tmp_path: Path, name: str, options: tuple[str, ...]
) -> None:
    export(tmp_path / "handbook", name, tmp_path / "x", *options)
    for _ in range(2):  # the second time all is there
        code, text = run_command("export", f"{bucket.root}/handbook", "--to", name, f"{bucket.root}/x", *options)
    found = {file.path: bucket.read_bytes(file.path) for file in bucket.list_files("x")}
    on_disk = {str(path.relative_to(tmp_path)): path.read_bytes() for path in (tmp_path / "x").rglob("*.*")}
    assert found == on_disk
    assert (code, "all of them were there already" in text) == (0, True)


def test_a_target_that_only_its_library_writes_needs_a_local_folder(bucket: GcsStore) -> None:
    with pytest.raises(ConfigError, match="the format lancedb is written to a local folder, got gs://"):
        run_command("export", f"{bucket.root}/handbook", "--to", "lancedb", f"{bucket.root}/x")
