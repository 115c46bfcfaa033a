"""One process at a time; what the system gives back when it ends."""

import errno
import subprocess
import sys

import pytest
from filelock import FileLock

from hiva_hf.folder_locks import LOCK_FILE, lock_folder


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
