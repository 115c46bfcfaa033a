import shutil

import pytest

from hiva_hf.data.frames import ImageFiles, VideoFile
from hiva_hf.data.gft import read_gft
from hiva_hf.data.raw import RawDataError
from hiva_hf.data.sets import GFT, NEVER_TESTED


FRAMES = "frames/{subject}/{frame}.jpg"


@pytest.fixture
def make_tree(tmp_path, make_gft_tree):
    """A miniature GFT with quirks."""
    return lambda **quirks: make_gft_tree(tmp_path / "GFT", **quirks)


def test_every_row_has_its_labels_part_and_frame_of_the_video(make_tree, assert_reads_as):
    tree = make_tree()
    dataset = read_gft(tree.root)
    assert_reads_as(dataset, tree)
    assert len(tree.rows) == 13
    assert tree.parts == {"001A": NEVER_TESTED, "005C": NEVER_TESTED, "008B": 1}
    assert (dataset.name, dataset.aus, dataset.notes) == ("gft", GFT.aus, [])
    assert dataset.settings == {"frame_base": None}
    assert [sequence.name for sequence in dataset.sequences] == ["001A", "005C", "008B"]
    assert all(isinstance(sequence.source, VideoFile) for sequence in dataset.sequences)


@pytest.mark.parametrize(
    ("au_header", "frame_header"),
    [
        ("AU{}", "frame"),
        ("AU{:02d}", "Frame_Number"),
        ("au{}", "image_number"),
        ("{}", "0"),
        ("{:02d}", ""),
        ("AU{}_occ", "Unnamed: 0"),
        ("AU {}", None),
    ],
)
def test_columns_are_found_by_their_headers(make_tree, assert_reads_as, au_header, frame_header):
    tree = make_tree(au_header=au_header, frame_header=frame_header, subjects={"001A": 3})
    assert_reads_as(read_gft(tree.root), tree)


@pytest.mark.parametrize(
    "quirks",
    [
        {"delimiter": "\t"},
        {"delimiter": ";"},
        {"delimiter": "\t", "frame_header": ""},
        {"newline": "\r\n", "bom": True},
        {"quoted": True, "trailing": ","},
        {"blank_lines": 2},
    ],
    ids=str,
)
def test_tables_are_read_however_they_are_written(make_tree, assert_reads_as, quirks):
    tree = make_tree(**quirks)
    assert_reads_as(read_gft(tree.root), tree)


@pytest.mark.parametrize(
    "tables",
    [
        "{subject}_occ.csv",
        "a/b/c/{subject}.csv",
        "Occurrence/{subject}_OCC.CSV",
        "{subject}.txt",
        "{subject}-occurrence.tsv",
        "{subject} labels.csv",
    ],
)
def test_tables_are_found_by_the_beginning_of_their_names(make_tree, assert_reads_as, tables):
    tree = make_tree(tables=tables)
    assert_reads_as(read_gft(tree.root), tree)


def test_everything_but_0_and_1_is_a_missing_label(make_tree, assert_reads_as):
    codes = {1: 9, 2: -999, 4: "", 6: "nan", 10: 2, 12: "?", 14: 0.5}
    tree = make_tree(missing_codes={("001A", 2): codes, ("001A", 3): dict.fromkeys(GFT.aus, 9)})
    assert tree.rows["001A", "", 2].labels[:7] == (-100,) * 7
    assert tree.rows["001A", "", 3].labels == (-100,) * 10
    dataset = read_gft(tree.root)
    assert_reads_as(dataset, tree)
    assert dataset.notes[0].startswith("Codes of GFT's tables that count as missing labels: '9' in 11 cells, ")
    assert "'-999' in 1 cells" in dataset.notes[0]


def test_tables_without_a_usable_code_are_refused(make_tree):
    tree = make_tree()
    for path in (tree.root / "labels").iterdir():
        header, *lines = path.read_text().splitlines()
        words = (line.replace(",1", ",True").replace(",0", ",False") for line in lines)
        path.write_text("\n".join([header, *words]))
    with pytest.raises(RawDataError, match="has 0 or 1 for AU1, AU2, .*AU24. The codes found are '(true|false)' "):
        read_gft(tree.root)


def test_codes_may_be_written_as_fractions(make_tree, assert_reads_as):
    tree = make_tree()
    path = tree.root / "labels/001A_occ.csv"
    header, *lines = path.read_text().splitlines()
    path.write_text("\n".join([header, *(",".join(f"{cell}.0" for cell in line.split(",")) for line in lines)]))
    assert_reads_as(read_gft(tree.root), tree)


def test_without_a_frame_column_rows_are_counted_from_1_with_a_note(make_tree, assert_reads_as):
    tree = make_tree(frame_header=None)
    dataset = read_gft(tree.root)
    assert_reads_as(dataset, tree)
    assert dataset.notes == ["labels/001A_occ.csv and the like have no frame column: rows were counted from 1."]


