"""The one place that reads a key, in the process that is about to use it."""

import os
from collections.abc import Mapping

from transforms.clients.secret_manager import read_secret
from transforms.errors import ConfigError


def find_key(variable: str, secret: str, environment: Mapping[str, str] = os.environ) -> str:
    """Read an endpoint's key: from Secret Manager where a secret is named, else from the environment.

    Raises:
        ConfigError: the key cannot be had, or is none.
        FatalError: Secret Manager does not answer.
    """
    if secret:
        return _clean(read_secret(secret), f"the secret {secret}")
    return read_key(variable, environment)


def read_key(variable: str, environment: Mapping[str, str] = os.environ) -> str:
    """Read the key from the environment variable of this name; "" for a server that needs none.

    White space and a byte order mark around it, as copying leaves them, are taken off.

    Raises:
        ConfigError: the variable is not set, is empty, or holds what no HTTP header can carry.
    """
    if not variable:
        return ""
    key = environment.get(variable, "")
    if not _bare(key):
        raise ConfigError(
            f"the environment variable {variable}, which embedding.api_key_env names, is not set or empty; "
            f"set it to the provider's key in every process that calls the endpoint, or name a secret in "
            f"embedding.api_key_secret"
        )
    return _clean(key, f"the environment variable {variable}")


def _clean(text: str, source: str) -> str:
    key = _bare(text)
    if not key:
        raise ConfigError(f"{source} is empty; store the provider's key in it")
    if not key.isascii() or not key.isprintable() or " " in key:
        raise ConfigError(f"{source} holds characters that no key has; copy the key again")
    return key


def _bare(text: str) -> str:
    return text.strip().strip("\ufeff").strip()
