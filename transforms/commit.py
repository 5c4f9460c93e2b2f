"""CommitVersion: all parts to one committed version, once, last."""

import base64
import dataclasses
import datetime
import io
import time
from collections.abc import Iterable, Mapping, Sequence

import apache_beam as beam
import pyarrow as pa
import pyarrow.parquet as pq

from transforms.core.bill import Budget, too_many_rejected
from transforms.core.buckets import part_name
from transforms.core.facts import facts_from_json
from transforms.core.manifest import FORMAT, Manifest, PartEntry, check_complete
from transforms.core.portrait import merge_portraits
from transforms.core.register import add_entries
from transforms.core.report import ReportFacts, render_report
from transforms.core.specimen import examine
from transforms.core.tables import CHANGES, list_of_hashes, rejects_table
from transforms.errors import RunRefused
from transforms.notes import read_timeline
from transforms.records import Bill, PartSummary, Reject, Usage
from transforms.stamp import StampSettings
from transforms.storage.place import OpenPlace, RunPlace, open_place, telling_why
from transforms.storage.registers import REGISTER, register_bytes, unpack_entries
from transforms.storage.sampling import sample_rows
from transforms.storage.versions import PreviousVersion, commit_version, remove_old_versions

_SAMPLE_ROWS, _SAMPLE_BYTES = 4_000, 25_000_000
"""Looked at for the report's map: a tenth of a second to read and as much to examine, whatever the dataset's size."""


@dataclasses.dataclass(frozen=True)
class CommitSettings:
    """What a version's manifest says beside its parts.

    Attributes:
        chunking: the chunking settings as they stand in the config.
        config_fingerprint: of the whole configuration.
        started_at: seconds since 1970, when the run started; from the launcher.
        accept_new_canary: what the endpoint gave for the canary sentence in this run is what later runs are held to.
        reading: names the settings that documents were read and cut with; "" when the chunks of a dataset were reread.
    """

    stamp: StampSettings
    chunking: Mapping[str, object]
    config_fingerprint: str
    keep_versions: int
    budget: Budget
    started_at: float
    accept_new_canary: bool
    reading: str


@dataclasses.dataclass
class CommitVersion(beam.PTransform):
    """Publish the staged parts as one version, or find that nothing has changed: n → 1 summary.

    Repeating it after it succeeded finds the outcome and does nothing. When it fails, or dies between any two steps, the
    previous version stays the committed one and the journal keeps every paid vector.

    Raises:
        RunRefused: more chunks were rejected than the budget allows.
        CommitConflict: another run committed since this one started.
    """

    place: RunPlace
    settings: CommitSettings
    bits: beam.PCollection[int]
    bill: beam.PCollection[Bill]
    rejects: beam.PCollection[Reject]
    usage: beam.PCollection[Usage]
    files: beam.PCollection[bytes]

    def expand(self, parts: beam.PCollection[PartSummary]) -> beam.PCollection[dict[str, object]]:
        """Apply to part summaries."""
        return (
            parts.pipeline
            | "Once" >> beam.Create([None], reshuffle=False)
            | "Commit version"
            >> beam.Map(
                _commit,
                self.place,
                self.settings,
                beam.pvalue.AsSingleton(self.bits),
                beam.pvalue.AsSingleton(self.bill),
                beam.pvalue.AsIter(parts),
                beam.pvalue.AsIter(self.rejects),
                beam.pvalue.AsIter(self.usage),
                beam.pvalue.AsIter(self.files),
            )
        )


def _commit(
    _: None,
    place: RunPlace,
    settings: CommitSettings,
    bits: int,
    bill: Bill,
    parts: Iterable[PartSummary],
    rejects: Iterable[Reject],
    usage: Iterable[Usage],
    files: Iterable[bytes],
) -> dict[str, object]:
    opened = open_place(place)
    done = opened.folder.outcome()
    if done is not None:
        return done
    with telling_why(opened.folder):
        ordered = sorted(parts, key=lambda p: p.bucket)
        commit = _Commit(opened, settings, bits, bill, ordered, list(rejects), files)
        return commit.run(sum(usage, Usage()))


