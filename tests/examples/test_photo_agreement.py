"""`examples/photo_agreement.py` without MediaPipe: what is read, and what becomes of what was measured."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from hiva_hf.evaluation.blendshapes import BLENDSHAPES_OF_AU
from hiva_hf.hub.model_card import read_photo_agreement


@pytest.fixture
def photos(tmp_path):
    """A folder of three."""
    picture = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    (tmp_path / "photos").mkdir()
    for name in ("a.jpg", "b.jpg", "c.jpg"):
        Image.fromarray(picture).save(tmp_path / "photos" / name)
    return tmp_path / "photos"


class Detector:
    """Finds one face in each picture, and every time more of AU12."""

    model = SimpleNamespace(config=SimpleNamespace(au_labels=["AU12"]))

    def __init__(self):
        self.scores = iter((0.1, 0.5, 0.9))

    def __call__(self, picture):
        box = {"xmin": 0, "ymin": 0, "xmax": 64, "ymax": 64}
        return [{"box": box, "aus": [{"score": next(self.scores)}]}]


class Reader:
    """Sees these smiles."""

    def __init__(self, smiles: tuple[float, ...]):
        self.smiles = iter(smiles)

    def __call__(self, picture, box):
        return dict.fromkeys(BLENDSHAPES_OF_AU[12], next(self.smiles))


@pytest.fixture
def run_command(example, monkeypatch, photos):
    def run(*words, smiles: tuple[float, ...] | None = None):
        monkeypatch.setattr(sys, "argv", ["photo_agreement.py", str(photos), *map(str, words)])
        script = example("photo_agreement")
        monkeypatch.setattr(script, "pipeline", lambda task, model: Detector())
        if smiles is not None:
            monkeypatch.setattr(script, "BlendshapeReader", lambda model: Reader(smiles))
        script.main()

    return run


def test_a_damaged_photo_is_named_and_the_others_are_read(example, photos, capsys):
    whole = (photos / "b.jpg").read_bytes()
    (photos / "b.jpg").write_bytes(whole[: len(whole) // 2])
    assert len(list(example("photo_agreement").read_pictures([str(photos)], every=1))) == 2
    assert "b.jpg" in capsys.readouterr().out


def test_correlations_are_printed_and_written_for_the_model_card(run_command, tmp_path, capsys):
    output = tmp_path / "new" / "agreement.json"
    run_command("--landmarker", "x", "--output", output, smiles=(0.2, 0.3, 0.4))
    printed = capsys.readouterr().out
    assert "3 faces" in printed
    assert "| AU12 | 1.00 | 1.00 |" in printed
    agreement = read_photo_agreement(output)
    assert (agreement.num_faces, agreement.correlation) == (3, {"AU12": 1.0})
    assert agreement.experimental_labels == ()


def test_mistakes_and_photos_without_anything_to_compare_are_told_in_a_line(run_command):
    with pytest.raises(SystemExit, match="photo_agreement.py: There is nothing to compare on 3 faces"):
        run_command("--landmarker", "x", smiles=(0.2, 0.2, 0.2))
    with pytest.raises(SystemExit, match="photo_agreement.py: There is no landmarker model 'x'"):
        run_command("--landmarker", "x")
