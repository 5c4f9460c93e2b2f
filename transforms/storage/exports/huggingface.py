"""A Hugging Face dataset folder: Parquet files and a dataset card whose YAML names their split and features.

Source: huggingface.co/docs/hub/datasets-cards and .../datasets-manual-configuration (configs, data_files), read 2026-11-22.
"""

import json

import pyarrow as pa

from transforms.core.tables import VECTOR_COLUMN
from transforms.storage.exports.layout import (
    DELETES,
    Export,
    ExportFormat,
    OutputFile,
    RowSource,
    code,
    guide_text,
)
from transforms.storage.exports.parquet_files import plain_schema, to_plain, write_parquet
from transforms.storage.store import Output

CARD = "README.md"
_SIZES = (("1K", 10**3), ("10K", 10**4), ("100K", 10**5), ("1M", 10**6), ("10M", 10**7), ("100M", 10**8), ("1B", 10**9))


def _split(export: Export) -> str:
    return "train" if export.since is None else "upserts"


def _files(export: Export) -> list[OutputFile]:
    schema = _schema(export)

    def write(rows: RowSource, output: Output) -> None:
        write_parquet(rows, output, schema.names, schema, lambda batch: to_plain(batch, schema))

    total = len(export.parts)
    names = [f"data/{_split(export)}-{number:05d}-of-{total:05d}.parquet" for number in range(total)]
    return [OutputFile(name, (part,), write) for name, part in zip(names, export.parts, strict=True)]


def _schema(export: Export) -> pa.Schema:
    return plain_schema(export.columns(), pa.list_(pa.type_for_alias(export.vector_type), export.width), export.stamp)


def _card(export: Export) -> str:
    name = json.dumps(export.name, ensure_ascii=False)
    features = [line for field in _schema(export) for line in _feature(field)]
    head = [
        "---",
        f"pretty_name: {name}",
        "tags:",
        "- embeddings",
        "size_categories:",
        f"- {_size_category(export.rows)}",
        *_configs(export),
        "dataset_info:",
        "  features:",
        *features,
        "---",
        "",
    ]
    return "\n".join(head) + guide_text(export, "Hugging Face datasets", *_sections(export))


def _configs(export: Export) -> list[str]:
    if not export.parts:
        return []
    split = _split(export)
    return [
        "configs:",
        "- config_name: default",
        "  data_files:",
        f"  - split: {split}",
        f"    path: data/{split}-*.parquet",
    ]


def _feature(field: pa.Field) -> list[str]:
    if field.name == VECTOR_COLUMN:
        kind = field.type
        return [
            f"  - name: {field.name}",
            "    list:",
            f"      dtype: {_dtype(kind.value_type)}",
            f"    length: {kind.list_size}",
        ]
    return [f"  - name: {field.name}", f"    dtype: {_dtype(field.type)}"]


def _dtype(kind: pa.DataType) -> str:
    return {"halffloat": "float16", "float": "float32"}.get(str(kind), str(kind))


def _size_category(rows: int) -> str:
    below = "n"
    for name, size in _SIZES:
        if rows < size:
            return f"{below}<n<{name}" if below != "n" else f"n<{name}"
        below = name
    return "n>1B"


_USE = """
from datasets import load_dataset

chunks = load_dataset(FOLDER, split="{split}").with_format("numpy")
"""


def _sections(export: Export) -> list[str]:
    stamp = export.manifest.stamp
    text = "`chunk` is the text" if export.with_text else "The text stayed behind"
    prefix = f", sent with the prefix {stamp.input_prefix!r}" if stamp.input_prefix else ""
    said = f"{text}, `vector` its embedding by {stamp.model}{prefix}, `doc_id` and `source_uri` where it comes from."
    changes = f" Remove the ids in {DELETES}, then replace or add these rows." if export.since is not None else ""
    return [
        said + changes,
        code("python", _USE.format(split=_split(export))),
        code("sh", "hf upload USER/NAME . --repo-type dataset"),
    ]


FORMAT = ExportFormat("huggingface", _files, _card, guide_path=CARD, takes_bytes=True)
