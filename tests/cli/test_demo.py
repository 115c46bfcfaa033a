"""`hiva-hf demo`, as a user starts and ends it."""

import os
import signal
import socket
import subprocess
import sys
import urllib.request

import pytest

from hiva_hf.cli.main import INTERRUPTED, main


@pytest.mark.slow
def test_the_page_is_served_until_ctrl_c(tiny_model_dir, tmp_path):
    code = "import sys; from hiva_hf.cli.main import main; sys.exit(main())"
    command = [sys.executable, "-u", "-c", code, "demo", "--model", str(tiny_model_dir), "--device", "cpu"]
    environment = os.environ | {"GRADIO_TEMP_DIR": str(tmp_path)}
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment,
    ) as process:
        line = next((line for line in process.stdout if "http://" in line), "")
        with urllib.request.urlopen(line.split()[-1]) as answer:
            assert "Facial Action Units" in answer.read().decode()
        process.send_signal(signal.SIGINT)
        rest = process.communicate(timeout=60)[0]
    assert process.returncode == INTERRUPTED, rest
    assert rest.splitlines()[-1] == "Stopped."
    assert "Traceback" not in rest


def test_a_wrong_limit_is_refused_before_anything_is_loaded(capsys):
    with pytest.raises(SystemExit) as caught:
        main(["demo", "--max_video_seconds", "0"])
    assert caught.value.code == 2
    assert "--max_video_seconds must be positive" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--port", "99999"], "--port must lie between 1 and 65535, got 99999"),
        (["--port", "0"], "--port must lie between 1 and 65535, got 0"),
        (["--host", "no.such.host.invalid"], "--host no.such.host.invalid: nothing can be served there"),
    ],
)
def test_an_address_that_can_not_be_served_is_refused_before_anything_is_loaded(capsys, words, message):
    with pytest.raises(SystemExit) as caught:
        main(["demo", *words])
    assert caught.value.code == 2
    assert message in capsys.readouterr().err


def test_a_port_that_is_taken_is_refused(capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        with pytest.raises(SystemExit):
            main(["demo", "--port", port])
    error = capsys.readouterr().err
    assert f"--port {port}: nothing can be served there (Address already in use" in error
    assert error.endswith("Pass another one.\n")
