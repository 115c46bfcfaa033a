"""`hiva-hf demo`, as a user starts and ends it."""

import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from hiva_hf.cli.main import main


# Windows has no terminals that hang up.
HANG_UP = getattr(signal, "SIGHUP", signal.SIGTERM)


@pytest.fixture
def terminal() -> Iterator[None]:
    """As a terminal starts processes, even if the tests run under nohup, which processes inherit."""
    before = signal.signal(HANG_UP, signal.SIG_DFL)
    yield
    signal.signal(HANG_UP, before)


@contextmanager
def page(model: Path, tmp_path: Path, before: Sequence[str] = ()) -> Iterator[tuple[subprocess.Popen, str]]:
    """The running command, after the words `before` of the shell, and the address of its page."""
    script = "import sys; from hiva_hf.cli.main import main; sys.exit(main())"
    command = [*before, sys.executable, "-u", "-c", script, "demo", "--model", str(model), "--device", "cpu"]
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
        try:
            yield process, line.split()[-1].rstrip("/")
        finally:
            process.kill()


@pytest.mark.slow
@pytest.mark.usefixtures("terminal")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, HANG_UP])
def test_the_page_is_served_until_it_is_stopped_and_no_picture_stays(tiny_model_dir, tmp_path, number):
    # As if another user of the machine had Gradio's folder.
    (tmp_path / "gradio").write_text("not yours")
    with page(tiny_model_dir, tmp_path) as (process, address):
        assert "Facial Action Units" in httpx.get(address).text
        answer = httpx.post(f"{address}/gradio_api/upload", files={"files": ("anna.png", b"a picture of Anna")})
        (place,) = map(Path, answer.raise_for_status().json())
        assert place.read_bytes() == b"a picture of Anna" and place.is_relative_to(tmp_path)
        process.send_signal(number)
        rest = process.communicate(timeout=60)[0]
    assert process.returncode == 128 + number, rest
    assert "Traceback" not in rest
    assert number != signal.SIGINT or rest.splitlines()[-1] == "Stopped."
    assert not place.exists()
    assert not list(tmp_path.glob("hiva-demo-*"))


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("nohup"), reason="there is no nohup")
def test_the_page_outlives_its_terminal_under_nohup(tiny_model_dir, tmp_path):
    with page(tiny_model_dir, tmp_path, before=["nohup"]) as (process, address):
        process.send_signal(HANG_UP)
        assert "Facial Action Units" in httpx.get(address).text
        process.terminate()
        rest = process.communicate(timeout=60)[0]
    assert process.returncode == 128 + signal.SIGTERM, rest


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
