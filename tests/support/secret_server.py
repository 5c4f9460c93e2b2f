"""A small Secret Manager: it answers ``versions:access`` over HTTP as the service's REST interface does."""

import base64
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

REASONS = {403: "PERMISSION_DENIED", 404: "NOT_FOUND", 400: "FAILED_PRECONDITION", 501: "UNIMPLEMENTED"}


@dataclass
class SecretServer:
    """Versions by name, each its bytes or the status that refuses it; names that nobody stored are not found."""

    versions: dict[str, bytes | int] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    address: str = ""

    def answer(self, path: str) -> tuple[int, object]:
        asked = re.fullmatch(r"/v1/(projects/[^/]+/secrets/[^/]+/versions/[^/:]+):access", path.partition("?")[0])
        name = asked.group(1) if asked else ""
        self.asked.append(name)
        found = self.versions.get(name, 404)
        if isinstance(found, bytes):
            return 200, {"name": name, "payload": {"data": base64.b64encode(found).decode()}}
        return found, {"error": {"code": found, "message": f"refused as {found}", "status": REASONS[found]}}


@contextmanager
def secret_server(**versions: bytes | int) -> Iterator[SecretServer]:
    """Serve versions ``latest`` of secrets of the project ``p``; ``SECRET_MANAGER_EMULATOR_HOST`` is for the caller to set."""
    secrets = SecretServer({secret_name(name): found for name, found in versions.items()})

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, answer = secrets.answer(self.path)
            body = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *arguments: object) -> None:
            return

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        secrets.address = f"http://127.0.0.1:{server.server_port}"
        try:
            yield secrets
        finally:
            server.shutdown()
            thread.join()


def secret_name(name: str) -> str:
    return f"projects/p/secrets/{name}/versions/latest"
