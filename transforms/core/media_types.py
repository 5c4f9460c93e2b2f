"""Tell what a document is; the secret kept here is which suffixes and first bytes mean what.

The name says what a document should be, and its first bytes have the last word.
"""

import re
from pathlib import PurePosixPath

_MEDIA_TYPES = {
    ".md": "text/markdown",
    ".markdown": "text/markdown",
    ".rst": "text/x-rst",
    ".html": "text/html",
    ".htm": "text/html",
    ".xhtml": "text/html",
    ".eml": "message/rfc822",
    ".csv": "text/csv",
    ".tsv": "text/tab-separated-values",
    ".jsonl": "application/jsonl",
    ".ndjson": "application/jsonl",
    ".parquet": "application/vnd.apache.parquet",
}
_SOURCE_CODE = {
    **{".py": "python", ".pyi": "python", ".js": "javascript", ".mjs": "javascript", ".jsx": "javascript"},
    **{".ts": "typescript", ".tsx": "typescript", ".java": "java", ".kt": "kotlin", ".scala": "scala", ".go": "go"},
    **{".rs": "rust", ".c": "c", ".h": "c", ".cc": "c++", ".cpp": "c++", ".hpp": "c++", ".cs": "csharp", ".rb": "ruby"},
    **{".php": "php", ".swift": "swift", ".m": "objective-c", ".lua": "lua", ".pl": "perl", ".r": "r", ".jl": "julia"},
    **{
        ".sh": "shellscript",
        ".bash": "shellscript",
        ".sql": "sql",
        ".css": "css",
        ".scss": "scss",
        ".proto": "protobuf",
    },
}
_COMPRESSED = (".gz", ".zst", ".bz2")

RECORD_TYPES = frozenset(
    ("text/csv", "text/tab-separated-values", "application/jsonl", "application/vnd.apache.parquet")
)
"""Files that hold many documents."""

# What the first bytes of formats say that are no text. Source: the formats' own specifications.
_SIGNATURES = (
    (b"%PDF-", "application/pdf", "a PDF"),
    (b"PK\x03\x04", "application/zip", "a ZIP archive"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "application/x-ole-storage", "an old office document (doc, xls, ppt)"),
    (b"{\\rtf", "application/rtf", "a rich text document"),
    (b"\x1f\x8b", "application/gzip", "gzip-compressed"),
    (b"BZh", "application/x-bzip2", "bzip2-compressed"),
    (b"\xfd7zXZ\x00", "application/x-xz", "xz-compressed"),
    (b"\x28\xb5\x2f\xfd", "application/zstd", "zstd-compressed"),
    (b"\x89PNG\r\n", "image/png", "a PNG image"),
    (b"\xff\xd8\xff", "image/jpeg", "a JPEG image"),
    (b"GIF8", "image/gif", "a GIF image"),
    (b"\x7fELF", "application/x-elf", "a program"),
    (b"SQLite format 3\x00", "application/vnd.sqlite3", "an SQLite database"),
    (b"PAR1", "application/vnd.apache.parquet", "a Parquet table"),
)
_PAGE_START = re.compile(rb"(?:\xef\xbb\xbf)?\s{0,100}<(?:!doctype\s+html|html[\s>])", re.IGNORECASE)


def media_type_of(content: bytes, source_uri: str) -> str:
    """Tell what a document is by its first bytes, else by the suffix of its name, else plain text."""
    named = named_media_type(source_uri)
    signed = signed_media_type(content)
    if signed:
        return signed
    return "text/html" if named == "text/plain" and _PAGE_START.match(content) else named


def named_media_type(source_uri: str) -> str:
    """Tell what a document should be by its name; the suffix of a compression is passed over where records may follow."""
    path = PurePosixPath(source_uri)
    suffix = path.suffix.lower()
    if suffix in _COMPRESSED:
        inner = _MEDIA_TYPES.get(PurePosixPath(path.stem).suffix.lower(), "")
        return inner if inner in RECORD_TYPES and inner != "application/vnd.apache.parquet" else "text/plain"
    source_code = _SOURCE_CODE.get(suffix)
    return f"text/x-{source_code}" if source_code else _MEDIA_TYPES.get(suffix, "text/plain")


def signed_media_type(content: bytes) -> str:
    """Tell what the first bytes say; "" when they are no signature."""
    return next((media_type for signature, media_type, _ in _SIGNATURES if content.startswith(signature)), "")


def describe_signature(media_type: str) -> str:
    """Say in words for a person what a signed media type is."""
    return next(words for _, known, words in _SIGNATURES if known == media_type)
