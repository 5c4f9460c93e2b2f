"""English prose in any amount: sentences of the demo corpus in an order of their own, the same every time."""

import random
import re
from pathlib import Path

_ARTICLES = Path(__file__).parents[2] / "configs" / "demo_corpus"


def write_corpus(folder: Path, documents: int, sentences: int) -> int:
    """Write documents of so many sentences each; return how many bytes they have."""
    pool = [
        sentence
        for path in sorted(_ARTICLES.rglob("*.md"))
        for sentence in re.findall(r"[A-Z][^.#\n]{30,}\.", path.read_text(encoding="utf-8"))
    ]
    folder.mkdir(parents=True, exist_ok=True)
    chosen, size = random.Random(5), 0
    for number in range(documents):
        text = " ".join(chosen.choices(pool, k=sentences))
        size += (folder / f"d{number:04d}.txt").write_bytes(text.encode())
    return size
