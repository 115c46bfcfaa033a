"""The same optimizer steps with DeepSpeed's ZeRO, stages 1 and 2: sharded moments (and gradients), whole weights."""

import functools
import os
from collections.abc import Mapping
from importlib.util import find_spec

import torch
from accelerate import Accelerator

from ..modeling_hiva import HiVAPreTrainedModel
from .arguments import AUTrainingArguments
from .distributed import synchronize_batch_norms
from .optimization import make_optimizer
from .updates import Updates


_STAGES = ("1", "2")
_MOMENTS = ("exp_avg", "exp_avg_sq")


@functools.cache
def take_over_deepspeed() -> int:
    """The ZeRO stage that Accelerate's configuration requests, 0 for none; hides the request from Accelerate.

    Accelerate would use its own data loaders and learning rates, which would change the training. The answer is cached
    for all runs of the process.

    Raises:
        ImportError: if DeepSpeed is not installed.
        ValueError: if the configuration requests something unsupported.
    """
    if os.environ.get("ACCELERATE_USE_DEEPSPEED", "false") != "true":
        return 0
    if find_spec("deepspeed") is None:
        raise ImportError(
            "Accelerate's configuration requests DeepSpeed, which is not installed: `pip install deepspeed`."
        )
    stage = os.environ.get("ACCELERATE_DEEPSPEED_ZERO_STAGE", "2")
    offloads = [
        os.environ.get(f"ACCELERATE_DEEPSPEED_OFFLOAD_{what}_DEVICE", "none") for what in ("OPTIMIZER", "PARAM")
    ]
    if stage not in _STAGES or "ACCELERATE_DEEPSPEED_CONFIG_FILE" in os.environ or offloads != ["none", "none"]:
        raise ValueError(
            f"Accelerate's configuration requests DeepSpeed with ZeRO stage {stage}, but only stages 1 and 2 are "
            "supported, without offloading and without a DeepSpeed configuration file. Use fsdp2.yaml to shard "
            "weights."
        )
    del os.environ["ACCELERATE_USE_DEEPSPEED"]
    return int(stage)


class DeepSpeedUpdates(Updates):
    """[`Updates`] through DeepSpeed. Takes the same arguments, and `zero_stage`, 1 or 2."""

    def __init__(
        self,
        accelerator: Accelerator,
        model: HiVAPreTrainedModel,
        learning_rate: float,
        arguments: AUTrainingArguments,
        zero_stage: int,
    ):
        import deepspeed

        self.accelerator = accelerator
        self.model = model
        if accelerator.num_processes > 1:
            synchronize_batch_norms(model)
        if arguments.torch_compile:
            model.compile(backend=arguments.torch_compile_backend)
        self.optimizer = make_optimizer(model, learning_rate, arguments)
        deepspeed.init_distributed(auto_mpi_discovery=False)
        self.engine, *_ = deepspeed.initialize(
            model=model,
            optimizer=self.optimizer,
            config={
                "train_micro_batch_size_per_gpu": arguments.per_device_train_batch_size,
                "gradient_accumulation_steps": arguments.gradient_accumulation_steps,
                "gradient_clipping": arguments.max_grad_norm,
                "zero_optimization": {"stage": zero_stage},
                # torch's AdamW, as everywhere else.
                "zero_allow_untested_optimizer": True,
                "zero_force_ds_cpu_optimizer": False,
            },
        )

    def backward(self, inputs: Mapping[str, torch.Tensor], is_last: bool) -> torch.Tensor:
        self.engine.set_gradient_accumulation_boundary(is_last)
        with self.accelerator.autocast():
            loss = self.engine(**inputs).loss
        # DeepSpeed divides the loss by the number of passes.
        self.engine.backward(loss)
        if not is_last:
            # DeepSpeed counts passes by this call; weights are only updated in the last one.
            self.engine.step()
        return loss.detach()

    def step(self) -> torch.Tensor | None:
        self.engine.step()
        return self.engine.get_global_grad_norm()

    def _gather_moments(self) -> dict[str, torch.Tensor]:
        from deepspeed.utils import safe_get_full_optimizer_state

        self._link_moments()
        (step, *_) = [state["step"] for state in self.optimizer.state.values()]
        tensors = {}
        for name, parameter in self._learning_parameters():
            tensors[f"step/{name}"] = step.clone()
            tensors |= {f"{key}/{name}": safe_get_full_optimizer_state(parameter, key) for key in _MOMENTS}
        return tensors

    def _load_moments(self, tensors: Mapping[str, torch.Tensor]):
        from deepspeed.utils import safe_set_full_optimizer_state

        zero = self.engine.optimizer
        # AdamW updates copies of the network's weights.
        zero.refresh_fp32_params()
        for shard in zero.single_partition_of_fp32_groups:
            self.optimizer.state[shard] = {key: torch.zeros_like(shard) for key in _MOMENTS}
            self.optimizer.state[shard]["step"] = next(
                t for key, t in tensors.items() if key.startswith("step/")
            ).clone()
        self._link_moments()
        for name, parameter in self._learning_parameters():
            for key in _MOMENTS:
                safe_set_full_optimizer_state(parameter, tensors[f"{key}/{name}"].to(parameter.device), key)

    def _link_moments(self):
        """Makes DeepSpeed find the moments of each weight; its own first attempt can come before there are any."""
        zero = self.engine.optimizer
        zero._hp_optimizer_states_linked = False
        zero._lazy_init_hp_params_optimizer_state()

    def _learning_parameters(self) -> list[tuple[str, torch.nn.Parameter]]:
        return [(name, parameter) for name, parameter in self.model.named_parameters() if parameter.requires_grad]
