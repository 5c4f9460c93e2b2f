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
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any, TextIO

from pipeline.command_line import command_parser
from transforms.errors import ConfigError, EmbeddingPipelineError, RunInterrupted

if TYPE_CHECKING:
    from pipeline.config import RunConfig
    from pipeline.progress import Lookout


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
        if parsed.beam_flags and parsed.command not in ("run", "plan", "doctor", "compare"):
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
    if parsed.command == "compare":
        from pipeline.commands import compare

        return compare.run(parsed, sys.stdout, partial(_execute, parsed))
    if parsed.command == "doctor":
        silence_libraries(parsed.debug)
        logging.getLogger("transforms").setLevel(logging.CRITICAL)  # its findings say the same, in their place
    command = import_module(f"pipeline.commands.{parsed.command}")
    return int(command.run(parsed, sys.stdout))


def _split_at_dashes(arguments: list[str]) -> tuple[list[str], list[str]]:
    if "--" not in arguments:
        return arguments, []
    at = arguments.index("--")
    return arguments[:at], arguments[at + 1 :]


def _run(parsed: argparse.Namespace) -> int:
    from pipeline.config import load_config

    config = load_config(parsed.config, parsed.settings)
    result = _execute(parsed, config, 1.0, parsed.command == "run")
    if parsed.json:
        sys.stdout.write(json.dumps(result) + "\n")
    return _exit_code_of_plan(result) if parsed.command == "plan" else 0


def _execute(parsed: argparse.Namespace, config: "RunConfig", sample: float, approve: bool) -> dict[str, Any]:
    """Run a config or plan it, on all texts or on a sample of them, and say what there is to say while it goes on."""
    silence_libraries(parsed.debug)
    from pipeline.launch import launch_lines
    from pipeline.panel import Panel
    from pipeline.progress import Lookout, bill_lines, summary_lines
    from pipeline.unchanged import summary_if_unchanged

    run_id, started_at = _new_run_id(), time.time()
    out: TextIO = sys.stderr if parsed.json else sys.stdout
    is_whole_run = approve and sample == 1 and not parsed.beam_flags
    result = summary_if_unchanged(config, run_id, started_at) if is_whole_run else None
    if result is not None and not parsed.quiet:
        out.write(f"documents  {result['documents']:,}: none new, changed or vanished\n")
    if result is None:
        from pipeline.runner import RunRequest, execute

        accepts = getattr(parsed, "accept_new_canary", False)
        request = RunRequest(
            config, parsed.beam_flags, run_id, started_at, approve, accepts, parsed.debug, sample=sample
        )
        panel = Panel(config.limits.tokens_per_minute, config.limits.requests_per_minute)
        result = execute(
            request, lambda folder: nullcontext() if parsed.quiet else watch_run(Lookout(folder, panel, approve), out)
        )
    if not parsed.quiet:
        if result.get("launched"):
            lines = launch_lines(result)
        else:
            lines = summary_lines(result, bool(result.get("committed"))) if approve else bill_lines(result)
        out.write("\n".join(lines) + "\n")
    return result


def watch_run(lookout: "Lookout", out: TextIO) -> AbstractContextManager[object]:
    """Show a run's progress: a panel that moves on a terminal, a plain line every few seconds elsewhere."""
    if out.isatty() and os.environ.get("TERM", "dumb") != "dumb":
        from pipeline.live import LiveProgress

        return LiveProgress(lookout, out)
    from pipeline.progress import Progress

    return Progress(lookout, out)


def _exit_code_of_plan(bill: dict[str, Any]) -> int:
    if bill.get("refusal"):
        sys.stderr.write(f"embedbeam: run would be refused: {bill['refusal']}\n")
        return 3
    return 0


def _new_run_id() -> str:
    now = datetime.datetime.now(datetime.timezone.utc)
    return f"{now:%Y%m%dT%H%M%S}-{secrets.token_hex(4)}"


def silence_libraries(debug: bool) -> None:
    """Keep Beam's and Google's advice about their own innards off the screen; what matters reaches people as errors."""
    warnings.simplefilter("ignore")
    logging.basicConfig(level=logging.WARNING if debug else logging.CRITICAL, format="embedbeam: %(message)s")
    logging.getLogger("transforms").setLevel(logging.WARNING)  # our own warnings are for people: truncation, an outage
