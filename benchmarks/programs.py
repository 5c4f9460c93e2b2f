"""The programs that do the same work: each a command, peers in a virtual environment of their own."""

import gzip
import hashlib
import json
import subprocess
import sys
import venv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

HERE = Path(__file__).parent
BENCH = Path(".bench")
_CL100K_URL = "https://openaipublic.blob.core.windows.net/encodings/cl100k_base.tiktoken"


@dataclass(frozen=True, slots=True)
class Work:
    """What is to be done, in figures that every program can take.

    Attributes:
        in_flight: requests at once, where a program can.
    """

    documents: Path
    dimensions: int = 1536
    inputs: int = 128
    in_flight: int = 8


@dataclass(frozen=True, slots=True)
class Program:
    """A command that does the work.

    Attributes:
        peer: name of its environment and, for peers, of the script in ``peers/``; "" for what runs in this environment.
        packages: what its own environment needs, and nothing else.
        beam_flags: for ours alone.
        slow: measured in the first round only.
    """

    name: str
    peer: str = ""
    packages: Sequence[str] = ()
    beam_flags: Sequence[str] = ()
    verb: str = "run"
    slow: bool = False

    def python(self) -> str:
        return str(BENCH / "venvs" / self.peer / "bin" / "python") if self.peer else sys.executable

    def command(self, work: Work, base_url: str, output: Path) -> list[str]:
        if self.name.startswith("embedbeam"):
            return self._our_command(work, base_url, output)
        script = HERE / "peers" / f"{self.peer}.py" if self.peer else HERE / "plain_script.py"
        target = output / "all.parquet"
        figures = ["--dimensions", work.dimensions, "--inputs", work.inputs, "--in-flight", work.in_flight]
        return [str(one) for one in (self.python(), script, work.documents, base_url, target, *figures)]

    def _our_command(self, work: Work, base_url: str, output: Path) -> list[str]:
        config = {
            "dataset": str(output / "dataset"),
            "documents": {"paths": [f"{work.documents}/**/*.*"]},
            "chunking": {"max_tokens": 256, "overlap_tokens": 0},
            "embedding": {
                "base_url": base_url,
                "model": "text-embedding-3-small",
                "dimensions": work.dimensions,
                "api_key_env": "",
                "max_inputs_per_request": work.inputs,
            },
            "limits": {"concurrent_requests": work.in_flight},
            "budget": {"price_per_million_tokens": 0.02},
        }
        path = output / "config.yaml"
        path.write_text(json.dumps(config))
        flags = ["--", *self.beam_flags] if self.beam_flags else []
        return [self.python(), "-m", "pipeline", self.verb, str(path), "--json", *flags]


_BEAM = "apache-beam>=2.77,<2.78"
OURS = Program("embedbeam", "embedbeam", ("--editable", "."))
PLAIN = Program("plain script")
NAIVE = Program("naive Beam", "naive_beam", (_BEAM, "pyarrow", "requests"))
PEERS = (
    Program("Beam MLTransform", "beam_mltransform", (_BEAM, "pyarrow", "openai"), slow=True),
    Program(
        "LangChain", "langchain_script", ("langchain-text-splitters", "langchain-openai", "pyarrow", "numpy"), slow=True
    ),
    Program(
        "LlamaIndex", "llama_index_script", ("llama-index-core", "llama-index-embeddings-openai", "pyarrow"), slow=True
    ),
)


def install(program: Program) -> str:
    """Make a peer's environment, unless it is there; returns why it cannot be measured, or ""."""
    if not program.peer:
        return ""
    folder = BENCH / "venvs" / program.peer
    done = folder / ".installed"
    if done.exists():
        return ""
    venv.create(folder, with_pip=True, clear=True)
    command = [program.python(), "-m", "pip", "install", "--quiet", *program.packages]
    outcome = subprocess.run(command, capture_output=True, text=True, check=False)
    if outcome.returncode:
        return f"not installed: {(outcome.stderr.strip().splitlines() or ['pip failed'])[-1]}"
    done.touch()
    return ""


def environment() -> Mapping[str, str]:
    """Return what every program gets: tiktoken's vocabulary, which it would otherwise download."""
    folder = BENCH / "tiktoken"
    cached = folder / hashlib.sha1(_CL100K_URL.encode()).hexdigest()
    if not cached.exists():
        folder.mkdir(parents=True, exist_ok=True)
        packed = files("transforms.core.vocabularies").joinpath("cl100k_base.tiktoken.gz").read_bytes()
        cached.write_bytes(gzip.decompress(packed))
    return {"TIKTOKEN_CACHE_DIR": str(folder.resolve()), "PYTHONPATH": str(HERE.parent)}
