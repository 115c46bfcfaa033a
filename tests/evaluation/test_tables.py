"""Markdown, LaTeX and JSON of a table agree, and every row says who measured it."""

import json
import re

import pytest

from hiva_hf.evaluation.tables import Column, Table


COLUMNS = (Column("Method"), Column("Source"), Column("AU1", 1), Column("95% interval", 1), Column("Gain", 2, True))
ROWS = (
    ("HiVA, w/o L_diff", "ours", 61.25, (60.04, 62.5), -0.5),
    ("ARL [26] & co", "published", 61.1, "", 1.234),
    ("Baseline", "ours", None, None, 0.0),
)


@pytest.fixture
def table() -> Table:
    return Table("table_I", "Table I: 100% of it", COLUMNS, ROWS, ("ours: fold_1.",))


def markdown_cells(table: Table) -> list[list[str]]:
    lines = [line for line in table.to_markdown().splitlines() if line.startswith("|")]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [rows[0], *rows[2:]]


def latex_cells(table: Table) -> list[list[str]]:
    lines = [line.removesuffix(r"\\").strip() for line in table.to_latex().splitlines() if line.endswith(r"\\")]
    cells = [re.split(r"(?<!\\)&", line) for line in lines]
    return [[re.sub(r"\\([&%_#$])", r"\1", cell).strip() for cell in row] for row in cells]


def test_markdown_and_latex_hold_the_same_cells(table):
    assert markdown_cells(table) == latex_cells(table)
    assert markdown_cells(table) == [
        ["Method", "Source", "AU1", "95% interval", "Gain"],
        ["HiVA, w/o L_diff", "ours", "61.2", "[60.0, 62.5]", "-0.50"],
        ["ARL [26] & co", "published", "61.1", "", "+1.23"],
        ["Baseline", "ours", "n/a", "n/a", "+0.00"],
    ]


def test_json_holds_the_same_numbers_unrounded(table):
    content = json.loads(json.dumps(table.as_dict(), allow_nan=False))
    assert content["rows"] == [
        {
            "Method": "HiVA, w/o L_diff",
            "Source": "ours",
            "AU1": 61.25,
            "95% interval": [60.04, 62.5],
            "Gain": -0.5,
        },
        {"Method": "ARL [26] & co", "Source": "published", "AU1": 61.1, "Gain": 1.234},
        {"Method": "Baseline", "Source": "ours", "AU1": None, "95% interval": None, "Gain": 0.0},
    ]
    assert content["notes"] == ["ours: fold_1."]


def test_latex_escapes_what_latex_would_read_as_commands(table):
    latex = table.to_latex()
    assert r"\caption{Table I: 100\% of it}" in latex
    assert r"w/o L\_diff" in latex
    assert r"ARL [26] \& co" in latex
    assert r"\par ours: fold\_1." in latex
    assert r"\begin{tabular}{llrrr}" in latex


def test_markdown_columns_are_aligned(table):
    lines = [line for line in table.to_markdown().splitlines() if line.startswith("|")]
    assert len({len(line) for line in lines}) == 1
    assert lines[1].count(":") == 3
    assert table.to_markdown().startswith("### Table I: 100% of it\n\n|")
    assert table.to_markdown().endswith("|\n\n- ours: fold_1.")


def test_a_row_that_hides_its_source_is_refused():
    for source in ("", "theirs", None):
        with pytest.raises(ValueError, match="'ours' or 'published' as its source"):
            Table("t", "T", COLUMNS, (("HiVA", source, 1.0, "", 0.0),))
    with pytest.raises(ValueError, match="one of them 'Source'"):
        Table("t", "T", (Column("Method"),), (("HiVA",),))
    with pytest.raises(ValueError, match="needs 5 cells"):
        Table("t", "T", COLUMNS, (("HiVA", "ours"),))
