import pickle
import shutil

import numpy as np
import pytest

from hiva_hf.data.bp4d import read_bp4d
from hiva_hf.data.raw import RawDataError
from hiva_hf.data.sets import BP4D


@pytest.fixture
def make_tree(tmp_path, make_bp4d_tree):
    """A miniature BP4D with quirks."""
    return lambda **quirks: make_bp4d_tree(tmp_path / "BP4D", **quirks)


def edit(path, old: str, new: str) -> None:
    """Replaces the first `old` in a text file, which must be there."""
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def test_every_row_has_its_labels_part_and_picture(make_tree, assert_reads_as):
    tree = make_tree()
    dataset = read_bp4d(tree.root)
    assert_reads_as(dataset, tree)
    assert len(tree.rows) == 16
    assert {sequence.part for sequence in dataset.sequences} == {1, 2, 3}
    assert (dataset.name, dataset.aus, dataset.root) == ("bp4d", BP4D.aus, tree.root)
    assert dataset.settings == {"frame_offset": 0}
    assert [sequence.name for sequence in dataset.sequences] == ["F001_T1", "F001_T2", "F003_T1", "M003_T8"]


@pytest.mark.parametrize(
    ("images", "labels", "nested"),
    [
        ("Sequences(2D+3D)", "AUCoding/AU_OCC", ""),
        ("2D+3D", "AU_OCC", "BP4D release"),
        ("2d+3d", "aucoding/au_occ", ""),
        ("", "AU_OCC", ""),
        ("", "AUCoding/AU_OCC", "BP4D release"),
    ],
)
def test_every_layout_is_found(make_tree, assert_reads_as, images, labels, nested):
    tree = make_tree(images=images, labels=labels, nested=nested, intensities=True)
    assert_reads_as(read_bp4d(tree.root), tree)


def test_names_of_files_and_folders_may_be_in_lower_case(make_tree, assert_reads_as):
    tree = make_tree()
    (tree.root / "AUCoding/AU_OCC/F001_T1.csv").rename(tree.root / "AUCoding/AU_OCC/f001_t1.CSV")
    (tree.root / "Sequences(2D+3D)/F001/T1").rename(tree.root / "Sequences(2D+3D)/F001/t1")
    (tree.root / "Sequences(2D+3D)/F001").rename(tree.root / "Sequences(2D+3D)/f001")
    assert_reads_as(read_bp4d(str(tree.root)), tree)


@pytest.mark.parametrize("padding", [0, 3, 4, 5])
def test_pictures_are_found_with_any_padding(make_tree, assert_reads_as, padding):
    tree = make_tree(padding=padding)
    assert (tree.root / f"Sequences(2D+3D)/F003/T1/{2:0{padding}d}.jpg").is_file()
    assert_reads_as(read_bp4d(tree.root), tree)


@pytest.mark.parametrize("suffix", [".jpg", ".JPG", ".jpeg", ".png", ".PNG", ".bmp", ".Bmp"])
def test_pictures_are_found_with_any_suffix(make_tree, assert_reads_as, suffix):
    tree = make_tree(suffix=suffix, sequences={("F001", "T1"): range(1, 4)})
    assert_reads_as(read_bp4d(tree.root), tree)


@pytest.mark.parametrize(
    "quirks",
    [
        {"newline": "\r\n"},
        {"bom": True},
        {"bom": True, "newline": "\r\n", "quoted": True},
        {"quoted": True},
        {"trailing": ","},
        {"trailing": ",,", "newline": "\r\n"},
        {"delimiter": ", "},
        {"blank_lines": 3},
        {"au_header": "AU{}"},
        {"au_header": "AU{:02d}"},
        {"au_header": " {} "},
        {"frame_header": "frame"},
        {"frame_header": ""},
    ],
    ids=str,
)
def test_tables_are_read_however_they_are_written(make_tree, assert_reads_as, quirks):
    tree = make_tree(intensities=True, **quirks)
    assert_reads_as(read_bp4d(tree.root), tree)


def test_code_9_is_a_missing_label_and_the_row_stays(make_tree, assert_reads_as):
    some, everything = ("F001", "T1", 2441), ("F003", "T1", 2)
    tree = make_tree(not_codable={some: (1, 24), everything: BP4D.aus})
    assert tree.rows[some].labels.count(-100) == 2
    assert tree.rows[everything].labels == (-100,) * 12
    assert_reads_as(read_bp4d(tree.root), tree)


