"""Pictures for a page of ``core/page.py``: lines over time and dots on a plane. No script: pointing at them shows words."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

KINDS = 8
"""Colours of dots, ``s0`` to ``s7``; the last is grey."""
_WIDE, _HIGH = 1000, 100


@dataclass(frozen=True, slots=True)
class Line:
    """One line over equal steps: its name, its colour (``a`` or ``d``), its values, None where there is none."""

    name: str
    colour: str
    values: Sequence[float | None]


@dataclass(frozen=True, slots=True)
class Dot:
    """A place on a plane, x and y in [0, 1] from the lower left, its kind, and what it says when pointed at."""

    x: float
    y: float
    kind: int
    label: str


def legend(entries: Iterable[tuple[str, str]]) -> str:
    """Name colours: pairs of a colour's class and what it stands for."""
    words = "".join(f'<span><i class="key {colour}"></i>{escape(name)}</span>' for colour, name in entries)
    return f'<div class="legend">{words}</div>'


def lines(drawn: Sequence[Line], labels: Sequence[str], top: str) -> str:
    """Draw lines with steps.

    Args:
        labels: what each step says when it is pointed at.
        top: what the upper edge, the largest value, stands for.
    """
    most = max((value for line in drawn for value in line.values if value is not None), default=0.0) or 1.0
    step = _WIDE / max(1, len(labels))
    paths = "".join(f'<path class="line {line.colour}" d="{_path(line.values, most, step)}"/>' for line in drawn)
    over = "".join(
        f'<rect class="over" x="{at * step:.1f}" y="0" width="{step:.1f}" height="{_HIGH}">'
        f"<title>{escape(label)}</title></rect>"
        for at, label in enumerate(labels)
    )
    return (
        f'<div class="most">{escape(top)}</div><svg viewBox="0 0 {_WIDE} {_HIGH}" preserveAspectRatio="none" role="img">'
        f"{paths}{over}</svg>"
    )


def _path(values: Sequence[float | None], most: float, step: float) -> str:
    words: list[str] = []
    pen_down = False
    for at, value in enumerate(values):
        if value is not None:
            move = "L" if pen_down else "M"
            words.append(f"{move}{at * step:.1f} {_HIGH - 96 * value / most:.1f}H{(at + 1) * step:.1f}")
        pen_down = value is not None
    return "".join(words)


def plane(dots: Iterable[Dot], described: str) -> str:
    """Draw dots on a plane."""
    drawn = "".join(
        f'<i class="s{dot.kind}" style="left:{100 * dot.x:.1f}%;top:{100 - 100 * dot.y:.1f}%" tabindex="-1" '
        f'data-t="{escape(dot.label)}"></i>'
        for dot in dots
    )
    return f'<div class="map" role="img" aria-label="{escape(described)}"><div>{drawn}</div></div>'
