"""The words that the command line understands: commands, their arguments, their help."""

import argparse
from importlib import import_module

from pipeline import __version__
from pipeline.commands.arguments import add_config
from pipeline.help_page import add_page

PROGRAM = "Embed documents into versioned Parquet datasets: each text is paid once, and the bill comes first."
_OTHER_COMMANDS = {
    "init": "write a config that explains itself, or print its JSON Schema",
    "doctor": "check key, endpoint, model, documents, dataset and engine, a line each with its remedy",
    "size": "reckon what a config means for a million chunks or a billion",
    "inspect": "show what a dataset holds",
    "search": "find the chunks nearest to a query",
    "diff": "list the ids added and removed between two versions",
    "export": "write a version, or its changes, as files that a vector database loads",
    "derive": "make a smaller dataset from vectors that are paid for, and measure its recall",
    "compare": "see on a sample how differently another model sees the corpus, and what the whole would cost",
    "gc": "remove old versions and dead journals",
    "completion": "print a script that completes commands, options and files in bash, zsh or fish",
    "rehearse": "serve a fault-injecting endpoint on this machine, to rehearse limits before paying",
}
_MORE = "embedbeam COMMAND --help says what a command does, with examples, exit codes, files and environment variables."


def command_parser(name: str | None, with_all: bool = False) -> argparse.ArgumentParser:
    """Build the parser of the command line.

    Only the named command's own module is loaded, so that help comes at once; ``with_all`` loads every command's.
    """
    parser = argparse.ArgumentParser(prog="embedbeam", description=PROGRAM, epilog=_MORE, allow_abbrev=False)
    parser.add_argument("--version", action="version", version=f"embedbeam {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for command, doing in (
        ("run", "one run to a committed version; a rerun resumes or updates"),
        ("plan", "the bill, before anything is paid"),
    ):
        inner = commands.add_parser(command, help=doing, description=doing, allow_abbrev=False)
        _add_run_arguments(inner, command)
        add_page(inner, command)
    for command, doing in _OTHER_COMMANDS.items():
        inner = commands.add_parser(command, help=doing, description=doing, allow_abbrev=False)
        if command == name or with_all:
            import_module(f"pipeline.commands.{command}").add_arguments(inner)
            add_page(inner, command)
        inner.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser


def _add_run_arguments(parser: argparse.ArgumentParser, command: str) -> None:
    add_config(parser)
    parser.add_argument(
        "--json", action="store_true", help="print the summary as one JSON object, the last line of stdout"
    )
    parser.add_argument("--quiet", action="store_true", help="print errors only")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    if command == "run":
        parser.add_argument(
            "--accept-new-canary",
            action="store_true",
            help="go on although the model behind the name seems to have changed",
        )
    parser.epilog = "Whatever follows -- goes to Beam, as in: -- --runner=PrismRunner"
