"""The report on a prepared folder as text."""

from collections.abc import Iterator, Sequence
from typing import get_args

from .raw import Problem, ProblemKind
from .report import Count, FoldFigures, Report, facts_of
from .verdict import weights_are_comparable


_MAX_PROBLEMS = 20
_NOT_KNOWN = "n/a"
# Remedies for problems that may be temporary, such as those of a network drive.
_REMEDIES = {"unreadable frame": " (to read them again, delete the files of their recordings in the folder `state`)"}


def report_text(report: Report) -> str:
    """Everything that a reader needs to decide whether to trust the folder; `report.json` has the rest."""
    sections = (_summary, _parts, _labels, _class_weights, _problems)
    return "\n\n".join("\n".join(section(report)) for section in sections) + "\n"


def _summary(report: Report) -> Iterator[str]:
    verdict = report.verdict
    yield report.title
    yield f"Verdict: {verdict.headline}"
    yield from (f"- {finding}" for finding in verdict.findings)
    settings = ", ".join(f"{name} = {value}" for name, value in report.settings.items())
    yield ""
    yield f"Settings: {settings or 'none'}"
    yield f"Subjects: {_of_published(report.subjects)}"
    if report.missing_subjects:
        yield f"Missing subjects: {', '.join(report.missing_subjects)}"
    yield f"Recordings: {_of_published(report.sequences)}"
    yield f"Labelled frames: {_of_published(report.labelled)}, of which {report.written} became rows"
    yield from (f"Note: {note}" for note in report.notes)


def _of_published(count: Count) -> str:
    return f"{count.found}" if count.published is None else f"{count.found} of {count.published}"


def _parts(report: Report) -> Iterator[str]:
    yield "Parts of the subjects"
    head = ["part", "subjects", "labelled frames", "published", "rows"]
    rows = [
        [part.part, len(part.subjects), part.labelled.found, part.labelled.published, part.written]
        for part in report.parts
    ]
    yield from _table(head, rows)
    yield ""
    yield "Fold k tests part k and trains on all other subjects, validation subjects included."
    if any(fold.published_class_weights for fold in report.folds):
        yield (
            "The literature has the same parts in another order: what ME-GraphAU, MDHR and LibreFace call fold 1 is "
            "the one that tests part 3."
        )
    for fold in report.folds:
        yield f"Fold {fold.fold} tests {', '.join(fold.test_subjects) or 'nobody who was found'}"


def _labels(report: Report) -> Iterator[str]:
    yield "Positive rate of each AU, in percent of the labelled frames in which it was coded"
    parts = [part.part for part in report.parts]
    head = ["AU", "missing labels", "all", *(f"part {part}" for part in parts), "rows written"]
    rows = [
        [
            f"AU{figures.au}",
            figures.missing,
            _percent(figures.positive_rate),
            *(_percent(figures.positive_rate_per_part[part]) for part in parts),
            _percent(figures.positive_rate_written),
        ]
        for figures in report.aus
    ]
    yield from _table(head, rows)


def _class_weights(report: Report) -> Iterator[str]:
    yield "Class weights: N (1 / r_i) / sum_j (1 / r_j), with the positive rates r over a fold's training subjects"
    head = ["AU"]
    for fold in report.folds:
        head += [f"fold {fold.fold}", *(["published"] if fold.published_class_weights else [])]
    rows = []
    for index, figures in enumerate(report.aus):
        row = [f"AU{figures.au}"]
        for fold in report.folds:
            row.append(f"{fold.class_weights[index]:.6f}" if fold.class_weights else None)
            if fold.published_class_weights:
                row.append(f"{fold.published_class_weights[index]:.6f}")
        rows.append(row)
    yield from _table(head, rows)
    for fold in report.folds:
        yield from _remarks_on_weights(report, fold)


def _remarks_on_weights(report: Report, fold: FoldFigures) -> Iterator[str]:
    if fold.class_weights is None:
        yield f"Fold {fold.fold}: undefined, because training subjects never show {_never_shown(report, fold)}."
    if fold.deviations is None:
        return
    index = max(range(len(report.aus)), key=lambda i: abs(fold.deviations[i]))
    remark = f"Fold {fold.fold}: largest deviation {100 * fold.deviations[index]:+.2f} %, AU{report.aus[index].au}."
    if report.missing_subjects:
        remark += " Not judged: subjects are missing."
    elif not weights_are_comparable(report, facts_of(report.name)):
        remark += " Not judged: prepared with other settings than the published ones."
    yield remark


def _never_shown(report: Report, fold: FoldFigures) -> str:
    parts = [part.part for part in report.parts if part.part != fold.fold]
    aus = [figures.au for figures in report.aus if not any(figures.positive_rate_per_part[part] for part in parts)]
    return ", ".join(f"AU{au}" for au in aus)


def _problems(report: Report) -> Iterator[str]:
    if not report.problems:
        yield "Problems: none"
        return
    yield f"Problems: {len(report.problems)}"
    for kind in get_args(ProblemKind):
        problems = report.problems_of(kind)
        if not problems:
            continue
        yield f"{kind}: {len(problems)}{_REMEDIES.get(kind, '')}"
        yield from (f"  {_describe(problem)}" for problem in problems[:_MAX_PROBLEMS])
        if len(problems) > _MAX_PROBLEMS:
            yield f"  and {len(problems) - _MAX_PROBLEMS} more, all in report.json"


def _describe(problem: Problem) -> str:
    who = " ".join(filter(None, (problem.subject, problem.task)))
    frame = "" if problem.frame is None else f"frame {problem.frame}"
    return ": ".join(filter(None, (" ".join(filter(None, (who, frame))), problem.where, problem.detail)))


def _percent(rate: float | None) -> str | None:
    return None if rate is None else f"{100 * rate:.2f}"


def _table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> Iterator[str]:
    """Columns as wide as they need to be, figures to the right."""
    cells = [list(head), *([_NOT_KNOWN if cell is None else str(cell) for cell in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for row in cells:
        yield "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
