"""Training transform for detectors that must generalise beyond their training pictures.

Rendered faces are sharp, evenly exposed, unoccluded and perfectly aligned; photos are none of that. This transform
reduces the difference: geometry as if the landmarks were a little off, colour, shadows, loss of detail, and occlusion.
It uses torchvision's transforms with our own seeds, so that a face looks the same when a run is resumed.
"""

import torch
from PIL import Image
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional
from transformers import BaseImageProcessor

from .augmentation import FaceTransform


# How far inaccurate landmarks of a face detector may rotate, shift and scale an aligned face.
MAX_DEGREES, MAX_SHIFT, SCALES, MAX_SHEAR = 12.0, 0.06, (0.88, 1.14), 5.0
# Quality of JPEG pictures, and side of a downscaled picture relative to the full one.
JPEG_QUALITIES, SMALLEST_SIDE = (15, 90), 0.35
# Brightness of the darkest part of a shadow relative to the brightest.
DEEPEST_SHADOW = 0.35


class StrongFaceAugmentation(FaceTransform):
    """Affine jitter, mirror, colours, shadow, blur, low resolution, JPEG, noise and occlusion, then normalization.

    Args:
        image_processor: Its sizes, mean and standard deviation are used, so that training sees what inference sees.
    """

    def __init__(self, image_processor: BaseImageProcessor):
        super().__init__(image_processor)
        self.affine = v2.RandomAffine(
            MAX_DEGREES,
            translate=(MAX_SHIFT, MAX_SHIFT),
            scale=SCALES,
            shear=MAX_SHEAR,
            interpolation=v2.InterpolationMode.BILINEAR,
        )
        self.color = v2.Compose(
            [
                v2.RandomHorizontalFlip(),
                v2.ColorJitter(0.4, 0.4, 0.4, 0.04),
                v2.RandomGrayscale(0.15),
                v2.RandomApply([_Gamma()], 0.3),
                v2.RandomApply([_Shadow()], 0.3),
            ]
        )
        self.detail = v2.Compose(
            [
                v2.RandomApply([v2.GaussianBlur(5, (0.3, 1.8))], 0.3),
                v2.RandomApply([_LowResolution()], 0.25),
                v2.RandomApply([v2.JPEG(JPEG_QUALITIES)], 0.3),
            ]
        )
        self.finish = v2.Compose(
            [
                v2.ToDtype(torch.float32, scale=True),
                v2.RandomApply([v2.GaussianNoise(sigma=0.04)], 0.3),
                v2.RandomErasing(0.3, scale=(0.02, 0.12), ratio=(0.3, 3.3), value="random"),
                v2.Normalize(image_processor.image_mean, image_processor.image_std),
            ]
        )

    def draw(self, seed: int) -> int:
        """Returns the seed, on which alone everything random depends."""
        return seed

    def apply(self, images: list[Image.Image], parameters: list[int]) -> list[torch.Tensor]:
        return [self._transform(image, seed) for image, seed in zip(images, parameters, strict=True)]

    def _transform(self, image: Image.Image, seed: int) -> torch.Tensor:
        # torchvision draws from torch's global generator, which the network's dropout uses as well.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed % 2**63)
            face = functional.pil_to_tensor(image if image.mode == "RGB" else image.convert("RGB"))
            face = functional.resize(face, self.size, interpolation=self.resample, antialias=True)
            face = functional.center_crop(self.affine(face), self.crop_size)
            return self.finish(self.detail(self.color(face)))


class _Gamma(torch.nn.Module):
    """Change of exposure that is not a brightness factor."""

    def forward(self, face: torch.Tensor) -> torch.Tensor:
        return functional.adjust_gamma(face, float(torch.empty(1).uniform_(0.6, 1.6)))


class _Shadow(torch.nn.Module):
    """A lamp from one side: brightness falls off along a random direction. `uint8` `[3, H, W]`."""

    def forward(self, face: torch.Tensor) -> torch.Tensor:
        height, width = face.shape[-2:]
        angle, depth = float(torch.rand(1)) * 2 * torch.pi, float(torch.empty(1).uniform_(DEEPEST_SHADOW, 1.0))
        direction = torch.tensor([angle]).cos(), torch.tensor([angle]).sin()
        rows = torch.linspace(-1, 1, height)[:, None] * direction[0]
        columns = torch.linspace(-1, 1, width)[None, :] * direction[1]
        light = depth + (1 - depth) * torch.sigmoid(3 * (rows + columns))
        return (face * light).to(torch.uint8)


class _LowResolution(torch.nn.Module):
    """A small face that was enlarged. `uint8` `[3, H, W]`."""

    def forward(self, face: torch.Tensor) -> torch.Tensor:
        height, width = face.shape[-2:]
        share = float(torch.empty(1).uniform_(SMALLEST_SIDE, 0.8))
        small = functional.resize(face, [round(share * height), round(share * width)], antialias=True)
        return functional.resize(small, [height, width], antialias=True)
