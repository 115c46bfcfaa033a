"""The report on a reproduction: Tables I to VI and Figures 4 to 7 of its data set, as far as its runs are finished."""

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from matplotlib.figure import Figure

from .. import __version__
from ..atomic_files import write_text
from ..data.manifest import title_of
from ..evaluation.bootstrap import BootstrapScores
from ..evaluation.metrics import none_if_undefined
from ..evaluation.published import PublishedTable, find_published_table, published_tables
from ..evaluation.result_tables import (
    PERCENT,
    MethodResult,
    make_detail_table,
    make_difference_table,
    make_f1_table,
    score_method,
)
from ..evaluation.tables import OURS, PUBLISHED, Table
from ..viz.figures import save_figure
from .interpretation import TooFewFacesError
from .reproduction import (
    ABLATIONS,
    BASELINE,
    CONTROLS,
    FULL,
    NO_DIFFERENCE_LOSS,
    VARIANT_NAMES,
    Reproduction,
)
from .result_figures import make_attention_figure, make_gain_figure, make_graph_figure, make_similarity_figure


REPORT_FOLDER = "report"
# The variants that must be finished for each figure.
FIGURE_VARIANTS = {
    "figure4": (FULL, BASELINE),
    "figure5": (NO_DIFFERENCE_LOSS, FULL),
    "figure6": (FULL,),
    "figure7": (BASELINE, FULL),
}


@dataclass(frozen=True)
class Report:
    """The report that was written.

    Attributes:
        heading: What was run, when and on what kind of machine.
        tables: In the order of printing.
        figures: Paths of the figures.
        missing: One sentence for everything that could not be made yet.
        folder: Folder of the report.
    """

    heading: str
    tables: tuple[Table, ...]
    figures: tuple[Path, ...]
    missing: tuple[str, ...]
    folder: Path

    def to_markdown(self) -> str:
        """Heading, tables and what is missing."""
        parts = [self.heading, *(table.to_markdown() for table in self.tables)]
        if self.missing:
            parts.append("\n".join(["### Missing", "", *(f"- {sentence}" for sentence in self.missing)]))
        return "\n\n".join(parts)


def make_report(reproduction: Reproduction, numbers: Sequence[str] | None = None, command: str = "") -> Report:
    """Scores all finished runs and writes `tables.md`, `tables.tex`, `tables.json` and the figures.

    Args:
        reproduction: A reproduction, finished or not; the report lists what is missing.
        numbers: Published tables (`"I"` to `"VI"`) to show. Those of another data set are shown as published, without
            rows of ours. Defaults to those of the data set.
        command: The command that made the runs, for the record.

    Raises:
        ValueError: If a number is not that of a published table.
    """
    chosen = choose_published_tables(reproduction.arguments.dataset, numbers)
    results = {
        variant: score_method(VARIANT_NAMES[variant], reproduction.predictions(variant))
        for variant in reproduction.finished_variants()
    }
    tables = _make_f1_tables(reproduction, results, chosen)
    comparisons: list[dict] = []
    if FULL in results:
        detail, difference, comparisons = _make_full_tables(reproduction, results)
        tables += [detail, difference] if difference is not None else [detail]
    folder = reproduction.output_dir / REPORT_FOLDER
    paths, facts, undrawn = _make_figures(reproduction, results, folder)
    record = describe_reproduction(reproduction, command)
    missing = [*_missing(reproduction, results), *undrawn]
    report = Report(head_report(record, "Reproduction"), tuple(tables), tuple(paths), tuple(missing), folder)
    record |= {
        "missing": missing,
        "tables": {table.key: table.as_dict() for table in tables},
        "figures": facts,
        "methods": {variant: result.scores.as_dict() for variant, result in results.items()},
        "differences": comparisons,
    }
    write_text(folder / "tables.json", json.dumps(record, indent=2))
    write_text(folder / "tables.md", report.to_markdown() + "\n")
    write_text(folder / "tables.tex", "\n\n".join(table.to_latex() for table in tables) + "\n")
    return report


def choose_published_tables(dataset: str, numbers: Sequence[str] | None) -> list[PublishedTable]:
    """The published tables with these numbers, or those of the data set; none for a set without published results.

    Raises:
        ValueError: If a number is not that of a published table.
    """
    known = published_tables()
    if numbers is None:
        return [table for table in known.values() if table.dataset == dataset]
    unknown = [number for number in numbers if number not in known]
    if unknown:
        raise ValueError(f"There is no published table {', '.join(unknown)}; there are {', '.join(known)}.")
    return [known[number] for number in numbers]


def _make_f1_tables(
    reproduction: Reproduction, results: Mapping[str, MethodResult], chosen: Sequence[PublishedTable]
) -> list[Table]:
    dataset = reproduction.arguments.dataset
    title = title_of(dataset)
    tables = []
    for published in chosen:
        names = ABLATIONS if published.kind == "ablation" else {FULL: VARIANT_NAMES[FULL]}
        ours = results if published.dataset == dataset else {}
        whose = f"{OURS} and {PUBLISHED}" if ours.keys() & names.keys() else f"{PUBLISHED} only"
        name = f"Table {published.number}: {title_of(published.dataset)}, {published.kind} ({whose})"
        tables.append(make_f1_table(f"table_{published.number}", name, names, ours, published))
    if find_published_table(dataset, "ablation") is None and results.keys() & ABLATIONS.keys():
        name = f"{title}: ablations of Tables IV to VI ({OURS}; no published results on this set)"
        tables.append(make_f1_table("ablations", name, ABLATIONS, results))
    if results.keys() & CONTROLS.keys():
        name = f"{title}: controls that the paper lacks ({OURS})"
        tables.append(make_f1_table("controls", name, {FULL: VARIANT_NAMES[FULL]} | CONTROLS, results))
    return tables


