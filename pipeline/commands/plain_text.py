"""Numbers, tables and paragraphs as a person reads them on a terminal of 80 columns."""

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from transforms.core.wording import size_text as size_text


def counted(count: int, noun: str) -> str:
    """Say a count with its noun, in the plural where it is not one: ``1 part``, ``2,000 rows``."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def money_text(cost_usd: float | None) -> str:
    """Say a cost; an unknown one is said to be unknown."""
    return "not known" if cost_usd is None else f"{cost_usd:.4f} USD"


def recall_text(recall: Mapping[str, Any]) -> str:
    """Say a measured recall: ``recall@10 0.953 (95 % interval 0.931 to 0.968, 500 texts as queries, exact search)``."""
    interval = f"95 % interval {recall['low']:.3f} to {recall['high']:.3f}"
    queries = f"{counted(recall['queries'], 'text')} as queries"
    return f"recall@{recall['k']} {recall['mean']:.3f} ({interval}, {queries}, exact search)"


def when_text(created_at: str) -> str:
    """Shorten an ISO-8601 UTC time to the minute: ``2026-11-22 09:30 UTC``."""
    return f"{created_at[:10]} {created_at[11:16]} UTC" if len(created_at) >= 16 else created_at


def one_line(text: str, width: int) -> str:
    """Put a text on one line of at most ``width`` characters; what is cut is marked with an ellipsis."""
    line = " ".join(text.split())
    return line if len(line) <= width else line[: width - 1].rstrip() + "…"


def paragraph(text: str, width: int, indent: str) -> list[str]:
    """Wrap a text to lines of at most ``width`` characters, each after ``indent``."""
    return textwrap.wrap(
        " ".join(text.split()), width, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False
    )


def facts(pairs: Sequence[tuple[str, str]]) -> list[str]:
    """Lay out names and values in two columns; pairs without a value are left out."""
    kept = [(name, value) for name, value in pairs if value]
    width = max((len(name) for name, _ in kept), default=0)
    return [f"{name:<{width}}  {value}" for name, value in kept]


def table(titles: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[str] = ()) -> list[str]:
    """Lay out rows under titles; columns named in ``right`` are flush right."""
    return aligned([titles, *rows], [at for at, title in enumerate(titles) if title in right])


def aligned(rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> list[str]:
    """Lay out rows of equally many cells in columns; those whose places are in ``right`` are flush right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(_fill(cell, widths[at], at in right) for at, cell in enumerate(row)).rstrip() for row in rows]


def _fill(cell: str, width: int, right: bool) -> str:
    return cell.rjust(width) if right else cell.ljust(width)
