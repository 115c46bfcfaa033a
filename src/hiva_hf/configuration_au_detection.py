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
"""What the configurations of all detectors have in common: their Action Units, and when one counts as active."""

from typing import Any

from .checkpoint_limits import check_num_labels, check_tower


# The AUs that BP4D codes, in the order of HiVA's Table I.
BP4D_LABELS = ("AU1", "AU2", "AU4", "AU6", "AU7", "AU10", "AU12", "AU14", "AU15", "AU17", "AU23", "AU24")


class AUDetectionConfigMixin:
    """
    Beside `PreTrainedConfig`, for a configuration with the fields `id2label`, `label_weights`, `label_thresholds` and
    `experimental_labels`.
    """

    # How pretrained towers enter, for messages.
    pretrained_entry = ""

    @classmethod
    def get_config_dict(cls, pretrained_model_name_or_path, **kwargs):
        config_dict, kwargs = super().get_config_dict(pretrained_model_name_or_path, **kwargs)
        model_type = config_dict.get("model_type")
        # Without this check another model's checkpoint would become one of random weights, with a warning only.
        if model_type != cls.model_type:
            found = "no `config.json` of a model" if model_type is None else f"a model of type {model_type!r}"
            name = cls.__name__.removesuffix("Config")
            raise ValueError(
                f"'{pretrained_model_name_or_path}' holds {found}, but a {name} is needed. Pass a folder or "
                f"repository that a {name} model was saved to; pretrained towers enter by `{cls.pretrained_entry}`."
            )
        return config_dict, kwargs

    def _prepare_fields(self, kwargs: dict[str, Any], towers: tuple[str, ...]):
        """Checks and completes what `__post_init__` was given, before anything is made of it."""
        # Credentials, which towers are fetched with, are not part of what is saved.
        kwargs.pop("token", None)
        # An entry of published checkpoints that gives `pipeline` to users of `trust_remote_code=True`. The installed
        # package has registered its pipeline, and with the entry `pipeline` would ask its users for that, too.
        if not __name__.startswith("transformers_modules."):
            kwargs.pop("custom_pipelines", None)
        # Before anything is made by these numbers.
        check_num_labels(max(len(self.id2label or ()), kwargs.get("num_labels") or 0))
        for name in towers:
            check_tower(name, getattr(self, name))
        if isinstance(self.backbone_config, dict) and self.backbone_config.get("model_type") == "timm_wrapper":
            # TimmWrapperConfig insists on a number of classes in dictionaries, also where it needs none.
            self.backbone_config = {"num_classes": 2} | self.backbone_config
        if self.id2label is None and kwargs.get("num_labels") is None:
            self.id2label = dict(enumerate(BP4D_LABELS))
        if self.id2label is not None:
            # JSON that was sorted by its keys has "10" before "2".
            self.id2label = dict(sorted(self.id2label.items(), key=lambda item: int(item[0])))
        if self.id2label is not None and self.label2id is None:
            self.label2id = {label: int(index) for index, label in self.id2label.items()}

    @property
    def au_labels(self) -> list[str]:
        """The AU labels in the order of the logits, such as `["AU1", "AU2", ...]`."""
        return [self.id2label[index] for index in range(self.num_labels)]

    @property
    def au_thresholds(self) -> list[float]:
        """The probabilities from which the AUs count as active, in the order of the logits."""
        return [0.5] * self.num_labels if self.label_thresholds is None else list(self.label_thresholds)

    def _check_aus(self):
        """Checks the AUs, their weights in the loss, and what turns probabilities into statements about them."""
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
        self._check_decisions()

    def _check_decisions(self):
        """Checks what turns probabilities into statements about AUs."""
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
                        f"`label_thresholds` is {threshold} for {label}, but a probability lies between 0 and 1."
                    )
        unknown = [label for label in self.experimental_labels or () if label not in labels]
        if unknown:
            raise ValueError(
                f"`experimental_labels` holds {', '.join(map(repr, unknown))}, but the model's AUs are "
                f"{', '.join(labels)}."
            )