def test_a_column_that_may_hold_the_frames_is_not_ignored(make_tree):
    tree = make_tree(frame_header="Time")
    with pytest.raises(RawDataError, match="001A_occ.csv: no column of frame numbers .*not AUs are 'Time'"):
        read_gft(tree.root)


def shift_frames(path, by: int) -> None:
    header, *lines = path.read_text().splitlines()
    cells = (line.split(",", 1) for line in lines)
    path.write_text("\n".join([header, *(f"{int(frame) + by},{rest}" for frame, rest in cells)]))


def test_tables_that_count_from_0_are_brought_to_count_from_1(make_tree, assert_reads_as):
    tree = make_tree(frame_header="")
    for path in (tree.root / "labels").iterdir():
        shift_frames(path, -1)
    dataset = read_gft(tree.root)
    assert_reads_as(dataset, tree)
    assert "Frames of the tables count from 0, as in labels/001A_occ.csv: 1 was added" in dataset.notes[0]


def test_tables_that_count_differently_are_refused(make_tree):
    tree = make_tree()
    shift_frames(tree.root / "labels/005C_occ.csv", -1)
    with pytest.raises(RawDataError, match="count from 0 in .*005C_occ.csv, but from 1 in .*001A_occ.csv"):
        read_gft(tree.root)


def test_rows_in_disorder_are_put_into_order(make_tree, assert_reads_as):
    tree = make_tree()
    path = tree.root / "labels/001A_occ.csv"
    header, *lines = path.read_text().splitlines()
    path.write_text("\n".join([header, *reversed(lines)]))
    assert_reads_as(read_gft(tree.root), tree)


# Pictures


@pytest.mark.parametrize(
    "pictures",
    ["{subject}.mp4", "a/b/c/{subject}.avi", "videos/{subject}.MP4", "video_{subject}.mkv", "{subject} x.avi"],
)
def test_videos_are_found_by_the_subject_in_their_names(make_tree, assert_reads_as, pictures):
    if pictures.endswith(".mkv"):
        tree = make_tree()
        for path in (tree.root / "videos").iterdir():
            path.rename(tree.root / pictures.format(subject=path.stem))
    else:
        tree = make_tree(pictures=pictures)
    assert_reads_as(read_gft(tree.root), tree)


@pytest.mark.parametrize(
    "pictures",
    ["{subject}/{frame}.jpg", "a/b/{subject}/{frame:05d}.png", "frames/{subject}/{subject}_{frame:04d}.JPG"],
)
def test_frames_are_found_by_the_subject_of_their_folder(make_tree, assert_reads_as, pictures):
    tree = make_tree(pictures=pictures)
    dataset = read_gft(tree.root)
    assert_reads_as(dataset, tree)
    assert dataset.settings == {"frame_base": 1}
    assert dataset.notes == ["Extracted frames count from 1: 001A has pictures 1 to 4 and labels up to frame 4."]


def test_frames_that_count_from_0_are_matched_with_a_note(make_tree, assert_reads_as):
    tree = make_tree(pictures=FRAMES)
    for folder in (tree.root / "frames").iterdir():
        for path in sorted(folder.iterdir()):
            path.rename(path.with_name(f"{int(path.stem) - 1}.jpg"))
    dataset = read_gft(tree.root)
    assert_reads_as(dataset, tree)
    assert dataset.settings == {"frame_base": 0}
    assert "Extracted frames count from 0: 001A has pictures 0 to 3" in dataset.notes[0]


def test_frames_that_tell_nothing_are_counted_from_1_with_a_note(make_tree, assert_reads_as):
    tree = make_tree(pictures=FRAMES, subjects={"001A": 4}, missing=[("001A", "", 4)])
    dataset = read_gft(tree.root)
    assert_reads_as(dataset, tree)
    assert "count from 0 or 1: 001A has pictures 1 to 3 and labels up to frame 4. 1 was assumed" in dataset.notes[0]


def test_frames_that_contradict_each_other_are_refused(make_tree):
    tree = make_tree(pictures=FRAMES)
    (tree.root / "frames/005C/1.jpg").rename(tree.root / "frames/005C/0.jpg")
    with pytest.raises(RawDataError, match="count from 0, others from 1: 005C has pictures 0 to 4 .*; 001A has"):
        read_gft(tree.root)


def test_missing_and_truncated_frames_fail_alone(make_tree, assert_reads_as):
    tree = make_tree(pictures=FRAMES, missing=[("001A", "", 2)], truncated=[("008B", "", 5)])
    assert_reads_as(read_gft(tree.root), tree)


def test_a_video_one_frame_short_misses_its_last_frame(make_tree, assert_reads_as):
    tree = make_tree(short_video=["008B"])
    assert tree.failures == {("008B", "", 5): "missing frame"}
    assert_reads_as(read_gft(tree.root), tree)


