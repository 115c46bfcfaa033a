import json
import os
import unicodedata

import numpy as np
import pytest
from PIL import Image

from hiva_hf.data.custom import read_custom
from hiva_hf.data.raw import RawDataError


@pytest.fixture
def make_tree(tmp_path, make_custom_tree):
    """A miniature set of one's own with quirks."""
    return lambda **quirks: make_custom_tree(tmp_path / "own", **quirks)


@pytest.fixture
def read_text(tmp_path):
    """Reads a set of which there is only `labels.csv`, or another table."""

    def read(text: str, name: str = "labels.csv", **options):
        (tmp_path / name).write_text(text, newline="")
        return read_custom(tmp_path, **options)

    return read


def test_every_row_has_its_labels_fold_and_picture(make_tree, assert_reads_as):
    tree = make_tree(folds={"anna": 2, "ben": 1, "cleo": 0})
    dataset = read_custom(tree.root)
    assert_reads_as(dataset, tree)
    assert len(tree.rows) == 12
    assert (dataset.name, dataset.aus, dataset.root) == ("custom", (1, 12, 25), tree.root)
    assert dataset.settings == {"labels_file": "labels.csv"}
    assert [sequence.name for sequence in dataset.sequences] == ["anna_day1", "anna_day2", "ben_day1", "cleo_day1"]
    assert dataset.notes == ["Labels come from labels.csv."]


@pytest.mark.parametrize("table", ["labels.csv", "Labels.CSV", "metadata.csv", "metadata.jsonl", "my faces.csv"])
def test_the_table_is_found(make_tree, assert_reads_as, table):
    tree = make_tree(table=table)
    dataset = read_custom(tree.root)
    assert_reads_as(dataset, tree)
    assert dataset.settings == {"labels_file": table}


def test_labels_csv_comes_before_other_tables(make_tree, assert_reads_as):
    tree = make_tree()
    (tree.root / "people.csv").write_text("name,age\nanna,30\n")
    assert_reads_as(read_custom(tree.root), tree)


@pytest.mark.parametrize("is_absolute", [False, True])
def test_the_table_can_be_named(make_tree, assert_reads_as, is_absolute):
    tree = make_tree(table="tables/second.csv")
    make_tree(table="labels.csv", missing_codes={("anna", "day1", 0): {1: 9}})
    name = "tables/second.csv"
    dataset = read_custom(tree.root, labels_file=tree.root / name if is_absolute else name)
    assert_reads_as(dataset, tree)
    assert dataset.settings == {"labels_file": name}


def test_of_a_table_outside_of_the_folder_only_the_name_is_told(tmp_path, read_text):
    (tmp_path / "own").mkdir()
    (tmp_path / "table.csv").write_text("path,subject,AU1\n1.jpg,a,1\n")
    dataset = read_custom(tmp_path / "own", labels_file=tmp_path / "table.csv")
    assert dataset.settings == {"labels_file": "table.csv"}
    assert not any(str(tmp_path) in note for note in dataset.notes)


