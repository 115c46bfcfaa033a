import shutil

import pytest

from hiva_hf.data.disfa import read_disfa
from hiva_hf.data.frames import ImageFiles, VideoFile
from hiva_hf.data.raw import RawDataError
from hiva_hf.data.sets import DISFA


FRAMES = "frames/{subject}/{number}.png"


@pytest.fixture
def make_tree(tmp_path, make_disfa_tree):
    """A miniature DISFA with quirks."""
    return lambda **quirks: make_disfa_tree(tmp_path / "DISFA", **quirks)


def test_every_row_has_its_labels_part_and_frame_of_the_video(make_tree, assert_reads_as):
    tree = make_tree()
    dataset = read_disfa(tree.root)
    assert_reads_as(dataset, tree)
    assert len(tree.rows) == 18
    assert {sequence.part for sequence in dataset.sequences} == {1, 2, 3}
    assert (dataset.name, dataset.aus, dataset.notes) == ("disfa", DISFA.aus, [])
    assert dataset.settings == {"camera": "left", "threshold": 2, "frame_base": None, "drop_bad_frames": False}
    assert [sequence.name for sequence in dataset.sequences] == ["SN001", "SN003", "SN006", "SN010"]
    assert all(isinstance(sequence.source, VideoFile) for sequence in dataset.sequences)


@pytest.mark.parametrize("threshold", [1, 2, 3, 5])
def test_the_threshold_makes_labels_and_leaves_intensities(make_tree, assert_reads_as, threshold):
    tree = make_tree(threshold=threshold)
    assert {level for row in tree.rows.values() for level in row.intensities} == set(range(6))
    assert_reads_as(read_disfa(tree.root, threshold=threshold), tree)


@pytest.mark.parametrize(
    "quirks",
    [
        {"newline": "\r\n"},
        {"bom": True},
        {"bom": True, "newline": "\r\n", "blank_lines": 2},
        {"delimiter": ", "},
        {"trailing": ","},
        {"trailing": " "},
    ],
    ids=str,
)
def test_label_files_are_read_however_they_are_written(make_tree, assert_reads_as, quirks):
    tree = make_tree(**quirks)
    assert_reads_as(read_disfa(tree.root), tree)


def test_label_files_may_end_without_a_line_end(make_tree, assert_reads_as):
    tree = make_tree()
    for path in (tree.root / "ActionUnit_Labels/SN001").iterdir():
        path.write_text(path.read_text().rstrip("\n"))
    assert_reads_as(read_disfa(tree.root), tree)


@pytest.mark.parametrize("nested", ["", "DISFA_2013"])
@pytest.mark.parametrize("labels", ["ActionUnit_Labels", "Labels/ActionUnit_Labels", "actionunit_labels"])
@pytest.mark.parametrize("suffix", [".avi", ".mp4", ".AVI"])
def test_every_layout_is_found(make_tree, assert_reads_as, nested, labels, suffix):
    tree = make_tree(nested=nested, labels=labels, suffix=suffix, subjects={"SN001": 3, "SN006": 3})
    assert_reads_as(read_disfa(tree.root), tree)


def test_a_frame_that_no_au_file_has_is_no_row(make_tree, assert_reads_as):
    """SN010 has 4,844 lines, but a video of 4,845 frames."""
    tree = make_tree(missing_line={"SN010": 5})
    assert ("SN010", "", 5) not in tree.rows
    dataset = read_disfa(tree.root)
    assert_reads_as(dataset, tree)
    assert dataset.notes == []


def test_a_line_missing_in_the_middle_moves_no_other_row(make_tree, assert_reads_as):
    tree = make_tree(missing_line={"SN010": 3})
    assert_reads_as(read_disfa(tree.root), tree)


def test_a_frame_that_one_au_file_lacks_has_a_missing_label(make_tree, assert_reads_as):
    tree = make_tree(missing_au_line={("SN001", 4): 2, ("SN001", 26): 5})
    assert tree.rows["SN001", "", 2].labels[2] == tree.rows["SN001", "", 2].intensities[2] == -100
    dataset = read_disfa(tree.root)
    assert_reads_as(dataset, tree)
    assert dataset.notes == ["Frames of SN001 that only some of its AU files contain: 2."]


