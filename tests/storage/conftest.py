import os
from pathlib import Path

import pytest

from transforms.storage.store import Store, open_store


@pytest.fixture(params=["local_store", pytest.param("gs_store", marks=pytest.mark.engines)])
def store(request: pytest.FixtureRequest) -> Store:
    """The same promises hold for a local folder and for a bucket."""
    found: Store = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def gs_store(gcs_bucket: str) -> Store:
    return open_store(f"gs://{gcs_bucket}/{os.urandom(8).hex()}/dataset")


@pytest.fixture
def local_store(tmp_path: Path) -> Store:
    return open_store(str(tmp_path / "dataset"))