def _make_full_tables(
    reproduction: Reproduction, results: Mapping[str, MethodResult]
) -> tuple[Table, Table | None, list[dict]]:
    title = title_of(reproduction.arguments.dataset)
    full = results[FULL]
    detail = make_detail_table("details", f"{title}: every score of {full.name} ({OURS})", full)
    pairs = [(full, other) for variant, other in results.items() if variant != FULL]
    if not pairs:
        return detail, None, []
    table, comparisons = make_difference_table("differences", f"{title}: paired differences ({OURS})", pairs)
    record = [
        {"first": first.name, "second": second.name}
        | {metric: _comparison_as_dict(comparison) for metric, comparison in by_metric.items()}
        for (first, second), by_metric in zip(pairs, comparisons, strict=True)
    ]
    return detail, table, record


def _comparison_as_dict(comparison: BootstrapScores) -> dict:
    """A difference in percentage points, for JSON; None where it is undefined."""

    def points(value: float) -> float | None:
        return none_if_undefined(PERCENT * value)

    per_au = zip(comparison.au_labels, comparison.estimate, comparison.intervals, strict=True)
    return {
        "mean": points(comparison.mean_estimate),
        "interval": [points(end) for end in comparison.mean_interval],
        "p": none_if_undefined(comparison.p_value),
        "left_out": comparison.undefined,
        "per_au": {
            label: {"estimate": points(value), "interval": [points(end) for end in ends]}
            for label, value, ends in per_au
        },
    }


def _make_figures(
    reproduction: Reproduction, results: Mapping[str, MethodResult], folder: Path
) -> tuple[list[Path], dict[str, dict], list[str]]:
    """Draws the figures whose runs are finished. Returns paths, the numbers shown, and why others can't be drawn."""
    dataset = reproduction.arguments.dataset
    title = title_of(dataset)
    first = f"{title}, fold {reproduction.folds[0]}, seed {reproduction.seeds[0]}"
    published = find_published_table(dataset, "ablation")
    makers: dict[str, Callable[[], tuple[Figure, dict]]] = {
        "figure4": lambda: make_gain_figure(title, results[FULL], results[BASELINE], published),
        "figure5": lambda: make_similarity_figure(reproduction, first, results[FULL].scores.au_labels),
        "figure6": lambda: make_attention_figure(reproduction, first),
        "figure7": lambda: make_graph_figure(reproduction, first),
    }
    paths, facts, undrawn = [], {}, []
    for name, make in makers.items():
        if not _is_drawable(name, results):
            continue
        try:
            figure, facts[name] = make()
        # Weights of a run may have been deleted. Its tables need predictions alone.
        except (TooFewFacesError, OSError) as error:
            undrawn.append(f"{name} can't be drawn: {error}")
        else:
            paths += save_figure(figure, folder / name)
    return paths, facts, undrawn


def _is_drawable(figure: str, finished: Collection[str]) -> bool:
    return set(FIGURE_VARIANTS[figure]) <= set(finished)


def _missing(reproduction: Reproduction, finished: Collection[str]) -> list[str]:
    sentences = [f"The run {job} is not finished." for job in reproduction.pending()]
    for figure, variants in FIGURE_VARIANTS.items():
        if not _is_drawable(figure, finished):
            sentences.append(f"{figure} needs finished runs of {' and '.join(variants)}.")
    return sentences


def describe_reproduction(reproduction: Reproduction, command: str) -> dict:
    """How the finished runs of a reproduction were made, for JSON."""
    return {
        "source": OURS,
        "dataset": reproduction.arguments.dataset,
        "folds": list(reproduction.folds),
        "seeds": list(reproduction.seeds),
        "share_stage1": reproduction.share_stage1,
        "command": command,
        "date": datetime.now(UTC).date().isoformat(),
        "hiva_hf": __version__,
        "environment": reproduction.environment(),
        "finished_runs": len(reproduction.jobs) - len(reproduction.pending()),
        "seconds": reproduction.seconds(),
        "settings": asdict(reproduction.arguments),
    }


def head_report(record: Mapping, title: str) -> str:
    """The heading of a report in Markdown.

    Args:
        record: From [`describe_reproduction`].
        title: Title of the report, to which the data set is added.
    """
    stage1 = "one stage 1 for all variants" if record["share_stage1"] else "a stage 1 for each variant"
    parts = [
        f"## {title} on {title_of(record['dataset'])}",
        f"    {record['command']}",
        f"Written on {record['date']} by hiva_hf {record['hiva_hf']}: {record['finished_runs']} finished runs in "
        f"{record['seconds'] / 60:.0f} minutes, {stage1} of a fold and seed. {_machine(record['environment'])}",
    ]
    return "\n\n".join(part for part in parts if part.strip())


def _machine(environment: Mapping | None) -> str:
    if environment is None:
        return ""
    return (
        f"{environment['processor']}, {environment['num_processes']} process(es) of {environment['num_threads']} "
        f"threads, device {environment['device']}, mixed precision {environment['mixed_precision']}, torch "
        f"{environment['packages']['torch']}."
    )
