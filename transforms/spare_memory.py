"""Give memory back to the system that the process has freed but keeps.

Answers are decoded on many threads, and glibc keeps what each of them has freed for that thread, up to 64 MB; Arrow's own
allocator keeps its pages as well. Of a run over 62 MB of text that was a fifth of the peak.
"""

import ctypes

import pyarrow as pa

EVERY_BYTES = 32_000_000
"""Of vectors between two times: it takes milliseconds, so small buckets do not pay it each."""


class SpareMemory:
    """Counts what went through and gives back what is spare now and then; for one thread."""

    def __init__(self) -> None:
        libc = ctypes.CDLL(None)
        self._trim = getattr(libc, "malloc_trim", None)  # glibc only; others give back by themselves
        self._passed = 0

    def pass_on(self, size_bytes: int) -> None:
        """Count vectors that were handed on."""
        self._passed += size_bytes
        if self._passed >= EVERY_BYTES:
            self._passed = 0
            self.give_back()

    def give_back(self) -> None:
        """Give back what is spare."""
        pa.default_memory_pool().release_unused()
        if self._trim is not None:
            self._trim(0)
