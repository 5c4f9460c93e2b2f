"""How a command's page of the manual is laid out around its arguments."""

import argparse
import textwrap
from collections.abc import Iterable, Sequence

from pipeline.manual import EXIT_CODES, PAGES

_WIDTH = 78


def add_page(parser: argparse.ArgumentParser, command: str) -> None:
    """Put a command's page around its arguments; what the command itself says below them comes first."""
    page = PAGES.get(command)
    if page is None:
        return
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.description = "\n\n".join(textwrap.fill(paragraph, _WIDTH) for paragraph in page.about.split("\n\n"))
    sections = [
        parser.epilog or "",
        _section("examples", [line for text in page.examples for line in _example(*text)]),
        _section("exit codes", _columns((str(code), EXIT_CODES[code]) for code in page.exit_codes)),
        _section("files", _columns(page.files)),
        _section("environment", _columns(page.environment)),
    ]
    parser.epilog = "\n\n".join(section for section in sections if section)


def _section(title: str, lines: Sequence[str]) -> str:
    return "\n".join([f"{title}:", *lines]) if lines else ""


def _example(command_line: str, purpose: str) -> list[str]:
    """Set an example apart; it stays on one line, so that it can be copied."""
    return [f"  # {purpose}", f"  {command_line}"]


def _columns(pairs: Iterable[tuple[str, str]]) -> list[str]:
    kept = list(pairs)
    width = max((len(name) for name, _ in kept), default=0)
    lines = []
    for name, text in kept:
        indent = " " * (width + 4)
        lines += textwrap.wrap(text, _WIDTH, initial_indent=f"  {name:<{width}}  ", subsequent_indent=indent)
    return lines
