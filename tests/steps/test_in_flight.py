from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.support.builders import make_rows
from tests.support.fake_client import DIMENSION, FakeClient, fake_vector
from transforms import in_flight
from transforms.carry import RowCarrier
from transforms.core.facts import facts_to_json
from transforms.core.requests import RequestLimits
from transforms.core.tables import first_rows_of_texts, hashes_of, read_rows, split_by_bucket
from transforms.errors import ProviderRefused, RunInterrupted
from transforms.in_flight import BucketsInFlight
from transforms.records import ChunkTable, EmbeddedTable
from transforms.storage.claims import Claims
from transforms.storage.journal import JournalWriter
from transforms.storage.place import OpenPlace, RunPlace, open_place

BITS = 2


_writers: list[JournalWriter] = []
_attempts: list[Claims] = []


@pytest.fixture(autouse=True)
def close_writers() -> Iterator[None]:
    yield
    while _writers:
        _writers.pop().close()
    while _attempts:
        _attempts.pop().close()


class Bench:
    """A place on disk, a client, and a journal writer, as a worker has them."""

    def __init__(self, folder: Path, client: FakeClient, run_id: str = "run-1") -> None:
        self.client = client
        self.place: OpenPlace = open_place(RunPlace(str(folder), run_id, 0, "f"))
        self.place.folder.write_bill({})
        self.writer: JournalWriter = self.place.journal.writer(run_id)
        _writers.append(self.writer)
        self.claims = Claims(self.place.folder)
        _attempts.append(self.claims)
        self.while_pausing: Callable[[], object] = lambda: pytest.fail("nobody is there to be waited for")
        self.noted: list[int] = []
        self.buckets = BucketsInFlight(
            self.place,
            BITS,
            lambda: client,
            self._prove,
            lambda: self.writer,
            self.noted.append,
            False,
            lambda: None,
            RowCarrier(self.place, ()),
            self.claims,
            pause=lambda seconds: self.while_pausing(),
        )

    def _prove(self) -> int:
        facts = self.client.prove()
        self.place.journal.record_facts(facts_to_json(facts.dimension, facts.model_reported, False, facts.canary))
        return facts.dimension

    def embed(self, chunks: list[str]) -> list[EmbeddedTable]:
        return [*self._add_all(chunks), *self.buckets.drain()]

    def add(self, chunks: list[str], only: str = "0123") -> list[EmbeddedTable]:
        return list(self._add_all(chunks, only))

    def drain(self) -> list[EmbeddedTable]:
        return list(self.buckets.drain())

    def end(self) -> None:
        """End the bundle, well or badly, as the step does."""
        self.writer.close()
        self.claims.close()

    def _add_all(self, chunks: list[str], only: str = "0123") -> Iterator[EmbeddedTable]:
        for bucket, batch in split_by_bucket(make_rows(chunks), BITS):
            if str(bucket) in only:
                yield from self.buckets.add(ChunkTable(bucket, (batch,)))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "dataset"


def rows_with_vectors(tables: list[EmbeddedTable]) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    for table in tables:
        rows = read_rows(table.rows)
        first = first_rows_of_texts(hashes_of(rows))
        vectors = np.frombuffer(table.vectors, np.float32).reshape(-1, DIMENSION)
        assert len(vectors) == len(first)
        of_row = np.repeat(np.arange(len(first)), np.diff(np.append(first, rows.num_rows)))
        for row, at in zip(rows.to_pylist(), of_row, strict=True):
            found[row["id"]] = [row["chunk"], *vectors[at].tolist()]
    return found


TEXTS = [f"text {number}" for number in range(40)]


@pytest.mark.parametrize("halves", [False, True])
def test_every_row_carries_the_vector_of_its_own_text(folder: Path, halves: bool) -> None:
    bench = Bench(folder, FakeClient(halves=halves))
    found = rows_with_vectors(bench.embed([*TEXTS, *TEXTS[:7]]))
    assert len(found) == 47
    assert all(vector == fake_vector(text).tolist() for text, *vector in found.values())


