"""May the vectors that a config asks for lie beside those that a dataset holds?"""

from pipeline.config import RunConfig
from transforms.core.manifest import Manifest
from transforms.errors import RunRefused


def check_same_vectors(config: RunConfig, previous: Manifest | None) -> None:
    """Refuse to mix vectors of another model, dimension, prefix or context into a dataset, and any into a derived one.

    Raises:
        RunRefused: names what differs and the remedy.
    """
    if previous is None:
        return
    if previous.derived:
        raise RunRefused(
            f"{config.dataset} is derived from {previous.derived['dataset']} and takes no vectors of its own. Run into "
            "that one, and derive again"
        )
    stamp, wanted = previous.stamp, config.endpoint
    differences = [
        f"{name} is {now!r} and the dataset has {before!r}"
        for name, now, before in (
            ("embedding.model", wanted.model, stamp.model),
            ("embedding.dimensions", wanted.dimensions or stamp.dimensions, stamp.dimensions),
            ("embedding.input_prefix", wanted.input_prefix, stamp.input_prefix),
            ("embedding.context", config.context, stamp.context or "none"),
        )
        if now != before
    ]
    if differences:
        raise RunRefused(
            f"{config.dataset} holds vectors that cannot be mixed with the ones asked for: {'; '.join(differences)}. "
            "Write to a new dataset path, or change the config back"
        )
