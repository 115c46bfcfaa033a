"""What a score depends on, of networks whose dependence is known and of a small real one."""

import pytest
import torch
from torch import nn
from transformers.utils import ModelOutput

from hiva_hf.sensitivity import GRID, read_with_sensitivity


class PatchReader(nn.Module):
    """Score 0 is the mean of the upper left corner, score 1 that of the right half; nothing else matters."""

    def forward(self, pixel_values: torch.Tensor) -> ModelOutput:
        half = pixel_values.shape[-1] // 2
        corner, right = pixel_values[..., :half, :half], pixel_values[..., half:]
        return ModelOutput(logits=torch.stack([corner.mean(dim=(1, 2, 3)), right.mean(dim=(1, 2, 3))], dim=1))


def test_maps_lie_where_the_score_looks():
    _, maps = read_with_sensitivity(PatchReader(), torch.ones(1, 3, 28, 28), torch.zeros(2))
    half = GRID // 2
    torch.testing.assert_close(maps[0, 0, :half, :half].sum(), torch.tensor(1.0))
    torch.testing.assert_close(maps[0, 1, :, half:].sum(), torch.tensor(1.0))


def test_cells_are_counted_on_the_processor(monkeypatch):
    """Apple's GPUs pool by whole factors alone, and faces of 256 pixels have cells of 18.3."""
    pool, copy = nn.functional.adaptive_avg_pool2d, torch.Tensor.cpu
    copies = []

    def pool_as_apples_gpus_do(tensor, size):
        if not any(tensor is copied for copied in copies):
            raise NotImplementedError("Non-divisible input sizes are not implemented on MPS")
        return pool(tensor, size)

    def watched(tensor):
        copies.append(copy(tensor))
        return copies[-1]

    monkeypatch.setattr(nn.functional, "adaptive_avg_pool2d", pool_as_apples_gpus_do)
    monkeypatch.setattr(torch.Tensor, "cpu", watched)
    _, maps = read_with_sensitivity(PatchReader(), torch.rand(1, 3, 40, 40), torch.zeros(2))
    assert maps.shape == (1, 2, GRID, GRID)
    torch.testing.assert_close(maps.sum(dim=(2, 3)), torch.ones(1, 2))


def test_aus_that_are_not_active_have_no_map():
    pixels = torch.cat([torch.ones(1, 3, 28, 28), -torch.ones(1, 3, 28, 28)])
    _, maps = read_with_sensitivity(PatchReader(), pixels, torch.tensor([0.5, 1.0]))
    assert maps.sum(dim=(2, 3)).round(decimals=5).tolist() == [[1, 0], [0, 0]]


def test_maps_are_the_squared_gradient_of_each_score(tiny_detector, faces):
    _, maps = read_with_sensitivity(tiny_detector, faces, torch.zeros(4))
    for index in range(4):
        pixels = faces[1:2].clone().requires_grad_()
        tiny_detector(pixels).logits[0, index].backward()
        # 56 pixels are 14 cells of 4.
        energy = pixels.grad[0].pow(2).sum(dim=0).unflatten(0, (GRID, 4)).unflatten(2, (GRID, 4)).sum(dim=(1, 3))
        torch.testing.assert_close(maps[1, index], energy / energy.sum(), atol=1e-6, rtol=1e-3)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.enable_grad, torch.inference_mode])
def test_outputs_are_those_of_the_model_and_hold_no_graph(tiny_detector, faces, mode):
    with mode():
        outputs, maps = read_with_sensitivity(tiny_detector, faces, torch.full((4,), 0.5), output_attentions=True)
    assert not any(values.requires_grad for values in (*outputs.values(), maps))
    with torch.no_grad():
        expected = tiny_detector(faces, output_attentions=True)
    for name, values in expected.items():
        torch.testing.assert_close(outputs[name], values, atol=1e-5, rtol=1e-4)
    assert faces.grad is None
    assert all(parameter.grad is None for parameter in tiny_detector.parameters())


def test_a_frozen_model_has_maps_all_the_same(tiny_detector, faces):
    _, expected = read_with_sensitivity(tiny_detector, faces, torch.zeros(4))
    tiny_detector.requires_grad_(False)
    _, maps = read_with_sensitivity(tiny_detector, faces, torch.zeros(4))
    torch.testing.assert_close(maps, expected)


def test_a_fused_model_depends_on_the_same_places(tiny_detector, faces):
    _, expected = read_with_sensitivity(tiny_detector, faces, torch.zeros(4))
    tiny_detector.drop_text_encoder()
    _, maps = read_with_sensitivity(tiny_detector.fuse(), faces, torch.zeros(4))
    torch.testing.assert_close(maps, expected, atol=1e-4, rtol=1e-2)


def test_a_model_without_gradients_has_no_maps(tiny_detector, faces):
    def without_gradients(**inputs):
        with torch.no_grad():
            return tiny_detector(**inputs)

    outputs, maps = read_with_sensitivity(without_gradients, faces, torch.zeros(4))
    assert maps is None
    assert outputs["logits"].shape == (3, 4)
