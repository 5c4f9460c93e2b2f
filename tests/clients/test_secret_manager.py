import json
import secrets
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.support.secret_server import secret_name, secret_server
from transforms.clients.credentials import find_key
from transforms.clients.http import EndpointSettings
from transforms.errors import ConfigError, FatalError

KEY = "sk-SECRET-1"


def fresh() -> str:
    """A secret of its own for each test: a process never asks twice for one."""
    return f"s{secrets.token_hex(8)}"


def test_a_process_asks_once_for_its_key(monkeypatch: pytest.MonkeyPatch) -> None:
    name = fresh()
    with secret_server(**{name: f" {KEY}\n".encode()}) as server:
        monkeypatch.setenv("SECRET_MANAGER_EMULATOR_HOST", server.address)
        found: list[str] = []
        threads = [threading.Thread(target=lambda: found.append(find_key("X", secret_name(name)))) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert (found, server.asked) == ([KEY] * 4, [secret_name(name)])


@pytest.mark.parametrize(
    ("stored", "sentence"),
    [
        pytest.param(404, "does not exist", id="missing"),
        pytest.param(403, "needs the role roles/secretmanager.secretAccessor on it", id="forbidden"),
        pytest.param(400, "Secret Manager refuses .*: refused as 400", id="disabled"),
        pytest.param(b" \n", "is empty", id="empty"),
        pytest.param(b"sk 1", "holds characters that no key has", id="two words"),
        pytest.param(b"\xff\xfe", "is no text", id="binary"),
    ],
)
def test_a_secret_that_gives_no_key_is_named_with_what_to_do(
    stored: bytes | int, sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = fresh()
    with secret_server(**{name: stored}) as server:
        monkeypatch.setenv("SECRET_MANAGER_EMULATOR_HOST", server.address)
        with pytest.raises(ConfigError, match=sentence) as caught:
            find_key("X", secret_name(name))
    assert secret_name(name) in str(caught.value)
    assert "sk 1" not in str(caught.value)


def test_a_failure_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    name = fresh()
    with secret_server(**{name: 403}) as server:
        monkeypatch.setenv("SECRET_MANAGER_EMULATOR_HOST", server.address)
        with pytest.raises(ConfigError):
            find_key("X", secret_name(name))
        server.versions[secret_name(name)] = KEY.encode()
        assert find_key("X", secret_name(name)) == KEY


def test_a_server_that_fails_stops_the_run_resumably(monkeypatch: pytest.MonkeyPatch) -> None:
    name = fresh()
    with secret_server(**{name: 501}) as server:
        monkeypatch.setenv("SECRET_MANAGER_EMULATOR_HOST", server.address)
        with pytest.raises(
            FatalError, match=r"Secret Manager does not give projects/p/.*run the same command again later"
        ):
            find_key("X", secret_name(name))


def test_a_server_out_of_reach_stops_the_run_resumably(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound but not listening: nobody answers there
        monkeypatch.setenv("SECRET_MANAGER_EMULATOR_HOST", f"http://127.0.0.1:{taken.getsockname()[1]}")
        with pytest.raises(FatalError, match="Secret Manager does not give"):
            find_key("X", secret_name(fresh()))


def test_no_credentials_are_told_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("SECRET_MANAGER_EMULATOR_HOST", raising=False)
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path))
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    with pytest.raises(ConfigError, match="needs Google credentials in every process"):
        find_key("X", secret_name(fresh()))


def test_a_missing_client_library_names_the_extra() -> None:
    code = (
        "import sys; sys.modules['google.cloud.secretmanager_v1'] = None\n"
        "from transforms.clients.credentials import find_key\n"
        f"find_key('X', {secret_name('s')!r})"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert "pip install 'embedbeam[dataflow]'" in ended.stderr.splitlines()[-1]


@pytest.mark.parametrize("name", ["sk-SECRET", "projects/p/secrets/s", "projects/p/secrets/s/versions/", "P/S"])
def test_a_reference_that_is_none_is_refused_unseen(name: str) -> None:
    with pytest.raises(ValueError, match="api_key_secret must name a version of a secret") as caught:
        EndpointSettings(api_key_secret=name)
    assert name not in str(caught.value).replace("projects/P/secrets/S/versions/latest", "")


def test_settings_name_the_key_by_its_secret_first() -> None:
    assert EndpointSettings(api_key_secret=secret_name("s")).key_name == secret_name("s")
    assert EndpointSettings(api_key_env="KEY").key_name == "KEY"
    assert json.dumps(EndpointSettings(api_key_env="").key_name) == '""'
