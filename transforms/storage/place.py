"""Where a run works: its dataset, its own folder, the version before it and the journal it may read."""

from dataclasses import dataclass

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
    """

    dataset: str
    run_id: str
    previous_version: int
    fingerprint: str


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
    store = open_store(place.dataset)
    previous = None
    if place.previous_version:
        previous = PreviousVersion(store, manifest_of_version(store, place.previous_version))
    return OpenPlace(store, RunFolder(store, place.run_id), Journal(store, place.fingerprint), previous)
