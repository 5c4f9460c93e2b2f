"""The pieces of a page that needs nothing but itself: one file, no network, no script, light and dark, wide and narrow.

Everything that is put in is escaped here, so that a document's name can never become markup.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

_STYLE = """
:root{color-scheme:light dark;--paper:#f6f5f1;--card:#fff;--ink:#1d2126;--soft:#5d6670;--line:#e3e1da;--accent:#2b5fa8;
--track:#ecebe5;--s0:#0072b2;--s1:#d55e00;--s2:#009e73;--s3:#cc79a7;--s4:#b98300;--s5:#56b4e9;--s6:#7a5bb5;--s7:#8d959c;
--a:#2b5fa8;--b:#2f8f6b;--c:#c28a1b;--d:#b8492f;--e:#a9b1b9;--alarm:#a83a20;--alarm-paper:#fbeae4}
@media(prefers-color-scheme:dark){:root{--paper:#14171b;--card:#1c2127;--ink:#e8eaec;--soft:#9aa4ae;--line:#2c333b;
--accent:#7fb0f0;--track:#2a3038;--s0:#4aa3df;--s1:#f0844a;--s2:#2bc49a;--s3:#e39cc4;--s4:#e6b03c;--s5:#8fd0f5;
--s6:#ab90e0;--s7:#7d868e;--a:#6fa3e8;--b:#4fb58d;--c:#d9a741;--d:#e0785c;--e:#5b6570;--alarm:#f09a80;
--alarm-paper:#3a211a}}
*{box-sizing:border-box}
body{margin:0;background:var(--paper);color:var(--ink);font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,
"Helvetica Neue",Arial,sans-serif;font-variant-numeric:tabular-nums;-webkit-text-size-adjust:100%}
main{max-width:1060px;margin:0 auto;padding:32px 20px 48px}
h1{font-size:25px;line-height:1.25;margin:0 0 4px;letter-spacing:-.01em;overflow-wrap:anywhere}
h2{font-size:15px;margin:0 0 12px;letter-spacing:.01em}
p{margin:0 0 10px}
.under{color:var(--soft);margin:0 0 22px;overflow-wrap:anywhere}
.figures{display:grid;grid-template-columns:repeat(auto-fit,minmax(135px,1fr));gap:12px;margin:0 0 16px}
.figure,section{background:var(--card);border:1px solid var(--line);border-radius:10px}
.figure{padding:12px 14px}
.figure b{display:block;white-space:nowrap;font-size:22px;line-height:1.25;font-weight:650;letter-spacing:-.01em}
.figure span{color:var(--soft);font-size:13px}
.grid{display:grid;grid-template-columns:repeat(2,minmax(0,1fr));gap:16px}
section{padding:18px 20px;min-width:0}
section.wide{grid-column:1/-1}
section.alarm{border-color:var(--alarm);background:var(--alarm-paper)}
section.alarm h2{color:var(--alarm)}
.note{color:var(--soft);font-size:13px;margin:10px 0 0}
.stack{display:flex;height:14px;border-radius:7px;overflow:hidden;background:var(--track);margin:0 0 12px}
.stack i{min-width:2px}
.a{background:var(--a)}.b{background:var(--b)}.c{background:var(--c)}.d{background:var(--d)}.e{background:var(--e)}
.key{display:inline-block;width:10px;height:10px;border-radius:3px;margin-right:8px}
table{width:100%;border-collapse:collapse;font-size:14px}
th{font-weight:500;color:var(--soft);font-size:13px;text-align:left}
td,th{padding:5px 0 5px 14px;vertical-align:top;border-top:1px solid var(--line)}
tr:first-child>*{border-top:0}
td:first-child,th:first-child{padding-left:0;overflow-wrap:anywhere}
td{overflow-wrap:anywhere}
.quoted{border-top:1px solid var(--line);padding:10px 0 6px;font-size:14px;overflow-wrap:anywhere}
.quoted:first-of-type{border-top:0;padding-top:0}.quoted p{margin:4px 0 0}.quoted span{color:var(--soft)}
.n{text-align:right;white-space:nowrap}
.bar{display:block;height:5px;border-radius:3px;background:var(--accent);opacity:.75;margin-top:3px;min-width:2px}
svg{display:block;width:100%;height:150px;border-bottom:1px solid var(--line)}svg rect{fill:var(--accent)}
.most,.axis{color:var(--soft);font-size:12px}.axis{position:relative;height:20px;margin-top:3px}
.axis span{position:absolute;transform:translateX(-50%);white-space:nowrap}.axis .first{transform:none}
.axis .last{left:auto!important;right:0;transform:none}
.line{fill:none;stroke:var(--accent);stroke-width:2;vector-effect:non-scaling-stroke}.line.d{stroke:var(--d)}
.low svg{height:90px}.bad svg rect{fill:var(--d)}svg .over{fill:transparent}.line.d,.line.a{background:none;fill:none}
.legend{display:flex;flex-wrap:wrap;gap:2px 18px;font-size:13px;color:var(--soft);margin:0 0 10px}
.legend span{overflow-wrap:anywhere}
.map{position:relative;height:440px;border:1px solid var(--line);border-radius:8px;overflow:hidden}
.map div{position:absolute;inset:12px}
.map i{position:absolute;width:8px;height:8px;margin:-4px 0 0 -4px;border-radius:50%;opacity:.7}
.map i::before{content:"";position:absolute;inset:-4px}
.map i:hover,.map i:focus{opacity:1;outline:2px solid var(--ink);z-index:2}
.map i:hover::after,.map i:focus::after{content:attr(data-t);position:fixed;left:12px;right:12px;bottom:12px;z-index:3;
max-width:680px;margin:0 auto;padding:10px 14px;border-radius:8px;background:var(--ink);color:var(--paper);
font:14px/1.45 system-ui,-apple-system,"Segoe UI",Roboto,Arial,sans-serif;overflow-wrap:anywhere;pointer-events:none}
.s0{background:var(--s0)}.s1{background:var(--s1)}.s2{background:var(--s2)}.s3{background:var(--s3)}
.s4{background:var(--s4)}.s5{background:var(--s5)}.s6{background:var(--s6)}.s7{background:var(--s7)}
dl{display:grid;grid-template-columns:fit-content(60%) minmax(0,1fr);gap:4px 18px;margin:0;font-size:14px}
dt{color:var(--soft)}dd{margin:0;overflow-wrap:anywhere}
footer{color:var(--soft);font-size:13px;margin-top:20px}
@media(max-width:720px){main{padding:20px 12px 32px}.grid{grid-template-columns:minmax(0,1fr)}section{padding:16px 14px}
.figures{grid-template-columns:repeat(2,minmax(0,1fr))}svg{height:110px}
.low svg{height:70px}.map{height:330px}td:first-child{min-width:6.5em}h1{font-size:21px}
table{font-size:13px}td,th{padding-left:8px}section{overflow-x:auto}}
@media print{body{background:#fff}section,.figure{break-inside:avoid}}
"""


@dataclass(frozen=True, slots=True)
class Share:
    """One part of a whole: what it is, how many, and which of the page's colours, ``a`` to ``e``."""

    name: str
    count: int
    colour: str


def page(title: str, under: str, body: Iterable[str], foot: str) -> str:
    """Return a whole document; ``body`` is markup made by the other functions here, the rest is text."""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<main>\n"
        f'<h1>{escape(title)}</h1>\n<p class="under">{escape(under)}</p>\n'
        + "\n".join(body)
        + f"\n<footer>{escape(foot)}</footer>\n</main>\n</body>\n</html>\n"
    )


def figures(pairs: Iterable[tuple[str, str]]) -> str:
    """Show a few numbers large, each over what it counts."""
    boxes = "".join(f'<div class="figure"><b>{escape(n)}</b><span>{escape(what)}</span></div>' for n, what in pairs)
    return f'<div class="figures">{boxes}</div>'


def grid(sections: Iterable[str]) -> str:
    """Lay sections out in two columns, in one on a phone."""
    return '<div class="grid">\n' + "\n".join(sections) + "\n</div>"


def section(title: str, content: str, wide: bool = False, alarm: bool = False) -> str:
    """Frame markup under a heading."""
    kinds = " ".join(kind for kind, wanted in (("wide", wide), ("alarm", alarm)) if wanted)
    return f'<section class="{kinds}"><h2>{escape(title)}</h2>\n{content}</section>'


def note(text: str) -> str:
    """Add a small sentence."""
    return f'<p class="note">{escape(text)}</p>'


def shares(parts: Sequence[Share]) -> str:
    """Show parts of a whole as one bar, with its legend as a table."""
    whole = sum(part.count for part in parts)
    bar = "".join(f'<i class="{p.colour}" style="flex:{p.count}"></i>' for p in parts if p.count)
    rows = "".join(
        f'<tr><td><span class="key {part.colour}"></span>{escape(part.name)}</td><td class="n">{part.count:,}</td>'
        f'<td class="n">{_percent(part.count, whole)}</td></tr>'
        for part in parts
    )
    return f'<div class="stack">{bar}</div><table>{rows}</table>'


def _percent(count: int, whole: int) -> str:
    return f"{count / whole:.1%}" if whole else ""


def table(titles: Sequence[str], rows: Iterable[Sequence[str]], numbers: Sequence[int] = (), bars: bool = False) -> str:
    """Show rows of text.

    Args:
        numbers: places of columns that are flush right.
        bars: draw a bar under each first cell, as long as the row's second cell is large; the cells hold ``1,234``.
    """
    head = "".join(f"<th{_right(at, numbers)}>{escape(title)}</th>" for at, title in enumerate(titles))
    rows = list(rows)
    most = max((int(row[1].replace(",", "")) for row in rows), default=0) if bars else 0
    lines = []
    for row in rows:
        cells = [f"<td{_right(at, numbers)}>{escape(cell)}</td>" for at, cell in enumerate(row)]
        if most:
            share = 100 * int(row[1].replace(",", "")) / most
            cells[0] = f'<td>{escape(row[0])}<span class="bar" style="width:{share:.1f}%"></span></td>'
        lines.append(f"<tr>{''.join(cells)}</tr>")
    return f"<table>{f'<tr>{head}</tr>' if any(titles) else ''}{''.join(lines)}</table>"


def _right(at: int, numbers: Sequence[int]) -> str:
    return ' class="n"' if at in numbers else ""


def quotes(title: str, quoted: Iterable[tuple[str, str]]) -> str:
    """Show what documents say, each after its name, under a small title."""
    said = "".join(f"<p>{escape(name)} <span>{escape(words)}</span></p>" for name, words in quoted)
    return f'<div class="quoted"><b>{escape(title)}</b>{said}</div>'


def facts(pairs: Iterable[tuple[str, str]]) -> str:
    """Show names and values; pairs without a value are left out."""
    return "<dl>" + "".join(f"<dt>{escape(n)}</dt><dd>{escape(v)}</dd>" for n, v in pairs if v) + "</dl>"


def columns(counts: Sequence[int], labels: Sequence[str], ticks: Sequence[tuple[float, str]]) -> str:
    """Draw a histogram.

    Args:
        labels: what each column says when it is pointed at.
        ticks: (place in columns from the left edge, text) on the axis below; the first at the left, the last at the right.
    """
    most, width, high = max(counts, default=0) or 1, 1000, 100
    step = width / max(1, len(counts))
    drawn = [
        f'<rect x="{at * step + 1:.1f}" y="{high - tall:.2f}" width="{step - 2:.1f}" height="{tall:.2f}">'
        f"<title>{escape(label)}</title></rect>"
        for at, (count, label) in enumerate(zip(counts, labels, strict=True))
        if (tall := max(1.0, high * count / most) if count else 0.0)
    ]
    places = [100 * at / max(1, len(counts)) for at, _ in ticks]
    axis = "".join(
        f'<span class="{_side(at, len(ticks))}" style="left:{place:.2f}%">{escape(text)}</span>'
        for at, (place, (_, text)) in enumerate(zip(places, ticks, strict=True))
    )
    return (
        f'<div class="most">{most:,}</div><svg viewBox="0 0 {width} {high}" preserveAspectRatio="none" role="img">'
        f'{"".join(drawn)}</svg><div class="axis">{axis}</div>'
    )


def _side(at: int, count: int) -> str:
    if at == 0:
        return "first"
    return "last" if at == count - 1 else ""
