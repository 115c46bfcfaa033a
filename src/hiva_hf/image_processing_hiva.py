# Copyright 2026 The hiva-hf authors.
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.
"""Image processor class for HiVA."""

from transformers.image_processing_backends import TorchvisionBackend
from transformers.image_utils import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD, PILImageResampling
from transformers.utils import auto_docstring

from .checkpoint_limits import check_sides
from .remote_code import PushesRemoteCode


@auto_docstring(
    custom_intro="""
    Aligned face crops -> `pixel_values`: resize to 256, centre crop of 224, ImageNet mean and standard deviation, as
    in the paper's evaluation. Training augmentation is not part of it.
    """
)
class HiVAImageProcessor(PushesRemoteCode, TorchvisionBackend):
    resample = PILImageResampling.BILINEAR
    image_mean = IMAGENET_DEFAULT_MEAN
    image_std = IMAGENET_DEFAULT_STD
    size = {"height": 256, "width": 256}
    crop_size = {"height": 224, "width": 224}
    do_convert_rgb = True
    do_resize = True
    do_center_crop = True
    do_rescale = True
    do_normalize = True

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        check_sides(size=self.size, crop_size=self.crop_size)

    @classmethod
    def for_image_size(cls, image_size: int) -> "HiVAImageProcessor":
        """An image processor for detectors of another image size: faces are resized to 8/7 of it, as 256 is of 224.

        Args:
            image_size: Side in pixels of what the network sees, `HiVAConfig.image_size`.
        """
        resized = round(image_size * cls.size["height"] / cls.crop_size["height"])
        return cls(size={"height": resized, "width": resized}, crop_size={"height": image_size, "width": image_size})


__all__ = ["HiVAImageProcessor"]
