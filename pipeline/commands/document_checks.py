"""``doctor``'s checks of the documents: which there are, and whether some of each kind can be read."""

import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import PurePosixPath

from pipeline.commands.finding import FAILED, NOTE, OK, Finding
from pipeline.commands.plain_text import counted, size_text
from pipeline.config import RunConfig
from transforms.core.media_types import RECORD_TYPES, named_media_type
from transforms.errors import ConfigError, RunRefused
from transforms.extractor_process import ExtractorProcess
from transforms.records import FoundDocument, RawDocument, Reject
from transforms.storage.documents import find_documents
from transforms.storage.store import open_store
from transforms.storage.versions import current_manifest
from transforms.unpack import unpack_documents

_SAMPLE_DOCUMENTS = 50
_LEAST_OF_A_KIND = 3
_SAMPLE_BYTES = 4_000_000
_SAMPLE_RECORDS = 20
_SAMPLE_SECONDS = 1.0
_SECONDS_PER_DOCUMENT = 2
_NO_VERDICT = "timed_out"


def look_at_documents(config: RunConfig) -> Iterator[Finding]:
    """List the documents, or look at the dataset to be embedded again.

    Raises:
        ConfigError: two documents would have one doc_id, or source and target are the same dataset.
        RunRefused: nothing matched.
    """
    if config.documents.dataset:
        yield _look_at_source(config)
        return
    found = find_documents(config.documents.paths, config.billing_project)
    if not found:
        raise RunRefused("no document matched documents.paths; check the patterns and the working directory")
    suffixes = Counter(_suffix(one) for one in found)
    kinds = ", ".join(f"{count:,} {suffix}" for suffix, count in suffixes.most_common(5))
    kinds += ", ..." if len(suffixes) > 5 else ""
    size = size_text(sum(one.size_bytes for one in found))
    yield Finding("documents", OK, f"{counted(len(found), 'document')}, {size}: {kinds}")
    yield _try_reading(found, config)


def _look_at_source(config: RunConfig) -> Finding:
    source = config.documents.dataset
    if source == config.dataset:
        message = f"documents.dataset and dataset are both {source}; the new vectors need a dataset of their own"
        raise ConfigError(message)
    manifest = current_manifest(open_store(source, config.billing_project))
    if manifest is None:
        raise RunRefused(f"documents.dataset {source} holds no committed version to read chunks from")
    message = f"{counted(manifest.rows, 'chunk')} of {source}, version {manifest.version}, to embed again"
    return Finding("documents", OK, message)


def _suffix(document: FoundDocument) -> str:
    return PurePosixPath(document.source_uri).suffix.lower() or "no suffix"


def _sample(found: Sequence[FoundDocument]) -> list[FoundDocument]:
    """Pick some of each kind, from all over the list; ones that take long to read are left out."""
    kinds: dict[str, list[FoundDocument]] = defaultdict(list)
    for one in found:
        if one.size_bytes <= _SAMPLE_BYTES or named_media_type(one.source_uri) in RECORD_TYPES:
            kinds[_suffix(one)].append(one)
    wanted = max(_LEAST_OF_A_KIND, _SAMPLE_DOCUMENTS // max(1, len(kinds)))
    picked = [kind[:: -(-len(kind) // wanted)] for kind in kinds.values()]
    return [one for turn in range(wanted) for kind in picked for one in kind[turn : turn + 1]]


def _try_reading(found: Sequence[FoundDocument], config: RunConfig) -> Finding:
    """Read and extract some documents as a run does; of a file of records its first ones."""
    until = time.monotonic() + _SAMPLE_SECONDS
    process = ExtractorProcess(_SECONDS_PER_DOCUMENT)
    tried, refusals = 0, list[Reject]()
    for one in _sample(found):
        refusal = _first_refusal(one, config, process)
        if refusal is None or refusal.reason != _NO_VERDICT:
            tried += 1
            refusals += [refusal] if refusal else []
        if time.monotonic() > until:
            break
    process.close()
    return _judge(tried, refusals, found, config.budget.max_rejected_fraction)


def _first_refusal(found: FoundDocument, config: RunConfig, process: ExtractorProcess) -> Reject | None:
    raw = RawDocument(found.doc_id, found.source_uri, None)
    outcomes = unpack_documents(raw, config.documents.records, process.extract, config.billing_project)
    return next((one for one in islice(outcomes, _SAMPLE_RECORDS) if isinstance(one, Reject)), None)


def _judge(tried: int, refusals: Sequence[Reject], found: Sequence[FoundDocument], allowed: float) -> Finding:
    if not refusals:
        return Finding("formats", OK, f"{tried:,} of {counted(len(found), 'document')} tried: all can be read")
    reasons = ", ".join(f"{n:,} {reason}" for reason, n in Counter(one.reason for one in refusals).most_common())
    first = f"{refusals[0].doc_id}: {refusals[0].message}"
    message = f"{len(refusals):,} of {counted(tried, 'document')} tried cannot be read ({reasons}), as {first}"
    holds_records = any(named_media_type(one.source_uri) in RECORD_TYPES for one in found)
    if len(refusals) / len(found) > allowed and not holds_records:
        limit = f"more than budget.max_rejected_fraction allows ({allowed:.1%} of {len(found):,})"
        return Finding("formats", FAILED, f"{message}; {limit}", RunRefused.exit_code)
    return Finding("formats", NOTE, f"{message}; a run would reject as many and go on, if the budget allows it")
