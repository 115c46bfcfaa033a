"""Training transform of aligned faces, repeatable for each (seed, epoch, sample)."""

import torch
from datasets import Dataset
from PIL import Image
from torchvision.transforms import InterpolationMode, v2
from transformers import BaseImageProcessor


# The paper's colour jitter; hue stays as it is, since it says nothing about muscles.
COLOR_JITTER = 0.4


class FaceAugmentation:
    """Resize, random crop, mirror and colour jitter, then the image processor's normalization.

    Args:
        image_processor: Its sizes, mean and standard deviation are used, so that training sees what inference sees.
    """

    def __init__(self, image_processor: BaseImageProcessor):
        size, crop_size = image_processor.size, image_processor.crop_size
        self.transform = v2.Compose(
            [
                v2.PILToTensor(),
                v2.Resize((size["height"], size["width"]), interpolation=InterpolationMode.BILINEAR, antialias=True),
                v2.RandomCrop((crop_size["height"], crop_size["width"])),
                v2.RandomHorizontalFlip(),
                v2.ColorJitter(brightness=COLOR_JITTER, contrast=COLOR_JITTER, saturation=COLOR_JITTER),
                v2.ToDtype(torch.float32, scale=True),
                v2.Normalize(image_processor.image_mean, image_processor.image_std),
            ]
        )

    def __call__(self, image: Image.Image, seed: int) -> torch.Tensor:
        """Returns `pixel_values` `[3, H, W]`; the same for the same image and seed, whatever ran before."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return self.transform(image.convert("RGB"))


class AugmentedFaces(torch.utils.data.Dataset):
    """Training faces as `{"pixel_values": [3, H, W], "labels": [N]}`.

    Args:
        dataset: Rows with `image` and `labels`.
        augmentation: What is done to each picture.
        seed: Seed of the run. [`set_epoch`] must be called before each pass.
    """

    def __init__(self, dataset: Dataset, augmentation: FaceAugmentation, seed: int):
        self.dataset = dataset
        self.augmentation = augmentation
        self.seed = seed
        self.epoch = 0

    def set_epoch(self, epoch: int):
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        row = self.dataset[index]
        # A tuple's hash of integers is the same in every process and every run.
        pixel_values = self.augmentation(row["image"], seed=hash((self.seed, self.epoch, index)))
        return {"pixel_values": pixel_values, "labels": torch.tensor(row["labels"], dtype=torch.float32)}


class EvaluationFaces(torch.utils.data.Dataset):
    """Faces exactly as the image processor prepares them at inference; same items as [`AugmentedFaces`]."""

    def __init__(self, dataset: Dataset, image_processor: BaseImageProcessor):
        self.dataset = dataset
        self.image_processor = image_processor

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        row = self.dataset[index]
        pixel_values = self.image_processor(row["image"], return_tensors="pt")["pixel_values"][0]
        return {"pixel_values": pixel_values, "labels": torch.tensor(row["labels"], dtype=torch.float32)}
