"""Tables of results whose rows always state their source, written as Markdown, LaTeX and JSON."""

from dataclasses import dataclass

from ..markdown_tables import markdown_table


SOURCE_COLUMN = "Source"
OURS, PUBLISHED = "ours", "published"
UNDEFINED = "n/a"
# A cell that has no meaning in its row, such as the interval of a published number.
NOT_APPLICABLE = ""

# A text, a number, None for an undefined number, or the two ends of an interval.
Cell = str | int | float | None | tuple[float, float]

_LATEX_ESCAPES = {"&": r"\&", "%": r"\%", "#": r"\#", "_": r"\_", "$": r"\$"}


@dataclass(frozen=True)
class Column:
    """A column.

    Attributes:
        name: Its heading.
        decimals: Decimal places of its numbers; None for a column of text.
        is_signed: Whether positive numbers get a plus sign, for differences.
    """

    name: str
    decimals: int | None = None
    is_signed: bool = False


@dataclass(frozen=True)
class Table:
    """A table in which every row states whether it is ours or published.

    Attributes:
        key: A short name for files and JSON.
        title: Printed above it.
        columns: One of them is called "Source".
        rows: Cells in the order of the columns.
        notes: Sentences below it: protocol, errors in published rows, missing results.

    Raises:
        ValueError: If a row does not fit the columns or does not state its source.
    """

    key: str
    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    notes: tuple[str, ...] = ()

    def __post_init__(self):
        names = [column.name for column in self.columns]
        if len(set(names)) != len(names) or SOURCE_COLUMN not in names:
            raise ValueError(f"Columns of {self.key} need different names, one of them {SOURCE_COLUMN!r}: {names}.")
        source = names.index(SOURCE_COLUMN)
        for row in self.rows:
            if len(row) != len(names) or row[source] not in (OURS, PUBLISHED):
                raise ValueError(
                    f"A row of {self.key} needs {len(names)} cells and {OURS!r} or {PUBLISHED!r} as its source: {row}."
                )

    def to_markdown(self) -> str:
        """The table under a heading, columns aligned in plain text too."""
        table = markdown_table(self._texts(), [column.decimals is not None for column in self.columns])
        parts = [f"### {self.title}", table]
        if self.notes:
            parts.append("\n".join(f"- {note}" for note in self.notes))
        return "\n\n".join(parts)

    def to_latex(self) -> str:
        """A `table` environment; the document needs the package booktabs."""
        header, *rows = [[_escape_latex(text) for text in cells] for cells in self._texts()]
        alignment = "".join("l" if column.decimals is None else "r" for column in self.columns)
        notes = [rf"\par {_escape_latex(note)}" for note in self.notes]
        return "\n".join(
            [
                r"\begin{table}",
                r"\centering\footnotesize",
                rf"\caption{{{_escape_latex(self.title)}}}",
                rf"\label{{tab:{self.key}}}",
                rf"\begin{{tabular}}{{{alignment}}}",
                r"\toprule",
                " & ".join(header) + r" \\",
                r"\midrule",
                *(" & ".join(cells) + r" \\" for cells in rows),
                r"\bottomrule",
                r"\end{tabular}",
                *notes,
                r"\end{table}",
            ]
        )

    def as_dict(self) -> dict:
        """For JSON: full precision, None for undefined numbers; cells that don't apply are left out."""
        rows = [
            {
                column.name: list(cell) if isinstance(cell, tuple) else cell
                for column, cell in zip(self.columns, row, strict=True)
                if cell != NOT_APPLICABLE
            }
            for row in self.rows
        ]
        return {"title": self.title, "rows": rows, "notes": list(self.notes)}

    def _texts(self) -> list[list[str]]:
        """Header and rows as they are printed."""
        body = [[_format(cell, column) for cell, column in zip(row, self.columns, strict=True)] for row in self.rows]
        return [[column.name for column in self.columns], *body]


def _format(cell: Cell, column: Column) -> str:
    if cell is None:
        return UNDEFINED
    if isinstance(cell, str) or column.decimals is None:
        return str(cell)
    sign = "+" if column.is_signed else ""
    if isinstance(cell, tuple):
        return f"[{', '.join(f'{end:{sign}.{column.decimals}f}' for end in cell)}]"
    return f"{cell:{sign}.{column.decimals}f}"


def _escape_latex(text: str) -> str:
    return "".join(_LATEX_ESCAPES.get(character, character) for character in text)
