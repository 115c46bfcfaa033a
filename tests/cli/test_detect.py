"""`hiva-hf detect` on the command line."""

import io
import json
import signal
import subprocess
import sys
import time

import pandas as pd
import pytest
from PIL import Image
from skimage import data

from hiva_hf.cli.main import main
from hiva_hf.inference import read_table


SMOOTHED = ["{photos}", "--output", "{photos}/a.csv", "--smooth"]


@pytest.fixture(scope="module")
def photos(tmp_path_factory, astronaut):
    folder = tmp_path_factory.mktemp("photos")
    astronaut.crop((150, 20, 300, 200)).save(folder / "face.png")
    Image.fromarray(data.coffee()).resize((150, 100)).save(folder / "coffee.jpg")
    return folder


def test_the_table_goes_to_stdout_and_all_else_to_stderr(photos, tiny_model_dir, capsys):
    assert main(["detect", str(photos), "--model", str(tiny_model_dir)]) == 0
    out, err = capsys.readouterr()
    table = pd.read_csv(io.StringIO(out))
    assert table["source"].tolist() == [str(photos / "coffee.jpg"), str(photos / "face.png")]
    assert table["face_id"].isna().tolist() == [True, False]
    assert "Traceback" not in err


def test_aus_that_the_model_is_unreliable_at_are_named(photos, tmp_path, caplog):
    caplog.set_level("INFO")
    for name, is_told in (("face.png", True), ("coffee.jpg", False)):
        caplog.clear()
        assert main(["detect", str(photos / name), "--output", str(tmp_path / f"{name}.csv")]) == 0
        assert ("Experimental, unreliable on real photos: AU6, " in caplog.text) is is_told


def test_without_an_output_of_the_shell_a_file_is_written_and_nothing_else_asked_for(photos, tiny_model_dir, tmp_path):
    """As of programs without a window."""
    code = "import sys; from hiva_hf.cli.main import main; sys.exit(main(sys.argv[1:]))"
    words = [sys.executable, "-c", code, "detect", str(photos / "face.png"), "--model", str(tiny_model_dir)]
    for more, code, message in ((["--output", str(tmp_path / "faces.csv")], 0, ""), ([], 2, "pass a file")):
        command = subprocess.run(["sh", "-c", 'exec "$@" >&-', "sh", *words, *more], stderr=subprocess.PIPE, text=True)
        assert command.returncode == code and message in command.stderr and "Traceback" not in command.stderr
    assert len(read_table(tmp_path / "faces.csv")) == 1


def test_a_file_with_an_error_gives_exit_code_1_and_all_other_rows(photos, tiny_model_dir, tmp_path, caplog):
    (tmp_path / "broken.jpg").write_bytes(b"nothing")
    inputs = [str(tmp_path / "broken.jpg"), str(photos / "face.png")]
    output = tmp_path / "faces.jsonl"
    caplog.set_level("INFO")
    assert main(["detect", *inputs, "--model", str(tiny_model_dir), "--output", str(output)]) == 1
    table = read_table(output)
    assert table["source"].tolist() == inputs
    assert "broken.jpg" in table["error"][0]
    assert "broken.jpg" in caplog.text
    assert "2 frames, 1 faces, 1 errors" in caplog.text


def test_a_file_that_could_not_be_read_is_read_again_with_overwrite_alone(photos, tiny_model_dir, tmp_path):
    broken, output = tmp_path / "broken.jpg", tmp_path / "faces.csv"
    broken.write_bytes(b"nothing")
    words = ["detect", str(broken), str(photos / "face.png"), "--model", str(tiny_model_dir), "--output", str(output)]
    assert main(words) == 1
    broken.write_bytes((photos / "coffee.jpg").read_bytes())
    for option, is_read in (("--resume", False), ("--overwrite", True)):
        assert main([*words, option]) == 0
        assert read_table(output)["error"].isna().tolist() == [is_read, True]


def test_thresholds_for_all_and_for_single_aus(photos, tiny_model_dir, capsys):
    for words, expected in ((["0"], [1, 1]), (["1"], [0, 0]), (["AU1=0", "AU12=1"], [1, 0])):
        assert main(["detect", str(photos / "face.png"), "--model", str(tiny_model_dir), "--threshold", *words]) == 0
        (row,) = pd.read_csv(io.StringIO(capsys.readouterr().out)).to_dict("records")
        assert [row["AU01_c"], row["AU12_c"]] == expected


