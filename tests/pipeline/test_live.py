"""The panel in words, and the whole command on a pseudo-terminal."""

import io
import os
import pty
import re
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from pipeline.cli import watch_run
from pipeline.live import LiveProgress
from pipeline.panel import Look, Panel, RecentRate, look_at
from pipeline.progress import Lookout, Progress
from tests.support.projects import Project, prose
from tests.support.rehearsal import rehearsal
from transforms.storage.run_folder import RunFolder
from transforms.storage.store import open_store

BILL: dict[str, Any] = {"texts_to_embed": 1000, "price_per_million_tokens": 0.02, "cost_usd": 0.002}


def note(texts: int, **more: int) -> dict[str, Any]:
    return {"texts": texts, "prompt_tokens": 100 * texts, "requests": texts // 10, **more}


def test_panel_says_what_is_done_what_it_costs_and_how_long_it_takes() -> None:
    panel = Panel(tokens_per_minute=600_000, requests_per_minute=300)
    panel.observe(0.0, Look(BILL))
    for second in range(2, 62, 2):
        more = {"requests_retried": 3, "requests_throttled": 2, "requests_in_flight": 5}
        panel.observe(float(second), Look(BILL, embedding=[note(5 * second), note(5 * second, **more)]))
    assert panel.lines() == [
        "embedding, for 1 min 00 s, about 40 s left",
        "600 of 1,000 texts, 60,000 tokens, 1,000 tokens/s (10% of the quota), 0.0012 of 0.0020 USD",
        "60 requests, 60 a minute (20% of the quota), 5 in flight, 3 retried, 2 throttled (429)",
    ]


def test_panel_names_the_phases() -> None:
    panel = Panel()
    panel.observe(10.0, Look())
    assert panel.lines() == ["reading, chunking and planning, for 0 s"]
    panel.observe(13.0, Look(BILL))
    assert panel.phase() == "embedding"
    panel.observe(15.0, Look(BILL, embedding=[note(1000)]))
    assert panel.lines()[0] == "writing and committing, for 5 s"
    panel.observe(20.0, Look({**BILL, "texts_to_embed": 0}))
    assert panel.lines() == ["writing and committing, for 10 s"]


def test_panel_counts_documents_and_chunks_of_all_processes_while_they_are_read() -> None:
    panel, found = Panel(), {"files": 1200}
    panel.observe(0.0, Look(reading=[found]))
    assert panel.lines()[1:] == ["1,200 files found"]
    one, other = ({"documents": 400 + n, "chunks": 5000 + n, "tokens": 900_000} for n in (0, 1))
    panel.observe(5.0, Look(reading=[found, one, other]))
    assert panel.lines() == [
        "reading, chunking and planning, for 5 s",
        "801 documents from 1,200 files, 10,001 chunks, 1,800,000 tokens so far",
    ]


def test_price_that_is_not_known_is_not_shown() -> None:
    panel = Panel()
    panel.observe(0.0, Look({**BILL, "price_per_million_tokens": None, "cost_usd": None}, embedding=[note(10)]))
    assert "USD" not in panel.lines()[1]


def test_a_store_that_does_not_answer_changes_nothing_that_is_shown(tmp_path: Path) -> None:
    folder = RunFolder(open_store(str(tmp_path)), "run")
    folder.write_note("reading", "p", {"documents": 3, "chunks": 9, "tokens": 70})
    look = look_at(folder, None)
    assert look == Look(reading=[{"documents": 3, "chunks": 9, "tokens": 70}])
    note_file = tmp_path / folder.path("reading/p.json")
    note_file.unlink()
    note_file.mkdir()
    (note_file / "bill.json").touch()
    (tmp_path / folder.path("bill.json")).mkdir()
    assert look_at(folder, None) is None


def test_time_left_settles_between_steps_and_grows_when_nothing_comes() -> None:
    rate = RecentRate()
    for second in range(61):
        rate.observe(float(second), 100.0 * (second // 2))
    steady = [rate.per_second(60 + tenth / 10) for tenth in range(15)]
    assert all(one == pytest.approx(50, rel=0.04) for one in steady)
    stalled = rate.per_second(180.0)
    assert stalled is not None
    assert stalled < 20


def test_no_rate_is_told_before_enough_was_seen() -> None:
    rate = RecentRate()
    assert rate.per_second(0.0) is None
    rate.observe(0.0, 0)
    rate.observe(1.0, 500)
    assert rate.per_second(1.5) is None
    assert rate.per_second(5.0) is not None


def test_old_speed_is_forgotten() -> None:
    rate = RecentRate()
    for second in range(400):
        rate.observe(float(second), 1000.0 * second if second < 200 else 199_000 + 10.0 * (second - 199))
    assert rate.per_second(399.0) == pytest.approx(10, rel=0.05)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("out", "terminal", "kind"),
    [
        pytest.param(Terminal(), "xterm", LiveProgress, id="terminal"),
        pytest.param(Terminal(), "dumb", Progress, id="terminal that cannot move its cursor"),
        pytest.param(io.StringIO(), "xterm", Progress, id="pipe"),
    ],
)
def test_panel_is_for_terminals_and_lines_are_for_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, out: io.StringIO, terminal: str, kind: type
) -> None:
    monkeypatch.setenv("TERM", terminal)
    assert type(watch_run(Lookout(RunFolder(open_store(str(tmp_path)), "run"), Panel()), out)) is kind


def test_in_a_pipe_a_plain_line_comes_every_so_often(tmp_path: Path) -> None:
    folder, out = RunFolder(open_store(str(tmp_path)), "run"), io.StringIO()
    said = threading.Event()

    class Pipe(io.StringIO):
        def write(self, text: str) -> int:
            out.write(text)
            if "embedding" in text:
                said.set()
            return len(text)

    folder.write_note("reading", "p", {"documents": 3, "chunks": 9, "tokens": 70})
    with Progress(Lookout(folder, Panel(), says_bill=False), Pipe(), line_seconds=0.001):
        folder.write_bill(BILL)
        folder.write_progress("p", note(500, requests_in_flight=3))
        assert said.wait(30)
    lines = out.getvalue().splitlines()
    embedding = "embedding, for 0 s; 500 of 1,000 texts, 50,000 tokens, 0.0010 of 0.0020 USD; 50 requests, 3 in flight"
    assert re.sub(r"for \d s", "for 0 s", lines[-1]) == embedding
    assert all(line.startswith(("reading", "embedding")) for line in lines)


def on_a_terminal(command: list[str], folder: Path, environment: dict[str, str]) -> tuple[int, str]:
    """Run a command whose stdout and stderr are a terminal, and return all that it wrote there."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(command, stdout=theirs, stderr=theirs, cwd=folder, env=environment) as process:
        os.close(theirs)
        seen = b""
        while True:
            try:
                data = os.read(ours, 65_536)
            except OSError:  # the last one has closed the terminal
                break
            if not data:
                break
            seen += data
    os.close(ours)
    return process.returncode, seen.decode()


@pytest.mark.parametrize(
    ("terminal", "options", "moves"),
    [("xterm-256color", [], True), ("dumb", [], False), ("xterm-256color", ["--quiet"], False)],
    ids=["terminal", "dumb", "quiet"],
)
def test_run_on_a_terminal_moves_and_leaves_bill_and_summary(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], terminal: str, options: list[str], moves: bool
) -> None:
    with rehearsal("--dimensions", "16", "--latency-ms", "150") as server:
        project = Project(tmp_path, capsys, server.base_url)
        project.config["embedding"]["api_key_env"] = ""
        project.config["limits"] = {"concurrent_requests": 1}
        project.write({f"t{n}.txt": prose(n) for n in range(40)})
        command = [sys.executable, "-m", "pipeline", "run", project.config_file(), *options]
        root = Path(__file__).parents[2]
        environment = {**os.environ, "TERM": terminal, "COLUMNS": "100", "LINES": "30"}
        environment.pop("NO_COLOR", None)
        code, seen = on_a_terminal(command, root, environment)
    assert code == 0, seen
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", seen).replace("\r", "")
    assert ("reading, chunking and planning" in plain) is moves
    assert ("embedding, for " in plain) is moves
    assert ("\x1b[?25l" in seen) is moves  # the cursor is hidden while the panel moves, and shown again
    assert ("\x1b[?25h" in seen) is moves
    if "--quiet" in options:
        assert plain == ""
        return
    assert plain.count("documents  40: 40 new") == 1
    assert re.search(r"\nsize .*(.|\n)*\ncommitted  version 1 of ", plain)
    assert plain.rstrip().splitlines()[-1].startswith("took ")


def test_plan_on_a_terminal_moves_while_it_reads_and_shows_its_bill_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    project = Project(tmp_path, capsys)
    project.config["embedding"] = {"provider": "local", "model": "wordllama-l2-256"}
    project.write({f"t{n}.txt": prose(n) for n in range(40)})
    command = [sys.executable, "-m", "pipeline", "plan", project.config_file()]
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "100", "LINES": "30"}
    environment.pop("NO_COLOR", None)
    code, seen = on_a_terminal(command, Path(__file__).parents[2], environment)
    assert code == 0, seen
    assert "reading, chunking and planning" in seen
    assert re.search(r"40 files found|documents from 40 files", seen)
    assert seen.count("documents  40: 40 new") == 1
