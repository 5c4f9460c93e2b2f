"""Runs the graph on the engine that was asked for, waits, and reads back what came of it."""

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from pipeline.compatibility import check_same_vectors
from pipeline.config import RunConfig
from pipeline.engine import (
    count_lanes,
    engine_name,
    hush,
    in_plain_words,
    is_left_alone,
    open_pipeline,
    parse_beam_flags,
    works_here,
)
from pipeline.graph import RunFacts, build_graph
from pipeline.interruption import INTERRUPTED, Interruption
from pipeline.launch import launched_run
from transforms.clients.credentials import find_key
from transforms.clients.open_client import close_clients
from transforms.core.buckets import parse_part_name
from transforms.core.identity import vector_fingerprint
from transforms.core.manifest import Manifest
from transforms.core.models import expected_dimension
from transforms.errors import STOPPING_ERRORS, ConfigError, FatalError, RunInterrupted, RunRefused
from transforms.storage.place import RunPlace
from transforms.storage.run_folder import RunFolder, remove_dead_runs
from transforms.storage.store import Store, open_store
from transforms.storage.versions import current_manifest

CLOSING_SECONDS = 10.0
"""A finished run has nothing in flight; this bounds the closing of idle connections."""


@dataclass(frozen=True, slots=True)
class RunRequest:
    """What the command line asks for.

    Attributes:
        beam_flags: everything after ``--``.
        run_id: unique for each start of the program.
        started_at: seconds since 1970.
        approve: False for a plan.
        debug: let the engine's own words through to stderr.
        sample: share of all texts that take part, chosen by hash; 1 for all.
    """

    config: RunConfig
    beam_flags: Sequence[str]
    run_id: str
    started_at: float
    approve: bool
    accept_new_canary: bool = False
    debug: bool = False
    sample: float = 1.0


Watch = Callable[[RunFolder], Any]
"""Starts to show a run's progress; returns a context manager's like that ends it."""


def execute(request: RunRequest, watch: Watch) -> dict[str, Any]:
    """Run or plan, and return the summary or the bill; or, for a run that is left alone, what it is called.

    Raises:
        ConfigError: the options for Beam, or the key where it is used on this machine, cannot be used.
        FatalError: the run had to stop; its sentence says why and what to do.
    """
    config = request.config
    options = parse_beam_flags(request.beam_flags)
    lanes = count_lanes(options)
    if request.approve and not config.is_local and works_here(options):
        find_key(config.endpoint.api_key_env, config.endpoint.api_key_secret)
    store = open_store(config.dataset, config.billing_project)
    left_alone = is_left_alone(options)
    _check_reach(request, engine_name(options), left_alone, store)
    previous = current_manifest(store)
    check_same_vectors(config, previous)
    store.check_writable()
    folder = RunFolder(store, request.run_id)
    facts = _facts(request, previous, lanes)
    launched: dict[str, Any] = {}
    try:
        with folder.alive(), Interruption(folder) as interruption:
            remove_dead_runs(store, request.run_id)
            watched = contextlib.nullcontext() if left_alone else watch(folder)
            with watched, _said_by_the_run(folder, interruption), in_plain_words(options):
                hush(options, request.debug)
                pipeline = open_pipeline(options, request.debug)
                build_graph(pipeline, config, facts)
                result = pipeline.run()
                if left_alone:
                    launched = launched_run(result, options.get_all_options(), store.root, request.run_id)
                    return launched
                interruption.take_signals()
                _wait(result)
            return (folder.outcome() if request.approve else folder.bill()) or {}
    finally:
        close_clients(request.run_id, CLOSING_SECONDS)
        if not launched:  # else the job needs its folder, and a later run removes it
            with contextlib.suppress(OSError):  # a worker of an ending job may still write; the next run tidies it away
                folder.remove()


def _check_reach(request: RunRequest, engine: str, left_alone: bool, store: Store) -> None:
    """Refuse what workers on other machines could not see, or what nobody would be left to wait for.

    Other engines may share a disk with their workers; Dataflow's workers never share one with anybody.
    """
    config = request.config
    places = [store.root, *config.documents.paths, *filter(None, [config.documents.dataset])]
    local = [place for place in places if not place.startswith("gs://")]
    if engine == "DataflowRunner" and local:
        raise ConfigError(f"workers on Dataflow see no local folder: put {', '.join(local)} on gs://")
    if left_alone and not request.approve:
        raise ConfigError("plan waits for the bill that it shows; leave --no_wait_until_finish out")
    if left_alone and store.moves_folders:
        raise ConfigError(
            f"dataset {store.root} is a local folder, where the next run takes one that nobody waits for as dead; "
            "put the dataset on gs://, or leave --no_wait_until_finish out"
        )


def _facts(request: RunRequest, previous: Manifest | None, lanes: int) -> RunFacts:
    config = request.config
    source = _source(config)
    fingerprint = vector_fingerprint(
        config.endpoint.model, config.endpoint.dimensions, config.endpoint.input_prefix, config.host, config.context
    )
    place = RunPlace(
        config.dataset, request.run_id, previous.version if previous else 0, fingerprint, config.billing_project
    )
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
        lanes=lanes,
        started_at=request.started_at,
        accept_new_canary=request.accept_new_canary,
        chunking=source.chunking if source else config.chunking_section(),
        source_version=source.version if source else 0,
        source_rows=source.rows if source else 0,
        source_context=source.stamp.context if source else "",
        sample=request.sample,
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
    source = current_manifest(open_store(dataset, config.billing_project))
    if source is None:
        raise RunRefused(f"documents.dataset {dataset} holds no committed version to read chunks from")
    return source


def _wait(result: Any) -> None:
    """Wait for the engine, and take the job back from it when the launcher is told to end at once."""
    try:
        result.wait_until_finish()
    except KeyboardInterrupt:
        result.cancel()
        raise


class _said_by_the_run:  # noqa: N801 - reads as a phrase at its one place of use
    """Replaces what a runner makes of an exception by the sentence that the failing worker left behind."""

    def __init__(self, folder: RunFolder, interruption: Interruption) -> None:
        self._folder, self._interruption = folder, interruption

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            return
        if self._interruption.happened:
            raise RunInterrupted(INTERRUPTED) from error
        notice = self._folder.stop_notice()
        if notice is not None:
            raise STOPPING_ERRORS.get(notice.kind, FatalError)(notice.message) from error
