import apache_beam as beam
from apache_beam.testing.util import assert_that, equal_to

from tests.support.builders import make_chunked, make_rows
from tests.support.pipelines import pipeline
from transforms.core.buckets import bucket_of
from transforms.core.identity import text_hash
from transforms.core.tables import merge_chunks
from transforms.group import ChooseBuckets, GroupByText, PackChunks
from transforms.records import ChunkTable, FoundDocument

BITS = 2


def rows_of(table: ChunkTable) -> tuple[int, list[dict[str, object]]]:
    return table.bucket, merge_chunks(table.batches).to_pylist()


def grouped(
    documents: list[tuple[list[str], str]], every_bucket: bool = False, prefix: str = ""
) -> dict[int, list[str]]:
    """The chunks that each bucket must hold."""
    expected: dict[int, list[str]] = {bucket: [] for bucket in range(1 << BITS)} if every_bucket else {}
    for chunks, _ in documents:
        for chunk in chunks:
            expected.setdefault(bucket_of(text_hash(prefix + chunk), BITS), []).append(chunk)
    return {bucket: sorted(chunks) for bucket, chunks in expected.items()}


DOCUMENTS = [([f"chunk {n}" for n in range(20)], "a.md"), (["chunk 3", "other"], "b.md"), ([], "empty.md")]


def test_equal_texts_of_different_documents_meet_in_one_bucket() -> None:
    with pipeline() as root:
        bits = root | "bits" >> beam.Create([BITS])
        chunked = root | beam.Create([make_chunked(chunks, doc_id) for chunks, doc_id in DOCUMENTS])
        tables = chunked | PackChunks(bits) | GroupByText(bits, every_bucket=False)
        found = tables | beam.Map(rows_of) | beam.Map(lambda b: (b[0], sorted(row["chunk"] for row in b[1])))
        assert_that(found, equal_to(list(grouped(DOCUMENTS).items())))


def test_every_column_of_a_chunk_arrives() -> None:
    expected = merge_chunks([]).schema.names
    with pipeline() as root:
        bits = root | "bits" >> beam.Create([0])
        chunked = root | beam.Create([make_chunked(["one", "two words"], metadata='{"title": "t"}', lead="query: ")])
        tables = chunked | PackChunks(bits) | GroupByText(bits, every_bucket=False)
        rows = make_rows(["one", "two words"], metadata='{"title": "t"}', lead="query: ").to_pylist()
        ordered = sorted(rows, key=lambda row: row["text_hash"])
        assert_that(tables | beam.Map(rows_of), equal_to([(0, ordered)]))
    assert list(ordered[0]) == expected


def test_buckets_without_chunks_get_a_table_when_every_bucket_is_asked_for() -> None:
    documents = [(["only one"], "a.md")]
    with pipeline() as root:
        bits = root | "bits" >> beam.Create([BITS])
        chunked = root | beam.Create([make_chunked(*documents[0])])
        tables = chunked | PackChunks(bits) | GroupByText(bits, every_bucket=True)
        found = tables | beam.Map(rows_of) | beam.Map(lambda b: (b[0], sorted(row["chunk"] for row in b[1])))
        assert_that(found, equal_to(list(grouped(documents, every_bucket=True).items())))


def test_bits_follow_from_the_listed_sizes() -> None:
    found = [(FoundDocument(f"{n}.md", f"{n}.md", 4_000_000),) for n in range(10)]
    with pipeline() as root:
        # 40 MB of 4-byte tokens at 100 new tokens a chunk are 100,000 rows of 40 bytes: 4 parts of 1 MB.
        bits = root | beam.Create(found) | ChooseBuckets(100, 10, 1, None)
        assert_that(bits, equal_to([2]))


def test_nothing_found_is_one_bucket() -> None:
    with pipeline() as root:
        assert_that(root | beam.Create([]) | ChooseBuckets(100, 10, 1, None), equal_to([0]))
