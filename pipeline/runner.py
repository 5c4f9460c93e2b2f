"""Picks the engine, runs the graph, waits, and reads back what came of it."""

import argparse
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from types import FrameType, TracebackType
from typing import Any

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.portability.fn_api_runner.fn_runner import FnApiRunner

from pipeline.config import RunConfig
from pipeline.graph import RunFacts, build_graph
from transforms.clients.credentials import read_key
from transforms.clients.open_client import any_client_open, close_clients, stop_clients
from transforms.core.buckets import parse_part_name
from transforms.core.identity import vector_fingerprint
from transforms.core.manifest import Manifest
from transforms.core.models import expected_dimension
from transforms.errors import STOPPING_ERRORS, ConfigError, FatalError, RunInterrupted, RunRefused
from transforms.storage.place import RunPlace
from transforms.storage.run_folder import RunFolder, remove_dead_runs
from transforms.storage.store import open_store
from transforms.storage.versions import current_manifest

CLOSING_SECONDS = 10.0
"""A finished run has nothing in flight; this bounds the closing of idle connections."""

_INTERRUPTED = (
    "the run was interrupted; every answer that had arrived is in the journal, and the same command goes on from there"
)


@dataclass(frozen=True, slots=True)
class RunRequest:
    """What the command line asks for.

    Attributes:
        beam_flags: everything after ``--``.
        run_id: unique for each start of the program.
        started_at: seconds since 1970.
        approve: False for a plan.
    """

    config: RunConfig
    beam_flags: Sequence[str]
    run_id: str
    started_at: float
    approve: bool
    accept_new_canary: bool = False


Watch = Callable[[RunFolder], Any]
"""Starts to show a run's progress; returns a context manager's like that ends it."""


def execute(request: RunRequest, watch: Watch) -> dict[str, Any]:
    """Run or plan, and return the summary or the bill.

    Raises:
        ConfigError: the options for Beam, or the key, cannot be used.
        FatalError: the run had to stop; its sentence says why and what to do.
    """
    config = request.config
    options = _beam_options(request.beam_flags)
    if request.approve and not config.is_local:
        read_key(config.endpoint.api_key_env)
    store = open_store(config.dataset)
    previous = current_manifest(store)
    check_same_vectors(config, previous)
    store.check_writable()
    folder = RunFolder(store, request.run_id)
    facts = _facts(request, previous)
    try:
        with folder.alive(), _Interruption(folder) as interruption:
            remove_dead_runs(store, request.run_id)
            with watch(folder), _said_by_the_run(folder, interruption):
                pipeline = beam.Pipeline(runner=_runner(options), options=options)
                build_graph(pipeline, config, facts)
                pipeline.run().wait_until_finish()
            return (folder.outcome() if request.approve else folder.bill()) or {}
    finally:
        close_clients(request.run_id, CLOSING_SECONDS)
        folder.remove()


def check_same_vectors(config: RunConfig, previous: Manifest | None) -> None:
    """Refuse to mix vectors of another model, dimension or prefix into a dataset.

    Raises:
        RunRefused: names what differs and the remedy.
    """
    if previous is None:
        return
    stamp, wanted = previous.stamp, config.endpoint
    differences = [
        f"{name} is {now!r} and the dataset has {before!r}"
        for name, now, before in (
            ("embedding.model", wanted.model, stamp.model),
            ("embedding.dimensions", wanted.dimensions or stamp.dimensions, stamp.dimensions),
            ("embedding.input_prefix", wanted.input_prefix, stamp.input_prefix),
        )
        if now != before
    ]
    if differences:
        raise RunRefused(
            f"{config.dataset} holds vectors that cannot be mixed with the ones asked for: {'; '.join(differences)}. "
            "Write to a new dataset path, or change the config back"
        )


