"""Statistics of a prepared folder: subjects, frames, labels, problems, and class weights by fold."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from ..facs import MISSING_LABEL
from .raw import Problem, ProblemKind, RawDataset
from .sets import AU_DATASETS, NEVER_TESTED, AUSet
from .shards import Chunk, ShardState
from .verdict import Verdict, judge


@dataclass(frozen=True)
class Count:
    """Number found, and number in the full set if that is known."""

    found: int
    published: int | None = None


@dataclass(frozen=True)
class PartFigures:
    """One part of the subjects.

    Attributes:
        part: Fold k tests part k.
        subjects: Subjects that were found.
        labelled: Frames with labels, found and published.
        written: Frames that became rows.
    """

    part: int
    subjects: tuple[str, ...]
    labelled: Count
    written: int


@dataclass(frozen=True)
class AUFigures:
    """One AU, over all labelled frames unless stated otherwise.

    Attributes:
        au: Its number.
        missing: Labelled frames in which it was not coded.
        positive_rate: Share of frames that show it among those in which it was coded; None if there are none.
        positive_rate_written: The same over the rows that were written.
        positive_rate_per_part: The same over the labelled frames of each part.
    """

    au: int
    missing: int
    positive_rate: float | None
    positive_rate_written: float | None
    positive_rate_per_part: Mapping[int, float | None]


@dataclass(frozen=True)
class FoldFigures:
    """One fold.

    Attributes:
        fold: Its number, which is that of the part that it tests.
        test_subjects: Subjects that are tested.
        class_weights: Weight of each AU, over the labelled frames of all other subjects; None if an AU never occurs
            there.
        published_class_weights: The same from the literature, where published.
        deviations: `class_weights / published_class_weights - 1`, if both are known.
    """

    fold: int
    test_subjects: tuple[str, ...]
    class_weights: tuple[float, ...] | None
    published_class_weights: tuple[float, ...] | None
    deviations: tuple[float, ...] | None


@dataclass(frozen=True)
class Report:
    """What a prepared folder holds.

    Attributes:
        name: Name of the data set.
        title: Display name.
        settings: The options that it was prepared with.
        subjects: Number of subjects.
        missing_subjects: Subjects of the full set that were not found.
        sequences: Number of recordings.
        missing_sequences: Missing recordings of subjects who were found, as far as is known.
        labelled: Frames with labels.
        written: Frames that became rows.
        parts: One for each part of the subjects.
        aus: One for each AU.
        folds: One for each part that is tested.
        problems: Everything that led to missing rows.
        notes: Findings and decisions of the reader.
    """

    name: str
    title: str
    settings: Mapping[str, object]
    subjects: Count
    missing_subjects: tuple[str, ...]
    sequences: Count
    missing_sequences: tuple[str, ...]
    labelled: Count
    written: int
    parts: tuple[PartFigures, ...]
    aus: tuple[AUFigures, ...]
    folds: tuple[FoldFigures, ...]
    problems: tuple[Problem, ...]
    notes: tuple[str, ...]

    @property
    def verdict(self) -> Verdict:
        """How it compares with the full set."""
        return judge(self, facts_of(self.name))

    def problems_of(self, kind: ProblemKind) -> list[Problem]:
        return [problem for problem in self.problems if problem.kind == kind]

    def to_dict(self) -> dict:
        """The whole report, JSON-serialisable, with the problems counted by kind."""
        counts = {kind: len(self.problems_of(kind)) for kind in get_args(ProblemKind)}
        figures = asdict(self)
        problems = figures.pop("problems")
        return {"verdict": asdict(self.verdict), **figures, "problem_counts": counts, "problems": problems}


class LabelTable:
    """All labelled frames of a release in one table.

    Attributes:
        labels: `[n, N]` int8.
        is_written: `[n]` bool, whether each frame became a row.
        parts: `[n]` part of each frame's subject.
    """

    def __init__(self, chunks: Sequence[Chunk], states: Mapping[str, ShardState]):
        self.labels = np.concatenate([chunk.sequence.labels for chunk in chunks])
        self.parts = np.concatenate([np.full(len(chunk), chunk.sequence.part) for chunk in chunks])
        self.is_written = np.concatenate([_is_written(chunk, states[chunk.name]) for chunk in chunks])

    def positive_rates(self, rows: NDArray[np.bool_]) -> list[float | None]:
        """Share of positive labels among the known ones of each AU; None where there are none."""
        labels = self.labels[rows]
        known = (labels != MISSING_LABEL).sum(axis=0)
        positive = (labels == 1).sum(axis=0)
        return [_rounded(p / k) if k else None for p, k in zip(positive.tolist(), known.tolist(), strict=True)]

    def class_weights(self, rows: NDArray[np.bool_]) -> tuple[float, ...] | None:
        """`w_i = N (1 / r_i) / sum_j (1 / r_j)` with the positive rates r; None if one of them is 0 or unknown."""
        labels = self.labels[rows]
        positive = (labels == 1).sum(axis=0)
        if not positive.all():
            return None
        inverse = (labels != MISSING_LABEL).sum(axis=0) / positive
        return tuple(_rounded(weight) for weight in len(inverse) * inverse / inverse.sum())


def build_report(raw: RawDataset, chunks: Sequence[Chunk], states: Mapping[str, ShardState]) -> Report:
    """Compiles the report on a preparation.

    Args:
        raw: The release that was prepared.
        chunks: All of its chunks.
        states: State of each chunk's shard, by name.
    """
    facts = facts_of(raw.name)
    table = LabelTable(chunks, states)
    subjects = {sequence.subject: sequence.part for sequence in raw.sequences}
    tested = sorted({*subjects.values(), *facts.parts.values()} - {NEVER_TESTED})
    return Report(
        name=raw.name,
        title=facts.title,
        settings=dict(raw.settings),
        subjects=Count(len(subjects), len(facts.parts) or None),
        missing_subjects=tuple(sorted(set(facts.parts) - set(subjects))),
        sequences=Count(len(raw.sequences), facts.num_sequences),
        missing_sequences=_missing_sequences(raw, facts),
        labelled=Count(len(table.labels), facts.num_frames),
        written=int(table.is_written.sum()),
        parts=tuple(_part_figures(part, subjects, table, facts) for part in sorted(set(subjects.values()))),
        aus=_au_figures(raw.aus, table),
        folds=tuple(_fold_figures(fold, subjects, table, facts) for fold in tested),
        problems=_sorted_problems(raw, states),
        notes=tuple(raw.notes),
    )


def facts_of(name: str) -> AUSet:
    """Known facts about a data set; none for custom ones."""
    return AU_DATASETS.get(name) or AUSet(name, name, ())


def _is_written(chunk: Chunk, state: ShardState) -> NDArray[np.bool_]:
    is_written = ~np.isin(chunk.sequence.frames, [problem.frame for problem in state.problems])
    if is_written.sum() != state.num_rows:
        raise ValueError(
            f"The state of shard {chunk.name} counts {state.num_rows} rows, but its problems leave "
            f"{is_written.sum()}. Delete its state file and prepare again."
        )
    return is_written


def _part_figures(part: int, subjects: Mapping[str, int], table: LabelTable, facts: AUSet) -> PartFigures:
    rows = table.parts == part
    return PartFigures(
        part,
        tuple(sorted(subject for subject in subjects if subjects[subject] == part)),
        Count(int(rows.sum()), facts.num_frames_per_part.get(part)),
        int((rows & table.is_written).sum()),
    )


def _au_figures(aus: Sequence[int], table: LabelTable) -> tuple[AUFigures, ...]:
    missing = (table.labels == MISSING_LABEL).sum(axis=0).tolist()
    overall = table.positive_rates(np.full(len(table.labels), True))
    written = table.positive_rates(table.is_written)
    parts = {part: table.positive_rates(table.parts == part) for part in np.unique(table.parts).tolist()}
    return tuple(
        AUFigures(au, missing[i], overall[i], written[i], {part: rates[i] for part, rates in parts.items()})
        for i, au in enumerate(aus)
    )


def _fold_figures(fold: int, subjects: Mapping[str, int], table: LabelTable, facts: AUSet) -> FoldFigures:
    weights = table.class_weights(table.parts != fold)
    published = facts.class_weights.get(fold)
    deviations = None
    if weights and published:
        deviations = tuple(_rounded(ours / theirs - 1) for ours, theirs in zip(weights, published, strict=True))
    test_subjects = tuple(sorted(subject for subject, part in subjects.items() if part == fold))
    return FoldFigures(fold, test_subjects, weights, published, deviations)


def _missing_sequences(raw: RawDataset, facts: AUSet) -> tuple[str, ...]:
    """Recordings that other subjects have; known only if all tasks of the full set occur."""
    found = {(sequence.subject, sequence.task) for sequence in raw.sequences}
    tasks = {task for _, task in found}
    if facts.num_sequences != len(facts.parts) * len(tasks):
        return ()
    expected = {(subject, task) for subject, _ in found for task in tasks}
    return tuple(f"{subject}_{task}" if task else subject for subject, task in sorted(expected - found))


def _sorted_problems(raw: RawDataset, states: Mapping[str, ShardState]) -> tuple[Problem, ...]:
    kinds = get_args(ProblemKind)
    problems = {*raw.problems, *(problem for state in states.values() for problem in state.problems)}

    def place(problem: Problem) -> tuple:
        frame = -1 if problem.frame is None else problem.frame
        return kinds.index(problem.kind), problem.subject, problem.task, frame, problem.where, problem.detail

    return tuple(sorted(problems, key=place))


def _rounded(value: float) -> float:
    """Published figures have six decimals; the last bits of a float depend on the machine."""
    return round(float(value), 6)
