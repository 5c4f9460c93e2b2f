import dataclasses

import apache_beam as beam
from apache_beam.testing.util import assert_that, equal_to

from tests.support.builders import make_chunked
from tests.support.pipelines import pipeline
from transforms.core.register import add_entries
from transforms.records import FileEntry
from transforms.remember import RememberFiles
from transforms.storage.registers import unpack_entries


def test_documents_and_unchanged_files_become_entries_and_records_those_of_their_file() -> None:
    records = [
        dataclasses.replace(make_chunked(chunks, f"b.jsonl#{n}"), file_id="b.jsonl", digest=b"b")
        for n, chunks in enumerate([["one", "two"], [], ["three"]])
    ]
    document = dataclasses.replace(make_chunked(["x"], "a.md"), file_id="a.md", digest=b"a")
    unchanged = FileEntry("c.md", b"c", 1, 0, 7)
    with pipeline() as root:
        chunked = root | "chunked" >> beam.Create([*records, document])
        packed = chunked | RememberFiles(root | "unchanged" >> beam.Create([unchanged]))
        entries = packed | beam.combiners.ToList() | beam.Map(lambda all_: add_entries(_unpacked(all_), ()))
        expected = [FileEntry("a.md", b"a", 1, 0, 1), FileEntry("b.jsonl", b"b", 3, 1, 3), unchanged]
        assert_that(entries, equal_to([expected]))


def _unpacked(batches: list[bytes]) -> list[FileEntry]:
    return [entry for packed in batches for entry in unpack_entries(packed)]
