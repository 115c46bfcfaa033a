"""Speed of training: the transform, the data loader, the steps of both stages."""

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import count, cycle

import datasets
import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional

from hiva_hf import HiVAConfig, HiVAForAUDetection, HiVAForPreTraining, HiVAImageProcessor
from hiva_hf.data import load_au_dataset
from hiva_hf.data.crops import encode_jpeg
from hiva_hf.modeling_hiva import HiVAPreTrainedModel
from hiva_hf.training.arguments import AUTrainingArguments
from hiva_hf.training.augmentation import (
    COLOR_JITTER,
    AugmentationParameters,
    AugmentedFaces,
    FaceAugmentation,
)
from hiva_hf.training.hardware import choose_mixed_precision, use_cpu_cores
from hiva_hf.training.hiva_runs import HiVATrainingRun
from hiva_hf.training.optimization import freeze_backbone, make_optimizer

from .timing import Table, interleave, ratio


BATCH_SIZE = 32
WORKERS = (0, 1, 2)
# Word pieces of a description, about the longest of the package's own.
NUM_WORD_PIECES = 24
# Side of the stored crop, of the resized one, and of the network's input: for the paper's data sets, and for the demo.
SIDES = {"paper": (256, 256, 224), "demo": (160, 112, 98)}
PLAIN, OURS = "PIL + torchvision", "hiva-hf"


def faces_of_side(side: int, number: int) -> datasets.Dataset:
    """SynthFACS faces as stored, or upscaled and encoded like the crops of a prepared data set."""
    faces = load_au_dataset("synthfacs", split="train").select(range(number))
    if faces[0]["image"].width == side:
        return faces

    def enlarge(row: dict) -> dict:
        pixels = np.array(row["image"].resize((side, side), Image.Resampling.BICUBIC))
        return {"image": {"bytes": encode_jpeg(pixels), "path": None}}

    return faces.map(enlarge, features=faces.features, keep_in_memory=True)


def make_augmentation(size: int, crop_size: int) -> FaceAugmentation:
    return FaceAugmentation(
        HiVAImageProcessor(size={"height": size, "width": size}, crop_size={"height": crop_size, "width": crop_size})
    )