def test_the_table_has_one_name_however_it_is_passed(tmp_path, read_text, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = ["labels.csv", "./labels.csv", tmp_path / "labels.csv"]
    read = [read_text("path,subject,AU1\n1.jpg,a,1\n", labels_file=name) for name in names]
    assert [dataset.settings["labels_file"] for dataset in read] == ["labels.csv"] * 3


def test_file_names_of_an_image_folder_are_relative_to_its_table(make_tree, assert_reads_as):
    tree = make_tree()
    lines = (tree.root / "labels.csv").read_text().replace("path,", "file_name,").replace("pictures/", "")
    (tree.root / "pictures/metadata.csv").write_text(lines)
    assert_reads_as(read_custom(tree.root, labels_file="pictures/metadata.csv"), tree)


@pytest.mark.parametrize(
    "quirks",
    [
        {"delimiter": ";"},
        {"delimiter": "\t"},
        {"newline": "\r\n", "bom": True},
        {"quoted": True, "trailing": ","},
        {"blank_lines": 2},
    ],
    ids=str,
)
def test_tables_are_read_however_they_are_written(make_tree, assert_reads_as, quirks):
    tree = make_tree(**quirks)
    assert_reads_as(read_custom(tree.root), tree)


@pytest.mark.parametrize("table", ["labels.csv", "metadata.jsonl"])
def test_unknown_labels_are_missing(make_tree, assert_reads_as, table):
    codes = {("anna", "day1", 0): {1: "", 12: 9, 25: -100}, ("ben", "day1", 2): {1: "NaN", 25: "nan"}}
    tree = make_tree(missing_codes=codes, table=table)
    assert tree.rows["anna", "day1", 0].labels == (-100,) * 3
    assert_reads_as(read_custom(tree.root), tree)


def test_null_and_nan_in_json_are_missing(tmp_path, read_text):
    lines = [{"path": "1.jpg", "subject": "a", "AU1": None}, {"path": "2.jpg", "subject": "a", "AU1": float("nan")}]
    dataset = read_text("\n".join(map(json.dumps, lines)), name="metadata.jsonl")
    assert dataset.sequences[0].labels.tolist() == [[-100], [-100]]


@pytest.mark.parametrize("table", ["labels.csv", "metadata.jsonl"])
def test_intensities_are_read_where_there_are_any(make_tree, assert_reads_as, table):
    tree = make_tree(intensities=True, table=table)
    assert {row.intensities[1] for row in tree.rows.values()} == {0, 4}
    assert_reads_as(read_custom(tree.root), tree)


def test_unknown_intensities_are_missing(read_text):
    header = "path,subject,AU12,AU12_intensity\n"
    sequence = read_text(header + "1.jpg,a,1,5\n2.jpg,a,1,\n3.jpg,a,1,9\n4.jpg,a,1,nan\n").sequences[0]
    assert sequence.intensities.tolist() == [[5], [-100], [-100], [-100]]


def test_aus_are_sorted_and_found_in_any_spelling(read_text):
    dataset = read_text("AU25,Subject,au04,12,PATH\n1,a,0,9,1.jpg\n")
    assert dataset.aus == (4, 12, 25)
    assert dataset.sequences[0].labels.tolist() == [[0, -100, 1]]


@pytest.mark.parametrize("columns", [(), ("task",), ("frame",), ("fold",), ("frame", "task")])
def test_optional_columns_may_be_absent(make_tree, assert_reads_as, columns):
    sequences = {("anna", "a"): 3, ("ben", "a"): 2} if "task" in columns else {("anna", ""): 3, ("ben", ""): 2}
    tree = make_tree(columns=columns, sequences=sequences)
    dataset = read_custom(tree.root)
    assert_reads_as(dataset, tree)
    assert any("no column `frame`" in note for note in dataset.notes) == ("frame" not in columns)
    assert any("no column `fold`" in note for note in dataset.notes) == ("fold" not in columns)


def test_without_frames_pictures_are_numbered_within_subject_and_task(read_text):
    text = "path,subject,task,AU1\nb.jpg,a,x,1\nc.jpg,a,y,0\na.jpg,a,x,0\n"
    first, second = read_text(text).sequences
    assert (first.frames.tolist(), first.labels[:, 0].tolist()) == ([0, 1], [1, 0])
    assert [path.name for path in first.source.files] == ["b.jpg", "a.jpg"]
    assert (second.name, second.frames.tolist()) == ("a_y", [0])


def test_rows_are_sorted_by_frame(read_text):
    (sequence,) = read_text("path,subject,frame,AU1\nb.jpg,a,20,1\na.jpg,a,3,0\n").sequences
    assert sequence.frames.tolist() == [3, 20]
    assert sequence.frames.dtype == np.int32
    assert sequence.labels.tolist() == [[0], [1]]
    assert [path.name for path in sequence.source.files] == ["a.jpg", "b.jpg"]


def test_without_folds_the_sorted_subjects_are_dealt_to_three(read_text):
    text = "path,subject,AU1\n" + "".join(f"{name}.jpg,{name},1\n" for name in "dbeac")
    dataset = read_text(text)
    assert {sequence.subject: sequence.part for sequence in dataset.sequences} == {
        "a": 1,
        "b": 2,
        "c": 3,
        "d": 1,
        "e": 2,
    }
    assert [sequence.name for sequence in dataset.sequences] == ["a", "b", "c", "d", "e"]


def test_a_subject_in_two_folds_is_refused_with_its_line(read_text):
    text = "path,subject,fold,AU1\n1.jpg,a,1,1\n2.jpg,b,2,1\n3.jpg,a,2,1\n"
    with pytest.raises(RawDataError, match="labels.csv, line 4: a is in fold 2, but in fold 1 before"):
        read_text(text)


def test_missing_and_truncated_pictures_fail_alone(make_tree, assert_reads_as):
    tree = make_tree(missing=[("anna", "day2", 1)], truncated=[("ben", "day1", 0)])
    assert_reads_as(read_custom(tree.root), tree)


def test_a_missing_picture_is_named(tmp_path, read_text):
    (sequence,) = read_text("path,subject,AU1\nfaces/1.jpg,a,1\n").sequences
    (error,) = sequence.source.read([0])
    assert (error.kind, error.where) == ("missing frame", tmp_path / "faces/1.jpg")


@pytest.mark.parametrize(
    "path", ["faces/1.jpg", "./faces/1.jpg", "faces/../faces/1.jpg", "faces\\1.jpg", "faces//1.jpg"]
)
def test_paths_may_be_written_in_several_ways(tmp_path, read_text, path):
    (sequence,) = read_text(f"path,subject,AU1\n{path},a,1\n").sequences
    assert sequence.source.files == (tmp_path / "faces/1.jpg",)


def test_absolute_paths_within_the_folder_are_accepted(tmp_path, read_text):
    (sequence,) = read_text(f"path,subject,AU1\n{tmp_path}/1.jpg,a,1\n").sequences
    assert sequence.source.files == (tmp_path / "1.jpg",)


@pytest.mark.parametrize(("passed", "written"), [("link", "own"), ("own", "link")])
def test_absolute_paths_are_accepted_where_the_folder_is_a_link(tmp_path, passed, written):
    (tmp_path / "own").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "own")
    (tmp_path / "own/labels.csv").write_text(f"path,subject,AU1\n{tmp_path / written}/1.jpg,a,1\n")
    (sequence,) = read_custom(tmp_path / passed).sequences
    assert sequence.source.files == (tmp_path / passed / "1.jpg",)


