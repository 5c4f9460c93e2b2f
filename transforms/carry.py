"""Which rows of the previous version a bucket takes over, and which it leaves behind; shared by planning and embedding."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import pyarrow as pa

from transforms.core.register import add_carries, dropped_keys, is_dropped
from transforms.core.tables import chunks_of_rows, rows_to_keep
from transforms.errors import FatalError
from transforms.records import Carry
from transforms.storage.place import OpenPlace


@dataclass(frozen=True, slots=True)
class CarriedRows:
    """A bucket's rows of the previous version, parted.

    Attributes:
        chunks: those taken over, as chunks on their way.
        left: ids and doc_ids of the others.
    """

    chunks: pa.Table
    left: pa.Table


class RowCarrier:
    """Parts the rows of one bucket after another; one for each worker and run."""

    def __init__(self, place: OpenPlace, carries: Iterable[Carry]) -> None:
        carry = add_carries(carries)
        self._previous = place.previous if carry.active else None
        self._dropped = dropped_keys(carry) if carry.active else frozenset()

    @property
    def is_active(self) -> bool:
        """Whether any rows may be taken over; else every row of the previous version is compared with new ones."""
        return self._previous is not None

    def check(self) -> None:
        """Refuse to go on when a part turns out to be damaged after its rows were to be taken over.

        Raises:
            FatalError: the next run makes the part anew, for which it has to cut every document.
        """
        if self._previous is not None and self._previous.problems:
            problem = self._previous.problems[0].partition(";")[0]
            raise FatalError(
                f"{problem}. It was sound when this run began, which would have taken its rows over; run again, and they are "
                "made anew"
            )

    def rows_of(self, bits: int, bucket: int, columns: Sequence[str]) -> CarriedRows:
        """Return a bucket's rows of the previous version with these columns, id, doc_id and text_hash among them."""
        if self._previous is None:
            raise ValueError("no rows are taken over in this run")
        rows = self._previous.read_rows(bits, bucket, columns)
        self.check()
        if not self._dropped:
            return CarriedRows(chunks_of_rows(rows), rows.slice(0, 0).select(["id", "doc_id"]))
        stays = rows_to_keep(rows, lambda doc_id: is_dropped(doc_id, self._dropped))
        kept, left = rows.filter(pa.array(stays)), rows.select(["id", "doc_id"]).filter(pa.array(~stays))
        return CarriedRows(chunks_of_rows(kept), left)
