"""Teach timm's Swin-B what the packaged detector sees, as a start for training the paper's network without the Hub.

python examples/distil_swin.py                   # 45 minutes on two cores of an AMD EPYC; writes swin-b/
accelerate launch examples/train.py --vision_model_name_or_path swin-b --image_size 224 --hidden_size 512 \\
    --trainable_backbone_layers -1 --backbone_learning_rate_scale 0.2 --stage1_epochs 1 --stage2_epochs 1 \\
    --mixed_precision bf16

No Python package contains pretrained weights of a Swin, and on a few thousand faces one that begins with random
weights learns nothing from labels alone. Here it learns from the features of the packaged detector's vision tower,
location by location, and from the labels of SynthFACS's training people (fold 1). While it learns, its third stage has
a third of the blocks, which halves the time; then each is tripled, with a third of its output. It runs on the
processor, in bfloat16. You can stop it at any time: the same command continues. This is a makeshift: with a network
connection, start from `timm/swin_base_patch4_window7_224.ms_in22k_ft_in1k`.
"""

import argparse
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional as F
from tqdm.auto import tqdm
from transformers import TimmWrapperConfig, TimmWrapperModel
from transformers.utils import CONFIG_NAME

from hiva_hf import HiVAForAUDetection, HiVAImageProcessor
from hiva_hf.data import load_au_dataset
from hiva_hf.packaged_checkpoint import starter_checkpoint
from hiva_hf.reported_errors import REPORTED_ERRORS, message_of
from hiva_hf.training.augmentation import AugmentedFaces, FaceAugmentation
from hiva_hf.training.batches import BatchPlan, training_loader
from hiva_hf.training.checkpoints import StageCheckpoints, read_progress, remove_checkpoints


# Of stage 3, whose blocks make up most of a Swin.
DEEP_STAGE, COPIES = 2, 3
# The layer of the teacher that stage 3 learns from.
TEACHER_LAYER = 7
SWIN_B = "swin_base_patch4_window7_224"
# Steps between checkpoints.
CHECKPOINTING_STEPS = 20
# What a shell expects of a process that Ctrl-C has ended.
STOPPED = 130


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


def map_loss(predicted: torch.Tensor, maps: torch.Tensor, examples: torch.Tensor) -> torch.Tensor:
    """Mean squared error to a teacher's maps `(B, C, h, w)` in the student's size, in standard units of `examples`."""
    maps, examples = (F.interpolate(each, size=predicted.shape[2:], mode="area") for each in (maps, examples))
    mean, std = examples.mean((0, 2, 3), keepdim=True), examples.std((0, 2, 3), keepdim=True) + 1e-4
    return F.mse_loss(predicted.float(), (maps - mean) / std)


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


def batches(faces: AugmentedFaces, plan: BatchPlan, step: int) -> Iterator[dict[str, torch.Tensor]]:
    """Batches without end, from a step on; the same ones whether or not there was an interruption."""
    epoch, first_step = divmod(step, plan.steps_per_epoch)
    while True:
        faces.set_epoch(epoch)
        yield from training_loader(faces, plan.rows(faces.seed, epoch, first_step), 0, torch.device("cpu"))
        epoch, first_step = epoch + 1, 0


def rate_at(step: int, num_steps: int) -> float:
    """The learning rate's share of its peak: it rises over 30 steps and falls over the last two fifths."""
    return min(1, (step + 1) / 30, max(0.05, (num_steps - step) / (0.4 * num_steps)))


class State:
    """What an interrupted run goes on from: the student and its optimizers."""

    def __init__(self, student: Student, optimizers: list[torch.optim.Optimizer]):
        self.student, self.optimizers = student, optimizers

    def save(self, folder: Path) -> None:
        save_file(self.student.state_dict(), folder / "student.safetensors")
        for number, optimizer in enumerate(self.optimizers):
            state = optimizer.state_dict()["state"]
            tensors = {f"{index}/{name}": tensor for index, of_one in state.items() for name, tensor in of_one.items()}
            save_file(tensors, folder / f"optimizer-{number}.safetensors")

    def load(self, folder: Path) -> None:
        self.student.load_state_dict(load_file(folder / "student.safetensors"))
        for number, optimizer in enumerate(self.optimizers):
            state: dict[int, dict[str, torch.Tensor]] = {}
            for key, tensor in load_file(folder / f"optimizer-{number}.safetensors").items():
                index, _, name = key.partition("/")
                state.setdefault(int(index), {})[name] = tensor
            optimizer.load_state_dict(optimizer.state_dict() | {"state": state})


