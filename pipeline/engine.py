"""Which engine runs the graph: its options, how many workers share the quota, and what of its talk people see.

The secret kept is how Beam names its engines and what each of them does unless it is told otherwise.
"""

import argparse
import contextlib
import io
import logging
import os
import shlex
import sys
import threading
import traceback
from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TextIO

import apache_beam as beam
import grpc  # type: ignore[import-untyped]
from apache_beam.options.pipeline_options import (
    DebugOptions,
    DirectOptions,
    PipelineOptions,
    SetupOptions,
    StandardOptions,
    WorkerOptions,
)
from apache_beam.runners.portability import portable_runner
from apache_beam.runners.portability.fn_api_runner.fn_runner import FnApiRunner
from apache_beam.runners.worker import data_plane
from apache_beam.transforms.environments import SubprocessSDKEnvironment

from transforms.errors import ConfigError, FatalError

_ON_THIS_MACHINE = ("DirectRunner", "FnApiRunner")
_STARTS_WORKERS_HERE = {
    "PrismRunner": ("", ""),
    "FlinkRunner": ("flink_master", "["),
    "SparkRunner": ("spark_master_url", "local"),
}
"""Engines whose workers are this very process, as long as nobody names an environment and, where it depends, an
option's value begins so."""


_LOST_WORKER = ("Channel closed prematurely", "SDK worker disconnected")
"""How the job service (Beam's portable runner in Python) and Prism call it."""


def parse_beam_flags(flags: Sequence[str]) -> PipelineOptions:
    """Parse the options for Beam, refusing those that no part of Beam knows; it would drop them without a word.

    Raises:
        ConfigError: names the unknown options, without their values, or the engine that does not exist.
    """
    unknown = unknown_flags(flags)
    if unknown:
        raise ConfigError(
            f"Beam does not know {', '.join(unknown)}; after -- only options of Beam and its runners may follow"
        )
    options = PipelineOptions(list(flags))
    setup = options.view_as(SetupOptions)
    if setup.setup_file:
        setup.setup_file = str(Path(setup.setup_file).absolute())  # Beam fails on a name without a folder
    if engine_name(options) == "DataflowRunner":
        options.view_as(DebugOptions).add_experiment("no_use_multiple_sdk_containers")  # one process on each worker
        workers = options.view_as(WorkerOptions)
        workers.max_num_workers = workers.max_num_workers or workers.num_workers  # else the service may start many more
    return options


def unknown_flags(flags: Sequence[str]) -> list[str]:
    """Return the names of the options that no part of Beam knows, without their values."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    for kind in _all_subclasses(PipelineOptions):
        kind._add_argparse_args(parser)
    return [flag.partition("=")[0] for flag in parser.parse_known_args(list(flags))[1] if flag.startswith("-")]


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


def check_installed(engine: str) -> None:
    """Refuse an engine whose part of Beam is not here.

    Raises:
        ConfigError: names the extra that brings it.
    """
    if engine == "DataflowRunner" and find_spec("google.cloud.dataflow_v1beta3") is None:
        raise ConfigError("DataflowRunner needs Beam's part for Google Cloud: pip install 'embedbeam[dataflow]'")


def open_pipeline(options: PipelineOptions, debug: bool) -> beam.Pipeline:
    """Return an empty pipeline on the engine.

    Raises:
        ConfigError: the engine is not installed, or misses options; all of them are listed.
    """
    name = engine_name(options)
    check_installed(name)
    engine = open_engine(options, debug)
    try:
        return beam.Pipeline(runner=engine, options=options)
    except ValueError as error:
        problems = "".join(f"\n  {line}" for line in str(error).splitlines()[1:])
        raise ConfigError(f"{name} cannot start with these options after --:{problems or f' {error}'}") from error


@contextlib.contextmanager
def in_plain_words(options: PipelineOptions) -> Iterator[None]:
    """Say in a line that an engine lost a worker or is gone, and that Dataflow refused the job, or that the job failed.

    Raises:
        FatalError: instead of what Beam raises.
    """
    try:
        if engine_name(options) == "DataflowRunner":
            with _dataflow_in_plain_words():
                yield
        else:
            yield
    except (RuntimeError, grpc.RpcError) as error:
        if not has_lost_a_part(error):
            raise
        raise FatalError(
            f"{engine_name(options)} lost a worker, or is gone itself: something killed it, or memory ran out; what was "
            "paid is in the journal, and the same command goes on"
        ) from error


def has_lost_a_part(error: BaseException) -> bool:
    """Tell whether an engine failed because one of its processes is gone: a worker, or the engine itself.

    An engine in this process notices where it reads what its worker sends. One in another process is gone when the
    connection is; of a worker that it has lost it hands on only words.
    """
    if isinstance(error, grpc.RpcError):
        return isinstance(error, grpc.Call) and error.code() == grpc.StatusCode.UNAVAILABLE
    raised_in = [frame.f_globals.get("__name__") for frame, _ in traceback.walk_tb(error.__traceback__)][-1:]
    if raised_in == [data_plane.__name__]:
        return True
    return raised_in == [portable_runner.__name__] and any(words in str(error) for words in _LOST_WORKER)


@contextlib.contextmanager
def _dataflow_in_plain_words() -> Iterator[None]:
    from apache_beam.runners.dataflow.dataflow_runner import DataflowRuntimeException
    from google.api_core.exceptions import GoogleAPIError
    from google.auth.exceptions import GoogleAuthError

    try:
        yield
    except (GoogleAPIError, GoogleAuthError) as error:
        raise FatalError(f"Dataflow does not take the job: {error}") from error
    except DataflowRuntimeException as error:
        raise FatalError(f"{' '.join(str(error).split())}; what was paid is in the journal") from error


def count_lanes(options: PipelineOptions) -> int:
    """Say by how many the quota is divided: the most worker processes that the engine may have at work at once.

    1 where all workers run on this machine, for there they share the quota exactly, however many they are. Elsewhere the
    engine's own options must say it.

    Raises:
        ConfigError: an engine runs workers elsewhere and no option says how many.
    """
    if works_here(options):
        return 1
    told = options.get_all_options()
    name = engine_name(options)
    stated = max(int(told.get(option) or 0) for option in ("max_num_workers", "num_workers", "parallelism"))
    if stated < 1:
        option = "--parallelism" if name == "FlinkRunner" else "--max_num_workers"
        raise ConfigError(
            f"{name} may run workers on other machines, and the quota has to be divided among them: add {option}=N after --, "
            "the most worker processes that may be at work at once"
        )
    return stated


def works_here(options: PipelineOptions) -> bool:
    """Tell whether all workers run on this machine, with this process's environment."""
    name = engine_name(options)
    return name in _ON_THIS_MACHINE or _runs_workers_here(name, options.get_all_options())


def is_left_alone(options: PipelineOptions) -> bool:
    """Tell whether the run is submitted and not waited for.

    Beam's ``--no_wait_until_finish`` asks for it. Dataflow's launcher of a Flex Template sets ``--template_location``: then
    the job graph is written there, and the service makes the job out of it when the launcher has ended.

    Raises:
        ConfigError: the engine ends with this process.
    """
    told = options.get_all_options()
    if not told.get("no_wait_until_finish") and not told.get("template_location"):
        return False
    if works_here(options):
        raise ConfigError(
            f"{engine_name(options)} runs in this process and ends with it: leave --no_wait_until_finish out, or name an "
            "engine whose workers run elsewhere"
        )
    return True


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
    logging.getLogger("apache_beam.runners.dataflow.internal.apiclient").disabled = True  # it also raises what it logs
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
