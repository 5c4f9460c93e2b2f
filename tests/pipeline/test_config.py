from pathlib import Path
from typing import Any

import pytest

from pipeline.config import known_keys, load_config, parse_config
from transforms.core.lead import LeadSettings
from transforms.core.record_fields import RecordSettings
from transforms.errors import ConfigError

SMALLEST: dict[str, Any] = {"dataset": "out/x", "documents": {"paths": ["docs/*.md"]}, "embedding": {"model": "m"}}


def problems_of(tree: dict[str, Any]) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        parse_config(tree, "c.yaml")
    head, *lines = str(caught.value).splitlines()
    assert head == f"c.yaml: {len(lines)} problem{'s' if len(lines) > 1 else ''}"
    return [line.strip() for line in lines]


def test_smallest_config_has_the_defaults_of_the_contract() -> None:
    config = parse_config(SMALLEST, "c.yaml")
    assert (config.chunking.max_tokens, config.chunking.overlap_tokens, config.chunking.splitter) == (512, 64, "auto")
    assert config.endpoint.base_url == "https://api.cometapi.com/v1"
    assert config.endpoint.api_key_env == "COMETAPI_KEY"
    assert config.endpoint.dimensions is None
    assert (config.request_limits.max_inputs, config.request_limits.max_tokens) == (128, 300_000)
    assert (config.limits.requests_per_minute, config.limits.concurrent_requests) == (None, 8)
    assert (config.budget.max_cost_usd, config.budget.max_rejected_fraction) == (None, 0.01)
    assert (config.output.part_size_mb, config.output.vector_type, config.output.keep_versions) == (128, "float32", 2)


def test_local_provider_names_its_model_itself() -> None:
    config = parse_config({**SMALLEST, "embedding": {"provider": "local"}}, "c.yaml")
    assert (config.is_local, config.host, config.endpoint.model) == (True, "", "wordllama-l2-256")


def test_columns_of_records_are_read_from_the_config() -> None:
    assert parse_config(SMALLEST, "c.yaml").documents.records == RecordSettings("text", "", ())
    records = {"text_column": "body", "id_column": "key", "metadata_columns": ["lang"]}
    config = parse_config({**SMALLEST, "documents": {"paths": ["a"], "records": records}}, "c.yaml")
    assert config.documents.records == RecordSettings("body", "key", ("lang",))


def test_what_is_sent_before_chunks_is_read_from_the_config() -> None:
    embedding = {"model": "text-embedding-3-small", "input_prefix": "word " * 400, "context": "title_and_headings"}
    tree = {**SMALLEST, "documents": {"paths": ["a"], "modification_time": True}, "embedding": embedding}
    config = parse_config(tree, "c")
    assert (config.lead, config.documents.modification_time) == (
        LeadSettings("word " * 400, "title_and_headings"),
        True,
    )
    assert (
        config.fingerprint() != parse_config({**tree, "embedding": {**embedding, "context": "none"}}, "c").fingerprint()
    )


def test_all_problems_are_reported_together() -> None:
    tree = {
        "dataset": "",
        "documents": {"pats": ["x"]},
        "chunking": {"max_tokens": 0, "overlap_tokens": 3},
        "embedding": {"dimensions": -1},
        "bugdet": {},
    }
    assert problems_of(tree) == [
        "bugdet: unknown key; did you mean budget?",
        "chunking.max_tokens: input should be greater than or equal to 1, got 0",
        "dataset: string should have at least 1 character, got ''",
        "documents.pats: unknown key; did you mean documents.paths?",
        "embedding.dimensions: input should be greater than or equal to 1, got -1",
        "embedding.model: missing, and there is no sensible default",
    ]


@pytest.mark.parametrize(
    ("section", "values", "words"),
    [
        pytest.param("chunking", {"max_tokens": 10, "overlap_tokens": 10}, "chunking: overlap_tokens", id="overlap"),
        pytest.param("chunking", {"splitter": "magic"}, "chunking: splitter", id="splitter"),
        pytest.param("embedding", {"model": "m", "base_url": "api.x.com"}, "must begin with https://", id="no scheme"),
        pytest.param(
            "embedding", {"model": "m", "provider": "openai"}, "'openai-compatible' or 'local'", id="provider"
        ),
        pytest.param("embedding", {"model": "m", "profile": "opneai"}, "profile must be one of", id="profile"),
        pytest.param("output", {"vector_type": "int8"}, "'float32' or 'float16'", id="type"),
        pytest.param("budget", {"max_rejected_fraction": 2}, "less than or equal to 1", id="fraction"),
        pytest.param("limits", {"requests_per_minute": 0}, "greater than or equal to 1", id="rpm"),
        pytest.param("documents", {"paths": []}, "at least 1 item", id="no paths"),
        pytest.param("documents", {}, "needs either paths", id="no source"),
        pytest.param(
            "documents", {"paths": ["a"], "records": {"text_column": ""}}, "at least 1 character", id="no text column"
        ),
        pytest.param(
            "documents",
            {"paths": ["a"], "records": {"text_colum": "body"}},
            "documents.records.text_colum: unknown key; did you mean documents.records.text_column?",
            id="column",
        ),
        pytest.param("documents", {"paths": ["a"], "dataset": "b"}, "needs either paths", id="two sources"),
        pytest.param("embedding", {"model": "m", "context": "title"}, "'none' or 'title_and_headings'", id="context"),
        pytest.param(
            "embedding",
            {"model": "m", "input_prefix": "word " * 400},
            "embedding.input_prefix has 401 tokens and leaves no room in chunks of 341, prefix included",
            id="prefix",
        ),
    ],
)
def test_wrong_value_is_named_with_what_is_allowed(section: str, values: dict[str, Any], words: str) -> None:
    (problem,) = problems_of({**SMALLEST, section: values})
    assert words in problem


