"""Teach timm's Swin-B what the packaged detector sees, as a start for training the paper's network without the Hub.

python examples/distil_swin.py                   # some 35 minutes on two quiet cores in bfloat16; writes swin-b/
accelerate launch examples/train.py --vision_model_name_or_path swin-b --image_size 224 --hidden_size 512 \\
    --trainable_backbone_layers -1 --backbone_learning_rate_scale 0.2 --stage1_epochs 1 --stage2_epochs 1 \\
    --mixed_precision bf16

No Python package contains pretrained weights of a Swin, and on a few thousand faces one that begins with random
weights learns nothing from labels alone. Here it learns from the features of the packaged detector's vision tower,
location by location, and from the labels of SynthFACS's training people (fold 1). While it learns, its third stage has
a third of the blocks, which halves the time; then each is tripled, with a third of its output. This is a makeshift:
with a network connection, start from `timm/swin_base_patch4_window7_224.ms_in22k_ft_in1k`.
"""

import argparse
import time
from collections.abc import Iterator
from pathlib import Path

import timm
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader
from transformers import TimmWrapperConfig, TimmWrapperModel

from hiva_hf import HiVAForAUDetection, HiVAImageProcessor
from hiva_hf.data import load_au_dataset
from hiva_hf.packaged_checkpoint import starter_checkpoint
from hiva_hf.training.augmentation import AugmentedFaces, FaceAugmentation


# Of stage 3, whose blocks make up most of a Swin.
DEEP_STAGE, COPIES = 2, 3
# The layer of the teacher that stage 3 learns from.
TEACHER_LAYER = 7
SWIN_B = "swin_base_patch4_window7_224"