def plain_transform(size: int, crop_size: int) -> v2.Compose:
    """The training transform, as it is usually written for PIL images."""
    return v2.Compose(
        [
            v2.Resize((size, size)),
            v2.RandomCrop(crop_size),
            v2.RandomHorizontalFlip(),
            v2.ColorJitter(COLOR_JITTER, COLOR_JITTER, COLOR_JITTER),
            v2.PILToTensor(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(HiVAImageProcessor.image_mean, HiVAImageProcessor.image_std),
        ]
    )


def plain_picture(image: Image.Image, size: int, crop_size: int, drawn: AugmentationParameters) -> torch.Tensor:
    """Grey levels `[3, H, W]` that the plain transform gives for these parameters."""
    image = functional.crop(functional.resize(image, [size, size]), drawn.top, drawn.left, crop_size, crop_size)
    image = functional.horizontal_flip(image) if drawn.is_mirrored else image
    for name, factor in drawn.color_steps:
        image = getattr(functional, f"adjust_{name}")(image, factor)
    return functional.pil_to_tensor(image).float()


class PlainFaces(torch.utils.data.Dataset):
    """The plain transform over a `datasets` Dataset."""

    def __init__(self, dataset: datasets.Dataset, transform: v2.Compose):
        self.dataset = dataset
        self.transform = transform

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        row = self.dataset[index]
        pixel_values = self.transform(row["image"].convert("RGB"))
        return {"pixel_values": pixel_values, "labels": torch.tensor(row["labels"], dtype=torch.float32)}


def compare_pictures(
    images: list[Image.Image], size: int, crop_size: int, augmentation: FaceAugmentation
) -> np.ndarray:
    """Absolute differences between our transform and the plain one, in grey levels.

    Raises:
        SystemExit: if they are one grey level or more on average.
    """
    drawn = [augmentation.draw(seed) for seed in range(len(images))]
    found = (torch.stack(augmentation.apply(images, drawn)) + augmentation.shift) / augmentation.scale
    expected = [plain_picture(image, size, crop_size, one) for image, one in zip(images, drawn, strict=True)]
    difference = (found - torch.stack(expected)).abs().numpy()
    if difference.mean() >= 1:
        raise SystemExit(f"The pictures differ by {difference.mean():.2f} grey levels on average: nothing was timed.")
    return difference


def transform(options: argparse.Namespace) -> Iterator[Table]:
    """The training transform beside plain PIL + torchvision: one thread, from JPEG bytes to the network's input."""
    torch.set_num_threads(1)
    for name, sides in SIDES.items():
        yield transform_at(name, *sides, rounds=2 if options.quick else 40)


def transform_at(name: str, side: int, size: int, crop_size: int, rounds: int) -> Table:
    decode, plain = datasets.Image().decode_example, plain_transform(size, crop_size)
    augmentation, seeds = make_augmentation(size, crop_size), count()
    encoded = faces_of_side(side, 4 * BATCH_SIZE).cast_column("image", datasets.Image(decode=False))["image"][:]
    difference = compare_pictures([decode(picture) for picture in encoded], size, crop_size, augmentation)
    batches = cycle([encoded[start : start + BATCH_SIZE] for start in range(0, len(encoded), BATCH_SIZE)])

    def with_torchvision() -> list[torch.Tensor]:
        return [plain(decode(picture).convert("RGB")) for picture in next(batches)]

    def with_ours() -> list[torch.Tensor]:
        images = [decode(picture) for picture in next(batches)]
        return augmentation.apply(images, [augmentation.draw(next(seeds)) for _ in images])

    def decoding_alone() -> list[Image.Image]:
        return [decode(picture) for picture in next(batches)]

    variants = {PLAIN: with_torchvision, OURS: with_ours, "decoding alone": decoding_alone}
    # CPU time of the thread, which excludes that of other programs.
    seconds = interleave(variants, rounds, time.thread_time)
    per_face = {
        label: (1e6 * np.median(times) / BATCH_SIZE, 1e6 * min(times) / BATCH_SIZE) for label, times in seconds.items()
    }
    return Table(
        f"Training transform, {name}: {side} px JPEG, resized to {size}, crop of {crop_size}",
        ["one thread", "µs per face", "minimum", "faces/s", "times as fast"],
        [
            [
                label,
                f"{median:.0f}",
                f"{best:.0f}",
                f"{1e6 / median:.0f}",
                ratio(seconds[PLAIN], seconds[label]),
            ]
            for label, (median, best) in per_face.items()
        ],
        f"Processor time of one thread from JPEG bytes to what the network reads; medians of {rounds} rounds of "
        f"{BATCH_SIZE} faces, in brackets the ratio of the minima. With the same random parameters the pictures "
        f"differ by {difference.mean():.3f} grey levels on average, by {difference.max():.0f} at most.",
        seconds,
    )


def loader(options: argparse.Namespace) -> Iterator[Table]:
    """Faces per second from the workers of a DataLoader, and how much training slows down from waiting for them."""
    torch.set_num_threads(1)
    for name, sides in SIDES.items():
        yield loader_rates(name, *sides, options.quick)
    use_cpu_cores(None)
    yield demo_steps(options.quick)
    yield paper_steps(options.quick)


def make_loader(dataset: torch.utils.data.Dataset, num_workers: int) -> DataLoader:
    """A loader in random order with persistent workers, so that their start is not measured."""
    return DataLoader(dataset, BATCH_SIZE, shuffle=True, num_workers=num_workers, persistent_workers=num_workers > 0)


def go_through(batches: list[dict] | DataLoader, step: Callable[[dict], object] = lambda batch: None):
    for batch in batches:
        step(batch)


def loader_rates(name: str, side: int, size: int, crop_size: int, quick: bool) -> Table:
    rounds, num_faces = (2, 2 * BATCH_SIZE) if quick else (10, 16 * BATCH_SIZE)
    faces = faces_of_side(side, num_faces)
    sets = {
        PLAIN: PlainFaces(faces, plain_transform(size, crop_size)),
        OURS: AugmentedFaces(faces, make_augmentation(size, crop_size), seed=0),
    }
    here, elsewhere = (next(iter(DataLoader(sets[OURS], BATCH_SIZE, num_workers=number))) for number in (0, 1))
    if not torch.equal(here["pixel_values"], elsewhere["pixel_values"]):
        raise SystemExit("The pictures of a worker differ from those of the main process: nothing was timed.")
    loaders = {f"{label}, {number}": make_loader(data, number) for number in WORKERS for label, data in sets.items()}
    seconds = interleave(
        {key: lambda batches=batches: go_through(batches) for key, batches in loaders.items()}, rounds
    )
    rows = []
    for number in WORKERS:
        plain, ours = seconds[f"{PLAIN}, {number}"], seconds[f"{OURS}, {number}"]
        rates = [num_faces / np.median(plain), num_faces / np.median(ours), num_faces / min(ours)]
        rates.append(rates[1] / max(1, number))
        rows.append([str(number), *(f"{rate:.0f}" for rate in rates), ratio(plain, ours)])
    return Table(
        f"Loader, {name}: {side} px JPEG, crop of {crop_size}",
        ["workers", f"{PLAIN}, faces/s", f"{OURS}, faces/s", "best round", "per worker", "times as fast"],
        rows,
        f"A `DataLoader` over a `datasets` Dataset, batches of {BATCH_SIZE}, {rounds} rounds of {num_faces} faces, "
        f"{os.cpu_count()} cores; 0 workers: in the main process, on one thread.",
        seconds,
    )


def make_step(model: HiVAPreTrainedModel, arguments: AUTrainingArguments) -> Callable[[dict], None]:
    """One optimizer step of stage 1 on a batch."""
    optimizer = make_optimizer(model.train(), arguments.stage1_learning_rate, arguments)
    is_mixed = choose_mixed_precision(arguments.mixed_precision) == "bf16"

    def step(batch: dict):
        with torch.autocast("cpu", torch.bfloat16, enabled=is_mixed):
            loss = model(**batch).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def demo_steps(quick: bool) -> Table:
    """Optimizer steps of the demo's stage 1, the faster one, with a batch in memory and with the loader."""
    rounds, num_steps = (2, 2) if quick else (10, 6)
    with tempfile.TemporaryDirectory() as folder:
        arguments = AUTrainingArguments(output_dir=folder, max_train_samples=num_steps * BATCH_SIZE)
        run = HiVATrainingRun(arguments)
        model = HiVAForPreTraining(run.build_detector().config)
    freeze_backbone(model, arguments.trainable_backbone_layers)
    faces = AugmentedFaces(run.splits["train"], FaceAugmentation(run.image_processor), arguments.seed)
    feeds = {"a batch at hand": [next(iter(DataLoader(faces, BATCH_SIZE)))] * num_steps}
    feeds |= {f"the loader, workers: {number}": make_loader(faces, number) for number in WORKERS[:2]}
    step = make_step(model, arguments)
    turns = {key: lambda batches=batches: go_through(batches, step) for key, batches in feeds.items()}
    turns["loading alone, workers: 0"] = lambda: go_through(feeds["the loader, workers: 0"])
    seconds = interleave(turns, rounds)
    at_hand = seconds["a batch at hand"]
    return Table(
        f"Training step of the demo: stage 1, {BATCH_SIZE} faces of {arguments.image_size} px",
        ["fed by", "s per step", "minimum", "faces/s", "times as long"],
        [
            [key, f"{np.median(times) / num_steps:.3f}", f"{min(times) / num_steps:.3f}"]
            + [f"{BATCH_SIZE * num_steps / np.median(times):.0f}", ratio(times, at_hand)]
            for key, times in seconds.items()
        ],
        f"{torch.get_num_threads()} threads, mixed precision {choose_mixed_precision('auto')}; {rounds} rounds of "
        f"{num_steps} steps.",
        seconds,
    )


def paper_steps(quick: bool) -> Table:
    """Optimizer steps of the paper's network, Swin-B, on random pictures."""
    rounds, num_faces = (2, 2) if quick else (10, 4)
    config = HiVAConfig()
    step = make_step(HiVAForPreTraining(config), AUTrainingArguments(trainable_backbone_layers=-1))
    side, num_aus = config.image_size, config.num_labels
    batch = {"pixel_values": torch.randn(num_faces, 3, side, side), "labels": torch.ones(num_faces, num_aus)}
    times = interleave({"Swin-B": lambda: step(batch)}, rounds)["Swin-B"]
    return Table(
        f"Training step of the paper's network: stage 1, {num_faces} faces of {side} px",
        ["", "s per step", "minimum", "faces/s"],
        [["Swin-B", f"{np.median(times):.2f}", f"{min(times):.2f}", f"{num_faces / np.median(times):.1f}"]],
        "On this machine's processor. On a GPU: divide its faces/s by those of a worker above.",
        {"Swin-B": times},
    )


def stages(options: argparse.Namespace) -> Iterator[Table]:
    """Optimizer steps of both stages of the paper's network, on random pictures and descriptions."""
    rounds, num_faces = (2, 2) if options.quick else (10, BATCH_SIZE)
    config = HiVAConfig()
    batch = {
        "pixel_values": torch.randn(num_faces, 3, config.image_size, config.image_size),
        "labels": torch.randint(2, (num_faces, config.num_labels)).float(),
    }
    # Outputs of the frozen layers for one description of each AU, which training computes once.
    described = {
        "text_hidden_states": torch.randn(config.num_labels, NUM_WORD_PIECES, config.text_config.hidden_size),
        "attention_mask": torch.ones(config.num_labels, NUM_WORD_PIECES, dtype=torch.long),
    }
    arguments = AUTrainingArguments(trainable_backbone_layers=-1)
    detector = HiVAForAUDetection(config)
    detector.freeze_text_encoder()
    first, second = make_step(HiVAForPreTraining(config), arguments), make_step(detector, arguments)
    seconds = interleave({"stage 1": lambda: first(batch), "stage 2": lambda: second(batch | described)}, rounds)
    yield Table(
        f"Training step of the paper's network: {num_faces} faces of {config.image_size} px",
        ["", "s per step", "minimum", "times as long"],
        [
            [stage, f"{np.median(times):.2f}", f"{min(times):.2f}", ratio(times, seconds["stage 1"])]
            for stage, times in seconds.items()
        ],
        f"{torch.get_num_threads()} threads, mixed precision {choose_mixed_precision('auto')}, {NUM_WORD_PIECES} word "
        f"pieces for each of {config.num_labels} AUs, {rounds} rounds. The batch of the paper, 128, brings the stages "
        "closer together: descriptions cost the same for any number of faces.",
        seconds,
    )
