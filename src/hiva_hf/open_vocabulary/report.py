"""The report on Action Units that were left out: their scores with intervals, beside the controls and chance."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime

from .. import __version__
from ..atomic_files import write_text
from ..data.manifest import title_of
from ..evaluation.bootstrap import BootstrapScores, bootstrap_scores
from ..evaluation.metrics import none_if_undefined
from ..evaluation.tables import OURS, SOURCE_COLUMN, Column, Table
from ..facs import get_action_unit
from .leave_one_out import LABELLED, OTHER, OWN, QUERIES, RANDOM, LeaveOneOut


CHANCE = 0.5
ABOVE, BELOW, NOT_SHOWN = "above chance", "below chance", "not shown"
_DECIMALS = 3


def write_report(experiment: LeaveOneOut, command: str = "") -> str:
    """Evaluates all scores and writes `new_au.md` and `new_au.json` to the folder of the experiment.

    Args:
        experiment: The experiment, all of whose seeds are finished.
        command: The command that made the scores, for the record.

    Returns:
        The report in Markdown.

    Raises:
        ValueError: If a seed is not finished.
    """
    if experiment.pending():
        raise ValueError(f"The seeds {experiment.pending()} have no scores yet: run it first.")
    settings, title = experiment.settings, title_of(experiment.settings.dataset)
    scores = {
        query: bootstrap_scores(experiment.predictions(query), "roc_auc", over_seeds=True)
        for query in (*QUERIES, LABELLED)
    }
    table = _make_table(title, scores)
    answer = _answer(scores[OWN])
    heading = [
        f"## New Action Units from a sentence on {title}",
        f"    {command}",
        f"Written on {datetime.now(UTC).date().isoformat()} by hiva_hf {__version__}, seeds "
        f"{', '.join(map(str, settings.seeds))}.",
    ]
    markdown = "\n\n".join([*(part for part in heading if part.strip()), table.to_markdown(), answer])
    record = {
        "command": command,
        "settings": asdict(settings),
        "table": table.as_dict(),
        "mean": {query: _mean(result) for query, result in scores.items()},
        "answer": answer,
    }
    write_text(experiment.output_dir / "new_au.json", json.dumps(record, indent=2))
    write_text(experiment.output_dir / "new_au.md", markdown + "\n")
    return markdown


def verdict(interval: Sequence[float]) -> str:
    """Whether an interval of ROC-AUC lies above or below chance."""
    low, high = interval
    if low > CHANCE:
        return ABOVE
    return BELOW if high < CHANCE else NOT_SHOWN


def _make_table(title: str, scores: Mapping[str, BootstrapScores]) -> Table:
    own = scores[OWN]
    rows = [
        _row(
            f"{label} {get_action_unit(label).name}",
            {query: result.estimate[index] for query, result in scores.items()},
            own.intervals[index],
        )
        for index, label in enumerate(own.au_labels)
    ]
    rows.append(_row("Mean", {query: result.mean_estimate for query, result in scores.items()}, own.mean_interval))
    columns = (
        Column("AU that was left out"),
        Column(SOURCE_COLUMN),
        Column(QUERIES[OWN], _DECIMALS),
        Column("95% interval", _DECIMALS),
        Column(f"Against {CHANCE}"),
        Column(QUERIES[OTHER], _DECIMALS),
        Column(QUERIES[RANDOM], _DECIMALS),
        Column("With its labels", _DECIMALS),
    )
    notes = (
        "ROC-AUC of heads that saw no label and no sentence of the AU, mean over seeds (each another four fifths of "
        "the training subjects and half of the sentences). Interval: "
        f"{len(own.mean_samples)} draws of test subjects and of seeds.",
        "Controls, asked of the same heads: the description of another AU, drawn for each AU and seed, and a random "
        "vector. Means over AUs with intervals: "
        + "; ".join(f"{QUERIES[query]} {_in_words(scores[query])}" for query in (OTHER, RANDOM))
        + ".",
        "With its labels: the same faces and regression, fitted to the AU's own labels; no words are read.",
    )
    return Table("new_au", f"{title}: ROC-AUC of Action Units that were never labelled", columns, tuple(rows), notes)


def _row(name: str, estimates: Mapping[str, float], interval: Sequence[float]) -> tuple:
    own, *controls = (none_if_undefined(estimates[query]) for query in (OWN, OTHER, RANDOM, LABELLED))
    return (name, OURS, own, tuple(map(float, interval)), verdict(interval), *controls)


def _answer(own: BootstrapScores) -> str:
    verdicts = [verdict(interval) for interval in own.intervals]
    named = {
        kind: [label for label, each in zip(own.au_labels, verdicts, strict=True) if each == kind]
        for kind in (ABOVE, BELOW, NOT_SHOWN)
    }
    parts = [f"{len(labels)} {kind} ({', '.join(labels)})" for kind, labels in named.items() if labels]
    return f"Of {len(verdicts)} Action Units {'; '.join(parts)}. Mean {_in_words(own)}."


def _in_words(scores: BootstrapScores) -> str:
    low, high = scores.mean_interval
    return f"{scores.mean_estimate:.{_DECIMALS}f} [{low:.{_DECIMALS}f}, {high:.{_DECIMALS}f}]"


def _mean(scores: BootstrapScores) -> dict:
    return {"roc_auc": none_if_undefined(scores.mean_estimate), "interval": list(scores.mean_interval)}
