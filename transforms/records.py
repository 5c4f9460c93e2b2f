"""What travels between the steps: immutable values, equal when all their fields are equal.

Text travels as ``str``, tables as Arrow IPC bytes and vectors as little-endian float32 buffers, so that a record costs
about its own size wherever a runner has to encode it.
"""

from dataclasses import dataclass, field
from itertools import zip_longest


@dataclass(frozen=True, slots=True)
class FileEntry:
    """What a version remembers of one file that a pattern matched, or one worker's share of it.

    Attributes:
        digest: ``core.register.digest_of`` what it held; b"" when it has to be read again in any case.
        documents: how many it holds: one, or one for each record.
        documents_empty: those of them without any chunk.
        chunks: of all its documents, refused ones among them.
    """

    doc_id: str
    digest: bytes
    documents: int
    documents_empty: int
    chunks: int


@dataclass(frozen=True, slots=True)
class Carry:
    """Which rows of the previous version a run takes over without cutting their documents again.

    Attributes:
        active: False when every document is cut anew, as in a first run or with another chunker.
        dropped: when active, the rows of these files are left behind; ``core.register.file_key`` of each, one after the
            other. All others stay.
    """

    active: bool = False
    dropped: bytes = b""


@dataclass(frozen=True, slots=True)
class FoundDocument:
    """A document that a pattern matched, not read yet.

    Attributes:
        doc_id: the path below the pattern's fixed prefix, with ``/`` between its parts; the same on every machine.
        source_uri: where the bytes are: a local path as the pattern spells it, or ``gs://bucket/name``.
        size_bytes: the size in the listing, 0 or more.
        modified: modification time as an ISO-8601 UTC string, or "" where the store does not tell.
        entry: what the previous version remembers of it, None when it is new or nothing is remembered.
    """

    doc_id: str
    source_uri: str
    size_bytes: int
    modified: str = ""
    entry: FileEntry | None = None


FoundBatch = tuple[FoundDocument, ...]
"""Documents that go to a worker together."""


@dataclass(frozen=True, slots=True)
class RawDocument:
    """A document's bytes as they are stored.

    Attributes:
        content: None for a file of records, which may be large and is read piece by piece where it is extracted.
        modified: as of FoundDocument where metadata is to tell it, else "".
        digest: tells whether a later run finds the same file.
        state: where content is None: tells whether the file is still as it was when the digest was taken
            (``storage.documents.state_of``).
    """

    doc_id: str
    source_uri: str
    content: bytes | None
    modified: str = ""
    digest: bytes = b""
    state: str = ""


HeadingPlaces = tuple[tuple[int, int, int], ...]
"""Headings in the order of their text: start and end (code points, end exclusive), level (1 is the highest)."""


@dataclass(frozen=True, slots=True)
class Document:
    """A document's text, extracted and clean: no lone surrogates, no byte order mark.

    Attributes:
        text: offsets of chunks count this string's code points.
        media_type: what the bytes were taken for, as in ``text/markdown``; the chunker chooses by it.
        metadata: a JSON object with sorted keys, ``{}`` when nothing is known.
        file_id: doc_id of the file that it comes from, its own unless that is a file of records.
        digest: tells whether a later run finds the same file.
        headings: of a format whose text does not show them; none where they are found in the text, as in Markdown.
    """

    doc_id: str
    source_uri: str
    text: str
    media_type: str
    metadata: str = "{}"
    file_id: str = ""
    digest: bytes = b""
    headings: HeadingPlaces = ()


@dataclass(frozen=True, slots=True)
class Span:
    """A chunk's place in its document: code points, end exclusive, with the tokens of ``text[start:end]`` as it is sent."""

    start: int
    end: int
    token_count: int


@dataclass(frozen=True, slots=True)
class ChunkedDocument:
    """A document with the spans of its chunks, in order; no spans when the document holds nothing but white space.

    Attributes:
        ids: of each chunk (``core.identity.chunk_ids``).
        metadata: a JSON object for each span, with sorted keys: the document's, and what is known of the chunk's place.
        leads: what is sent before each chunk, "" for nothing; hashed and counted with it, and no part of it.
        file_id: doc_id of the file that it comes from; ``digest`` tells whether a later run finds the same file.
    """

    doc_id: str
    source_uri: str
    text: str
    spans: tuple[Span, ...]
    ids: tuple[str, ...]
    metadata: tuple[str, ...]
    leads: tuple[str, ...]
    file_id: str = ""
    digest: bytes = b""


@dataclass(frozen=True, slots=True)
class ChunkTable:
    """All chunks of one bucket, as packed Arrow batches in no particular order (``core.tables.merge_chunks`` sorts)."""

    bucket: int
    batches: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Reject:
    """A record that could not be processed, with the reason; one row of ``rejects.parquet``.

    Attributes:
        start_char: the chunk's start in code points; None when the whole document is rejected.
        stage: the step that rejected it: read, extract, chunk or embed.
        reason: a short stable word such as ``undecodable`` or ``content_policy``.
        message: one sentence for a person; never document text, never a key.
        attempts: how often it was tried, 1 or more.
        request_id: the endpoint's name for the last attempt, "" where there is none.
    """

    doc_id: str
    source_uri: str
    start_char: int | None
    end_char: int | None
    stage: str
    reason: str
    message: str
    attempts: int = 1
    request_id: str = ""