def distil(student: Student, teacher: Teacher, faces: AugmentedFaces, options: argparse.Namespace) -> None:
    """Trains the student, with checkpoints in the output folder.

    Raises:
        ValueError: The folder has a checkpoint of other settings, or there are fewer faces than in a batch.
    """
    settings = {name: getattr(options, name) for name in ("steps", "batch_size", "learning_rate", "seed")}
    plan = BatchPlan(len(faces), options.batch_size, num_passes=1, num_processes=1, process_index=0)
    optimizers = make_optimizers(student, options.learning_rate)
    state, checkpoints = State(student, optimizers), StageCheckpoints(options.output_dir, "distillation", limit=1)
    done = 0
    if (newest := checkpoints.newest_valid()) is not None:
        progress = read_progress(newest)
        if progress["settings"] != settings:
            raise ValueError(
                f"{options.output_dir} was begun with the settings {progress['settings']}, not with {settings}: give "
                "these, or another --output_dir."
            )
        state.load(newest)
        done = progress["step"]

    peaks = [optimizer.param_groups[0]["lr"] for optimizer in make_optimizers(student, options.learning_rate)]
    examples = teacher(next(batches(faces, plan, 0))["pixel_values"])
    fast = torch.compile(student, dynamic=False) if options.compile else student
    bar = tqdm(range(done + 1, options.steps + 1), initial=done, total=options.steps, unit="step")
    for step, batch in zip(bar, batches(faces, plan, done), strict=False):
        for optimizer, peak in zip(optimizers, peaks, strict=True):
            optimizer.param_groups[0]["lr"] = peak * rate_at(step - 1, options.steps)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            maps = teacher(batch["pixel_values"])
            *predicted, logits = fast(batch["pixel_values"])
        last, middle = (map_loss(*each) for each in zip(predicted, maps, examples, strict=True))
        loss = last + middle + 0.5 * F.binary_cross_entropy_with_logits(logits.float(), batch["labels"])
        loss.backward()
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()
        bar.set_postfix(loss=f"{loss.item():.3f}")
        if step % CHECKPOINTING_STEPS == 0 or step == options.steps:
            checkpoints.save(step, {"step": step, "settings": settings}, state.save)


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


def make_tower(options: argparse.Namespace, **architecture: Any) -> None:
    """Writes the tower. `architecture` replaces arguments of timm's Swin-B, such as `img_size`.

    Raises:
        FileExistsError: There is a tower already.
    """
    if (options.output_dir / CONFIG_NAME).exists() and not (options.output_dir / "checkpoints").exists():
        raise FileExistsError(f"{options.output_dir} has a network already: pass another --output_dir.")
    torch.manual_seed(options.seed)
    # Stochastic depth would drop a tripled block by thirds.
    architecture = {"drop_path_rate": 0.0} | architecture
    tower = TimmWrapperModel(TimmWrapperConfig(architecture=SWIN_B, model_args=architecture, do_pooling=False))
    depths = [len(stage.blocks) for stage in tower.timm_model.layers]
    depths[DEEP_STAGE] //= COPIES
    shallow = timm.create_model(SWIN_B, num_classes=0, **architecture | {"depths": depths})

    dataset = load_au_dataset("synthfacs", split="train")
    size = architecture.get("img_size", 224)
    processor = HiVAImageProcessor.for_image_size(size)
    teacher = Teacher()
    student = Student(shallow, teacher, num_labels=len(dataset[0]["labels"]))
    # Sizes of lazy layers become known.
    student(torch.zeros(1, 3, size, size))
    distil(student, teacher, AugmentedFaces(dataset, FaceAugmentation(processor), options.seed), options)
    grow(shallow, tower.timm_model)
    tower.save_pretrained(options.output_dir)
    remove_checkpoints(options.output_dir)
    print(f"{options.output_dir} is a vision tower for examples/train.py.")


def main() -> None:
    options = parse_options()
    try:
        make_tower(options)
    except REPORTED_ERRORS as error:
        sys.exit(f"distil_swin.py: {message_of(error)}")
    except KeyboardInterrupt:
        print(f"\nStopped. The same command continues:\n\n    {shlex.join(['python', *sys.argv])}\n")
        sys.exit(STOPPED)


if __name__ == "__main__":
    main()
