"""``embedbeam search``: exact order, filters, and a key that goes only where it belongs."""

import base64
import json
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.commands.nearest import RowFilter, find_nearest
from pipeline.commands.snippet import best_excerpt
from tests.support.commands import run_command
from tests.support.datasets import DatasetBuilder, Embed, Vectors, embed_by_hash, make_stamp
from transforms.clients.static_model import MODEL_NAME, load_static_model
from transforms.core.identity import chunk_ids
from transforms.errors import ConfigError, ProviderRefused, RunRefused
from transforms.storage.store import open_store

HANDBOOK = {
    "sea/tides.md": [
        "The tide comes in twice a day because the Moon pulls at the sea.",
        "Spring tides are the largest.",
    ],
    "kitchen/bread.md": ["Yeast makes bread dough rise.", "Stale bread becomes fresh again in the toaster."],
    "machines/locks.md": ["A key lifts the pins of a lock to the shear line."],
}


@pytest.fixture(autouse=True)
def eighty_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")


def embed_locally(texts: Sequence[str]) -> Vectors:
    vectors = [found.vector for found in load_static_model(256).embed(texts)]
    return np.stack([vector for vector in vectors if vector is not None])


def build_handbook(root: Path, metadata: str = "{}") -> None:
    DatasetBuilder(root, make_stamp(MODEL_NAME, 256), embed_locally).commit(HANDBOOK, metadata)


def doc_ids(text: str) -> list[str]:
    return [hit["doc_id"] for hit in json.loads(text)["hits"]]


def test_the_local_model_finds_the_right_chunk(tmp_path: Path) -> None:
    build_handbook(tmp_path)
    code, text = run_command("search", str(tmp_path), "why does stale bread become fresh", "-k", "1")
    assert code == 0
    lines = text.splitlines()
    assert lines[0] == f"1 nearest of 5 chunks  ({tmp_path}, version 1, {MODEL_NAME})"
    assert lines[1] == ""
    assert lines[2].startswith(" 1 0.") or lines[2].startswith(" 1 1.")
    assert lines[2].endswith("  kitchen/bread.md, characters 30 to 77")
    assert lines[3:] == ["   Stale bread becomes fresh again in the toaster."]


def test_json_is_one_object_with_whole_rows(tmp_path: Path) -> None:
    build_handbook(tmp_path, '{"lang":"en"}')
    _, text = run_command("search", str(tmp_path), "the key of a lock", "-k", "2", "--json")
    found = json.loads(text)
    assert text.count("\n") == 1
    assert [hit["rank"] for hit in found["hits"]] == [1, 2]
    first = found["hits"][0]
    assert first.pop("score") > found["hits"][1]["score"]
    chunk = HANDBOOK["machines/locks.md"][0]
    assert first == {
        "rank": 1,
        "id": chunk_ids("machines/locks.md", [chunk])[0],
        "doc_id": "machines/locks.md",
        "source_uri": "docs/machines/locks.md",
        "chunk_index": 0,
        "start_char": 0,
        "end_char": len(chunk),
        "token_count": len(chunk.split()),
        "metadata": {"lang": "en"},
        "chunk": chunk,
    }
    assert (found["version"], found["model"], found["query"]) == (1, MODEL_NAME, "the key of a lock")
    assert found["chunks_compared"] == 5


@pytest.mark.parametrize("glob", ["kitchen/*", "docs/kitchen/*", "*bread*"])
def test_where_source_matches_document_or_address(tmp_path: Path, glob: str) -> None:
    build_handbook(tmp_path)
    _, text = run_command("search", str(tmp_path), "tide", "--where-source", glob, "--json")
    assert set(doc_ids(text)) == {"kitchen/bread.md"}
    assert json.loads(text)["chunks_compared"] == 2


