"""What a person sees while a run goes on: the bill, then a plain line every few seconds."""

import threading
from collections.abc import Mapping
from types import TracebackType
from typing import Any, TextIO

from transforms.core.wording import duration_text
from transforms.storage.run_folder import RunFolder

_POLL_SECONDS = 0.2
LINE_SECONDS = 10.0
LOCAL = "local model"


class Progress:
    """Shows a run's progress while it is entered; reads it from the run's folder, so it works on every engine."""

    def __init__(self, folder: RunFolder, out: TextIO, line_seconds: float = LINE_SECONDS) -> None:
        self._folder, self._out, self._every = folder, out, line_seconds
        self._over = threading.Event()
        self._bill: dict[str, Any] | None = None
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
        waited = 0.0
        while not self._over.wait(_POLL_SECONDS):
            waited += _POLL_SECONDS
            self._show_bill_once()
            if waited >= self._every:
                waited = 0.0
                self._say(progress_line(self._bill, self._folder.progress()))
        self._show_bill_once()

    def _show_bill_once(self) -> None:
        if self._bill is None:
            self._bill = self._folder.bill()
            if self._bill is not None:
                for line in bill_lines(self._bill):
                    self._say(line)

    def _say(self, line: str) -> None:
        self._out.write(line + "\n")
        self._out.flush()


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
    lines.append(f"size       {_size(bill['dataset_bytes'])} for the new version, about")
    return lines


def money(bill: Mapping[str, Any]) -> str:
    """Say what a bill costs; an unknown price is said to be unknown."""
    cost, price = bill["cost_usd"], bill["price_per_million_tokens"]
    if cost is None:
        return "price not known"
    if bill["price_source"] == LOCAL:
        return "free (local model)"
    return f"{cost:.4f} USD at {price:g} USD per million tokens ({bill['price_source']})"


def progress_line(bill: Mapping[str, Any] | None, progress: list[dict[str, Any]]) -> str:
    """Say in one line how far a run is."""
    if bill is None:
        return "reading and chunking documents"
    done = sum(one.get("texts", 0) for one in progress)
    tokens = sum(one.get("prompt_tokens", 0) for one in progress)
    requests = sum(one.get("requests", 0) for one in progress)
    retried = sum(one.get("requests_retried", 0) for one in progress)
    line = f"embedded {done:,} of {bill['texts_to_embed']:,} texts, {tokens:,} tokens, {requests:,} requests"
    line += f", {retried:,} retried" if retried else ""
    throttled = sum(one.get("requests_throttled", 0) for one in progress)
    line += f", {throttled:,} throttled (429)" if throttled else ""
    price = bill["price_per_million_tokens"]
    line += f", {tokens * price / 1_000_000:.4f} of {bill['cost_usd']:.4f} USD" if price else ""
    seconds = max((one.get("seconds", 0.0) for one in progress), default=0.0)
    if done and seconds and done < bill["texts_to_embed"]:
        line += f", about {duration_text(seconds * (bill['texts_to_embed'] - done) / done)} left"
    return line


def summary_lines(summary: Mapping[str, Any], committed: bool) -> list[str]:
    """Say what a run came to, in five seconds of reading."""
    head = f"committed  version {summary['version']} of {summary['dataset']}"
    if not committed:
        head = f"unchanged  {summary['dataset']} stays at version {summary['version']}; nothing was paid"
    rows = summary["rows_added"] + summary["rows_unchanged"]
    lines = [
        head,
        f"rows       {rows:,}: {summary['rows_added']:,} added, {summary['rows_removed']:,} removed, "
        f"{summary['rows_unchanged']:,} unchanged",
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


def _size(count: int) -> str:
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count} bytes"
