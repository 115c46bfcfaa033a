"""The command as users meet it: exit codes, messages, and what is left after it was killed."""

import io
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import psutil
import pyarrow.parquet as pq
import pytest
from PIL import Image

from hiva_hf.cli.main import main


RUN_MAIN = "import sys; from hiva_hf.cli.main import main; sys.exit(main())"
FACES = Path(sys.modules["hiva_hf"].__file__).parent / "data/synthfacs/synthfacs-fold1.parquet"


@pytest.fixture(scope="module")
def faces() -> list[Image.Image]:
    rows = pq.read_table(FACES, columns=["image"]).slice(0, 6).to_pylist()
    return [Image.open(io.BytesIO(row["image"]["bytes"])).resize((240, 240)) for row in rows]


@pytest.fixture(scope="module")
def make_release(faces):
    """Writes a custom data set; returns the labels of each (subject, frame)."""

    def make(root: Path, num_subjects: int = 3, num_frames: int = 2) -> dict[tuple[str, int], list[int]]:
        rng = np.random.default_rng(0)
        lines, labels = ["path,subject,frame,AU1,AU12"], {}
        root.mkdir(parents=True)
        for subject in (f"S{number:02d}" for number in range(num_subjects)):
            for frame in range(num_frames):
                codes = labels[subject, frame] = rng.integers(0, 2, 2).tolist()
                faces[frame % len(faces)].save(root / f"{subject}-{frame}.png")
                lines.append(f"{subject}-{frame}.png,{subject},{frame},{codes[0]},{codes[1]}")
        (root / "labels.csv").write_text("\n".join(lines) + "\n")
        return labels

    return make


@pytest.fixture(scope="module")
def long_release(make_release, tmp_path_factory) -> Path:
    """Enough shards for being interrupted half-way."""
    root = tmp_path_factory.mktemp("long") / "raw"
    make_release(root, num_subjects=18, num_frames=4)
    return root


@pytest.fixture(scope="module")
def long_files(long_release, tmp_path_factory) -> dict[str, bytes]:
    """What one process makes of `long_release` without an interruption."""
    output_dir = tmp_path_factory.mktemp("long-out")
    assert prepare_custom(long_release, output_dir) == 0
    return contents(output_dir)


def prepare_custom(data_dir: Path, output_dir: Path, *options: str) -> int:
    arguments = ["--data_dir", str(data_dir), "--output_dir", str(output_dir), "--num_proc", "1", *options]
    return main(["prepare", "custom", *arguments])


def contents(output_dir: Path) -> dict[str, bytes]:
    """All files that depend on the data alone."""
    paths = (*output_dir.glob("data/*"), *output_dir.glob("report.*"), output_dir / "dataset.json")
    return {path.relative_to(output_dir).as_posix(): path.read_bytes() for path in paths}


def finished_shards(output_dir: Path) -> dict[str, list[tuple[int, int]]]:
    """Inode and time of the files of each shard whose note is there."""
    notes = sorted(output_dir.glob("state/*.json"))
    files = {note.stem: (note, output_dir / f"data/{note.stem}.parquet") for note in notes}
    return {name: [(path.stat().st_ino, path.stat().st_mtime_ns) for path in paths] for name, paths in files.items()}


