"""`examples/map_agreement.py`: whether maps lie where Action Units show."""

import json
import sys

import pytest
from transformers import AutoImageProcessor

from hiva_hf import HiVAForAUDetection
from hiva_hf.experiments.reproduction import Job


@pytest.fixture
def run_command(example, monkeypatch, capsys):
    def run(*words) -> str:
        monkeypatch.setattr(sys, "argv", ["map_agreement.py", *map(str, words)])
        example("map_agreement").main()
        return capsys.readouterr().out

    return run


def test_shares_of_all_maps_are_printed_and_written(run_command, tmp_path, hiva_of_synthfacs):
    output = tmp_path / "new" / "figures.json"
    printed = run_command("--checkpoint", hiva_of_synthfacs, "--max_samples", 24, "--output", output)
    figures = json.loads(output.read_text())
    assert figures["faces"] == 24
    assert "| AU | Region | Cases | chance | ddca | cdca | sensitivity |" in printed
    for kind in ("chance", "ddca", "cdca", "sensitivity"):
        assert all(0 <= share <= 1 for share in figures[kind].values())
        assert figures[kind].keys() == figures["cases"].keys()


@pytest.fixture(scope="module")
def hiva_of_synthfacs(reproduction, tmp_path_factory):
    """A detector that calls everything active, after an epoch as short as that."""
    folder = tmp_path_factory.mktemp("detector") / "hiva"
    AutoImageProcessor.from_pretrained(reproduction.folder(Job("full", 1, 42))).save_pretrained(folder)
    model = HiVAForAUDetection.from_pretrained(reproduction.folder(Job("full", 1, 42)))
    model.config.label_thresholds = [0.01] * model.config.num_labels
    model.save_pretrained(folder)
    return folder


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--dataset", "bp4d"), "map_agreement.py: .*bp4d"),
        (("--fold", 9), "map_agreement.py: .*fold"),
        (("--checkpoint", "/no/such/folder"), "map_agreement.py: .*/no/such/folder"),
    ],
)
def test_mistakes_are_told_in_a_line(run_command, hiva_of_synthfacs, words, message):
    with pytest.raises(SystemExit, match=message):
        run_command("--checkpoint", hiva_of_synthfacs, *words)


def test_a_model_with_other_maps_is_refused(run_command, tiny_vl_fau_dir):
    with pytest.raises(SystemExit, match="is not a checkpoint of a HiVAForAUDetection"):
        run_command("--checkpoint", tiny_vl_fau_dir)


def test_no_face_is_refused(run_command, capsys):
    with pytest.raises(SystemExit):
        run_command("--checkpoint", "x", "--max_samples", 0)
    assert "--max_samples is 0" in capsys.readouterr().err
