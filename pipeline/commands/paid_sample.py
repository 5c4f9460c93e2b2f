"""Vectors paid for in a sample, kept where the run of the whole corpus looks for them: in its dataset's journal."""

import base64
import secrets

from transforms.core.buckets import parse_part_name
from transforms.core.facts import facts_to_json
from transforms.core.manifest import Manifest
from transforms.core.tables import codes_of, list_of_hashes
from transforms.storage.journal import Journal
from transforms.storage.previous_version import hashes_from_hex
from transforms.storage.store import Store


def keep_for_the_run(sample_store: Store, sample: Manifest, store: Store, fingerprint: str) -> None:
    """Put a sample's vectors into the journal of a dataset that nothing is committed to yet; each once.

    Args:
        fingerprint: of what determines a vector; names the journal.
    """
    journal = Journal(store, fingerprint)
    stamp = sample.stamp
    with journal.writer(f"sample-{secrets.token_hex(6)}") as writer:
        for part in sample.parts:
            bucket, bits = parse_part_name(part.path.rpartition("/")[2])
            known = journal.read_hashes(bits, bucket)
            table = sample_store.open_parquet(part.path).read(columns=["text_hash", stamp.column])
            hashes = list_of_hashes(hashes_from_hex(table.column("text_hash")))
            rows = {one: row for row, one in enumerate(hashes) if one not in known}
            vectors = stamp.coding().decode(codes_of(table, stamp.column))[list(rows.values())]
            writer.append(bits, list(rows), vectors, 0, stamp.model_reported)
    canary = base64.b64decode(sample.canary)
    journal.record_facts(facts_to_json(sample.dimensions, stamp.model_reported, stamp.normalized, canary))
