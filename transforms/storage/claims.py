"""Who embeds a bucket when an engine runs a bundle twice at once; the secret kept is how an attempt tells that it lives.

Layout in the run's folder: ``claims/<bits>-<bucket>`` names the attempt whose bucket it is, ``attempts/<attempt>`` is that
attempt's sign of life. Claims stay for the whole run, so whoever finds none knows that this run has sent none of the
bucket's texts. Locally the sign is a lock, which ends with its process. On gs:// nobody can hold one: the sign is put
again every RENEWED_SECONDS, and an attempt without a new one for DEAD_AFTER_SECONDS is taken for dead. Where that is an
error, texts are paid twice; what is written never depends on it.
"""

import contextlib
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass

from transforms.storage.run_folder import RunFolder, renewed

RENEWED_SECONDS = 10.0
DEAD_AFTER_SECONDS = 45.0
"""Four signs that did not come."""


@dataclass(frozen=True, slots=True)
class Turn:
    """Whose bucket it is now.

    Attributes:
        is_ours: whether this attempt may send the bucket's texts.
        after: the claim that ours follows, "" where there was none; its attempt may have journaled texts meanwhile.
    """

    is_ours: bool
    after: str = ""


class Claims:
    """One attempt's claims; nothing is written before the first. For one thread.

    An attempt is one execution of a bundle. Its sign is given before its first claim and lasts until ``close``, which every
    end of the bundle has to reach after its answers are journaled: a living process that forgets it lets others wait.
    """

    def __init__(self, folder: RunFolder, clock: Callable[[], float] = time.time) -> None:
        self._folder, self._store, self._clock = folder, folder.store, clock
        self._attempt = secrets.token_hex(8)
        self._sign: contextlib.ExitStack | None = None

    def take(self, bits: int, bucket: int) -> Turn:
        """Claim a bucket unless a living attempt has; the claim of a dead one, or of one that gave it up, is taken over.

        Raises:
            OSError: the store refuses to be written or read.
        """
        self._give_sign()
        path = self._path(bits, bucket)
        if self._store.create_bytes(path, self._attempt.encode()):
            return Turn(is_ours=True)
        holder = self._store.read_bytes(path)
        if holder == self._attempt.encode():
            return Turn(is_ours=True)
        if self._is_alive(holder.decode()):
            return Turn(is_ours=False)
        is_ours = self._store.replace_bytes(path, self._attempt.encode(), holder)
        return Turn(is_ours, holder.decode())

    def give_up(self, bits: int, bucket: int) -> None:
        """Let others take a bucket over although this attempt lives: it will journal no more of its texts."""
        nobody = f"given up {secrets.token_hex(8)}"
        self._store.replace_bytes(self._path(bits, bucket), nobody.encode(), self._attempt.encode())

    def close(self) -> None:
        """Take the sign back; a second call does nothing."""
        sign, self._sign = self._sign, None
        if sign is not None:
            sign.close()

    def _path(self, bits: int, bucket: int) -> str:
        return self._folder.path(f"claims/{bits:02d}-{bucket:05x}")

    def _sign_path(self, attempt: str) -> str:
        return self._folder.path(f"attempts/{attempt}")

    def _give_sign(self) -> None:
        if self._sign is not None:
            return
        path = self._sign_path(self._attempt)
        with contextlib.ExitStack() as stack:
            stack.callback(self._store.delete, path)
            if self._store.moves_folders:
                stack.callback(self._store.append(path).close)
            else:
                self._store.write_bytes(path, b"")
                stack.enter_context(renewed(lambda: self._store.write_bytes(path, b""), RENEWED_SECONDS))
            self._sign = stack.pop_all()

    def _is_alive(self, attempt: str) -> bool:
        path = self._sign_path(attempt)
        if self._store.moves_folders:
            return self._store.is_being_appended(path)
        given = [file.modified for file in self._store.list_files(self._folder.path("attempts")) if file.path == path]
        return bool(given) and self._clock() - given[0] <= DEAD_AFTER_SECONDS