def test_a_video_one_frame_short_misses_its_last_frame(make_tree, assert_reads_as):
    tree = make_tree(short_video=["SN006"])
    assert tree.failures == {("SN006", "", 4): "missing frame"}
    assert_reads_as(read_disfa(tree.root), tree)


def test_a_video_one_frame_short_is_enough_where_the_last_line_is_missing(make_tree, assert_reads_as):
    tree = make_tree(short_video=["SN010"], missing_line={"SN010": 5})
    assert tree.failures == {}
    assert_reads_as(read_disfa(tree.root), tree)


@pytest.mark.parametrize("quirk", ["no_pictures", "unlabelled", "empty"])
def test_what_is_wrong_with_one_subject_is_a_problem(make_tree, assert_reads_as, quirk):
    tree = make_tree(**{quirk: ["SN003"]})
    dataset = read_disfa(tree.root)
    assert_reads_as(dataset, tree)
    where = "Videos_LeftCamera/LeftVideoSN003_comp.avi" if quirk == "unlabelled" else "ActionUnit_Labels/SN003"
    assert [problem.where for problem in dataset.problems] == [where]


def test_one_empty_label_file_is_a_problem_and_its_labels_are_missing(make_tree):
    tree = make_tree()
    (tree.root / "ActionUnit_Labels/SN001/SN001_au9.txt").write_bytes(b"")
    dataset = read_disfa(tree.root)
    (problem,) = dataset.problems
    assert (problem.kind, problem.subject) == ("no labels", "SN001")
    assert problem.where == "ActionUnit_Labels/SN001/SN001_au9.txt"
    labels = dataset.sequences[0].labels
    assert (labels[:, DISFA.aus.index(9)] == -100).all()
    assert (labels[:, DISFA.aus.index(6)] != -100).all()
    assert len(labels) == 5


# Cameras


def test_the_right_camera_is_used_if_asked_for(make_tree, assert_reads_as):
    tree = make_tree(cameras=("right", "left"))
    dataset = read_disfa(tree.root, camera="right")
    assert_reads_as(dataset, tree)
    assert dataset.settings["camera"] == "right"


def test_the_left_camera_is_used_if_there_are_both(make_tree, assert_reads_as):
    tree = make_tree(cameras=("left", "right"))
    assert_reads_as(read_disfa(tree.root), tree)


@pytest.mark.parametrize(("found", "asked"), [("right", "left"), ("left", "right")])
@pytest.mark.parametrize("pictures", ["videos", "{side}/{subject}/{number}.png"])
def test_pictures_of_the_other_camera_only_are_refused_with_the_remedy(make_tree, found, asked, pictures):
    tree = make_tree(cameras=(found,), pictures=pictures)
    with pytest.raises(RawDataError, match=rf'of the {found} camera only.*camera="{found}" \(`--camera {found}`\)'):
        read_disfa(tree.root, camera=asked)


def test_the_innermost_name_tells_the_camera(make_tree, assert_reads_as):
    tree = make_tree(cameras=("right", "left"), nested="DISFA left and right")
    assert_reads_as(read_disfa(tree.root, camera="right"), tree)


def test_frames_are_chosen_by_camera(make_tree, assert_reads_as):
    tree = make_tree(cameras=("right", "left"), pictures="{side}Camera/{subject}/{number}.png")
    assert_reads_as(read_disfa(tree.root, camera="right"), tree)


def test_pictures_that_do_not_tell_their_camera_are_used_with_a_note(make_tree, assert_reads_as):
    tree = make_tree(pictures="BrightFrames/{subject}/{number}.png")
    dataset = read_disfa(tree.root)
    assert_reads_as(dataset, tree)
    assert dataset.notes[0] == "Names such as BrightFrames/SN001 don't name the camera: assumed to be left."


def test_two_videos_of_one_subject_are_refused(make_tree):
    tree = make_tree()
    shutil.copy(tree.root / "Videos_LeftCamera/LeftVideoSN001_comp.avi", tree.root / "LeftVideoSN001.avi")
    with pytest.raises(RawDataError, match="SN001 has pictures in .*/LeftVideoSN001.avi and in .*_comp.avi"):
        read_disfa(tree.root)


# Extracted frames