@pytest.mark.parametrize(
    "path", ["../1.jpg", "/etc/passwd", "faces/../../1.jpg", "..\\1.jpg", "", ".", "../own-2/1.jpg"]
)
def test_paths_that_leave_the_folder_are_refused_with_their_line(read_text, path):
    with pytest.raises(RawDataError, match="labels.csv, line 2: .* is not a picture in "):
        read_text(f"path,subject,AU1\n{path},a,1\n")


def test_links_are_followed_for_no_picture_that_lies_where_it_is_said_to(tmp_path, monkeypatch):
    (tmp_path / "pictures").mkdir()
    rows = "".join(f"pictures/{number}.jpg,{number % 5},1\n" for number in range(200))
    (tmp_path / "labels.csv").write_text(f"path,subject,AU1\n{rows}")
    look_up, looks = os.lstat, []
    monkeypatch.setattr(os, "lstat", lambda *arguments, **options: looks.append(1) or look_up(*arguments, **options))
    assert sum(len(sequence.frames) for sequence in read_custom(tmp_path).sequences) == 200
    assert len(looks) < 100


def test_pictures_may_be_links_to_elsewhere(tmp_path, make_tree, assert_reads_as):
    tree = make_tree()
    (tree.root / "pictures").rename(tmp_path / "elsewhere")
    (tree.root / "pictures").symlink_to(tmp_path / "elsewhere")
    assert_reads_as(read_custom(tree.root), tree)


