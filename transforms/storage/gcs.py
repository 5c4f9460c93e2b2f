"""A dataset in a bucket of Google Cloud Storage; the secret kept is what of a folder a bucket has to be asked for."""

import contextlib
import errno
import hashlib
import secrets
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import pyarrow.parquet as pq
from google.api_core import exceptions

from transforms.errors import ConfigError
from transforms.storage.gcs_client import (
    CALLS_AT_ONCE,
    RETRY,
    fetch,
    list_blobs,
    naming,
    open_bucket,
    read_object,
    split_address,
)
from transforms.storage.gcs_ranges import READ_AHEAD_BYTES, RangedObject
from transforms.storage.gcs_uploads import FLUSH_SECONDS, GcsAppender, GcsOutput, put_bytes, vouched_sha256
from transforms.storage.store import MakeHead, StoredFile, no_head


def open_gcs_store(root: str, billing_project: str = "") -> "GcsStore":
    """Return the store of ``gs://bucket/prefix``, without asking whether it exists."""
    bucket, prefix = split_address(root)
    return GcsStore(bucket, prefix.strip("/"), billing_project)


def open_object(uri: str, billing_project: str = "") -> RangedObject:
    """Open ``gs://bucket/name`` to be read in pieces; an object of any size.

    Raises:
        OSError: FileNotFoundError when there is none, PermissionError when this account may not read it.
    """
    bucket, name = split_address(uri)
    return RangedObject(GcsStore(bucket, "", billing_project)._look_up(name), uri)


def identify_object(uri: str, billing_project: str = "") -> bytes:
    """Return 32 bytes that are others when an object's bytes are, without reading it.

    Made of its size and MD5; of an object that was composed of others, which has none, of the generation, which is
    another one after each upload.

    Raises:
        OSError: as ``open_object``.
    """
    bucket, name = split_address(uri)
    blob = GcsStore(bucket, "", billing_project)._look_up(name)
    return hashlib.sha256(f"{blob.size} {blob.crc32c} {blob.md5_hash or blob.generation}".encode()).digest()


