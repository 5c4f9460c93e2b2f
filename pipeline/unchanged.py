"""Finds out that there is nothing to do before an engine is started: the nightly run over a corpus that did not change.

Whatever is not plainly the same is left to the run itself, which looks at everything. The secret kept is what has to be the
same: the config, the program, every document's bytes, and every part of the committed version.
"""

import time
from typing import Any

from pipeline.config import RunConfig
from transforms.clients.credentials import read_key
from transforms.core.manifest import Manifest
from transforms.core.register import recall_files
from transforms.errors import UnreadableDocument
from transforms.records import FileEntry, FoundDocument
from transforms.storage.documents import find_documents, read_with_digest
from transforms.storage.manifests import current_manifest
from transforms.storage.previous_version import PreviousVersion
from transforms.storage.registers import read_register
from transforms.storage.run_folder import remove_dead_runs
from transforms.storage.store import Store, open_store

_JOURNAL = "_journal"
_KEPT = ("documents", "documents_empty", "chunks", "texts", "duplicates")
_NOTHING = (
    "documents_rejected",
    "documents_new",
    "documents_changed",
    "documents_vanished",
    "chunks_rejected",
    "texts_in_journal",
    "texts_to_embed",
    "texts_embedded",
    "rows_added",
    "rows_removed",
    "rows_updated",
    "requests",
    "requests_retried",
    "requests_throttled",
    "prompt_tokens",
    "estimated_tokens",
    "tokens_wasted",
)


def summary_if_unchanged(config: RunConfig, run_id: str, started_at: float) -> dict[str, Any] | None:
    """Return the summary of a run that finds nothing to do, or None when a run has to look.

    Looks at the documents on this machine's disk one after the other, and ends at the first one that is not the same.

    Raises:
        ConfigError: the key is missing, as in any other run.
    """
    store = open_store(config.dataset, config.billing_project)
    previous = current_manifest(store)
    if previous is None or not _is_same_job(config, previous):
        return None
    remove_dead_runs(store, run_id)
    if store.list_files(_JOURNAL):  # of a run that goes on, or that died between its commit and its tidying up
        return None
    known = read_register(store, previous, config.reading_fingerprint())
    if known is None or not _are_same_documents(config, known):
        return None
    if PreviousVersion(store, previous).check_parts():
        return None
    if not config.is_local:
        read_key(config.endpoint.api_key_env)
    return _summary(store, previous, started_at)


def _is_same_job(config: RunConfig, previous: Manifest) -> bool:
    """Whether the config is the version's, and nothing was rejected: rejects are tried again."""
    summary = previous.summary
    return (
        previous.config_fingerprint == config.fingerprint()
        and all(name in summary for name in _KEPT)
        and summary.get("documents_rejected") == 0
        and summary.get("chunks_rejected") == 0
    )


def _are_same_documents(config: RunConfig, known: dict[str, FileEntry]) -> bool:
    if any(path.startswith("gs://") for path in config.documents.paths):
        return False
    found = find_documents(config.documents.paths)
    dated = config.documents.modification_time
    entries, _ = recall_files(found, known)
    if len(entries) != len(found) or len(entries) != len(known) or not all(one.digest for one in entries.values()):
        return False
    try:
        return all(_digest(one, dated) == entries[one.doc_id].digest for one in found)
    except UnreadableDocument:
        return False


def _digest(found: FoundDocument, dated: bool) -> bytes:
    return read_with_digest(found, found.modified if dated else "")[1]


def _summary(store: Store, previous: Manifest, started_at: float) -> dict[str, Any]:
    return {
        "dataset": store.root,
        "version": previous.version,
        **{name: previous.summary[name] for name in _KEPT},
        **dict.fromkeys(_NOTHING, 0),
        "documents_unchanged": previous.summary["documents"],
        "texts_reused": previous.summary["texts"],
        "rows_unchanged": previous.rows,
        "estimated_cost_usd": 0.0,
        "cost_usd": 0.0,
        "seconds": round(time.time() - started_at, 3),
        "limited_by": "nothing",
        "committed": False,
    }