def test_a_picture_that_stands_twice_is_refused_with_both_lines(read_text):
    with pytest.raises(RawDataError, match="line 4: './1.jpg' already occurs in line 2"):
        read_text("path,subject,AU1\n1.jpg,a,1\n2.jpg,a,1\n./1.jpg,b,1\n")


@pytest.mark.parametrize("name", ["anna.mp4", "anna.AVI"])
def test_videos_are_refused_with_the_remedy(read_text, name):
    with pytest.raises(
        RawDataError, match=f"line 2: '{name}' is a video. Videos are not supported: extract the labelled frames"
    ):
        read_text(f"path,subject,AU1\n{name},anna,1\n")


@pytest.mark.parametrize(
    "subject",
    ["a/b", "a\\b", ".a", "a\tb", "a\u202eb", "..", "a\x00b", "P[1]", "a*", "a?", "a:b", "a|b", "<a>", '"a"'],
)
@pytest.mark.parametrize("column", ["subject", "task"])
def test_names_that_are_no_file_names_are_refused(read_text, subject, column):
    row = {"subject": "anna", "task": "x", column: f'"{subject}"'}
    with pytest.raises(RawDataError, match=f"labels.csv, line 2: {column} is .* can't begin with a dot"):
        read_text(f"path,subject,task,AU1\n1.jpg,{row['subject']},{row['task']},1\n")


def test_names_may_have_spaces_and_letters_of_any_language(read_text):
    (sequence,) = read_text("path,subject,task,AU1\n1.jpg,Zoë 李.2,day 1,1\n").sequences
    assert sequence.name == "Zoë 李.2_day 1"


def test_pictures_are_found_whose_names_write_their_accents_otherwise(tmp_path):
    folder = tmp_path / unicodedata.normalize("NFD", "José")
    folder.mkdir()
    for name in ("Zoë.jpg", "plain.jpg"):
        Image.new("RGB", (8, 8)).save(folder / unicodedata.normalize("NFD", name))
    text = "path,subject,AU1\nJosé/Zoë.jpg,a,1\nJosé/plain.jpg,b,0\nJosé/Ünknown.jpg,c,0\n"
    (tmp_path / "labels.csv").write_text(unicodedata.normalize("NFC", text), encoding="utf-8")
    found = {sequence.subject: sequence.source.files[0] for sequence in read_custom(tmp_path).sequences}
    assert {subject: path.is_file() for subject, path in found.items()} == {"a": True, "b": True, "c": False}
    # Of what is not there, the name stays that of the table.
    assert found["c"].name == "Ünknown.jpg"


def test_a_row_without_subject_is_refused(read_text):
    with pytest.raises(RawDataError, match="labels.csv, line 3: the subject is missing"):
        read_text("path,subject,AU1\n1.jpg,a,1\n2.jpg,,1\n")


def test_names_that_are_too_long_are_refused(read_text):
    with pytest.raises(RawDataError, match="line 2: subject and task are longer than 200 bytes"):
        read_text(f"path,subject,AU1\n1.jpg,{'a' * 201},1\n")


@pytest.mark.parametrize(
    "rows", ["1.jpg,a_b,,1\n2.jpg,a,b,1\n", "1.jpg,anna,x,1\n2.jpg,anna,X,1\n"], ids=["joined", "capitals"]
)
def test_sequences_that_would_share_a_file_are_refused(read_text, rows):
    with pytest.raises(RawDataError, match="line 3: .* would be stored under the same name as"):
        read_text("path,subject,task,AU1\n" + rows)


def test_a_person_in_two_spellings_is_refused_with_both_lines(read_text):
    with pytest.raises(RawDataError, match="line 3: subject 'anna' is spelled 'Anna' in line 2"):
        read_text("path,subject,task,AU1\n1.jpg,Anna,T1,1\n2.jpg,anna,T2,1\n")


