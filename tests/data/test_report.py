"""The report counts what is there, and its verdict tells a whole set from a part of it and from a wrong one."""

import json
from dataclasses import replace

import numpy as np
import pytest

from hiva_hf.data.frames import VideoFile
from hiva_hf.data.raw import Problem, RawDataset, RawSequence
from hiva_hf.data.report import Report, build_report
from hiva_hf.data.report_text import report_text
from hiva_hf.data.sets import BP4D, DISFA, DISFA_BAD_FRAMES, GFT
from hiva_hf.data.shards import ShardState, cut_into_chunks


MISSING = -100
# Harmonic mean of the positive rates over the training subjects of any fold: leaves all rates between 0 and 1.
BP4D_SCALE = 0.33


def make_labels(num_frames: int, rates) -> np.ndarray:
    """`[num_frames, N]` with the given positive rates."""
    return np.stack([np.arange(num_frames) < round(rate * num_frames) for rate in rates], axis=1).astype(np.int8)


def make_sequence(root, subject, task, part, labels) -> RawSequence:
    frames = np.arange(1, len(labels) + 1, dtype=np.int32)
    return RawSequence(subject, task, part, frames, labels, np.full_like(labels, MISSING), VideoFile(root / "a.avi"))


def report_on(raw: RawDataset, lost: tuple[Problem, ...] = ()) -> Report:
    """Reports on a folder in which every frame became a row, but those that are lost."""
    chunks = cut_into_chunks(raw)
    states = {}
    for chunk in chunks:
        who = chunk.sequence.subject, chunk.sequence.task
        frames = set(chunk.sequence.frames.tolist())
        problems = tuple(p for p in lost if (p.subject, p.task) == who and p.frame in frames)
        states[chunk.name] = ShardState(chunk.fingerprint, len(chunk) - len(problems), 0, "", problems)
    return build_report(raw, chunks, states)


def lose(kind, raw: RawDataset, share: float) -> tuple[Problem, ...]:
    """Problems with the first frames of every sequence."""
    return tuple(
        Problem(kind, "a.avi", sequence.subject, sequence.task, frame)
        for sequence in raw.sequences
        for frame in sequence.frames[: int(share * len(sequence.frames))].tolist()
    )


def change(raw: RawDataset, index: int, **fields) -> RawDataset:
    sequences = list(raw.sequences)
    sequences[index] = replace(sequences[index], **fields)
    return replace(raw, sequences=sequences)


def cut(sequence: RawSequence, num_frames: int) -> dict[str, np.ndarray]:
    """Fields of the sequence without its last frames."""
    return {name: getattr(sequence, name)[:num_frames] for name in ("frames", "labels", "intensities")}


@pytest.fixture(scope="module")
def bp4d(tmp_path_factory) -> RawDataset:
    """All of BP4D, with as many frames and with class weights as they are published."""
    root = tmp_path_factory.mktemp("bp4d")
    frames = BP4D.num_frames_per_part
    # Positives of parts 2 and 3 together give the weights of fold 1, and so on: three equations for three parts.
    pairs = {
        fold: BP4D_SCALE * sum(frames[part] for part in frames if part != fold) / np.array(weights)
        for fold, weights in BP4D.class_weights.items()
    }
    total = sum(pairs.values()) / 2
    sequences = []
    for part, num_frames in frames.items():
        subjects = [subject for subject in BP4D.parts if BP4D.parts[subject] == part]
        names = [(subject, f"T{task}") for subject in subjects for task in range(1, 9)]
        labels = make_labels(num_frames, (total - pairs[part]) / num_frames)
        for name, piece in zip(names, np.array_split(labels, len(names)), strict=True):
            sequences.append(make_sequence(root, *name, part, piece))
    sequences.sort(key=lambda sequence: sequence.name)
    return RawDataset("bp4d", BP4D.aus, root, sequences, settings={"frame_offset": 0})


