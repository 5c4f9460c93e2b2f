"""Known models: how long their vectors are, for sizing buckets before any endpoint has answered."""

_DIMENSIONS = {
    "text-embedding-3-small": 1536,
    "text-embedding-3-large": 3072,
    "text-embedding-ada-002": 1536,
    "wordllama-l2-256": 256,
}
_USUAL_DIMENSION = 1024
"""Of most open embedding models; a wrong guess makes parts larger or smaller than asked for, nothing else."""


def expected_dimension(model: str) -> int:
    """Return the dimension of a known model's vectors, or a usual one; the endpoint's own answer is what counts later.

    Source: the CometAPI and OpenAI embeddings reference, read in November 2026.
    """
    return _DIMENSIONS.get(model, _USUAL_DIMENSION)
