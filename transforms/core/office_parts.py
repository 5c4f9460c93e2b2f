"""Find the parts of an office document and what they say about it; the secret kept here is how parts refer to each other.

Source: ECMA-376 part 2 (packages: relationships, core properties).
"""

import posixpath
from collections.abc import Mapping
from urllib.parse import unquote

from transforms.core.archives import Archive
from transforms.core.markup_events import walk_xml

_PROPERTIES = {"title": "title", "language": "language"}


def office_part(archive: Archive) -> str:
    """Return the name of the main part, as in ``word/document.xml``; "" when the package names none."""
    return next((target for kind, target in relations(archive, "").values() if kind == "officeDocument"), "")


def relations(archive: Archive, part: str) -> dict[str, tuple[str, str]]:
    """Return what a part refers to inside the package: relation id → (last word of its type, part name)."""
    folder, name = posixpath.split(part)
    found: dict[str, tuple[str, str]] = {}

    def start(tag: str, attributes: dict[str, str]) -> None:
        if tag == "Relationship" and attributes.get("TargetMode") != "External":
            target = posixpath.normpath(posixpath.join("/" + folder, unquote(attributes.get("Target", ""))))
            kind = attributes.get("Type", "").rpartition("/")[2]
            found[attributes.get("Id", "")] = (kind, target.lstrip("/"))

    path = posixpath.join(folder, "_rels", f"{name}.rels")
    if path in archive.names:
        walk_xml(archive.read(path), start, lambda tag: None, lambda text: None)
    return found


def related(archive: Archive, part: str, kind: str) -> str:
    """Return the name of the part that another refers to as ``kind``; "" when there is none in the package."""
    targets = (target for of_kind, target in relations(archive, part).values() if of_kind == kind)
    return next((target for target in targets if target in archive.names), "")


def read_properties(archive: Archive, found: Mapping[str, object]) -> dict[str, object]:
    """Return the title and language that the document's properties tell, the title only where the text has none."""
    part = related(archive, "", "core-properties")
    values: dict[str, str] = {}
    inside: list[str] = []

    def start(tag: str, _: dict[str, str]) -> None:
        inside.append(tag)

    def text(data: str) -> None:
        if inside[-1] in _PROPERTIES:
            values[inside[-1]] = values.get(inside[-1], "") + data

    if part:
        walk_xml(archive.read(part), start, lambda tag: inside.pop(), text)
    own = {name: value.strip() for name, value in values.items()}
    return {**own, "title": own.get("title") or found.get("title", "")}
