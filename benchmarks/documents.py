"""Documents to packed chunks on one core: how many megabytes a second, and which share of the time each stage takes.

Every stage is the product's own code, called without an engine, in one thread; the time is the processor's, so that a loaded
machine tells nearly the same. Megabytes are those of the files as they are stored.
"""

import itertools
import re
import shutil
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from benchmarks.corpus import make_corpus
from transforms.core.chunk_document import chunk_document
from transforms.core.chunking import ChunkSettings
from transforms.core.extraction import extract_text
from transforms.core.lead import LeadSettings
from transforms.core.record_fields import RecordSettings
from transforms.core.tokens import Tokenizer, tokenizer_for_model
from transforms.group import _PackChunksFn
from transforms.records import ChunkedDocument, Document, FoundDocument, RawDocument
from transforms.storage.documents import find_documents, read_with_digest
from transforms.unpack import unpack_documents

MODEL = "text-embedding-3-small"
STAGES = ("read", "extract", "chunk + count", "hash + pack")
_BITS = 4
_SOURCES = Path(__file__).parent.parent
_HEAD = (
    f"| documents | MB | chunks | MB/s | × tokenizer | {' | '.join(STAGES)} |",
    "|---|---|---|---|---|---|---|---|---|",
)


@dataclass(frozen=True, slots=True)
class Throughput:
    """What documents of one kind take; medians of the rounds.

    Attributes:
        stage_seconds: CPU seconds of each of STAGES.
        tokenizer_seconds: CPU seconds of one pass of the tokenizer over the extracted texts, which nobody can go below.
    """

    kind: str
    megabytes: float
    chunks: int
    stage_seconds: Sequence[float]
    tokenizer_seconds: float


def measure_documents(folder: Path, megabytes: float, rounds: int) -> Iterator[Throughput]:
    """Make documents of every kind below a folder, that many megabytes of text of each, and measure them in turn."""
    tokenizer = tokenizer_for_model(MODEL)
    tokenizer.count("The vocabulary is loaded by the first text.")
    for kind, make in _KINDS.items():
        here = folder / kind.lower().replace(" ", "-")
        shutil.rmtree(here, ignore_errors=True)
        here.mkdir(parents=True)
        make(here, megabytes)
        found = find_documents([f"{here}/**/*.*"])
        taken = [_once(found, tokenizer) for _ in range(rounds)]
        seconds = [statistics.median(stage) for stage in zip(*(one[0] for one in taken), strict=True)]
        stored = sum(one.size_bytes for one in found) / 1e6
        yield Throughput(kind, stored, taken[0][1], seconds[:-1], seconds[-1])


def table(rows: Sequence[Throughput]) -> list[str]:
    """Return the lines of a Markdown table: megabytes a second, and of each stage also its share of the time."""
    said = "Megabytes of files a CPU second, whole and by stage with its share; × tokenizer: against one pass of that alone."
    return [said, "", *_HEAD, *map(_line, rows)]


def _line(row: Throughput) -> str:
    whole = sum(row.stage_seconds)
    stages = [f"{row.megabytes / seconds:,.0f} ({seconds / whole:.0%})" for seconds in row.stage_seconds]
    figures = (
        f"{row.megabytes:.1f} | {row.chunks:,} | {row.megabytes / whole:.1f} | {whole / row.tokenizer_seconds:.2f}"
    )
    return f"| {row.kind} | {figures} | {' | '.join(stages)} |"


def _once(found: Sequence[FoundDocument], tokenizer: Tokenizer) -> tuple[list[float], int]:
    """Take documents through every stage; returns the CPU seconds of each and of the tokenizer alone, and the chunks."""
    began = [time.process_time()]
    raw = _read(found)
    began.append(time.process_time())
    documents = _extract(raw)
    began.append(time.process_time())
    chunked = [chunk_document(one, ChunkSettings(), LeadSettings(), tokenizer) for one in documents]
    began.append(time.process_time())
    chunks = _pack(chunked)
    began.append(time.process_time())
    for document in documents:
        tokenizer.count(document.text)
    began.append(time.process_time())
    return [after - before for before, after in itertools.pairwise(began)], chunks


def _read(found: Sequence[FoundDocument]) -> list[RawDocument]:
    raw = []
    for one in found:
        content, digest, state = read_with_digest(one, "")
        raw.append(RawDocument(one.doc_id, one.source_uri, content, "", digest, state))
    return raw