def test_explanations_stand_beside_the_table_and_leave_it_alone(photos, tiny_model_dir, tmp_path, capsys):
    words = ["detect", str(photos), "--model", str(tiny_model_dir), "--output"]
    assert main([*words, str(tmp_path / "plain.csv")]) == 0
    assert main([*words, str(tmp_path / "faces.csv"), "--explain"]) == 0
    assert (tmp_path / "faces.csv").read_text() == (tmp_path / "plain.csv").read_text()
    (line,) = (tmp_path / "faces-explained.jsonl").read_text().splitlines()
    face = json.loads(line)
    assert face["source"] == str(photos / "face.png")
    assert face["aus"].keys() == {"AU1", "AU4", "AU12", "AU25"}
    assert face["aus"]["AU12"]["sentence"].startswith("AU12 Lip Corner Puller: ")
    assert not (tmp_path / "plain-explained.jsonl").exists()
    (tmp_path / "faces.csv").unlink()
    with pytest.raises(SystemExit):
        main([*words, str(tmp_path / "faces.csv"), "--explain"])
    assert "faces-explained.jsonl exists" in capsys.readouterr().err
    assert not (tmp_path / "faces.csv").exists()
    # What refuses the table costs no file beside it.
    (tmp_path / "face-table").mkdir()
    (tmp_path / "face-table-explained.jsonl").write_text("before")
    assert main([*words, str(tmp_path / "face-table"), "--format", "csv", "--explain", "--overwrite"]) != 0
    assert (tmp_path / "face-table-explained.jsonl").read_text() == "before"


def test_explanations_of_a_table_on_stdout_go_to_stderr(photos, tiny_model_dir, capsys, caplog):
    caplog.set_level("INFO")
    words = ["--explain", "--threshold", "AU12=0"]
    assert main(["detect", str(photos / "face.png"), "--model", str(tiny_model_dir), *words]) == 0
    assert len(pd.read_csv(io.StringIO(capsys.readouterr().out))) == 1
    assert f"{photos / 'face.png'}, face 0: " in caplog.text
    assert "AU12 Lip Corner Puller: the lip corners are pulled up" in caplog.text


def test_smoothing_writes_its_table_and_the_events(scene, make_video, tiny_model_dir, tmp_path):
    video = make_video(tmp_path / "a.mp4", [scene([(100 + n, 110, 120)]) for n in range(6)])
    output = tmp_path / "faces.csv"
    words = ["--output", str(output), "--smooth", "median", "--threshold", "0", "--draw"]
    assert main(["detect", str(video), "--model", str(tiny_model_dir), *words]) == 0
    assert len(read_table(tmp_path / "faces-smoothed.csv")) == len(read_table(output)) == 6
    events = pd.read_csv(tmp_path / "faces-events.csv")
    assert events["au"].tolist() == ["AU01", "AU04", "AU12", "AU25"]
    assert events["onset_frame"].unique() == [0] and events["offset_frame"].unique() == [5]
    assert (tmp_path / "faces-annotated" / "a.mp4").stat().st_size > 1000


