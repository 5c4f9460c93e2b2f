"""The embedded model: the package's own vectors, the same bits whatever else is going on, and honest errors."""

import json
import random
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path

import numpy as np
import pytest

from transforms.clients.base import Answer, EmbeddingClient, EndpointFacts, Refusal
from transforms.clients.local import CANARY, LocalClient
from transforms.clients.static_model import MODEL_NAME, load_static_model
from transforms.errors import ConfigError, RunInterrupted
from transforms.records import Usage

TEXTS = [
    "The tide is a wave as long as the ocean.",
    "  Two spaces in front,\r\na line feed inside, and a tab\there.",
    "麦芽とホップ、水と酵母。",
    "Zażółć gęślą jaźń 🦉🦉 — naïve café",
    "x" * 5000,
    " ",
    "def main():\n    return {'a': 1}\n\n\n",
]

PACKAGE_EMBEDS = """
import json, sys
from pathlib import Path
import wordllama
model = wordllama.WordLlama.load(cache_dir=Path(wordllama.__file__).parent, disable_download=True)
texts = json.load(sys.stdin)
tokens = [model.tokenizer.encode(text, add_special_tokens=False).ids for text in texts]
vectors = [model.embed(text, norm=True)[0].tolist() for text in texts]
print(json.dumps({"vectors": vectors, "tokens": list(map(len, tokens))}))
"""


@pytest.fixture
def client() -> Iterator[LocalClient]:
    opened = LocalClient(MODEL_NAME, None)
    yield opened
    opened.close(timeout_seconds=10)


def embed(client: EmbeddingClient, texts: list[str]) -> tuple[dict[int, bytes], tuple[Refusal, ...]]:
    vectors: dict[int, bytes] = {}

    def keep(answer: Answer) -> None:
        assert answer.vectors.dtype == np.float32
        for position, vector in zip(answer.positions, answer.vectors, strict=True):
            assert position not in vectors
            vectors[position] = vector.tobytes()

    refusals = client.submit(texts, [1] * len(texts), keep).result(timeout=60)
    return vectors, refusals


def vector(client: EmbeddingClient, text: str) -> np.ndarray:
    return np.frombuffer(embed(client, [text])[0][0], dtype=np.float32)


def test_vectors_and_token_counts_are_those_of_the_package_itself(client: LocalClient) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", PACKAGE_EMBEDS], input=json.dumps(TEXTS), capture_output=True, text=True, check=True
    )
    expected = json.loads(ran.stdout)
    for text, reference in zip(TEXTS, expected["vectors"], strict=True):
        assert float(vector(client, text) @ np.array(reference, np.float32)) == pytest.approx(1.0, abs=1e-6)
    assert client.usage() == Usage(requests=len(TEXTS), prompt_tokens=sum(expected["tokens"]))
    assert client.usage().requests_in_flight == 0


def test_vectors_have_length_one(client: LocalClient) -> None:
    for text in TEXTS:
        assert float(np.linalg.norm(vector(client, text).astype(np.float64))) == pytest.approx(1.0, abs=1e-6)


def test_a_text_gives_the_same_bits_in_any_company_and_order(client: LocalClient) -> None:
    draw = random.Random(7)
    words = ["tide", "moon", "wave", "bread", "yeast", "gear", "chain", "owl", "salt", "Ωmega", "12,345", "(lens)"]
    texts = [" ".join(draw.choices(words, k=draw.randrange(1, 300))) for _ in range(400)]
    expected, _ = embed(client, texts)
    alone = LocalClient(MODEL_NAME, None)
    for position in draw.sample(range(len(texts)), 20):
        assert embed(alone, [texts[position]])[0][0] == expected[position]
    order = draw.sample(range(len(texts)), len(texts))
    shuffled, _ = embed(alone, [texts[position] for position in order])
    assert [shuffled[place] for place in range(len(order))] == [expected[position] for position in order]
    alone.close(timeout_seconds=10)


def test_the_bits_do_not_depend_on_the_number_of_threads() -> None:
    script = (
        "import sys, hashlib\n"
        "from transforms.clients.static_model import load_static_model\n"
        "texts = [f'chunk {n} of the tide tables: ' + 'moon and sun, neap and spring; ' * n for n in range(60)]\n"
        "found = load_static_model(256).embed(texts)\n"
        "print(hashlib.sha256(b''.join(text.vector.tobytes() for text in found)).hexdigest())\n"
    )
    digests = set()
    for threads in ("1", "4"):
        environment = {"RAYON_NUM_THREADS": threads, "OMP_NUM_THREADS": threads, "OPENBLAS_NUM_THREADS": threads}
        environment["TOKENIZERS_PARALLELISM"] = "false" if threads == "1" else "true"
        repository = Path(__file__).parents[2]
        ran = subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, check=True, env=environment, cwd=repository
        )
        digests.add(ran.stdout)
    assert len(digests) == 1


@pytest.mark.parametrize("dimensions", [64, 128])
def test_shorter_vectors_are_prefixes_of_length_one(client: LocalClient, dimensions: int) -> None:
    short = LocalClient(MODEL_NAME, dimensions)
    prefix = vector(client, TEXTS[0])[:dimensions].astype(np.float64)
    assert short.prove().dimension == dimensions
    np.testing.assert_allclose(vector(short, TEXTS[0]), prefix / np.linalg.norm(prefix), atol=1e-6)
    short.close(timeout_seconds=10)


