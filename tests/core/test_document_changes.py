from collections import defaultdict

from transforms.core.document_changes import count_changes, tally_bucket


def count(*buckets: tuple[dict[str, str], dict[str, str]]) -> tuple[int, int, int]:
    """Tally buckets of {id: doc_id} now and before, combine by shard as the graph does, and count."""
    shards: dict[int, list[bytes]] = defaultdict(list)
    for now, before in buckets:
        for shard, packed in tally_bucket(list(now), list(now.values()), list(before), list(before.values())):
            shards[shard].append(packed)
    totals = [count_changes(packed) for packed in shards.values()]
    return sum(t[1] for t in totals), sum(t[2] for t in totals), sum(t[3] for t in totals)


def test_first_version_has_only_new_documents() -> None:
    assert count(({"1": "a", "2": "a", "3": "b"}, {})) == (2, 0, 0)


def test_equal_documents_are_not_counted() -> None:
    assert count(({"1": "a"}, {"1": "a"}), ({"2": "a"}, {"2": "a"})) == (0, 0, 0)


def test_document_changed_in_one_bucket_of_two_is_changed_not_new() -> None:
    assert count(({"1": "a"}, {"1": "a"}), ({"2": "a"}, {})) == (0, 1, 0)


def test_document_whose_chunks_moved_between_buckets_is_changed() -> None:
    assert count(({"1": "a"}, {}), ({}, {"2": "a"})) == (0, 1, 0)


def test_vanished_document_is_counted_once() -> None:
    assert count(({}, {"1": "a"}), ({}, {"2": "a"}), ({"3": "b"}, {"3": "b"})) == (0, 0, 1)


def test_no_tallies_are_no_changes() -> None:
    assert count_changes([]) == (0, 0, 0, 0)


def test_documents_that_are_here_are_counted_once() -> None:
    (_, first), *_ = tally_bucket(["1", "2"], ["a", "a"], ["1"], ["a"])
    assert count_changes([first, first])[0] == 1