def test_videos_win_over_frames_with_a_note(make_tree, assert_reads_as):
    tree = make_tree()
    make_tree(pictures=FRAMES)
    (tree.root / "videos/005C.mp4").unlink()
    dataset = read_gft(tree.root)
    assert_reads_as(dataset, tree)
    assert [type(sequence.source) for sequence in dataset.sequences] == [VideoFile, ImageFiles, VideoFile]
    assert dataset.notes[0] == "Where there are both, videos are used, not extracted frames as in frames/001A."


# Problems


@pytest.mark.parametrize(
    ("quirk", "where"),
    [
        ("no_pictures", "labels/005C_occ.csv"),
        ("empty", "labels/005C_occ.csv"),
        ("header_only", "labels/005C_occ.csv"),
        ("unlabelled", "videos/005C.mp4"),
    ],
)
def test_what_is_wrong_with_one_subject_is_a_problem(make_tree, assert_reads_as, quirk, where):
    tree = make_tree(**{quirk: ["005C"]})
    dataset = read_gft(tree.root)
    assert_reads_as(dataset, tree)
    assert [problem.where for problem in dataset.problems] == [where]


# Errors


def test_an_absent_au_is_refused_with_the_columns_found(make_tree):
    tree = make_tree()
    path = tree.root / "labels/005C_occ.csv"
    path.write_text(path.read_text().replace("AU14", "AU16"))
    with pytest.raises(RawDataError, match="005C_occ.csv: there is no column for AU14. .*: 'frame', 'AU1', .*'AU16'"):
        read_gft(tree.root)


@pytest.mark.parametrize("cell", ["", "x", "2.5", "-3"])
def test_a_broken_frame_number_is_refused_with_file_and_line(make_tree, cell):
    tree = make_tree()
    path = tree.root / "labels/005C_occ.csv"
    path.write_text(path.read_text().replace("\n2,", f"\n{cell},"))
    with pytest.raises(
        RawDataError, match=f"005C_occ.csv, line 3: expected a frame number, 0 or higher, found '{cell}'"
    ):
        read_gft(tree.root)


def test_all_bad_tables_are_named_at_once(make_tree):
    tree = make_tree()
    for name in ("001A", "008B"):
        path = tree.root / f"labels/{name}_occ.csv"
        path.write_text(path.read_text().replace("\n3,", "\n2,"))
    with pytest.raises(RawDataError, match="(?s)001A_occ.csv, line 4: frame 2 already.*008B_occ.csv, line 4: frame 2"):
        read_gft(tree.root)


def test_the_table_of_occurrence_is_preferred(make_tree, assert_reads_as):
    tree = make_tree()
    (tree.root / "labels/001A_landmarks.csv").write_text("x,y\n1,2\n")
    assert_reads_as(read_gft(tree.root), tree)


@pytest.mark.parametrize("names", [("001A.csv", "001A_new.csv"), ("001A_occ.csv", "001A_occ2.txt")])
def test_several_tables_of_one_subject_are_refused(make_tree, names):
    tree = make_tree(unlabelled=["001A"])
    for name in names:
        (tree.root / "labels" / name).write_text("x,y\n1,2\n")
    with pytest.raises(RawDataError, match=f"001A has several tables, .*{names[0]} and .*{names[1]}"):
        read_gft(tree.root)


@pytest.mark.parametrize("name", ["033A_occ.csv", "001D.csv"])
def test_a_subject_that_is_not_in_gft_is_refused(make_tree, name):
    tree = make_tree()
    (tree.root / name).write_text("0,1\n")
    with pytest.raises(RawDataError, match=f"{name}: {name[:4]} is not a subject of GFT"):
        read_gft(tree.root)


def test_two_videos_of_one_subject_are_refused(make_tree):
    tree = make_tree()
    shutil.copy(tree.root / "videos/001A.mp4", tree.root / "001A.mp4")
    with pytest.raises(RawDataError, match="001A has pictures in .*GFT/001A.mp4 and in .*videos/001A.mp4"):
        read_gft(tree.root)


def test_missing_labels_are_an_error_that_lists_what_is_there(make_tree):
    tree = make_tree()
    shutil.rmtree(tree.root / "labels")
    with pytest.raises(RawDataError, match="no tables named after GFT's subjects.* holds videos/"):
        read_gft(tree.root)


def test_missing_pictures_are_an_error(make_tree):
    tree = make_tree()
    shutil.rmtree(tree.root / "videos")
    with pytest.raises(RawDataError, match="neither videos named after GFT's subjects.* nor frames"):
        read_gft(tree.root)


def test_labels_and_pictures_of_different_subjects_are_an_error(make_tree):
    tree = make_tree(subjects={"001A": 3, "005C": 3}, unlabelled=["001A"], no_pictures=["005C"])
    with pytest.raises(RawDataError, match="No subject of GFT has both labels and pictures"):
        read_gft(tree.root)
