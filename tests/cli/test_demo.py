"""`hiva-hf demo`, as a user starts and ends it."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from hiva_hf.cli.demo import TERMINATED
from hiva_hf.cli.main import INTERRUPTED, main


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, INTERRUPTED), (signal.SIGTERM, TERMINATED)])
def test_the_page_is_served_until_it_is_stopped_and_no_picture_stays(tiny_model_dir, tmp_path, number, code):
    # As if another user of the machine had Gradio's folder.
    (tmp_path / "gradio").write_text("not yours")
    script = "import sys; from hiva_hf.cli.main import main; sys.exit(main())"
    command = [sys.executable, "-u", "-c", script, "demo", "--model", str(tiny_model_dir), "--device", "cpu"]
    environment = {name: value for name, value in os.environ.items() if name != "GRADIO_TEMP_DIR"}
    environment["TMPDIR"] = str(tmp_path)
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment,
    ) as process:
        line = next((line for line in process.stdout if "http://" in line), "")
        address = line.split()[-1].rstrip("/")
        assert "Facial Action Units" in httpx.get(address).text
        answer = httpx.post(f"{address}/gradio_api/upload", files={"files": ("anna.png", b"a picture of Anna")})
        (place,) = map(Path, answer.raise_for_status().json())
        assert place.read_bytes() == b"a picture of Anna" and place.is_relative_to(tmp_path)
        process.send_signal(number)
        rest = process.communicate(timeout=60)[0]
    assert process.returncode == code, rest
    assert "Traceback" not in rest
    assert number == signal.SIGTERM or rest.splitlines()[-1] == "Stopped."
    assert not place.exists()
    assert not list(tmp_path.glob("hiva-demo-*"))


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
        (["--host", "no.such.host.invalid"], "--host no.such.host.invalid: the page can't be served there"),
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
    assert f"--port {port}: the page can't be served there (Address already in use" in error
    assert error.endswith("Pass another one.\n")
