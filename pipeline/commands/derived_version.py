"""One derivation: parts made or kept, their recall measured, and a version committed that says what it is."""

import datetime
import io
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.commands.neighbours import DistinctTexts, nearest_to_first
from pipeline.commands.query_vector import remembered_url
from transforms.core.agreement import overlaps, share_of
from transforms.core.buckets import part_name
from transforms.core.identity import settings_fingerprint
from transforms.core.manifest import Manifest, Stamp, check_complete
from transforms.core.tables import part_schema, rejects_table
from transforms.core.vector_coding import shorten
from transforms.errors import RunRefused
from transforms.storage.derivation import Derivation, DerivedPart, Recipe
from transforms.storage.run_folder import RunFolder, remove_dead_runs
from transforms.storage.store import Store
from transforms.storage.versions import PreviousVersion, commit_version, current_manifest, remove_old_versions

_NEIGHBOURS = 10
_KEEP_VERSIONS = 2


class DerivedVersion:
    """The next version of a derived dataset, from the committed version of its source.

    Nothing is paid and nobody is called. A version is committed whole or not at all; after a kill the same command
    starts over.
    """

    def __init__(self, source_store: Store, source: Manifest, store: Store, recipe: Recipe, queries: int) -> None:
        self._source_store, self._source, self._store = source_store, source, store
        self._recipe, self._queries = recipe, queries
        self._previous = current_manifest(store)
        self._folder = RunFolder(store, f"derive-{secrets.token_hex(6)}")
        before = PreviousVersion(source_store, source)
        self._derivation = Derivation(before, source_store, self._folder, self._previous)
        self._base_url = remembered_url(source_store, source)

    def make(self) -> dict[str, Any]:
        """Commit it, unless it would be what is there already, and say what came of it.

        Raises:
            RunRefused: the dataset holds something else than what is asked for.
            CommitConflict: another derivation committed meanwhile.
        """
        _refuse_other_vectors(self._recipe, self._source, self._previous, self._store.root)
        self._store.check_writable()
        try:
            with self._folder.alive():
                remove_dead_runs(self._store, self._folder.run_id)
                stamp, parts = self._make_parts()
                manifest = self._previous if self._nothing_changed(parts) else self._commit(stamp, parts)
        finally:
            self._folder.remove()
        assert manifest is not None  # _nothing_changed says that there is a previous one
        return self._outcome(manifest, parts)

    def _make_parts(self) -> tuple[Stamp, list[DerivedPart]]:
        stamp = self._derivation.stamp(self._recipe)
        parts, clips_too_much = self._derivation.parts(stamp, self._schema(stamp))
        if clips_too_much:
            stamp = self._derivation.recalibrated(stamp)
            parts, _ = self._derivation.parts(stamp, self._schema(stamp))
        return stamp, parts

    def _schema(self, stamp: Stamp) -> pa.Schema:
        as_the_model_gives_them = not stamp.quantization and not stamp.source_dimensions
        return part_schema(stamp, self._recipe.vector_type, self._base_url if as_the_model_gives_them else "")

    def _nothing_changed(self, parts: Sequence[DerivedPart]) -> bool:
        known = len(self._previous.parts) if self._previous else -1
        return not any(part.is_new for part in parts) and len(parts) == known

    def _commit(self, stamp: Stamp, parts: Sequence[DerivedPart]) -> Manifest:
        recall = self._measure(stamp, parts)
        has_new_scales = self._previous is not None and self._previous.stamp.scales != stamp.scales
        changes, counts = self._derivation.changes(parts, all_vectors=has_new_scales)
        manifest = commit_version(
            self._store,
            self._folder,
            [(part.entry.path, self._name(part)) for part in parts],
            {"changes.parquet": _parquet(changes), "rejects.parquet": _parquet(rejects_table([]))},
            lambda version, folder: self._manifest(version, folder, stamp, parts, counts, recall),
            self._previous,
        )
        remove_old_versions(self._store, _KEEP_VERSIONS)
        return manifest

    def _name(self, part: DerivedPart) -> str:
        return part_name(part.bucket, self._derivation.bits)

    def _measure(self, stamp: Stamp, parts: Sequence[DerivedPart]) -> dict[str, Any]:
        """Find the nearest texts of a sample of texts, exactly, in the source and in what was made; {} for a lone text."""
        ours = DistinctTexts(self._source_store, self._source.parts, self._source.stamp)
        theirs = DistinctTexts(self._store, [part.entry for part in parts], stamp)
        queries = ours.first(max(self._queries, _NEIGHBOURS + 1))
        k = min(_NEIGHBOURS, len(queries) - 1)
        if k < 1:
            return {}
        queries = queries[: self._queries]
        shorter = shorten(queries, stamp.dimensions)[0] if stamp.source_dimensions else queries
        found = nearest_to_first(theirs.batches(), shorter, k)
        return {"k": k, **asdict(share_of(overlaps(nearest_to_first(ours.batches(), queries, k), found, k)))}

    def _manifest(
        self,
        version: int,
        folder: str,
        stamp: Stamp,
        parts: Sequence[DerivedPart],
        counts: Mapping[str, int],
        recall: Mapping[str, Any],
    ) -> Manifest:
        entries = tuple(replace(part.entry, path=f"{folder}/{self._name(part)}") for part in parts)
        rows = sum(entry.rows for entry in entries)
        manifest = Manifest(
            version=version,
            created_at=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
            parts=entries,
            rows=rows,
            model=stamp.model,
            dimensions=stamp.dimensions,
            stamp=stamp,
            config_fingerprint=settings_fingerprint(asdict(self._recipe)),
            chunking=self._source.chunking,
            previous_version=self._previous.version if self._previous else 0,
            summary=self._summary(version, rows, counts),
            canary=self._source.canary,
            derived={
                "dataset": self._source_store.root,
                "version": self._source.version,
                "vector_type": self._recipe.vector_type,
                "base_url": self._base_url,
                "recall": recall,
                "parts": {self._name(part): part.source_sha256 for part in parts},
            },
        )
        check_complete(manifest)
        return manifest

    def _summary(self, version: int, rows: int, counts: Mapping[str, int]) -> dict[str, Any]:
        kept = {name: self._source.summary[name] for name in ("documents", "texts") if name in self._source.summary}
        nothing = {"chunks_rejected": 0, "texts_embedded": 0, "requests": 0, "prompt_tokens": 0, "cost_usd": 0.0}
        return {"dataset": self._store.root, "version": version, **kept, "chunks": rows, **counts, **nothing}

    def _outcome(self, manifest: Manifest, parts: Sequence[DerivedPart]) -> dict[str, Any]:
        made = sum(part.is_new for part in parts)
        return {
            "dataset": self._store.root,
            "version": manifest.version,
            "committed": manifest is not self._previous,
            "source": self._source_store.root,
            "source_version": manifest.derived["version"],
            "rows": manifest.rows,
            "dimensions": manifest.dimensions,
            "source_dimensions": self._source.dimensions,
            "vector_type": self._recipe.vector_type,
            "bytes": sum(part.bytes for part in manifest.parts),
            "source_bytes": sum(part.bytes for part in self._source.parts),
            "parts_made": made,
            "parts_kept": len(parts) - made,
            **{
                name: manifest.summary[name]
                for name in ("rows_added", "rows_removed", "rows_unchanged", "rows_updated")
            },
            "recall": manifest.derived["recall"],
        }


def _refuse_other_vectors(recipe: Recipe, source: Manifest, previous: Manifest | None, root: str) -> None:
    """Refuse to mix vectors of another kind into a dataset."""
    if previous is None:
        return
    if "vector_type" not in previous.derived:
        raise RunRefused(
            f"{root} holds a dataset of its own, which nothing is derived into; name another path with --to"
        )
    wanted = (source.model, source.stamp.input_prefix, recipe.dimensions or source.dimensions, recipe.vector_type)
    kind = previous.derived["vector_type"]
    found = (previous.model, previous.stamp.input_prefix, previous.dimensions, kind)
    if wanted != found:
        raise RunRefused(
            f"{root} holds {previous.dimensions} dimensions of {previous.model} as {kind}, and {wanted[2]} of {wanted[0]} as "
            f"{wanted[3]} are asked for; they cannot be mixed, so name another path with --to"
        )


def _parquet(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd")
    return sink.getvalue()
