"""Small real datasets, written as a run writes them: Parquet parts, rejects, changes, manifests."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from tests.support.builders import make_rows
from transforms.core.buckets import part_name
from transforms.core.manifest import Manifest, PartEntry, Stamp
from transforms.core.tables import compare_rows, merge_chunks, part_batch, part_schema, rejects_table, split_by_bucket
from transforms.records import Reject

Vectors = npt.NDArray[np.float32]
Embed = Callable[[Sequence[str]], Vectors]


def make_stamp(model: str = "test-model", dimensions: int = 4, host: str = "", normalized: bool = True) -> Stamp:
    chunker = json.dumps({"max_tokens": 128, "overlap_tokens": 16, "splitter": "auto"})
    return Stamp(model, dimensions, model, host, normalized, input_prefix="", chunker=chunker)


def embed_by_hash(dimensions: int = 4) -> Embed:
    """Vectors of length 1 whose direction is drawn from the text itself."""

    def embed(texts: Sequence[str]) -> Vectors:
        seeds = [int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") for text in texts]
        drawn = np.stack([np.random.default_rng(seed).standard_normal(dimensions) for seed in seeds])
        return np.asarray(drawn / np.linalg.norm(drawn, axis=1, keepdims=True), np.float32)

    return embed


@dataclass
class DatasetBuilder:
    """Writes one version after another below ``root``; each ``commit`` is what one run leaves."""

    root: Path
    stamp: Stamp
    embed: Embed
    base_url: str = ""
    canary: str = ""
    bits: int = 1
    row_group_size: int = 2
    vector_type: str = "float32"
    _last: tuple[Manifest, pa.Table] | None = None

    def commit(
        self,
        documents: Mapping[str, Sequence[str]],
        metadata: str = "{}",
        rejects: Sequence[Reject] = (),
        with_changes: bool = True,
    ) -> Manifest:
        """Write the next version, with one row for each chunk of each document."""
        rows = pa.concat_tables([make_rows(list(chunks), doc_id, metadata) for doc_id, chunks in documents.items()])
        version = self._last[0].version + 1 if self._last else 1
        folder = self.root / f"versions/{version:06d}"
        folder.mkdir(parents=True)
        parts = [
            self._write_part(folder, bucket, merge_chunks([packed]))
            for bucket, packed in split_by_bucket(rows, self.bits)
        ]
        changes, added, removed, kept, _ = compare_rows(rows, self._last[1] if self._last else rows.slice(0, 0))
        pq.write_table(rejects_table(rejects), folder / "rejects.parquet")
        if with_changes:
            pq.write_table(changes, folder / "changes.parquet")
        summary = self._summary(version, documents, rows, (added, removed, kept))
        manifest = self._manifest(version, parts, rows.num_rows, summary)
        (folder / "manifest.json").write_bytes(manifest.to_json())
        (self.root / "manifest.json").write_bytes(manifest.to_json())
        self._last = (manifest, rows)
        return manifest

    def _write_part(self, folder: Path, bucket: int, rows: pa.Table) -> PartEntry:
        schema = part_schema(self.stamp, self.vector_type, self.base_url)
        table = part_batch(rows, self.embed(rows.column("chunk").to_pylist()), schema, self.stamp)
        path = folder / part_name(bucket, self.bits)
        pq.write_table(table, path, compression="zstd", row_group_size=self.row_group_size)
        content = path.read_bytes()
        relative = f"versions/{folder.name}/{path.name}"
        return PartEntry(relative, table.num_rows, len(content), hashlib.sha256(content).hexdigest())

    def _summary(
        self, version: int, documents: Mapping[str, Sequence[str]], rows: pa.Table, counts: tuple[int, int, int]
    ) -> dict[str, object]:
        added, removed, kept = counts
        return {
            "dataset": str(self.root),
            "version": version,
            "documents": len(documents),
            "chunks": rows.num_rows,
            "texts_embedded": added,
            "rows_added": added,
            "rows_removed": removed,
            "rows_unchanged": kept,
            "prompt_tokens": 7 * added,
            "cost_usd": 0.0,
        }

    def _manifest(self, version: int, parts: Sequence[PartEntry], rows: int, summary: dict[str, object]) -> Manifest:
        return Manifest(
            version=version,
            created_at=f"2026-11-{20 + version}T09:30:00+00:00",
            parts=tuple(parts),
            rows=rows,
            model=self.stamp.model,
            dimensions=self.stamp.dimensions,
            stamp=self.stamp,
            config_fingerprint="0123456789abcdef",
            chunking=json.loads(self.stamp.chunker),
            previous_version=version - 1,
            summary=summary,
            canary=self.canary,
        )