def _facts(request: RunRequest, previous: Manifest | None) -> RunFacts:
    config = request.config
    source = _source(config)
    fingerprint = vector_fingerprint(
        config.endpoint.model, config.endpoint.dimensions, config.endpoint.input_prefix, config.host
    )
    place = RunPlace(config.dataset, request.run_id, previous.version if previous else 0, fingerprint)
    dimension = (
        previous.dimensions if previous else config.endpoint.dimensions or expected_dimension(config.endpoint.model)
    )
    bits = None
    if previous is not None:
        bits = parse_part_name(previous.parts[0].path.rpartition("/")[2])[1] if previous.parts else 0
    return RunFacts(
        place=place,
        dimension=dimension,
        previous_bits=bits,
        approve=request.approve,
        lanes=1,
        started_at=request.started_at,
        accept_new_canary=request.accept_new_canary,
        chunking=source.chunking if source else config.chunking_section(),
        source_version=source.version if source else 0,
        source_rows=source.rows if source else 0,
    )


def _source(config: RunConfig) -> Manifest | None:
    """Return the manifest of the dataset whose chunks are embedded again; None when documents are read."""
    dataset = config.documents.dataset
    if not dataset:
        return None
    if dataset == config.dataset:
        raise ConfigError(
            f"documents.dataset and dataset are both {dataset}; the new vectors need a dataset of their own"
        )
    source = current_manifest(open_store(dataset))
    if source is None:
        raise RunRefused(f"documents.dataset {dataset} holds no committed version to read chunks from")
    return source


def _beam_options(flags: Sequence[str]) -> PipelineOptions:
    """Parse the options for Beam, refusing those that no part of Beam knows; it would drop them without a word.

    Raises:
        ConfigError: names the unknown options, without their values.
    """
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    for kind in _all_subclasses(PipelineOptions):
        kind._add_argparse_args(parser)
    unknown = [flag.partition("=")[0] for flag in parser.parse_known_args(list(flags))[1] if flag.startswith("-")]
    if unknown:
        raise ConfigError(
            f"Beam does not know {', '.join(unknown)}; after -- only options of Beam and its runners may follow"
        )
    return PipelineOptions(list(flags))


def _all_subclasses(kind: type[PipelineOptions]) -> Iterator[type[PipelineOptions]]:
    for inner in kind.__subclasses__():
        if "_add_argparse_args" in vars(inner):
            yield inner
        yield from _all_subclasses(inner)


def _runner(options: PipelineOptions) -> FnApiRunner | str:
    """Return the engine: FnApiRunner unless another one is named.

    ``DirectRunner`` means three different engines in Beam, by what it can download; here it always means this one.
    """
    name = options.get_all_options().get("runner") or "DirectRunner"
    return FnApiRunner() if name in ("DirectRunner", "FnApiRunner") else str(name)


class _Interruption:
    """Turns SIGINT and SIGTERM into a clean stop: no new requests, answers in flight are journaled, then the run ends.

    The handler only sets a flag: it runs on the main thread, which may hold any lock. A second signal, or one before any
    request was sent, ends the run at once; that is safe at any moment, only answers in flight would be paid again.
    """

    def __init__(self, folder: RunFolder) -> None:
        self._folder = folder
        self._flag = threading.Event()
        self._over = threading.Event()
        self._before: dict[int, Any] = {}

    @property
    def happened(self) -> bool:
        """Whether somebody has asked the run to stop."""
        return self._flag.is_set()

    def __enter__(self) -> "_Interruption":
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._handle)
        self._watcher = threading.Thread(target=self._watch, name="interruption", daemon=True)
        self._watcher.start()
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._over.set()
        self._flag.set()
        self._watcher.join()

    def _handle(self, number: int, frame: FrameType | None) -> None:
        repeated = self._flag.is_set()
        self._flag.set()
        if repeated or not any_client_open():
            raise KeyboardInterrupt

    def _watch(self) -> None:
        self._flag.wait()
        if not self._over.is_set():
            self._folder.stop(RunInterrupted.__name__, _INTERRUPTED)
            stop_clients(_INTERRUPTED)


class _said_by_the_run:  # noqa: N801 - reads as a phrase at its one place of use
    """Replaces what a runner makes of an exception by the sentence that the failing worker left behind."""

    def __init__(self, folder: RunFolder, interruption: _Interruption) -> None:
        self._folder, self._interruption = folder, interruption

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            return
        if self._interruption.happened:
            raise RunInterrupted(_INTERRUPTED) from error
        notice = self._folder.stop_notice()
        if notice is not None:
            raise STOPPING_ERRORS.get(notice.kind, FatalError)(notice.message) from error
