"""``embedbeam completion``: a static script for a shell, made from the same parser that reads the command line."""

import argparse
from collections.abc import Iterator
from typing import Any, TextIO

from transforms.errors import ConfigError

SHELLS = ("bash", "zsh", "fish")
_FILES = ("CONFIG", "FILE", "PATH")
_FOLDERS = ("DATASET", "DEST")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("shell", choices=SHELLS, help="the shell that reads the script")


def run(arguments: argparse.Namespace, out: TextIO) -> int:
    """Print the script.

    Raises:
        ConfigError: the library that writes it is not installed.
    """
    from pipeline.command_line import command_parser  # which loads this module

    try:
        import shtab
    except ImportError:
        raise ConfigError("completion needs a package: pip install 'embedbeam[completion]'") from None
    parser = command_parser(None, with_all=True)
    for action in _actions(parser):
        if action.metavar in (*_FILES, *_FOLDERS):
            kind: Any = shtab.FILE if action.metavar in _FILES else shtab.DIRECTORY
            action.complete = kind  # type: ignore[attr-defined]  # shtab's own way of asking for files
    out.write(shtab.complete(parser, arguments.shell) + "\n")
    return 0


def _actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for inner in action.choices.values():
                yield from _actions(inner)
        else:
            yield action
