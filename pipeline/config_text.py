"""Reads a config's text; the secret kept is whether it lies on this machine or in a bucket."""

from pathlib import Path


def read_config_text(path: str) -> str:
    """Return the text of a local file or of ``gs://bucket/name``.

    Raises:
        OSError: it cannot be read.
        UnicodeDecodeError: it is not UTF-8.
    """
    if path.startswith("gs://"):
        from transforms.storage.gcs_client import read_object  # loads Google's client, which takes a moment

        return read_object(path).decode("utf-8")
    return Path(path).read_text(encoding="utf-8")
