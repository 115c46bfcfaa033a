"""How large and how fast a model is."""

import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from .modeling_hiva import HiVAForAUDetection, HiVAPreTrainedModel, evaluation_mode


# Word pieces of the placeholder for a missing text memory: as many as BERT's tokenizer makes of the longest canonical
# description.
STAND_IN_TEXT_LENGTH = 24
# HiVA's text encoder, whose output is cached, and what VL-FAU writes with.
_LANGUAGE_SIDES = ("text_model.", "au_embeddings.", "local_decoder.", "global_decoder.")


@dataclass(frozen=True)
class ModelProfile:
    """Size and cost of a model at inference, with cached text.

    Attributes:
        name: Class of the model.
        total_parameters: All parameters, the frozen text encoder included.
        trainable_parameters: Those that training updates.
        inference_parameters: Those that detection needs: all but the text side, or VL-FAU's language side.
        macs_per_image: Multiply-adds of matrix products, convolutions and attention for one image.
        batch_size: Images in a timed batch.
        seconds_per_batch: Median over the timed batches; None on the meta device.
    """

    name: str
    total_parameters: int
    trainable_parameters: int
    inference_parameters: int
    macs_per_image: int
    batch_size: int
    seconds_per_batch: float | None

    @property
    def seconds_per_image(self) -> float | None:
        return None if self.seconds_per_batch is None else self.seconds_per_batch / self.batch_size

    def __str__(self) -> str:
        rows = [
            ("parameters, total", f"{self.total_parameters:,}"),
            ("parameters, trainable", f"{self.trainable_parameters:,}"),
            ("parameters, inference", f"{self.inference_parameters:,}"),
            ("multiply-adds per image", f"{self.macs_per_image / 1e9:.3f} G"),
        ]
        if self.seconds_per_batch is not None:
            rows.append((f"latency per batch of {self.batch_size}", f"{1000 * self.seconds_per_batch:.1f} ms"))
            rows.append(("latency per image", f"{1000 * self.seconds_per_image:.1f} ms"))
        return "\n".join([self.name, *(f"  {label:<26}{value:>16}" for label, value in rows)])


def profile(
    model: HiVAPreTrainedModel, batch_size: int = 1, num_batches: int = 10, verbose: bool = True
) -> ModelProfile:
    """Measures a model on its own device and in its own dtype, with random images and cached text.

    Args:
        model: A network of either stage; it is left as it was. On the meta device everything but time is measured.
        batch_size: Images in a timed batch.
        num_batches: Timed batches, after one for warm-up.
        verbose: Whether to print the result.

    Raises:
        ValueError: If a number is below 1.
    """
    if batch_size < 1 or num_batches < 1:
        raise ValueError(f"`batch_size` ({batch_size}) and `num_batches` ({num_batches}) must be at least 1.")
    with torch.no_grad(), evaluation_mode([model]), stand_in_text_memory(model):
        macs = count_macs(model, _random_images(model, 1))
        seconds = None if model.device.type == "meta" else _time_batch(model, batch_size, num_batches)
    result = ModelProfile(
        name=type(model).__name__,
        total_parameters=model.num_parameters(),
        trainable_parameters=_count_trainable_parameters(model),
        inference_parameters=_count_inference_parameters(model),
        macs_per_image=macs,
        batch_size=batch_size,
        seconds_per_batch=seconds,
    )
    if verbose:
        sys.stdout.write(f"{result}\n")
    return result


@contextmanager
def stand_in_text_memory(model: HiVAPreTrainedModel) -> Iterator[None]:
    """Gives a detector that has no text memory a placeholder in its place."""
    if not isinstance(model, HiVAForAUDetection) or not model.config.uses_text or model.has_text_memory:
        yield
        return
    before = model.text_memory, model.text_memory_mask
    length = 1 + (STAND_IN_TEXT_LENGTH if model.config.text_level == "token" else 0)
    mask = torch.ones(model.config.num_labels, length, dtype=torch.bool, device=model.device)
    memory = torch.zeros(*mask.shape, model.config.hidden_size, dtype=model.dtype, device=model.device)
    model.text_memory, model.text_memory_mask = memory, mask
    try:
        yield
    finally:
        model.text_memory, model.text_memory_mask = before
        # It cached that it has one.
        model._found_text_memory = False


def _random_images(model: HiVAPreTrainedModel, batch_size: int) -> torch.Tensor:
    size = model.config.image_size
    return torch.randn(batch_size, 3, size, size, dtype=model.dtype, device=model.device)


@torch.no_grad()
def count_macs(network: nn.Module, images: torch.Tensor) -> int:
    """Multiply-adds of one call of a network."""
    # Plain matrix products instead of fused attention: not every fused kernel has a formula in the counter.
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        network(images)
    return counter.get_total_flops() // 2


def _time_batch(model: HiVAPreTrainedModel, batch_size: int, num_batches: int) -> float:
    images = _random_images(model, batch_size)
    seconds = []
    for _ in range(num_batches + 1):
        _synchronize(model.device)
        started = time.perf_counter()
        model(images)
        _synchronize(model.device)
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds[1:])


def _synchronize(device: torch.device):
    # A CPU has nothing to wait for.
    if device.type != "cpu":
        torch.accelerator.synchronize(device)


def _count_trainable_parameters(model: HiVAPreTrainedModel) -> int:
    text_model = getattr(model, "text_model", None)
    frozen_modules = [] if text_model is None else text_model.frozen_modules
    # Frozen whether or not `freeze_text_encoder` was called: they run without gradients.
    frozen = {id(parameter) for module in frozen_modules for parameter in module.parameters()}
    return sum(p.numel() for p in model.parameters() if p.requires_grad and id(p) not in frozen)


def _count_inference_parameters(model: HiVAPreTrainedModel) -> int:
    return sum(p.numel() for name, p in model.named_parameters() if not name.startswith(_LANGUAGE_SIDES))
