"""A small Dataflow: it takes jobs over HTTP as the service's REST interface does, and runs none of them."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

JOB_ID = "2026-11-22_02_15_00-1234567890"


@dataclass
class DataflowService:
    """The jobs that were created, each as it was sent, with the path that it was sent to.

    Attributes:
        refusal: refuses every job, when there is one.
        state: that every job is in at once.
    """

    refusal: str = ""
    state: str = "JOB_STATE_PENDING"
    jobs: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    address: str = ""


@contextmanager
def dataflow_service() -> Iterator[DataflowService]:
    """Serve at ``address``; Beam takes one that names localhost for one to be spoken to over HTTP."""
    service = DataflowService()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            job = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            answer: dict[str, Any] = {"id": JOB_ID, "name": job["name"], "currentState": service.state}
            if service.refusal:
                answer = {"error": {"code": 403, "message": service.refusal, "status": "PERMISSION_DENIED"}}
            else:
                service.jobs.append((self.path.partition("?")[0], job))
            body = json.dumps(answer).encode()
            self.send_response(403 if service.refusal else 200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *arguments: object) -> None:
            return

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        service.address = f"http://localhost:{server.server_port}"
        try:
            yield service
        finally:
            server.shutdown()
            thread.join()
