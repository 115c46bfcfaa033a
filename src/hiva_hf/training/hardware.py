"""How this machine's hardware is used: precision and processor cores."""

import os

import torch

from ..processor_cores import usable_cores


def must_use_cpu() -> bool:
    """Whether a run must use CPUs, so that several processes train together there instead of separately.

    Apple's GPUs support a single process: runs with several use CPUs.
    """
    if not torch.accelerator.is_available():
        return True
    is_apple = torch.accelerator.current_accelerator().type == "mps"
    return is_apple and int(os.environ.get("WORLD_SIZE", 1)) > 1


def choose_mixed_precision(requested: str) -> str:
    """The precision of a run.

    Args:
        requested: `"no"`, `"bf16"`, or `"auto"`: what `accelerate launch` was asked for, else bf16 if the hardware
            supports it natively, which is then about twice as fast.

    Raises:
        ValueError: if the launcher was asked for another precision.
    """
    if requested != "auto":
        return requested
    # Also "no" if it was not asked for any.
    launched = os.environ.get("ACCELERATE_MIXED_PRECISION", "no")
    if launched == "bf16":
        return launched
    if launched != "no":
        raise ValueError(
            f"`accelerate launch` was asked for mixed precision {launched}, but only no and bf16 are supported: "
            "change its option or configuration, or pass `--mixed_precision` to the script."
        )
    if torch.cuda.is_available():
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "no"
    has_native_bf16 = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return "bf16" if has_native_bf16 else "no"


def check_compile_backend(name: str):
    """Checks that a backend of `torch.compile` exists.

    Raises:
        ValueError: if it doesn't.
    """
    known = torch.compiler.list_backends(exclude_tags=())
    if name not in known:
        raise ValueError(f"`torch_compile_backend` is {name!r}, but torch has {', '.join(known)}.")


def use_cpu_cores(num_threads: int | None):
    """Lets torch compute on `num_threads` threads, by default this process's share of the machine's cores.

    `accelerate launch` sets `OMP_NUM_THREADS=1` by default, which leaves all cores but one idle.
    """
    if num_threads is None:
        num_threads = usable_cores() // int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    torch.set_num_threads(max(1, num_threads))