@pytest.fixture
def custom(tmp_path) -> RawDataset:
    """Two subjects with four frames each, and AUs that some of them never show."""
    first = np.array([[1, 0, 0], [0, 1, 0], [1, 9, 0], [1, 0, 0]], np.int8)
    first[first == 9] = MISSING
    second = np.array([[1, 0, MISSING], [0, 1, MISSING], [0, 1, MISSING], [0, 1, MISSING]], np.int8)
    sequences = [make_sequence(tmp_path, "A", "", 1, first), make_sequence(tmp_path, "B", "", 2, second)]
    return RawDataset("custom", (1, 2, 4), tmp_path, sequences, notes=["Frames count from 1."])


# Figures


def test_labels_are_counted_by_au_and_part(custom):
    report = report_on(custom)
    assert [figures.missing for figures in report.aus] == [0, 1, 4]
    assert [figures.positive_rate for figures in report.aus] == [0.5, pytest.approx(4 / 7), 0.0]
    assert report.aus[0].positive_rate_per_part == {1: 0.75, 2: 0.25}
    assert report.aus[2].positive_rate_per_part == {1: 0.0, 2: None}


def test_rates_of_written_rows_leave_lost_frames_out(custom):
    report = report_on(custom, (Problem("no face", "a.avi", "A", "", 2), Problem("no face", "a.avi", "B", "", 1)))
    assert (report.labelled.found, report.written) == (8, 6)
    assert report.aus[0].positive_rate == 0.5
    assert report.aus[0].positive_rate_written == 0.5
    assert report.aus[1].positive_rate_written == pytest.approx(3 / 5)
    assert [(part.labelled.found, part.written) for part in report.parts] == [(4, 3), (4, 3)]


def test_class_weights_are_those_of_all_subjects_that_are_not_tested(tmp_path):
    parts = {"A": (1, [0.5, 0.25]), "B": (2, [0.2, 0.8]), "C": (0, [0.6, 0.2])}
    sequences = [
        make_sequence(tmp_path, name, "", part, make_labels(20, rates)) for name, (part, rates) in parts.items()
    ]
    report = report_on(RawDataset("custom", (1, 2), tmp_path, sequences))
    assert [fold.fold for fold in report.folds] == [1, 2]
    assert [fold.test_subjects for fold in report.folds] == [("A",), ("B",)]
    # r = (0.4, 0.5) over B and C: w = 2 (2.5, 2) / 4.5.
    assert report.folds[0].class_weights == pytest.approx((10 / 9, 8 / 9), abs=1e-6)
    assert report.folds[0].deviations is None


def test_weights_of_an_au_that_never_occurs_are_undefined_and_it_is_named(custom):
    report = report_on(custom)
    assert [fold.class_weights for fold in report.folds] == [None, None]
    assert "Fold 1: undefined, because training subjects never show AU4." in report_text(report)


def test_an_inconsistent_note_is_refused(custom):
    chunks = cut_into_chunks(custom)
    states = {chunk.name: ShardState(chunk.fingerprint, 3, 0, "") for chunk in chunks}
    with pytest.raises(ValueError, match="A-000 counts 3 rows, but its problems leave 4"):
        build_report(custom, chunks, states)


# Verdict


def test_a_whole_set_as_published_is_complete(bp4d):
    report = report_on(bp4d)
    assert report.verdict.status == "complete"
    assert "all 41 subjects, 328 recordings, 146847 labelled frames" in report.verdict.headline
    assert all(max(map(abs, fold.deviations)) < 0.01 for fold in report.folds)
    assert "gave no row" not in report.verdict.headline


def test_a_whole_set_with_few_lost_frames_is_complete_but_for_these(bp4d):
    lost = (Problem("no face", "a.avi", "F001", "T1", 5), Problem("unreadable frame", "a.avi", "F001", "T1", 6))
    verdict = report_on(bp4d, lost).verdict
    assert verdict.status == "complete"
    assert "2 of them gave no row" in verdict.headline


