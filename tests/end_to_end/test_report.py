"""report.html as a run leaves it in the version, and as a browser shows it."""

import re
import shutil
import subprocess
import zlib
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


def test_map_shows_each_distinct_text_with_its_document_and_how_it_begins(project: Project) -> None:
    project.run()
    page = Page(report(project).read_text(encoding="utf-8"))
    labels = [value or "" for name, value in page.attributes if name == "data-t"]
    rows = project.rows()
    texts = dict(zip(rows.column("chunk").to_pylist(), rows.column("doc_id").to_pylist(), strict=True))
    assert len(labels) == len(texts)
    shown = {label.rstrip("…").partition(" — ")[2] for label in labels}
    assert {label.partition(" — ")[0] for label in labels} <= set(rows.column("doc_id").to_pylist())
    assert all(any(text.startswith(begin) for begin in shown) for text in texts)
    assert f"{len(texts):,} chunks; point at one" in page.text


def test_report_shows_what_a_run_of_some_seconds_did_over_time(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with rehearsal("--dimensions", "16", "--latency-ms", "120", "--fault", "429=0.1") as slow:
        project = Project(tmp_path, capsys, slow.base_url)
        project.config["embedding"].update(api_key_env="", max_inputs_per_request=4)
        project.config["limits"] = {"concurrent_requests": 2}
        project.write({f"t{n}.txt": prose(n, 300) for n in range(12)})
        summary = project.run().summary
    page = Page(report(project).read_text(encoding="utf-8"))
    assert "Throughput and latency over time" in page.words
    steps = [re.match(r"from .*: [\d,]+ tokens a minute, (\d+) request", word) for word in page.words]
    counted = sum(int(match[1]) for match in steps[: len(steps)] if match)
    shown_twice = (
        2 if summary["requests_throttled"] == 0 else 3
    )  # over throughput, latency, and refusals if there were any
    # shares of requests are rounded in each step
    assert counted / shown_twice == pytest.approx(summary["requests"], abs=0.5 * len(steps))
    assert summary["requests"] > 20
    assert ("Answers that said" in page.text) is (summary["requests_throttled"] > 0)


def test_map_draws_parts_that_are_kept_and_parts_that_are_new(project: Project) -> None:
    """A second run that changes nothing but one document still draws the parts that it keeps."""
    project.run()
    project.write({"one-more.txt": "A short text that says something else."})
    project.run()
    page = Page(report(project).read_text(encoding="utf-8"))
    labels = [value or "" for name, value in page.attributes if name == "data-t"]
    assert any(label.startswith("one-more.txt — A short text") for label in labels)
    assert len(labels) > 30


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


needs_browser = pytest.mark.skipif(shutil.which("chromium") is None, reason="needs chromium")

FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --hide-scrollbars --allow-file-access-from-files"
)


def chromium(profile: Path, *arguments: str) -> str:
    command = ["chromium", *FLAGS.split(), f"--user-data-dir={profile}", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout


def asked(page: Path, folder: Path, width: int, question: str) -> str:
    """Answer a question, as JavaScript with ``page`` and ``view``, about a page shown so many pixels wide."""
    frame = folder / "frame.html"
    frame.write_text(
        f'''<iframe src="{page.as_uri()}" style="border:0;width:{width}px;height:3000px" onload="
        const view = this.contentWindow, page = this.contentDocument;
        document.title = 'answer:' + ({question})"></iframe>'''
    )
    found = re.search(r"<title>answer:(.*?)</title>", chromium(folder / "profile", "--dump-dom", frame.as_uri()))
    assert found
    return found[1]


@pytest.mark.engines
@needs_browser
@pytest.mark.parametrize("width", [1100, 500])
def test_browser_shows_the_report(project: Project, tmp_path: Path, width: int) -> None:
    project.run()
    picture = tmp_path / "report.png"
    chromium(tmp_path / "profile", f"--window-size={width},1600", f"--screenshot={picture}", report(project).as_uri())
    header = picture.read_bytes()[:24]
    assert (int.from_bytes(header[16:20], "big"), header[1:4]) == (width, b"PNG")
    assert picture.stat().st_size > 40_000  # an empty page of this size takes under 10 kB


@pytest.mark.engines
@needs_browser
@pytest.mark.parametrize("width", [360, 1100])
def test_report_is_as_wide_as_the_screen_and_no_wider(project: Project, tmp_path: Path, width: int) -> None:
    project.write({f"a-folder-with-a-rather-long-name/{'x' * 150}.txt": prose(5, 700)})
    project.run()
    assert asked(report(project), tmp_path, width, "page.documentElement.scrollWidth") == str(width)


@pytest.mark.engines
@needs_browser
def test_tapping_a_dot_of_the_map_shows_its_words_within_the_screen(project: Project, tmp_path: Path) -> None:
    project.run()
    ask = "(dot => {dot.focus(); return view.getComputedStyle(dot, '::after').content})(page.querySelector('.map i'))"
    said = asked(report(project), tmp_path, 360, ask)
    page = Page(report(project).read_text(encoding="utf-8"))
    first = next(value for name, value in page.attributes if name == "data-t")
    assert said.strip('"') == first


@pytest.mark.engines
@needs_browser
def test_report_is_dark_where_the_reader_wants_it_dark(project: Project, tmp_path: Path) -> None:
    project.run()
    pictures = [tmp_path / "light.png", tmp_path / "dark.png"]
    for picture, wanted in zip(pictures, ("1", "0"), strict=True):
        shown = [f"--blink-settings=preferredColorScheme={wanted}", f"--screenshot={picture}", "--window-size=600,400"]
        chromium(tmp_path / "profile", *shown, report(project).as_uri())
    corners = [first_pixel(picture) for picture in pictures]
    assert corners == [(0xF6, 0xF5, 0xF1), (0x14, 0x17, 0x1B)]


def first_pixel(picture: Path) -> tuple[int, ...]:
    """The upper left pixel of a PNG with eight bits a colour; in the first line every filter leaves it as it is."""
    data = picture.read_bytes()
    packed, at = b"", 8
    while at < len(data):
        length, kind = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        packed += data[at + 8 : at + 8 + length] if kind == b"IDAT" else b""
        at += 12 + length
    return tuple(zlib.decompress(packed)[1:4])
