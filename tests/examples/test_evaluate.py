"""`examples/evaluate.py` on a detector of a real run."""

import json
import os
import shutil
import sys
from pathlib import Path

import pytest

from hiva_hf.data.folds import names_of_subjects
from hiva_hf.evaluation.predictions import read_predictions
from hiva_hf.experiments.reproduction import Job


@pytest.fixture(scope="module")
def detector(reproduction) -> Path:
    return reproduction.folder(Job("full", 1, 42))


@pytest.fixture
def run_command(example, monkeypatch):
    def run(*words):
        monkeypatch.setattr(sys, "argv", ["evaluate.py", *map(str, words)])
        example("evaluate").main()

    return run


def test_a_detector_is_scored_on_the_fold_that_it_never_saw(run_command, detector, tmp_path, reproduction, capsys):
    run_command(
        *("--checkpoint", detector, "--max_samples", 120, "--mixed_precision", "no", "--tune_thresholds"),
        *("--output_dir", tmp_path),
    )
    printed = capsys.readouterr().out
    assert "### full on SynthFACS, test subjects of fold 1" in printed
    assert (tmp_path / "scores.md").read_text().strip() in printed
    scores = json.loads((tmp_path / "scores.json").read_text())
    expected = reproduction.results(Job("full", 1, 42))
    assert f"Subjects of fold 1: {names_of_subjects(expected['test_subjects'])}\n" in printed
    # The run itself tested the same 120 evenly spaced faces.
    assert scores["headline"]["roc_auc"] == pytest.approx(expected["test_mean_roc_auc"], abs=1e-6)
    assert scores["headline"]["tuned_f1"] > 0
    written = read_predictions(tmp_path / "predictions_test_fold1.parquet")
    assert set(written.subjects) == set(expected["test_subjects"])


def test_a_fold_that_it_was_trained_on_is_refused_unless_asked_for(run_command, detector, capsys):
    words = ("--fold", 2, "--max_samples", 40, "--mixed_precision", "no")
    with pytest.raises(SystemExit, match=r"evaluate\.py: .* was trained on"):
        run_command("--checkpoint", detector, *words)
    run_command("--checkpoint", detector, *words, "--allow_training_subjects")
    assert "test subjects of fold 2" in capsys.readouterr().out


def test_the_table_names_the_people_and_no_seed_that_nobody_knows(run_command, detector, capsys):
    words = ("--split", "validation", "--max_samples", 40, "--mixed_precision", "no")
    run_command("--checkpoint", detector, *words)
    printed = capsys.readouterr().out
    assert "validation subjects, 40 faces" in printed and "Support: validation faces" in printed
    assert "seed" not in printed and "test subjects" not in printed


def test_thresholds_are_not_tuned_on_the_split_that_is_scored(run_command, detector, capsys):
    with pytest.raises(SystemExit):
        run_command("--checkpoint", detector, "--split", "validation", "--tune_thresholds")
    assert "tunes on the validation subjects" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--max_samples", 0), "--max_samples is 0, but at least 1 face"),
        (("--fold", 1, 1), "contains a fold twice"),
        (("--fold", 1, 2, "--split", "train"), "pass one --fold with --split train"),
    ],
)
def test_senseless_options_are_refused_before_the_work(run_command, detector, capsys, words, message):
    with pytest.raises(SystemExit):
        run_command("--checkpoint", detector, *words)
    assert message in capsys.readouterr().err


def test_a_folder_that_can_not_be_made_is_told_before_the_work(run_command, detector, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(SystemExit, match=r"^evaluate\.py: .*File exists.*file"):
        run_command("--checkpoint", detector, "--output_dir", tmp_path / "file")


def test_weights_that_are_cut_off_are_told_in_a_line(run_command, detector, tmp_path):
    shutil.copytree(detector, tmp_path / "copy")
    os.truncate(tmp_path / "copy/model.safetensors", 1000)
    with pytest.raises(SystemExit, match=r"^evaluate\.py: "):
        run_command("--checkpoint", tmp_path / "copy", "--max_samples", 3, "--mixed_precision", "no")


def test_one_person_is_scored_without_an_interval(run_command, detector, tmp_path, capsys):
    run_command(
        *("--checkpoint", detector, "--max_samples", 1, "--mixed_precision", "no", "--output_dir", tmp_path / "out")
    )
    assert "No interval, because a bootstrap over subjects needs two" in capsys.readouterr().out
    assert len(read_predictions(tmp_path / "out/predictions_test_fold1.parquet")) == 1
    assert json.loads((tmp_path / "out/scores.json").read_text())["num_subjects"] == 1
