"""Every setting of a training run; the defaults are the demo on the embedded data set."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, fields
from typing import Literal, get_args, get_origin, get_type_hints

from ..configuration_hiva import Variant
from ..configuration_vl_fau import VLFAUVariant


# Smallest value of each number; None, where it is allowed, always passes.
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

# A resumed run may differ in these: where things lie, what is reported, how fast it goes.
FREE_SETTINGS = frozenset(
    (
        *("output_dir", "overwrite_output_dir", "resume_from_checkpoint", "checkpointing_steps"),
        *("checkpoints_total_limit", "report_to", "logging_steps", "photo", "num_cpu_threads"),
        *("dataloader_num_workers", "expected_num_processes"),
    )
)

_VARIANTS = {"hiva": get_args(Variant), "vl_fau": get_args(VLFAUVariant)}

# Settings that one of the models alone has.
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
# What the other model has in their place.
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
    """Settings of `examples/train.py`, named as in transformers' `*_no_trainer.py` examples where those have them.

    Raises:
        ValueError: if a value makes no sense; the message names the setting.
    """

    model: Literal["hiva", "vl_fau"] = field(
        default="hiva", metadata={"help": "What is trained: hiva, or vl_fau, which writes sentences."}
    )
    output_dir: str | None = field(
        default=None,
        metadata={
            "help": "Folder of the run and its detector; default: hiva-DATASET-foldN, the demo's hiva-synthfacs "
            "(vl-fau-... for VL-FAU)."
        },
    )
    overwrite_output_dir: bool = field(
        default=False,
        metadata={
            "help": "Start anew in a folder that holds an unfinished run, or one with other settings; it is lost."
        },
    )
    dataset: str = field(default="synthfacs", metadata={"help": "Name of the data set."})
    data_dir: str | None = field(default=None, metadata={"help": "Its folder; the embedded set needs none."})
    additional_data: list[str] = field(
        default_factory=list,
        metadata={
            "help": "Further sets to train on, each as NAME=FOLDER. The detector then knows the AUs of all sets; "
            "labels that a set lacks are missing. Validation and test stay those of --dataset."
        },
    )
    fold: int = field(default=1, metadata={"help": "Part of the subjects that is tested (1 to 3)."})

    vision_model_name_or_path: str | None = field(
        default=None, metadata={"help": "Hub id or folder of the vision tower; default: a packaged DINOv2 ViT-S/14."}
    )
    text_model_name_or_path: str | None = field(
        default=None, metadata={"help": "Hub id or folder of the BERT; default: a packaged MiniLM."}
    )
    image_size: int = field(default=98, metadata={"help": "Side of the crop that the network reads, in pixels."})
    hidden_size: int = field(default=128, metadata={"help": "Width d of AU features and cross attentions."})
    intermediate_size: int = field(default=512, metadata={"help": "Feed-forward width of the text context layers."})
    num_attention_heads: int = field(default=4, metadata={"help": "Heads of the text context layers."})
    num_neighbors: int | None = field(
        default=None,
        metadata={
            "help": "K of the stage-1 graph; default: the paper's, 3 for disfa, otherwise 4 or all AUs if fewer."
        },
    )
    text_level: Literal["token", "sentence"] = field(
        default="token", metadata={"help": "DDCA's text side: token or sentence."}
    )
    variant: str = field(
        default="full", metadata={"help": "Ablation or control, see HiVAConfig; VL-FAU's are in VLFAUConfig."}
    )
    descriptions: str = field(
        default="written",
        metadata={
            "help": "What training draws beside the canonical description of each AU: written (the package's "
            "variants), generated (by its grammar), or the accepted lines of a review FILE of `hiva-hf describe`."
        },
    )
    decoder_hidden_size: int = field(default=128, metadata={"help": "VL-FAU: width of the language decoders."})
    decoder_layers: int = field(default=2, metadata={"help": "VL-FAU: layers of each language decoder."})
    local_loss_weight: float = field(default=1.0, metadata={"help": "VL-FAU: weight of the sentences about AUs."})
    global_loss_weight: float = field(default=1.0, metadata={"help": "VL-FAU: weight of the sentence about the face."})
    difference_loss_weight: float = field(default=1e-5, metadata={"help": "lambda of L_diff."})
    loss_reduction: Literal["sum", "mean"] = field(
        default="sum", metadata={"help": "AU loss over AUs: sum (the paper's) or mean."}
    )
    trainable_backbone_layers: int | None = field(
        default=4, metadata={"help": "Train only the last layers of a ViT tower; -1 trains all of any tower."}
    )
    attn_implementation: str = field(
        default="eager",
        metadata={"help": "eager (faster on a CPU with few tokens), sdpa, or another of transformers'."},
    )

    stage1_epochs: int = field(default=3, metadata={"help": "Epochs of stage 1 (vision and graph)."})
    stage2_epochs: int = field(default=2, metadata={"help": "Epochs of stage 2 (vision, text and interaction)."})
    stage1_learning_rate: float = field(default=1e-3, metadata={"help": "Peak rate of stage 1, new layers."})
    stage2_learning_rate: float = field(default=5e-4, metadata={"help": "Peak rate of stage 2, new layers."})
    num_train_epochs: int = field(default=4, metadata={"help": "VL-FAU: epochs of its one stage."})
    learning_rate: float = field(default=1e-3, metadata={"help": "VL-FAU: peak rate of new layers."})
    backbone_learning_rate_scale: float = field(
        default=0.1, metadata={"help": "The towers' learning rate as a share of the new layers'."}
    )
    layerwise_lr_decay: float = field(
        default=1.0,
        metadata={"help": "Each layer of a tower learns at this share of the rate of the layer above; 1: all alike."},
    )
    optim: Literal["adamw_torch_fused", "adamw_torch"] = field(
        default="adamw_torch_fused", metadata={"help": "AdamW in one fused kernel, or torch's plain one."}
    )
    weight_decay: float = field(default=5e-4, metadata={"help": "AdamW's weight decay."})
    warmup_ratio: float = field(default=0.05, metadata={"help": "Share of a stage's steps with a rising rate."})
    max_grad_norm: float = field(default=1.0, metadata={"help": "Gradient norm is clipped to it; 0 switches it off."})
    ema_decay: float = field(
        default=0.0,
        metadata={"help": "Validate and keep a moving average of the weights with this decay, such as 0.999; 0: off."},
    )

    augmentation: Literal["paper", "strong"] = field(
        default="paper",
        metadata={
            "help": "paper: crop, mirror, colour jitter; strong: also affine jitter, shadows, lost detail and "
            "occlusion, for detectors that must read photos unlike those of the training set."
        },
    )
    trained_backbone_share: float = field(
        default=1.0,
        metadata={
            "help": "Share of the trained vision tower in the exported detector's, the rest is the pretrained one "
            "(WiSE-FT): below 1, faces unlike those of the training set are read better, its own kind a little worse."
        },
    )

    per_device_train_batch_size: int = field(default=16, metadata={"help": "Faces per process and forward pass."})
    gradient_accumulation_steps: int | None = field(
        default=1,
        metadata={
            "help": "Forward passes per optimizer step; where per_device_train_batch_size is given and this is not, "
            "as many as total_train_batch_size needs."
        },
    )
    total_train_batch_size: int | None = field(
        default=None,
        metadata={
            "help": "Faces per optimizer step over all processes: of per_device_train_batch_size and "
            "gradient_accumulation_steps, the one that is not given then follows."
        },
    )
    per_device_eval_batch_size: int = field(default=64, metadata={"help": "Faces per evaluation step and process."})
    dataloader_num_workers: int = field(default=0, metadata={"help": "Processes that load and augment faces."})
    max_train_samples: int | None = field(default=None, metadata={"help": "Train on that many faces (a quick check)."})
    max_eval_samples: int | None = field(default=None, metadata={"help": "Evaluate on that many faces at most."})
    metric_for_best_model: Literal["mean_roc_auc", "mean_f1"] = field(
        default="mean_roc_auc", metadata={"help": "Validation metric that chooses the epoch."}
    )
    seed: int = field(default=42, metadata={"help": "Seed of weights, order, augmentation and descriptions."})

    mixed_precision: Literal["auto", "no", "bf16"] = field(
        default="auto", metadata={"help": "no, bf16, or auto: bf16 where the hardware multiplies it natively."}
    )
    torch_compile: bool = field(default=False, metadata={"help": "Compile the network with torch.compile."})
    torch_compile_backend: str = field(default="inductor", metadata={"help": "What compiles it; see torch.compile."})
    gradient_checkpointing: bool = field(
        default=False, metadata={"help": "Keep no activations inside tower layers: less memory, about a third slower."}
    )
    fsdp: bool = field(
        default=False,
        metadata={"help": "Shard weights over the processes (FSDP2), not copy them (DDP)."},
    )
    num_cpu_threads: int | None = field(
        default=None, metadata={"help": "Threads of each process on a CPU; default: an equal share of the cores."}
    )
    expected_num_processes: int | None = field(
        default=None, metadata={"help": "Stop at once if the run does not consist of that many processes."}
    )

    checkpointing_steps: str = field(
        default="200",
        metadata={"help": "Save a state every N optimizer steps and after each epoch, or after each `epoch` only."},
    )
    checkpoints_total_limit: int = field(default=2, metadata={"help": "States that are kept; older ones are deleted."})
    resume_from_checkpoint: bool = field(
        default=False, metadata={"help": "Go on where a run in output_dir was stopped."}
    )
    report_to: list[str] = field(
        default_factory=list, metadata={"help": "Trackers: tensorboard, trackio, or both; default: none."}
    )
    logging_steps: int = field(default=10, metadata={"help": "Optimizer steps between two reports to the trackers."})
    photo: str | None = field(
        default=None, metadata={"help": "Photo to read after training; default: scikit-image's astronaut."}
    )

    def __post_init__(self):
        if self.output_dir is None:
            is_demo = self.dataset == "synthfacs" and self.fold == 1
            name = self.model.replace("_", "-")
            self.output_dir = f"{name}-synthfacs" if is_demo else f"{name}-{self.dataset}-fold{self.fold}"
        # How many AUs were coded on faces of one's own turns out when they are read.
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
                    f"`additional_data` has {source!r}, but each set is NAME=FOLDER, such as disfa=prepared/disfa "
                    "(`synthfacs=` for the embedded faces)."
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
                f"`variant` is {self.variant!r}, but those of `model` {self.model} are {', '.join(variants)}."
            )

    def _check_numbers(self):
        for minimum, names in _MINIMUM.items():
            for name in names:
                value = getattr(self, name)
                # Written so that NaN, which is no number to train with, fails too.
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
                f"`checkpointing_steps` is {steps!r}, but it must be `epoch` or a number of steps from 1."
            )

    def steps_between_checkpoints(self) -> int | None:
        """Optimizer steps between two states inside an epoch, None for no state inside an epoch."""
        return None if self.checkpointing_steps == "epoch" else int(self.checkpointing_steps)

    def binding_settings(self) -> dict:
        """The settings that decide the result; a resumed run must have been started with the same ones."""
        return {name: value for name, value in asdict(self).items() if name not in FREE_SETTINGS}


def settings_of_other_models(model: str) -> tuple[str, ...]:
    """Names of the settings that a model does not read."""
    return tuple(name for other, names in _SETTINGS_OF_ONE_MODEL.items() if other != model for name in names)


def check_settings_of_model(model: str, asked: Iterable[str]):
    """Refuses settings that would change nothing.

    Args:
        model: What is trained.
        asked: Names of the settings that somebody asked for.

    Raises:
        ValueError: if one of them is another model's; the message names what to use.
    """
    for name in asked:
        if name in settings_of_other_models(model):
            advice = f"use {_COUNTERPARTS[name]}" if name in _COUNTERPARTS else "leave it out"
            raise ValueError(f"`{name}` is not a setting of `model` {model}: {advice}.")


def paper_num_neighbors(dataset: str) -> int:
    """K of the paper: 3 for DISFA, 4 for BP4D and GFT."""
    return 3 if dataset == "disfa" else 4
