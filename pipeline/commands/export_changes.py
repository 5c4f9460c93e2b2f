"""What changed since a version, also since one that is gone, as long as each later version says what it changed."""

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.commands.diff import compare_versions
from transforms.core.manifest import Manifest
from transforms.core.tables import CHANGES
from transforms.errors import RunRefused
from transforms.storage.manifests import manifest_of_version, version_folder
from transforms.storage.store import Store


def changes_since(store: Store, current: Manifest, since: int, manifest: Manifest) -> pa.Table:
    """Return ids with their changes from version ``since`` to the manifest's, each id once, as ``changes.parquet`` has them.

    Where version ``since`` is gone, the changes that the versions after it recorded are put together; an id that came and went
    between them is then named as removed, which a target that never had it takes as well.

    Raises:
        RunRefused: neither that version nor the chain of changes since is there.
    """
    try:
        return compare_versions(store, current, since, manifest).changes
    except RunRefused:
        return _last_of_each(_recorded_since(store, since, manifest))


def _recorded_since(store: Store, since: int, manifest: Manifest) -> list[pa.Table]:
    """Return the changes of each version after ``since``, newest first."""
    found = []
    while manifest.version > since:
        path = f"{version_folder(manifest.version)}/changes.parquet"
        try:
            found.append(store.open_parquet(path).read(columns=CHANGES.names))
        except FileNotFoundError:
            raise RunRefused(f"{store.root}/{path} is not there") from None
        if manifest.previous_version <= since:
            break
        manifest = manifest_of_version(store, manifest.previous_version)
    if manifest.previous_version != since:
        raise RunRefused(f"no version of {store.root} grew from version {since}")
    return found


def _last_of_each(newest_first: list[pa.Table]) -> pa.Table:
    """Keep the newest change of each id."""
    kept = newest_first[0]
    for table in newest_first[1:]:
        older = table.filter(pc.invert(pc.is_in(table.column("id"), value_set=kept.column("id").combine_chunks())))
        kept = pa.concat_tables([kept, older])
    return kept.sort_by("id")
