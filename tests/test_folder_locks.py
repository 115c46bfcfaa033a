"""One process at a time; what the system gives back when it ends."""

import errno
import subprocess
import sys

import pytest
from filelock import FileLock

from hiva_hf.folder_locks import LOCK_FILE, lock_folder, locked_output


HOLD = """
import sys
from pathlib import Path
from hiva_hf.folder_locks import lock_folder
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


@pytest.mark.parametrize("refusal", [OSError(errno.ENOLCK, "No locks available"), NotImplementedError()])
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
from hiva_hf.folder_locks import locked_output
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


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.EACCES, errno.EROFS])
def test_an_output_that_can_not_be_locked_is_a_warning(tmp_path, monkeypatch, caplog, code):
    def refuse(self, timeout):
        raise OSError(code, "No locks")

    monkeypatch.setattr(FileLock, "acquire", refuse)
    with locked_output(tmp_path / "table.csv"):
        assert "table.csv can't be locked" in caplog.text
