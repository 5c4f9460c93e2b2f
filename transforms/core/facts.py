"""What was proved about an endpoint, as JSON for the journal, and whether two proofs speak of one vector space."""

import base64
import json

import numpy as np

from transforms.errors import ProviderRefused, RunRefused

CANARY_COSINE = 0.995
"""Below it the model behind the name is another one. Repeated calls of one hosted model differ by 1e-4 or less in cosine,
half-precision serving by about 1e-3; another checkpoint with the same dimension is near 0, a fine-tuned one well below."""


def facts_to_json(dimension: int, model_reported: str, normalized: bool, canary: bytes) -> bytes:
    """Return the facts that all workers of a dataset's run share."""
    facts = {
        "dimension": dimension,
        "model_reported": model_reported,
        "normalized": normalized,
        "canary": base64.b64encode(canary).decode(),
    }
    return (json.dumps(facts, indent=1, sort_keys=True) + "\n").encode()


def facts_from_json(data: bytes) -> tuple[int, str, bool, bytes]:
    """Return (dimension, model_reported, normalized, canary) of ``facts_to_json``."""
    facts = json.loads(data)
    return (
        int(facts["dimension"]),
        str(facts["model_reported"]),
        bool(facts["normalized"]),
        base64.b64decode(facts["canary"]),
    )


def check_same_space(
    proved: tuple[int, bytes], known: tuple[int, bytes], known_from: str, accept_new_canary: bool
) -> None:
    """Compare a fresh proof with what earlier vectors were made with.

    Args:
        proved: dimension and canary vector of the endpoint now.
        known: dimension and canary vector of the vectors that exist; an empty canary is not compared.
        known_from: what holds those vectors, for the message.

    Raises:
        ProviderRefused: the dimension differs, so no vector could be stored beside the old ones.
        RunRefused: the canary's cosine is under CANARY_COSINE and ``accept_new_canary`` is off.
    """
    if proved[0] != known[0]:
        raise ProviderRefused(
            f"the endpoint now returns vectors of dimension {proved[0]}, but {known_from} holds dimension {known[0]}; "
            "set embedding.dimensions to the old value, or write to a new dataset path"
        )
    if not known[1] or accept_new_canary:
        return
    cosine = _cosine(proved[1], known[1])
    if cosine < CANARY_COSINE:
        raise RunRefused(
            f"the canary sentence's vector has a cosine of {cosine:.4f} with the one in {known_from} (at least "
            f"{CANARY_COSINE} is expected): the model behind this name has changed, and new vectors would not be comparable "
            "with old ones. Write to a new dataset path (documents.dataset re-embeds the committed chunks), or give "
            "--accept-new-canary if the change is known to be harmless"
        )


def _cosine(first: bytes, second: bytes) -> float:
    a, b = np.frombuffer(first, "<f4").astype(np.float64), np.frombuffer(second, "<f4").astype(np.float64)
    return float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))