class Teacher(nn.Module):
    """The packaged detector's vision tower and stem."""

    def __init__(self):
        super().__init__()
        model = HiVAForAUDetection.from_pretrained(starter_checkpoint()).eval().requires_grad_(False)
        self.vision_model, self.image_size = model.vision_model, model.config.image_size
        self.num_channels = model.vision_model.backbone.config.hidden_size
        self.num_last = self.num_channels + model.config.hidden_size

    @torch.no_grad()
    def forward(self, faces: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Maps `(B, C, h, w)`: the last tokens beside the stem's features, and the tokens of a middle layer."""
        faces = F.interpolate(faces, size=self.image_size, mode="bilinear", antialias=True)
        outputs = self.vision_model.backbone(faces, output_hidden_states=True)
        last, middle = (
            self.vision_model.to_feature_map(tokens)
            for tokens in (outputs.last_hidden_state, outputs.hidden_states[TEACHER_LAYER])
        )
        stem = self.vision_model.activation(self.vision_model.stem_norm(self.vision_model.stem(last)))
        return torch.cat([last, stem], dim=1).float(), middle.float()


class Student(nn.Module):
    """A Swin with layers that predict the teacher's maps and the labels."""

    def __init__(self, swin: nn.Module, teacher: Teacher, num_labels: int):
        super().__init__()
        self.swin = swin
        middle, last = (swin.feature_info[index]["num_chs"] for index in (DEEP_STAGE, -1))
        self.to_last, self.to_middle = nn.Linear(last, teacher.num_last), nn.Linear(middle, teacher.num_channels)
        self.squeeze, self.head = nn.Linear(last, 48), nn.LazyLinear(num_labels)

    def forward(self, faces: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Predicted maps (see [`Teacher`]) in the sizes of the Swin's last two stages, and logits."""
        hidden = self.swin.patch_embed(faces)
        for index, stage in enumerate(self.swin.layers):
            hidden = stage(hidden)
            if index == DEEP_STAGE:
                middle = hidden
        hidden = self.swin.norm(hidden)
        logits = self.head(F.gelu(self.squeeze(hidden)).flatten(1))
        return self.to_last(hidden).permute(0, 3, 1, 2), self.to_middle(middle).permute(0, 3, 1, 2), logits


class MapLoss(nn.Module):
    """Mean squared error to a teacher's maps in the student's size, with channels standardized on the first batch."""

    mean = std = None

    def forward(self, predicted: torch.Tensor, maps: torch.Tensor) -> torch.Tensor:
        maps = F.interpolate(maps, size=predicted.shape[2:], mode="area")
        if self.mean is None:
            self.mean, self.std = maps.mean((0, 2, 3), keepdim=True), maps.std((0, 2, 3), keepdim=True) + 1e-4
        return F.mse_loss(predicted.float(), (maps - self.mean) / self.std)


def make_optimizers(student: Student, learning_rate: float) -> list[torch.optim.Optimizer]:
    """Muon, which needs fewer steps from random weights, for the matrices of the Swin's blocks; AdamW for the rest."""
    is_matrix = {
        name: parameter.ndim == 2 and name.startswith("swin.layers.") and "bias_table" not in name
        for name, parameter in student.named_parameters()
    }
    matrices, others = (
        [parameter for name, parameter in student.named_parameters() if is_matrix[name] == which]
        for which in (True, False)
    )
    return [
        torch.optim.Muon(matrices, lr=10 * learning_rate, weight_decay=0.01),
        torch.optim.AdamW(others, lr=learning_rate, weight_decay=0.01, fused=True),
    ]


def endless(faces: AugmentedFaces, batch_size: int) -> Iterator[dict[str, torch.Tensor]]:
    loader = DataLoader(faces, batch_size, shuffle=True, drop_last=True)
    epoch = 0
    while True:
        faces.set_epoch(epoch)
        yield from loader
        epoch += 1


def distil(student: Student, teacher: Teacher, faces: AugmentedFaces, options: argparse.Namespace) -> None:
    """Trains the student; learning rates rise over 30 steps and fall over the last two fifths."""
    optimizers = make_optimizers(student, options.learning_rate)
    schedulers = [
        torch.optim.lr_scheduler.LambdaLR(
            optimizer,
            lambda step: min(1, (step + 1) / 30, max(0.05, (options.steps - step) / (0.4 * options.steps))),
        )
        for optimizer in optimizers
    ]
    fast = torch.compile(student, dynamic=False) if options.compile else student
    last_loss, middle_loss = MapLoss(), MapLoss()
    started = time.perf_counter()
    for step, batch in zip(range(1, options.steps + 1), endless(faces, options.batch_size), strict=False):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            last, middle = teacher(batch["pixel_values"])
            predicted_last, predicted_middle, logits = fast(batch["pixel_values"])
        losses = (
            last_loss(predicted_last, last),
            middle_loss(predicted_middle, middle),
            F.binary_cross_entropy_with_logits(logits.float(), batch["labels"]),
        )
        (losses[0] + losses[1] + 0.5 * losses[2]).backward()
        for optimizer, scheduler in zip(optimizers, schedulers, strict=True):
            optimizer.step()
            optimizer.zero_grad()
            scheduler.step()
        if step % 10 == 0 or step == options.steps:
            told = ", ".join(
                f"{name} {loss.item():.3f}" for name, loss in zip(("last", "middle", "AUs"), losses, strict=True)
            )
            print(f"step {step}, {time.perf_counter() - started:.0f} s: {told}", flush=True)


def grow(shallow: nn.Module, deep: nn.Module) -> None:
    """Copies the weights into a Swin with a deeper stage 3: a third of a residual, three times, is about the same."""
    weights, source = deep.state_dict(), shallow.state_dict()
    for name, weight in weights.items():
        stage, copies = f"layers.{DEEP_STAGE}.blocks.", 1
        known = name
        if name.startswith(stage):
            block, _, rest = name.removeprefix(stage).partition(".")
            known, copies = f"{stage}{int(block) // COPIES}.{rest}", COPIES
        # Shift masks follow from the position of a block.
        if known not in source or "attn_mask" in name:
            continue
        is_output = copies > 1 and (".attn.proj." in name or ".mlp.fc2." in name)
        weight.copy_(source[known] / copies if is_output else source[known])


def parse_options(words: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output_dir", type=Path, default=Path("swin-b"), help="for the tower (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=200, help="default: %(default)s")
    parser.add_argument("--batch_size", type=int, default=32, help="default: %(default)s")
    parser.add_argument("--learning_rate", type=float, default=1e-3, help="AdamW's; Muon's is ten times as high")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--no_compile", dest="compile", action="store_false", help="for a few steps")
    return parser.parse_args(words)


def main(words: list[str] | None = None, **architecture) -> None:
    """`architecture` replaces arguments of timm's Swin-B, such as `img_size`."""
    options = parse_options(words)
    torch.manual_seed(options.seed)
    # Stochastic depth would drop a tripled block by thirds.
    tower = TimmWrapperModel(
        TimmWrapperConfig(architecture=SWIN_B, model_args={"drop_path_rate": 0.0} | architecture, do_pooling=False)
    )
    deep = tower.timm_model
    depths = [len(stage.blocks) for stage in deep.layers]
    depths[DEEP_STAGE] //= COPIES
    shallow = timm.create_model(SWIN_B, num_classes=0, **architecture | {"depths": depths})

    dataset = load_au_dataset("synthfacs", split="train")
    size = architecture.get("img_size", 224)
    processor = HiVAImageProcessor(
        size={"height": round(size * 8 / 7), "width": round(size * 8 / 7)}, crop_size={"height": size, "width": size}
    )
    teacher = Teacher()
    student = Student(shallow, teacher, num_labels=len(dataset[0]["labels"]))
    # Sizes of lazy layers become known.
    student(torch.zeros(1, 3, size, size))
    distil(student, teacher, AugmentedFaces(dataset, FaceAugmentation(processor), options.seed), options)
    grow(shallow, deep)
    tower.save_pretrained(options.output_dir)
    print(f"{options.output_dir} is a vision tower for examples/train.py.")


if __name__ == "__main__":
    main()
