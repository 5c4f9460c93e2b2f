import gzip
import socket
import struct
import threading

import pytest
import requests
import urllib3.exceptions
from urllib3.connection import HTTPConnection

from tests.support.raw_server import Conversation, answer, raw_server, read_request
from transforms.clients import http
from transforms.clients.http import EndpointSettings, HttpExchange, explain
from transforms.core.failures import NoReply, Reply


def exchange(base_url: str, key: str = "", read_timeout: float = 5.0, **settings: object) -> HttpExchange:
    endpoint = EndpointSettings(base_url=base_url, read_timeout_seconds=read_timeout, **settings)  # type: ignore[arg-type]
    return HttpExchange(endpoint, endpoint.find_profile(), key, 2)


def post(talk: Conversation, **options: object) -> Reply | NoReply:
    with raw_server(talk) as base_url:
        client = exchange(base_url, **options)  # type: ignore[arg-type]
        try:
            return client.post(b"{}")
        finally:
            client.close()


def kind(talk: Conversation, **options: object) -> str:
    outcome = post(talk, **options)
    assert isinstance(outcome, NoReply), outcome
    return outcome.kind


# --------------------------------------------------------------------------------------------------------- settings


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"provider": "magic"}, "provider must be one of openai-compatible, local, got 'magic'"),
        ({"model": ""}, "model must be named"),
        ({"dimensions": 0}, "dimensions must be 1 or more, got 0"),
        ({"read_timeout_seconds": 0}, "read_timeout_seconds must be above 0, got 0"),
        ({"base_url": "api.openai.com/v1"}, "base_url must begin with https:// or http://"),
        (
            {"base_url": "ftp://host/v1"},
            "base_url must begin with https:// or http:// and name a host, got 'ftp://host/v1'",
        ),
        ({"base_url": "https://"}, "name a host"),
        ({"base_url": "https://user:hunter2@host/v1"}, "must not hold a user or a password"),
        ({"base_url": "https://host/v1/embeddings"}, "must end before /embeddings"),
        ({"profile": "bing"}, "profile must be one of"),
        ({"profile_overrides": (("max_input", 1),)}, "a profile has no 'max_input'"),
    ],
)
def test_settings_that_cannot_work_are_refused(changes: dict[str, object], problem: str) -> None:
    with pytest.raises(ValueError, match=problem) as caught:
        EndpointSettings(**changes)  # type: ignore[arg-type]
    assert "hunter2" not in str(caught.value)


def test_local_settings_need_no_address() -> None:
    assert EndpointSettings(provider="local", base_url="", model="tiny").model == "tiny"


@pytest.mark.parametrize(
    ("base_url", "url"),
    [
        ("https://api.cometapi.com/v1", "https://api.cometapi.com/v1/embeddings"),
        ("https://api.cometapi.com/v1/", "https://api.cometapi.com/v1/embeddings"),
        (
            "https://r.openai.azure.com/openai/deployments/d?api-version=2024-02-01",
            "https://r.openai.azure.com/openai/deployments/d/embeddings?api-version=2024-02-01",
        ),
    ],
)
def test_the_address_is_made_from_the_base_url(base_url: str, url: str) -> None:
    assert EndpointSettings(base_url=base_url).embeddings_url() == url


def test_no_repr_shows_the_key() -> None:
    assert "sk-secret" not in repr(exchange("https://host/v1", "sk-secret"))


# -------------------------------------------------------------------------------------------------------- exchange


def test_a_request_carries_the_key_and_the_body_and_nothing_private() -> None:
    seen: list[bytes] = []

    def talk(connection: socket.socket) -> None:
        seen.append(read_request(connection))
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Request-Id: r1\r\nConnection: close\r\n\r\n{}")

    outcome = post(talk, key="sk-secret")
    assert outcome == Reply(200, {"content-length": "2", "x-request-id": "r1", "connection": "close"}, b"{}")
    head = seen[0].decode()
    assert head.startswith("POST /v1/embeddings HTTP/1.1")
    assert "Authorization: Bearer sk-secret" in head
    assert head.endswith("\r\n\r\n{}")


@pytest.mark.parametrize(
    ("key", "profile", "header"), [("k", "azure", "api-key: k"), ("", "tei", None)], ids=["azure", "no key"]
)
def test_the_key_goes_where_the_profile_says(key: str, profile: str, header: str | None) -> None:
    seen: list[str] = []

    def talk(connection: socket.socket) -> None:
        seen.append(read_request(connection).decode())

    post(talk, key=key, profile=profile)
    assert "Authorization" not in seen[0]
    assert (header or "api-key") in seen[0] if header else "api-key" not in seen[0]


