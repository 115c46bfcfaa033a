"""Do words help? HiVA against controls that read something else, or nothing, over several training seeds.

Each control removes one component and keeps the rest, so that its loss shows what that component contributes. A
difference is paired twice: both networks are tested on the same faces, and their common layers start stage 2 of a seed
from the same weights. Its interval is from a bootstrap over subjects and over seeds
(`bootstrap_scores(over_seeds=True)`).
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..atomic_files import write_text
from ..data.manifest import title_of
from ..evaluation.bootstrap import (
    DEFAULT_RESAMPLES,
    BootstrapScores,
    bootstrap_scores,
    check_same_seeds,
    check_same_tests,
)
from ..evaluation.metrics import none_if_undefined
from ..evaluation.protocol import FoldPredictions, score_protocol
from ..evaluation.result_tables import COMPARED_METRICS, PERCENT
from ..evaluation.tables import OURS, SOURCE_COLUMN, Column, Table
from .report import REPORT_FOLDER, describe_reproduction, head_report
from .reproduction import BASELINE, FULL, SENTENCE_LEVEL, VARIANT_NAMES, Reproduction


# What HiVA has and each control lacks.
TAKEN_AWAY = {
    "shuffled_descriptions": "Each AU's own description rather than another AU's",
    "random_vectors": "Descriptions rather than random vectors",
    "names_only": "Descriptions rather than bare AU names",
    BASELINE: "The text branch, words and weights together",
    SENTENCE_LEVEL: "Single words rather than one vector for each sentence",
}
# The controls that keep all weights and remove only the meaning.
MEANING_CONTROLS = ("shuffled_descriptions", "random_vectors", "names_only")
WORD_VARIANTS = (FULL, *TAKEN_AWAY)

HELPS, HURTS, NOT_SHOWN = "helps", "hurts", "no difference shown"

_DECIMALS = 2


@dataclass(frozen=True, eq=False)
class WordDifference:
    """The loss of a control against HiVA in one metric.

    Attributes:
        control: The variant that HiVA is compared with.
        metric: One of `COMPARED_METRICS`.
        scores: The paired difference, HiVA minus control, bootstrapped over subjects and seeds.
        of_seeds: The difference of each seed, on the real subjects.
    """

    control: str
    metric: str
    scores: BootstrapScores
    of_seeds: Mapping[int, float]

    @property
    def verdict(self) -> str:
        """Whether what the control lacks helps or hurts: only if the interval excludes 0 and all seeds agree."""
        low, high = self.scores.mean_interval
        if low > 0 and min(self.of_seeds.values()) > 0:
            return HELPS
        if high < 0 and max(self.of_seeds.values()) < 0:
            return HURTS
        return NOT_SHOWN

    def as_dict(self) -> dict:
        """In percentage points, for JSON."""
        return {
            "control": self.control,
            "metric": self.metric,
            "difference": none_if_undefined(PERCENT * self.scores.mean_estimate),
            "interval": [none_if_undefined(PERCENT * end) for end in self.scores.mean_interval],
            "seeds": {str(seed): none_if_undefined(PERCENT * value) for seed, value in self.of_seeds.items()},
            "left_out": self.scores.undefined,
            "verdict": self.verdict,
        }


@dataclass(frozen=True)
class WordReport:
    """The report that was written.

    Attributes:
        heading: What was run, when and on what kind of machine.
        tables: Scores, and differences.
        answer: Sentences computed from the intervals.
        missing: One sentence for every run that is not finished.
        folder: Folder of `words.md` and `words.json`.
    """

    heading: str
    tables: tuple[Table, ...]
    answer: tuple[str, ...]
    missing: tuple[str, ...]
    folder: Path

    def to_markdown(self) -> str:
        """Heading, tables, answer and what is missing."""
        parts = [self.heading, *(table.to_markdown() for table in self.tables)]
        if self.answer:
            parts.append("\n".join(["### Do words help?", "", *(f"- {sentence}" for sentence in self.answer)]))
        if self.missing:
            parts.append("\n".join(["### Missing", "", *(f"- {sentence}" for sentence in self.missing)]))
        return "\n\n".join(parts)


def compare_words(
    predictions: Mapping[str, Sequence[FoldPredictions]], num_resamples: int = DEFAULT_RESAMPLES
) -> list[WordDifference]:
    """Compares HiVA with each control.

    Args:
        predictions: Those of all folds and seeds, by variant; `"full"` must be among them.
        num_resamples: Draws of subjects and seeds.

    Returns:
        The differences, by control in the order of `TAKEN_AWAY`, then by metric.

    Raises:
        ValueError: If there is no `"full"`, or a control was tested on other faces, or has other seeds or only one.
    """
    if FULL not in predictions:
        raise ValueError(f"Controls are compared with {FULL!r}, but there are only {', '.join(predictions)}.")
    controls = [control for control in TAKEN_AWAY if control in predictions]
    for control in controls:
        check_same_tests(predictions[FULL], predictions[control])
        check_same_seeds(predictions[FULL], predictions[control])
    differences = []
    for metric in COMPARED_METRICS:
        bootstraps = {
            variant: bootstrap_scores(predictions[variant], metric, num_resamples, over_seeds=True)
            for variant in (FULL, *controls)
        }
        for control in controls:
            scores = bootstraps[FULL].minus(bootstraps[control])
            differences.append(WordDifference(control, metric, scores, scores.mean_of_seeds))
    return sorted(differences, key=lambda difference: controls.index(difference.control))


def answer_of(differences: Sequence[WordDifference]) -> list[str]:
    """Sentences that state what the intervals show, one for each control, and one on the meaning of the words.

    Args:
        differences: From [`compare_words`].
    """
    sentences = []
    for control in dict.fromkeys(difference.control for difference in differences):
        verdicts = [
            f"{COMPARED_METRICS[difference.metric]} {difference.verdict} ({_points(difference)})"
            for difference in differences
            if difference.control == control
        ]
        sentences.append(f"{TAKEN_AWAY[control]}: {', '.join(verdicts)}.")
    return sentences + _answer_on_meaning(differences)


def make_word_report(reproduction: Reproduction, command: str = "") -> WordReport:
    """Scores the finished runs and writes `words.md` and `words.json` into the report folder of the reproduction.

    Args:
        reproduction: A reproduction, finished or not; the report lists what is missing.
        command: The command that made the runs, for the record.

    Raises:
        ValueError: If the reproduction has only one seed.
    """
    check_seeds(reproduction)
    finished = [variant for variant in WORD_VARIANTS if variant in reproduction.finished_variants()]
    predictions = {variant: reproduction.predictions(variant) for variant in finished}
    differences = compare_words(predictions) if FULL in predictions else []
    title = title_of(reproduction.arguments.dataset)
    tables = []
    if predictions:
        tables.append(_make_score_table(title, predictions))
    if differences:
        tables.append(_make_difference_table(title, differences))
    record = describe_reproduction(reproduction, command)
    report = WordReport(
        heading=head_report(record, "Do words help?"),
        tables=tuple(tables),
        answer=tuple(answer_of(differences)),
        missing=tuple(f"The run {job} is not finished." for job in reproduction.pending()),
        folder=reproduction.output_dir / REPORT_FOLDER,
    )
    record |= {
        "tables": {table.key: table.as_dict() for table in tables},
        "differences": [difference.as_dict() for difference in differences],
        "answer": list(report.answer),
        "missing": list(report.missing),
    }
    write_text(report.folder / "words.json", json.dumps(record, indent=2))
    write_text(report.folder / "words.md", report.to_markdown() + "\n")
    return report


def check_seeds(reproduction: Reproduction):
    """Raises a ValueError if the reproduction has too few seeds for an interval over them."""
    if len(reproduction.seeds) < 2:
        raise ValueError(
            f"Seed {reproduction.seeds[0]} alone can't show whether words help: another seed can change a difference "
            "by more than the interval over subjects. Pass at least two, better three, with --seeds."
        )


def _points(difference: WordDifference) -> str:
    low, high = (PERCENT * end for end in difference.scores.mean_interval)
    estimate = PERCENT * difference.scores.mean_estimate
    return f"{estimate:+.{_DECIMALS}f} [{low:+.{_DECIMALS}f}, {high:+.{_DECIMALS}f}]"


def _answer_on_meaning(differences: Sequence[WordDifference]) -> list[str]:
    """Whether the meaning of the words helps against all three controls that keep the weights."""
    sentences = []
    for metric, name in COMPARED_METRICS.items():
        verdicts = [
            difference.verdict
            for difference in differences
            if difference.metric == metric and difference.control in MEANING_CONTROLS
        ]
        if len(verdicts) == len(MEANING_CONTROLS):
            sentences.append(f"{name}: {_sum_up(verdicts)}")
    return [f"The meaning of the words: {'; '.join(sentences)}."] if sentences else []


def _sum_up(verdicts: Sequence[str]) -> str:
    if set(verdicts) == {HELPS}:
        return "words help, against all three controls that keep the weights and take the meaning"
    if set(verdicts) == {HURTS}:
        return "words hurt, against all three controls that keep the weights and take the meaning"
    if set(verdicts) == {NOT_SHOWN}:
        return "no difference shown against any control that keeps the weights and takes the meaning"
    counts = [f"{verdicts.count(verdict)} {verdict}" for verdict in (HELPS, NOT_SHOWN, HURTS) if verdict in verdicts]
    return f"no clear answer, of three controls {', '.join(counts)}"


def _make_score_table(title: str, predictions: Mapping[str, Sequence[FoldPredictions]]) -> Table:
    rows = []
    for variant, parts in predictions.items():
        scores = score_protocol(parts)
        means = [none_if_undefined(PERCENT * scores.headline(metric)) for metric in COMPARED_METRICS]
        rows.append((VARIANT_NAMES[variant], OURS, *means))
    columns = (
        Column("Method"),
        Column(SOURCE_COLUMN),
        *(Column(name, _DECIMALS) for name in COMPARED_METRICS.values()),
    )
    note = (
        f"x 100, mean over AUs of the mean over {len(scores.folds)} fold(s) and the seeds "
        f"{', '.join(map(str, scores.seeds))}; {scores.num_subjects} test subjects, {scores.num_faces} faces. Tuned "
        "F1: with thresholds that are best on the validation subjects, not 0.5."
    )
    return Table("words", f"{title}: HiVA and its controls ({OURS})", columns, tuple(rows), (note,))


def _make_difference_table(title: str, differences: Sequence[WordDifference]) -> Table:
    seeds = list(differences[0].of_seeds)
    columns = (
        Column("HiVA minus"),
        Column(SOURCE_COLUMN),
        Column("Metric"),
        Column("Difference", _DECIMALS, is_signed=True),
        Column("95% interval", _DECIMALS, is_signed=True),
        *(Column(f"Seed {seed}", _DECIMALS, is_signed=True) for seed in seeds),
        Column("Verdict"),
    )
    rows = []
    for difference in differences:
        record = difference.as_dict()
        rows.append(
            (
                VARIANT_NAMES[difference.control],
                OURS,
                COMPARED_METRICS[difference.metric],
                record["difference"],
                tuple(record["interval"]),
                *(record["seeds"][str(seed)] for seed in seeds),
                difference.verdict,
            )
        )
    num_draws = len(differences[0].scores.mean_samples)
    notes = (
        f"Points (x 100). Interval: {num_draws} draws of subjects and of seeds ({len(seeds) - 1} of {len(seeds)} with "
        "replacement, which gives the mean over seeds the correct spread), both networks of a pair on the same draws.",
        "Verdict: what the control lacks helps or hurts where the interval leaves out 0 and every seed has its sign; "
        f"not corrected for the {len(differences)} rows. 'No difference shown' does not mean that there is none: "
        "the interval shows how large it may be.",
        f"{len(seeds)} seeds say little about their spread, which is why the difference of each is printed: if they "
        "differ by more than the interval over subjects, the interval is too narrow.",
    )
    return Table("word_differences", f"{title}: what each control lost ({OURS})", columns, tuple(rows), notes)
