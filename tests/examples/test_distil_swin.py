"""`examples/distil_swin.py`: a Swin that has learned from the packaged detector is a vision tower for training."""

import re

import pytest
import timm
import torch
from transformers import AutoModel


# A stage 3 of six blocks, of which two learn.
TINY = {"embed_dim": 8, "depths": (1, 1, 6, 1), "num_heads": (1, 1, 2, 2), "img_size": 56}


@pytest.fixture
def script(example):
    return example("distil_swin")


def options_of(script, folder, *words):
    return script.parse_options(
        ["--output_dir", str(folder), "--steps", "40", "--batch_size", "16", "--no_compile", *words]
    )


def test_the_student_learns_and_becomes_a_tower_that_sees_about_the_same(script, tmp_path, monkeypatch, capsys):
    learned = []
    monkeypatch.setattr(
        script, "grow", lambda shallow, deep, grow=script.grow: (learned.append(shallow), grow(shallow, deep))
    )
    script.make_tower(options_of(script, tmp_path / "swin"), **TINY)
    losses = [float(loss) for loss in re.findall(r"loss=([\d.]+)", capsys.readouterr().err)]
    assert losses[-1] < losses[0] - 0.2
    assert not (tmp_path / "swin" / "checkpoints").exists()

    tower = AutoModel.from_pretrained(tmp_path / "swin").eval()
    assert len(tower.timm_model.layers[2].blocks) == 6
    faces = torch.randn(4, 3, 56, 56)
    with torch.no_grad():
        grown, small = tower.timm_model.forward_features(faces), learned[0].eval().forward_features(faces)
    assert torch.corrcoef(torch.stack([grown.flatten(), small.flatten()]))[0, 1] > 0.9
    with pytest.raises(FileExistsError, match="has a network already: pass another --output_dir"):
        script.make_tower(options_of(script, tmp_path / "swin"), **TINY)


def test_an_interrupted_run_goes_on_to_the_same_tower(script, tmp_path, monkeypatch):
    monkeypatch.setattr(script, "CHECKPOINTING_STEPS", 3)
    script.make_tower(options_of(script, tmp_path / "whole", "--steps", "7"), **TINY)

    def stop_at_last(step, num_steps, rate_at=script.rate_at):
        if step == 5:
            raise KeyboardInterrupt
        return rate_at(step, num_steps)

    with monkeypatch.context() as patch:
        patch.setattr(script, "rate_at", stop_at_last)
        with pytest.raises(KeyboardInterrupt):
            script.make_tower(options_of(script, tmp_path / "resumed", "--steps", "7"), **TINY)
    with pytest.raises(ValueError, match="was begun with the settings .*'steps': 7.*, not with .*'steps': 9"):
        script.make_tower(options_of(script, tmp_path / "resumed", "--steps", "9"), **TINY)
    script.make_tower(options_of(script, tmp_path / "resumed", "--steps", "7"), **TINY)
    whole, resumed = (AutoModel.from_pretrained(tmp_path / name).state_dict() for name in ("whole", "resumed"))
    assert all(torch.equal(resumed[name], tensor) for name, tensor in whole.items())


def test_blocks_without_residuals_grow_exactly(script):
    """The tripled blocks then do nothing, so that all else must have been copied."""
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
