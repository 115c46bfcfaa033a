"""Between pretrained and trained weights."""

import pytest
import torch
from torch import nn
from transformers import AutoModel

from hiva_hf.training.hiva_runs import HiVATrainingRun
from hiva_hf.training.weight_interpolation import interpolate_weights


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_every_weight_lies_between_its_two_ends(share):
    torch.manual_seed(0)
    start, trained = nn.BatchNorm1d(4), nn.BatchNorm1d(4)
    for module in (start, trained):
        for tensor in (*module.parameters(), module.running_mean):
            tensor.data.normal_()
    trained.num_batches_tracked += 7
    expected = {
        name: (1 - share) * start.state_dict()[name] + share * end for name, end in trained.state_dict().items()
    }
    interpolate_weights(trained, start.state_dict(), share)
    for name in ("weight", "bias", "running_mean", "running_var"):
        torch.testing.assert_close(trained.state_dict()[name], expected[name])
    assert trained.num_batches_tracked == 7


def test_another_network_is_refused():
    with pytest.raises(KeyError, match="weight"):
        interpolate_weights(nn.Linear(2, 2), {"kernel": torch.zeros(2, 2)}, 0.5)


def test_the_exported_detector_has_the_mean_tower(make_arguments, tmp_path, towers):
    settings = {"stage1_epochs": 1, "stage2_epochs": 1, "max_train_samples": 32, "max_eval_samples": 32}
    run = HiVATrainingRun(make_arguments(tmp_path / "run", trained_backbone_share=0.25, **settings))
    run.run()
    exported, trained = (AutoModel.from_pretrained(tmp_path / "run" / part) for part in ("", "stage2"))
    start = AutoModel.from_pretrained(towers / "vision").state_dict()
    moved = 0
    for name, tensor in exported.vision_model.backbone.state_dict().items():
        end = trained.vision_model.backbone.state_dict()[name]
        torch.testing.assert_close(tensor, 0.75 * start[name] + 0.25 * end)
        moved += int(not torch.equal(end, start[name]))
    assert moved > 0
    for name, tensor in exported.interaction.state_dict().items():
        assert torch.equal(tensor, trained.interaction.state_dict()[name])