def _extract(raw: Sequence[RawDocument]) -> list[Document]:
    settings = RecordSettings()
    outcomes = [outcome for one in raw for outcome in unpack_documents(one, settings, extract_text)]
    documents = [outcome for outcome in outcomes if isinstance(outcome, Document)]
    if len(documents) != len(outcomes):
        raise ValueError(f"{len(outcomes) - len(documents)} of the documents made for the benchmark were refused")
    return documents


def _pack(chunked: Sequence[ChunkedDocument]) -> int:
    packing = _PackChunksFn()
    packing.start_bundle()
    for document in chunked:
        for _ in packing.process(document, _BITS):
            pass
    for _ in packing.finish_bundle():
        pass
    return sum(len(document.spans) for document in chunked)


def _make_text(folder: Path, megabytes: float) -> None:
    make_corpus(folder, megabytes, duplicates=0)


def _make_markdown(folder: Path, megabytes: float) -> None:
    """A heading of two levels over every paragraph, every fourth a list, with a table and a block of code in each file."""
    _rewrite(folder, megabytes, ".md", _markdown)


def _markdown(paragraphs: Sequence[str]) -> str:
    parts = ["# " + paragraphs[0][:40]]
    for number, paragraph in enumerate(paragraphs):
        words = paragraph.split()
        parts.append(f"{'##' if number % 3 else '#'} {' '.join(words[:5])}")
        parts.append(
            "\n".join(f"- {' '.join(words[at : at + 12])}" for at in range(0, len(words), 12))
            if number % 4 == 3
            else paragraph
        )
    rows = "\n".join(f"| {word} | `{word}` | {len(word)} |" for word in paragraphs[0].split()[:12])
    parts += [
        "| word | code | length |\n|---|---|---|\n" + rows,
        "```python\nfor word in text.split():\n    print(word)\n```",
    ]
    return "\n\n".join(parts)


def _make_html(folder: Path, megabytes: float) -> None:
    """Pages as sites serve them: a head with styles and scripts, navigation, links in the text, a footer."""
    _rewrite(folder, megabytes, ".html", _page)


def _page(paragraphs: Sequence[str]) -> str:
    links = "".join(f'<li class="nav-item"><a href="/section/{n}">Section {n}</a></li>' for n in range(40))
    head = f"<title>{escape(paragraphs[0][:40])}</title><style>{'.a{color:red}' * 60}</style><script>{'f(1);' * 200}</script>"
    body = "".join(
        f'<h2 id="s{n}">{escape(one[:40])}</h2><p class="text">{_linked(one)}</p>' for n, one in enumerate(paragraphs)
    )
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8">{head}</head><body><nav><ul>{links}</ul></nav>'
        f'<div class="content">{body}</div><footer>About this site</footer></body></html>'
    )


def _linked(paragraph: str) -> str:
    words = [escape(word) for word in paragraph.split()]
    return " ".join(f'<a href="/w/{at}">{word}</a>' if at % 25 == 24 else word for at, word in enumerate(words))


def _rewrite(folder: Path, megabytes: float, suffix: str, write: Callable[[Sequence[str]], str]) -> None:
    make_corpus(folder, megabytes, duplicates=0)
    for path in folder.glob("*.txt"):
        content = write(path.read_text(encoding="utf-8").split("\n\n"))
        path.unlink()
        path.with_suffix(suffix).write_text(content, encoding="utf-8")


def _make_source_code(folder: Path, megabytes: float) -> None:
    """The modules of this repository, over and over; each copy under other names, so that no two are equal."""
    modules = [path for package in ("pipeline", "transforms") for path in sorted((_SOURCES / package).rglob("*.py"))]
    texts = [path.read_text(encoding="utf-8") for path in modules]
    written = copy = 0
    while written < megabytes * 1e6:
        for number, text in enumerate(texts):
            content = re.sub(r"\bself\b", f"self{copy}", text)
            written += (folder / f"{copy:03d}-{number:03d}.py").write_text(content, encoding="utf-8")
        copy += 1


_KINDS: dict[str, Callable[[Path, float], None]] = {
    "plain text": _make_text,
    "Markdown": _make_markdown,
    "HTML": _make_html,
    "source code": _make_source_code,
}
