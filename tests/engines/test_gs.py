"""The whole life of a dataset on gs://, against a real server that honours preconditions."""

import io
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.end_to_end.test_run import PROBE_TEXTS
from tests.engines.engines import wait_until
from tests.engines.launches import Launches
from tests.storage.faulty_proxy import Proxy, faulty_proxy
from tests.support.projects import prose
from tests.support.rehearsal import Rehearsal, rehearsal
from transforms.storage.gcs import GcsStore, open_gcs_store

pytestmark = pytest.mark.engines

IN_FLIGHT, INPUTS = 4, 4
SHORT = "A document that is one chunk."


@pytest.fixture(scope="module")
def server() -> Iterator[Rehearsal]:
    with rehearsal("--dimensions", "16") as running:
        yield running


@pytest.fixture
def documents(gcs_bucket: str, tmp_path: Path) -> GcsStore:
    return open_gcs_store(f"gs://{gcs_bucket}/{tmp_path.name}/docs")


@pytest.fixture
def launches(documents: GcsStore, tmp_path: Path, server: Rehearsal) -> Launches:
    server.change(latency_ms=0)
    config = {
        "dataset": documents.root.replace("/docs", "/out"),
        "documents": {"paths": [f"{documents.root}/**/*.txt"]},
        "chunking": {"max_tokens": 64, "overlap_tokens": 0},
        "embedding": {
            "base_url": server.base_url,
            "model": "text-embedding-3-small",
            "dimensions": 16,
            "api_key_env": "",
            "max_inputs_per_request": INPUTS,
        },
        "limits": {"concurrent_requests": IN_FLIGHT},
        "output": {"keep_versions": 3},
    }
    return Launches(tmp_path, config)


def write(documents: GcsStore, numbers: range, words: int = 60) -> None:
    for number in numbers:
        documents.write_bytes(f"d{number % 3}/t{number}.txt", prose(number, words).encode())


def objects(launches: Launches) -> set[str]:
    return {file.path for file in open_gcs_store(launches.config["dataset"]).list_files("")}


def manifest(launches: Launches) -> dict[str, object]:
    found: dict[str, object] = json.loads(open_gcs_store(launches.config["dataset"]).read_bytes("manifest.json"))
    return found


def test_dataset_lives_on_a_bucket(documents: GcsStore, launches: Launches, server: Rehearsal) -> None:
    write(documents, range(12))
    before = server.statistics()["texts"]
    first = launches.run()
    assert first.code == 0, first.err
    assert server.statistics()["texts"] - before == first.summary["texts"] + PROBE_TEXTS
    files = objects(launches)
    assert not any(name.startswith("_journal") for name in files)

    again = launches.run()
    assert (again.code, again.summary["committed"], again.summary["requests"]) == (0, False, 0)
    assert objects(launches) == files

    documents.write_bytes("d0/t0.txt", (prose(0) + "\n\nA last paragraph that is new.").encode())
    documents.write_bytes("d1/short.txt", SHORT.encode())
    documents.delete("d1/t1.txt")
    edited = launches.run()
    assert edited.code == 0, edited.err
    assert (edited.summary["version"], edited.summary["documents_vanished"]) == (2, 1)
    assert 0 < edited.summary["texts_embedded"] <= 3
    assert manifest(launches)["version"] == 2

    shown = launches.command("inspect", launches.config["dataset"])
    assert shown.code == 0, shown.err
    assert "text-embedding-3-small" in shown.out
    found = launches.command("search", launches.config["dataset"], SHORT, "-k", "1", "--json", "--api-key-env", "")
    assert found.code == 0, found.err
    assert "d1/short.txt" in found.out
    kept = launches.command("gc", launches.config["dataset"])
    assert kept.code == 0, kept.err
    assert (manifest(launches)["version"], launches.run().summary["requests"]) == (2, 0)


def test_run_that_was_killed_goes_on_from_the_journal_in_the_bucket(
    documents: GcsStore, launches: Launches, server: Rehearsal
) -> None:
    write(documents, range(12), 3000)
    server.change(latency_ms=200)
    before = server.statistics()["texts"]
    with launches.started(*launches.run_arguments()) as process:
        assert wait_until(
            lambda: sum(".seg" in name for name in objects(launches)) >= 2,
            every=0.1,
        )
        process.kill()
        process.wait()
    paid = server.statistics()["texts"] - before
    server.change(latency_ms=0)
    ended = launches.run()
    assert ended.code == 0, ended.err
    assert 0 < ended.summary["texts_in_journal"] <= paid
    assert ended.summary["texts_embedded"] == ended.summary["texts"] - ended.summary["texts_in_journal"]


