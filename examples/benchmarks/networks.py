"""The paper's network with random weights, and its inputs: the cost does not depend on the weights."""

from collections.abc import Callable

import timm
import torch
from timm.models import SwinTransformer
from torch._inductor import config as inductor_config

from hiva_hf import HiVAConfig, HiVAForAUDetection, VLFAUConfig, VLFAUForAUDetection
from hiva_hf.export.programs import check_compiler
from hiva_hf.modeling_hiva import HiVAPreTrainedModel

from .timing import NotRun


SWIN_B = "swin_base_patch4_window7_224"
# Word pieces of a description, about the longest of the package's own.
NUM_WORD_PIECES = 24
# 1 / sqrt(512), which preserves variance: attention is then far from uniform, and logits are near 1.
INITIALIZER_RANGE = 0.044


def make_detector(architecture: str = SWIN_B, **settings) -> HiVAForAUDetection:
    """A detector for inference, with 12 AUs by default, and without zeros in its weights and statistics.

    Args:
        architecture: timm's name of the backbone.
        **settings: Fields of [`HiVAConfig`].
    """
    torch.manual_seed(0)
    model = HiVAForAUDetection(
        HiVAConfig(
            backbone_config=_backbone(architecture),
            use_text_encoder=False,
            text_memory_length=1 + NUM_WORD_PIECES,
            initializer_range=INITIALIZER_RANGE,
            **settings,
        )
    )
    _randomize(model)
    with torch.no_grad():
        model.text_memory.normal_()
        # Descriptions of several lengths, padded.
        lengths = torch.linspace(NUM_WORD_PIECES // 2, NUM_WORD_PIECES, model.config.num_labels).round()
        model.text_memory_mask.copy_(torch.arange(1 + NUM_WORD_PIECES) <= lengths[:, None])
    return model.eval().requires_grad_(False)


def make_vl_fau(architecture: str = SWIN_B) -> VLFAUForAUDetection:
    """A VL-FAU for inference, with 12 AUs, and without zeros in its weights and statistics.

    Args:
        architecture: timm's name of the backbone.
    """
    torch.manual_seed(0)
    config = VLFAUConfig(backbone_config=_backbone(architecture), initializer_range=INITIALIZER_RANGE)
    model = VLFAUForAUDetection(config)
    _randomize(model)
    return model.eval().requires_grad_(False)


def _backbone(architecture: str) -> dict:
    return {"model_type": "timm_wrapper", "architecture": architecture, "do_pooling": False}


@torch.no_grad()
def _randomize(model: HiVAPreTrainedModel) -> None:
    """Randomises weights that are initialised to zeros or ones, since omitting them would go unnoticed."""
    for name, parameter in model.named_parameters():
        if parameter.count_nonzero() == 0 or "relative_position" in name:
            parameter.normal_(std=0.2)
        elif parameter.ndim == 1:
            # Scales of norms, which are initialised to ones.
            parameter.uniform_(0.5, 1.5)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(std=0.3)
            module.running_var.uniform_(0.5, 2.0)


def timm_backbone(model: HiVAForAUDetection) -> SwinTransformer:
    """timm's own Swin with its default attention, and the weights of a plain detector."""
    backbone = model.vision_model.backbone
    own = timm.create_model(backbone.config.architecture, num_classes=0)
    own.load_state_dict(backbone.timm_model.state_dict(), strict=False)
    return own.eval().requires_grad_(False)


def require_compiler() -> None:
    """Raises `NotRun` if PyTorch's compiler can't work for processors here."""
    try:
        check_compiler()
    except OSError as error:
        raise NotRun(str(error)) from error


def compile_for_inference(network: Callable) -> Callable:
    """Compiles a network for a fixed batch size, with weights packed for PyTorch's kernels.

    Raises:
        NotRun: There is no C++ compiler.
    """
    require_compiler()
    compiled = torch.compile(network, dynamic=False)

    def run(faces: torch.Tensor) -> object:
        # Passed to `torch.compile`, `freezing` comes too late for the weights to become constants.
        with inductor_config.patch(freezing=True, cpp_wrapper=True):
            return compiled(faces)

    return run


def random_faces(model: HiVAPreTrainedModel, number: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """`[number, 3, H, W]`, standard normal."""
    side = model.config.image_size
    return torch.randn(number, 3, side, side, generator=torch.Generator().manual_seed(number)).to(dtype)


def check_equal(what: str, found: torch.Tensor, expected: torch.Tensor, tolerance: float) -> float:
    """Returns the largest difference.

    Raises:
        SystemExit: if it is above the tolerance.
    """
    difference = float((found.float() - expected.float()).abs().max())
    # Also true for NaN.
    if not difference <= tolerance:
        raise SystemExit(f"{what}: results differ by {difference:.2g}, more than {tolerance:g}: nothing was timed.")
    return difference
