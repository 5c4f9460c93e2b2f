"""What is installed: two packages and one command."""

import re
from pathlib import Path

from setuptools import find_packages, setup

EXTRAS = {
    "local": ["wordllama==0.4.0.post1", "tokenizers>=0.21,<1", "safetensors>=0.5,<1"],
    "pdf": ["pypdfium2>=5.7,<6"],
    "rehearsal": ["aiohttp>=3.11,<4"],
    "dataflow": ["apache-beam[gcp]>=2.77,<2.78"],
}
DEV = [
    "pytest>=8.3,<10",
    "pytest-cov>=6,<8",
    "hypothesis>=6.120,<7",
    "ruff>=0.9,<0.18",
    "mypy>=1.14,<3",
    "types-requests>=2.32,<3",
    "types-PyYAML>=6,<7",
    "jsonschema>=4.20,<5",
    "duckdb>=1.4,<3",
    "polars>=1.20,<3",
    "pandas>=2.2,<4",
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
    },
    entry_points={"console_scripts": ["embedbeam=pipeline.cli:main"]},
)