def test_hysteresis_begins_at_the_thresholds_that_decide(scene, make_video, tiny_model_dir, tmp_path):
    video = make_video(tmp_path / "a.mp4", [scene([(100 + n, 110, 120)]) for n in range(2)])
    words = ["--output", str(tmp_path / "a.csv"), "--smooth", "hysteresis", "--threshold", "AU1=0", "AU12=1"]
    assert main(["detect", str(video), "--model", str(tiny_model_dir), *words]) == 0
    smoothed = read_table(tmp_path / "a-smoothed.csv")
    assert smoothed["AU01_c"].tolist() == [1, 1] and smoothed["AU12_c"].tolist() == [0, 0]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nowhere.jpg"], "no such file or folder: nowhere.jpg"),
        (["{photos}", "--resume"], "--resume needs --output FILE"),
        (["{photos}", "--output", "{photos}/a.csv", "--resume", "--overwrite"], "give only one of them"),
        (["{photos}", "--smooth", "median"], "--smooth needs --output"),
        (["{photos}", "--min_duration", "1"], "--min_duration needs --smooth median or hysteresis"),
        ([*SMOOTHED, "median", "--smooth_low", "0.2"], "--smooth_low needs --smooth hysteresis"),
        ([*SMOOTHED, "median", "--smooth_window", "0"], "`window` must be a positive number"),
        ([*SMOOTHED, "median", "--min_duration", "-1"], "`min_duration` must not be negative"),
        ([*SMOOTHED, "hysteresis", "--smooth_high", "1.5"], "`high` must lie between 0 and 1"),
        ([*SMOOTHED, "hysteresis", "--threshold", "0.2", "--smooth_low", "0.3"], "above `high`, got 0.3 and 0.2"),
        (["{photos}", "--face_search_size", "8"], "max_size must be at least 32 pixels, got 8"),
        (["{photos}", "--every", "0"], "must be at least 1, got 0"),
        (["{photos}", "--every", "ten"], "must be a whole number, got 'ten'"),
        (["{photos}", "--output", "{photos}/face.png/a.csv"], ""),
    ],
)
def test_what_cannot_work_is_refused_before_the_work(photos, tiny_model_dir, words, message, capsys):
    words = [word.format(photos=photos) for word in words]
    try:
        code = main(["detect", *words, "--model", str(tiny_model_dir)])
    except SystemExit as stop:
        code = stop.code
    assert code in (1, 2)
    assert message in capsys.readouterr().err
    assert not (photos / "a.csv").exists()


def test_an_existing_output_is_refused(photos, tiny_model_dir, tmp_path, capsys):
    (tmp_path / "a.csv").write_text("mine")
    with pytest.raises(SystemExit) as stop:
        main(["detect", str(photos), "--model", str(tiny_model_dir), "--output", str(tmp_path / "a.csv")])
    assert stop.value.code == 2
    assert "--resume to continue" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["a-smoothed.csv", "a-events.csv", "a-explained.jsonl"])
def test_what_stands_beside_the_output_is_not_replaced_unasked(photos, tiny_model_dir, tmp_path, capsys, name):
    (tmp_path / name).write_text("mine")
    words = ["--model", str(tiny_model_dir), "--output", str(tmp_path / "a.csv"), "--smooth", "median", "--explain"]
    with pytest.raises(SystemExit):
        main(["detect", str(photos), *words])
    assert f"{name} exists" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_the_folder_that_one_is_in_can_be_the_output(photos, tiny_model_dir, tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    words = ["--output", ".", "--format", "openface", "--explain"]
    assert main(["detect", str(photos / "face.png"), "--model", str(tiny_model_dir), *words]) == 0
    found = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert found == {"here/face.csv", "here-explained.jsonl"}


def test_what_was_drawn_beside_the_output_is_no_input(photos, tiny_model_dir, tmp_path):
    (tmp_path / "face.png").write_bytes((photos / "face.png").read_bytes())
    words = ["detect", str(tmp_path), "--model", str(tiny_model_dir), "--output", str(tmp_path / "a.csv")]
    assert main([*words, "--draw_dir", str(tmp_path / "a-annotated")]) == 0
    assert (tmp_path / "a-annotated" / "face.jpg").exists()
    assert main([*words, "--resume"]) == 0
    assert read_table(tmp_path / "a.csv")["source"].tolist() == [str(tmp_path / "face.png")]


@pytest.mark.slow
def test_ctrl_c_keeps_the_rows_and_says_how_to_go_on(scene, make_video, tiny_model_dir, tmp_path):
    video = make_video(tmp_path / "a.mp4", [scene([(100 + n, 110, 120)]) for n in range(100)])
    output = tmp_path / "faces.csv"
    words = ["detect", str(video), "--model", str(tiny_model_dir), "--output", str(output), "--batch_size", "2"]
    code = "import sys; from hiva_hf.cli.main import main; sys.exit(main(sys.argv[1:]))"
    process = subprocess.Popen([sys.executable, "-c", code, *words], stderr=subprocess.PIPE, text=True)
    while process.poll() is None and (not output.exists() or output.read_bytes().count(b"\n") < 4):
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate()
    assert process.returncode == 130
    assert "Traceback" not in error
    assert "--resume continues from there" in error
    assert 3 <= len(read_table(output)) < 100
    assert main([*words, "--resume"]) == 0
    table = read_table(output)
    assert table["frame"].tolist() == list(range(100))
    assert table["face_id"].unique().tolist() == [0]
