"""Giving up paid vectors that nobody will want again: only when somebody asks for it, and saying what they have cost."""

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass

from transforms.core.manifest import Manifest
from transforms.core.tables import list_of_hashes
from transforms.storage.journal import Journal
from transforms.storage.journal_frames import read_frames
from transforms.storage.journal_segments import Segment
from transforms.storage.previous_version import PreviousVersion
from transforms.storage.run_folder import is_dead, run_ids
from transforms.storage.store import Store


@dataclass(frozen=True, slots=True)
class DroppedVectors:
    """Paid vectors of one journal that no committed version holds.

    Attributes:
        fingerprint: of what determines a vector; names the journal.
        model: as the endpoint called it.
        texts: how many would be paid again.
        tokens: charged for them, about: an answer whose texts are held in part counts for its share.
        bytes: on the disk.
        is_of_this_dataset: whether they lie in the journal of the vectors that the dataset holds, so that a run could
            still use them.
    """

    fingerprint: str
    model: str
    texts: int
    tokens: int
    bytes: int
    is_of_this_dataset: bool


def drop_journals(
    store: Store, current: Manifest, fingerprints: Collection[str], own: Collection[str], gone: Collection[str]
) -> list[DroppedVectors]:
    """Remove every finished segment of the journals, and say what was in it that the committed version lacks.

    What a living run writes stays. With a store that removes nothing, it says what would go.

    Args:
        fingerprints: of the journals there are.
        own: names that the journal of the dataset's own vectors may have.
        gone: paths that have been removed already.
    """
    held = PreviousVersion(store, current)
    alive = {run_id for run_id, changed in run_ids(store).items() if not is_dead(store, run_id, changed)}
    dropped = []
    for fingerprint in fingerprints:
        journal = Journal(store, fingerprint)
        found = [
            (segment, _count(store, segment, held))
            for segment in journal.segments()
            if segment.path not in gone and segment.run_id not in alive and not store.is_being_appended(segment.path)
        ]
        removed = [(segment, counts) for segment, counts in found if store.delete_unless_appended(segment.path)]
        if removed:
            dropped.append(_sum(fingerprint, removed, fingerprint in own))
        if not alive and found and len(removed) == len(found):
            store.delete(journal.facts_path)
    store.delete_empty_folders("_journal")
    return dropped


def _count(store: Store, segment: Segment, held: PreviousVersion) -> tuple[int, float, str]:
    """Return texts that the version lacks, the tokens charged for them, and the model's name."""
    known = set(list_of_hashes(held.read_hashes(segment.bits, segment.bucket)))
    texts, tokens, model = 0, 0.0, ""
    for frame in read_frames(store.read_bytes(segment.path)):
        missing = sum(one not in known for one in frame.hash_list())
        texts += missing
        tokens += frame.prompt_tokens * missing / max(frame.texts, 1)
        model = model or frame.model_reported
    return texts, tokens, model


def _sum(
    fingerprint: str, removed: list[tuple[Segment, tuple[int, float, str]]], is_of_this_dataset: bool
) -> DroppedVectors:
    models = Counter(model for _, (_, _, model) in removed if model)
    return DroppedVectors(
        fingerprint=fingerprint,
        model=models.most_common(1)[0][0] if models else "",
        texts=sum(texts for _, (texts, _, _) in removed),
        tokens=round(sum(tokens for _, (_, tokens, _) in removed)),
        bytes=sum(segment.size_bytes for segment, _ in removed),
        is_of_this_dataset=is_of_this_dataset,
    )
