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
"""How large a network a checkpoint may declare: untrusted files are rejected before they take memory.

The limits are far above anything published (the paper's network has 0.5 billion weights with its text encoder) and far
below what brings a machine down.
"""

import math
import re
from collections.abc import Mapping
from typing import Any


# Fields of the configurations.
MAX_NUM_LABELS = 1_000
MAX_IMAGE_SIZE = 4_096
_MAX_FIELDS = {
    "image_size": MAX_IMAGE_SIZE,
    "hidden_size": 16_384,
    "intermediate_size": 131_072,
    "num_context_layers": 1_000,
    "text_memory_length": 65_536,
    "vocab_size": 1_000_000,
    "num_hidden_layers": 1_000,
    "max_position_embeddings": 65_536,
    "encoder_hidden_size": 16_384,
    "spatial_kernel_size": 255,
}
_MIN_FIELDS = {
    "image_size": 1,
    "hidden_size": 1,
    "num_attention_heads": 1,
    "intermediate_size": 1,
    "num_context_layers": 0,
    "text_memory_length": 0,
    "vocab_size": 1,
    "num_hidden_layers": 0,
    "max_position_embeddings": 1,
    "encoder_hidden_size": 1,
}
# Weights and buffers of a whole network, 8 GiB in fp32.
MAX_NUM_ELEMENTS = 2**31
# Numbers in the configurations of towers, by parts of their names; the full ImageNet has 21,841 classes.
_MAX_TOWER_COUNTS = {
    re.compile("layer|depth|block|stage"): 1_000,
    re.compile("num_labels|num_classes"): 100_000,
    re.compile(""): 10_000_000,
}


def check_num_labels(num_labels: int) -> None:
    """Raises a ValueError for more AUs than are supported; call it before anything is built for each of them."""
    if num_labels > MAX_NUM_LABELS:
        raise ValueError(f"The configuration has {num_labels} AUs, but at most {MAX_NUM_LABELS} are supported.")


def check_fields(config: Any) -> None:
    """Raises a ValueError if a field of a model's configuration is beyond its limits."""
    for name, limit in _MAX_FIELDS.items():
        if getattr(config, name, 0) > limit:
            raise ValueError(f"`{name}` is {getattr(config, name)}, but at most {limit} is supported.")
    for name, limit in _MIN_FIELDS.items():
        if getattr(config, name, limit) < limit:
            raise ValueError(f"`{name}` is {getattr(config, name)}, but must be at least {limit}.")


def check_weight(name: str, weight: float) -> None:
    """Checks the weight of a loss."""
    # NaN fails this test as well.
    if not 0 <= weight < math.inf:
        raise ValueError(f"`{name}` is {weight}, but it must be finite and at least 0.")


def check_tower(name: str, content: Any) -> None:
    """Raises a ValueError if a number in the configuration of a tower is absurd.

    Args:
        name: Its name in messages.
        content: Its dictionary, or a value within.
    """
    if isinstance(content, Mapping):
        for key, value in content.items():
            check_tower(f"{name}.{key}", value)
    elif isinstance(content, (list, tuple)):
        for value in content:
            check_tower(name, value)
    elif isinstance(content, int):
        field = name.rpartition(".")[2]
        limit = next(limit for pattern, limit in _MAX_TOWER_COUNTS.items() if pattern.search(field))
        if abs(content) > limit:
            raise ValueError(f"`{name}` is {content}, but at most {limit} is supported.")


def check_timm_tower(content: Mapping[str, Any]) -> None:
    """Raises a ValueError if a timm backbone would be fetched from elsewhere, or would read another file."""
    architecture = content.get("architecture") or ""
    # timm: "hf-hub:ORG/NAME" and "local-dir:FOLDER".
    if ":" in architecture:
        raise ValueError(
            f"`backbone_config.architecture` is {architecture!r}, but a checkpoint must name a timm architecture and "
            "hold the weights itself."
        )
    if "checkpoint_path" in (content.get("model_args") or {}):
        raise ValueError(
            "`backbone_config.model_args` has a `checkpoint_path`, but a checkpoint must hold the weights itself: no "
            "other file is read."
        )


def check_num_elements(model: Any) -> None:
    """Raises a ValueError if a network is too large. During loading, its tensors have no memory yet."""
    num_elements = sum(tensor.numel() for tensor in (*model.parameters(), *model.buffers()))
    if num_elements > MAX_NUM_ELEMENTS:
        raise ValueError(
            f"The configuration describes a network of {num_elements / 1e9:.1f} billion numbers, but at most "
            f"{MAX_NUM_ELEMENTS / 1e9:.1f} billion are supported."
        )


def check_sides(**sizes: Any) -> None:
    """Raises a ValueError if an image processor would make images too large.

    Args:
        sizes: `SizeDict`s by name, or None.
    """
    for name, size in sizes.items():
        sides = {} if size is None else dict(size)
        if any(side > MAX_IMAGE_SIZE for side in sides.values()):
            raise ValueError(f"`{name}` is {sides}, but at most {MAX_IMAGE_SIZE} pixels a side are supported.")