@dataclass(frozen=True, slots=True)
class GcsStore:
    """A prefix in a bucket. Objects appear whole or not at all; the generation of an object guards its replacement.

    ``billing_project`` pays for every request, "" where the bucket's owner does.
    """

    bucket: str
    prefix: str
    billing_project: str = ""

    @property
    def root(self) -> str:
        return f"gs://{self.bucket}/{self.prefix}" if self.prefix else f"gs://{self.bucket}"

    @property
    def moves_folders(self) -> bool:
        return False

    @property
    def sync_seconds(self) -> float:
        return FLUSH_SECONDS

    @property
    def calls_at_once(self) -> int:
        return CALLS_AT_ONCE

    def _name(self, path: str) -> str:
        return f"{self.prefix}/{path}" if self.prefix else path

    def _uri(self, path: str) -> str:
        return f"gs://{self.bucket}/{self._name(path)}"

    def _bucket(self) -> Any:
        return open_bucket(self.bucket, self.billing_project)

    def _blob(self, path: str) -> Any:
        return self._bucket().blob(self._name(path))

    def _look_up(self, path: str) -> Any:
        """Return an object with its properties, or raise FileNotFoundError."""
        with naming(self._uri(path)):
            blob = self._bucket().get_blob(self._name(path), retry=RETRY)
        if blob is None:
            raise FileNotFoundError(errno.ENOENT, "no such object", self._uri(path))
        return blob

    def read_bytes(self, path: str) -> bytes:
        return read_object(self._uri(path), self.billing_project)

    def read_head(self, path: str, most_bytes: int) -> bytes:
        with naming(self._uri(path)):
            try:
                blob = self._blob(path)
                return fetch(lambda: bytes(blob.download_as_bytes(end=most_bytes - 1, raw_download=True, retry=RETRY)))
            except exceptions.RequestRangeNotSatisfiable:  # an empty object has no first byte
                return b""

    def write_bytes(self, path: str, data: bytes) -> None:
        with naming(self._uri(path)):
            put_bytes(self._blob(path), data)

    def create_bytes(self, path: str, data: bytes) -> bool:
        return self._put_if(path, data, 0)

    def _put_if(self, path: str, data: bytes, generation: int) -> bool:
        """Put an object if its generation still is this one, counting an upload of which only the answer was lost."""
        try:
            with naming(self._uri(path)):
                try:
                    put_bytes(self._blob(path), data, generation)
                except exceptions.PreconditionFailed:
                    return self.read_bytes(path) == data
        except FileNotFoundError:
            if self._bucket_is_there():
                return False
            raise
        return True

    def _bucket_is_there(self) -> bool:
        next(list_blobs(self.bucket, self.prefix, "items(name)", self.billing_project), None)
        return True

    def replace_bytes(self, path: str, data: bytes, expected: bytes | None) -> bool:
        if expected is None:
            return self.create_bytes(path, data)
        try:
            blob = self._look_up(path)
            with naming(self._uri(path)):
                found = fetch(lambda: blob.download_as_bytes(if_generation_match=blob.generation, retry=RETRY))
        except FileNotFoundError:
            return False
        return found == expected and self._put_if(path, data, blob.generation)

    def exists(self, path: str) -> bool:
        with naming(self._uri(path)):
            return bool(self._blob(path).exists(retry=RETRY))

    def list_files(self, folder: str) -> list[StoredFile]:
        top, skip = self._name(folder.strip("/")).rstrip("/"), len(self._name(""))
        fields = "items(name,size,updated,crc32c,metadata),nextPageToken"
        blobs = list_blobs(self.bucket, f"{top}/" if top else "", fields, self.billing_project)
        files = (StoredFile(b.name[skip:], b.size or 0, b.updated.timestamp(), vouched_sha256(b)) for b in blobs)
        return sorted(files, key=lambda file: file.path)

    def delete(self, path: str) -> None:
        with contextlib.suppress(FileNotFoundError), naming(self._uri(path)):
            self._blob(path).delete(retry=RETRY)

    def delete_tree(self, folder: str) -> None:
        paths = [file.path for file in self.list_files(folder)]
        with ThreadPoolExecutor(CALLS_AT_ONCE) as pool:
            list(pool.map(self.delete, paths))

    def delete_empty_folders(self, folder: str) -> None:
        """Do nothing: a bucket has no folders."""

    def delete_unless_appended(self, path: str) -> bool:
        self.delete(path)
        return True

    def delete_leftovers(self) -> None:
        """Do nothing: an upload that was not finished leaves no object."""

    def open_output(self, path: str) -> GcsOutput:
        return GcsOutput(self._blob(path), self._uri(path))

    def open_parquet(self, path: str) -> pq.ParquetFile:
        return pq.ParquetFile(RangedObject(self._look_up(path), self._uri(path)), page_checksum_verification=True)

    def digest(self, path: str) -> str:
        digest = hashlib.sha256()
        with RangedObject(self._look_up(path), self._uri(path)) as file:
            while block := file.read1(READ_AHEAD_BYTES):
                digest.update(block)
        return digest.hexdigest()

    def move(self, source: str, target: str) -> None:
        self.link(source, target)
        self.delete(source)

    def link(self, source: str, target: str) -> None:
        origin, goal = self._look_up(source), self._blob(target)
        goal.metadata, goal.content_type = origin.metadata, origin.content_type
        with naming(self._uri(source)):
            token, _, _ = goal.rewrite(origin, retry=RETRY)
            while token is not None:
                token, _, _ = goal.rewrite(origin, token=token, retry=RETRY)

    def sync_folder(self, folder: str) -> None:
        """Do nothing: an object is durable when its upload is answered."""

    def append(self, path: str, make_head: MakeHead = no_head) -> GcsAppender:
        return GcsAppender(self.write_bytes, path, make_head)

    def is_being_appended(self, path: str) -> bool:
        return False

    def lock(self, name: str) -> AbstractContextManager[None]:
        return contextlib.nullcontext()

    def check_writable(self) -> None:
        probe = f"_journal/probe-{secrets.token_hex(6)}"
        try:
            self.write_bytes(probe, b"")
            self.delete(probe)
        except OSError as error:
            raise ConfigError(
                f"cannot write to {self.root}: {error.strerror}. Check that the bucket exists and that this account "
                "may create and delete objects in it (roles/storage.objectUser), or choose another dataset"
            ) from error
