"""RememberFiles: what the next run has to know of each file, so that it cuts only those that have changed."""

import dataclasses
from collections.abc import Iterator

import apache_beam as beam
from apache_beam.transforms.window import GlobalWindow
from apache_beam.utils.windowed_value import WindowedValue

from transforms.core.register import add_entries
from transforms.records import ChunkedDocument, FileEntry
from transforms.storage.registers import pack_entries

_MOST_ENTRIES = 50_000
"""Packed together: some megabytes."""


@dataclasses.dataclass
class RememberFiles(beam.PTransform):
    """Note the entry of each file: chunked documents and entries of unchanged files → packed entries, a few for a bundle.

    A file of records may be noted in several shares, which ``core.register.add_entries`` adds up. Repeating a bundle gives
    the same entries.

    Args:
        unchanged: of files that were not cut again.
    """

    unchanged: beam.PCollection[FileEntry]

    def expand(self, chunked: beam.PCollection[ChunkedDocument]) -> beam.PCollection[bytes]:
        """Apply to every document that was chunked."""
        note = beam.ParDo(_NoteFilesFn()).with_output_types(bytes)
        noted = (chunked | "Note chunked" >> note, self.unchanged | "Note unchanged" >> note)
        return noted | "All entries" >> beam.Flatten()


class _NoteFilesFn(beam.DoFn):
    def start_bundle(self) -> None:
        self._entries: list[FileEntry] = []

    def process(self, document: ChunkedDocument | FileEntry) -> Iterator[bytes]:
        self._entries.append(document if isinstance(document, FileEntry) else _entry_of(document))
        if len(self._entries) >= _MOST_ENTRIES:
            yield self._pack()

    def finish_bundle(self) -> Iterator[WindowedValue]:
        if self._entries:
            yield WindowedValue(self._pack(), GlobalWindow().max_timestamp(), (GlobalWindow(),))

    def _pack(self) -> bytes:
        packed = pack_entries(add_entries(self._entries, ()))
        self._entries = []
        return packed


def _entry_of(document: ChunkedDocument) -> FileEntry:
    spans = len(document.spans)
    return FileEntry(document.file_id, document.digest, 1, 0 if spans else 1, spans)
