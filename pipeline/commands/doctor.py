"""``embedbeam doctor``: would a run of this config work? One line a check, each with its remedy, in seconds."""

import argparse
import json
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from typing import TextIO

from pipeline.commands.arguments import add_config, add_json
from pipeline.commands.document_checks import look_at_documents
from pipeline.commands.endpoint_checks import EndpointCheck
from pipeline.commands.finding import FAILED, OK, Finding, findings_of, worst_exit_code
from pipeline.commands.plain_text import counted
from pipeline.compatibility import check_same_vectors
from pipeline.config import RunConfig, load_config
from transforms.core.facts import check_same_space
from transforms.core.manifest import Manifest
from transforms.errors import ConfigError, RunRefused
from transforms.storage.store import open_store
from transforms.storage.versions import PreviousVersion, current_manifest


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_config(parser)
    add_json(parser)
    parser.epilog = "Whatever follows -- is checked as options for Beam."


def run(arguments: argparse.Namespace, out: TextIO) -> int:
    """Look at everything a run needs, at the same time, and print what was found.

    Returns:
        0 when a run can begin; else what the run would exit with: 2, 3 or 4, and 1 for a disk that fails.

    Raises:
        ConfigError: the config itself cannot be used.
    """
    began = time.monotonic()
    config = load_config(arguments.config, arguments.settings)
    endpoint = EndpointCheck(config)
    checks: Sequence[tuple[str, Callable[[], Iterable[Finding]]]] = (
        ("config", lambda: _look_at_config(arguments.config)),
        ("endpoint", endpoint.look),
        ("documents", lambda: look_at_documents(config)),
        ("dataset", lambda: _look_at_dataset(config)),
        ("engine", lambda: _look_at_engine(arguments.beam_flags)),
    )
    with ThreadPoolExecutor(len(checks), "check") as pool:
        found = list(pool.map(lambda check: list(findings_of(*check)), checks))
    findings = [finding for some in found for finding in some]
    findings += findings_of("canary", lambda: _compare(config, endpoint))
    code = worst_exit_code(findings)
    seconds = round(time.monotonic() - began, 1)
    if arguments.json:
        report = {"checks": [asdict(one) for one in findings], "tokens": endpoint.tokens, "seconds": seconds}
        out.write(json.dumps({**report, "exit_code": code}) + "\n")
    else:
        out.write("\n".join(_lines(findings, endpoint.tokens, seconds)) + "\n")
    return code


def _look_at_config(path: str) -> Iterator[Finding]:
    yield Finding("config", OK, f"{path} is complete, and every key is known")


def _look_at_dataset(config: RunConfig) -> Iterator[Finding]:
    store = open_store(config.dataset, config.billing_project)
    store.check_writable()
    yield Finding("dataset", OK, f"{config.dataset} can be written")
    manifest = current_manifest(store)
    if manifest is None:
        if not store.list_files(""):
            store.delete_empty_folders("")  # what the attempt to write has made
        yield Finding("version", OK, "none is committed yet; a run makes version 1")
        return
    check_same_vectors(config, manifest)
    rows = f"{counted(manifest.rows, 'row')} of {manifest.model}, {manifest.dimensions:,} dimensions"
    yield Finding("version", OK, f"version {manifest.version} holds {rows}, as the config asks for")


def _compare(config: RunConfig, endpoint: EndpointCheck) -> Iterator[Finding]:
    """Compare the probe's answer with the vectors that are there, as a run does before it pays."""
    try:
        manifest: Manifest | None = current_manifest(open_store(config.dataset, config.billing_project))
        check_same_vectors(config, manifest)
    except (ConfigError, RunRefused):  # found by the dataset's own check already
        return
    if manifest is None or endpoint.facts is None:
        return
    before = PreviousVersion(open_store(config.dataset, config.billing_project), manifest)
    proved = (endpoint.facts.dimension, endpoint.facts.canary)
    check_same_space(proved, (before.dimension, before.canary), f"version {manifest.version} of the dataset", False)
    yield Finding("canary", OK, "a fixed sentence gets the vector that it got when the dataset was made")


def _look_at_engine(flags: Sequence[str]) -> Iterator[Finding]:
    from pipeline import engine  # loads Beam, which takes a second

    options = engine.parse_beam_flags(flags)
    lanes = engine.count_lanes(options)
    name = engine.engine_name(options)
    engine.check_installed(name)
    shared = f"{counted(lanes, 'worker')}, each with an equal share of the quota"
    where = "works on this machine" if engine.works_here(options) else shared
    yield Finding("engine", OK, f"{name}, {where}")


def _lines(findings: Sequence[Finding], tokens: int, seconds: float) -> Iterator[str]:
    width = max(len(one.check) for one in findings)
    for one in findings:
        yield f"{one.state:<6}  {one.check:<{width}}  {one.message}"
    bad = sum(one.state == FAILED for one in findings)
    verdict = f"{counted(bad, 'check')} failed: a run would stop" if bad else "a run can begin"
    yield f"{verdict}; this cost {counted(tokens, 'token')} and took {seconds} s"
