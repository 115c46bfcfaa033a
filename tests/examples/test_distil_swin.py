"""`examples/distil_swin.py`: a Swin that has learned from the packaged detector is a vision tower for training."""

import pytest
import torch
from transformers import AutoModel


# A stage 3 of six blocks, of which two learn.
TINY = {"embed_dim": 8, "depths": (1, 1, 6, 1), "num_heads": (1, 1, 2, 2), "img_size": 56}


@pytest.fixture
def script(example):
    return example("distil_swin")


def test_the_student_becomes_a_tower_that_sees_about_the_same(script, tmp_path, monkeypatch, capsys):
    learned = []
    monkeypatch.setattr(
        script, "grow", lambda shallow, deep, grow=script.grow: (learned.append(shallow), grow(shallow, deep))
    )
    words = ["--output_dir", str(tmp_path / "swin"), "--steps", "20", "--batch_size", "8", "--no_compile"]
    script.main(words, **TINY)
    losses = [line for line in capsys.readouterr().out.splitlines() if line.startswith("step")]
    first, last = (float(line.split("last ")[1].split(",")[0]) for line in losses)
    assert last < first

    tower = AutoModel.from_pretrained(tmp_path / "swin").eval()
    assert len(tower.timm_model.layers[2].blocks) == 6
    faces = torch.randn(4, 3, 56, 56)
    with torch.no_grad():
        grown, small = tower.timm_model.forward_features(faces), learned[0].eval().forward_features(faces)
    assert torch.corrcoef(torch.stack([grown.flatten(), small.flatten()]))[0, 1] > 0.9


def test_blocks_without_residuals_grow_exactly(script):
    """The tripled blocks then do nothing, so that all else must have been copied."""
    import timm

    shallow, deep = (
        timm.create_model(script.SWIN_B, num_classes=0, **TINY | {"depths": (1, 1, depth, 1)}).eval()
        for depth in (2, 6)
    )
    for block in shallow.layers[2].blocks:
        for layer in (block.attn.proj, block.mlp.fc2):
            torch.nn.init.zeros_(layer.weight)
    script.grow(shallow, deep)
    faces = torch.randn(2, 3, 56, 56)
    with torch.no_grad():
        torch.testing.assert_close(deep.forward_features(faces), shallow.forward_features(faces))
