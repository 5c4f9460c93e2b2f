from collections.abc import Iterator
from pathlib import Path

import apache_beam as beam
import pytest
from apache_beam.metrics import MetricsFilter

from tests.support.builders import make_chunked
from tests.support.pipelines import pipeline
from tests.support.rehearsal import Rehearsal, rehearsal
from transforms.clients.http import EndpointSettings
from transforms.clients.open_client import close_clients
from transforms.core.bill import Budget
from transforms.core.pacing import Quota
from transforms.core.requests import RequestLimits
from transforms.embed import EmbedBuckets, EmbedSettings
from transforms.group import GroupByText, PackChunks
from transforms.records import Bill, Carry
from transforms.stamp import StampSettings
from transforms.storage.place import RunPlace, open_place


@pytest.fixture(scope="module")
def server() -> Iterator[Rehearsal]:
    with rehearsal("--dimensions", "8") as running:
        yield running


@pytest.fixture
def run_id() -> Iterator[str]:
    """A run whose clients are closed afterwards, as the launcher does: a pipeline leaves them open for its next bundle."""
    yield "run-1"
    close_clients("run-1", 1)


def test_waiting_for_the_quota_is_told_to_the_runner_as_throttled_time(
    tmp_path: Path, server: Rehearsal, run_id: str
) -> None:
    place = RunPlace(str(tmp_path / "dataset"), run_id, 0, "f")
    endpoint = EndpointSettings(base_url=server.base_url, api_key_env="", dimensions=8)
    stamp = StampSettings("m", "", "", "", "{}", "float32")
    quota = Quota(requests_per_minute=120, concurrent_requests=1)
    settings = EmbedSettings(endpoint, quota, RequestLimits(max_inputs=1), stamp, Budget(), 1, False)
    root = pipeline()
    open_place(place).folder.write_bill({"texts_to_embed": 6})
    with root:
        bits = root | "bits" >> beam.Create([0])
        bill = root | "bill" >> beam.Create([Bill()])
        chunked = root | "chunked" >> beam.Create([make_chunked([f"text {n}" for n in range(6)])])
        tables = chunked | PackChunks(bits) | GroupByText(bits, every_bucket=False)
        carry = root | "carry" >> beam.Create([Carry()])
        _ = tables | EmbedBuckets(place, settings, bits, carry, bill)
    counted = root.result.metrics().query(MetricsFilter().with_name("cumulativeThrottlingSeconds"))["counters"]
    assert sum(counter.committed for counter in counted) >= 1


def test_bundle_that_fails_in_a_living_process_leaves_its_buckets_to_the_next_attempt(
    tmp_path: Path, server: Rehearsal
) -> None:
    place = RunPlace(str(tmp_path / "dataset"), "run-1", 0, "f")
    endpoint = EndpointSettings(base_url=server.base_url, api_key_env="", dimensions=8)
    stamp = StampSettings("m", "", "", "", "{}", "float32")
    settings = EmbedSettings(endpoint, Quota(), RequestLimits(max_inputs=1), stamp, Budget(), 1, False)
    folder = open_place(place).folder
    folder.write_bill({"texts_to_embed": 6})
    root = pipeline()
    bits = root | "bits" >> beam.Create([0])
    bill = root | "bill" >> beam.Create([Bill()])
    chunked = root | "chunked" >> beam.Create([make_chunked([f"text {n}" for n in range(6)])])
    tables = chunked | PackChunks(bits) | GroupByText(bits, every_bucket=False)
    carry = root | "carry" >> beam.Create([Carry()])
    embedded = tables | EmbedBuckets(place, settings, bits, carry, bill)
    _ = embedded.tables | "fail" >> beam.Map(lambda table: 1 // len(table.rejects))
    with pytest.raises(ZeroDivisionError, match="while running"):
        root.run().wait_until_finish()
    assert [file.path for file in folder.store.list_files(folder.path("claims"))] == [folder.path("claims/00-00000")]
    assert folder.store.list_files(folder.path("attempts")) == []
