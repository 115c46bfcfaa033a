"""timm's Swin in window order is timm's Swin."""

import copy

import pytest
import torch
from torch._inductor.utils import run_and_get_code
from torch._subclasses.fake_tensor import FakeTensorMode
from transformers import AutoModel, Dinov2Config, TimmWrapperConfig
from transformers.testing_utils import require_torch_gpu

from hiva_hf import fused_swin
from hiva_hf.fused_swin import FusedSwin


SWIN = {"embed_dim": 16, "depths": (2, 2), "num_heads": (1, 2)}
# Arguments of timm's Swin, and what they are about.
ARCHITECTURES = {
    "224 px as published, four stages": {"img_size": 224, "depths": (2, 2, 3, 1), "num_heads": (1, 2, 4, 4)},
    "no window is shifted": {"img_size": 56, "depths": (1, 1)},
    "odd depth": {"img_size": 112, "depths": (3, 2)},
    "windows larger than the last maps": {"img_size": 56, "depths": (2, 2, 2), "num_heads": (1, 2, 2)},
    "windows reach over the edge": {"img_size": 100},
    "odd maps are merged": {"img_size": 76, "window_size": 5, "depths": (2, 2, 2), "num_heads": (1, 2, 2)},
    "one window in all, shifted": {"img_size": 32, "always_partition": True},
    "windows that are not square": {"img_size": 112, "window_size": (4, 7)},
    "another patch size": {"img_size": 112, "patch_size": 8},
    "384 px windows": {"img_size": 96, "window_size": 12},
    "heads of another width": {"img_size": 56, "head_dim": 5},
    "no bias of queries, keys and values": {"img_size": 56, "qkv_bias": False},
}


def make_backbone(**arguments):
    """A Swin none of whose weights is the identity or zero."""
    config = TimmWrapperConfig(
        architecture="swin_tiny_patch4_window7_224", model_args=SWIN | arguments, do_pooling=False
    )
    backbone = AutoModel.from_config(config).eval()
    with torch.no_grad():
        for name, parameter in backbone.named_parameters():
            if "norm" in name or "bias" in name:
                parameter += 0.5 * torch.randn_like(parameter)
    return backbone


@pytest.fixture
def backbone():
    return make_backbone(img_size=112)


