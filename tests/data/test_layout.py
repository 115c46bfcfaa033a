import pytest

from hiva_hf.data.layout import (
    LAST_NUMBER,
    WHOLE_STEM,
    check_data_dir,
    describe_contents,
    name_within,
    number_pictures,
    scan_folders,
)
from hiva_hf.data.raw import RawDataError


@pytest.fixture
def touch(tmp_path):
    """Makes empty files below the temporary folder."""

    def make(*names):
        for name in names:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).touch()

    return make


def test_folders_are_listed_sorted_and_no_deeper_than_asked(tmp_path, touch):
    touch("b/2.jpg", "b/1.jpg", "a/x/y/deep.jpg", "top.csv")
    folders = scan_folders(tmp_path, depth=2)
    assert [folder.parts for folder in folders] == [(), ("a",), ("a", "x"), ("b",)]
    assert folders[0].path == tmp_path
    assert [folder.files for folder in folders] == [("top.csv",), (), (), ("1.jpg", "2.jpg")]


def test_hidden_files_and_what_macos_leaves_are_left_out(tmp_path, touch):
    touch("._a.csv", ".git/a.csv", "__MACOSX/a.csv", "a.csv")
    (folder,) = scan_folders(tmp_path, depth=3)
    assert folder.files == ("a.csv",)


def test_linked_folders_are_followed(tmp_path, touch):
    touch("elsewhere/1.jpg", "release/a.csv")
    (tmp_path / "release/F001").symlink_to(tmp_path / "elsewhere")
    assert scan_folders(tmp_path / "release", depth=1)[1].files == ("1.jpg",)


def test_a_folder_that_cannot_be_listed_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        scan_folders(tmp_path / "nowhere", depth=1)


def test_files_are_found_by_suffix_in_any_case(tmp_path, touch):
    touch("a.CSV", "b.csv", "c.txt", "csv")
    (folder,) = scan_folders(tmp_path, depth=0)
    assert [path.name for path in folder.files_with((".csv",))] == ["a.CSV", "b.csv"]
    assert folder.has_files_with((".csv",))
    assert not folder.has_files_with((".jpg",))


@pytest.mark.parametrize(
    ("pattern", "name", "number"),
    [
        (WHOLE_STEM, "2440.jpg", 2440),
        (WHOLE_STEM, "00007.PNG", 7),
        (WHOLE_STEM, "frame 7.jpg", None),
        (WHOLE_STEM, "7.obj", None),
        (LAST_NUMBER, "0.png", 0),
        (LAST_NUMBER, "SN001_0012.jpg", 12),
        (LAST_NUMBER, "frame_12_aligned.bmp", 12),
        (LAST_NUMBER, "face.jpg", None),
    ],
)
def test_pictures_are_numbered_by_their_names(tmp_path, touch, pattern, name, number):
    touch(name)
    (folder,) = scan_folders(tmp_path, depth=0)
    assert number_pictures(folder, pattern) == ({} if number is None else {number: tmp_path / name})


def test_numbers_ascend(tmp_path, touch):
    touch("10.jpg", "9.jpg", "008.jpg")
    (folder,) = scan_folders(tmp_path, depth=0)
    assert list(number_pictures(folder, WHOLE_STEM)) == [8, 9, 10]


def test_two_pictures_of_one_number_are_refused_by_name(tmp_path, touch):
    touch("1.jpg", "01.png")
    (folder,) = scan_folders(tmp_path, depth=0)
    with pytest.raises(RawDataError, match="has two pictures with number 1: 01.png and 1.jpg. Remove one"):
        number_pictures(folder, WHOLE_STEM)


def test_contents_are_described_shortly(tmp_path, touch):
    touch(*(f"folder {number:02d}/a.txt" for number in range(20)), "z.txt")
    text = describe_contents(scan_folders(tmp_path, depth=1))
    assert text.startswith(f"{tmp_path} holds folder 00/, folder 01/,")
    assert text.endswith("folder 11/ and 9 more.")


def test_archives_are_to_be_unpacked(tmp_path, touch):
    touch("BP4D/Sequences.zip", "readme.txt")
    assert "Unpack the archives first (Sequences.zip ...)" in describe_contents(scan_folders(tmp_path, depth=1))


def test_a_data_dir_may_be_a_text(tmp_path):
    assert check_data_dir(str(tmp_path)) == tmp_path


def test_paths_are_named_within_the_release(tmp_path):
    assert name_within(tmp_path / "a" / "b.csv", tmp_path) == "a/b.csv"
    assert name_within(tmp_path, tmp_path) == "."


def test_names_of_files_elsewhere_do_not_tell_where_they_are_on_this_machine(tmp_path, monkeypatch):
    assert name_within(tmp_path.parent / "b.csv", tmp_path) == "../b.csv"

    def on_another_drive(path, start):
        raise ValueError("path is on mount 'D:', start on mount 'C:'")

    monkeypatch.setattr("os.path.relpath", on_another_drive)
    assert name_within(tmp_path.parent / "b.csv", tmp_path) == "b.csv"
