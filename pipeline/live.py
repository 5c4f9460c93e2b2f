"""What a person sees on a terminal while a run goes on: the bill, and below it a panel that moves.

The secret kept is the library that draws it.
"""

import threading
from types import TracebackType
from typing import TextIO

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from pipeline.panel import Panel
from pipeline.progress import Lookout

_BAR_WIDTH = 40


class LiveProgress:
    """Shows a run's progress on a terminal while it is entered, from the run's folder, so on every engine.

    When it ends the panel is wiped and what was printed above it stays.
    """

    def __init__(self, lookout: Lookout, out: TextIO) -> None:
        self._lookout = lookout
        self._console = Console(file=out, highlight=False, markup=False, emoji=False)
        self._spinner = Spinner("dots")
        self._live = Live(
            console=self._console,
            transient=True,
            refresh_per_second=8,
            redirect_stdout=False,
            get_renderable=self._draw,
        )
        self._over = threading.Event()
        self._reader = threading.Thread(target=self._read, name="progress", daemon=True)

    def __enter__(self) -> "LiveProgress":
        self._look()
        self._live.start(refresh=True)
        self._reader.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._reader.join()
        self._look()
        self._live.stop()

    def _read(self) -> None:
        wait = 0.0
        while not self._over.wait(wait):
            wait = self._look()

    def _look(self) -> float:
        return self._lookout.look(lambda text: self._console.print(text, soft_wrap=True))

    def _draw(self) -> RenderableType:
        return draw_panel(self._lookout.panel, self._spinner)


def draw_panel(panel: Panel, spinner: Spinner) -> RenderableType:
    """Draw a panel for a terminal of any width."""
    first, *rest = panel.lines()
    head = Table.grid(padding=(0, 1))
    head.add_row(spinner, Text(first, style="bold"))
    words = [Text(line) for line in rest]
    progress = panel.progress()
    if progress is None:
        return Group(head, *words)
    done, total = progress
    bar = Table.grid(padding=(0, 1))
    bar.add_row(
        ProgressBar(total=total, completed=done, width=_BAR_WIDTH, complete_style="cyan", finished_style="green"),
        f"{done / total:.0%}",
    )
    return Group(head, bar, *words)
