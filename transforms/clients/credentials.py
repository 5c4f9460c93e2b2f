"""The one place that reads a key, in the process that is about to use it."""

import os
from collections.abc import Mapping

from transforms.errors import ConfigError


def read_key(variable: str, environment: Mapping[str, str] = os.environ) -> str:
    """Read the key from the environment variable of this name; "" for a server that needs none.

    White space and a byte order mark around it, as copying leaves them, are taken off.

    Raises:
        ConfigError: the variable is not set, is empty, or holds what no HTTP header can carry.
    """
    if not variable:
        return ""
    key = environment.get(variable, "").strip().strip("\ufeff").strip()
    if not key:
        raise ConfigError(
            f"the environment variable {variable}, which embedding.api_key_env names, is not set or empty; "
            f"set it to the provider's key in every process that calls the endpoint"
        )
    if not key.isascii() or not key.isprintable() or " " in key:
        raise ConfigError(f"the environment variable {variable} holds characters that no key has; copy the key again")
    return key
