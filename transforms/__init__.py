"""The path of the data, one file a step, in flow order.

read → extract → chunk → group → plan (the bill) → embed → write → commit

With ``documents.dataset`` the first three are one: reread.

Steps are loaded when they are first named, so that commands which read a dataset need not wait for Beam.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transforms.chunk import ChunkDocuments as ChunkDocuments
    from transforms.commit import CommitSettings as CommitSettings
    from transforms.commit import CommitVersion as CommitVersion
    from transforms.embed import EmbedBuckets as EmbedBuckets
    from transforms.embed import EmbedSettings as EmbedSettings
    from transforms.extract import ExtractText as ExtractText
    from transforms.group import ChooseBuckets as ChooseBuckets
    from transforms.group import GroupByText as GroupByText
    from transforms.group import PackChunks as PackChunks
    from transforms.plan import ApproveBill as ApproveBill
    from transforms.plan import CountDocuments as CountDocuments
    from transforms.plan import PlanBuckets as PlanBuckets
    from transforms.plan import Tariff as Tariff
    from transforms.read import FindDocuments as FindDocuments
    from transforms.read import ReadDocuments as ReadDocuments
    from transforms.remember import RememberFiles as RememberFiles
    from transforms.reread import RereadChunks as RereadChunks
    from transforms.stamp import StampSettings as StampSettings
    from transforms.write import WriteParts as WriteParts

_ROOMS = {
    "FindDocuments": "read",
    "ReadDocuments": "read",
    "ExtractText": "extract",
    "ChunkDocuments": "chunk",
    "RereadChunks": "reread",
    "RememberFiles": "remember",
    "ChooseBuckets": "group",
    "PackChunks": "group",
    "GroupByText": "group",
    "CountDocuments": "plan",
    "PlanBuckets": "plan",
    "ApproveBill": "plan",
    "Tariff": "plan",
    "EmbedBuckets": "embed",
    "EmbedSettings": "embed",
    "WriteParts": "write",
    "StampSettings": "stamp",
    "CommitVersion": "commit",
    "CommitSettings": "commit",
}


def __getattr__(name: str) -> object:
    room = _ROOMS.get(name)
    if room is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{room}"), name)
