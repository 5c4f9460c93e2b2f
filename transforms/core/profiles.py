"""What is known about each OpenAI-compatible server: limits, spellings and habits, as data.

Source: reference tables of the servers' own documentation and source code, read in November 2026; where a server documents
no limit the number is a cautious start, and the run learns the real one from the server's refusals.
"""

# ruff: noqa: E501 - the table has one row a line

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from fnmatch import fnmatch
from typing import Final

JsonValue = str | int | float | bool | None

FLOAT: Final = "float"
BASE64: Final = "base64"
ABSENT: Final = "absent"
_ENCODINGS = (FLOAT, BASE64, ABSENT)
_AUTHENTICATIONS = ("bearer", "api-key")


@dataclass(frozen=True, slots=True)
class Profile:
    """One kind of server.

    Attributes:
        name: how a config names it.
        hosts: patterns of host names that belong to it, lower case; ``*`` matches anything.
        max_inputs: texts in one request.
        max_tokens_per_request: tokens over all texts of one request, None where none is known.
        max_tokens_per_text: longest text it takes, None where the model alone decides.
        encodings: values of ``encoding_format`` it takes, the safest first; ``absent`` means the field is left out.
        dimensions_field: how the wanted length of a vector is spelled, None where it cannot be asked for.
        authentication: ``bearer`` (Authorization: Bearer KEY) or ``api-key`` (api-key: KEY).
        requests_cost_per_input: whether each text, not each request, counts as one against requests per minute.
        max_inputs_in_flight: texts in flight over all requests, None where there is no such limit.
        max_concurrent_requests: more requests at once only queue up there, None where there is no such limit.
        announced_window_seconds: what ``x-ratelimit-limit-*`` are per.
        truncates: whether it cuts a too long text without a word; then usage is compared with the local count.
        extra_body: fields added to every request, in this order.
    """

    name: str
    hosts: tuple[str, ...] = ()
    max_inputs: int = 128
    max_tokens_per_request: int | None = None
    max_tokens_per_text: int | None = None
    encodings: tuple[str, ...] = (FLOAT, BASE64)
    dimensions_field: str | None = "dimensions"
    authentication: str = "bearer"
    requests_cost_per_input: bool = False
    max_inputs_in_flight: int | None = None
    max_concurrent_requests: int | None = None
    announced_window_seconds: float = 60.0
    truncates: bool = False
    extra_body: tuple[tuple[str, JsonValue], ...] = ()

    def __post_init__(self) -> None:
        limits = ("max_inputs", "max_tokens_per_request", "max_tokens_per_text")
        for name in (*limits, "max_inputs_in_flight", "max_concurrent_requests"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be 1 or more, got {value}")
        unknown = [encoding for encoding in self.encodings if encoding not in _ENCODINGS]
        if unknown or not self.encodings:
            raise ValueError(f"encodings must be some of {', '.join(_ENCODINGS)}, got {list(self.encodings)}")
        if self.authentication not in _AUTHENTICATIONS:
            raise ValueError(
                f"authentication must be one of {', '.join(_AUTHENTICATIONS)}, got {self.authentication!r}"
            )


PROFILES: Final[Mapping[str, Profile]] = {
    profile.name: profile
    for profile in (
        Profile("openai", ("api.openai.com",), 2048, 300_000, 8191),
        Profile("azure", ("*.openai.azure.com", "*.cognitiveservices.azure.com"), 2048, 300_000, 8191, (FLOAT, BASE64), "dimensions", "api-key"),
        Profile("cometapi", ("api.cometapi.com", "*.cometapi.com"), 128, None, 8191, (FLOAT,)),
        Profile("tei", max_inputs=32, max_inputs_in_flight=512, truncates=True),
        Profile("vllm", max_inputs=256),
        Profile("ollama", max_inputs=64, max_concurrent_requests=1, truncates=True),
        Profile("llamacpp", max_inputs=32, max_tokens_per_text=512),
        Profile("mistral", ("api.mistral.ai",), 128, 16_000, 8192, (FLOAT,), "output_dimension"),
        Profile("voyage", ("api.voyageai.com",), 1000, 120_000, None, (ABSENT, BASE64), "output_dimension", truncates=True, extra_body=(("input_type", "document"), ("truncation", False))),
        Profile("cohere", ("api.cohere.ai", "api.cohere.com"), 96, None, None, (FLOAT, BASE64), None, truncates=True),
        Profile("jina", ("api.jina.ai",), 512, None, 8192),
        Profile("gemini", ("generativelanguage.googleapis.com",), 100, None, 2048, (FLOAT,), requests_cost_per_input=True, truncates=True),
        Profile("dashscope", ("dashscope.aliyuncs.com", "dashscope-*.aliyuncs.com"), 10, None, 8192, (FLOAT,)),
        Profile("together", ("api.together.xyz", "api.together.ai"), 128, None, None, (FLOAT,), None, announced_window_seconds=1.0),
        Profile("litellm", max_inputs=128),
        Profile("generic", max_inputs=128),
    )
}  # fmt: skip


MODEL_VARIANTS: Final[tuple[tuple[str, str, Mapping[str, object]], ...]] = (
    (
        "cometapi",
        "text-embedding-*",
        {"max_inputs": 2048, "max_tokens_per_request": 300_000, "encodings": (FLOAT, BASE64)},
    ),
)
"""Profile, pattern of model names, and what differs for these models there."""


def find_profile(host: str, model: str, name: str | None = None) -> Profile:
    """Choose a profile by its name, or by the endpoint's host when no name is given; then see to the model.

    Returns:
        The profile; ``generic`` for a host that nothing is known about.

    Raises:
        ValueError: no profile has this name; the text lists those there are.
    """
    if name is not None and name not in PROFILES:
        raise ValueError(f"profile must be one of {', '.join(sorted(PROFILES))}, got {name!r}")
    profile = PROFILES[name] if name is not None else _by_host(host.lower())
    for of_profile, pattern, changes in MODEL_VARIANTS:
        if profile.name == of_profile and fnmatch(model, pattern):
            return replace(profile, **changes)  # type: ignore[arg-type]
    return profile


def _by_host(host: str) -> Profile:
    for profile in PROFILES.values():
        if any(fnmatch(host, pattern) for pattern in profile.hosts):
            return profile
    return PROFILES["generic"]


def overridden(profile: Profile, overrides: Iterable[tuple[str, object]]) -> Profile:
    """Replace single values of a profile by those of a config.

    Lists become tuples and a mapping for ``extra_body`` becomes pairs.

    Raises:
        ValueError: an unknown key, or a value that the key cannot have.
    """
    known = [field.name for field in fields(Profile) if field.name not in ("name", "hosts")]
    changes: dict[str, object] = {}
    for key, value in overrides:
        if key not in known:
            raise ValueError(f"a profile has no {key!r}; it has {', '.join(known)}")
        changes[key] = _as_tuple(value)
    try:
        return replace(profile, **changes)  # type: ignore[arg-type]
    except TypeError as error:
        raise ValueError(f"profile {profile.name}: {error}") from error


def _as_tuple(value: object) -> object:
    if isinstance(value, Mapping):
        return tuple(value.items())
    return tuple(value) if isinstance(value, list) else value
