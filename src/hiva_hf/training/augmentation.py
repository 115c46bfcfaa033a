"""Training transform of aligned faces, repeatable for each (seed, epoch, sample).

One CPU core must prepare faces faster than a network trains on them. Colours are therefore changed in place, in one
float array, with the arithmetic of `PIL.ImageEnhance` (which torchvision uses for PIL images), and a batch is
processed stage by stage, so that the code of each stage stays in the CPU's cache. Together that takes less than half
the time; `examples/benchmark.py --only transform` measures it.
"""

import random
from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from PIL import Image
from torchvision.transforms.v2 import functional
from transformers import BaseImageProcessor

from .randomness import seed_of


# The paper's colour jitter, without hue, which says nothing about muscles.
COLOR_JITTER = 0.4
# Luma weights of red, green and blue (ITU-R 601), in the 16-bit fractions of PIL's conversion to grey. With these a
# grey value is exact in float32, and hence independent of the order of summation and the number of threads.
LUMA = (19595 / 65536, 38470 / 65536, 7471 / 65536)


@dataclass(frozen=True)
class AugmentationParameters:
    """Random parameters of one picture.

    Args:
        top: First row of the crop in the resized picture.
        left: First column of the crop in the resized picture.
        is_mirrored: Whether it is flipped horizontally.
        color_steps: `"brightness"`, `"contrast"` and `"saturation"` in the order in which they are changed, each
            with its factor; 1.0 changes nothing.
    """

    top: int
    left: int
    is_mirrored: bool
    color_steps: tuple[tuple[str, float], ...]


class FaceTransform(ABC):
    """A random transform of training faces.

    Args:
        image_processor: Its sizes and filter are used, so that training sees what inference sees.
    """

    def __init__(self, image_processor: BaseImageProcessor):
        size, crop_size = image_processor.size, image_processor.crop_size
        self.size = (size["height"], size["width"])
        self.crop_size = (crop_size["height"], crop_size["width"])
        self.resample = image_processor.resample

    @abstractmethod
    def draw(self, seed: int) -> Any:
        """Draws the random parameters of one picture; the same for the same seed."""

    @abstractmethod
    def apply(self, images: list[Image.Image], parameters: list[Any]) -> list[torch.Tensor]:
        """Transforms pictures with the given parameters, whatever ran before.

        Args:
            images: Pictures of any size and mode.
            parameters: What was drawn for each picture.

        Returns:
            `pixel_values` `[3, H, W]` of each picture.
        """


class FaceAugmentation(FaceTransform):
    """Resize, random crop, mirror and colour jitter, then the image processor's normalization.

    Args:
        image_processor: Its sizes, mean and standard deviation are used, so that training sees what inference sees.

    Raises:
        ValueError: if the image processor's crop is larger than its resized picture.
    """

    def __init__(self, image_processor: BaseImageProcessor):
        super().__init__(image_processor)
        if self.crop_size[0] > self.size[0] or self.crop_size[1] > self.size[1]:
            raise ValueError(
                f"The image processor's `crop_size` {self.crop_size} is larger than its `size` {self.size} (height, "
                "width): a random crop has to fit into the resized face."
            )
        # (value / 255 - mean) / std for values from 0 to 255.
        std = torch.tensor(image_processor.image_std).view(3, 1, 1)
        self.scale = 1 / (255 * std)
        self.shift = torch.tensor(image_processor.image_mean).view(3, 1, 1) / std

    def draw(self, seed: int) -> AugmentationParameters:
        generator = random.Random(seed)
        color_steps = [
            (name, generator.uniform(1 - COLOR_JITTER, 1 + COLOR_JITTER))
            for name in ("brightness", "contrast", "saturation")
        ]
        generator.shuffle(color_steps)
        return AugmentationParameters(
            top=generator.randint(0, self.size[0] - self.crop_size[0]),
            left=generator.randint(0, self.size[1] - self.crop_size[1]),
            is_mirrored=generator.random() < 0.5,
            color_steps=tuple(color_steps),
        )

    def apply(self, images: list[Image.Image], parameters: list[AugmentationParameters]) -> list[torch.Tensor]:
        pictures = [self._resize(image) for image in images]
        return [self._finish(picture, drawn) for picture, drawn in zip(pictures, parameters, strict=True)]

    def _resize(self, image: Image.Image) -> torch.Tensor:
        """`uint8` `[3, height, width]` of the image processor's size, laid out in memory as `[height, width, 3]`."""
        rgb = image if image.mode == "RGB" else image.convert("RGB")
        pixels = torch.from_numpy(np.array(rgb)).permute(2, 0, 1)
        # A picture that already has the right size, such as a prepared one, is returned unchanged.
        return functional.resize(pixels, self.size, interpolation=self.resample, antialias=True)

    def _finish(self, picture: torch.Tensor, drawn: AugmentationParameters) -> torch.Tensor:
        height, width = self.crop_size
        crop = picture[:, drawn.top : drawn.top + height, drawn.left : drawn.left + width]
        if drawn.is_mirrored:
            crop = crop.flip(-1)
        # Copied into one plane for each colour only now: a crop is smaller than a picture.
        face = torch.empty(3, height, width).copy_(crop)
        return change_colors(face, drawn.color_steps).mul_(self.scale).sub_(self.shift)


