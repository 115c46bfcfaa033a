"""The verdict on a prepared folder: whether it is complete, a subset, or deviates from the full set, and how."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from ..listings import first_of
from .sets import DISFA_BAD_FRAMES, AUSet


if TYPE_CHECKING:
    from .report import Report

# The published weights have six decimals; labels that were read correctly reproduce them to four.
MAX_WEIGHT_DEVIATION = 0.01
# With frontal cameras, well under 1 % of the faces are missed.
MAX_NO_FACE_SHARE = 0.05
MAX_NO_PICTURE_SHARE = 0.01
# With a frame number off by one, every recording lacks one frame.
_WRONG_OFFSET_SEQUENCES = 0.5
_MAX_NAMES = 20


@dataclass(frozen=True)
class Verdict:
    """How a prepared folder compares with the full set.

    Attributes:
        status: "complete"; "subset" of the subjects; or "deviates" if anything else differs from the full set.
        headline: The same in words.
        findings: What differs from the full set, with likely causes.
    """

    status: Literal["complete", "subset", "deviates"]
    headline: str
    findings: tuple[str, ...]


def judge(report: "Report", facts: AUSet) -> Verdict:
    """Compares what was found with what is known about the set."""
    findings = [*_missing_recordings(report), *_lost_frames(report)]
    found, full = report.subjects.found, report.subjects.published
    if report.missing_subjects:
        return Verdict("subset", f"subset: {found} of {full} subjects", tuple(findings))
    findings += [*_wrong_counts(report, facts), *_wrong_weights(report, facts)]
    if findings:
        return Verdict("deviates", "deviates from what is expected", tuple(findings))
    lost = report.labelled.found - report.written
    exception = f"; {lost} of them gave no row, see the problems" if lost else ""
    subjects = f"all {full} subjects" if full else f"{found} subjects"
    headline = f"complete: {subjects}, {report.sequences.found} recordings, {report.labelled.found} labelled frames"
    return Verdict("complete", headline + exception, ())


def weights_are_comparable(report: "Report", facts: AUSet) -> bool:
    """Whether the labels were made with the settings that the published weights belong to."""
    threshold = report.settings.get("threshold", facts.intensity_threshold)
    return threshold == facts.intensity_threshold and not report.settings.get("drop_bad_frames")


def _missing_recordings(report: "Report") -> list[str]:
    findings = []
    if report.missing_sequences:
        findings.append(
            f"Missing recordings ({len(report.missing_sequences)}): {first_of(report.missing_sequences, _MAX_NAMES)}."
        )
    for kind in ("no labels", "no pictures"):
        who = sorted({" ".join(filter(None, (p.subject, p.task))) for p in report.problems_of(kind)})
        if who:
            findings.append(f"Recordings with {kind} ({len(who)}): {first_of(who, _MAX_NAMES)}.")
    return findings


def _lost_frames(report: "Report") -> list[str]:
    findings = []
    labelled = report.labelled.found
    missing, unreadable = report.problems_of("missing frame"), report.problems_of("unreadable frame")
    affected = len({(problem.subject, problem.task) for problem in missing})
    is_everywhere = affected > 1 and affected >= _WRONG_OFFSET_SEQUENCES * report.sequences.found
    if len(missing) > MAX_NO_PICTURE_SHARE * labelled or is_everywhere:
        # Custom tables name their pictures, the releases number them.
        cause = "Wrong paths in the table" if report.name == "custom" else "Wrong frame offset or frame base"
        findings.append(
            f"{len(missing)} of {labelled} labelled frames, in {affected} of {report.sequences.found} recordings, "
            f"have no picture. {cause}?"
        )
    if len(unreadable) > MAX_NO_PICTURE_SHARE * labelled:
        findings.append(f"{len(unreadable)} of {labelled} labelled frames can't be read. Damaged files?")
    num_pictures = labelled - len(missing) - len(unreadable)
    no_face = len(report.problems_of("no face"))
    if no_face > MAX_NO_FACE_SHARE * num_pictures:
        share = 100 * no_face / num_pictures
        findings.append(f"No face in {share:.1f} % of {num_pictures} pictures. Wrong camera or orientation?")
    return findings


def _wrong_counts(report: "Report", facts: AUSet) -> list[str]:
    findings = []
    sequences = report.sequences
    if sequences.published not in (None, sequences.found):
        findings.append(f"{sequences.found} recordings instead of {sequences.published}.")
    found, published = report.labelled.found, report.labelled.published
    if published is not None:
        published -= _num_dropped(report)
    if published not in (None, found):
        kind = "more" if found > published else "fewer"
        findings.append(f"{abs(found - published)} labelled frames {kind} than published: {found}, not {published}.")
    for part in report.parts:
        if part.labelled.published not in (None, part.labelled.found):
            findings.append(
                f"Part {part.part} has {part.labelled.found} labelled frames, not {part.labelled.published}."
            )
    return findings


def _num_dropped(report: "Report") -> int:
    """Frames that were left out on request."""
    if report.name != "disfa" or not report.settings.get("drop_bad_frames"):
        return 0
    return sum(last - first + 1 for stretches in DISFA_BAD_FRAMES.values() for first, last in stretches)


def _wrong_weights(report: "Report", facts: AUSet) -> list[str]:
    if not weights_are_comparable(report, facts):
        return []
    return [
        f"Class weight of AU{figures.au} in fold {fold.fold} is off by {100 * deviation:+.1f} %. Wrong threshold, "
        "wrong folds, or is a code for missing (9) counted as a label?"
        for fold in report.folds
        if fold.deviations
        for figures, deviation in zip(report.aus, fold.deviations, strict=True)
        if abs(deviation) > MAX_WEIGHT_DEVIATION
    ]