def test_intensities_come_from_their_own_tables(make_tree, assert_reads_as):
    tree = make_tree(intensities=True, not_codable={("F001", "T1", 2441): (6,)})
    assert {level for row in tree.rows.values() for level in row.intensities} == {-100, 0, 3}
    dataset = read_bp4d(tree.root)
    assert_reads_as(dataset, tree)
    assert dataset.notes == ["Intensities of AU6, AU10, AU12, AU14, AU17 come from AU_INT."]


def test_intensities_are_matched_by_frame(make_tree):
    tree = make_tree(intensities=True)
    path = tree.root / "AUCoding/AU_INT/AU12/F003_T1_AU12.csv"
    path.write_text("4,5\n3,9\n17,2\n")
    dataset = read_bp4d(tree.root)
    assert dataset.sequences[2].intensities[:, BP4D.aus.index(12)].tolist() == [-100, -100, -100, 5]
    assert "Rows of AU_INT that were not used, because AU_OCC lacks their frames: 1." in dataset.notes


def test_sequences_without_intensities_are_noted(make_tree):
    tree = make_tree(intensities=True)
    (tree.root / "AUCoding/AU_INT/AU12/F003_T1_AU12.csv").unlink()
    assert "1 of 4 sequences lack tables in AU_INT, such as F003_T1: those" in read_bp4d(tree.root).notes[1]


def test_intensities_of_other_frames_are_refused(make_tree):
    tree = make_tree(intensities=True)
    (tree.root / "AUCoding/AU_INT/AU12/F003_T1_AU12.csv").write_text("101,5\n102,9\n")
    message = "F003_T1_AU12.csv has none of the frames of .*F003_T1.csv: it begins with frame 101, the other with 1"
    with pytest.raises(RawDataError, match=message):
        read_bp4d(tree.root)


def test_without_intensities_all_are_missing(make_tree):
    dataset = read_bp4d(make_tree().root)
    assert all((sequence.intensities == -100).all() for sequence in dataset.sequences)
    assert "There is no AU_INT: intensities are missing." in dataset.notes


def test_rows_in_disorder_are_put_into_order(make_tree, assert_reads_as):
    tree = make_tree()
    path = tree.root / "AUCoding/AU_OCC/F001_T1.csv"
    header, *lines = path.read_text().splitlines()
    path.write_text("\n".join([header, *reversed(lines)]))
    assert_reads_as(read_bp4d(tree.root), tree)


@pytest.mark.parametrize("quirk", ["empty", "header_only"])
def test_an_empty_table_is_a_problem_not_an_error(make_tree, assert_reads_as, quirk):
    tree = make_tree(**{quirk: [("F001", "T2")]})
    dataset = read_bp4d(tree.root)
    assert_reads_as(dataset, tree)
    (problem,) = dataset.problems
    assert (problem.kind, problem.where) == ("no labels", "AUCoding/AU_OCC/F001_T2.csv")


def test_labels_without_pictures_are_a_problem(make_tree, assert_reads_as):
    tree = make_tree(no_pictures=[("F003", "T1")])
    dataset = read_bp4d(tree.root)
    assert_reads_as(dataset, tree)
    assert dataset.problems[0].detail == "there is no folder F003/T1 with pictures"


def test_pictures_without_labels_are_a_problem(make_tree, assert_reads_as):
    tree = make_tree(unlabelled=[("M003", "T8")])
    dataset = read_bp4d(tree.root)
    assert_reads_as(dataset, tree)
    assert dataset.problems[0].where == "Sequences(2D+3D)/M003/T8"


def test_pictures_that_are_not_named_by_numbers_are_a_problem(make_tree):
    tree = make_tree()
    for path in (tree.root / "Sequences(2D+3D)/F001/T1").iterdir():
        path.rename(path.with_name(f"frame {path.name}"))
    (problem,) = read_bp4d(tree.root).problems
    assert (problem.kind, problem.subject, problem.task) == ("no pictures", "F001", "T1")
    assert "not named by numbers" in problem.detail


def test_missing_and_truncated_pictures_fail_alone(make_tree, assert_reads_as):
    tree = make_tree(missing=[("F001", "T1", 2442)], truncated=[("F003", "T1", 1)], faceless=[("M003", "T8", 4)])
    assert sorted(tree.failures.values()) == ["missing frame", "no face", "unreadable frame"]
    dataset = read_bp4d(tree.root)
    assert_reads_as(dataset, tree)
    assert not any("frame_offset" in note for note in dataset.notes)


