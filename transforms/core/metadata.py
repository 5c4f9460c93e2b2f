"""The metadata of documents and chunks as JSON; the secret kept here is which of its keys the pipeline reads itself."""

import json
from collections.abc import Mapping


def metadata_json(metadata: Mapping[str, object]) -> str:
    """Write metadata as Document wants it: sorted keys, no escapes that JSON does not need."""
    return json.dumps(metadata, ensure_ascii=False, sort_keys=True)


def title_in(metadata: Mapping[str, object]) -> str:
    """Return the title that metadata holds, "" for none."""
    title = metadata.get("title")
    return title if isinstance(title, str) else ""


def headings_in(metadata: Mapping[str, object]) -> list[str]:
    """Return the headings that metadata holds, the highest first."""
    headings = metadata.get("headings")
    return [heading for heading in headings if isinstance(heading, str)] if isinstance(headings, list) else []