def test_equal_texts_are_sent_once(folder: Path) -> None:
    bench = Bench(folder, FakeClient())
    bench.embed([*TEXTS, *TEXTS])
    assert sorted(text for request in bench.client.requests for text in request) == sorted(TEXTS)


def test_texts_of_several_buckets_share_requests(folder: Path) -> None:
    bench = Bench(folder, FakeClient(RequestLimits(max_inputs=100)))
    tables = bench.embed(TEXTS)
    assert len(tables) == 4
    assert [len(request) for request in bench.client.requests] == [40]


def test_every_answer_is_in_the_journal(folder: Path) -> None:
    bench = Bench(folder, FakeClient())
    bench.embed(TEXTS)
    bench.writer.close()
    assert sum(bench.noted) == 40
    assert len(Bench(folder, FakeClient(), "run-2").place.journal.read_hashes(0, 0)) == 40


def test_what_the_journal_holds_is_not_paid_again_and_nobody_is_called(folder: Path) -> None:
    first = Bench(folder, FakeClient())
    expected = rows_with_vectors(first.embed(TEXTS))
    first.writer.close()
    second = Bench(folder, FakeClient(), "run-2")
    tables = second.embed(TEXTS)
    assert rows_with_vectors(tables) == expected
    assert second.client.requests == []
    assert second.client.proofs == 0
    assert [table.texts_embedded for table in tables] == [0, 0, 0, 0]


def test_refused_text_costs_its_own_rows_only(folder: Path) -> None:
    bench = Bench(folder, FakeClient(poison="poison"))
    tables = bench.embed([*TEXTS, "poison", "poison"])
    assert len(rows_with_vectors(tables)) == 40
    rejects = [reject for table in tables for reject in table.rejects]
    spans = [(r.doc_id, r.stage, r.reason, r.end_char - r.start_char) for r in rejects if r.end_char and r.start_char]
    assert spans == [("a.md", "embed", "refused", 6)] * 2


def test_failure_of_one_request_stops_the_bundle_with_its_own_error(folder: Path) -> None:
    bench = Bench(folder, FakeClient(fail_after=2, failure=ProviderRefused("the key was refused")))
    with pytest.raises(ProviderRefused, match="the key was refused"):
        bench.embed(TEXTS)


def test_notice_of_another_worker_stops_this_one(folder: Path) -> None:
    bench = Bench(folder, FakeClient())
    bench.place.folder.stop("RunInterrupted", "somebody pressed Ctrl-C")
    with pytest.raises(RunInterrupted, match="somebody pressed Ctrl-C"):
        bench.embed(TEXTS)


def test_worker_stops_when_a_later_run_has_tidied_its_run_away(folder: Path) -> None:
    bench = Bench(folder, FakeClient())
    bench.place.folder.remove()
    with pytest.raises(RunInterrupted, match="the launcher of run run-1 has ended"):
        bench.embed(TEXTS)
    assert bench.client.requests == []


def test_bucket_without_rows_passes_without_a_call(folder: Path) -> None:
    bench = Bench(folder, FakeClient())
    (table,) = [*bench.buckets.add(ChunkTable(3, ())), *bench.buckets.drain()]
    assert (table.bucket, read_rows(table.rows).num_rows, bench.client.requests) == (3, 0, [])


def paid(*benches: Bench) -> list[str]:
    return sorted(text for bench in benches for request in bench.client.requests for text in request)


def test_of_two_attempts_at_once_the_second_takes_from_the_journal_what_the_first_pays(folder: Path) -> None:
    first, second = Bench(folder, FakeClient(RequestLimits(max_inputs=100))), Bench(folder, FakeClient())
    first.add(TEXTS)
    assert second.add(TEXTS) == []
    of_first: list[EmbeddedTable] = []
    second.while_pausing = lambda: of_first.extend(first.drain())
    assert rows_with_vectors(second.drain()) == rows_with_vectors(of_first)
    assert len(of_first) == 4
    assert (paid(first), paid(second), second.client.proofs) == (sorted(TEXTS), [], 0)


