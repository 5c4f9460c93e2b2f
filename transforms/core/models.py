"""Known models: how long their vectors are, before any endpoint has answered, and which may be shortened afterwards."""

from collections.abc import Sequence

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


_TRAINED_TO_BE_SHORTENED: Sequence[tuple[str, str]] = (
    ("text-embedding-3-", 'OpenAI, embeddings guide, "Reducing embedding dimensions"'),
    ("gemini-embedding-", 'Google, Gemini API, embeddings, "Controlling embedding size"'),
    ("voyage-3-large", 'Voyage AI, "Flexible dimensions and quantization"'),
    ("voyage-3.5", 'Voyage AI, "Flexible dimensions and quantization"'),
    ("voyage-4", 'Voyage AI, "Flexible dimensions and quantization"'),
    ("voyage-code-3", 'Voyage AI, "Flexible dimensions and quantization"'),
    ("embeddinggemma", 'Google, EmbeddingGemma documentation, "Matryoshka representation learning"'),
    ("qwen3-embedding", "Qwen3 Embedding model card, MRL support"),
    ("jina-embeddings-v3", "Jina AI, arXiv 2409.10173"),
    ("mxbai-embed-large-v1", "Mixedbread, model card, truncate_dim"),
    ("wordllama-l2-256", "WordLlama, trained for 64, 128 and 256 dimensions"),
)
"""Models whose makers say that the first numbers of a vector are a vector; read or recalled in November 2026."""


def source_of_shortening(model: str) -> str:
    """Return who says that a model's vectors may be cut to their first numbers; "" when nobody is known to."""
    name = model.lower().rpartition("/")[2]
    return next((source for prefix, source in _TRAINED_TO_BE_SHORTENED if name.startswith(prefix)), "")
