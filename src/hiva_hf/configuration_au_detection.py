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
"""What the configurations of all detectors share: their Action Units and the thresholds for them."""

import dataclasses
import math
from typing import Any, get_args

from transformers.utils import logging

from .checkpoint_limits import check_num_labels, check_tower


logger = logging.get_logger(__name__)

# The AUs that BP4D codes, in the order of HiVA's Table I.
BP4D_LABELS = ("AU1", "AU2", "AU4", "AU6", "AU7", "AU10", "AU12", "AU14", "AU15", "AU17", "AU23", "AU24")

# Fields that are only valid for the AUs that they were made for.
FIELDS_OF_AUS = (
    "label_weights",
    "label_thresholds",
    "experimental_labels",
    "description_pieces",
    "text_memory_length",
)


def _ordered_labels(id2label: Any) -> dict[int, str]:
    """AUs by index, in the order of the logits. Keys from JSON are strings, of which "10" sorts before "2"."""
    example = "pass `id2label={0: 'AU1', 1: 'AU2', ...}`"
    if not isinstance(id2label, dict):
        raise ValueError(f"`id2label` is {id2label!r}, but must name the AU of each logit: {example}.")
    labels = {int(key) if str(key).isdecimal() else key: label for key, label in id2label.items()}
    if set(labels) != set(range(len(id2label))):
        raise ValueError(f"`id2label` has the keys {list(id2label)}, but the logits are numbered from 0: {example}.")
    ordered = {index: labels[index] for index in range(len(labels))}
    if len(set(ordered.values())) < len(ordered):
        raise ValueError(f"`id2label` names an AU twice: {', '.join(map(str, ordered.values()))}.")
    return ordered