def start(data_dir: Path, output_dir: Path) -> subprocess.Popen:
    """Starts the command with two processes, in a group of its own, and returns when two shards are finished."""
    arguments = ["prepare", "custom", "--data_dir", str(data_dir), "--output_dir", str(output_dir), "--num_proc", "2"]
    process = subprocess.Popen(
        [sys.executable, "-c", RUN_MAIN, *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    while len(list(output_dir.glob("state/*.json"))) < 2 and process.poll() is None:
        time.sleep(0.01)
    return process


def processes_of(group: int) -> list[psutil.Process]:
    """Those of a process group that run; the dead may stay listed until somebody asks for their exit code."""
    found = []
    for process in psutil.process_iter():
        try:
            if os.getpgid(process.pid) == group and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (ProcessLookupError, psutil.NoSuchProcess):
            continue
    return found


def test_the_command_prepares_what_it_is_pointed_to(make_release, tmp_path, capsys):
    labels = make_release(tmp_path / "raw")
    assert prepare_custom(tmp_path / "raw", tmp_path / "out") == 0
    rows = [row for path in sorted((tmp_path / "out/data").iterdir()) for row in pq.read_table(path).to_pylist()]
    assert {(row["subject"], row["frame"]): row["labels"] for row in rows} == labels
    report = (tmp_path / "out/report.txt").read_text()
    assert report in capsys.readouterr().out
    assert "Verdict: complete" in report


def test_names_that_the_output_can_not_write_are_spelled_out(make_release, tmp_path, monkeypatch):
    make_release(tmp_path / "raw")
    table = tmp_path / "raw/labels.csv"
    table.write_text(table.read_text().replace(",S01,", ",Иван,"), encoding="utf-8")
    output = io.TextIOWrapper(io.BytesIO(), encoding="latin-1")
    monkeypatch.setattr(sys, "stdout", output)
    assert prepare_custom(tmp_path / "raw", tmp_path / "out") == 0
    assert rb"\u0418\u0432\u0430\u043d" in output.buffer.getvalue()
    assert "Иван" in (tmp_path / "out/report.txt").read_text(encoding="utf-8")


def test_a_tilde_is_the_home_folder(make_release, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    make_release(tmp_path / "raw")
    assert prepare_custom(Path("~/raw"), Path("~/out"), "--labels_file", "~/raw/labels.csv") == 0
    assert (tmp_path / "out/dataset.json").exists()


def test_pictures_that_are_all_missing_end_in_a_message(make_release, tmp_path, capsys):
    make_release(tmp_path / "raw")
    for path in (tmp_path / "raw").glob("*.png"):
        path.unlink()
    assert prepare_custom(tmp_path / "raw", tmp_path / "out") == 1
    assert "None of the 6 labelled frames became a row: 6 times missing frame." in capsys.readouterr().err


def test_help_names_every_data_set_and_what_its_folder_looks_like(capsys):
    for arguments, expected in (
        (["prepare"], ["bp4d", "disfa", "gft", "custom"]),
        (["prepare", "bp4d"], ["AUCoding/AU_OCC/F001_T1.csv", "--frame_offset"]),
        (["prepare", "disfa"], ["ActionUnit_Labels/SN001", "--threshold", "--camera", "--frame_base"]),
        (["prepare", "gft"], ["001A.mp4"]),
        (["prepare", "custom"], ["path,subject,AU1", "--labels_file"]),
    ):
        with pytest.raises(SystemExit) as caught:
            main([*arguments, "--help"])
        assert caught.value.code == 0
        text = capsys.readouterr().out
        assert all(word in text for word in expected)


@pytest.mark.parametrize(
    "options",
    [["--public"], ["--public", "--push_to_hub", "me/set"], ["--push_to_hub", "me set"], ["--num_proc", "0"]],
)
def test_options_that_can_not_be_meant_end_before_any_work(make_release, tmp_path, options):
    make_release(tmp_path / "raw")
    with pytest.raises(SystemExit) as caught:
        prepare_custom(tmp_path / "raw", tmp_path / "out", *options)
    assert caught.value.code == 2
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["bp4d", "disfa", "gft", "custom"])
def test_a_folder_that_is_not_the_data_set_ends_in_a_message(name, tmp_path, capsys):
    (tmp_path / "raw").mkdir()
    arguments = ["--data_dir", str(tmp_path / "raw"), "--output_dir", str(tmp_path / "out")]
    assert main(["prepare", name, *arguments]) == 2
    assert str(tmp_path / "raw") in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_bad_labels_end_in_a_message_that_names_file_and_line(make_release, tmp_path, capsys):
    make_release(tmp_path / "raw")
    table = tmp_path / "raw/labels.csv"
    table.write_text(table.read_text().replace("S01-0.png,S01,0,", "S01-0.png,S01,zero,"))
    assert prepare_custom(tmp_path / "raw", tmp_path / "out") == 2
    message = capsys.readouterr().err
    assert "labels.csv" in message
    assert "line 4" in message


def test_a_folder_of_other_settings_ends_in_a_message(make_release, tmp_path, capsys):
    make_release(tmp_path / "raw")
    (tmp_path / "out").mkdir()
    (tmp_path / "out/prepare.json").write_text('{"name": "bp4d"}')
    assert prepare_custom(tmp_path / "raw", tmp_path / "out") == 2
    assert "'name': 'bp4d'" in capsys.readouterr().err


def test_an_output_folder_that_can_not_be_made_ends_in_a_message(make_release, tmp_path, capsys):
    make_release(tmp_path / "raw")
    (tmp_path / "file").touch()
    assert prepare_custom(tmp_path / "raw", tmp_path / "file/out") == 1
    assert str(tmp_path / "file/out") in capsys.readouterr().err


def test_ctrl_c_ends_in_a_message_that_says_how_to_go_on(long_release, tmp_path, capsys):
    def press_ctrl_c():
        while len(finished_shards(tmp_path)) < 2:
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=press_ctrl_c, daemon=True).start()
    assert prepare_custom(long_release, tmp_path) == 130
    message = capsys.readouterr().err
    assert f"Stopped. {len(finished_shards(tmp_path))} of 18 shards are done. Run the same command again" in message


@pytest.mark.slow
def test_after_kill_9_nothing_half_done_is_trusted_and_the_same_command_goes_on(long_release, long_files, tmp_path):
    process = start(long_release, tmp_path)
    process.kill()
    process.wait()
    # Workers have to end by themselves, rather than go on in a folder that is no longer locked.
    deadline = time.monotonic() + 20
    while (orphans := processes_of(process.pid)) and time.monotonic() < deadline:
        time.sleep(0.05)
    for orphan in orphans:
        orphan.kill()
    assert not orphans
    before = finished_shards(tmp_path)
    assert 2 <= len(before) < 18
    assert not (tmp_path / "dataset.json").exists()
    for name in before:
        assert (tmp_path / f"data/{name}.parquet").read_bytes() == long_files[f"data/{name}.parquet"]
    assert prepare_custom(long_release, tmp_path) == 0
    after = finished_shards(tmp_path)
    assert {name: after[name] for name in before} == before
    assert contents(tmp_path) == long_files
    assert not list(tmp_path.rglob("*.unfinished"))
