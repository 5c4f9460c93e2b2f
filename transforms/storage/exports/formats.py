"""The formats by name; only the one that is asked for is loaded."""

from importlib import import_module

from transforms.storage.exports.layout import ExportFormat

FORMATS = {
    "bigquery": "Parquet for bq load, with schema.json",
    "faiss": "an exact index, memory-mappable",
    "huggingface": "a dataset folder with its card",
    "lancedb": "a Lance table",
    "milvus": "Parquet for the bulk import",
    "numpy": "vectors.npy, ids.npy and the rows",
    "pgvector": "COPY files and load.sql",
    "pinecone": "Parquet for the import from object storage",
    "qdrant": "points as JSON lines",
    "usearch": "HNSW indexes",
}
"""Names as ``--to`` takes them, with what is written."""

_MODULES = {"numpy": "numpy_arrays"}


def load_format(name: str) -> ExportFormat:
    """Return one of FORMATS."""
    module = import_module(f"transforms.storage.exports.{_MODULES.get(name, name)}")
    found: ExportFormat = module.FORMAT
    return found
