"""Each source has files of its own, whose names every system can write."""

import os
from pathlib import Path, PurePosixPath, PureWindowsPath

import pytest

from hiva_hf.inference.drawing import check_apart
from hiva_hf.inference.output_paths import below_common_folder, identity_of, openface_paths, paths_below
from hiva_hf.inference.sources import find_sources
from hiva_hf.inference.writers import check_new


def test_openface_files_of_several_folders_keep_them_apart(tmp_path):
    paths = openface_paths(tmp_path, ["in/a/1.jpg", "in/b/1.jpg", "in/b/2.jpg", "in/b/2.mp4"])
    names = [str(path.relative_to(tmp_path)) for path in paths.values()]
    assert names == ["a/1.csv", "b/1.csv", "b/2.jpg.csv", "b/2.mp4.csv"]


def test_openface_files_of_like_names_keep_them_apart(tmp_path):
    files = openface_paths(tmp_path, ["a.jpg", "a.png", "a.jpg.webp", "b.webp"])
    assert [path.name for path in files.values()] == ["a.jpg.csv", "a.png.csv", "a.jpg.webp.csv", "b.csv"]


def test_names_that_differ_by_case_are_kept_apart_by_their_endings(tmp_path):
    # On most disks of Windows and macOS, IMG.csv and img.csv are one file.
    files = openface_paths(tmp_path, ["IMG.jpg", "img.png", "A.jpg", "a.JPG.webp"])
    assert [path.name for path in files.values()] == ["IMG.jpg.csv", "img.png.csv", "A.csv", "a.JPG.webp.csv"]
    assert len({path.name.casefold() for path in paths_below(tmp_path, list(files)).values()}) == len(files)


def test_addresses_give_names_that_windows_can_write(tmp_path):
    addresses = ["https://a.org:80/x/1.jpg?size=2", "https://a.org:80/x/1.jpg?size=3", "https://b.org/1.jpg"]
    names = [path.relative_to(tmp_path).as_posix() for path in openface_paths(tmp_path, addresses).values()]
    assert names == ["a.org%3A80/x/1.jpg%3Fsize=2.csv", "a.org%3A80/x/1.jpg%3Fsize=3.csv", "b.org/1.csv"]


def test_a_photo_that_is_its_own_address_gets_a_short_name(tmp_path):
    photos = [f"data:image/png;base64,{'A/' * 500}{number}" for number in range(2)]
    first, second = (path.relative_to(tmp_path) for path in openface_paths(tmp_path, photos).values())
    assert first != second
    assert len(str(first)) < 40 and first.parent == Path()


@pytest.mark.parametrize("letter", ["a", ".", "ü", "\N{GRINNING FACE}", "\udcff"])
def test_addresses_with_long_tokens_get_names_that_disks_allow(tmp_path, letter):
    token = letter * 300
    addresses = [f"https://a.org/{token}{a}/1.jpg?token={token}{b}" for a in range(2) for b in range(2)]
    for path_of in (openface_paths, paths_below):
        paths = list(path_of(tmp_path, addresses).values())
        assert len(set(paths)) == 4 and len({path.parent for path in paths}) == 2
        assert all(len(os.fsencode(part)) + len(".jpg") <= 255 for path in paths for part in path.parts)


def test_long_names_of_files_stay_whole(tmp_path):
    name = "a" * 251
    assert list(paths_below(tmp_path, [f"{name}.jpg"]).values()) == [tmp_path / name]


def test_files_on_several_drives_lie_in_folders_called_after_them():
    windows = [
        PureWindowsPath(r"D:\videos\a.mp4"),
        PureWindowsPath(r"C:\b.jpg"),
        PureWindowsPath(r"\\lab\share\c.jpg"),
    ]
    assert [path.as_posix() for path in below_common_folder(windows)] == [
        "D/videos/a.mp4",
        "C/b.jpg",
        "lab_share/c.jpg",
    ]
    assert [path.as_posix() for path in below_common_folder(windows[:1])] == ["a.mp4"]
    assert below_common_folder([PurePosixPath("/a/b/1.jpg"), PurePosixPath("/a/2.jpg")]) == [
        PurePosixPath("b/1.jpg"),
        PurePosixPath("2.jpg"),
    ]
    assert below_common_folder([]) == []


def test_a_file_is_the_same_by_all_its_names(tmp_path):
    photo = tmp_path / "a.jpg"
    photo.write_bytes(b"photo")
    os.link(photo, tmp_path / "b.jpg")
    assert identity_of(photo) == identity_of(tmp_path / "b.jpg") == identity_of(tmp_path / "." / "a.jpg")
    assert identity_of(photo) != identity_of(tmp_path) != identity_of(tmp_path / "new.jpg")
    assert identity_of(tmp_path / "new.jpg") == identity_of(tmp_path / "." / "new.jpg")
    with pytest.raises(ValueError, match="b.jpg is one of the photos"):
        check_new([tmp_path / "b.jpg"], resume=True, overwrite=False, sources=[str(photo)])


def test_no_photo_is_drawn_over_where_disks_know_no_case(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for folder in ("photos", "photos/drawn"):
        Path(folder).mkdir()
        Path(folder, "a.jpg").write_bytes(b"photo")
    look_up = os.stat
    monkeypatch.setattr(os, "stat", lambda path, *args, **options: look_up(os.fspath(path).lower(), *args, **options))
    with pytest.raises(ValueError, match="pass another `draw_dir`"):
        check_apart(Path("Photos"), ["photos/a.jpg"])
    check_apart(Path("drawn"), ["photos/a.jpg"])
    assert find_sources(["photos"], exclude=[Path("PHOTOS/Drawn")])[0] == [os.path.join("photos", "a.jpg")]
