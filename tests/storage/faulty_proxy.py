"""A proxy before a storage server that writes down every request, and spoils those that a test chooses."""

import contextlib
import http.client
import json
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal
from urllib.parse import parse_qs, urlsplit

Fault = int | Literal["reset", "reset after", "cut", "lose", "slow"] | None
"""A status instead of asking the server; a reset connection, before or after the server has done it; half of the body;
503 although the server has done it; an answer that is late; or nothing."""
SLOW_SECONDS = 0.3
_FORWARDED = ("content-type", "location", "range", "content-encoding", "content-range", "etag")


@dataclass(frozen=True)
class Asked:
    """A request that came by.

    Attributes:
        number: how many came before it.
        repeated: how many of the same method, address and range came before it.
        headers: in small letters, and the whole address as "target".
    """

    number: int
    repeated: int
    method: str
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]
    sent: bytes

    @property
    def is_session(self) -> bool:
        """Whether it goes to an upload's own address, which the server gave out."""
        return "upload_id" in self.query

    @property
    def is_media(self) -> bool:
        """Whether it asks for an object's bytes."""
        return self.query.get("alt") == ["media"]


@dataclass
class Proxy:
    """``spoil`` decides about each request; ``asked`` and ``got_bytes`` tell what came by."""

    address: str
    spoil: Callable[[Asked], Fault] = lambda asked: None
    asked: list[Asked] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    got_bytes: int = 0
    message: str = "spoiled"
    lock: threading.Lock = field(default_factory=threading.Lock)

    def note(self, method: str, target: str, headers: dict[str, str], sent: bytes) -> Asked:
        """Write a request down."""
        url = urlsplit(target)
        query = parse_qs(url.query)
        with self.lock:
            marks = (method, target, headers.get("range"), headers.get("content-range"))
            repeated = sum(
                (one.method, one.headers["target"], one.headers.get("range"), one.headers.get("content-range")) == marks
                for one in self.asked
            )
            one = Asked(len(self.asked), repeated, method, url.path, query, headers | {"target": target}, sent)
            self.asked.append(one)
        return one

    def forget(self) -> None:
        """Start counting anew."""
        with self.lock:
            self.asked.clear()
            self.statuses.clear()
            self.got_bytes = 0


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = 1 << 16  # head and body in one packet: two wait for each other
    upstream = ""
    proxy: Proxy

    def do_GET(self) -> None:
        self._pass_on()

    def do_POST(self) -> None:
        self._pass_on()

    def do_PUT(self) -> None:
        self._pass_on()

    def do_DELETE(self) -> None:
        self._pass_on()

    def _pass_on(self) -> None:
        sent = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        headers = {name.lower(): value for name, value in self.headers.items()}
        fault = self.proxy.spoil(self.proxy.note(self.command, self.path, headers, sent))
        if fault == "reset":
            self._reset()
            return
        if isinstance(fault, int):
            body = json.dumps({"error": {"message": self.proxy.message}}).encode()
            self._answer(fault, {"content-type": "application/json"}, body)
            return
        status, answered, body = self._ask(headers, sent)
        if fault == "slow":
            threading.Event().wait(SLOW_SECONDS)
        if fault == "reset after":
            self._reset()
        elif fault == "lose":
            self._answer(503, {}, b"lost")
        elif fault == "cut":
            self._answer(status, answered, body, len(body) // 2)
            self._reset()
        else:
            self._answer(status, answered, body)

    def _ask(self, headers: dict[str, str], sent: bytes) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection(self.upstream)
        try:
            kept = {name: value for name, value in headers.items() if name not in ("host", "connection")}
            connection.request(self.command, self.path, sent or None, kept)
            answer = connection.getresponse()
            found = {name.lower(): value for name, value in answer.getheaders()}
            if "location" in found:
                found["location"] = found["location"].replace(self.upstream, self.proxy.address.partition("//")[2])
            return answer.status, found, answer.read()
        finally:
            connection.close()

    def _answer(self, status: int, headers: dict[str, str], body: bytes, keep: int | None = None) -> None:
        with self.proxy.lock:
            self.proxy.statuses.append(status)
            self.proxy.got_bytes += len(body)
        self.send_response(status)
        for name, value in headers.items():
            if name in _FORWARDED or name.startswith("x-goog"):
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[:keep])

    def _reset(self) -> None:
        """End the connection as a router that forgot it does."""
        self.wfile.flush()
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """Say nothing of a client that went away."""


@contextlib.contextmanager
def faulty_proxy(upstream: str) -> Iterator[Proxy]:
    """Run a proxy before the server of an address."""
    handler = type("Handler", (_Handler,), {"upstream": upstream.partition("//")[2]})
    with _Server(("127.0.0.1", 0), handler) as server:
        handler.proxy = Proxy(f"http://127.0.0.1:{server.server_port}")  # type: ignore[attr-defined]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield handler.proxy  # type: ignore[attr-defined]
        finally:
            server.shutdown()
            thread.join()