def test_clutter_is_ignored(make_tree, assert_reads_as):
    tree = make_tree()
    for name in ("AUCoding/AU_OCC/._F001_T1.csv", "AUCoding/AU_OCC/Readme.txt", "Sequences(2D+3D)/F001/T1/2440.obj"):
        (tree.root / name).write_text("clutter")
    for name in ("__MACOSX/AUCoding/AU_OCC", "Sequences(2D+3D)/F001/T1/.2440.jpg", "Thermal/F001"):
        (tree.root / name).mkdir(parents=True)
    assert_reads_as(read_bp4d(tree.root), tree)


def test_a_frame_offset_moves_labels_to_other_pictures(make_tree, assert_reads_as):
    tree = make_tree(frame_offset=-1)
    dataset = read_bp4d(tree.root, frame_offset=-1)
    assert_reads_as(dataset, tree)
    assert dataset.settings == {"frame_offset": -1}
    assert not any("frame_offset" in note for note in dataset.notes)


@pytest.mark.parametrize("offset", [-1, 3])
def test_an_offset_that_would_fit_is_suggested(make_tree, offset):
    dataset = read_bp4d(make_tree(frame_offset=offset).root)
    (note,) = [note for note in dataset.notes if "frame_offset" in note]
    assert f"{4 * abs(offset)} of 16 labelled frames have no picture; with `--frame_offset {offset}` 0 would" in note


def test_a_suggested_offset_counts_from_the_one_that_was_given(make_tree):
    dataset = read_bp4d(make_tree(frame_offset=-1).root, frame_offset=1)
    assert any("with `--frame_offset -1` 0 would have none" in note for note in dataset.notes)


def test_only_files_that_are_read_are_sources(make_tree):
    tree = make_tree()
    shutil.copy(tree.root / "Sequences(2D+3D)/F001/T1/2440.jpg", tree.root / "Sequences(2D+3D)/F001/T1/2500.jpg")
    sequence = read_bp4d(tree.root).sequences[0]
    assert [path.name for path in sequence.source.files] == ["2440.jpg", "2441.jpg", "2442.jpg", "2443.jpg"]


def test_sequences_can_be_sent_to_another_process(make_tree):
    sequence = read_bp4d(make_tree().root).sequences[0]
    copy = pickle.loads(pickle.dumps(sequence))
    assert copy.name == sequence.name
    np.testing.assert_array_equal(copy.labels, sequence.labels)
    assert copy.source == sequence.source


@pytest.mark.parametrize("code", ["3", "-1", "x", "", "0.5"])
def test_an_impossible_label_is_refused_with_file_and_line(make_tree, code):
    tree = make_tree()
    path = tree.root / "AUCoding/AU_OCC/F001_T1.csv"
    lines = path.read_text().splitlines()
    cells = lines[2].split(",")
    cells[lines[0].split(",").index("12")] = code
    path.write_text("\n".join([*lines[:2], ",".join(cells), *lines[3:]]))
    with pytest.raises(RawDataError, match=rf"F001_T1.csv, line 3: AU12 is '{code}', expected 0, 1 or 9"):
        read_bp4d(tree.root)


def test_all_bad_tables_are_named_at_once(make_tree):
    tree = make_tree()
    edit(tree.root / "AUCoding/AU_OCC/F001_T1.csv", "2442,", "2441,")
    edit(tree.root / "AUCoding/AU_OCC/F003_T1.csv", "\n3,", "\n3.5,")
    with pytest.raises(RawDataError, match="The labels of BP4D can't be used") as error:
        read_bp4d(tree.root)
    assert "F001_T1.csv, line 4: frame 2441 already occurs in line 3" in str(error.value)
    assert "F003_T1.csv, line 4: expected a frame number, 0 or higher, found '3.5'" in str(error.value)


def test_a_table_without_one_of_the_aus_is_refused_with_its_columns(make_tree):
    tree = make_tree()
    edit(tree.root / "AUCoding/AU_OCC/M003_T8.csv", ",17,", ",18,")
    with pytest.raises(RawDataError, match="M003_T8.csv: there is no column for AU17. The columns are: '0', '1', '2'"):
        read_bp4d(tree.root)


