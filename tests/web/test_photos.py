"""What the page needs of a photo."""

import numpy as np
import pytest
from transformers import pipeline

from hiva_hf.web.markup import au_card
from hiva_hf.web.photos import read_photo


@pytest.mark.parametrize("folder, kinds", [("tiny_model_dir", {"ddca", "cdca"}), ("tiny_vl_fau_dir", {"spatial"})])
def test_the_maps_of_both_networks_are_shown(request, astronaut, folder, kinds):
    detector = pipeline("au-detection", model=str(request.getfixturevalue(folder)))
    (face,) = read_photo(detector, np.asarray(astronaut), "astronaut.png", explain=False).faces
    assert set(face.maps) == kinds
    assert face.view.shape[2] == 3
    for maps in face.maps.values():
        np.testing.assert_allclose(maps.sum(axis=(1, 2)), 1, atol=1e-5)
    card = au_card(face, face.foremost_au)
    assert card.count("<figure") == len(kinds) and "no attention maps" not in card