class _Commit:
    """One commit: decides, publishes, cleans up, and leaves the outcome for the launcher."""

    def __init__(
        self,
        place: OpenPlace,
        settings: CommitSettings,
        bits: int,
        bill: Bill,
        parts: Sequence[PartSummary],
        rejects: Sequence[Reject],
        files: Iterable[bytes],
    ) -> None:
        self._files = files
        self._place, self._settings, self._bits, self._bill = place, settings, bits, bill
        self._parts = _one_of_each_bucket(parts)
        self._written = [part for part in self._parts if part.path]
        self._text_rejects = [reject for part in self._parts for reject in part.rejects]
        self._rejects = [*rejects, *self._text_rejects]

    def run(self, usage: Usage) -> dict[str, object]:
        refusal = too_many_rejected(len(self._text_rejects), self._bill.chunks, self._settings.budget)
        if refusal:
            raise RunRefused(refusal)
        summary = self._summary(usage)
        previous = self._place.previous
        if previous is not None and self._nothing_changed():
            manifest = previous.manifest
        else:
            manifest = self._publish(summary)
        summary["version"] = manifest.version
        summary["committed"] = previous is None or manifest.version != previous.manifest.version
        self._place.folder.write_outcome(summary)
        self._clean_up(manifest)
        return summary

    def _nothing_changed(self) -> bool:
        previous = self._place.previous
        return (
            previous is not None
            and all(part.unchanged for part in self._written)
            and len(self._written) == len(previous.manifest.parts)
            and not any(part.changes_path for part in self._parts)
        )

    def _publish(self, summary: Mapping[str, object]) -> Manifest:
        files = {
            "rejects.parquet": _parquet(rejects_table(self._rejects)),
            "changes.parquet": _parquet(self._changes()),
        }
        if self._settings.reading:
            files[REGISTER] = self._register()
        names = {part.bucket: part_name(part.bucket, self._bits) for part in self._written}
        files["report.html"] = self._report(names, summary).encode()
        return commit_version(
            self._place.store,
            self._place.folder,
            [(part.path, names[part.bucket]) for part in self._written],
            files,
            lambda version, folder: self._manifest(version, folder, names, summary),
            self._place.previous.manifest if self._place.previous else None,
        )

    def _register(self) -> bytes:
        entries = (entry for packed in self._files for entry in unpack_entries(packed))
        rejected = (reject.doc_id for reject in self._rejects)
        return register_bytes(add_entries(entries, rejected), self._settings.reading)

    def _changes(self) -> pa.Table:
        tables = [self._place.store.open_parquet(part.changes_path).read() for part in self._parts if part.changes_path]
        return pa.concat_tables([CHANGES.empty_table(), *tables]).sort_by("id")

    def _report(self, names: Mapping[int, str], summary: Mapping[str, object]) -> str:
        stamp = self._settings.stamp
        over_time, left_out = read_timeline(self._place.folder)
        written = [(part.path, part.rows) for part in self._written]
        sample = sample_rows(self._place.store, written, _SAMPLE_ROWS, _SAMPLE_BYTES)
        return render_report(
            ReportFacts(
                summary=summary,
                committed_at=_now(),
                previous_version=self._place.previous.manifest.version if self._place.previous else 0,
                stamp=stamp.stamp(self._place),
                max_tokens=stamp.max_tokens(),
                parts=[PartEntry(names[part.bucket], part.rows, part.bytes, part.sha256) for part in self._written],
                portrait=merge_portraits(part.portrait for part in self._parts),
                rejects=self._rejects,
                specimen=examine(sample.doc_ids, sample.chunks, sample.vectors),
                over_time=over_time,
                processes_left_out=left_out,
            )
        )

    def _manifest(self, version: int, folder: str, names: Mapping[int, str], summary: Mapping[str, object]) -> Manifest:
        previous = self._place.previous
        stamp = self._settings.stamp.stamp(self._place)
        manifest = Manifest(
            format=FORMAT,
            version=version,
            created_at=_now(),
            parts=tuple(
                PartEntry(f"{folder}/{names[part.bucket]}", part.rows, part.bytes, part.sha256)
                for part in self._written
            ),
            rows=sum(part.rows for part in self._written),
            model=stamp.model,
            dimensions=stamp.dimensions,
            stamp=stamp,
            config_fingerprint=self._settings.config_fingerprint,
            chunking=dict(self._settings.chunking),
            previous_version=previous.manifest.version if previous else 0,
            summary={**summary, "version": version},
            canary=self._canary(),
        )
        check_complete(manifest)
        return manifest

    def _canary(self) -> str:
        """Return the canary that later runs are compared with: the first run's, unless another one was accepted since."""
        facts = self._place.journal.facts()
        proved = base64.b64encode(facts_from_json(facts)[3]).decode() if facts else ""
        known = self._place.previous.manifest.canary if self._place.previous else ""
        return proved if proved and self._settings.accept_new_canary else known or proved

    def _summary(self, usage: Usage) -> dict[str, object]:
        bill = self._bill
        price = bill.price_per_million_tokens
        cost = None if price is None else usage.prompt_tokens * price / 1_000_000
        return {
            "dataset": self._place.store.root,
            "version": 0,
            "documents": bill.documents,
            "documents_rejected": bill.documents_rejected,
            "documents_empty": bill.documents_empty,
            "documents_new": bill.documents_new,
            "documents_changed": bill.documents_changed,
            "documents_vanished": bill.documents_vanished,
            "documents_unchanged": bill.documents_unchanged,
            "chunks": bill.chunks,
            "chunks_rejected": len(self._text_rejects),
            "texts": bill.texts,
            "texts_reused": bill.texts_reused,
            "texts_in_journal": bill.texts_in_journal,
            "texts_to_embed": bill.texts_to_embed,
            "texts_embedded": sum(part.texts_embedded for part in self._parts),
            "duplicates": bill.duplicates,
            "rows_added": sum(part.rows_added for part in self._parts),
            "rows_removed": sum(part.rows_removed for part in self._parts),
            "rows_unchanged": sum(part.rows_unchanged for part in self._parts),
            "rows_updated": sum(part.rows_updated for part in self._parts),
            "requests": usage.requests,
            "requests_retried": usage.requests_retried,
            "requests_throttled": usage.requests_throttled,
            "prompt_tokens": usage.prompt_tokens,
            "estimated_tokens": bill.tokens,
            "tokens_wasted": usage.tokens_wasted,
            "estimated_cost_usd": bill.cost_usd,
            "cost_usd": 0.0 if usage.requests == 0 else cost,
            "seconds": round(time.time() - self._settings.started_at, 3),
            "limited_by": usage.limited_by,
        }

    def _clean_up(self, manifest: Manifest) -> None:
        """Remove what the committed version holds; a death in here leaves files that the next run removes."""
        committed = PreviousVersion(self._place.store, manifest)
        self._place.journal.remove_held(
            self._place.folder.run_id,
            lambda bits, bucket: frozenset(list_of_hashes(committed.read_hashes(bits, bucket))),
        )
        remove_old_versions(self._place.store, self._settings.keep_versions)


def _now() -> str:
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")


def _one_of_each_bucket(parts: Sequence[PartSummary]) -> list[PartSummary]:
    """Keep one summary of each bucket: a runner may deliver the result of a bundle that it ran twice."""
    return list({part.bucket: part for part in parts}.values())


def _parquet(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd")
    return sink.getvalue()
