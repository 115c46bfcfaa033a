"""Tables in Markdown."""

from collections.abc import Sequence


def markdown_table(lines: Sequence[Sequence[str]], is_number: Sequence[bool]) -> str:
    """Lays out a Markdown table whose columns are aligned in plain text too.

    Args:
        lines: The header, then the rows; equally many cells in each.
        is_number: For each column whether it holds numbers, which are aligned to the right.

    Returns:
        The table, without a line break at its end.
    """
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    rule = ["-" * (width - 1) + ":" if right else "-" * width for right, width in zip(is_number, widths, strict=True)]
    header, *rows = lines
    padded = (
        [
            cell.rjust(width) if right else cell.ljust(width)
            for cell, right, width in zip(line, is_number, widths, strict=True)
        ]
        for line in (header, rule, *rows)
    )
    return "\n".join(f"| {' | '.join(cells)} |" for cells in padded)