@pytest.mark.parametrize(
    ("metadata", "pairs", "found"),
    [
        pytest.param('{"lang":"en"}', ["lang=en"], 5, id="text"),
        pytest.param('{"lang":"en"}', ["lang=de"], 0, id="other text"),
        pytest.param('{"year":1999}', ["year=1999"], 5, id="number"),
        pytest.param('{"draft":true}', ["draft=true"], 5, id="boolean"),
        pytest.param('{"tags":["a","b"]}', ["tags=b"], 5, id="in a list"),
        pytest.param('{"a":"1","b":"2"}', ["a=1", "b=3"], 0, id="all must hold"),
        pytest.param('{"path":"x=y"}', ["path=x=y"], 5, id="value with an equals sign"),
        pytest.param("{}", ["lang=en"], 0, id="no metadata"),
    ],
)
def test_where_metadata_compares_as_the_command_line_spells_it(
    tmp_path: Path, metadata: str, pairs: list[str], found: int
) -> None:
    build_handbook(tmp_path, metadata)
    options = [word for pair in pairs for word in ("--where-metadata", pair)]
    _, text = run_command("search", str(tmp_path), "tide", "--json", *options)
    assert len(json.loads(text)["hits"]) == found


def test_a_filter_that_nothing_passes_is_said(tmp_path: Path) -> None:
    build_handbook(tmp_path)
    code, text = run_command("search", str(tmp_path), "tide", "--where-source", "moon/*")
    assert (code, text) == (0, f"no chunk of {tmp_path} passes the filter (5 chunks in version 1)\n")


@pytest.mark.parametrize("k", [1, 7, 40, 500])
@pytest.mark.parametrize("normalized", [True, False])
@pytest.mark.parametrize("vector_type", ["float32", "float16"])
def test_the_order_is_that_of_a_plain_sort(tmp_path: Path, k: int, normalized: bool, vector_type: str) -> None:
    lengths = embed_by_hash(3)

    def embed(texts: Sequence[str]) -> Vectors:
        vectors = embed_by_hash(8)(texts)
        scale = 1.0 if normalized else 0.1 + np.abs(lengths(texts)[:, :1]) * 7
        return np.asarray(vectors * scale, np.float32)

    builder = DatasetBuilder(
        tmp_path, make_stamp(dimensions=8, normalized=normalized), embed, bits=2, row_group_size=13
    )
    builder.vector_type = vector_type
    chunks = [f"chunk {number}" for number in range(300)]
    manifest = builder.commit({"a.md": chunks})
    query = np.random.default_rng(1).standard_normal(8).astype(np.float32)
    stored = embed(chunks).astype(vector_type).astype(np.float64)
    cosines = stored @ query.astype(np.float64) / np.linalg.norm(stored, axis=1) / np.linalg.norm(query)
    expected = [chunks[at] for at in np.argsort(-cosines)[:k]]
    hits, compared = find_nearest(
        open_store(str(tmp_path)), manifest, query, k, RowFilter(), ["chunk"], rows_at_once=50
    )
    assert [hit.row["chunk"] for hit in hits] == expected
    assert [hit.score for hit in hits] == pytest.approx(sorted(cosines, reverse=True)[:k], abs=1e-6)
    assert compared == 300


def test_equal_scores_come_in_the_order_of_their_ids(tmp_path: Path) -> None:
    vector = embed_by_hash(7)(["some text"])

    def embed_alike(texts: Sequence[str]) -> Vectors:
        return np.repeat(vector, len(texts), axis=0)

    builder = DatasetBuilder(tmp_path, make_stamp(dimensions=7), embed_alike, bits=3, row_group_size=3)
    chunks = [f"chunk {number}" for number in range(40)]
    manifest = builder.commit({"a.md": chunks})
    query = embed_by_hash(7)(["a query"])[0]
    hits, _ = find_nearest(open_store(str(tmp_path)), manifest, query, 11, RowFilter(), ["id"])
    ids = sorted(chunk_ids("a.md", chunks))
    assert [hit.id for hit in hits] == ids[:11]
    assert len({hit.score for hit in hits}) == 1


@pytest.mark.parametrize("query", ["", "  \n"])
def test_an_empty_query_is_a_usage_error(tmp_path: Path, query: str) -> None:
    with pytest.raises(ConfigError, match="the query is empty"):
        run_command("search", str(tmp_path), query)


def test_bytes_that_are_no_text_are_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="not valid text in this terminal's encoding"):
        run_command("search", str(tmp_path), "caf\udce9")


def test_no_dataset_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no dataset at"):
        run_command("search", str(tmp_path), "tide")