def test_of_two_runs_at_once_on_a_bucket_one_commits_and_the_other_loses_nothing(
    documents: GcsStore, launches: Launches, server: Rehearsal
) -> None:
    write(documents, range(12), 300)
    server.change(latency_ms=100)
    with launches.started(*launches.run_arguments()) as first, launches.started(*launches.run_arguments()) as second:
        errors = [process.communicate(timeout=90)[1] for process in (first, second)]
    assert sorted([first.returncode, second.returncode]) == [0, 5], errors
    lost = errors[0 if first.returncode == 5 else 1]
    assert "another run has committed" in lost
    assert "Traceback" not in lost
    again = launches.run()
    assert (again.code, again.summary["requests"], again.summary["version"]) == (0, 0, 1)


def test_interrupted_run_leaves_what_was_paid_in_the_bucket(
    documents: GcsStore, launches: Launches, server: Rehearsal
) -> None:
    write(documents, range(12), 1000)
    server.change(latency_ms=100)
    before = server.statistics()["texts"]
    with launches.started(*launches.run_arguments()) as process:
        assert wait_until(lambda: bool(server.statistics()["texts"] >= before + 60))
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    ended = launches.run()
    assert ended.code == 0, ended.err
    assert server.statistics()["texts"] - before == ended.summary["texts"] + 2 * PROBE_TEXTS


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    with faulty_proxy(os.environ["STORAGE_EMULATOR_HOST"]) as running:
        yield running


def write_records(documents: GcsStore, rows: int) -> None:
    lines = [json.dumps({"text": prose(number, 40), "key": number}) for number in range(rows)]
    documents.write_bytes("r/lines.jsonl", "\n".join(lines).encode())
    sink = io.BytesIO()
    ballast = pa.array([os.urandom(2_000) for _ in range(rows)])
    table = pa.table({"text": [prose(rows + number, 40) for number in range(rows)], "ballast": ballast})
    pq.write_table(table, sink, row_group_size=50)
    documents.write_bytes("r/table.parquet", sink.getvalue())


def test_records_in_a_bucket_are_read_by_ranges(documents: GcsStore, launches: Launches, proxy: Proxy) -> None:
    write_records(documents, 200)
    launches.config["documents"]["paths"] = [f"{documents.root}/r/*"]
    launches.variables["STORAGE_EMULATOR_HOST"] = proxy.address
    ended = launches.run()
    assert ended.code == 0, ended.err
    assert ended.summary["documents"] == 400
    of_table = [one for one in proxy.asked if one.path.endswith("table.parquet") and one.is_media]
    moved = sum(one.headers["range"] != "" and _length(one.headers["range"]) for one in of_table)
    assert moved < 400_000 < documents.list_files("r")[1].size_bytes


def _length(asked: str) -> int:
    first, _, last = asked.removeprefix("bytes=").partition("-")
    return int(last) - int(first) + 1


def test_every_request_of_a_run_and_of_the_commands_after_it_names_who_is_billed(
    documents: GcsStore, launches: Launches, proxy: Proxy
) -> None:
    write(documents, range(6))
    write_records(documents, 10)
    launches.config["documents"]["paths"] = [f"{documents.root}/**/*.txt", f"{documents.root}/r/*"]
    launches.config["google_cloud"] = {"billing_project": "payer-1"}
    launches.variables["STORAGE_EMULATOR_HOST"] = proxy.address
    for ended in (launches.command("plan", launches.config_file(), "--quiet"), launches.run()):
        assert ended.code == 0, ended.err
    dataset, payer = launches.config["dataset"], ("--billing-project", "payer-1")
    documents.write_bytes("d0/t0.txt", SHORT.encode())
    assert launches.run("--set", "documents.paths=[" + f"{documents.root}/**/*.txt]").code == 0
    again = f"{dataset}-again"
    reread = launches.run(
        "--set", f"dataset={again}", "--set", f"documents={{dataset: {dataset}}}", "--set", "embedding.model=m-2",
        "--set", "budget.price_per_million_tokens=0",
    )  # fmt: skip
    assert reread.code == 0, reread.err
    for command in (
        ["doctor", launches.config_file(), "--json"],
        ["inspect", dataset, "--verify", *payer],
        ["diff", dataset, *payer],
        ["search", dataset, SHORT, "--api-key-env", "", *payer],
        ["export", dataset, f"{dataset}-export", "--to", "pinecone", *payer],
        ["gc", dataset, "--dead-after", "1", *payer],
    ):
        ended = launches.command(*command)
        assert ended.code == 0, (command, ended.err, ended.out)
    unnamed = [one for one in proxy.asked if one.query.get("userProject") != ["payer-1"] and not one.is_session]
    assert len(proxy.asked) > 100
    assert [(one.method, one.path, one.query) for one in unnamed] == []
