"""argv to exit code; the only reader of the command line, the clock and the environment, and the only printer."""

import argparse
import datetime
import json
import logging
import os
import secrets
import sys
import time
import traceback
import warnings
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from importlib import import_module
from typing import TYPE_CHECKING, Any, TextIO

from pipeline import __version__
from transforms.errors import ConfigError, EmbeddingPipelineError, RunInterrupted

if TYPE_CHECKING:
    from transforms.storage.run_folder import RunFolder

PROGRAM = "Embed documents into versioned Parquet datasets: each text is paid once, and the bill comes first."
_OTHER_COMMANDS = {
    "init": "write a config that explains itself, or print its JSON Schema",
    "doctor": "check key, endpoint, model, documents, dataset and engine, a line each with its remedy",
    "inspect": "show what a dataset holds",
    "search": "find the chunks nearest to a query",
    "diff": "list the ids added and removed between two versions",
    "gc": "remove old versions and dead journals",
    "rehearse": "serve a fault-injecting endpoint on this machine, to rehearse limits before paying",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the console script and ``python -m pipeline``.

    Returns:
        0 committed or nothing to do, 1 a bug, 2 config or usage, 3 refused, 4 the provider refuses for good, 5 another run
        committed first, 130 interrupted.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    own, beam_flags = _split_at_dashes(arguments)
    name = next((word for word in own if not word.startswith("-")), None)
    parser = command_parser(name)
    try:
        parsed = parser.parse_args(own)
    except SystemExit as exit_:
        return int(exit_.code or 0)
    parsed.beam_flags = beam_flags
    return _guarded(parsed)


def _guarded(parsed: argparse.Namespace) -> int:
    """Run a command and turn every failure into plain lines and an exit code."""
    try:
        if parsed.beam_flags and parsed.command not in ("run", "plan", "doctor"):
            raise ConfigError(f"embedbeam {parsed.command} takes nothing after --")
        return _dispatch(parsed)
    except EmbeddingPipelineError as error:
        return _fail(parsed, error, str(error), error.exit_code)
    except KeyboardInterrupt as error:
        return _fail(parsed, error, "interrupted; the same command goes on", RunInterrupted.exit_code)
    except BrokenPipeError:
        return 0
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        resumable = "; nothing was committed, the same command goes on" if parsed.command == "run" else ""
        return _fail(parsed, error, f"{parsed.command}: {error.strerror or error}{where}{resumable}", 1)
    except Exception as error:  # the one place: whatever is left is a bug, and is shown whole
        traceback.print_exception(error, file=sys.stderr)
        return _fail(parsed, error, f"{parsed.command} failed: this is a bug in embedbeam; what was paid is kept", 1)


def _fail(parsed: argparse.Namespace, error: BaseException, message: str, code: int) -> int:
    if getattr(parsed, "debug", False):
        traceback.print_exception(error, file=sys.stderr)
    sys.stderr.write(f"embedbeam: {message}\n")
    if getattr(parsed, "json", False):
        sys.stdout.write(json.dumps({"error": message, "exit_code": code}) + "\n")
    return code


def _dispatch(parsed: argparse.Namespace) -> int:
    if parsed.command in ("run", "plan"):
        return _run(parsed)
    if parsed.command == "doctor":
        _silence_libraries(parsed.debug)
        logging.getLogger("transforms").setLevel(logging.CRITICAL)  # its findings say the same, in their place
    command = import_module(f"pipeline.commands.{parsed.command}")
    return int(command.run(parsed, sys.stdout))


def _split_at_dashes(arguments: list[str]) -> tuple[list[str], list[str]]:
    if "--" not in arguments:
        return arguments, []
    at = arguments.index("--")
    return arguments[:at], arguments[at + 1 :]


def command_parser(name: str | None) -> argparse.ArgumentParser:
    """Build the parser of the command line; only the named command's own module is loaded, so that help comes at once."""
    parser = argparse.ArgumentParser(prog="embedbeam", description=PROGRAM, allow_abbrev=False)
    parser.add_argument("--version", action="version", version=f"embedbeam {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for command, doing in (
        ("run", "one run to a committed version; a rerun resumes or updates"),
        ("plan", "the bill, before anything is paid"),
    ):
        _add_run_arguments(commands.add_parser(command, help=doing, description=doing, allow_abbrev=False), command)
    for command, doing in _OTHER_COMMANDS.items():
        inner = commands.add_parser(command, help=doing, description=doing, allow_abbrev=False)
        if command == name:
            import_module(f"pipeline.commands.{command}").add_arguments(inner)
        inner.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser


def _add_run_arguments(parser: argparse.ArgumentParser, command: str) -> None:
    parser.add_argument("config", metavar="CONFIG", help="the YAML config")
    parser.add_argument(
        "--set",
        metavar="KEY.PATH=VALUE",
        action="append",
        default=[],
        dest="settings",
        help="override one config key; repeatable",
    )
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
    parser.epilog = "Whatever follows -- goes to Beam, as in: -- --runner=FlinkRunner"


def _run(parsed: argparse.Namespace) -> int:
    from pipeline.config import load_config

    config = load_config(parsed.config, parsed.settings)
    _silence_libraries(parsed.debug)
    from pipeline.progress import bill_lines, summary_lines
    from pipeline.runner import RunRequest, execute

    started_at = time.time()
    request = RunRequest(
        config,
        parsed.beam_flags,
        _new_run_id(),
        started_at,
        parsed.command == "run",
        getattr(parsed, "accept_new_canary", False),
        parsed.debug,
    )
    out: TextIO = sys.stderr if parsed.json else sys.stdout
    show = parsed.command == "run" and not parsed.quiet
    result = execute(
        request, lambda folder: watch_run(folder, out, config.limits.tokens_per_minute) if show else nullcontext()
    )
    if not parsed.quiet:
        lines = summary_lines(result, bool(result.get("committed"))) if request.approve else bill_lines(result)
        out.write("\n".join(lines) + "\n")
    if parsed.json:
        sys.stdout.write(json.dumps(result) + "\n")
    return _exit_code_of_plan(result) if not request.approve else 0


def watch_run(folder: "RunFolder", out: TextIO, tokens_per_minute: int | None) -> AbstractContextManager[object]:
    """Show a run's progress: a panel that moves on a terminal, a plain line every few seconds elsewhere."""
    if out.isatty() and os.environ.get("TERM", "dumb") != "dumb":
        from pipeline.live import LiveProgress

        return LiveProgress(folder, out, tokens_per_minute)
    from pipeline.progress import Progress

    return Progress(folder, out)


def _exit_code_of_plan(bill: dict[str, Any]) -> int:
    if bill.get("refusal"):
        sys.stderr.write(f"embedbeam: run would be refused: {bill['refusal']}\n")
        return 3
    return 0


def _new_run_id() -> str:
    now = datetime.datetime.now(datetime.timezone.utc)
    return f"{now:%Y%m%dT%H%M%S}-{secrets.token_hex(4)}"


def _silence_libraries(debug: bool) -> None:
    """Keep Beam's and Google's advice about their own innards off the screen; what matters reaches people as errors."""
    warnings.simplefilter("ignore")
    logging.basicConfig(level=logging.WARNING if debug else logging.CRITICAL, format="embedbeam: %(message)s")
    logging.getLogger("transforms").setLevel(logging.WARNING)  # our own warnings are for people: truncation, an outage
