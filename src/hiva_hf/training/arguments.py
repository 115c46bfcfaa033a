"""Every setting of a training run; the defaults are the demo on the embedded data set."""

from dataclasses import dataclass, field


@dataclass
class AUTrainingArguments:
    """Settings of `examples/train.py`, named as in transformers' `*_no_trainer.py` examples where those have them."""

    output_dir: str = field(default="hiva-synthfacs", metadata={"help": "Folder of the run and its checkpoint."})
    dataset: str = field(default="synthfacs", metadata={"help": "Name of the data set."})
    data_dir: str | None = field(default=None, metadata={"help": "Its folder; the embedded set needs none."})
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
    num_neighbors: int = field(default=4, metadata={"help": "K of the stage-1 graph."})
    text_level: str = field(default="token", metadata={"help": "DDCA's text side: token or sentence."})
    variant: str = field(default="full", metadata={"help": "Ablation or control, see HiVAConfig."})
    difference_loss_weight: float = field(default=1e-5, metadata={"help": "lambda of L_diff."})
    loss_reduction: str = field(default="sum", metadata={"help": "AU loss over AUs: sum (the paper's) or mean."})
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
    backbone_learning_rate_scale: float = field(
        default=0.1, metadata={"help": "The towers' learning rate as a share of the new layers'."}
    )
    weight_decay: float = field(default=5e-4, metadata={"help": "AdamW's weight decay."})
    warmup_ratio: float = field(default=0.05, metadata={"help": "Share of a stage's steps with a rising rate."})
    max_grad_norm: float = field(default=1.0, metadata={"help": "Gradient norm is clipped to it; 0 switches it off."})
    per_device_train_batch_size: int = field(default=16, metadata={"help": "Faces per step and process."})
    per_device_eval_batch_size: int = field(default=64, metadata={"help": "Faces per evaluation step and process."})
    gradient_accumulation_steps: int = field(default=1, metadata={"help": "Batches per optimizer step."})
    dataloader_num_workers: int = field(default=0, metadata={"help": "Processes that load and augment faces."})
    metric_for_best_model: str = field(
        default="mean_roc_auc", metadata={"help": "Validation metric that chooses the epoch: mean_roc_auc, mean_f1."}
    )
    mixed_precision: str = field(
        default="auto", metadata={"help": "no, bf16, or auto: bf16 where the hardware multiplies it natively."}
    )
    num_cpu_threads: int | None = field(
        default=None, metadata={"help": "Threads of each process on a CPU; default: an equal share of the cores."}
    )
    seed: int = field(default=42, metadata={"help": "Seed of weights, order, augmentation and descriptions."})
    max_train_samples: int | None = field(default=None, metadata={"help": "Train on that many faces (a quick check)."})
    max_eval_samples: int | None = field(default=None, metadata={"help": "Evaluate on that many faces at most."})
    resume_from_checkpoint: bool = field(
        default=False, metadata={"help": "Go on where a run in output_dir was stopped."}
    )
    photo: str | None = field(
        default=None, metadata={"help": "Photo to read after training; default: scikit-image's astronaut."}
    )

    def __post_init__(self):
        for name in ("stage1_epochs", "stage2_epochs", "per_device_train_batch_size", "gradient_accumulation_steps"):
            if getattr(self, name) < 1:
                raise ValueError(f"`{name}` is {getattr(self, name)}, but it must be at least 1.")
        if self.metric_for_best_model not in ("mean_roc_auc", "mean_f1"):
            raise ValueError(
                f"`metric_for_best_model` is {self.metric_for_best_model!r}, but it must be mean_roc_auc or mean_f1."
            )
