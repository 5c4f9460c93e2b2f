"""Work that goes on beside a step's own thread and comes back in the order in which it was given.

The tokenizer leaves the interpreter lock, so that documents are cut on several cores of one process while the step packs those
that came before. More cores than these threads use are for more worker processes.
"""

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

T = TypeVar("T")
R = TypeVar("R")

_THREADS = 2
_MOST_AHEAD = 8_000_000
"""Characters of documents that are cut or wait for their turn; one alone may be larger."""


class SideThreads(Generic[T, R]):
    """Hands items to threads and gives them back with what became of them, oldest first; for one calling thread.

    Args:
        work: done on other threads; what it raises is raised by the future that comes back.
        size: of an item, in characters.
    """

    def __init__(self, work: Callable[[T], R], size: Callable[[T], int]) -> None:
        self._work, self._size = work, size
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="side-thread")
        self._ahead: deque[tuple[T, Future[R]]] = deque()
        self._held = 0

    def add(self, item: T) -> Iterator[tuple[T, "Future[R]"]]:
        """Take an item in and yield the oldest ones while too much is ahead; waits for them."""
        self._ahead.append((item, self._threads.submit(self._work, item)))
        self._held += self._size(item)
        while self._held > _MOST_AHEAD:
            yield self._oldest()

    def drain(self) -> Iterator[tuple[T, "Future[R]"]]:
        """Yield everything that was taken in."""
        while self._ahead:
            yield self._oldest()

    def forget(self) -> None:
        """Drop what an abandoned bundle has left."""
        while self._ahead:
            self._ahead.popleft()[1].cancel()
        self._held = 0

    def close(self) -> None:
        """End the threads."""
        self.forget()
        self._threads.shutdown()

    def _oldest(self) -> tuple[T, "Future[R]"]:
        item, future = self._ahead.popleft()
        self._held -= self._size(item)
        return item, future
