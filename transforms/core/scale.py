"""Records in, numbers out: what a corpus of a given size will be in files, requests, hours, memory and money.

A first run is reckoned: nothing is there yet, and every chunk is a text of its own. Numbers come from the functions that
runs themselves use (buckets, batches, the bill); what only a measurement can tell is a constant here, with its source, and
``tests/pipeline/test_size.py`` holds it against real runs. All sizes are bytes.
"""

import math
from dataclasses import dataclass

from transforms.core.batches import estimated_rows, text_in_batch
from transforms.core.bill import price_bill
from transforms.core.buckets import choose_bits
from transforms.core.identity import HASH_BYTES
from transforms.core.requests import RequestLimits
from transforms.core.storage_use import Rhythm, StoragePrices, StorageUse, journal_objects, operations
from transforms.records import Bill

_PACKED_HEADER = 1_900
"""Of a batch in the shuffle, however few rows it has: ten columns of Arrow IPC."""
_PACKED_PER_ROW = 64
"""A row's hash, id, document and places in a compressed batch, beside its text."""
_PACKED_PER_TEXT_BYTE = 0.47
"""What zstd 1 leaves of English prose in a batch."""

_WORKER_BYTES = 420_000_000
"""Python with Beam, Arrow, the client and a tokenizer's vocabulary, measured on Linux on a run of few chunks."""
_BYTES_PER_CHUNK_OBJECT = 600
"""A chunk's strings and numbers as Python objects, beside its characters, while they wait to be packed."""
_COPIES_OF_TEXT = 3
"""Of a batch that is packed, and of a bucket that is merged: what was gathered, its table, the table in order."""
_COPIES_OF_ROW_GROUP = 3
"""Picked vectors, the Arrow array, the encoded page."""


@dataclass(frozen=True, slots=True)
class Corpus:
    """Documents as far as a size depends on them.

    Attributes:
        chunks: 1 or more; each is a row, and a text of its own.
        tokens_per_chunk: mean tokens of a chunk, its overlap with the one before included.
        new_tokens_per_chunk: the same without the overlap.
        chunks_per_document: mean.
        bytes_per_token: of the text as it is stored; 4 for English prose.
        in_bucket: whether the documents lie on gs://, so that reading them is asked of the store.
    """

    chunks: int
    tokens_per_chunk: float
    new_tokens_per_chunk: float
    chunks_per_document: float
    bytes_per_token: float
    in_bucket: bool

    @property
    def documents(self) -> int:
        """How many there are."""
        return math.ceil(self.chunks / self.chunks_per_document)

    @property
    def text_per_chunk(self) -> float:
        """Bytes of a chunk, its overlap included."""
        return self.tokens_per_chunk * self.bytes_per_token


@dataclass(frozen=True, slots=True)
class Plan:
    """What a config says, as far as a size depends on it.

    Attributes:
        new_tokens_of_full_chunk: the limit of a chunk less the overlap.
        bytes_per_number: of a vector as stored: 4, or 2 for float16.
        requests_per_minute: None when it does not bind.
        price_per_million_tokens: USD; None when it is not known.
        workers: processes that work at once.
    """

    dimension: int
    bytes_per_number: int
    part_size_mb: int
    new_tokens_of_full_chunk: int
    limits: RequestLimits
    requests_per_minute: int | None
    tokens_per_minute: int
    price_per_million_tokens: float | None
    workers: int


@dataclass(frozen=True, slots=True)
class Mechanics:
    """Numbers that other rooms keep; the caller takes them from there.

    Attributes:
        segment_bytes: of a journal file on a disk, at most.
        rhythm: how often the store is touched while a run embeds.
        waiting_bytes: vectors of buckets that wait for answers, unless one bucket alone is larger.
        rows_per_row_group: written at once.
    """

    segment_bytes: int
    rhythm: Rhythm
    waiting_bytes: int
    rows_per_row_group: int


@dataclass(frozen=True, slots=True)
class Memory:
    """What one worker process holds at most, by what it holds it for; one thread at work.

    Attributes:
        worker: the interpreter with its libraries.
        packing: chunks gathered for the shuffle, before and while they are packed.
        bucket: a bucket's rows: their batches, their table, and the table in order.
        vectors: of the buckets that wait for answers.
        writing: a row group on its way into a part.
        shuffle: all packed chunks, where the engine keeps them in memory; 0 on engines that do not.
    """

    worker: int
    packing: int
    bucket: int
    vectors: int
    writing: int
    shuffle: int

    @property
    def total(self) -> int:
        """What a worker needs: packing is over before buckets are worked on."""
        return self.worker + self.shuffle + max(self.packing, self.bucket + self.vectors + self.writing)


