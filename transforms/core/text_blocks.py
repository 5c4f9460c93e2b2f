"""Collect the paragraphs and tables of an office document as text; the secret kept here is how a table is written down."""

from transforms.core.pages import check_size, clean_text


class TextBlocks:
    """Paragraphs that may nest (text boxes) and tables that may nest, in the order in which they end.

    A row of a table is a line, its cells stand between tabs; between blocks is an empty line.
    """

    def __init__(self) -> None:
        self._blocks: list[str] = []
        self._paragraphs: list[list[str]] = []
        self._rows: list[list[str]] = []
        self._cells: list[list[str]] = []
        self._chars = 0
        self.title = ""

    def begin_paragraph(self) -> None:
        """Begin a paragraph, inside another perhaps."""
        self._paragraphs.append([])

    def add(self, text: str) -> None:
        """Add text to the paragraph that began last; outside of any there is none to add."""
        self._chars += len(text)
        check_size(self._chars)
        if self._paragraphs:
            self._paragraphs[-1].append(text)

    def end_paragraph(self, heading_level: int = 0) -> None:
        """End a paragraph; a level above 0 makes it a heading, unless it stands in a table."""
        text = clean_text("".join(self._paragraphs.pop())).strip() if self._paragraphs else ""
        if not text:
            return
        if heading_level and not self._rows:
            text = " ".join(text.split())
            self.title = self.title or text
            text = f"{'#' * min(6, heading_level)} {text}"
        self._keep(text)

    def begin_table(self) -> None:
        """Begin a table, in a cell of another perhaps."""
        self._rows.append([])

    def begin_row(self) -> None:
        """Begin a row."""
        self._cells.append([])

    def begin_cell(self) -> None:
        """Begin a cell."""
        if self._cells:
            self._cells[-1].append("")

    def end_row(self) -> None:
        """End a row."""
        row = "\t".join(self._cells.pop()) if self._cells else ""
        if row.strip() and self._rows:
            self._rows[-1].append(row)

    def end_table(self) -> None:
        """End a table."""
        table = "\n".join(self._rows.pop()) if self._rows else ""
        if table:
            self._keep(table)

    def _keep(self, block: str) -> None:
        if self._rows and self._cells and self._cells[-1]:
            before = self._cells[-1][-1]
            self._cells[-1][-1] = f"{before} {' '.join(block.split())}".strip()
        else:
            self._blocks.append(block)

    def text(self) -> str:
        """Return everything so far."""
        return "\n\n".join(self._blocks)