@pytest.mark.parametrize(
    "pictures",
    [
        "frames/{subject}/{number}.png",
        "frames/{subject}/{number:05d}.jpg",
        "{subject}/{subject}_{number:04d}.jpg",
        "a/b/{subject}/frame_{number}.png",
        "LeftVideo{subject}_comp/LeftVideo{subject}_comp_{number:04d}.JPG",
        "Videos_LeftCamera/frames/{subject}/{number}.bmp",
        "{subject}/left/{number}.png",
    ],
)
@pytest.mark.parametrize("frame_base", [0, 1])
def test_extracted_frames_are_found_and_counted_right(make_tree, assert_reads_as, pictures, frame_base):
    tree = make_tree(pictures=pictures, frame_base=frame_base, missing_line={"SN010": 5})
    dataset = read_disfa(tree.root)
    assert_reads_as(dataset, tree)
    assert dataset.settings["frame_base"] == frame_base
    assert f"Extracted frames count from {frame_base}: " in dataset.notes[-1]
    assert f"SN001 has pictures {frame_base} to {frame_base + 4} and labels up to frame 5" in dataset.notes[-1]
    assert all(isinstance(sequence.source, ImageFiles) for sequence in dataset.sequences)


def test_missing_and_truncated_frames_fail_alone(make_tree, assert_reads_as):
    tree = make_tree(pictures=FRAMES, missing=[("SN001", "", 2)], truncated=[("SN006", "", 4)])
    assert_reads_as(read_disfa(tree.root), tree)


def test_a_sequence_without_its_first_picture_does_not_hide_that_others_count_from_zero(make_tree, assert_reads_as):
    tree = make_tree(pictures=FRAMES, frame_base=0, missing=[("SN001", "", 1)])
    assert_reads_as(read_disfa(tree.root), tree)


def test_frames_that_tell_nothing_need_a_frame_base(make_tree, assert_reads_as):
    lost = [("SN001", "", 5), ("SN006", "", 4)]
    tree = make_tree(pictures=FRAMES, subjects={"SN001": 5, "SN006": 4}, missing=lost)
    with pytest.raises(RawDataError, match="It can't be inferred .* SN001 has pictures 1 to 4 and .*`--frame_base 0`"):
        read_disfa(tree.root)
    assert_reads_as(read_disfa(tree.root, frame_base=1), tree)


def test_frames_from_zero_that_all_lack_the_first_are_not_taken_for_frames_from_one(make_tree, assert_reads_as):
    """SN010 has a label less than pictures: its last number is that of its last label by chance."""
    lost = [("SN001", "", 1), ("SN010", "", 1)]
    tree = make_tree(
        pictures=FRAMES, frame_base=0, subjects={"SN001": 9, "SN010": 9}, missing_line={"SN010": 9}, missing=lost
    )
    with pytest.raises(
        RawDataError, match="It can't be inferred .* SN010 has pictures 1 to 8 and labels up to frame 8"
    ):
        read_disfa(tree.root)
    assert_reads_as(read_disfa(tree.root, frame_base=0), tree)


def test_one_sequence_without_its_last_picture_does_not_hide_that_others_count_from_one(make_tree, assert_reads_as):
    tree = make_tree(pictures=FRAMES, subjects={"SN001": 5, "SN006": 5, "SN010": 5}, missing=[("SN001", "", 5)])
    assert_reads_as(read_disfa(tree.root), tree)


@pytest.mark.parametrize("frame_base", [None, 0, 1])
def test_frames_that_contradict_each_other_are_refused(make_tree, frame_base):
    tree = make_tree(pictures=FRAMES)
    (tree.root / "frames/SN006/1.png").rename(tree.root / "frames/SN006/0.png")
    with pytest.raises(RawDataError, match="SN006 has pictures 0 to 4 and .*; SN001 has pictures 1 to 5 and"):
        read_disfa(tree.root, frame_base=frame_base)


def test_a_frame_base_of_videos_is_noted_as_unused(make_tree):
    dataset = read_disfa(make_tree(subjects={"SN001": 3}).root, frame_base=0)
    assert dataset.settings["frame_base"] is None
    assert "Frame base 0 was not used: there are no extracted frames, only videos." in dataset.notes