def test_accents_make_no_second_person(read_text):
    sequences = read_text("path,subject,task,AU1\n1.jpg,Jos\u00e9,T1,1\n2.jpg,Jose\u0301,T2,1\n").sequences
    assert {(sequence.subject, sequence.part) for sequence in sequences} == {("Jos\u00e9", 1)}


@pytest.mark.parametrize(
    ("header", "row", "message"),
    [
        ("AU1", "2", "line 3: AU1 is '2', expected 0, 1, 9, -100, nan or nothing"),
        ("AU1", "x", "line 3: AU1 is 'x'"),
        ("AU1", "0.5", "line 3: AU1 is '0.5'"),
        ("AU1,AU1_intensity", "1,6", "line 3: the intensity of AU1 is '6'"),
        ("AU1,frame", "1,x", "line 3: frame is 'x'"),
        ("AU1,frame", "1,-1", "line 3: frame is '-1'"),
        ("AU1,frame", "1,0", "line 3: frame 0 of this subject and task already occurs in line 2"),
        ("AU1,fold", "1,x", "line 3: fold is 'x', expected a number from 0 to 100"),
        ("AU1,fold", "1,-1", "line 3: fold is '-1'"),
        ("AU1,fold", "1,", "line 3: fold is ''"),
        ("AU1", "1,1", "line 3: expected 3 cells as in the first line, found 4"),
    ],
)
def test_a_bad_row_is_refused_with_file_and_line(read_text, header, row, message):
    first = ",".join("0" for _ in header.split(","))
    with pytest.raises(RawDataError, match=f"labels.csv, {message}"):
        read_text(f"path,subject,{header}\n1.jpg,a,{first}\n2.jpg,a,{row}\n")


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("subject,AU1", "has no column path. Its columns are 'subject', 'AU1'"),
        ("path,AU1", "has no column subject"),
        ("path,subject,age", "has no column AU1"),
        ("subject", "has no column path and no AU1"),
        ("path,subject,AU3", "AU3 of column 'AU3' is not a known Action Unit. Known are 1, 2, 4, 5"),
        ("path,subject,AU1,au01", "'AU1' and 'au01' are the same"),
        ("path,subject,AU1,AU12L", "column 'AU12L' is not recognised"),
        ("path,subject,Subject,AU1", "has 2 columns 'subject'. Keep one of them"),
        ("path,subject,AU1,AU2_intensity", "has AU2's intensity, but no column AU2 with 0 and 1"),
    ],
)
def test_bad_columns_are_refused_by_name(read_text, header, message):
    row = ",".join("1" for _ in header.split(","))
    with pytest.raises(RawDataError, match=f"labels.csv:? {message}"):
        read_text(f"{header}\n{row}\n")


def test_other_columns_are_noted(read_text):
    dataset = read_text("path,subject,age,AU1,notes\n1.jpg,a,30,1,smiles\n")
    assert "Columns that were not used: age, notes." in dataset.notes


@pytest.mark.parametrize("text", ["", "path,subject,AU1\n"])
def test_an_empty_table_is_refused(read_text, text):
    with pytest.raises(RawDataError, match="labels.csv has no rows. Expected a header `path,subject,AU1,...`"):
        read_text(text)


def test_a_folder_without_a_table_is_refused_with_what_is_there(tmp_path):
    (tmp_path / "anna").mkdir()
    (tmp_path / "1.jpg").write_bytes(b"")
    with pytest.raises(RawDataError, match="There is no labels.csv, .* holds anna/, 1.jpg"):
        read_custom(tmp_path)


def test_several_tables_are_refused_by_name(tmp_path):
    for name in ("a.csv", "b.csv"):
        (tmp_path / name).write_text("")
    with pytest.raises(RawDataError, match=r"has several tables \(a.csv, b.csv\). Pass one of them as `labels_file`"):
        read_custom(tmp_path)


def test_a_table_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(RawDataError, match="`labels_file` is 'mine.csv', but there is no such file, nor one in"):
        read_custom(tmp_path, labels_file="mine.csv")
