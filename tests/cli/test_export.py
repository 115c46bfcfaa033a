import argparse
from pathlib import Path

import pytest

from hiva_hf import detect, starter_checkpoint
from hiva_hf.cli import export, main


def run(*arguments) -> int:
    parser = argparse.ArgumentParser()
    export.add_parser(parser.add_subparsers())
    args = parser.parse_args(["export", *map(str, arguments)])
    return args.run(args)


def test_command_exports_and_says_how_much_changed(tiny_model_dir, astronaut, tmp_path, capsys):
    pytest.importorskip("openvino")
    (tmp_path / "photos").mkdir()
    astronaut.save(tmp_path / "photos" / "one.png")
    (tmp_path / "photos" / "two.png").write_bytes(b"no picture")
    arguments = ("--to", "openvino", "--dtype", "fp32", "--calibration", tmp_path / "photos")
    assert run(tiny_model_dir, tmp_path / "out", *arguments) == 0
    assert "openvino fp32" in (printed := capsys.readouterr().out) and "On 1 faces (photos)" in printed
    table = detect(tmp_path / "photos" / "one.png", model=tmp_path / "out", progress=False)
    expected = detect(tmp_path / "photos" / "one.png", model=tiny_model_dir, progress=False)
    assert table["AU12"][0] == pytest.approx(expected["AU12"][0], abs=0.01)


def test_impossible_combination_is_refused_before_the_checkpoint_is_read(tmp_path, capsys):
    assert main.main(["export", str(tmp_path / "none"), "--to", "onnx", "--dtype", "bf16"]) == main.REFUSED
    assert "no bfloat16" in capsys.readouterr().err


@pytest.mark.slow
def test_starter_checkpoint_keeps_its_probabilities(tmp_path, monkeypatch, capsys):
    pytest.importorskip("nncf")
    monkeypatch.chdir(tmp_path)
    assert run("starter", "--to", "openvino", "--dtype", "int8", "--num_calibration_faces", 32) == 0
    weights = tmp_path / "starter-openvino-int8" / "openvino_model.bin"
    # The checkpoint has two bytes for each weight.
    assert weights.stat().st_size < 0.6 * (Path(starter_checkpoint()) / "model.safetensors").stat().st_size
    printed = capsys.readouterr().out
    # Single probabilities move; most hardly do.
    assert float(printed.split("detector's by ")[1].split(" at most")[0]) < 0.4
    assert float(printed.split(" at most, ")[1].split(" on average")[0]) < 0.02
