"""The stamp of the version that a run writes: what is known from the settings, completed by what was proved."""

import dataclasses
import json

from transforms.core.facts import facts_from_json
from transforms.core.manifest import Stamp
from transforms.storage.place import OpenPlace


@dataclasses.dataclass(frozen=True)
class StampSettings:
    """The stamp's share that is known before any endpoint has answered.

    Attributes:
        base_url: written for readers that embed queries by themselves; "" for the local model.
        vector_type: float32 or float16.
        chunker: the chunking settings as JSON.
    """

    model: str
    base_url: str
    base_url_host: str
    input_prefix: str
    chunker: str
    vector_type: str
    context: str = "none"

    def max_tokens(self) -> int:
        """Return the most tokens that the chunker lets a chunk have."""
        return int(json.loads(self.chunker)["max_tokens"])

    def stamp(self, place: OpenPlace) -> Stamp:
        """Return the stamp of this run's version: as proved in the first run, so that it never depends on who answered last.

        Raises:
            FileNotFoundError: neither a previous version nor the journal knows the endpoint.
        """
        if place.previous is not None:
            return dataclasses.replace(place.previous.manifest.stamp, chunker=self.chunker)
        facts = place.journal.facts()
        if facts is None:
            raise FileNotFoundError(f"the journal of {place.store.root} is gone while a run was using it; run again")
        dimension, model_reported, normalized, _ = facts_from_json(facts)
        return Stamp(
            model=self.model,
            dimensions=dimension,
            model_reported=model_reported,
            base_url_host=self.base_url_host,
            normalized=normalized,
            input_prefix=self.input_prefix,
            context="" if self.context == "none" else self.context,
            chunker=self.chunker,
        )
