"""One corpus, one config and one rehearsal endpoint for the tests of engines, and what an undisturbed run makes of them."""

from pathlib import Path

from tests.engines.launches import Launches
from tests.support.rehearsal import Rehearsal

KEY = "sk-rehearsal-key-that-must-not-be-seen"
IN_FLIGHT, INPUTS, DIMENSION = 4, 8, 1024
DOCUMENTS = 100
AT_RISK = IN_FLIGHT * INPUTS
"""Texts that one kill may cost: those of requests in flight, until their answers are journaled."""


def launches_in(folder: Path, documents: Path, server: Rehearsal) -> Launches:
    config = {
        "dataset": str(folder / "out"),
        "documents": {"paths": [f"{documents}/*.txt"]},
        "chunking": {"max_tokens": 32, "overlap_tokens": 0},
        "embedding": {
            "base_url": server.base_url,
            "model": "text-embedding-3-small",
            "dimensions": DIMENSION,
            "max_inputs_per_request": INPUTS,
        },
        "limits": {"concurrent_requests": IN_FLIGHT},
        "output": {"part_size_mb": 1},
    }
    return Launches(folder, config, {"COMETAPI_KEY": KEY})


def parts(launches: Launches) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (launches.folder / "out").glob("versions/000001/part-*")}