def test_two_attempts_that_wait_for_each_other_both_end_and_pay_each_text_once(folder: Path) -> None:
    limits = RequestLimits(max_inputs=100)  # more than there are, so that nothing is sent before the end
    first, second = Bench(folder, FakeClient(limits)), Bench(folder, FakeClient(limits))
    first.add(TEXTS, "01")
    second.add(TEXTS)
    first.add(TEXTS, "23")
    of_second: list[EmbeddedTable] = []
    first.while_pausing = lambda: of_second.extend(second.drain())
    of_first = first.drain()
    assert rows_with_vectors(of_first) == rows_with_vectors(of_second)
    assert [table.bucket for table in of_first] == [0, 1, 2, 3]
    assert [table.bucket for table in of_second] == [2, 3, 0, 1]
    assert paid(first, second) == sorted(TEXTS)


def test_attempt_takes_over_what_a_failed_one_has_left(folder: Path) -> None:
    failing = Bench(folder, FakeClient(fail_after=3, failure=ProviderRefused("the key was refused")))
    waiting = Bench(folder, FakeClient())
    with pytest.raises(ProviderRefused):
        failing.embed(TEXTS)
    waiting.add(TEXTS)
    waiting.while_pausing = failing.end
    assert len(rows_with_vectors(waiting.drain())) == 40
    assert len(paid(failing)) == 12
    assert paid(failing, waiting) == sorted(TEXTS)


def test_attempt_after_a_dead_one_waits_for_nobody(folder: Path) -> None:
    dead = Bench(folder, FakeClient(fail_after=3, failure=ProviderRefused("the key was refused")))
    after = Bench(folder, FakeClient())
    after.place.journal.read_hashes(BITS, 0)  # its listing is older than what the dead one pays from here on
    with pytest.raises(ProviderRefused):
        dead.embed(TEXTS)
    dead.end()
    assert len(rows_with_vectors(after.embed(TEXTS))) == 40
    assert paid(dead, after) == sorted(TEXTS)


def test_nobody_waits_for_texts_that_were_refused(folder: Path) -> None:
    texts = [*TEXTS, *(f"poison {number}" for number in range(20))]
    limits = RequestLimits(max_inputs=100)
    first, second = Bench(folder, FakeClient(limits, "poison")), Bench(folder, FakeClient(limits, "poison"))
    first.add(texts)
    second.add(texts)
    assert sum(len(table.rejects) for table in first.drain()) == 20
    again = second.drain()  # beside the first, which is still alive
    assert sum(len(table.rejects) for table in again) == 20
    assert [text for text in paid(second) if "poison" not in text] == []


def test_attempt_that_waits_for_another_stops_with_the_run(folder: Path) -> None:
    first, second = Bench(folder, FakeClient(RequestLimits(max_inputs=100))), Bench(folder, FakeClient())
    first.add(TEXTS)
    second.add(TEXTS)
    second.place.folder.stop("RunInterrupted", "somebody pressed Ctrl-C")
    with pytest.raises(RunInterrupted, match="somebody pressed Ctrl-C"):
        second.drain()


def test_rows_of_buckets_that_others_embed_are_not_gathered_without_end(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(in_flight, "WAITING_BYTES", 0)
    first, second = Bench(folder, FakeClient()), Bench(folder, FakeClient())
    second.place.journal.read_hashes(BITS, 0)  # its listing is older than what the first one pays
    first.embed(TEXTS)
    assert [table.bucket for table in second.add(TEXTS)] == [0, 1, 2]
    assert [table.bucket for table in second.drain()] == [3]
    assert paid(second) == []


def test_bundle_without_new_texts_claims_nothing(folder: Path) -> None:
    first = Bench(folder, FakeClient())
    first.embed(TEXTS)
    first.end()
    second = Bench(folder, FakeClient(), "run-2")
    second.embed(TEXTS)
    claimed = {
        file.path.split("/")[2] for file in second.place.store.list_files("_journal/runs") if "claims" in file.path
    }
    assert claimed == {"run-1"}
