"""The settings of a training run; the defaults are those of the demo on the embedded data set."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, fields
from typing import Literal, get_args, get_origin, get_type_hints

from ..configuration_hiva import Variant
from ..configuration_vl_fau import VLFAUVariant


# Minimum of each number; None, where it is allowed, always passes.
_MINIMUM = {
    1: (
        *("fold", "image_size", "hidden_size", "intermediate_size", "num_attention_heads", "num_neighbors"),
        *("stage1_epochs", "stage2_epochs", "per_device_train_batch_size", "per_device_eval_batch_size"),
        *("total_train_batch_size", "gradient_accumulation_steps", "checkpoints_total_limit", "logging_steps"),
        *("num_cpu_threads", "expected_num_processes", "max_train_samples", "max_eval_samples"),
        *("num_train_epochs", "decoder_hidden_size", "decoder_layers"),
    ),
    0: (
        *("difference_loss_weight", "stage1_learning_rate", "stage2_learning_rate", "backbone_learning_rate_scale"),
        *("weight_decay", "warmup_ratio", "max_grad_norm", "layerwise_lr_decay", "ema_decay"),
        *("trained_backbone_share", "learning_rate", "local_loss_weight", "global_loss_weight"),
        *("dataloader_num_workers", "seed"),
    ),
    -1: ("trainable_backbone_layers",),
}
_AT_MOST_ONE = ("warmup_ratio", "layerwise_lr_decay", "trained_backbone_share")

# Settings in which a resumed run may differ: folders, reporting and speed.
FREE_SETTINGS = frozenset(
    (
        *("output_dir", "overwrite_output_dir", "resume_from_checkpoint", "checkpointing_steps"),
        *("checkpoints_total_limit", "report_to", "logging_steps", "photo", "num_cpu_threads"),
        *("dataloader_num_workers", "expected_num_processes"),
    )
)

_VARIANTS = {"hiva": get_args(Variant), "vl_fau": get_args(VLFAUVariant)}

# Settings that only one of the models has.
_SETTINGS_OF_ONE_MODEL = {
    "hiva": (
        *("text_model_name_or_path", "intermediate_size", "num_neighbors", "text_level", "descriptions"),
        *("difference_loss_weight", "stage1_epochs", "stage2_epochs", "stage1_learning_rate", "stage2_learning_rate"),
    ),
    "vl_fau": (
        *("decoder_hidden_size", "decoder_layers", "local_loss_weight", "global_loss_weight"),
        *("num_train_epochs", "learning_rate"),
    ),
}
# Their counterparts in the other model.
_COUNTERPARTS = {
    "stage1_epochs": "`num_train_epochs`",
    "stage2_epochs": "`num_train_epochs`",
    "stage1_learning_rate": "`learning_rate`",
    "stage2_learning_rate": "`learning_rate`",
    "num_train_epochs": "`stage1_epochs` and `stage2_epochs`",
    "learning_rate": "`stage1_learning_rate` and `stage2_learning_rate`",
}


@dataclass
class AUTrainingArguments:
    """Settings of `examples/train.py`, named as in transformers' `*_no_trainer.py` examples where these have them.

    Raises:
        ValueError: if a value is invalid; the message names the setting.
    """

    model: Literal["hiva", "vl_fau"] = field(
        default="hiva", metadata={"help": "Model to train: hiva, or vl_fau, which writes sentences."}
    )
    output_dir: str | None = field(
        default=None,
        metadata={
            "help": "Output folder of the run and its detector; default: hiva-DATASET-foldN, or hiva-synthfacs for "
            "the demo (vl-fau-... for VL-FAU)."
        },
    )
    overwrite_output_dir: bool = field(
        default=False,
        metadata={"help": "Overwrite an unfinished run in output_dir, or a finished one with other settings."},
    )
    dataset: str = field(default="synthfacs", metadata={"help": "Name of the data set."})
    data_dir: str | None = field(
        default=None, metadata={"help": "Folder of the prepared data set; not needed for the embedded one."}
    )
    additional_data: list[str] = field(
        default_factory=list,
        metadata={
            "help": "Further data sets to train on, each as NAME=FOLDER. The detector then has the AUs of all sets; "
            "AUs that a set does not code count as missing labels. Validation and test use only --dataset."
        },
    )
    fold: int = field(
        default=1, metadata={"help": "Fold to test, such as 1, 2 or 3: its subjects are the test split."}
    )

    vision_model_name_or_path: str | None = field(
        default=None,
        metadata={"help": "Hub id or folder of the pretrained vision tower; default: a packaged DINOv2 ViT-S/14."},
    )
    text_model_name_or_path: str | None = field(
        default=None,
        metadata={"help": "Hub id or folder of the pretrained text tower, a BERT; default: a packaged MiniLM."},
    )
    image_size: int = field(
        default=98, metadata={"help": "Side length of the face crop that the network reads, in pixels."}
    )
    hidden_size: int = field(default=128, metadata={"help": "Width d of the AU features and cross attentions."})
    intermediate_size: int = field(default=512, metadata={"help": "Feed-forward width of the text context layers."})
    num_attention_heads: int = field(
        default=4, metadata={"help": "Attention heads of the text context layers, or of VL-FAU's language decoders."}
    )
    num_neighbors: int | None = field(
        default=None,
        metadata={
            "help": "Number K of neighbours in the stage-1 graph; default: as in the paper, 3 for disfa, otherwise 4 "
            "(all AUs if there are fewer)."
        },
    )
    text_level: Literal["token", "sentence"] = field(
        default="token", metadata={"help": "Level of the text that DDCA attends to: token or sentence."}
    )
    variant: str = field(
        default="full", metadata={"help": "Ablation or control to train; see HiVAConfig, or VLFAUConfig for VL-FAU."}
    )
    descriptions: str = field(
        default="written",
        metadata={
            "help": "Descriptions that training samples besides the canonical one of each AU: written (the package's "
            "variants), generated (by its grammar), or the accepted lines of a review FILE of `hiva-hf describe`."
        },
    )
    decoder_hidden_size: int = field(default=128, metadata={"help": "VL-FAU: width of the language decoders."})
    decoder_layers: int = field(default=2, metadata={"help": "VL-FAU: number of layers of each language decoder."})
    local_loss_weight: float = field(default=1.0, metadata={"help": "VL-FAU: loss weight of the sentences about AUs."})
    global_loss_weight: float = field(
        default=1.0, metadata={"help": "VL-FAU: loss weight of the sentence about the face."}
    )
    difference_loss_weight: float = field(
        default=1e-5, metadata={"help": "Weight lambda of the difference loss L_diff."}
    )
    loss_reduction: Literal["sum", "mean"] = field(
        default="sum", metadata={"help": "Reduction of the AU loss over AUs: sum (as in the paper) or mean."}
    )
    trainable_backbone_layers: int | None = field(
        default=4,
        metadata={
            "help": "Number of last layers of a ViT vision tower to train, the others are frozen; -1 trains all of "
            "any vision tower."
        },
    )
    attn_implementation: str = field(
        default="eager",
        metadata={
            "help": "Attention implementation: eager (faster on a CPU with few tokens), sdpa, or another one of "
            "transformers."
        },
    )

    stage1_epochs: int = field(default=3, metadata={"help": "Number of epochs of stage 1 (vision and graph)."})
    stage2_epochs: int = field(
        default=2, metadata={"help": "Number of epochs of stage 2 (vision, text and interaction)."}
    )
    stage1_learning_rate: float = field(
        default=1e-3, metadata={"help": "Peak learning rate of new layers in stage 1."}
    )
    stage2_learning_rate: float = field(
        default=5e-4, metadata={"help": "Peak learning rate of new layers in stage 2."}
    )
    num_train_epochs: int = field(default=4, metadata={"help": "VL-FAU: number of epochs of its only stage."})
    learning_rate: float = field(default=1e-3, metadata={"help": "VL-FAU: peak learning rate of new layers."})
    backbone_learning_rate_scale: float = field(
        default=0.1, metadata={"help": "Learning rate of the pretrained towers relative to that of new layers."}
    )
    layerwise_lr_decay: float = field(
        default=1.0,
        metadata={
            "help": "Layer-wise learning rate decay in the towers: learning rate of each layer relative to that of "
            "the layer above; 1 means no decay."
        },
    )
    optim: Literal["adamw_torch_fused", "adamw_torch"] = field(
        default="adamw_torch_fused",
        metadata={"help": "Optimizer: AdamW in one fused kernel, or torch's default implementation."},
    )
    weight_decay: float = field(default=5e-4, metadata={"help": "Weight decay of AdamW."})
    warmup_ratio: float = field(default=0.05, metadata={"help": "Share of a stage's steps for linear warmup."})
    max_grad_norm: float = field(default=1.0, metadata={"help": "Maximum norm for gradient clipping; 0 disables it."})
    ema_decay: float = field(
        default=0.0,
        metadata={
            "help": "Decay, such as 0.999, of a moving average of the weights that is validated and saved in their "
            "place; 0 disables it."
        },
    )

    augmentation: Literal["paper", "strong"] = field(
        default="paper",
        metadata={
            "help": "Training augmentation. paper: crop, flip and colour jitter; strong: also affine jitter, shadows, "
            "loss of detail and occlusion, for detectors that must read photos unlike the training set."
        },
    )
    trained_backbone_share: float = field(
        default=1.0,
        metadata={
            "help": "Weight of the trained vision tower when it is averaged with the pretrained one for the exported "
            "detector (WiSE-FT): below 1, faces unlike the training set are read better, similar ones a little worse."
        },
    )

    per_device_train_batch_size: int = field(default=16, metadata={"help": "Batch size per process and forward pass."})
    gradient_accumulation_steps: int | None = field(
        default=1,
        metadata={
            "help": "Number of forward passes per optimizer step; if per_device_train_batch_size is given and this is "
            "not, as many as total_train_batch_size needs."
        },
    )
    total_train_batch_size: int | None = field(
        default=None,
        metadata={
            "help": "Batch size per optimizer step over all processes; the one of per_device_train_batch_size and "
            "gradient_accumulation_steps that is not given is computed from it."
        },
    )
    per_device_eval_batch_size: int = field(default=64, metadata={"help": "Batch size per process for evaluation."})
    dataloader_num_workers: int = field(
        default=0, metadata={"help": "Number of subprocesses that load and augment faces."}
    )
    max_train_samples: int | None = field(
        default=None, metadata={"help": "Train on at most this many faces (for a quick check)."}
    )
    max_eval_samples: int | None = field(default=None, metadata={"help": "Evaluate on at most this many faces."})
    metric_for_best_model: Literal["mean_roc_auc", "mean_f1"] = field(
        default="mean_roc_auc", metadata={"help": "Validation metric by which the best epoch is selected."}
    )
    seed: int = field(
        default=42, metadata={"help": "Random seed of weights, data order, augmentation and descriptions."}
    )

    mixed_precision: Literal["auto", "no", "bf16"] = field(
        default="auto",
        metadata={"help": "Mixed precision: no, bf16, or auto, which is bf16 if the hardware supports it natively."},
    )
    torch_compile: bool = field(default=False, metadata={"help": "Compile the network with torch.compile."})
    torch_compile_backend: str = field(default="inductor", metadata={"help": "Backend of torch.compile."})
    gradient_checkpointing: bool = field(
        default=False,
        metadata={"help": "Recompute the activations of tower layers: less memory, about a third slower."},
    )
    fsdp: bool = field(
        default=False,
        metadata={"help": "Shard the weights over the processes (FSDP2) instead of replicating them (DDP)."},
    )
    num_cpu_threads: int | None = field(
        default=None,
        metadata={"help": "Number of threads per process on a CPU; default: an equal share of the cores."},
    )
    expected_num_processes: int | None = field(
        default=None, metadata={"help": "Fail at once if the run does not have this many processes."}
    )

    checkpointing_steps: str = field(
        default="200",
        metadata={
            "help": "Save a training checkpoint every N optimizer steps and after each epoch, or with `epoch` only "
            "after each epoch."
        },
    )
    checkpoints_total_limit: int = field(default=2, metadata={"help": "Number of training checkpoints to keep."})
    resume_from_checkpoint: bool = field(
        default=False, metadata={"help": "Resume the run in output_dir from its newest training checkpoint."}
    )
    report_to: list[str] = field(
        default_factory=list, metadata={"help": "Trackers to report to: tensorboard, trackio, or both; default: none."}
    )
    logging_steps: int = field(default=10, metadata={"help": "Report to the trackers every N optimizer steps."})
    photo: str | None = field(
        default=None,
        metadata={"help": "Photo to run the detector on after training; default: scikit-image's astronaut."},
    )

    def __post_init__(self):
        if self.output_dir is None:
            is_demo = self.dataset == "synthfacs" and self.fold == 1
            name = self.model.replace("_", "-")
            self.output_dir = f"{name}-synthfacs" if is_demo else f"{name}-{self.dataset}-fold{self.fold}"
        # The number of AUs of a custom set is known only when it is read.
        if self.num_neighbors is None and self.dataset != "custom":
            self.num_neighbors = paper_num_neighbors(self.dataset)
        if self.trainable_backbone_layers is None:
            self.trainable_backbone_layers = -1
        self._check_choices()
        self._check_numbers()
        self._check_steps_between_checkpoints()
        self.training_sources()

    def training_sources(self) -> list[tuple[str, str | None]]:
        """Name and folder of each set that is trained on; the first is the one that is tested.

        Raises:
            ValueError: if one of `additional_data` is not NAME=FOLDER.
        """
        sources = [(self.dataset, self.data_dir)]
        for source in self.additional_data:
            name, separator, folder = source.partition("=")
            if not (name and separator):
                raise ValueError(
                    f"`additional_data` has {source!r}, but each set must be NAME=FOLDER, such as "
                    "disfa=prepared/disfa (`synthfacs=` for the embedded faces)."
                )
            sources.append((name, folder or None))
        return sources

    def _check_choices(self):
        hints = get_type_hints(type(self))
        for setting in fields(self):
            value, hint = getattr(self, setting.name), hints[setting.name]
            if get_origin(hint) is Literal and value not in get_args(hint):
                raise ValueError(f"`{setting.name}` is {value!r}, but it must be one of {', '.join(get_args(hint))}.")
        variants = _VARIANTS[self.model]
        if self.variant not in variants:
            raise ValueError(
                f"`variant` is {self.variant!r}, but the variants of `model` {self.model} are {', '.join(variants)}."
            )

    def _check_numbers(self):
        for minimum, names in _MINIMUM.items():
            for name in names:
                value = getattr(self, name)
                # Written so that NaN fails too.
                if value is not None and not value >= minimum:
                    raise ValueError(f"`{name}` is {value}, but it must be at least {minimum}.")
        for name in _AT_MOST_ONE:
            if getattr(self, name) > 1:
                raise ValueError(f"`{name}` is {getattr(self, name)}, but it must be at most 1.")
        if self.ema_decay >= 1:
            raise ValueError(f"`ema_decay` is {self.ema_decay}, but it must be below 1: at 1 nothing is ever learned.")

    def _check_steps_between_checkpoints(self):
        steps = self.checkpointing_steps
        if steps != "epoch" and not (steps.isdecimal() and int(steps) > 0):
            raise ValueError(
                f"`checkpointing_steps` is {steps!r}, but it must be `epoch` or a number of steps, 1 or more."
            )

    def steps_between_checkpoints(self) -> int | None:
        """Optimizer steps between two checkpoints within an epoch, None for none within an epoch."""
        return None if self.checkpointing_steps == "epoch" else int(self.checkpointing_steps)

    def binding_settings(self) -> dict:
        """The settings that affect the result; a resumed run must have been started with the same ones."""
        return {name: value for name, value in asdict(self).items() if name not in FREE_SETTINGS}


def settings_of_other_models(model: str) -> tuple[str, ...]:
    """Names of the settings that a model does not use."""
    return tuple(name for other, names in _SETTINGS_OF_ONE_MODEL.items() if other != model for name in names)


def check_settings_of_model(model: str, asked: Iterable[str]):
    """Raises an error for settings that would have no effect.

    Args:
        model: Model to train.
        asked: Names of the settings that were given.

    Raises:
        ValueError: if one of them belongs to another model; the message says what to use instead.
    """
    for name in asked:
        if name in settings_of_other_models(model):
            advice = f"use {_COUNTERPARTS[name]}" if name in _COUNTERPARTS else "leave it out"
            raise ValueError(f"`{name}` is not a setting of `model` {model}: {advice}.")


def paper_num_neighbors(dataset: str) -> int:
    """K of the paper: 3 for DISFA, 4 for BP4D and GFT."""
    return 3 if dataset == "disfa" else 4