@pytest.mark.parametrize(
    "embedding",
    [
        pytest.param({"model": "m", "api_key_env": "sk-SECRET"}, id="key instead of a variable's name"),
        pytest.param({"model": "m", "api_key": "sk-SECRET"}, id="key of its own"),
        pytest.param({"model": "m", "base_url": "https://me:sk-SECRET@x.com/v1"}, id="key in the address"),
    ],
)
def test_key_in_the_config_is_refused_and_not_shown(embedding: dict[str, str]) -> None:
    (problem,) = problems_of({**SMALLEST, "embedding": embedding})
    assert "SECRET" not in problem


def write(folder: Path, text: str) -> str:
    path = folder / "c.yaml"
    path.write_text(text)
    return str(path)


CONFIG = "dataset: out/x\ndocuments: {paths: [a]}\nembedding: {model: m}\n"


def test_settings_override_the_file(tmp_path: Path) -> None:
    path = write(tmp_path, CONFIG)
    config = load_config(path, ["limits.concurrent_requests=16", "budget.max_cost_usd=1e-3", "documents.paths=[b, c]"])
    assert config.limits.concurrent_requests == 16
    assert config.budget.max_cost_usd == 0.001
    assert config.documents.paths == ("b", "c")


@pytest.mark.parametrize(
    ("text", "settings", "words"),
    [
        pytest.param("", (), "must hold sections such as .* got an empty file", id="empty"),
        pytest.param("- a\n", (), "got a list", id="list"),
        pytest.param("a: [\n", (), "is not valid YAML at line 2, column 1", id="broken"),
        pytest.param(CONFIG, ("limits",), "expected key.path=value", id="set without value"),
        pytest.param(CONFIG, ("limits.rpm=[",), "--set limits.rpm: the value is not valid YAML", id="set broken"),
    ],
)
def test_unusable_file_or_setting_is_said_in_one_line(
    tmp_path: Path, text: str, settings: tuple[str, ...], words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        load_config(write(tmp_path, text), settings)


def test_missing_file_is_said_plainly(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot read the config .*none\.yaml: No such file or directory"):
        load_config(str(tmp_path / "none.yaml"))


def test_fingerprint_does_not_depend_on_the_order_of_keys() -> None:
    turned = dict(reversed(SMALLEST.items()))
    assert parse_config(turned, "c").fingerprint() == parse_config(SMALLEST, "c").fingerprint()


def test_fingerprint_changes_with_any_setting() -> None:
    other = {**SMALLEST, "chunking": {"max_tokens": 100}}
    assert parse_config(other, "c").fingerprint() != parse_config(SMALLEST, "c").fingerprint()


def test_config_holds_no_key_to_be_pickled_into_a_job_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMETAPI_KEY", "sk-SECRET")
    assert "SECRET" not in repr(parse_config(SMALLEST, "c"))


def test_every_key_of_the_contract_is_known() -> None:
    assert set(known_keys()) >= {
        "dataset", "documents.paths", "documents.records.text_column", "documents.records.id_column",
        "documents.records.metadata_columns", "chunking.max_tokens", "chunking.overlap_tokens", "chunking.splitter",
        "embedding.provider", "embedding.base_url", "embedding.model", "embedding.dimensions", "embedding.api_key_env",
        "embedding.input_prefix", "embedding.max_inputs_per_request", "embedding.max_tokens_per_request",
        "limits.requests_per_minute", "limits.tokens_per_minute", "limits.concurrent_requests", "budget.max_cost_usd",
        "budget.max_tokens", "budget.max_rejected_fraction", "output.part_size_mb", "output.vector_type",
        "output.keep_versions",
    }  # fmt: skip


def test_lists_and_mappings_of_profile_overrides_become_settings_that_can_name_a_client() -> None:
    overrides = {"encodings": ["float"], "extra_body": {"input_type": "document"}}
    config = parse_config({**SMALLEST, "embedding": {"model": "m", "profile_overrides": overrides}}, "c")
    hash(config.endpoint)
    profile = config.endpoint.find_profile()
    assert (profile.encodings, profile.extra_body) == (("float",), (("input_type", "document"),))


def test_dimensions_that_a_server_cannot_be_asked_for_are_refused() -> None:
    (problem,) = problems_of({**SMALLEST, "embedding": {"model": "m", "profile": "cohere", "dimensions": 256}})
    assert "servers of the profile cohere cannot be asked for a length of vectors, got 256" in problem
