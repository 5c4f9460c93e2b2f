"""A deterministic corpus of any size: words of the demo corpus at their own frequencies, with a stated share of duplicates."""

import argparse
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

DEMO = Path(__file__).parent.parent / "configs" / "demo_corpus"
WORDS_PER_PARAGRAPH = 160
PARAGRAPHS_PER_FILE = 10


def make_corpus(folder: Path, megabytes: float, duplicates: float, seed: int = 0) -> int:
    """Write files of about 9 kB until the size is reached; returns how many.

    Args:
        duplicates: share of paragraphs that another file has word for word, as licences and boilerplate do.
    """
    words = _words()
    generator = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    boilerplate = [_paragraph(words, generator) for _ in range(64)]
    written, files = 0, 0
    while written < megabytes * 1e6:
        paragraphs = [
            boilerplate[generator.integers(64)] if generator.random() < duplicates else _paragraph(words, generator)
            for _ in range(PARAGRAPHS_PER_FILE)
        ]
        content = "\n\n".join(paragraphs).encode()
        (folder / f"{files:06d}.txt").write_bytes(content)
        written, files = written + len(content), files + 1
    return files


@contextmanager
def some_changed(folder: Path, share: float, seed: int = 1) -> Iterator[int]:
    """Give a share of the files other text of about the same length, and their old text back at the end."""
    words, generator = _words(), np.random.default_rng(seed)
    files = sorted(folder.glob("*.txt"))
    chosen = [files[at] for at in generator.choice(len(files), max(1, round(len(files) * share)), replace=False)]
    before = {path: path.read_bytes() for path in chosen}
    try:
        for path in chosen:
            paragraphs = [_paragraph(words, generator) for _ in range(PARAGRAPHS_PER_FILE)]
            path.write_bytes("\n\n".join(paragraphs).encode())
        yield len(chosen)
    finally:
        for path, content in before.items():
            path.write_bytes(content)


def _words() -> np.ndarray:
    text = " ".join(path.read_text(encoding="utf-8") for path in sorted(DEMO.rglob("*.md")))
    return np.array(re.findall(r"[^\s#*`]+", text))


def _paragraph(words: np.ndarray, generator: np.random.Generator) -> str:
    return " ".join(words[generator.integers(0, len(words), WORDS_PER_PARAGRAPH)])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--megabytes", type=float, default=62.0)
    parser.add_argument("--duplicates", type=float, default=0.38)
    given = parser.parse_args()
    print(make_corpus(given.folder, given.megabytes, given.duplicates), "files")