def test_an_excerpt_begins_with_the_sentence_that_answers() -> None:
    chunk = (
        "Nothing to see here. " * 10
        + "The owl hears a mouse under leaves. It flies in silence. "
        + "More words follow. " * 10
    )
    excerpt = best_excerpt(chunk, "how does an owl hear a mouse", 100)
    assert (
        excerpt
        == "… The owl hears a mouse under leaves. It flies in silence. More words follow. More words follow. More …"
    )


def test_a_short_chunk_is_shown_whole_on_one_line() -> None:
    assert best_excerpt("two\n\nlines", "x", 80) == "two lines"


@pytest.mark.parametrize(
    ("chunk", "shown"),
    [
        pytest.param("## Spring and neap\n\nAt new Moon", "Spring and neap — At new Moon", id="Markdown"),
        pytest.param("Setext\n======\n\nText with a - dash", "Setext — Text with a - dash", id="underlined"),
        pytest.param("Text.\n\n### Only a heading", "Text. Only a heading", id="heading at the end"),
        pytest.param("a\n---\nb #1", "a — b #1", id="a hash inside a line stays"),
    ],
)
def test_headings_are_shown_without_their_marks(chunk: str, shown: str) -> None:
    assert best_excerpt(chunk, "x", 80) == shown


def test_the_title_stands_behind_the_place_and_is_cut_to_the_width(tmp_path: Path) -> None:
    build_handbook(tmp_path, json.dumps({"title": "A title " * 20}))
    _, text = run_command("search", str(tmp_path), "the key of a lock", "-k", "1")
    head = text.splitlines()[2]
    assert head[8:58] == "  machines/locks.md, characters 0 to 49, A title A"
    assert len(head) <= 80
    assert head.endswith("…")


def test_a_chunk_that_shares_no_word_is_shown_from_its_beginning() -> None:
    assert best_excerpt("alpha beta gamma. " * 20, "omega", 20) == "alpha beta gamma. …"


