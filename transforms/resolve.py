"""What of a bucket is already paid for: its texts against the previous version and the journal."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from transforms.core.tables import Hashes
from transforms.storage.place import OpenPlace

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Resolution:
    """For each distinct text of a bucket, in hash order: where its vector is. At most one mask is true for a text."""

    in_previous: Mask
    in_journal: Mask

    @property
    def to_embed(self) -> Mask:
        """The texts that nobody has paid for yet."""
        return ~(self.in_previous | self.in_journal)


def resolve_texts(place: OpenPlace, bits: int, bucket: int, texts: Hashes) -> Resolution:
    """Look a bucket's distinct texts up, reading hashes only."""
    nothing = np.zeros(len(texts), bool)
    in_previous = in_journal = nothing
    if place.previous is not None and len(texts):
        in_previous = np.isin(texts, place.previous.read_hashes(bits, bucket), assume_unique=True)
    paid = place.journal.read_hashes(bits, bucket) if len(texts) else set()
    if paid:
        journal = np.array(sorted(paid), dtype="S32")
        in_journal = np.isin(texts, journal, assume_unique=True) & ~in_previous
    return Resolution(in_previous, in_journal)