def change_colors(face: torch.Tensor, steps: tuple[tuple[str, float], ...]) -> torch.Tensor:
    """Brightness, contrast and saturation as `PIL.ImageEnhance` changes them, in place.

    Each step blends the face with another picture: black, its mean grey, or itself in grey. PIL truncates
    after every step, and so does this: otherwise faces would be about one grey level brighter than PIL's.

    Args:
        face: Integers from 0 to 255 as contiguous `float32` `[3, H, W]`.
        steps: As in [`AugmentationParameters`].

    Returns:
        `face`.

    Raises:
        ValueError: if a step has another name.
    """
    for name, factor in steps:
        if name == "brightness":
            face.mul_(factor)
        elif name == "contrast":
            face.lerp_(_mean_grey(face), 1 - factor)
        elif name == "saturation":
            grey = (torch.tensor(LUMA) @ face.flatten(1)).round_()
            face.lerp_(grey.view(1, *face.shape[1:]), 1 - factor)
        else:
            raise ValueError(f"Unknown colour step {name!r}; expected 'brightness', 'contrast' or 'saturation'.")
        if factor > 1:
            # With factors up to 1, the result lies between the two pictures.
            face.clamp_(0, 255)
        face.floor_()
    return face


def _mean_grey(face: torch.Tensor) -> torch.Tensor:
    # The sum of a row is an integer that float32 represents exactly; that of a large picture is not.
    red, green, blue = face.sum(dim=2).sum(dim=1, dtype=torch.float64).tolist()
    grey = LUMA[0] * red + LUMA[1] * green + LUMA[2] * blue
    return torch.tensor(float(round(grey / face[0].numel())))


class _Faces(torch.utils.data.Dataset, ABC):
    """Faces as `{"pixel_values": [3, H, W], "labels": [N]}`."""

    def __init__(self, dataset: Dataset):
        # Every other column would be read from disk and converted for each sample.
        self.dataset = dataset.select_columns(["image", "labels"])

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: list[int]) -> list[dict[str, torch.Tensor]]:
        """Loads a whole batch at once, as a `DataLoader` requests it."""
        rows = self.dataset[indices]
        faces, labels = self._prepare(rows["image"], indices), torch.tensor(rows["labels"], dtype=torch.float32)
        return [{"pixel_values": face, "labels": label} for face, label in zip(faces, labels, strict=True)]

    @abstractmethod
    def _prepare(self, images: list[Image.Image], indices: list[int]) -> Iterable[torch.Tensor]:
        """The `pixel_values` `[3, H, W]` of each picture, which are those of these rows."""


class AugmentedFaces(_Faces):
    """Training faces as `{"pixel_values": [3, H, W], "labels": [N]}`.

    Args:
        dataset: Rows with `image` and `labels`.
        augmentation: Transform of each picture.
        seed: Seed of the run. [`set_epoch`] must be called before each pass.
    """

    def __init__(self, dataset: Dataset, augmentation: FaceTransform, seed: int):
        super().__init__(dataset)
        self.augmentation = augmentation
        self.seed = seed
        self.epoch = 0

    def set_epoch(self, epoch: int):
        self.epoch = epoch

    def seeds(self, indices: list[int]) -> list[int]:
        """The seed of each of these samples in this epoch."""
        return [seed_of(self.seed, self.epoch, index) for index in indices]

    def _prepare(self, images: list[Image.Image], indices: list[int]) -> list[torch.Tensor]:
        return self.augmentation.apply(images, [self.augmentation.draw(seed) for seed in self.seeds(indices)])


class EvaluationFaces(_Faces):
    """Faces exactly as the image processor prepares them at inference; same items as [`AugmentedFaces`]."""

    def __init__(self, dataset: Dataset, image_processor: BaseImageProcessor):
        super().__init__(dataset)
        self.image_processor = image_processor

    def _prepare(self, images: list[Image.Image], indices: list[int]) -> torch.Tensor:
        return self.image_processor(images, return_tensors="pt")["pixel_values"]
