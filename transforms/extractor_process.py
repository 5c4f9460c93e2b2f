"""Extract in a process of its own what can hang or crash; the secret kept here is the border between the two.

The other process is this module run by the same interpreter. A request is a frame of the name and the bytes, an answer one
of the text and its metadata, or of the reason why there is none. It ends itself by an alarm when a document takes too long,
by a limit on memory when one grows too large, and when this process is gone.
"""

import dataclasses
import json
import resource
import signal
import struct
import subprocess
import sys
import threading
from contextlib import suppress
from typing import IO

from transforms.core.extraction import Extracted, extract_text, needs_own_process
from transforms.errors import UnreadableDocument

SECONDS_PER_DOCUMENT = 120
"""Real documents take seconds; 40 000 pages of a PDF take two minutes."""
MOST_MEMORY_BYTES = 4 << 30
"""Of the other process, its libraries included; a PDF of a few kilobytes can ask for any amount."""

_SECONDS_TO_END = 10
_OUT_OF_MEMORY = 77
_HEADER = struct.Struct("!IQ")
_START = "import sys; sys.path[:] = {path!r}; from transforms.extractor_process import serve; serve({seconds}, {memory_bytes})"


class ExtractorProcess:
    """Extracts documents, those that need it in one other process, started when the first of them comes.

    Safe to use from several threads: one document at a time is in the other process.
    """

    def __init__(
        self, seconds_per_document: int = SECONDS_PER_DOCUMENT, most_memory_bytes: int = MOST_MEMORY_BYTES
    ) -> None:
        self._seconds = seconds_per_document
        self._memory_bytes = most_memory_bytes
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None

    def extract(self, content: bytes, source_uri: str) -> Extracted:
        """Read a document's text as ``extract_text`` does.

        Raises:
            UnreadableDocument: as ``extract_text``; ``timed_out``, ``too_large`` or ``crashed`` when the other process ended
                on it. The next document gets a new one.
        """
        if not needs_own_process(content, source_uri):
            return extract_text(content, source_uri)
        with self._lock:
            try:
                answer = self._ask(content, source_uri)
            except (BrokenPipeError, EOFError):
                raise UnreadableDocument(self._explain(self._end())) from None
        if "refused" in answer:
            raise UnreadableDocument(str(answer["refused"]))
        metadata = answer["metadata"]
        assert isinstance(metadata, dict)
        headings = answer["headings"]
        assert isinstance(headings, list)
        return Extracted(str(answer["text"]), str(answer["media_type"]), metadata, tuple(map(tuple, headings)))

    def close(self) -> None:
        """End the other process; a next document starts a new one."""
        with self._lock:
            self._end()

    def _ask(self, content: bytes, source_uri: str) -> dict[str, object]:
        if self._process is None:
            start = _START.format(path=sys.path, seconds=self._seconds, memory_bytes=self._memory_bytes)
            self._process = subprocess.Popen(
                [sys.executable, "-c", start], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
            )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        _write_frame(self._process.stdin, source_uri.encode("utf-8", "surrogatepass"), content)
        _, answer = _read_frame(self._process.stdout)
        found: dict[str, object] = json.loads(answer)
        return found

    def _end(self) -> int:
        """End the other process and return its exit code, negative for a signal."""
        process, self._process = self._process, None
        if process is None or process.stdin is None or process.stdout is None:
            return 0
        with suppress(BrokenPipeError):
            process.stdin.close()
        process.stdout.close()
        try:
            return process.wait(_SECONDS_TO_END)
        except subprocess.TimeoutExpired:
            process.kill()
            return process.wait()

    def _explain(self, code: int) -> str:
        if code == -signal.SIGALRM:
            return f"timed_out: reading the document took longer than {self._seconds} seconds; convert it to text"
        if code == _OUT_OF_MEMORY:
            return f"too_large: reading the document takes more than {self._memory_bytes:,} bytes of memory; split it"
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        return f"crashed: the reader of its format ended on the document ({how}); convert it to text"


def serve(seconds: int, memory_bytes: int) -> None:
    """Answer requests from stdin on stdout until it is closed; a document may take that long, all together that much."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the run, which closes stdin.
    if sys.platform == "linux":  # macOS knows the limit and refuses to set it.
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        limit = memory_bytes if hard == resource.RLIM_INFINITY else min(memory_bytes, hard)
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    requests, answers = sys.stdin.buffer, sys.stdout.buffer
    while True:
        try:
            name, content = _read_frame(requests)
        except EOFError:
            return
        signal.alarm(seconds)
        try:
            answer = _answer(content, name.decode("utf-8", "surrogatepass"))
        except MemoryError:
            sys.exit(_OUT_OF_MEMORY)
        signal.alarm(0)
        _write_frame(answers, b"", json.dumps(answer).encode())


def _answer(content: bytes, source_uri: str) -> dict[str, object]:
    try:
        extracted = extract_text(content, source_uri)
    except UnreadableDocument as error:
        return {"refused": str(error)}
    return dataclasses.asdict(extracted)


def _write_frame(stream: IO[bytes], name: bytes, content: bytes) -> None:
    stream.write(_HEADER.pack(len(name), len(content)) + name)
    stream.write(content)
    stream.flush()


def _read_frame(stream: IO[bytes]) -> tuple[bytes, bytes]:
    name_size, size = _HEADER.unpack(_read_exactly(stream, _HEADER.size))
    return _read_exactly(stream, name_size), _read_exactly(stream, size)


def _read_exactly(stream: IO[bytes], size: int) -> bytes:
    content = stream.read(size)
    if len(content) < size:
        raise EOFError
    return content
