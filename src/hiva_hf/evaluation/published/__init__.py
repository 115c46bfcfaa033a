"""Published results: Tables I to VI of the HiVA paper, read from `hiva.toml` beside this file."""

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Literal


TableKind = Literal["comparison", "ablation"]
PUBLISHED_DECIMALS = 1


@dataclass(frozen=True)
class PublishedRow:
    """One row as printed in the paper, not measured with this package.

    Attributes:
        method: Its name, with the paper's reference number in brackets.
        f1: F1 x 100 of each AU of the table.
        average: The printed average.
        variant: The corresponding HiVAConfig variant, if it is a HiVA.
        slip: Why the printed average is doubtful, if it is.
    """

    method: str
    f1: tuple[float, ...]
    average: float
    variant: str | None = None
    slip: str | None = None


@dataclass(frozen=True)
class PublishedTable:
    """One table of the paper.

    Attributes:
        number: `"I"` to `"VI"`.
        dataset: Its data set.
        kind: `"comparison"` with other methods, or `"ablation"`.
        au_labels: The AUs of its columns.
        rows: Its rows, in the order of the paper.
        source: Where it was published.
    """

    number: str
    dataset: str
    kind: TableKind
    au_labels: tuple[str, ...]
    rows: tuple[PublishedRow, ...]
    source: str


@cache
def published_tables() -> dict[str, PublishedTable]:
    """All published tables by their Roman number, in order."""
    data = tomllib.loads(files(__package__).joinpath("hiva.toml").read_text(encoding="utf-8"))
    return {
        number: PublishedTable(
            number=number,
            dataset=table["dataset"],
            kind=table["kind"],
            au_labels=tuple(f"AU{au}" for au in table["aus"]),
            rows=tuple(PublishedRow(**{**row, "f1": tuple(row["f1"])}) for row in table["rows"]),
            source=data["source"],
        )
        for number, table in data["tables"].items()
    }


def find_published_table(dataset: str, kind: TableKind) -> PublishedTable | None:
    """The published table of that kind for a data set, or None if there is none (SynthFACS)."""
    found = [table for table in published_tables().values() if (table.dataset, table.kind) == (dataset, kind)]
    return found[0] if found else None
