"""Arguments that several commands take, with one spelling and one meaning."""

import argparse


def add_config(parser: argparse.ArgumentParser) -> None:
    """Declare CONFIG and ``--set``."""
    parser.add_argument("config", metavar="CONFIG", help="the YAML config")
    parser.add_argument(
        "--set",
        metavar="KEY.PATH=VALUE",
        action="append",
        default=[],
        dest="settings",
        help="override one config key; repeatable",
    )


def add_json(parser: argparse.ArgumentParser) -> None:
    """Declare ``--json``."""
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def positive(text: str) -> int:
    """Return a whole number of 1 or more."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be 1 or more, got {text!r}")
    return int(text)


def pair(text: str) -> tuple[str, str]:
    """Return the two sides of ``KEY=VALUE``."""
    key, equals, value = text.partition("=")
    if not key or not equals:
        raise argparse.ArgumentTypeError(f"must be KEY=VALUE, got {text!r}")
    return key, value
