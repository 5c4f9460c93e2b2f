"""One YAML file to one frozen RunConfig, or one ConfigError that lists every problem found.

The secret kept here is that a configuration is YAML, and how its sections spread over the settings that the rooms declare.
"""

import dataclasses
import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from typing import Annotated, Any, Literal, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic_core import ErrorDetails

from pipeline import __version__
from pipeline.config_text import read_config_text
from transforms.clients.http import EndpointSettings
from transforms.clients.static_model import MODEL_NAME
from transforms.core.bill import Budget
from transforms.core.chunking import ChunkSettings, token_limit
from transforms.core.identity import settings_fingerprint
from transforms.core.lead import LeadSettings
from transforms.core.pacing import Quota
from transforms.core.record_fields import RecordSettings
from transforms.core.requests import RequestLimits
from transforms.core.tokens import ESTIMATE_MARGIN, tokenizer_for_model
from transforms.errors import ConfigError

_VARIABLE_NAME = re.compile(r"[A-Z_][A-Z0-9_]*")
_PositiveInt = Annotated[int, Field(ge=1)]
_PositiveFloat = Annotated[float, Field(gt=0)]

_EXTRACTING = ("resiliparse", "pypdfium2")
"""Libraries whose next version may read another text out of the same bytes."""


@dataclass(frozen=True, slots=True)
class DocumentSettings:
    """Where the documents are.

    Attributes:
        paths: globs, local (relative to the working directory) and gs:// alike; empty when ``dataset`` is set.
        dataset: a committed dataset whose chunks are embedded again instead, "" for none.
        records: which columns of files of records (JSON Lines, CSV, TSV, Parquet) are read.
        modification_time: whether metadata tells when a document was modified. It differs between checkouts of the same
            files, and a touched file is a row updated (and nothing paid), so that it is left out unless it is wanted.
    """

    paths: tuple[str, ...]
    dataset: str = ""
    records: RecordSettings = field(default_factory=RecordSettings)
    modification_time: bool = False


@dataclass(frozen=True, slots=True)
class OutputSettings:
    """What a version looks like.

    Attributes:
        part_size_mb: vectors in one part, about, in 10**6 bytes. Larger parts mean fewer files and more memory per worker.
        vector_type: float32 as the provider returned it, or float16 at half the size.
        keep_versions: committed versions that stay, the new one among them.
    """

    part_size_mb: int = 128
    vector_type: str = "float32"
    keep_versions: int = 2


@dataclass(frozen=True, slots=True)
class RunConfig:
    """Everything a run is told: one tree of the settings that the rooms declare."""

    dataset: str
    documents: DocumentSettings
    chunking: ChunkSettings
    endpoint: EndpointSettings
    request_limits: RequestLimits
    limits: Quota
    budget: Budget
    output: OutputSettings
    context: str = "none"
    billing_project: str = ""

    @property
    def lead(self) -> LeadSettings:
        """What is sent before each chunk."""
        return LeadSettings(self.endpoint.input_prefix, self.context)

    @property
    def is_local(self) -> bool:
        """Whether the embedded model is used: no key, no network, no price."""
        return self.endpoint.provider == "local"

    @property
    def host(self) -> str:
        """The endpoint's host, "" for the local model."""
        return "" if self.is_local else self.endpoint.host

    def chunking_section(self) -> dict[str, object]:
        """Return the chunking settings as they stand in the file."""
        return dataclasses.asdict(self.chunking)

    def fingerprint(self) -> str:
        """Name this configuration: equal for equal settings, whatever their order in the file and whoever is billed."""
        settings = dataclasses.asdict(self)
        del settings["billing_project"]
        return settings_fingerprint(settings)

    def reading_fingerprint(self) -> str:
        """Name everything but the documents that their chunks depend on; programs of another version may cut otherwise."""
        return settings_fingerprint(
            {
                "program": __version__,
                "libraries": [_installed(name) for name in _EXTRACTING],
                "records": dataclasses.asdict(self.documents.records),
                "chunking": self.chunking_section(),
                "model": self.endpoint.model,
                "lead": dataclasses.asdict(self.lead),
                "modification_time": self.documents.modification_time,
            }
        )


