"""report.html as a run leaves it in the version, and as a browser shows it."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.core.test_report import Page
from tests.support.projects import Project, prose
from tests.support.rehearsal import Rehearsal, rehearsal

LONG = "a/the-longest.txt"


@pytest.fixture(scope="module")
def server() -> Iterator[Rehearsal]:
    with rehearsal("--dimensions", "1536") as running:
        yield running


@pytest.fixture
def project(tmp_path: Path, capsys: pytest.CaptureFixture[str], server: Rehearsal) -> Project:
    made = Project(tmp_path, capsys, server.base_url)
    made.config["embedding"]["api_key_env"] = ""
    made.config["budget"] = {"max_rejected_fraction": 0.2}
    made.write({f"t{n}.txt": prose(n) for n in range(20)})
    made.write({LONG: prose(77, 900), "odd.txt": "caf\xe9 au lait".encode("latin-1"), "copy1.txt": prose(1)})
    return made


def report(project: Project) -> Path:
    path: Path = project.dataset / f"versions/{project.manifest()['version']:06d}" / "report.html"
    return path


def bars(page: Page) -> dict[int, int]:
    """The histogram, read from what its columns say when they are pointed at; 32 tokens at most make one bar each."""
    found = [re.fullmatch(r"(\d+) tokens: (\d+) chunks", word) for word in page.words]
    return {int(match[1]): int(match[2]) for match in found if match}


def test_report_of_a_version_agrees_with_its_summary_and_rows(project: Project) -> None:
    summary = project.run().summary
    page = Page(report(project).read_text(encoding="utf-8"))
    for name in ("documents", "chunks", "texts_embedded", "rows_added", "prompt_tokens", "requests"):
        assert f"{summary[name]:,}" in page.words, name
    rows = project.rows()
    chunks = sum(doc_id == LONG for doc_id in rows.column("doc_id").to_pylist())
    at = page.words.index(LONG)
    assert page.words[at + 1] == f"{chunks:,}"
    assert page.words[at + 2] == f"{len(prose(77, 900)):,}"
    tokens, counts = np.unique(rows.column("token_count").to_numpy(), return_counts=True)
    assert bars(page) == dict(zip(tokens.tolist(), counts.tolist(), strict=True))
    assert "odd.txt" in page.words
    assert prose(77, 900)[:25] not in page.text


def test_parts_that_are_kept_are_in_the_next_report_too(project: Project) -> None:
    project.config["embedding"]["dimensions"] = 1536
    project.config["output"] = {"part_size_mb": 1}
    project.write({f"more{n}.txt": prose(500 + n, 200) for n in range(20)})
    project.run()
    before = {part["sha256"] for part in project.manifest()["parts"]}
    project.write({"new.txt": "One more document, a short one."})
    summary = project.run().summary
    after = {part["sha256"] for part in project.manifest()["parts"]}
    assert before & after
    assert after - before
    page = Page(report(project).read_text(encoding="utf-8"))
    assert any(word.startswith("follows version 1, committed ") for word in page.words)
    assert LONG in page.words
    assert sum(bars(page).values()) == summary["rows_added"] + summary["rows_unchanged"] == project.rows().num_rows


@pytest.mark.engines
@pytest.mark.skipif(shutil.which("chromium") is None, reason="needs chromium")
@pytest.mark.parametrize("width", [1100, 500])
def test_browser_shows_the_report(project: Project, tmp_path: Path, width: int) -> None:
    project.run()
    picture = tmp_path / "report.png"
    flags = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
    command = ["chromium", *flags.split(), "--disable-component-update", "--disable-sync", "--hide-scrollbars"]
    command += [f"--user-data-dir={tmp_path / 'profile'}", f"--window-size={width},1600", f"--screenshot={picture}"]
    subprocess.run([*command, report(project).as_uri()], check=True, capture_output=True, timeout=60)
    header = picture.read_bytes()[:24]
    assert (int.from_bytes(header[16:20], "big"), header[1:4]) == (width, b"PNG")
    assert picture.stat().st_size > 40_000  # an empty page of this size takes under 10 kB
