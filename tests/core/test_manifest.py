import dataclasses
import json

import pytest

from tests.storage.builders import STAMP
from transforms.core.manifest import Manifest, PartEntry, check_complete, parse_manifest
from transforms.errors import FatalError


def make_manifest(rows: int = 5, chunks: int = 6, chunks_rejected: int = 1) -> Manifest:
    return Manifest(
        version=3,
        created_at="2026-01-01T00:00:00+00:00",
        parts=(
            PartEntry("versions/000003/part-00000-of-00002.parquet", 2, 100, "aa"),
            PartEntry("versions/000003/part-00001-of-00002.parquet", 3, 200, "bb"),
        ),
        rows=rows,
        model="tiny",
        dimensions=4,
        stamp=STAMP,
        config_fingerprint="0123",
        chunking={"max_tokens": 512, "splitter": "größte"},
        previous_version=2,
        summary={"chunks": chunks, "chunks_rejected": chunks_rejected, "cost_usd": None},
        canary="AACAPw==",
    )


def test_a_manifest_is_read_back_equal() -> None:
    assert parse_manifest(make_manifest().to_json()) == make_manifest()


def test_the_same_manifest_gives_the_same_bytes_with_the_documented_keys_in_order() -> None:
    data = make_manifest().to_json()
    assert data == parse_manifest(data).to_json()
    assert data.endswith(b"}\n")
    assert " ".join(json.loads(data)) == (
        "format version created_at parts rows model dimensions stamp config_fingerprint chunking previous_version "
        "summary canary"
    )


def test_another_format_is_refused_by_name() -> None:
    data = make_manifest().to_json().replace(b"embedbeam/1", b"embedbeam/9")
    with pytest.raises(
        FatalError, match=r"x/manifest\.json has format 'embedbeam/9', and this release reads 'embedbeam/1'"
    ):
        parse_manifest(data, "x/manifest.json")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        pytest.param(b'{"format": "embed', "is no JSON", id="half a file"),
        pytest.param(b"\x00" * 50, "is no JSON", id="zeros after power loss"),
        pytest.param(b"[]", "must hold a JSON object, but holds a list", id="another shape"),
    ],
)
def test_what_is_no_manifest_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(FatalError, match=message):
        parse_manifest(data)


@pytest.mark.parametrize(
    ("path", "named"), [(["rows"], "lacks rows"), (["stamp", "model"], "lacks stamp.model"), (["parts"], "lacks parts")]
)
def test_a_missing_field_is_named(path: list[str], named: str) -> None:
    found = json.loads(make_manifest().to_json())
    holder = found
    for name in path[:-1]:
        holder = holder[name]
    del holder[path[-1]]
    with pytest.raises(FatalError, match=named):
        parse_manifest(json.dumps(found).encode())


def test_a_missing_field_of_a_part_is_named() -> None:
    found = json.loads(make_manifest().to_json())
    del found["parts"][1]["sha256"]
    with pytest.raises(FatalError, match=r"lacks parts\.sha256"):
        parse_manifest(json.dumps(found).encode())


def test_fields_of_a_later_release_are_passed_over() -> None:
    found = json.loads(make_manifest().to_json())
    found["later"] = 1
    found["stamp"]["later"] = 1
    assert parse_manifest(json.dumps(found).encode()) == make_manifest()


def test_a_manifest_without_a_canary_is_read() -> None:
    found = json.loads(make_manifest().to_json())
    del found["canary"]
    assert parse_manifest(json.dumps(found).encode()).canary == ""


def test_counts_that_add_up_pass() -> None:
    check_complete(make_manifest())


@pytest.mark.parametrize(
    ("manifest", "message"),
    [
        pytest.param(make_manifest(rows=6, chunks=7), "says 6 rows and its parts hold 5", id="rows"),
        pytest.param(make_manifest(chunks=7), "7 chunks are not 5 rows and 1 rejected", id="chunks"),
    ],
)
def test_counts_that_do_not_add_up_are_refused_with_the_numbers(manifest: Manifest, message: str) -> None:
    with pytest.raises(FatalError, match=message):
        check_complete(manifest)


def test_two_parts_of_one_path_and_empty_parts_are_refused() -> None:
    part = PartEntry("p", 0, 1, "a")
    manifest = dataclasses.replace(make_manifest(rows=0, chunks=1), parts=(part, part))
    with pytest.raises(FatalError, match="two parts have the same path; p has 0 rows"):
        check_complete(manifest)