@dataclass(frozen=True, slots=True)
class Scale:
    """A first run's size.

    Attributes:
        requests: to the endpoint.
        cost_usd: of the tokens; None when the price is not known.
        hours: at the quota, were nothing else in the way.
        part_bytes: of one part as stored, about.
        journal_objects: put into a bucket; on a disk there are ``journal_files`` instead.
        class_a: operations on a bucket that Google bills as class A (lists, uploads, copies); class_b: reads.
        storage_usd_a_month: for one version.
        disk_on_cloud_worker: the part that is written before it is uploaded.
        disk_on_one_machine: where dataset and journal lie on it, when the first version is committed.
        memory_on_one_machine: of Beam's in-process engine, which keeps the shuffle in memory.
    """

    chunks: int
    documents: int
    tokens: int
    requests: int
    cost_usd: float | None
    hours: float
    buckets: int
    rows_per_part: int
    part_bytes: int
    dataset_bytes: int
    shuffle_bytes: int
    journal_bytes: int
    journal_objects: int
    journal_files: int
    class_a: int
    class_b: int
    operations_usd: float
    storage_usd_a_month: float
    disk_on_cloud_worker: int
    disk_on_one_machine: int
    memory_on_cloud_worker: Memory
    memory_on_one_machine: Memory


def bits_for(corpus: Corpus, plan: Plan) -> int:
    """Choose the number of buckets as a first run does: from the listed size of the documents."""
    listed = round(corpus.chunks * corpus.new_tokens_per_chunk * corpus.bytes_per_token)
    rows = estimated_rows(listed, plan.new_tokens_of_full_chunk)
    return choose_bits(rows, plan.dimension, plan.part_size_mb, None)


def shuffle_bytes(corpus: Corpus, bits: int) -> int:
    """Say how much travels between packing and grouping: the packed batches, a header for each."""
    rows_in_batch = max(1.0, text_in_batch(bits) / (corpus.new_tokens_per_chunk * corpus.bytes_per_token))
    rounds = math.ceil(corpus.chunks / rows_in_batch)
    buckets = 1 << bits
    buckets_met = buckets * (1 - (1 - 1 / buckets) ** min(rows_in_batch, corpus.chunks)) if bits else 1
    per_row = _PACKED_PER_ROW + _PACKED_PER_TEXT_BYTE * corpus.text_per_chunk
    return round(rounds * buckets_met * _PACKED_HEADER + corpus.chunks * per_row)


def memory_of_worker(corpus: Corpus, plan: Plan, mechanics: Mechanics, bits: int, shuffle: int) -> Memory:
    """Say what a worker holds at most, part by part.

    Args:
        shuffle: bytes of the shuffle that lie in this process's memory; 0 where the engine keeps them elsewhere.
    """
    rows = math.ceil(corpus.chunks / (1 << bits))
    vectors = rows * plan.dimension * 4
    text = round(rows * corpus.text_per_chunk)
    gathered = min(text_in_batch(bits), round(corpus.chunks * corpus.text_per_chunk))
    return Memory(
        worker=_WORKER_BYTES,
        packing=round(gathered * (_COPIES_OF_TEXT + _BYTES_PER_CHUNK_OBJECT / corpus.text_per_chunk)),
        bucket=_COPIES_OF_TEXT * (text + rows * _PACKED_PER_ROW * 2),
        vectors=min(max(mechanics.waiting_bytes, 2 * vectors), vectors << bits),
        writing=_COPIES_OF_ROW_GROUP * min(rows, mechanics.rows_per_row_group) * plan.dimension * 4,
        shuffle=shuffle,
    )


def measure(corpus: Corpus, plan: Plan, by: Mechanics, prices: StoragePrices) -> Scale:
    """Reckon a first run's size."""
    bits = bits_for(corpus, plan)
    buckets = 1 << bits
    rows = math.ceil(corpus.chunks / buckets)
    tokens = round(corpus.chunks * corpus.tokens_per_chunk)
    bill = price_bill(
        Bill(chunks=corpus.chunks, texts=corpus.chunks, texts_to_embed=corpus.chunks, tokens=tokens),
        plan.price_per_million_tokens,
        "",
        plan.limits,
        plan.requests_per_minute,
        plan.tokens_per_minute,
        plan.dimension * plan.bytes_per_number,
    )
    shuffled = shuffle_bytes(corpus, bits)
    journal = corpus.chunks * (HASH_BYTES + plan.dimension * 4)
    documents = corpus.documents if corpus.in_bucket else 0
    use = StorageUse(buckets, journal / buckets, bill.seconds_at_quota, plan.workers, documents)
    class_a, class_b = operations(use, by.rhythm)
    return Scale(
        chunks=corpus.chunks,
        documents=corpus.documents,
        tokens=tokens,
        requests=bill.requests,
        cost_usd=bill.cost_usd,
        hours=bill.seconds_at_quota / 3600,
        buckets=buckets,
        rows_per_part=rows,
        part_bytes=bill.dataset_bytes // buckets,
        dataset_bytes=bill.dataset_bytes,
        shuffle_bytes=shuffled,
        journal_bytes=journal,
        journal_objects=journal_objects(use, by.rhythm),
        journal_files=buckets * math.ceil(journal / buckets / by.segment_bytes),
        class_a=class_a,
        class_b=class_b,
        operations_usd=(class_a * prices.per_1000_class_a + class_b * prices.per_1000_class_b) / 1000,
        storage_usd_a_month=bill.dataset_bytes / (1 << 30) * prices.per_gib_month,
        disk_on_cloud_worker=bill.dataset_bytes // buckets,
        disk_on_one_machine=bill.dataset_bytes + journal,
        memory_on_cloud_worker=memory_of_worker(corpus, plan, by, bits, 0),
        memory_on_one_machine=memory_of_worker(corpus, plan, by, bits, shuffled),
    )
