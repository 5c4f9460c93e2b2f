"""What a finished run contains: a version's manifest as a record, to JSON and back; whether its counts add up."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from transforms.core.vector_coding import VectorCoding
from transforms.errors import FatalError

FORMAT = "embedbeam/1"
"""Changes when an older reader would misread a manifest; fields may be added without it."""


_REMEDY = "restore it from a backup or write to a new dataset path"


@dataclass(frozen=True, slots=True)
class PartEntry:
    """One committed part.

    Attributes:
        path: relative to the dataset's root, as in ``versions/000003/part-00000-of-00016.parquet``.
        rows: 1 or more; a bucket without rows has no part.
        sha256: hex digest of the file's bytes.
    """

    path: str
    rows: int
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Stamp:
    """What a vector of this dataset means; equal stamps make vectors comparable.

    Attributes:
        model: the name exactly as sent to the endpoint.
        dimensions: length of every vector.
        model_reported: the name the endpoint gave back, "" where it did not.
        base_url_host: host of the endpoint, "" for the local model.
        normalized: whether all vectors have length 1.
        input_prefix: what was put before every chunk before it was sent.
        chunker: how texts were cut, as a JSON object.
        column: the column that holds the vectors.
        spec_version: of these keys.
        context: what else was put before a chunk, as ``embedding.context`` names it; "" where nothing was.
        quantization: int8 or binary, as in ``core.vector_coding``; "" where the numbers themselves are stored.
        scales: of int8, base64 of float32 little-endian; "" otherwise.
        source_dimensions: how long the model's own vectors are, where these were made shorter afterwards; 0 otherwise.
    """

    model: str
    dimensions: int
    model_reported: str
    base_url_host: str
    normalized: bool
    input_prefix: str
    chunker: str
    column: str = "vector"
    spec_version: int = 1
    context: str = ""
    quantization: str = ""
    scales: str = ""
    source_dimensions: int = 0

    def coding(self) -> VectorCoding:
        """Return how to read the vector column; float16 reads as float32 does."""
        return VectorCoding(self.dimensions, self.quantization or "float32", self.scales)


@dataclass(frozen=True, slots=True)
class Manifest:
    """One committed version.

    Attributes:
        version: 1 or more.
        created_at: ISO-8601 UTC, handed in by the run.
        parts: in bucket order; ``rows`` is their sum.
        config_fingerprint: names the configuration that made this version.
        chunking: the settings of the chunker.
        previous_version: the version that this one grew from; 0 when it is the first.
        summary: the run's summary, as printed.
        canary: the fixed sentence's vector, base64 of float32 little-endian bytes; "" when none was asked for.
        derived: for a dataset that was made from another one, from which and how; empty otherwise.
    """

    version: int
    created_at: str
    parts: tuple[PartEntry, ...]
    rows: int
    model: str
    dimensions: int
    stamp: Stamp
    config_fingerprint: str
    chunking: Mapping[str, Any]
    previous_version: int
    summary: Mapping[str, Any]
    canary: str = ""
    derived: Mapping[str, Any] = field(default_factory=dict)
    format: str = field(default=FORMAT)

    def to_json(self) -> bytes:
        """Return the manifest's bytes: keys in the documented order, indented, one newline at the end.

        What only some datasets have, such as derived ones, is left out of all others.
        """
        named = asdict(self)
        for place, names in ((named["stamp"], _LEFT_OUT_OF_STAMPS), (named, ("derived",))):
            for name in names:
                if not place[name]:
                    del place[name]
        ordered = {"format": named.pop("format"), **named}
        return (json.dumps(ordered, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()


def parse_manifest(data: bytes, source: str = "manifest.json") -> Manifest:
    """Return the manifest that ``to_json`` wrote; fields that this release does not know are left out.

    ``source`` says in messages what the bytes were read from.

    Raises:
        FatalError: no JSON object, another format, or a missing field, each named.
    """
    try:
        found = json.loads(data)
    except ValueError as error:
        raise FatalError(
            f"{source} is no JSON ({error}); restore it from a backup or write to a new dataset path"
        ) from None
    if not isinstance(found, dict):
        raise FatalError(f"{source} must hold a JSON object, but holds a {type(found).__name__}")
    if found.get("format") != FORMAT:
        raise FatalError(
            f"{source} has format {found.get('format')!r}, and this release reads {FORMAT!r}; "
            "use the release that wrote it, or write to a new dataset path"
        )
    known = _take_fields(found, Manifest, source, "")
    known["stamp"] = Stamp(**_take_fields(found["stamp"], Stamp, source, "stamp."))
    known["parts"] = tuple(PartEntry(**_take_fields(part, PartEntry, source, "parts.")) for part in found["parts"])
    return Manifest(**known)


def _take_fields(found: Mapping[str, Any], kind: type, source: str, prefix: str) -> dict[str, Any]:
    """Return the values of a record's fields; those with a default may be missing (a canary, say)."""
    required = [f.name for f in fields(kind) if f.name not in _HAVE_DEFAULTS]
    missing = [prefix + name for name in required if name not in found]
    if missing:
        raise FatalError(
            f"{source} lacks {', '.join(missing)}; restore it from a backup or write to a new dataset path"
        )
    return {f.name: found[f.name] for f in fields(kind) if f.name in found}


_LEFT_OUT_OF_STAMPS = ("context", "quantization", "scales", "source_dimensions")
_HAVE_DEFAULTS = frozenset({"canary", "column", "spec_version", "format", "derived", *_LEFT_OUT_OF_STAMPS})


def check_complete(manifest: Manifest) -> None:
    """Refuse a version whose counts do not add up; chunks and chunks_rejected are those of its summary.

    Raises:
        FatalError: rows are not the sum of the parts' rows, chunks are not rows plus rejected chunks, two parts share a
            path, or a part has no rows; with the numbers.
    """
    chunks, chunks_rejected = manifest.summary["chunks"], manifest.summary["chunks_rejected"]
    in_parts = sum(part.rows for part in manifest.parts)
    paths = {part.path for part in manifest.parts}
    problems = []
    if manifest.rows != in_parts:
        problems.append(f"the manifest says {manifest.rows} rows and its parts hold {in_parts}")
    if chunks != manifest.rows + chunks_rejected:
        problems.append(f"{chunks} chunks are not {manifest.rows} rows and {chunks_rejected} rejected chunks")
    if len(paths) != len(manifest.parts):
        problems.append("two parts have the same path")
    problems += [f"{part.path} has {part.rows} rows" for part in manifest.parts if part.rows < 1]
    if problems:
        raise FatalError(
            f"version {manifest.version} is not committed, because its counts do not add up: {'; '.join(problems)}. "
            "What was paid stays in the journal; please report this"
        )
