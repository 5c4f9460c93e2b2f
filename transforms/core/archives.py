"""Open ZIP archives that may be hostile; the secret kept here is how far one is trusted."""

import io
import lzma
import struct
import zipfile
import zlib

from transforms.errors import UnreadableDocument

MOST_INFLATED_BYTES = 500_000_000
"""Of all members of one archive that are read."""
MOST_RATIO = 200
"""Inflated to stored bytes of one member beyond 10 MB; the markup of real documents stays below 100."""
MOST_MEMBERS = 100_000

# All that the standard library says of archives that are broken, or made to look so.
_BROKEN = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    EOFError,
    OSError,
    ValueError,
    NotImplementedError,
)
_RATIO_COUNTS_FROM_BYTES = 10_000_000
_STEP_BYTES = 1_000_000


class Archive:
    """An archive whose members are read whole, under limits on what they inflate to."""

    def __init__(self, content: bytes) -> None:
        try:
            self._zip = zipfile.ZipFile(io.BytesIO(content))
        except _BROKEN as error:
            raise UnreadableDocument(f"damaged: the archive cannot be opened ({error})") from None
        self.names = frozenset(self._zip.namelist())
        if len(self.names) > MOST_MEMBERS:
            raise UnreadableDocument(
                f"zip_bomb: the archive has {len(self.names):,} members; {MOST_MEMBERS:,} are read"
            )
        self._inflated = 0

    def read(self, name: str) -> bytes:
        """Return a member's bytes.

        Raises:
            UnreadableDocument: ``zip_bomb``, ``encrypted``, or ``damaged`` when it is not there or its checksum is wrong.
        """
        try:
            return self._read(self._zip.getinfo(name))
        except KeyError:
            raise UnreadableDocument(f"damaged: the document lacks its part {name[:100]!r}") from None
        except _BROKEN as error:
            raise UnreadableDocument(f"damaged: the part {name[:100]!r} cannot be unpacked ({error})") from None
        except RuntimeError:
            raise UnreadableDocument(
                "encrypted: the document is protected by a password; save it without one"
            ) from None

    def _read(self, info: zipfile.ZipInfo) -> bytes:
        pieces, size = [], 0
        with self._zip.open(info) as member:
            while piece := member.read(_STEP_BYTES):
                size += len(piece)
                self._inflated += len(piece)
                if self._inflated > MOST_INFLATED_BYTES or (
                    size > _RATIO_COUNTS_FROM_BYTES and size > MOST_RATIO * max(1, info.compress_size)
                ):
                    raise UnreadableDocument(
                        f"zip_bomb: {info.compress_size:,} stored bytes inflate to more than {size:,}; at most "
                        f"{MOST_RATIO} times are read, and {MOST_INFLATED_BYTES:,} bytes in all"
                    )
                pieces.append(piece)
        return b"".join(pieces)
