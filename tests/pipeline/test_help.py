"""Help that can be trusted: every command has a page, and every example on it is a command line that is understood."""

import re
import shlex

import pytest

from pipeline.cli import main
from pipeline.command_line import command_parser
from pipeline.manual import EXIT_CODES, PAGES

EXAMPLES = [(command, line) for command, page in PAGES.items() for line, _ in page.examples]


def commands() -> set[str]:
    text = command_parser(None).format_help()
    return set(re.findall(r"^    ([a-z]+)(?= |$)", text, re.MULTILINE))


def test_every_command_has_a_page_and_every_page_a_command() -> None:
    assert commands() == set(PAGES)


@pytest.mark.parametrize(("command", "line"), EXAMPLES)
def test_every_example_is_understood(command: str, line: str) -> None:
    program, *words = shlex.split(line)
    own = words[: next((at for at, word in enumerate(words) if word in ("--", ">", "|")), len(words))]
    assert (program, own[0]) == ("embedbeam", command)
    parsed = command_parser(command).parse_args(own)
    assert parsed.command == command


@pytest.mark.parametrize("command", PAGES)
def test_help_shows_the_whole_page(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command, "--help"]) == 0
    shown = capsys.readouterr().out
    page = PAGES[command]
    assert all(line in shown for line, _ in page.examples)
    assert all(f"  {code}" in shown and EXIT_CODES[code].split(",")[0] in shown for code in page.exit_codes)
    assert all(name in shown for name, _ in (*page.files, *page.environment))
    assert " ".join(page.about.split())[:200] in " ".join(shown.split())