@dataclass
class Endpoint:
    """An OpenAI-compatible endpoint on loopback that embeds with ``embed``."""

    embed: Embed
    base_url: str = ""
    keys: list[str] = field(default_factory=list)
    inputs: list[str] = field(default_factory=list)
    dimensions: list[int | None] = field(default_factory=list)
    status: int = 200

    def answer(self, request: dict[str, Any], key: str) -> dict[str, Any]:
        self.keys.append(key)
        self.inputs += request["input"]
        self.dimensions.append(request.get("dimensions"))
        if self.status != 200:
            return {"error": {"message": "Incorrect API key provided", "code": "invalid_api_key"}}
        vectors = self.embed(request["input"])
        if request.get("dimensions"):
            vectors = vectors[:, : request["dimensions"]]
            vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
        encoded = request.get("encoding_format") == "base64"
        data = [
            {
                "object": "embedding",
                "index": index,
                "embedding": base64.b64encode(vector.tobytes()).decode() if encoded else vector.tolist(),
            }
            for index, vector in enumerate(vectors)
        ]
        usage = {"prompt_tokens": len(data), "total_tokens": len(data)}
        return {"object": "list", "model": request["model"], "data": data, "usage": usage}


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    served = Endpoint(embed_by_hash(16))

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            body = json.dumps(served.answer(request, self.headers.get("Authorization", ""))).encode()
            self.send_response(served.status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Keep requests off the screen."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    served.base_url = f"http://127.0.0.1:{server.server_port}/v1"
    yield served
    server.shutdown()
    server.server_close()
    thread.join()


def build_served(root: Path, endpoint: Endpoint, dimensions: int = 16, canary: str = "", base_url: str = "") -> None:
    host = "127.0.0.1"
    stamp = make_stamp("served-model", dimensions, host)
    vectors = endpoint.embed

    def shortened(texts: Sequence[str]) -> Vectors:
        found = vectors(texts)[:, :dimensions]
        return np.asarray(found / np.linalg.norm(found, axis=1, keepdims=True), np.float32)

    DatasetBuilder(root, stamp, shortened, base_url=base_url or endpoint.base_url, canary=canary).commit(HANDBOOK)


def test_the_endpoint_that_made_the_dataset_embeds_the_query(
    tmp_path: Path, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COMETAPI_KEY", "sk-test-1")
    build_served(tmp_path, endpoint)
    _, text = run_command("search", str(tmp_path), "Yeast makes bread dough rise.", "-k", "1", "--json")
    hit = json.loads(text)["hits"][0]
    assert (hit["chunk"], hit["score"]) == ("Yeast makes bread dough rise.", 1.0)
    assert set(endpoint.keys) == {"Bearer sk-test-1"}
    assert endpoint.inputs[-1] == "Yeast makes bread dough rise."
    assert set(endpoint.dimensions) == {None}


def test_vectors_that_were_shortened_are_asked_for_at_their_length(
    tmp_path: Path, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COMETAPI_KEY", "sk-test-1")
    build_served(tmp_path, endpoint, dimensions=6)
    _, text = run_command("search", str(tmp_path), "Spring tides are the largest.", "-k", "1", "--json")
    assert json.loads(text)["hits"][0]["score"] == 1.0
    assert endpoint.dimensions[-1] == 6


def test_a_query_prefix_is_sent_before_the_query(
    tmp_path: Path, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COMETAPI_KEY", "sk-test-1")
    build_served(tmp_path, endpoint)
    run_command("search", str(tmp_path), "tide", "--query-prefix", "query: ")
    assert endpoint.inputs[-1] == "query: tide"


def test_base_url_and_key_variable_can_be_named(
    tmp_path: Path, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COMETAPI_KEY", raising=False)
    monkeypatch.setenv("OTHER_KEY", "sk-test-2")
    build_served(tmp_path, endpoint, base_url="https://elsewhere.example/v1")
    run_command("search", str(tmp_path), "tide", "--base-url", endpoint.base_url, "--api-key-env", "OTHER_KEY")
    assert set(endpoint.keys) == {"Bearer sk-test-2"}


def test_a_server_without_keys_gets_none(tmp_path: Path, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMETAPI_KEY", "sk-test-1")
    build_served(tmp_path, endpoint)
    run_command("search", str(tmp_path), "tide", "--api-key-env", "")
    assert set(endpoint.keys) == {""}


@pytest.mark.parametrize(
    "host", ["https://evil.example/v1", "https://cometapi.com.evil.example/v1", "http://api.cometapi.com/v1"]
)
def test_a_dataset_cannot_draw_the_default_key_to_another_host(
    tmp_path: Path, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    monkeypatch.setenv("COMETAPI_KEY", "sk-test-1")
    build_served(tmp_path, endpoint, base_url=host)
    with pytest.raises(ConfigError, match=r"Searching sends your query and an API key there: name the variable"):
        run_command("search", str(tmp_path), "tide")
    assert endpoint.keys == []


def test_a_missing_key_is_named(tmp_path: Path, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COMETAPI_KEY", raising=False)
    build_served(tmp_path, endpoint)
    with pytest.raises(ConfigError, match="COMETAPI_KEY"):
        run_command("search", str(tmp_path), "tide")


def test_a_refused_key_ends_the_search(tmp_path: Path, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMETAPI_KEY", "sk-wrong")
    build_served(tmp_path, endpoint)
    endpoint.status = 401
    with pytest.raises(ProviderRefused) as caught:
        run_command("search", str(tmp_path), "tide")
    assert "sk-wrong" not in str(caught.value)


def test_a_base_url_that_is_none_is_a_usage_error(tmp_path: Path, endpoint: Endpoint) -> None:
    build_served(tmp_path, endpoint)
    with pytest.raises(ConfigError, match="cannot embed the query: base_url must begin with"):
        run_command("search", str(tmp_path), "tide", "--base-url", "ftp://x")


def test_an_endpoint_of_another_length_is_refused(
    tmp_path: Path, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COMETAPI_KEY", "sk-test-1")
    build_served(tmp_path, endpoint)
    endpoint.embed = embed_by_hash(12)
    with pytest.raises((ProviderRefused, RunRefused), match="12"):
        run_command("search", str(tmp_path), "tide")


def test_a_model_that_changed_behind_its_name_is_said(
    tmp_path: Path, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COMETAPI_KEY", "sk-test-1")
    other = base64.b64encode(embed_by_hash(16)(["another model"])[0].tobytes()).decode()
    build_served(tmp_path, endpoint, canary=other)
    code, _ = run_command("search", str(tmp_path), "tide")
    assert code == 0
    assert "served-model has changed since this dataset was made" in capsys.readouterr().err
