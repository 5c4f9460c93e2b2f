"""Which engine runs the graph: its options, how many workers share the quota, and what of its talk people see.

The secret kept is how Beam names its engines and what each of them does unless it is told otherwise.
"""

import argparse
import io
import logging
import os
import shlex
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TextIO

from apache_beam.options.pipeline_options import (
    DebugOptions,
    DirectOptions,
    PipelineOptions,
    StandardOptions,
)
from apache_beam.runners.portability.fn_api_runner.fn_runner import FnApiRunner
from apache_beam.transforms.environments import SubprocessSDKEnvironment

from transforms.errors import ConfigError

_ON_THIS_MACHINE = ("DirectRunner", "FnApiRunner")
_STARTS_WORKERS_HERE = {
    "PrismRunner": ("", ""),
    "FlinkRunner": ("flink_master", "["),
    "SparkRunner": ("spark_master_url", "local"),
}
"""Engines whose workers are this very process, as long as nobody names an environment and, where it depends, an
option's value begins so."""


def parse_beam_flags(flags: Sequence[str]) -> PipelineOptions:
    """Parse the options for Beam, refusing those that no part of Beam knows; it would drop them without a word.

    Raises:
        ConfigError: names the unknown options, without their values, or the engine that does not exist.
    """
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    for kind in _all_subclasses(PipelineOptions):
        kind._add_argparse_args(parser)
    unknown = [flag.partition("=")[0] for flag in parser.parse_known_args(list(flags))[1] if flag.startswith("-")]
    if unknown:
        raise ConfigError(
            f"Beam does not know {', '.join(unknown)}; after -- only options of Beam and its runners may follow"
        )
    options = PipelineOptions(list(flags))
    if engine_name(options) == "DataflowRunner":
        options.view_as(DebugOptions).add_experiment("no_use_multiple_sdk_containers")  # one process on each worker
    return options


def _all_subclasses(kind: type[PipelineOptions]) -> Iterator[type[PipelineOptions]]:
    for inner in kind.__subclasses__():
        if "_add_argparse_args" in vars(inner):
            yield inner
        yield from _all_subclasses(inner)


def engine_name(options: PipelineOptions) -> str:
    """Return Beam's own spelling of the engine's name; Beam itself does not mind case, nor a missing "Runner".

    Raises:
        ConfigError: Beam has no such engine.
    """
    wanted = str(options.view_as(StandardOptions).runner or "DirectRunner")
    for known in StandardOptions.KNOWN_RUNNER_NAMES:
        if known.lower() in (wanted.lower(), f"{wanted.lower()}runner"):
            return str(known)
    if "." in wanted:
        return wanted
    raise ConfigError(f"--runner={wanted} is none of Beam's: {', '.join(StandardOptions.KNOWN_RUNNER_NAMES)}")


def open_engine(options: PipelineOptions, debug: bool) -> FnApiRunner | str:
    """Return the engine: FnApiRunner unless another one is named.

    ``DirectRunner`` means three different engines in Beam, by what it can download; here it always means this one. Its worker
    processes write their log to a stderr that they share with the launcher, so it is shut unless ``debug``; a terminal sends
    Ctrl-C to them, too, so they ignore it and let the launcher stop them, after their answers in flight are journaled.

    Raises:
        ConfigError: the options ask for a run that commits nothing.
    """
    if options.get_all_options().get("dry_run"):
        raise ConfigError("--dry_run=True submits no job, so nothing would be committed; leave it out")
    name = engine_name(options)
    if name not in _ON_THIS_MACHINE:
        return name
    direct = options.view_as(DirectOptions)
    if direct.direct_running_mode != "multi_processing":
        return FnApiRunner()
    direct.direct_running_mode = "in_memory"  # else it would put its own command in place of this one
    command = f"trap '' INT; exec {shlex.quote(sys.executable)} -m apache_beam.runners.worker.sdk_worker_main"
    command += "" if debug else f" 2>{os.devnull}"
    return FnApiRunner(default_environment=SubprocessSDKEnvironment.from_command_string(command))


def count_lanes(options: PipelineOptions) -> int:
    """Say by how many the quota is divided: the most worker processes that the engine may have at work at once.

    1 where all workers run on this machine, for there they share the quota exactly, however many they are. Elsewhere the
    engine's own options must say it.

    Raises:
        ConfigError: an engine runs workers elsewhere and no option says how many.
    """
    told = options.get_all_options()
    name = engine_name(options)
    if name in _ON_THIS_MACHINE or _runs_workers_here(name, told):
        return 1
    stated = max(int(told.get(option) or 0) for option in ("max_num_workers", "num_workers", "parallelism"))
    if stated < 1:
        option = "--parallelism" if name == "FlinkRunner" else "--max_num_workers"
        raise ConfigError(
            f"{name} may run workers on other machines, and the quota has to be divided among them: add {option}=N after --, "
            "the most worker processes that may be at work at once"
        )
    return stated


def _runs_workers_here(name: str, told: Mapping[str, Any]) -> bool:
    if told.get("environment_type"):
        return bool(told["environment_type"] == "LOOPBACK")
    if name not in _STARTS_WORKERS_HERE:
        return False
    option, beginning = _STARTS_WORKERS_HERE[name]
    return str(told.get(option) or "").startswith(beginning)


def hush(options: PipelineOptions, debug: bool) -> None:
    """Let only the main thread be heard on stderr, for the rest of this process, where other threads run or watch workers.

    They print every exception with its traceback, whatever the log's level is, and may outlive the job by a moment.
    """
    has_processes = options.view_as(DirectOptions).direct_running_mode == "multi_processing"
    if debug or (engine_name(options) in _ON_THIS_MACHINE and not has_processes):
        return
    logging.getLogger("PrismJobServer").propagate = False  # Beam sets this one's level itself
    if not isinstance(sys.stderr, _MainThreadOnly):
        sys.stderr = _MainThreadOnly(sys.stderr)


class _MainThreadOnly(io.TextIOBase):
    """A stream that drops what any thread but the main one writes."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        if threading.current_thread() is threading.main_thread():
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        self._stream.flush()

    def isatty(self) -> bool:
        return self._stream.isatty()
