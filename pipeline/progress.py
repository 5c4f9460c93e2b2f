"""What a person sees while a run goes on: the bill, then a plain line every few seconds."""

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, TextIO

from pipeline.panel import Panel, look_at
from transforms.core.wording import duration_text, size_text
from transforms.storage.run_folder import RunFolder

LOOK_SECONDS = 0.5
_PAUSE_PER_LOOK = 4.0
"""Looks are this many times as far apart as they take: on gs://, with many workers, one takes seconds."""
LINE_SECONDS = 10.0
LOCAL = "local model"


class Progress:
    """Shows a run's progress while it is entered; reads it from the run's folder, so it works on every engine."""

    def __init__(self, lookout: "Lookout", out: TextIO, line_seconds: float = LINE_SECONDS) -> None:
        self._lookout, self._out, self._every = lookout, out, line_seconds
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._show, name="progress", daemon=True)

    def __enter__(self) -> "Progress":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()

    def _show(self) -> None:
        clock = self._lookout.clock
        wait, line_at = 0.0, clock() + self._every
        while not self._over.wait(wait):
            wait = self._lookout.look(self._say)
            if clock() >= line_at:
                self._say("; ".join(self._lookout.panel.lines()))
                line_at += self._every * (1 + int((clock() - line_at) / self._every))
        self._lookout.look(self._say)

    def _say(self, text: str) -> None:
        self._out.write(text + "\n")
        self._out.flush()


@dataclass
class Lookout:
    """Looks into a run's folder every so often and keeps a panel up to date.

    Attributes:
        says_bill: say the bill when it is known; a plan shows it at its end.
        clock: monotonic seconds.
    """

    folder: RunFolder
    panel: Panel
    says_bill: bool = True
    clock: Callable[[], float] = time.monotonic

    def look(self, say: Callable[[str], None]) -> float:
        """Look once, say the bill when it is new, and return the seconds to the next look."""
        began, before = self.clock(), self.panel.bill
        look = look_at(self.folder, before)
        if look is not None:
            self.panel.observe(self.clock(), look)
            if look.bill is not None and before is None and self.says_bill:
                say("\n".join(bill_lines(look.bill)))
        return max(LOOK_SECONDS, _PAUSE_PER_LOOK * (self.clock() - began))


def bill_lines(bill: Mapping[str, Any]) -> list[str]:
    """Say a bill in a few lines: what is there, what is paid already, what is to be paid."""
    texts = f"texts      {bill['texts']:,} distinct: {bill['texts_reused']:,} reused"
    if bill["texts_in_journal"]:
        texts += f" ({bill['texts_in_journal']:,} of them from the journal)"
    lines = [
        f"documents  {bill['documents']:,}: {bill['documents_new']:,} new, {bill['documents_changed']:,} changed, "
        f"{bill['documents_vanished']:,} vanished" + _unusable(bill),
        f"chunks     {bill['chunks']:,}, {bill['duplicates']:,} of them duplicates",
        f"{texts}, {bill['texts_to_embed']:,} to embed",
    ]
    if bill["texts_to_embed"]:
        lines.append(
            f"bill       {bill['tokens']:,} tokens in {bill['requests']:,} requests, {money(bill)}{_time(bill)}"
        )
    lines += [f"warning    {bill['price_warning']}"] if bill["price_warning"] else []
    lines += [f"DAMAGED    {problem}" for problem in bill["damaged_parts"]]
    lines.append(f"size       {size_text(bill['dataset_bytes'])} for the new version, about")
    return lines


def money(bill: Mapping[str, Any]) -> str:
    """Say what a bill costs; an unknown price is said to be unknown."""
    cost, price = bill["cost_usd"], bill["price_per_million_tokens"]
    if cost is None:
        return "price not known"
    if bill["price_source"] == LOCAL:
        return "free (local model)"
    return f"{cost:.4f} USD at {price:g} USD per million tokens ({bill['price_source']})"


def summary_lines(summary: Mapping[str, Any], committed: bool) -> list[str]:
    """Say what a run came to, in five seconds of reading."""
    head = f"committed  version {summary['version']} of {summary['dataset']}"
    if not committed:
        head = f"unchanged  {summary['dataset']} stays at version {summary['version']}; nothing was paid"
    rows = summary["rows_added"] + summary["rows_unchanged"]
    updated = summary["rows_updated"]
    lines = [
        head,
        f"rows       {rows:,}: {summary['rows_added']:,} added, {summary['rows_removed']:,} removed, "
        + (f"{updated:,} updated, " if updated else "")
        + f"{summary['rows_unchanged'] - updated:,} unchanged",
    ]
    if summary["texts_embedded"]:
        lines.append(
            f"paid       {summary['texts_embedded']:,} texts, {summary['prompt_tokens']:,} tokens "
            f"(estimated {summary['estimated_tokens']:,}), {summary['requests']:,} requests, "
            f"{summary['requests_retried']:,} retried, {_cost(summary)}"
        )
    if summary["tokens_wasted"]:
        lines.append(
            f"wasted     about {summary['tokens_wasted']:,} tokens on attempts that may have been charged and failed"
        )
    rejected = summary["documents_rejected"], summary["chunks_rejected"]
    if any(rejected):
        lines.append(
            f"REJECTED   {rejected[0]:,} documents, {rejected[1]:,} chunks; see rejects.parquet of the version"
        )
    lines.append(f"took       {duration_text(summary['seconds'])}, limited by {summary['limited_by']}")
    return lines


def _unusable(bill: Mapping[str, Any]) -> str:
    words = [
        f"{bill[key]:,} {word}"
        for key, word in (("documents_rejected", "REJECTED"), ("documents_empty", "empty"))
        if bill[key]
    ]
    return "".join(f", {word}" for word in words)


def _time(bill: Mapping[str, Any]) -> str:
    return (
        f", at least {duration_text(bill['seconds_at_quota'])} at the stated quota" if bill["seconds_at_quota"] else ""
    )


def _cost(summary: Mapping[str, Any]) -> str:
    return "cost not known" if summary["cost_usd"] is None else f"{summary['cost_usd']:.4f} USD"
