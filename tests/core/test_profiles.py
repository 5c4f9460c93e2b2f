import pytest

from transforms.core.profiles import PROFILES, Profile, find_profile, overridden


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("api.openai.com", "openai"),
        ("my-resource.openai.azure.com", "azure"),
        ("api.cometapi.com", "cometapi"),
        ("API.Mistral.ai", "mistral"),
        ("api.voyageai.com", "voyage"),
        ("api.cohere.ai", "cohere"),
        ("api.jina.ai", "jina"),
        ("generativelanguage.googleapis.com", "gemini"),
        ("dashscope-intl.aliyuncs.com", "dashscope"),
        ("api.together.xyz", "together"),
        ("localhost", "generic"),
        ("api.openai.com.evil.example", "generic"),
    ],
)
def test_a_host_chooses_its_profile(host: str, name: str) -> None:
    assert find_profile(host, "some-model").name == name


@pytest.mark.parametrize("name", ["openai", "azure", "cometapi", "tei", "vllm", "ollama", "llamacpp", "mistral", "voyage",
                                  "cohere", "jina", "gemini", "dashscope", "together", "litellm"])  # fmt: skip
def test_every_server_can_be_named(name: str) -> None:
    assert find_profile("localhost", "some-model", name).name == name


def test_a_name_wins_over_the_host() -> None:
    assert find_profile("api.openai.com", "m", "tei").max_inputs == 32


def test_an_unknown_name_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"profile must be one of azure, .*, got 'bing'"):
        find_profile("localhost", "m", "bing")


def test_cometapi_takes_base64_for_openai_s_models_only() -> None:
    openai = find_profile("api.cometapi.com", "text-embedding-3-small")
    other = find_profile("api.cometapi.com", "bge-large-zh")
    assert (openai.encodings, openai.max_inputs) == (("float", "base64"), 2048)
    assert (other.encodings, other.max_inputs) == (("float",), 128)


def test_single_values_can_be_replaced() -> None:
    changed = overridden(
        PROFILES["tei"], [("max_inputs", 64), ("encodings", ["float"]), ("extra_body", {"truncate": False})]
    )
    assert (changed.max_inputs, changed.encodings, changed.extra_body) == (64, ("float",), (("truncate", False),))
    assert changed.truncates is True


@pytest.mark.parametrize(
    ("key", "value", "problem"),
    [
        ("max_input", 3, "a profile has no 'max_input'; it has max_inputs"),
        ("name", "x", "a profile has no 'name'"),
        ("max_inputs", 0, "max_inputs must be 1 or more, got 0"),
        ("max_inputs", "many", "profile openai:"),
        ("encodings", ["hex"], "encodings must be some of float, base64, absent, got \\['hex'\\]"),
        ("encodings", [], "encodings must be some of"),
        ("authentication", "basic", "authentication must be one of bearer, api-key, got 'basic'"),
    ],
)
def test_a_wrong_override_is_refused(key: str, value: object, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        overridden(PROFILES["openai"], [(key, value)])


def test_profiles_are_values() -> None:
    assert hash(PROFILES["voyage"]) == hash(Profile(**{f: getattr(PROFILES["voyage"], f) for f in Profile.__slots__}))