def test_a_netrc_file_has_no_say(tmp_path: "object", monkeypatch: pytest.MonkeyPatch) -> None:
    netrc = f"{tmp_path}/netrc"
    with open(netrc, "w") as file:  # noqa: PTH123
        file.write("machine 127.0.0.1 login somebody password else\n")
    monkeypatch.setenv("NETRC", netrc)
    seen: list[str] = []

    def talk(connection: socket.socket) -> None:
        seen.append(read_request(connection).decode())

    post(talk, key="mine")
    assert "Authorization: Bearer mine" in seen[0]


def test_a_redirect_is_not_followed() -> None:
    outcome = post(answer("301 Moved", "Location: http://127.0.0.1:1/elsewhere\r\n", b""))
    assert isinstance(outcome, Reply)
    assert (outcome.status, outcome.headers["location"]) == (301, "http://127.0.0.1:1/elsewhere")


def test_an_error_that_echoes_the_key_loses_it() -> None:
    outcome = post(answer("401 Unauthorized", "", b"bad key sk-secret-1"), key="sk-secret-1")
    assert isinstance(outcome, Reply)
    assert outcome.body == b"bad key [key]"


def test_compressed_answers_are_unpacked_and_broken_ones_named() -> None:
    packed = gzip.compress(b'{"data": 1}')
    good = post(answer("200 OK", "Content-Encoding: gzip\r\n", packed))
    assert isinstance(good, Reply)
    assert good.body == b'{"data": 1}'
    assert kind(answer("200 OK", "Content-Encoding: gzip\r\n", b"no gzip at all")) == "bad_encoding"


def test_a_connection_that_closes_without_an_answer_is_a_reset() -> None:
    assert kind(lambda connection: None) == "reset"


def test_a_connection_that_is_reset_is_a_reset() -> None:
    def talk(connection: socket.socket) -> None:
        read_request(connection)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    assert kind(talk) == "reset"


def test_an_answer_that_breaks_off_is_truncated() -> None:
    def talk(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"data"')

    assert kind(talk) == "truncated"


@pytest.mark.parametrize("start", [b"", b'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"data"'], ids=["none", "part"])
def test_an_answer_that_does_not_come_is_a_read_timeout(start: bytes) -> None:
    done = threading.Event()

    def talk(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(start)
        done.wait(10)

    with raw_server(talk) as base_url:
        outcome = exchange(base_url, read_timeout=0.1).post(b"{}")
        done.set()
    assert outcome == NoReply("read_timeout", "no answer within 0.1 s")


def test_an_answer_that_trickles_in_ends_at_the_total_timeout() -> None:
    ticks = iter(range(0, 10_000, 200))

    def talk(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 3000000\r\n\r\n" + b"x" * 3_000_000)

    with raw_server(talk) as base_url:
        client = exchange(base_url)
        client.clock = lambda: next(ticks)
        outcome = client.post(b"{}")
    assert isinstance(outcome, NoReply)
    assert outcome.kind == "read_timeout"


def test_an_endless_answer_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "MAX_RESPONSE_BYTES", 10)
    assert kind(answer("200 OK", "", b"x" * 11)) == "too_big"


def test_a_port_that_nobody_serves_is_refused() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    outcome = exchange(f"http://127.0.0.1:{port}/v1").post(b"{}")
    assert outcome == NoReply("refused", "the connection is refused")


def test_tls_towards_a_server_without_it_is_a_broken_handshake() -> None:
    def talk(connection: socket.socket) -> None:
        connection.recv(65_536)
        connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    with raw_server(talk) as base_url:
        outcome = exchange(base_url.replace("http://", "https://")).post(b"{}")
    assert isinstance(outcome, NoReply)
    assert outcome.kind == "tls_handshake"


def test_a_proxy_that_does_not_answer_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("NO_PROXY", "")
    outcome = exchange("https://endpoint.invalid/v1").post(b"{}")
    assert isinstance(outcome, NoReply)
    assert outcome.kind == "proxy"


CONNECTION = HTTPConnection("host")


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (requests.exceptions.SSLError("certificate verify failed: self-signed certificate"), "tls_certificate"),
        (requests.exceptions.SSLError("EOF occurred in violation of protocol"), "tls_handshake"),
        (requests.exceptions.ConnectTimeout(), "connect_timeout"),
        (
            requests.exceptions.ConnectionError(
                urllib3.exceptions.NameResolutionError("host", CONNECTION, socket.gaierror(-2, "unknown"))
            ),
            "dns",
        ),
        (
            requests.exceptions.ConnectionError(
                urllib3.exceptions.ProtocolError("Connection aborted.", TimeoutError("The write operation timed out"))
            ),
            "write_failed",
        ),
        (requests.exceptions.ConnectionError(urllib3.exceptions.ProtocolError("x", BrokenPipeError())), "write_failed"),
        (requests.exceptions.ConnectionError("x"), "reset"),
    ],
)
def test_what_fails_below_http_is_named(error: requests.exceptions.RequestException, expected: str) -> None:
    assert explain(error, 60).kind == expected
