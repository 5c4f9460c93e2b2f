"""Patterns of documents: ``*``, ``?`` and ``[...]`` match within one name, ``**`` any number of folders.

Names that begin with a dot are matched only by a pattern that spells the dot, as in a shell.
"""

import fnmatch
import re
from collections.abc import Sequence

WILDCARD = re.compile(r"[*?\[]")


class Matcher:
    """A pattern's names, matched against a path one name at a time; a state is the set of positions reached."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = [name if name == "**" else re.compile(fnmatch.translate(name)) for name in names]
        self._spells_dot = [name.startswith(".") for name in names]
        self.start = self._close({0})

    def step(self, state: frozenset[int], name: str) -> frozenset[int]:
        """Return the state after one more name of the path."""
        reached: set[int] = set()
        for at in state - {len(self._names)}:
            wanted = self._names[at]
            if name.startswith(".") and not self._spells_dot[at]:
                continue
            if isinstance(wanted, str):
                reached.add(at)
            elif wanted.match(name):
                reached.add(at + 1)
        return self._close(reached)

    def accepts(self, state: frozenset[int]) -> bool:
        """Tell whether a file in this state is matched."""
        return len(self._names) in state

    def goes_on(self, state: frozenset[int]) -> bool:
        """Tell whether something below a folder in this state can be matched."""
        return bool(state - {len(self._names)})

    def _close(self, reached: set[int]) -> frozenset[int]:
        for at in range(len(self._names)):
            if at in reached and self._names[at] == "**":
                reached.add(at + 1)
        return frozenset(reached)

    def matches(self, path: str) -> bool:
        """Tell whether a whole path is matched; one that ends with ``/`` is no file's."""
        state = self.start
        for name in path.split("/"):
            state = self.step(state, name)
            if not state:
                return False
        return not path.endswith("/") and self.accepts(state)


def split_pattern(pattern: str) -> tuple[str, list[str]]:
    """Return the part before the first name with a wildcard, with its slash, and the names from there on."""
    names = pattern.split("/")
    fixed = next((at for at, name in enumerate(names) if WILDCARD.search(name)), len(names) - 1)
    prefix = "/".join(names[:fixed])
    return (f"{prefix}/" if fixed else ""), [name for name in names[fixed:] if name]


def has_wildcard(text: str) -> bool:
    """Tell whether a pattern, or a name of it, matches more than itself."""
    return bool(WILDCARD.search(text))


def listed_prefix(prefix: str, names: Sequence[str]) -> str:
    """Return what every name begins with that a split pattern matches: as little as possible is listed in a bucket."""
    return prefix + WILDCARD.split(names[0], maxsplit=1)[0] if names else prefix
