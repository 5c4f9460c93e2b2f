"""A store that dies at its n-th operation: what a kill between any two steps leaves behind."""

from collections.abc import Callable
from typing import Any, cast

from transforms.storage.store import Store


class Died(Exception):
    pass


class DyingStore:
    """Forwards everything; raises Died before or after the n-th change, and at every change after it, as the dead do."""

    CHANGES = (
        "write_bytes create_bytes replace_bytes delete delete_tree delete_empty_folders move link sync_folder "
        "open_output append delete_unless_appended"
    )

    def __init__(self, store: Store, dies_at: int, before: bool) -> None:
        self._store, self._dies_at, self._before = store, dies_at, before
        self.changes = 0

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._store, name)
        return self._count(cast(Callable[..., Any], found)) if name in self.CHANGES.split() else found

    def _count(self, operation: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*args: Any) -> Any:
            self.changes += 1
            if self.changes > self._dies_at or (self._before and self.changes == self._dies_at):
                raise Died
            result = operation(*args)
            if self.changes == self._dies_at:
                raise Died
            return result

        return counted
