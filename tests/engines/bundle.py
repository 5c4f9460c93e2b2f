"""One bundle of a run, in a process of its own: what an engine gives to a worker, and gives again when the worker is lost.

``python -m tests.engines.bundle DATASET BASE_URL RESULTS BUCKETS REQUESTS_PER_MINUTE`` embeds and writes the same tables
under the same run id however often and wherever it is started, and leaves its part summaries in the folder RESULTS, as a
worker hands them to its engine. BUCKETS are digits; 0 requests a minute are no limit.
"""

import pickle
import sys
from pathlib import Path

import apache_beam as beam

from tests.support.builders import make_rows
from tests.support.pipelines import pipeline
from tests.support.projects import prose
from transforms import CommitSettings, CommitVersion, EmbedBuckets, EmbedSettings, StampSettings, WriteParts
from transforms.clients.http import EndpointSettings
from transforms.core.bill import Budget
from transforms.core.identity import text_hash
from transforms.core.pacing import Quota
from transforms.core.requests import RequestLimits
from transforms.core.tables import split_by_bucket
from transforms.records import Bill, Carry, ChunkTable, PartSummary, Usage
from transforms.storage.place import RunPlace, open_place

BITS, TEXTS, DIMENSION = 2, 600, 64
EVERY = "0123"
IN_FLIGHT, INPUTS = 4, 8
AT_RISK = IN_FLIGHT * INPUTS
"""Texts that one kill may cost: those of requests in flight, until their answers are journaled."""
STAMP = StampSettings("m", "", "", "", '{"max_tokens": 32}', "float32")
BILL = Bill(documents=1, chunks=TEXTS, texts=TEXTS, texts_to_embed=TEXTS)


def place_of(dataset: str) -> RunPlace:
    return RunPlace(dataset, f"run-{text_hash(dataset).hex()[:16]}", 0, "fingerprint")


def tables(buckets: str) -> list[ChunkTable]:
    rows = make_rows([prose(number, 12) for number in range(TEXTS)])
    return [ChunkTable(bucket, (batch,)) for bucket, batch in split_by_bucket(rows, BITS) if str(bucket) in buckets]


def run_bundle(dataset: str, base_url: str, results: str, buckets: str = EVERY, per_minute: str = "0") -> None:
    """Embed and write some tables in one bundle; the run goes on, so nothing is committed."""
    endpoint = EndpointSettings(base_url=base_url, api_key_env="", dimensions=DIMENSION)
    quota, limits = Quota(int(per_minute) or None, None, IN_FLIGHT), RequestLimits(max_inputs=INPUTS)
    settings = EmbedSettings(endpoint, quota, limits, STAMP, Budget(), 1, False)
    place = place_of(dataset)
    with pipeline() as root:
        bits = root | "bits" >> beam.Create([BITS], reshuffle=False)
        bill = root | "bill" >> beam.Create([BILL], reshuffle=False)
        given = root | "tables" >> beam.Create(tables(buckets), reshuffle=False)
        nothing = root | "nothing to take over" >> beam.Create([Carry()], reshuffle=False)
        embedded = given | EmbedBuckets(place, settings, bits, nothing, bill)
        parts = embedded.tables | WriteParts(place, STAMP, bits)
        _ = parts | beam.Map(_leave, results)


def _leave(part: PartSummary, results: str) -> None:
    (Path(results) / Path(part.path).name).write_bytes(pickle.dumps(part))


def commit(dataset: str, results: str) -> None:
    """Commit what an engine has heard of, the results of several attempts at the same bundle among them."""
    parts: list[PartSummary] = [pickle.loads(path.read_bytes()) for path in sorted(Path(results).iterdir())]
    settings = CommitSettings(STAMP, {}, "f", 2, Budget(), 0.0, False, "")
    with pipeline() as root:
        bits = root | "bits" >> beam.Create([BITS], reshuffle=False)
        bill = root | "bill" >> beam.Create([BILL], reshuffle=False)
        rejects = root | "rejects" >> beam.Create([], reshuffle=False)
        usage = root | "usage" >> beam.Create([Usage()], reshuffle=False)
        told = root | "parts" >> beam.Create(parts, reshuffle=False)
        files = root | "no files" >> beam.Create([], reshuffle=False)
        _ = told | CommitVersion(place_of(dataset), settings, bits, bill, rejects, usage, files)


def begin(dataset: str) -> None:
    """Leave what the launcher and the steps before have left when a worker gets its bundle: the approved bill."""
    open_place(place_of(dataset)).folder.write_bill({"texts_to_embed": TEXTS})


if __name__ == "__main__":
    run_bundle(*sys.argv[1:])