def test_a_frame_base_that_does_not_fit_is_obeyed_and_noted(make_tree):
    tree = make_tree(pictures=FRAMES, frame_base=0, subjects={"SN001": 5})
    dataset = read_disfa(tree.root, frame_base=1)
    assert dataset.settings["frame_base"] == 1
    assert (
        "Frame base 1 was used as requested, but the pictures suggest otherwise: SN001 has pictures 0 to 4"
        in dataset.notes[-1]
    )
    assert [path.name for path in dataset.sequences[0].source.files] == ["1.png", "2.png", "3.png", "4.png"]


def test_videos_win_over_frames_with_a_note(make_tree, assert_reads_as):
    tree = make_tree()
    make_tree(pictures="LeftFrames/{subject}/{number}.png", frame_base=0)
    dataset = read_disfa(tree.root)
    assert_reads_as(dataset, tree)
    assert all(isinstance(sequence.source, VideoFile) for sequence in dataset.sequences)
    assert dataset.notes == [
        "Where there are both, videos are used, not extracted frames as in LeftFrames/SN001.",
    ]


def test_frames_fill_in_for_missing_videos(make_tree, assert_reads_as):
    tree = make_tree()
    make_tree(pictures="LeftFrames/{subject}/{number}.png", frame_base=0)
    (tree.root / "Videos_LeftCamera/LeftVideoSN006_comp.avi").unlink()
    dataset = read_disfa(tree.root)
    assert_reads_as(dataset, tree)
    assert isinstance(dataset.sequences[2].source, ImageFiles)


def test_pictures_among_the_label_files_are_no_frames(make_tree, assert_reads_as, pictures):
    tree = make_tree(pictures=FRAMES)
    pictures.write(tree.root / "ActionUnit_Labels/SN001/SN001_plot.png", b"")
    assert_reads_as(read_disfa(tree.root), tree)


def test_two_pictures_of_one_frame_are_refused(make_tree):
    tree = make_tree(pictures=FRAMES)
    shutil.copy(tree.root / "frames/SN001/1.png", tree.root / "frames/SN001/001.png")
    with pytest.raises(RawDataError, match="SN001 has two pictures with number 1: 001.png and 1.png"):
        read_disfa(tree.root)


# Bad frames


def write_long_labels(root, subject: str, first: int, last: int, write) -> None:
    text = "".join(f"{frame},0\n" for frame in range(first, last + 1))
    for au in DISFA.aus:
        write(root / f"ActionUnit_Labels/{subject}/{subject}_au{au}.txt", text)


def test_bad_frames_are_left_out_if_asked_for(tmp_path, pictures):
    write_long_labels(tmp_path, "SN002", 798, 828, pictures.write)
    write_long_labels(tmp_path, "SN001", 798, 828, pictures.write)
    for subject in ("SN001", "SN002"):
        pictures.write(tmp_path / f"frames/{subject}/828.png", b"")
    dataset = read_disfa(tmp_path, drop_bad_frames=True)
    assert dataset.sequences[0].frames.tolist() == list(range(798, 829))
    assert dataset.sequences[1].frames.tolist() == [798, 799, 827, 828]
    assert dataset.sequences[1].labels.shape == dataset.sequences[1].intensities.shape == (4, 8)
    assert dataset.settings["drop_bad_frames"] is True
    assert dataset.notes[-1] == "Frames of SN002 left out because face tracking was lost there: 27."
    assert len(read_disfa(tmp_path).sequences[1].frames) == 31


# Errors


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("3,6", "line 3: the intensity of AU12 is '6', expected 0, 1, 2, 3, 4 or 5"),
        ("3,9", "line 3: the intensity of AU12 is '9'"),
        ("3,", "line 3: the intensity of AU12 is ''"),
        ("3,2.5", "line 3: the intensity of AU12 is '2.5'"),
        ("3", "line 3: expected 2 cells as in the first line, found 1"),
        ("2,0", "line 3: frame 2 already occurs in line 2"),
        ("0,0", "line 3: expected a frame number, 1 or higher, found '0'"),
        ("x,0", "line 3: expected a frame number, 1 or higher, found 'x'"),
    ],
)
def test_a_bad_line_is_refused_with_file_and_line(make_tree, line, message):
    tree = make_tree()
    path = tree.root / "ActionUnit_Labels/SN001/SN001_au12.txt"
    lines = path.read_text().splitlines()
    lines[2] = line
    path.write_text("\n".join(lines))
    with pytest.raises(RawDataError, match=f"SN001_au12.txt, {message}"):
        read_disfa(tree.root)


