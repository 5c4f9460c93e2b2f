"""Whose bucket it is: the same promises hold for a local folder and for a bucket."""

import subprocess
import sys
import time

import pytest

from tests.engines.engines import environment, wait_until
from transforms.storage.claims import DEAD_AFTER_SECONDS, Claims, Turn
from transforms.storage.run_folder import RunFolder
from transforms.storage.store import Store

_DYING = """
import os, sys
from transforms.storage.claims import Claims
from transforms.storage.run_folder import RunFolder
from transforms.storage.store import open_store

assert Claims(RunFolder(open_store(sys.argv[1]), "r1")).take(2, 3).is_ours
os._exit(0)
"""


def later() -> float:
    return time.time() + DEAD_AFTER_SECONDS + 1


@pytest.fixture
def folder(store: Store) -> RunFolder:
    return RunFolder(store, "r1")


def test_bucket_belongs_to_the_first_who_claims_it(folder: RunFolder) -> None:
    first, second = Claims(folder), Claims(folder)
    assert first.take(2, 3) == first.take(2, 3) == Turn(is_ours=True)
    assert second.take(2, 3) == Turn(is_ours=False)
    assert second.take(2, 1) == second.take(3, 3) == Turn(is_ours=True)
    assert first.take(2, 1) == Turn(is_ours=False)
    first.close()
    second.close()


def test_attempt_that_has_ended_leaves_its_buckets_to_one_other(folder: RunFolder) -> None:
    ended, second, third = Claims(folder), Claims(folder), Claims(folder)
    ended.take(2, 3)
    ended.close()
    turn = second.take(2, 3)
    assert turn.is_ours
    assert turn.after
    assert third.take(2, 3) == Turn(is_ours=False)
    second.close()
    third.close()


def test_bucket_that_was_given_up_is_free_while_its_attempt_lives(folder: RunFolder) -> None:
    first, second = Claims(folder), Claims(folder)
    first.take(2, 3)
    first.take(2, 1)
    first.give_up(2, 3)
    assert second.take(2, 3).is_ours
    assert not second.take(2, 1).is_ours
    first.give_up(2, 3)  # it is no longer ours to give
    assert not first.take(2, 3).is_ours
    first.close()
    second.close()


def test_sign_of_life_is_gone_after_the_end_and_was_never_there_without_a_claim(folder: RunFolder) -> None:
    Claims(folder).close()
    assert folder.store.list_files("") == []
    claims = Claims(folder)
    claims.take(2, 3)
    claims.close()
    assert [file.path for file in folder.store.list_files("")] == [folder.path("claims/02-00003")]


def test_killed_attempt_leaves_its_buckets_locally_at_once_on_gs_when_its_sign_is_old(folder: RunFolder) -> None:
    command = [sys.executable, "-c", _DYING, folder.store.root]
    assert subprocess.run(command, env=environment(), check=False).returncode == 0
    soon, late = Claims(folder), Claims(folder, clock=later)
    assert soon.take(2, 3).is_ours == folder.store.moves_folders
    soon.close()
    assert late.take(2, 3).is_ours
    late.close()


@pytest.mark.engines
def test_attempt_on_gs_that_lives_gives_its_sign_again(gs_folder: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("transforms.storage.claims.RENEWED_SECONDS", 0.01)
    claims = Claims(gs_folder)
    claims.take(2, 3)
    (sign,) = gs_folder.store.list_files(gs_folder.path("attempts"))
    assert wait_until(lambda: gs_folder.store.list_files(gs_folder.path("attempts"))[0].modified > sign.modified)
    claims.close()
    assert gs_folder.store.list_files(gs_folder.path("attempts")) == []


@pytest.fixture
def gs_folder(gs_store: Store) -> RunFolder:
    return RunFolder(gs_store, "r1")
