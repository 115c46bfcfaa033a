"""A worker ends with the process that started it."""

import subprocess
import sys


PARENT = """
import multiprocessing
import time

from hiva_hf.worker_processes import end_with_parent


def work():
    end_with_parent()
    print("working", flush=True)
    time.sleep(600)


if __name__ == "__main__":
    multiprocessing.get_context("spawn").Process(target=work).start()
    time.sleep(600)
"""


def test_a_worker_ends_when_its_parent_is_killed(tmp_path):
    script = tmp_path / "parent.py"
    script.write_text(PARENT)
    parent = subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True)
    assert parent.stdout.readline() == "working\n"
    parent.kill()
    # Ends once nobody is left who could write.
    output, _ = parent.communicate(timeout=60)
    assert output == ""
