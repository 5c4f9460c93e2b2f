"""A key from Google's Secret Manager; the secret kept here is google-cloud-secret-manager.

A process asks once for each secret and keeps the answer in memory alone. ``SECRET_MANAGER_EMULATOR_HOST`` (with its scheme)
leads to another server, without credentials, as ``STORAGE_EMULATOR_HOST`` does for gs://.
"""

import os
import re
import threading
from collections.abc import Callable
from typing import Any

from transforms.errors import ConfigError, FatalError

_VERSION = re.compile(r"projects/[a-z0-9][a-z0-9.:-]*/secrets/[A-Za-z0-9_-]{1,255}/versions/[A-Za-z0-9_-]{1,63}")
_TIMEOUT_SECONDS = 60.0
_EMULATOR = "SECRET_MANAGER_EMULATOR_HOST"

_read: dict[str, str] = {}
_lock = threading.Lock()


def is_secret_version(name: str) -> bool:
    """Tell whether this names a version of a secret, as in ``projects/P/secrets/S/versions/latest``."""
    return _VERSION.fullmatch(name) is not None


def read_secret(name: str) -> str:
    """Return the text of a version of a secret; this process asks once, and asks again only after a failure.

    Raises:
        ConfigError: the client library is missing, there are no credentials, or they do not give this text.
        FatalError: Secret Manager has not answered for a minute of trying.
    """
    with _lock:
        if name not in _read:
            _read[name] = _ask(name)
        return _read[name]


def _ask(name: str) -> str:
    client, refused, silent = _open_client()
    try:
        with client:
            data: bytes = client.access_secret_version(name=name, timeout=_TIMEOUT_SECONDS).payload.data
        return data.decode()
    except refused as error:
        raise ConfigError(_remedy(name, error)) from error
    except silent as error:
        raise FatalError(
            f"Secret Manager does not give {name}: {error}; nothing is lost, run the same command again later"
        ) from error
    except UnicodeDecodeError:
        raise ConfigError(f"the secret {name} is no text; store the key as the provider shows it") from None


def _open_client() -> tuple[Any, type[Exception], tuple[type[Exception], ...]]:
    """Return a client, what it raises when it is refused, and what it raises when nobody answers."""
    try:
        from google.api_core import exceptions
        from google.auth import exceptions as auth
        from google.auth.credentials import AnonymousCredentials
        from google.cloud import secretmanager_v1
    except ImportError as error:
        raise ConfigError(
            "embedding.api_key_secret needs the client of Secret Manager: pip install 'embedbeam[dataflow]'"
        ) from error
    silent = (exceptions.GoogleAPIError, auth.GoogleAuthError, OSError)
    client: Callable[..., Any] = secretmanager_v1.SecretManagerServiceClient
    emulator = os.environ.get(_EMULATOR)
    if emulator:
        options = {"api_endpoint": emulator}
        opened = client(transport="rest", credentials=AnonymousCredentials(), client_options=options)
        return opened, exceptions.ClientError, silent
    try:
        return client(transport="rest"), exceptions.ClientError, silent
    except auth.DefaultCredentialsError as error:
        raise ConfigError(
            "embedding.api_key_secret needs Google credentials in every process that calls the endpoint, and there are none "
            "here: gcloud auth application-default login, or a service account"
        ) from error


def _remedy(name: str, error: Any) -> str:
    if error.code == 404:
        return f"the secret {name} does not exist; see embedding.api_key_secret"
    if error.code in (401, 403):
        return (
            f"the secret {name} may not be read from here: the account of the workers needs the role "
            f"roles/secretmanager.secretAccessor on it ({error.message})"
        )
    return f"Secret Manager refuses {name}: {error.message}"
