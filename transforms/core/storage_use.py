"""What a first run asks of a bucket, and what Google bills for it.

What a part and a run ask for was counted on a server that logs every request; ``tests/engines/test_size.py`` counts again.
"""

import math
from dataclasses import dataclass

_LISTED_AT_ONCE = 1_000
"""Objects in one page of a listing. Source: Cloud Storage JSON API, objects.list, maxResults."""
_WRITES_PER_PART = 3
"""The staged part, its changed ids, and the copy into the version."""
_READS_PER_PART = 8
"""Two to count the rows of what was written, three to gather its changed ids, one before it is copied; and what is asked
once for each bucket: the bill and the endpoint's facts."""
_WRITES_PER_RUN = 16
_READS_PER_RUN = 40
"""Manifests, claim, report, bill, signs of life."""


@dataclass(frozen=True, slots=True)
class StoragePrices:
    """What a bucket costs in USD: the regional Standard class in us-central1, on 2026-09-20.

    Source: https://cloud.google.com/storage/pricing, as transcribed on that day (0.000027397 a GiB and hour; operations by
    1,000). Deleting is free, and so is traffic to workers in the same region.
    """

    per_gib_month: float = 0.02
    per_1000_class_a: float = 0.005
    per_1000_class_b: float = 0.0004


@dataclass(frozen=True, slots=True)
class StorageUse:
    """What decides how much a run asks of a bucket.

    Attributes:
        buckets: of the dataset; each gives a part.
        bytes_per_part: of its journaled vectors.
        seconds: that embedding takes.
        documents: that are read from a bucket; 0 where they lie on a disk.
    """

    buckets: int
    bytes_per_part: float
    seconds: float
    workers: int
    documents: int


@dataclass(frozen=True, slots=True)
class Rhythm:
    """How often a run touches the store while it embeds; the numbers are kept where it is done.

    Attributes:
        upload_bytes: of answers gathered before a journal object is put, or
        upload_seconds: waited at most.
        look_seconds: between two looks of a worker at whether the run still goes on.
        note_seconds: between two notes of a worker for whoever watches.
        timeline_seconds: between two of its notes for the report.
        watch_seconds: between two looks of the launcher at all notes.
    """

    upload_bytes: int
    upload_seconds: float
    look_seconds: float
    note_seconds: float
    timeline_seconds: float
    watch_seconds: float


def journal_objects(use: StorageUse, rhythm: Rhythm) -> int:
    """Say how many objects the journal is put into: for each bucket one when enough has gathered, or after some seconds."""
    seconds_of_part = use.seconds * min(use.workers, use.buckets) / use.buckets
    return use.buckets * math.ceil(
        max(use.bytes_per_part / rhythm.upload_bytes, seconds_of_part / rhythm.upload_seconds)
    )


def operations(use: StorageUse, rhythm: Rhythm) -> tuple[int, int]:
    """Count operations of class A (lists, uploads, copies) and of class B (reads).

    Each worker is taken to get one bundle, and each bundle lists the journal once. Deleting is free, and so is asking for
    an object that is not there.
    """
    objects = journal_objects(use, rhythm)
    pages = math.ceil(objects / _LISTED_AT_ONCE)
    notes, watched = use.seconds / rhythm.note_seconds * use.workers, use.seconds / rhythm.watch_seconds
    class_a = _WRITES_PER_RUN + _WRITES_PER_PART * use.buckets + objects + (use.workers + 3) * pages
    class_a += round(2 * notes + watched + use.seconds / rhythm.timeline_seconds * use.workers)
    class_b = _READS_PER_RUN + _READS_PER_PART * use.buckets + use.documents
    class_b += round((use.seconds / rhythm.look_seconds + notes + watched) * use.workers)
    return class_a + math.ceil(use.documents / _LISTED_AT_ONCE), class_b