def _installed(distribution: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return ""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Records(_Section):
    text_column: Annotated[str, Field(min_length=1)] = "text"
    id_column: Annotated[str, Field(min_length=1)] | None = None
    metadata_columns: tuple[Annotated[str, Field(min_length=1)], ...] = ()


class _Documents(_Section):
    paths: Annotated[tuple[Annotated[str, Field(min_length=1)], ...], Field(min_length=1)] | None = None
    dataset: Annotated[str, Field(min_length=1)] | None = None
    records: _Records = _Records()
    modification_time: bool = False

    @model_validator(mode="after")
    def _has_one_source(self) -> "_Documents":
        if (self.paths is None) == (self.dataset is None):
            raise ValueError("needs either paths (globs of documents) or dataset (a committed dataset to embed again)")
        return self


class _Chunking(_Section):
    max_tokens: _PositiveInt = 512
    overlap_tokens: Annotated[int, Field(ge=0)] = 64
    splitter: str = "auto"

    @model_validator(mode="after")
    def _fits_the_chunker(self) -> "_Chunking":
        ChunkSettings(self.max_tokens, self.overlap_tokens, self.splitter)
        return self


class _Embedding(_Section):
    provider: Literal["openai-compatible", "local"] = "openai-compatible"
    base_url: str = "https://api.cometapi.com/v1"
    model: Annotated[str, Field(min_length=1)]
    dimensions: _PositiveInt | None = None
    api_key_env: str = "COMETAPI_KEY"
    api_key_secret: str | None = None
    input_prefix: str = ""
    context: Literal["none", "title_and_headings"] = "none"
    max_inputs_per_request: _PositiveInt = 128
    max_tokens_per_request: _PositiveInt = 300_000
    profile: str | None = None
    profile_overrides: dict[str, Any] = {}
    read_timeout_seconds: _PositiveFloat = 60.0
    max_outage_seconds: _PositiveFloat = 1800.0

    @model_validator(mode="before")
    @classmethod
    def _name_the_local_model(cls, values: Any) -> Any:
        if isinstance(values, dict) and values.get("provider") == "local":
            return {"model": MODEL_NAME, **values}
        return values

    @field_validator("api_key_env")
    @classmethod
    def _is_a_variable_name(cls, value: str) -> str:
        if value and not _VARIABLE_NAME.fullmatch(value):
            raise ValueError(
                "must be the NAME of an environment variable (A-Z, 0-9 and _), never the key itself; "
                '"" for a server that needs none'
            )
        return value

    @model_validator(mode="after")
    def _fits_the_client(self) -> "_Embedding":
        self.endpoint()
        return self

    def endpoint(self) -> EndpointSettings:
        """Return the client's settings.

        Raises:
            ValueError: the client cannot use them.
        """
        return EndpointSettings(
            provider=self.provider,
            base_url=self.base_url,
            model=self.model,
            dimensions=self.dimensions,
            api_key_env=self.api_key_env,
            api_key_secret=self.api_key_secret or "",
            input_prefix=self.input_prefix,
            profile=self.profile,
            profile_overrides=tuple((key, _hashable(value)) for key, value in sorted(self.profile_overrides.items())),
            read_timeout_seconds=self.read_timeout_seconds,
            max_outage_seconds=self.max_outage_seconds,
        )


def _hashable(value: object) -> object:
    """Return lists and mappings of a YAML file as tuples: settings name the client that a process keeps open."""
    if isinstance(value, Mapping):
        return tuple((key, _hashable(inner)) for key, inner in value.items())
    return tuple(_hashable(inner) for inner in value) if isinstance(value, list) else value


class _Limits(_Section):
    requests_per_minute: _PositiveInt | None = None
    tokens_per_minute: _PositiveInt | None = None
    concurrent_requests: _PositiveInt = 8


class _Budget(_Section):
    max_cost_usd: Annotated[float, Field(ge=0)] | None = None
    max_tokens: Annotated[int, Field(ge=0)] | None = None
    max_rejected_fraction: Annotated[float, Field(ge=0, le=1)] = 0.01
    price_per_million_tokens: Annotated[float, Field(ge=0)] | None = None


class _Output(_Section):
    part_size_mb: Annotated[int, Field(ge=1, le=4096)] = 128
    vector_type: Literal["float32", "float16"] = "float32"
    keep_versions: _PositiveInt = 2


class _GoogleCloud(_Section):
    billing_project: Annotated[str, Field(min_length=1)] | None = None


class _File(_Section):
    dataset: Annotated[str, Field(min_length=1)]
    documents: _Documents
    chunking: _Chunking = _Chunking()
    embedding: _Embedding
    limits: _Limits = _Limits()
    budget: _Budget = _Budget()
    output: _Output = _Output()
    google_cloud: _GoogleCloud = _GoogleCloud()

    @model_validator(mode="after")
    def _leaves_room_for_a_chunk(self) -> "_File":
        prefix = self.embedding.input_prefix
        if len(prefix.encode()) >= token_limit(self.chunking.max_tokens, ESTIMATE_MARGIN):  # a token has a byte or more
            tokenizer = tokenizer_for_model(self.embedding.model)
            count, limit = tokenizer.count(prefix), token_limit(self.chunking.max_tokens, tokenizer.margin)
            if count >= limit:
                raise ValueError(
                    f"embedding.input_prefix has {count} tokens and leaves no room in chunks of {limit}, prefix included; "
                    "raise chunking.max_tokens or shorten the prefix"
                )
        return self


def load_config(path: str, settings: Sequence[str] = ()) -> RunConfig:
    """Read a config file, local or on gs://, and apply ``--set`` settings over it.

    Args:
        settings: ``key.path=value``, the value as YAML.

    Raises:
        ConfigError: the file cannot be read, is no YAML mapping, or holds problems; all of them are listed.
    """
    try:
        text = read_config_text(path)
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ConfigError(f"cannot read the config {path}: {reason}") from error
    try:
        tree = yaml.safe_load(text)
    except yaml.YAMLError as error:
        where = getattr(error, "problem_mark", None)
        place = f" at line {where.line + 1}, column {where.column + 1}" if where else ""
        raise ConfigError(
            f"{path} is not valid YAML{place}: {getattr(error, 'problem', 'cannot be parsed')}"
        ) from error
    if not isinstance(tree, dict):
        raise ConfigError(f"{path} must hold sections such as 'dataset:' and 'documents:', got {_kind(tree)}")
    for setting in settings:
        _apply(tree, setting)
    return parse_config(tree, path)


def parse_config(tree: Mapping[str, Any], path: str) -> RunConfig:
    """Check a parsed config and spread it over the rooms' settings; ``path`` names it in the error.

    Raises:
        ConfigError: lists every problem with its key, its value and what is allowed.
    """
    try:
        file = _File.model_validate(tree)
    except ValidationError as error:
        problems = sorted({_problem(details) for details in error.errors()})
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        raise ConfigError("\n".join([f"{path}: {count}", *(f"  {line}" for line in problems)])) from None
    embedding, records = file.embedding, file.documents.records
    return RunConfig(
        dataset=file.dataset.rstrip("/") or "/",
        documents=DocumentSettings(
            file.documents.paths or (),
            (file.documents.dataset or "").rstrip("/"),
            RecordSettings(records.text_column, records.id_column or "", records.metadata_columns),
            file.documents.modification_time,
        ),
        chunking=ChunkSettings(**file.chunking.model_dump()),
        endpoint=embedding.endpoint(),
        request_limits=RequestLimits(embedding.max_inputs_per_request, embedding.max_tokens_per_request),
        limits=Quota(**file.limits.model_dump()),
        budget=Budget(**file.budget.model_dump()),
        output=OutputSettings(**file.output.model_dump()),
        context=embedding.context,
        billing_project=file.google_cloud.billing_project or "",
    )


def config_schema() -> dict[str, Any]:
    """Return the JSON Schema of a config file, with every section in its place; it allows what ``load_config`` does.

    What only the rooms know (a splitter that does not exist, an overlap above the chunk) is left to ``load_config``.
    """
    schema = _File.model_json_schema()
    sections = schema.pop("$defs")
    schema = _with_sections_in_place(schema, sections)
    properties = schema["properties"]
    properties["documents"]["oneOf"] = [{"required": ["paths"]}, {"required": ["dataset"]}]
    embedding = properties["embedding"]
    embedding["anyOf"] = [
        {"required": embedding.pop("required")},
        {"required": ["provider"], "properties": {"provider": {"const": "local"}}},
    ]
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "embedbeam config"}