def test_a_table_without_a_frame_column_is_refused(make_tree):
    tree = make_tree()
    path = tree.root / "AUCoding/AU_OCC/F001_T1.csv"
    path.write_text("\n".join(line.split(",", 1)[1] for line in path.read_text().splitlines()))
    with pytest.raises(RawDataError, match="F001_T1.csv: the first column is '1', expected the frame number"):
        read_bp4d(tree.root)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("2440,6", "line 1: the intensity of AU6 is '6', expected 0, 1, 2, 3, 4, 5 or 9"),
        ("2440,0,1", "line 1: expected `frame,intensity`, found 3 cells"),
        ("frame,AU6", "line 1: the intensity of AU6 is 'AU6'|line 1: expected a frame number"),
    ],
)
def test_a_bad_intensity_table_is_refused(make_tree, line, message):
    tree = make_tree(intensities=True)
    (tree.root / "AUCoding/AU_INT/AU06/F001_T1_AU06.csv").write_text(line + "\n")
    with pytest.raises(RawDataError, match=f"F001_T1_AU06.csv, ({message})"):
        read_bp4d(tree.root)


@pytest.mark.parametrize("name", ["F024_T1.csv", "F001_T9.csv", "Anna_T1.csv", "F001.csv"])
def test_a_table_of_somebody_else_is_refused_by_name(make_tree, name):
    tree = make_tree()
    (tree.root / "AUCoding/AU_OCC" / name).write_text("0,1\n")
    with pytest.raises(RawDataError, match=f"{name} is not named after a subject of BP4D.* `custom`"):
        read_bp4d(tree.root)


def test_two_pictures_of_one_frame_are_refused(make_tree):
    tree = make_tree()
    folder = tree.root / "Sequences(2D+3D)/F001/T1"
    shutil.copy(folder / "2440.jpg", folder / "02440.jpg")
    with pytest.raises(RawDataError, match="T1 has two pictures with number 2440: 02440.jpg and 2440.jpg"):
        read_bp4d(tree.root)


def test_two_folders_of_one_sequence_are_refused(make_tree):
    tree = make_tree()
    shutil.copytree(tree.root / "Sequences(2D+3D)/F001", tree.root / "2D+3D/F001")
    with pytest.raises(RawDataError, match="F001 T1 has pictures in .*2D\\+3D/F001/T1 and in .*Sequences"):
        read_bp4d(tree.root)


def test_two_folders_of_labels_are_refused(make_tree):
    tree = make_tree()
    shutil.copytree(tree.root / "AUCoding/AU_OCC", tree.root / "old/AU_OCC")
    with pytest.raises(RawDataError, match="two folders of labels, .*AUCoding/AU_OCC and .*old/AU_OCC"):
        read_bp4d(tree.root)


def test_missing_labels_are_an_error_that_lists_what_is_there(make_tree):
    tree = make_tree()
    shutil.rmtree(tree.root / "AUCoding")
    (tree.root / "notes.txt").write_text("")
    with pytest.raises(RawDataError, match=r"no folder AU_OCC .* holds Sequences\(2D\+3D\)/, notes.txt\.$"):
        read_bp4d(tree.root)


@pytest.mark.parametrize("suffix", [".zip", ".tar", ".tar.gz", ".rar", ".7z"])
def test_archives_are_to_be_unpacked_first(tmp_path, suffix):
    (tmp_path / f"AUCoding{suffix}").write_bytes(b"")
    with pytest.raises(RawDataError, match=f"Unpack the archives first .*AUCoding{suffix}"):
        read_bp4d(tmp_path)


def test_an_empty_folder_is_refused(tmp_path):
    with pytest.raises(RawDataError, match=f"{tmp_path} holds nothing"):
        read_bp4d(tmp_path)


def test_a_release_without_any_picture_is_refused(make_tree):
    tree = make_tree()
    shutil.rmtree(tree.root / "Sequences(2D+3D)")
    with pytest.raises(RawDataError, match="tables of 4 sequences, but none of them has both labels and pictures"):
        read_bp4d(tree.root)


def test_a_folder_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(RawDataError, match="`data_dir` must be the folder of a release, but .*nowhere is not there"):
        read_bp4d(tmp_path / "nowhere")


def test_a_file_instead_of_a_folder_is_refused(tmp_path):
    (tmp_path / "BP4D.zip").write_bytes(b"")
    with pytest.raises(RawDataError, match="BP4D.zip is a file; pass the folder into which"):
        read_bp4d(tmp_path / "BP4D.zip")