def test_a_text_without_tokens_is_refused_and_its_neighbours_are_embedded(client: LocalClient) -> None:
    vectors, refusals = embed(client, ["salt", "", "ink"])
    message = "the text has no tokens that wordllama-l2-256 knows"
    assert refusals == (Refusal(1, "no_tokens", message, attempts=1, request_id=""),)
    assert sorted(vectors) == [0, 2]
    assert vectors[0] == embed(client, ["salt"])[0][0]


def test_a_markup_tag_that_looks_like_a_control_token_is_text(client: LocalClient) -> None:
    client.submit(["<s>"], [1], lambda answer: None).result(timeout=60)
    assert client.usage().prompt_tokens == 3


def test_more_texts_than_fit_one_request_come_in_several_answers(client: LocalClient) -> None:
    answers: list[Answer] = []
    texts = [f"text {number}" for number in range(600)]
    assert client.submit(texts, [3] * 600, answers.append).result(timeout=60) == ()
    assert [answer.positions for answer in answers] == [
        tuple(range(256)),
        tuple(range(256, 512)),
        tuple(range(512, 600)),
    ]
    assert client.usage().requests == 3
    assert client.usage().prompt_tokens == sum(answer.prompt_tokens for answer in answers)
    assert client.request_limits().max_inputs == 256


def test_prove_states_the_facts_and_costs_no_request(client: LocalClient) -> None:
    expected = EndpointFacts(256, MODEL_NAME, normalized=True, base64=False, canary=client.prove().canary)
    assert client.prove() == expected
    assert client.usage() == Usage()
    assert client.limited_by() == "cpu"
    assert expected.canary == vector(client, CANARY).astype("<f4").tobytes()


def test_a_stopped_client_embeds_nothing_more(client: LocalClient) -> None:
    client.stop("another thread met a fatal error")
    future = client.submit(["salt"], [1], lambda answer: None)
    with pytest.raises(RunInterrupted, match="the run stops: another thread met a fatal error"):
        future.result(timeout=60)
    assert client.usage() == Usage()


def test_the_answer_is_handed_over_before_the_future_is_done(client: LocalClient) -> None:
    release, seen = threading.Event(), []
    futures: list[Future[tuple[Refusal, ...]]] = []

    def hold(answer: Answer) -> None:
        release.wait(timeout=60)
        seen.append(futures[0].done())

    futures.append(client.submit(["salt"], [1], hold))
    assert not futures[0].done()
    release.set()
    assert futures[0].result(timeout=60) == ()
    assert seen == [False]


def test_what_the_journal_raises_reaches_the_caller(client: LocalClient) -> None:
    def fail(answer: Answer) -> None:
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        client.submit(["salt"], [1], fail).result(timeout=60)


def test_close_finishes_the_call_at_work_and_drops_what_waits_behind_it() -> None:
    client = LocalClient(MODEL_NAME, 64)
    begun, release = threading.Event(), threading.Event()
    answers: list[Answer] = []

    def hold(answer: Answer) -> None:
        begun.set()
        release.wait(timeout=60)
        answers.append(answer)

    first = client.submit(["salt"], [1], hold)
    second = client.submit(["ink"], [1], hold)
    assert begun.wait(timeout=60)
    client.close(timeout_seconds=0)
    assert not first.done()
    release.set()
    assert first.result(timeout=60) == ()
    assert second.cancelled()
    assert len(answers) == 1


@pytest.mark.parametrize(
    ("model", "dimensions", "message"),
    [
        pytest.param("gpt-9", None, "embedding.model is 'gpt-9'; .* one model: 'wordllama-l2-256'", id="other model"),
        pytest.param(MODEL_NAME, 100, "embedding.dimensions is 100; .* has 64, 128, 256", id="other dimensions"),
    ],
)
def test_what_the_model_does_not_have_is_a_config_error(model: str, dimensions: int | None, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        LocalClient(model, dimensions)


@pytest.mark.parametrize("missing", ["wordllama", "tokenizers", "safetensors.numpy"])
def test_a_missing_package_is_a_config_error_that_names_the_extra(
    monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(ConfigError, match=r"pip install 'embedbeam\[local\]'"):
        LocalClient(MODEL_NAME, None)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        pytest.param(b"other weights", "has another wordllama/weights.*expected 64b47a2dc493", id="changed"),
        pytest.param(None, "lacks its file wordllama/weights/l2_supercat_256.safetensors", id="absent"),
    ],
)
def test_weights_other_than_promised_are_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, weights: bytes | None, message: str
) -> None:
    package = tmp_path / "wordllama"
    (package / "weights").mkdir(parents=True)
    (package / "__init__.py").write_text("")
    if weights is not None:
        (package / "weights" / "l2_supercat_256.safetensors").write_bytes(weights)
    monkeypatch.delitem(sys.modules, "wordllama", raising=False)
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ConfigError, match=message):
        load_static_model(256)