@pytest.mark.parametrize("arguments", ARCHITECTURES.values(), ids=ARCHITECTURES.keys())
@torch.no_grad()
def test_tokens_are_those_of_timm(arguments):
    backbone = make_backbone(**arguments)
    fused = FusedSwin.of(backbone)
    size = arguments["img_size"]
    for batch_size in (1, 3):
        images = torch.randn(batch_size, 3, size, size)
        expected = backbone(images).last_hidden_state.flatten(1, 2)
        tokens = fused(backbone.timm_model, images)
        torch.testing.assert_close(tokens, expected, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_masked_tokens_have_no_weight(backbone):
    """Not a subnormal one either, which fp32 products of ONNX Runtime are slow with."""
    masked = [block.attention.bias for block in FusedSwin.of(backbone).blocks if len(block.attention.bias) > 1]
    assert masked
    for bias in masked:
        weights = bias.softmax(dim=-1)
        assert (weights == 0).any()
        assert weights[weights > 0].min() >= torch.finfo(torch.float32).tiny


@torch.no_grad()
def test_timms_default_attention_gives_the_same(backbone):
    images = torch.randn(2, 3, 112, 112)
    fused = FusedSwin.of(backbone)(backbone.timm_model, images)
    for stage in backbone.timm_model.layers:
        for block in stage.blocks:
            assert not block.attn.fused_attn
    expected = backbone(images).last_hidden_state.flatten(1, 2)
    torch.testing.assert_close(fused, expected, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_images_may_be_in_any_memory_format(backbone):
    images = torch.randn(2, 3, 112, 112)
    fused = FusedSwin.of(backbone)
    expected = fused(backbone.timm_model, images)
    channels_last = images.to(memory_format=torch.channels_last)
    torch.testing.assert_close(fused(backbone.timm_model, channels_last), expected)


@pytest.mark.parametrize("arguments", ARCHITECTURES.values(), ids=ARCHITECTURES.keys())
@torch.no_grad()
def test_generated_kernels_attend_alike(arguments):
    # Interpreted here, which takes other widths of heads as well; compiled where there is a GPU, see below.
    for block in FusedSwin.of(make_backbone(**arguments)).blocks:
        attention = block.attention
        num_windows = attention.bias.shape[0]
        shape = (3, 2 * num_windows, attention.num_heads, attention.window_area, 16)
        query, key, value = torch.randn(shape).unbind(0)
        torch.testing.assert_close(
            attention._attend_by_generated_kernel(query, key, value), attention._attend(query, key, value)
        )


FUSED, GENERATED, WRITTEN_OUT = "scaled_dot_product_attention", "flex_attention", "softmax"


@pytest.mark.parametrize(
    ("dtype", "device", "settings", "kernel"),
    [
        (torch.bfloat16, "cuda", {}, GENERATED),
        (torch.float16, "cuda", {}, GENERATED),
        (torch.float32, "cuda", {}, FUSED),
        (torch.bfloat16, "cuda", {"mode": torch.enable_grad()}, FUSED),
        (torch.bfloat16, "cuda", {"head_dim": 8}, FUSED),
        (torch.bfloat16, "cpu", {"has_vectors_alone": True}, WRITTEN_OUT),
        (torch.float32, "cpu", {"has_vectors_alone": True}, WRITTEN_OUT),
        (torch.float32, "cpu", {"has_vectors_alone": True, "mode": torch.enable_grad()}, FUSED),
        (torch.bfloat16, "cpu", {}, FUSED),
    ],
)
def test_compiled_attention_is_the_one_of_the_device(backbone, monkeypatch, dtype, device, settings, kernel):
    # PyTorch compiles one function a few times at most.
    torch.compiler.reset()
    monkeypatch.setattr(fused_swin, "_IS_VECTOR_PROCESSOR", settings.get("has_vectors_alone", False))
    attention = FusedSwin.of(backbone).blocks[1].attention
    operations = []

    def read_graph(graph, inputs):
        operations.extend(str(node.target) for node in graph.graph.nodes)
        return graph.forward

    # Tensors that have a device and no values need no GPU.
    with FakeTensorMode(), settings.get("mode", torch.no_grad()):
        for name, buffer in list(attention.named_buffers()):
            buffer_dtype = dtype if buffer.is_floating_point() else buffer.dtype
            setattr(attention, name, torch.nn.Buffer(torch.empty(buffer.shape, dtype=buffer_dtype, device=device)))
        num_windows, num_heads, window_area, _ = attention.bias.shape
        shape = (2 * num_windows, num_heads, window_area, settings.get("head_dim", 16))
        query = torch.empty(shape, dtype=dtype, device=device)
        attended = torch.compile(attention._attend, backend=read_graph, fullgraph=True)(query, query, query)
    assert attended.shape == shape
    kinds = (FUSED, GENERATED, WRITTEN_OUT)
    assert [any(kind in name for name in operations) for kind in kinds] == [kind == kernel for kind in kinds]


@pytest.mark.parametrize("arguments", ARCHITECTURES.values(), ids=ARCHITECTURES.keys())
@torch.no_grad()
def test_attention_that_is_written_out_is_the_same(arguments):
    for block in FusedSwin.of(make_backbone(**arguments)).blocks:
        attention = block.attention
        shape = (3, 2 * len(attention.bias), attention.num_heads, attention.window_area, 16)
        query, key, value = torch.randn(shape).unbind(0)
        torch.testing.assert_close(attention._attend_in_steps(query, key, value), attention._attend(query, key, value))


@require_torch_gpu
@pytest.mark.parametrize("arguments", [{"img_size": 112}, {"img_size": 96, "window_size": 12}], ids=["7", "12"])
@torch.no_grad()
def test_compiled_for_a_gpu(arguments):
    backbone = make_backbone(**arguments).cuda()
    fused = FusedSwin.of(backbone)
    images = torch.randn(3, 3, arguments["img_size"], arguments["img_size"], device="cuda")
    expected = fused(backbone.timm_model, images)
    rounding = fused.bfloat16()(backbone.bfloat16().timm_model, images.bfloat16()).float() - expected
    tokens, codes = run_and_get_code(torch.compile(fused, fullgraph=True), backbone.timm_model, images.bfloat16())
    # The kernel is there, and rounds as the plain one does.
    assert "flex_attention" in "".join(codes)
    assert (tokens.float() - expected).abs().mean() <= 1.5 * rounding.abs().mean()


def test_weights_are_not_copied(backbone):
    fused = FusedSwin.of(backbone)
    assert not list(fused.parameters())
    assert not fused.state_dict()
    images = torch.randn(1, 3, 112, 112)
    with torch.no_grad():
        before = fused(backbone.timm_model, images)
        backbone.timm_model.layers[1].blocks[1].mlp.fc2.bias += 1
        assert not torch.allclose(fused(backbone.timm_model, images), before)


@torch.no_grad()
def test_biases_follow_the_dtype_of_the_model(backbone):
    images = torch.randn(2, 3, 112, 112)
    fused = FusedSwin.of(backbone)
    exact = fused(backbone.timm_model, images)
    fused.to(torch.bfloat16)
    tokens = fused(copy.deepcopy(backbone).to(torch.bfloat16).timm_model, images.bfloat16())
    assert tokens.dtype == torch.bfloat16
    assert (tokens - exact).abs().mean() < 0.05 * exact.std()


def test_gradients_reach_image_and_weights(backbone):
    fused = FusedSwin.of(backbone)
    image = torch.randn(1, 3, 112, 112, requires_grad=True)
    gradients = []
    for tokens in (fused(backbone.timm_model, image), backbone(image).last_hidden_state.flatten(1, 2)):
        inputs = [image, backbone.timm_model.patch_embed.proj.weight]
        gradients.append(torch.autograd.grad(tokens.square().sum(), inputs))
    torch.testing.assert_close(*gradients, atol=1e-4, rtol=1e-4)


def test_other_backbones_are_left_alone():
    assert FusedSwin.of(make_backbone(img_size=56, strict_img_size=False)) is None
    for config in (
        TimmWrapperConfig(architecture="resnet18", do_pooling=False),
        TimmWrapperConfig(
            architecture="swinv2_tiny_window8_256",
            model_args={"embed_dim": 16, "depths": (1, 1), "num_heads": (1, 2), "img_size": 64},
        ),
        Dinov2Config(hidden_size=32, num_hidden_layers=1, num_attention_heads=2, image_size=56),
    ):
        assert FusedSwin.of(AutoModel.from_config(config)) is None
