"""Segments of a journal: what their paths say, and which of them hold something of a bucket."""

from collections.abc import Iterable
from dataclasses import dataclass

from transforms.core.buckets import overlapping
from transforms.storage.store import StoredFile


@dataclass(frozen=True, slots=True)
class Segment:
    """A file of frames.

    Attributes:
        run_id: of the run that wrote it.
        bits: how many bits named a bucket in that run.
    """

    path: str
    size_bytes: int
    modified: float
    run_id: str
    bits: int
    bucket: int


def parse_segment(file: StoredFile) -> Segment | None:
    """Return what a segment's path says, or None for any other file."""
    parts = file.path.split("/")
    if len(parts) != 4 or ".seg" not in parts[3]:
        return None
    bits, _, bucket = parts[2].partition("-")
    run_id, _, _ = parts[3].rpartition("-")
    try:
        return Segment(file.path, file.size_bytes, file.modified, run_id, int(bits), int(bucket, 16))
    except ValueError:
        return None


class SegmentListing:
    """Segments by bits, bucket and path; whatever number of buckets they were written with."""

    def __init__(self, files: Iterable[StoredFile]) -> None:
        self._segments: dict[int, dict[int, dict[str, Segment]]] = {}
        for file in files:
            segment = parse_segment(file)
            if segment is not None:
                self.add(segment)

    def add(self, segment: Segment) -> None:
        """Take one more segment in."""
        self._segments.setdefault(segment.bits, {}).setdefault(segment.bucket, {})[segment.path] = segment

    def all(self) -> list[Segment]:
        """Return every segment, by path."""
        found = [one for buckets in self._segments.values() for paths in buckets.values() for one in paths.values()]
        return sorted(found, key=lambda segment: segment.path)

    def of_bucket(self, bits: int, bucket: int) -> list[Segment]:
        """Return those that may hold texts of a bucket, by path."""
        found: list[Segment] = []
        for other_bits, buckets in self._segments.items():
            others = overlapping(bits, bucket, other_bits)
            for other in others if len(others) < len(buckets) else [one for one in buckets if one in others]:
                found += buckets.get(other, {}).values()
        return sorted(found, key=lambda segment: segment.path)