class AUDetectionConfigMixin:
    """
    Mixin for subclasses of `PreTrainedConfig` with the fields `id2label`, `label_weights`, `label_thresholds` and
    `experimental_labels`.
    """

    # For messages: the call that builds a model from pretrained towers.
    pretrained_entry = ""

    @classmethod
    def get_config_dict(cls, pretrained_model_name_or_path, **kwargs):
        config_dict, kwargs = super().get_config_dict(pretrained_model_name_or_path, **kwargs)
        model_type = config_dict.get("model_type")
        # Without this check, another model's checkpoint would load with random weights and no more than a warning.
        if model_type != cls.model_type:
            found = "no `config.json` of a model" if model_type is None else f"a model of type {model_type!r}"
            name = cls.__name__.removesuffix("Config")
            raise ValueError(
                f"'{pretrained_model_name_or_path}' holds {found}, but a {name} is needed. Pass a folder or "
                f"repository that a {name} model was saved to; for pretrained towers, use `{cls.pretrained_entry}`."
            )
        return config_dict, kwargs

    @classmethod
    def from_dict(cls, config_dict, **kwargs):
        """See [`PreTrainedConfig.from_dict`], which sets `kwargs` unchecked; here they are checked like the rest."""
        # A `variant` that the network does not have is transformers' name of a weights file, such as "fp16".
        variants, file_variant = get_args(cls.__dataclass_fields__["variant"].type), {}
        if kwargs.get("variant") not in (None, *variants):
            file_variant = {"variant": kwargs.pop("variant")}
        # The base class merges changes to towers, and understands the dtype "auto".
        names = {field.name for field in dataclasses.fields(cls)} - cls.sub_configs_defaults.keys() - {"dtype"}
        changes = {name: kwargs.pop(name) for name in names & kwargs.keys()}
        loaded = super().from_dict(cls._without_other_aus(config_dict, changes | kwargs) | changes, **kwargs)
        if not file_variant:
            return loaded
        if kwargs.get("return_unused_kwargs"):
            return loaded[0], loaded[1] | file_variant
        # `pipeline` passes options of the weights to the configuration as well.
        logger.warning(
            f"The network has no variant {file_variant['variant']!r} (only {', '.join(variants)}): it is taken as the "
            "variant of the weights file."
        )
        return loaded

    @staticmethod
    def _without_other_aus(config_dict: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
        """A configuration's fields, without those that belong to its AUs if `changes` give it other AUs."""
        labels, new_labels = config_dict.get("id2label"), changes.get("id2label")
        if labels is not None:
            _ordered_labels(labels)
        if new_labels is None and changes.get("num_labels") in (None, len(labels or ())):
            return config_dict
        if not labels or (new_labels is not None and _ordered_labels(labels) == _ordered_labels(new_labels)):
            return config_dict
        stale = [name for name in FIELDS_OF_AUS if config_dict.get(name) and name not in changes]
        if stale:
            logger.warning(
                f"The AUs are not those of the checkpoint, so its fields for them are dropped: {', '.join(stale)}."
            )
        return {name: value for name, value in config_dict.items() if name not in (*stale, "id2label")}

    def _prepare_fields(self, kwargs: dict[str, Any], towers: tuple[str, ...]):
        """Checks and completes the fields before `__post_init__` builds anything from them."""
        # Credentials for fetching towers are not saved.
        kwargs.pop("token", None)
        # Published checkpoints have this entry so that `pipeline` works with `trust_remote_code=True`. The installed
        # package registers its pipeline; with the entry, `pipeline` would still ask for `trust_remote_code`.
        if not __name__.startswith("transformers_modules."):
            kwargs.pop("custom_pipelines", None)
        num_labels = kwargs.get("num_labels") or 0
        if not isinstance(num_labels, int):
            raise ValueError(f"`num_labels` is {num_labels!r}, but must be a number of AUs.")
        # Checked before anything is allocated from these numbers.
        check_num_labels(max(len(self.id2label or ()), num_labels))
        for name in towers:
            check_tower(name, getattr(self, name))
        if isinstance(self.backbone_config, dict) and self.backbone_config.get("model_type") == "timm_wrapper":
            # TimmWrapperConfig requires a number of classes in dictionaries, even where none is needed.
            self.backbone_config = {"num_classes": 2} | self.backbone_config
        if self.id2label is None and kwargs.get("num_labels") is None:
            self.id2label = dict(enumerate(BP4D_LABELS))
        if self.id2label is not None:
            self.id2label = _ordered_labels(self.id2label)
            self.label2id = {label: index for index, label in self.id2label.items()}

    @property
    def au_labels(self) -> list[str]:
        """The AU labels in the order of the logits, such as `["AU1", "AU2", ...]`."""
        return [self.id2label[index] for index in range(self.num_labels)]

    @property
    def au_thresholds(self) -> list[float]:
        """The decision thresholds of the AUs, in the order of the logits."""
        return [0.5] * self.num_labels if self.label_thresholds is None else list(self.label_thresholds)

    def _check_aus(self):
        """Checks the AUs, their loss weights, their thresholds, and which of them are experimental."""
        name = type(self).__name__.removesuffix("Config")
        if self.num_labels < 1:
            raise ValueError(f"{name} needs at least one AU: pass `id2label={{0: 'AU1', ...}}`.")
        if self.problem_type not in (None, "multi_label_classification"):
            raise ValueError(
                f"`problem_type` is {self.problem_type!r}, but AUs occur together: {name} is a "
                "`multi_label_classification` model."
            )
        if self.label_weights is not None and len(self.label_weights) != self.num_labels:
            raise ValueError(
                f"`label_weights` has {len(self.label_weights)} entries, but the model has {self.num_labels} AUs."
            )
        for label, weight in zip(self.au_labels, self.label_weights or [0] * self.num_labels, strict=True):
            # NaN fails this test as well.
            if not 0 <= weight < math.inf:
                raise ValueError(
                    f"`label_weights` is {weight} for {label}, but a weight must be finite and at least 0."
                )
        self._check_decisions()

    def _check_decisions(self):
        """Checks the thresholds and the experimental AUs."""
        labels = self.au_labels
        if self.label_thresholds is not None:
            if len(self.label_thresholds) != len(labels):
                raise ValueError(
                    f"`label_thresholds` has {len(self.label_thresholds)} entries, but the model has {len(labels)} "
                    f"AUs: {', '.join(labels)}."
                )
            for label, threshold in zip(labels, self.label_thresholds, strict=True):
                # NaN fails this test as well.
                if not 0 <= threshold <= 1:
                    raise ValueError(
                        f"`label_thresholds` is {threshold} for {label}, but it must lie between 0 and 1."
                    )
        unknown = [label for label in self.experimental_labels or () if label not in labels]
        if unknown:
            raise ValueError(
                f"`experimental_labels` holds {', '.join(map(repr, unknown))}, but the model's AUs are "
                f"{', '.join(labels)}."
            )
