"""Where a run works: its dataset, its own folder, the version before it and the journal it may read."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

from transforms.errors import ConfigError, EmbeddingPipelineError, FatalError, StorageFailed
from transforms.storage.journal import Journal
from transforms.storage.run_folder import RunFolder
from transforms.storage.store import Store, open_store
from transforms.storage.versions import PreviousVersion, manifest_of_version


@dataclass(frozen=True, slots=True)
class RunPlace:
    """The names that every worker of a run agrees on; small, so that it can travel in the job graph.

    Attributes:
        dataset: local folder or gs://bucket/prefix.
        run_id: names this run's folder; nothing in a part depends on it.
        previous_version: the committed version that the run started from; 0 when there is none.
        fingerprint: of what determines a vector; names the journal.
        billing_project: pays for requests to buckets of which the requester pays; "" where their owner does.
    """

    dataset: str
    run_id: str
    previous_version: int
    fingerprint: str
    billing_project: str = ""


@dataclass(frozen=True, slots=True)
class OpenPlace:
    """A place with its rooms open; one for each worker."""

    store: Store
    folder: RunFolder
    journal: Journal
    previous: PreviousVersion | None


def open_place(place: RunPlace) -> OpenPlace:
    """Open a run's place for reading and writing.

    Raises:
        RunRefused: the previous version's manifest is gone or cannot be read.
    """
    store = open_store(place.dataset, place.billing_project)
    previous = None
    if place.previous_version:
        previous = PreviousVersion(store, manifest_of_version(store, place.previous_version))
    return OpenPlace(store, RunFolder(store, place.run_id), Journal(store, place.fingerprint), previous)


@contextlib.contextmanager
def telling_why(folder: RunFolder) -> Iterator[None]:
    """Tell all workers and the launcher why the run has to stop, in the error's own words.

    A runner adds its own words to an exception, or hands on a string instead of it. A failure of the disk or the bucket
    becomes a StorageFailed.
    """
    try:
        yield
    except (FatalError, ConfigError) as error:
        _tell(folder, error)
        raise
    except OSError as error:
        failure = StorageFailed(
            f"cannot go on working in {folder.store.root}: {error.strerror or error}; nothing was committed, what was paid is "
            "in the journal, and the same command goes on once this is mended"
        )
        _tell(folder, failure)
        raise failure from error


def _tell(folder: RunFolder, error: EmbeddingPipelineError) -> None:
    with contextlib.suppress(OSError):  # a full disk may refuse this, too; the exception itself still travels
        folder.stop(type(error).__name__, str(error))
