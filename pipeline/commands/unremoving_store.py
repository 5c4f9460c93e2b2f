"""A store for rehearsals of a removal: it answers every question and pretends to remove what it is told to."""

import contextlib
from typing import Any, cast

from transforms.storage.store import Store


class _RemovesNothing:
    """A store that answers every question and pretends to remove what it is told to."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def delete(self, path: str) -> None:
        """Leave the file where it is."""

    def delete_tree(self, folder: str) -> None:
        """Leave the folder where it is."""

    def delete_empty_folders(self, folder: str) -> None:
        """Leave the folders where they are."""

    def delete_leftovers(self) -> None:
        """Leave them where they are."""

    def delete_unless_appended(self, path: str) -> bool:
        """Tell whether the file would go."""
        return not self._store.is_being_appended(path)

    def lock(self, name: str) -> contextlib.AbstractContextManager[None]:
        """Hold nothing: what changes nothing needs no lock, and a lock is a file."""
        return contextlib.nullcontext()


def keeping_everything(store: Store) -> Store:
    """Return a store over the same files that removes none of them."""
    return cast(Store, _RemovesNothing(store))
