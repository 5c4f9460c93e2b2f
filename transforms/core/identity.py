"""Stable names computed from content and settings: text hashes, chunk ids and fingerprints.

The secret kept here is how they are computed. Nothing is drawn at random, so work that is repeated gives the same names.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping

HASH_BYTES = 32
"""Length of a text hash; its hex form is what ``text_hash`` holds."""


def text_hash(sent: str) -> bytes:
    """Return the SHA-256 of the exact bytes sent (UTF-8), prefix included: 32 bytes.

    Two chunks with equal hashes share one vector and are paid once.
    """
    return hashlib.sha256(sent.encode("utf-8")).digest()


def chunk_ids(doc_id: str, chunks: Iterable[str]) -> list[str]:
    """Return one id for each of a document's chunks: 32 hex digits of doc_id, text and occurrence number.

    The occurrence number counts equal texts within the document from 0, so an edit elsewhere in the document moves no id
    and two equal chunks of one document still differ.
    """
    document = hashlib.blake2b(doc_id.encode("utf-8", "surrogatepass"), digest_size=16)
    seen: dict[str, int] = {}
    ids: list[str] = []
    for chunk in chunks:
        occurrence = seen.get(chunk, 0)
        seen[chunk] = occurrence + 1
        digest = hashlib.blake2b(document.digest(), digest_size=16)
        digest.update(occurrence.to_bytes(4, "little"))
        digest.update(chunk.encode("utf-8"))
        ids.append(digest.hexdigest())
    return ids


def ids_with_context(ids: Iterable[str], contexts: Iterable[str]) -> list[str]:
    """Return ids that also depend on the context sent before each chunk, where there is one.

    A chunk whose context changed has another text hash and may lie in another bucket, where nobody sees that its id was
    there before: under its old id it would be reported as added and as removed at once.
    """
    return [
        hashlib.blake2b(f"{one}{context}".encode(), digest_size=16).hexdigest() if context else one
        for one, context in zip(ids, contexts, strict=True)
    ]


def vector_fingerprint(model: str, dimensions: int | None, input_prefix: str, host: str, context: str = "none") -> str:
    """Name what determines a vector, so that a journal is only ever read by runs whose vectors would be the same.

    What is sent before a chunk is part of every text hash as well; prefix and context are named here so that journals of
    different ones never mix.
    """
    named = {"model": model, "dimensions": dimensions, "input_prefix": input_prefix, "host": host}
    return _digest(named if context == "none" else {**named, "context": context})


def settings_fingerprint(settings: Mapping[str, object]) -> str:
    """Name a whole configuration: 16 hex digits of its JSON with sorted keys."""
    return _digest(settings)


def _digest(value: Mapping[str, object]) -> str:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
