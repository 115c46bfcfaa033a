"""One process at a time; what the system gives back when it ends."""

import errno
import subprocess
import sys

import pytest
from filelock import FileLock

from hiva_hf.file_locks import LOCK_FILE, lock_folder, locked_output


HOLD = """
import sys
from pathlib import Path
from hiva_hf.file_locks import lock_folder
lock = lock_folder(Path(sys.argv[1]))
print("locked", flush=True)
sys.stdin.read()
"""


def test_another_process_is_refused_until_the_first_has_ended(tmp_path):
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout.readline() == "locked\n"
        with pytest.raises(BlockingIOError, match="Another process works in"):
            lock_folder(tmp_path)
        holder.kill()
    lock_folder(tmp_path).release()


@pytest.mark.parametrize("refusal", [OSError(errno.ENOLCK, "No locks available"), OSError(errno.ENOSYS, "Not there")])
def test_a_disk_without_locks_is_a_warning(tmp_path, monkeypatch, caplog, refusal):
    def refuse(self, timeout):
        raise refusal

    monkeypatch.setattr(FileLock, "acquire", refuse)
    lock_folder(tmp_path).release()
    assert "without file locks" in caplog.text


def test_other_errors_are_told(tmp_path):
    (tmp_path / LOCK_FILE).mkdir()
    with pytest.raises(OSError, match=LOCK_FILE):
        lock_folder(tmp_path)


HOLD_OUTPUT = """
import sys
from pathlib import Path
from hiva_hf.file_locks import locked_output
with locked_output(Path(sys.argv[1])):
    print("locked", flush=True)
    sys.stdin.read()
"""


@pytest.mark.parametrize("name", ["table.csv", "tables"])
def test_an_output_has_one_writer(tmp_path, name):
    (tmp_path / "tables").mkdir()
    command = [sys.executable, "-c", HOLD_OUTPUT, str(tmp_path / name)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout.readline() == "locked\n"
        with (
            pytest.raises(BlockingIOError, match=f"{name} is being written by another process"),
            locked_output(tmp_path / name),
        ):
            pass
        holder.kill()
    with locked_output(tmp_path / name), locked_output(tmp_path / "other.csv"):
        with pytest.raises(BlockingIOError), locked_output(tmp_path / name):
            pass
        with pytest.raises(BlockingIOError), locked_output(tmp_path / name):
            pass
    assert [path.name for path in tmp_path.rglob("*")] == ["tables"]


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.EACCES, errno.EROFS, errno.ENAMETOOLONG])
def test_an_output_that_can_not_be_locked_is_a_warning(tmp_path, monkeypatch, caplog, code):
    def refuse(self, timeout):
        raise OSError(code, "No locks")

    monkeypatch.setattr(FileLock, "acquire", refuse)
    with locked_output(tmp_path / "table.csv"):
        assert "table.csv can't be locked" in caplog.text


def test_a_name_that_is_too_long_for_a_lock_is_a_warning(tmp_path, caplog):
    with locked_output(tmp_path / ("\u044f" * 123 + ".csv")):
        assert "can't be locked" in caplog.text


def test_links_to_an_output_have_its_lock(tmp_path):
    (tmp_path / "link.csv").symlink_to(tmp_path / "table.csv")
    with (
        locked_output(tmp_path / "table.csv"),
        pytest.raises(BlockingIOError),
        locked_output(tmp_path / "link.csv"),
    ):
        pass


def test_a_forked_process_that_ends_leaves_its_parents_lock(tmp_path):
    script = (
        "import os, sys; from pathlib import Path; from hiva_hf.file_locks import locked_output\n"
        "path = Path(sys.argv[1])\n"
        "with locked_output(path):\n"
        "    if os.fork() == 0: sys.exit(0)\n"
        "    os.wait()\n"
        "    assert path.with_name('.table.csv.lock').exists()\n"
        "    try:\n"
        "        with locked_output(path): print('two holders')\n"
        "    except BlockingIOError: print('one holder')\n"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "table.csv")]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "one holder\n"
