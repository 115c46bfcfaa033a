"""`examples/photo_agreement.py` without MediaPipe: what is read."""

import numpy as np
from PIL import Image


def test_a_damaged_photo_is_named_and_the_others_are_read(example, tmp_path, capsys):
    picture = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    for name in ("a.jpg", "b.jpg", "c.jpg"):
        Image.fromarray(picture).save(tmp_path / name)
    whole = (tmp_path / "b.jpg").read_bytes()
    (tmp_path / "b.jpg").write_bytes(whole[: len(whole) // 2])
    assert len(list(example("photo_agreement").read_pictures([str(tmp_path)], every=1))) == 2
    assert "b.jpg" in capsys.readouterr().out
