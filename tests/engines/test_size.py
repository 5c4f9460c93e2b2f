"""Operations on a bucket: what is reckoned from a config against what a server has logged of a real run."""

from pathlib import Path

import pytest

from pipeline.commands.size import mechanics, plan_of
from pipeline.config import parse_config
from tests.engines.counted_bucket import counted_bucket
from tests.engines.launches import Launches
from tests.support.corpus import write_corpus
from tests.support.rehearsal import rehearsal
from transforms.core.scale import Corpus, measure
from transforms.core.storage_use import StoragePrices, StorageUse, operations

pytestmark = pytest.mark.engines

DIMENSION = 4096


@pytest.mark.parametrize(
    ("documents", "latency_ms"),
    [
        pytest.param(24, 0, id="few parts"),
        pytest.param(96, 0, id="many parts"),
        pytest.param(48, 500, id="slow answers"),
    ],
)
def test_operations_on_a_bucket_are_as_many_as_reckoned(documents: int, latency_ms: int, tmp_path: Path) -> None:
    size = write_corpus(tmp_path / "docs", documents, 40)
    with (
        rehearsal("--dimensions", str(DIMENSION), "--latency-ms", str(latency_ms)) as server,
        counted_bucket(tmp_path) as bucket,
    ):
        for path in sorted((tmp_path / "docs").iterdir()):
            bucket.put(f"docs/{path.name}", path.read_bytes())
        config = {
            "dataset": f"gs://{bucket.name}/out",
            "documents": {"paths": [f"gs://{bucket.name}/docs/*.txt"]},
            "chunking": {"max_tokens": 32, "overlap_tokens": 0},
            "embedding": {
                "base_url": server.base_url,
                "model": "text-embedding-3-small",
                "dimensions": DIMENSION,
                "api_key_env": "",
                "max_inputs_per_request": 16,
            },
            "limits": {"concurrent_requests": 2},
            "output": {"part_size_mb": 1},
        }
        before = bucket.requests()
        ended = Launches(tmp_path, config, {"STORAGE_EMULATOR_HOST": bucket.address}).run()
        assert ended.code == 0, ended.err
        counted = bucket.requests() - before
    summary = ended.summary
    tokens = summary["estimated_tokens"] / summary["texts"]
    corpus = Corpus(
        summary["chunks"], tokens, tokens, summary["chunks"] / documents, size / tokens / summary["chunks"], True
    )
    plan = plan_of(parse_config(config, "test"), 1)
    by = mechanics(plan.dimension)
    reckoned = measure(corpus, plan, by, StoragePrices())
    use = StorageUse(reckoned.buckets, reckoned.journal_bytes / reckoned.buckets, summary["seconds"], 1, documents)
    class_a, class_b = operations(use, by.rhythm)
    assert counted["A"] == pytest.approx(class_a, rel=0.25)
    assert counted["B"] == pytest.approx(class_b, rel=0.25)