@dataclass(frozen=True, slots=True)
class Bill:
    """What a run will pay for and what it will not, before the first paid request.

    Attributes:
        documents: documents matched, rejected ones among them.
        documents_unchanged: those whose rows are taken over from the previous version without cutting them again.
        chunks: rows, before any text is rejected; ``chunks - texts`` of them are duplicates.
        texts: distinct strings as sent; ``texts == texts_reused + texts_to_embed``.
        texts_reused: found in the previous version or in the journal.
        texts_in_journal: those of ``texts_reused`` that only the journal holds.
        tokens: local count over the texts to embed (an estimate where the tokenizer is not the model's own).
        requests: requests needed at the configured limits, without retries.
        cost_usd: None when no price is known; an unknown price is never zero.
        seconds_at_quota: the least time the stated quota allows, 0.0 when no quota is stated.
        dataset_bytes: about the size of the version to be written.
    """

    documents: int = 0
    documents_rejected: int = 0
    documents_empty: int = 0
    documents_new: int = 0
    documents_changed: int = 0
    documents_vanished: int = 0
    documents_unchanged: int = 0
    chunks: int = 0
    texts: int = 0
    texts_reused: int = 0
    texts_in_journal: int = 0
    texts_to_embed: int = 0
    tokens: int = 0
    requests: int = 0
    cost_usd: float | None = None
    price_per_million_tokens: float | None = None
    price_source: str = ""
    seconds_at_quota: float = 0.0
    dataset_bytes: int = 0

    @property
    def duplicates(self) -> int:
        """Chunks whose text another chunk already has."""
        return self.chunks - self.texts


@dataclass(frozen=True, slots=True)
class Usage:
    """What calling the endpoint took; sums over processes and buckets with ``+``.

    Attributes:
        requests: HTTP requests that embed texts, every attempt counted, start-up probes not.
        requests_retried: attempts after the first.
        requests_throttled: answers that said "too many" (429 and its kin).
        prompt_tokens: tokens charged as the endpoint reported them, of answers that were used.
        tokens_wasted: local count of tokens in attempts that may have been charged and brought nothing.
        seconds_paced: time that the next request in line waited for our own pace; not summed over threads.
        limited_by: what held the requests back most; of two, the word of the one with more requests.
        latencies: attempts that are over, by how long they took (``core.latency``); shorter where the last classes are 0.
            A measurement, so that two usages with other latencies are equal.
    """

    requests: int = 0
    requests_retried: int = 0
    requests_throttled: int = 0
    prompt_tokens: int = 0
    tokens_wasted: int = 0
    seconds_paced: float = 0.0
    limited_by: str = "nothing"
    latencies: tuple[int, ...] = field(default=(), compare=False)

    @property
    def requests_in_flight(self) -> int:
        """Attempts that have left and are not over."""
        return self.requests - sum(self.latencies)

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(
            self.requests + other.requests,
            self.requests_retried + other.requests_retried,
            self.requests_throttled + other.requests_throttled,
            self.prompt_tokens + other.prompt_tokens,
            self.tokens_wasted + other.tokens_wasted,
            self.seconds_paced + other.seconds_paced,
            self.limited_by if self.requests >= other.requests else other.limited_by,
            tuple(a + b for a, b in zip_longest(self.latencies, other.latencies, fillvalue=0)),
        )

    def __sub__(self, other: "Usage") -> "Usage":
        return Usage(
            self.requests - other.requests,
            self.requests_retried - other.requests_retried,
            self.requests_throttled - other.requests_throttled,
            self.prompt_tokens - other.prompt_tokens,
            self.tokens_wasted - other.tokens_wasted,
            self.seconds_paced - other.seconds_paced,
            self.limited_by,
            tuple(a - b for a, b in zip_longest(self.latencies, other.latencies, fillvalue=0)),
        )


@dataclass(frozen=True, slots=True)
class EmbeddedTable:
    """One bucket with a vector for every distinct text.

    Attributes:
        rows: Arrow IPC stream of the chunks, sorted by (text_hash, id); rows of rejected texts are not in it.
        vectors: float32, little-endian, ``texts x dimension`` in the order of first occurrence in ``rows``.
        dimension: length of a vector.
        texts_embedded: texts of this bucket that the endpoint answered in this run.
        rejects: one for each chunk whose text was refused.
        unchanged: the committed part of the previous version holds exactly these rows; ``vectors`` is empty then.
    """

    bucket: int
    rows: bytes
    vectors: bytes | bytearray
    dimension: int
    texts_embedded: int
    rejects: tuple[Reject, ...]
    unchanged: bool = False


@dataclass(frozen=True, slots=True)
class Portrait:
    """What the rows of a bucket, or of a dataset, look like; small whatever their number (``core.portrait``).

    Attributes:
        token_histogram: how many chunks have so many tokens, bar by bar; empty without rows.
        longest_documents: (chunks, characters, doc_id), the longest first.
        repeated_texts: (how many chunks share the text, doc_id of one of them), the most frequent first.
    """

    token_histogram: tuple[int, ...] = ()
    longest_documents: tuple[tuple[int, int, str], ...] = ()
    repeated_texts: tuple[tuple[int, str], ...] = ()


@dataclass(frozen=True, slots=True)
class PartSummary:
    """One bucket, written: where its part waits for the commit, and how it differs from the previous version.

    Attributes:
        path: the staged part's path below the dataset, or, when ``unchanged``, the committed part's own path; "" when the
            bucket has no rows.
        rows: read back from the Parquet footer.
        sha256: hex digest of the part's bytes.
        changes_path: staged table of the ids added, removed and updated; "" when there are none.
        rows_updated: rows whose id stays and whose other columns changed; part of ``rows_unchanged``.
        unchanged: True when the committed part of the previous version is this part.
        portrait: for the report.
    """

    bucket: int
    path: str
    rows: int
    bytes: int
    sha256: str
    texts_embedded: int
    rows_added: int
    rows_removed: int
    rows_unchanged: int
    rows_updated: int
    changes_path: str
    unchanged: bool
    rejects: tuple[Reject, ...]
    portrait: Portrait = Portrait()