def test_a_part_of_the_subjects_is_a_subset_whose_weights_are_not_judged(bp4d):
    report = report_on(replace(bp4d, sequences=[s for s in bp4d.sequences if s.subject < "F003"]))
    assert (report.verdict.status, report.verdict.headline) == ("subset", "subset: 2 of 41 subjects")
    assert report.verdict.findings == ()
    assert report.missing_subjects[:2] == ("F003", "F004")
    text = report_text(report)
    assert "Missing subjects: F003, F004, " in text
    assert "Not judged: subjects are missing." in text


def test_a_missing_recording_is_named(bp4d):
    verdict = report_on(replace(bp4d, sequences=bp4d.sequences[1:])).verdict
    assert verdict.status == "deviates"
    assert "Missing recordings (1): F001_T1." in verdict.findings
    assert "327 recordings instead of 328." in verdict.findings


def test_frames_more_and_fewer_than_published_are_told(bp4d):
    sequence = bp4d.sequences[0]
    fewer = report_on(change(bp4d, 0, **cut(sequence, len(sequence.frames) - 7))).verdict
    assert fewer.status == "deviates"
    assert "7 labelled frames fewer than published: 146840, not 146847." in fewer.findings
    assert "Part 1 has 50624 labelled frames, not 50631." in fewer.findings
    doubled = {name: np.repeat(getattr(sequence, name), 2, axis=0) for name in ("labels", "intensities")}
    more = change(bp4d, 0, frames=np.arange(2 * len(sequence.frames), dtype=np.int32), **doubled)
    assert "labelled frames more than published" in " ".join(report_on(more).verdict.findings)


def test_a_class_weight_that_is_off_is_told_with_au_and_fold(bp4d):
    def without_au6(sequence):
        labels = sequence.labels.copy()
        labels[:, 3] = 0
        return replace(sequence, labels=labels)

    # As if a code for missing were counted as absent.
    raw = replace(bp4d, sequences=[without_au6(s) if s.subject == "F004" else s for s in bp4d.sequences])
    findings = [finding for finding in report_on(raw).verdict.findings if "weight" in finding]
    assert {finding.split(" is off")[0] for finding in findings} == {
        "Class weight of AU6 in fold 1",
        "Class weight of AU6 in fold 2",
    }


def test_swapped_parts_are_told(bp4d):
    parts = {1: 2, 2: 1, 3: 3}
    raw = replace(bp4d, sequences=[replace(s, part=parts[s.part]) for s in bp4d.sequences])
    findings = " ".join(report_on(raw).verdict.findings)
    assert "Part 1 has 50182 labelled frames, not 50631." in findings
    assert "wrong folds" in findings


@pytest.mark.parametrize(
    ("kind", "share", "expected"),
    [
        ("missing frame", 0.05, "Wrong frame offset or frame base?"),
        ("unreadable frame", 0.05, "Damaged files?"),
        ("no face", 0.06, "Wrong camera or orientation?"),
    ],
)
def test_many_lost_frames_are_told_with_the_likely_cause(bp4d, kind, share, expected):
    verdict = report_on(bp4d, lose(kind, bp4d, share)).verdict
    assert verdict.status == "deviates"
    (finding,) = verdict.findings
    assert expected in finding


def test_pictures_that_a_table_names_are_looked_for_by_their_paths(custom):
    problems = tuple(Problem("missing frame", "a.jpg", s.subject, s.task, 1) for s in custom.sequences)
    finding = report_on(custom, problems).verdict.findings[0]
    assert finding.endswith("have no picture. Wrong paths in the table?")


@pytest.mark.parametrize(("kind", "share"), [("unreadable frame", 0.008), ("no face", 0.04)])
def test_few_lost_frames_are_no_finding(bp4d, kind, share):
    assert report_on(bp4d, lose(kind, bp4d, share)).verdict.status == "complete"


def test_one_missing_frame_in_every_recording_is_a_wrong_offset(bp4d):
    lost = tuple(Problem("missing frame", "a.avi", s.subject, s.task, 1) for s in bp4d.sequences)
    (finding,) = report_on(bp4d, lost).verdict.findings
    assert finding.startswith("328 of 146847 labelled frames, in 328 of 328 recordings, have no picture.")