def test_labels_are_checked_before_pictures_are_looked_for(make_tree):
    tree = make_tree()
    (tree.root / "ActionUnit_Labels/SN001/SN001_au1.txt").write_text("1,7\n")
    shutil.rmtree(tree.root / "Videos_LeftCamera")
    with pytest.raises(RawDataError, match="SN001_au1.txt, line 1"):
        read_disfa(tree.root)


def test_label_files_without_two_columns_are_refused(make_tree):
    tree = make_tree()
    (tree.root / "ActionUnit_Labels/SN001/SN001_au1.txt").write_text("1 0\n2 0\n")
    with pytest.raises(RawDataError, match="SN001_au1.txt, line 1: expected `frame,intensity`, found 1 cells"):
        read_disfa(tree.root)


def test_missing_label_files_are_all_named(make_tree):
    tree = make_tree()
    for name in ("SN001/SN001_au9.txt", "SN001/SN001_au26.txt", "SN006/SN006_au1.txt"):
        (tree.root / "ActionUnit_Labels" / name).unlink()
    with pytest.raises(RawDataError, match="The labels of DISFA can't be used") as error:
        read_disfa(tree.root)
    assert "SN001 lacks SN001_au9.txt, SN001_au26.txt." in str(error.value)
    assert "SN006 lacks SN006_au1.txt." in str(error.value)


def test_label_files_of_other_aus_are_not_needed(make_tree, assert_reads_as):
    tree = make_tree()
    for path in (tree.root / "ActionUnit_Labels").rglob("*_au5.txt"):
        path.unlink()
    assert_reads_as(read_disfa(tree.root), tree)


def test_a_subject_that_is_not_in_disfa_is_refused(make_tree):
    tree = make_tree()
    shutil.copytree(tree.root / "ActionUnit_Labels/SN001", tree.root / "ActionUnit_Labels/SN014")
    for path in (tree.root / "ActionUnit_Labels/SN014").iterdir():
        path.rename(path.with_name(path.name.replace("SN001", "SN014")))
    with pytest.raises(RawDataError, match="SN014_au1.txt: SN014 is not a subject of DISFA"):
        read_disfa(tree.root)


def test_label_files_in_two_places_are_refused(make_tree):
    tree = make_tree()
    shutil.copytree(tree.root / "ActionUnit_Labels", tree.root / "copy")
    with pytest.raises(RawDataError, match="SN001 has two label files of AU1: .*ActionUnit_Labels.* and .*copy"):
        read_disfa(tree.root)


def test_missing_labels_are_an_error_that_lists_what_is_there(make_tree):
    tree = make_tree()
    shutil.rmtree(tree.root / "ActionUnit_Labels")
    (tree.root / "ActionUnit_Labels.zip").write_bytes(b"")
    with pytest.raises(
        RawDataError, match="holds Videos_LeftCamera/, ActionUnit_Labels.zip. Unpack the archives first"
    ):
        read_disfa(tree.root)


def test_missing_pictures_are_an_error(make_tree):
    tree = make_tree()
    shutil.rmtree(tree.root / "Videos_LeftCamera")
    with pytest.raises(RawDataError, match="neither videos of DISFA.* nor frames .* holds ActionUnit_Labels/"):
        read_disfa(tree.root)


def test_labels_and_pictures_of_different_subjects_are_an_error(make_tree):
    tree = make_tree(subjects={"SN001": 3, "SN006": 3}, unlabelled=["SN001"], no_pictures=["SN006"])
    with pytest.raises(RawDataError, match="No subject of DISFA has both labels and pictures"):
        read_disfa(tree.root)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"camera": "both"}, "`camera` is 'both', but it must be left or right"),
        ({"threshold": 0}, "`threshold` is 0, .* an intensity from 1 to 5"),
        ({"threshold": 6}, "`threshold` is 6"),
        ({"frame_base": 2}, "`frame_base` is 2, expected 0, 1 or None"),
    ],
)
def test_impossible_options_are_refused(tmp_path, option, message):
    with pytest.raises(ValueError, match=message):
        read_disfa(tmp_path, **option)
