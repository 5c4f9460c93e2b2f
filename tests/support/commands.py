"""Run one dataset command as the command line does, and keep what it prints."""

import argparse
import importlib
import io


def run_command(name: str, *argv: str) -> tuple[int, str]:
    """Return a command's exit code and everything that it wrote to its output."""
    command = importlib.import_module(f"pipeline.commands.{name}")
    parser = argparse.ArgumentParser(prog=f"embedbeam {name}", allow_abbrev=False)
    command.add_arguments(parser)
    out = io.StringIO()
    code = command.run(parser.parse_args(argv), out)
    assert out.getvalue().endswith("\n")
    return code, out.getvalue()
