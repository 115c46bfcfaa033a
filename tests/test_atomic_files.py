"""Files are there as a whole or not at all."""

import errno
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from hiva_hf import atomic_files
from hiva_hf.atomic_files import fill_folder, write_file, write_folder, write_text


def test_an_interrupted_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "new folder" / "results.txt"
    write_text(path, "old")

    def stop_half_way(unfinished):
        unfinished.write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_file(path, stop_half_way)
    assert path.read_text() == "old"
    write_text(path, "new")
    assert [(each.name, each.read_text()) for each in path.parent.iterdir()] == [("results.txt", "new")]


def test_a_folder_that_can_not_be_written_whole_leaves_the_old_one_and_nothing_else(tmp_path):
    folder = tmp_path / "state"
    write_folder(folder, lambda unfinished: write_text(unfinished / "step", "1"))

    def fill_the_disk(unfinished):
        (unfinished / "step").write_text("2")
        raise OSError("No space left on device")

    with pytest.raises(OSError, match="No space"):
        write_folder(folder, fill_the_disk)
    assert [path.name for path in tmp_path.iterdir()] == ["state"]
    assert (folder / "step").read_text() == "1"


@pytest.mark.skipif(sys.platform != "linux", reason="what a file was opened for is asked of Linux")
def test_files_are_flushed_where_only_those_who_may_write_can(tmp_path, monkeypatch):
    import fcntl

    flushed = []

    def flush_as_windows_does(descriptor):
        if fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
            raise OSError(errno.EBADF, "Bad file descriptor")
        flushed.append(Path(os.readlink(f"/proc/self/fd/{descriptor}")).name)

    monkeypatch.setattr(atomic_files, "_IS_WINDOWS", True)
    monkeypatch.setattr(os, "fsync", flush_as_windows_does)
    write_text(tmp_path / "results.txt", "new")
    write_folder(tmp_path / "state", lambda unfinished: write_text(unfinished / "step", "1"))
    assert flushed == ["results.txt.unfinished", "step.unfinished", "step"]
    assert (tmp_path / "state" / "step").read_text() == "1"


def test_folders_that_can_not_be_flushed_are_no_error_and_files_are(tmp_path, monkeypatch):
    refused = []

    def flush_as_some_network_disks_do(descriptor):
        if stat.S_ISDIR(os.fstat(descriptor).st_mode) or refused:
            raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr(os, "fsync", flush_as_some_network_disks_do)
    write_folder(tmp_path / "state", lambda unfinished: write_text(unfinished / "step", "1"))
    assert (tmp_path / "state" / "step").read_text() == "1"
    refused.append("files")
    with pytest.raises(OSError, match="Invalid argument"):
        write_text(tmp_path / "text.txt", "new")


def test_text_is_utf8_whatever_the_machine_prefers(tmp_path):
    script = (
        "import sys; from pathlib import Path; from hiva_hf.atomic_files import write_text\n"
        "write_text(Path(sys.argv[1]), 'Ekman \\u2192 AU')"
    )
    path = tmp_path / "text.txt"
    # Python's own warning: a text file was opened in the encoding of the machine.
    options = ["-X", "warn_default_encoding", "-W", "error::EncodingWarning"]
    subprocess.run([sys.executable, *options, "-c", script, str(path)], check=True)
    assert path.read_text(encoding="utf-8") == "Ekman \u2192 AU"


@pytest.mark.parametrize("is_there", [False, True])
def test_what_came_meanwhile_is_not_replaced(tmp_path, is_there):
    folder = tmp_path / "converted"
    if is_there:
        folder.mkdir()

    def write(unfinished):
        (unfinished / "config.json").write_text("mine")
        folder.mkdir(exist_ok=True)
        (folder / "theirs").write_text("theirs")

    (tmp_path / "converted.replaced").mkdir()
    with pytest.raises(FileExistsError, match="converted was filled by another process meanwhile"):
        fill_folder(folder, write, "config.json")
    assert {path.name for path in tmp_path.rglob("*")} == {"converted", "theirs", "converted.replaced"}


def test_an_empty_folder_that_came_meanwhile_is_taken(tmp_path):
    folder = tmp_path / "converted"

    def write(unfinished):
        (unfinished / "config.json").write_text("mine")
        folder.mkdir()

    fill_folder(folder, write, "config.json")
    assert [path.name for path in tmp_path.rglob("*")] == ["converted", "config.json"]


def test_processes_with_the_same_id_do_not_mix_their_files(tmp_path):
    """In containers the main process has the same id each time."""
    folder = tmp_path / "converted"

    def write(unfinished):
        (unfinished / "mine").touch()
        fill_folder(folder, lambda theirs: (theirs / "config.json").touch(), "config.json")

    with pytest.raises(FileExistsError, match="converted was filled by another process meanwhile"):
        fill_folder(folder, write, "config.json")
    assert [path.name for path in tmp_path.rglob("*")] == ["converted", "config.json"]