@pytest.mark.parametrize("kind", ["no labels", "no pictures"])
def test_recordings_without_labels_or_pictures_are_named(custom, kind):
    problems = [Problem(kind, f"C/{name}", "C", "T1") for name in ("au1.txt", "au2.txt")]
    verdict = report_on(replace(custom, problems=problems)).verdict
    assert verdict.status == "deviates"
    assert verdict.findings == (f"Recordings with {kind} (1): C T1.",)


def test_a_set_of_which_nothing_is_known_is_complete_without_problems(custom):
    verdict = report_on(custom).verdict
    assert (verdict.status, verdict.headline) == ("complete", "complete: 2 subjects, 2 recordings, 8 labelled frames")


@pytest.fixture
def disfa(tmp_path) -> RawDataset:
    """All subjects of DISFA with as many frames as are published, all of one kind."""
    sizes = dict.fromkeys(DISFA.parts, 4845) | {"SN010": 4844}
    pattern = make_labels(4845, [0.2] * 8)
    sequences = [make_sequence(tmp_path, name, "", DISFA.parts[name], pattern[:size]) for name, size in sizes.items()]
    return RawDataset("disfa", DISFA.aus, tmp_path, sequences, settings={"threshold": 2, "drop_bad_frames": False})


def test_weights_are_judged_only_with_the_published_threshold(disfa):
    judged = report_on(disfa)
    assert {finding.split(" of ")[0] for finding in judged.verdict.findings} == {"Class weight"}
    other = report_on(replace(disfa, settings={"threshold": 3, "drop_bad_frames": False}))
    assert other.verdict.status == "complete"
    assert "Not judged: prepared with other settings than the published ones." in report_text(other)


def test_frames_that_were_dropped_on_request_are_not_missed(disfa):
    raw = replace(disfa, settings={"threshold": 2, "drop_bad_frames": True})
    kept = []
    for sequence in raw.sequences:
        num_bad = sum(last - first + 1 for first, last in DISFA_BAD_FRAMES.get(sequence.subject, ()))
        kept.append(replace(sequence, **cut(sequence, len(sequence.frames) - num_bad)))
    assert report_on(replace(raw, sequences=kept)).verdict.status == "complete"
    assert "650 labelled frames more" in " ".join(report_on(raw).verdict.findings)


def test_gft_has_one_fold_and_parts_that_are_never_tested(tmp_path):
    subjects = ["001A", "008A", "010B"]
    sequences = [make_sequence(tmp_path, name, "", GFT.parts[name], make_labels(4, [0.5] * 10)) for name in subjects]
    report = report_on(RawDataset("gft", GFT.aus, tmp_path, sequences))
    assert [(fold.fold, fold.test_subjects) for fold in report.folds] == [(1, ("008A", "010B"))]
    assert [part.part for part in report.parts] == [0, 1]
    assert "The literature" not in report_text(report)


# Text and JSON


def test_the_json_holds_every_problem_and_the_text_the_first_of_each_kind(bp4d):
    lost = lose("no face", bp4d, 0.01) + (Problem("unreadable frame", "F001/T1/9.jpg", "F001", "T1", 9, "cut off"),)
    report = report_on(bp4d, lost)
    values = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert values["problem_counts"]["no face"] == len(lost) - 1
    assert len(values["problems"]) == len(lost)
    text = report_text(report)
    assert text.count(": a.avi") == 20
    assert f"  and {len(lost) - 21} more, all in report.json" in text
    assert "  F001 T1 frame 9: F001/T1/9.jpg: cut off" in text


def test_the_text_tells_notes_weights_and_how_folds_are_numbered(bp4d):
    text = report_text(report_on(replace(bp4d, notes=["Something was decided."])))
    assert "Note: Something was decided." in text
    assert "what ME-GraphAU, MDHR and LibreFace call fold 1 is the one that tests part 3" in text
    assert "Fold 3 tests F004, F006, " in text
    assert "1.132895" in text
    assert "Fold 1: largest deviation" in text
    assert "Problems: none" in text
