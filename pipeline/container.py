"""What the container image starts: Beam's worker where an engine asks for one, the command line where a person does.

The secret kept is how engines start a worker's container: with options alone, meant for Beam's ``boot``.
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Callable, Sequence

BOOT = "/opt/apache/beam/boot"
_FOR_PEOPLE = ("-h", "--help", "--version")


def command_of(arguments: Sequence[str], may_write: Callable[[str], bool]) -> list[str]:
    """Return the program to start, with its arguments.

    Engines may name a folder of the machine for staged files that only root may write to. The image runs as another user, so
    such a folder is replaced by the container's own; the last of two equal options counts.
    """
    if not arguments:
        return ["embedbeam", "--help"]
    if not arguments[0].startswith("-") or arguments[0] in _FOR_PEOPLE:
        return ["embedbeam", *arguments]
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("-semi_persist_dir", "--semi_persist_dir")
    folder = parser.parse_known_args(arguments)[0].semi_persist_dir
    if folder and not may_write(folder):
        return [BOOT, *arguments, f"--semi_persist_dir={tempfile.gettempdir()}"]
    return [BOOT, *arguments]


def main() -> None:
    """Become that program."""
    command = command_of(sys.argv[1:], lambda folder: os.access(folder, os.W_OK | os.X_OK))
    os.execvp(command[0], command)


if __name__ == "__main__":
    main()