def _with_sections_in_place(schema: dict[str, Any], sections: Mapping[str, Any]) -> dict[str, Any]:
    properties = {
        name: _with_sections_in_place(sections[str(inner["$ref"]).rpartition("/")[2]], sections)
        if "$ref" in inner
        else inner
        for name, inner in schema["properties"].items()
    }
    return {**schema, "properties": properties}


def known_keys(prefix: str = "", section: type[BaseModel] = _File) -> list[str]:
    """Return every key path a config may hold, sections among them."""
    keys: list[str] = []
    for name, info in section.model_fields.items():
        keys.append(prefix + name)
        inner = next((t for t in (info.annotation, *get_args(info.annotation)) if _is_section(t)), None)
        if inner is not None:
            keys += known_keys(f"{prefix}{name}.", inner)
    return keys


def _is_section(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, _Section)


def _apply(tree: dict[str, Any], setting: str) -> None:
    key, equals, value = setting.partition("=")
    if not equals or not all(key.split(".")):
        raise ConfigError(f"--set {key!r}: expected key.path=value, as in --set limits.concurrent_requests=16")
    *sections, name = key.split(".")
    branch = tree
    for section in sections:
        inner = branch.get(section)
        branch[section] = branch = dict(inner) if isinstance(inner, dict) else {}
    try:
        branch[name] = yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise ConfigError(f"--set {key}: the value is not valid YAML") from error


def _problem(details: ErrorDetails) -> str:
    """Say one problem in a line: key, value, what is allowed."""
    key = ".".join(str(part) for part in details["loc"])
    if details["type"] == "extra_forbidden":
        return f"{key}: unknown key{_hint(key)}"
    if details["type"] == "missing":
        return f"{key}: missing, and there is no sensible default"
    message = details["msg"].removeprefix("Value error, ")
    message = message[0].lower() + message[1:]
    if not key:  # of several sections together; the message names them
        return message
    if isinstance(details["input"], dict | list) or "key" in key:
        return f"{key}: {message}"
    return f"{key}: {message}, got {details['input']!r}"


def _hint(key: str) -> str:
    keys = known_keys()
    close = difflib.get_close_matches(key, keys, n=1, cutoff=0.6)
    if close:
        return f"; did you mean {close[0]}?"
    section = key.rpartition(".")[0]
    prefix = section + "." if section in keys else ""
    siblings = [k.removeprefix(prefix) for k in keys if k.startswith(prefix) and "." not in k.removeprefix(prefix)]
    return f"; allowed here: {', '.join(siblings)}"


def _kind(value: object) -> str:
    return "an empty file" if value is None else f"a {type(value).__name__}"
