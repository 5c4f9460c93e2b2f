"""``embedbeam init``: a config that explains itself, and its JSON Schema for editors."""

import argparse
import json
import re
from pathlib import Path
from typing import Any, TextIO

from pipeline.config import config_schema
from transforms.errors import ConfigError

DEFAULT_PATH = "embedbeam.yaml"

TEMPLATE = """\
# What embedbeam reads, whom it asks and where it writes. Every key is here with its default; what you do not change
# you may leave out. See what a run would cost, and whether it would work, before anything is paid:
#   embedbeam doctor {path}
#   embedbeam plan {path}

dataset: out/handbook                # local folder or gs://bucket/prefix
documents:
  paths: ["docs/**/*.*"]             # globs of documents, local or gs://bucket/prefix/**
  records:                           # of .jsonl .csv .tsv .parquet, each record a document
    text_column: text                # what is embedded
    id_column: null                  # names a record for good; null numbers the records of a file
    metadata_columns: []             # copied into the metadata of its chunks
  modification_time: false           # in metadata as modified; a touched file then makes a version, and pays nothing
  # dataset: out/handbook            # instead of paths: embed the chunks of a committed dataset again
chunking:
  max_tokens: 512                    # of a chunk, never exceeded
  overlap_tokens: 64                 # repeated from the end of the chunk before
  splitter: auto                     # by media type; or recursive, markdown, code, sentence, page, none
embedding:
  provider: openai-compatible        # or local: the model that comes with the package, without key and network
  base_url: https://api.cometapi.com/v1  # up to and without /embeddings
  model: text-embedding-3-small      # as the endpoint calls it
  dimensions: null                   # of a vector; null takes the model's own
  api_key_env: COMETAPI_KEY          # the NAME of the variable that holds the key, never the key; "" for none
  api_key_secret: null               # or in Secret Manager, as projects/P/secrets/S/versions/latest; then no variable
  input_prefix: ""                   # sent before every chunk, not stored in it
  context: none                      # or title_and_headings: sent before each chunk, not stored in it
  max_inputs_per_request: 128        # texts in one request, at most
  max_tokens_per_request: 300000     # tokens in one request, at most
  profile: null                      # kind of server, null chooses by host; or openai, azure, tei, vllm, ollama, ...
  profile_overrides: {{}}              # single values of the profile, such as {{dimensions_field: output_dimension}}
  read_timeout_seconds: 60           # between two pieces of an answer
  max_outage_seconds: 1800           # how long an endpoint that is down is waited for
limits:                              # for the whole run, over all workers
  requests_per_minute: null          # what you may use; null learns the pace from the answers
  tokens_per_minute: null            # what you may use; null learns the pace from the answers
  concurrent_requests: 8             # in flight at once
budget:
  max_cost_usd: null                 # refused before the first request when the bill is higher
  max_tokens: null                   # the same in tokens
  max_rejected_fraction: 0.01        # of documents, and of chunks; above it nothing is committed
  price_per_million_tokens: null     # USD; overrides the provider's catalog
output:
  part_size_mb: 128                  # vectors in one file, about
  vector_type: float32               # or float16 at half the size
  keep_versions: 2                   # committed versions that stay
google_cloud:                        # for documents and datasets on gs://
  billing_project: null              # pays for gs:// buckets of which the requester pays
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("path", metavar="PATH", nargs="?", default=DEFAULT_PATH, help=f"file to make ({DEFAULT_PATH})")
    parser.add_argument("--schema", action="store_true", help="print the JSON Schema of configs instead, for editors")
    parser.epilog = (
        "To be helped while you type, save the schema and put this line at the top of\nthe config: "
        "# yaml-language-server: $schema=embedbeam.schema.json"
    )


def run(arguments: argparse.Namespace, out: TextIO) -> int:
    """Write the config, or print the schema.

    Raises:
        ConfigError: the file is there already, or cannot be made.
    """
    if arguments.schema:
        out.write(json.dumps(described_schema(), indent=2) + "\n")
        return 0
    path = Path(arguments.path)
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(TEMPLATE.format(path=path))
    except FileExistsError:
        raise ConfigError(
            f"{path} is there already and stays as it is; name another file: embedbeam init PATH"
        ) from None
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror}") from error
    out.write(f"{path} is written. Set dataset, documents and model in it, then: embedbeam doctor {path}\n")
    return 0


def described_schema() -> dict[str, Any]:
    """Return the schema of configs, each key described by its comment in the template."""
    schema = config_schema()
    for key, words in _descriptions().items():
        *sections, name = key.split(".")
        branch = schema
        for section in sections:
            branch = branch["properties"][section]
        branch["properties"][name]["description"] = words
    return schema


def _descriptions() -> dict[str, str]:
    """Return the comment of each key; a section's name stands alone on its line, above keys that are set in further."""
    found: dict[str, str] = {}
    sections: list[str] = []
    for line in TEMPLATE.format(path=DEFAULT_PATH).splitlines():
        match = re.fullmatch(r"((?:  )*)(?:# (?=dataset:))?(\w+):([^#]*)(?:# (.+))?", line)
        if match is None:
            continue
        indent, name, _, words = match.groups()
        sections[len(indent) // 2 :] = [name]
        if words:
            found[".".join(sections)] = words
    return found
