"""The command that resumes a stopped run."""

import os
import shlex
import sys


def resume_command(shards: bool = False) -> str:
    """The command line of this process with `--resume_from_checkpoint true`, for the launcher that started it.

    A launcher's own options are not known to the processes that it starts: with several machines, or a configuration
    file, they must be added.

    Args:
        shards: Whether the run was sharded, possibly by the configuration file of a launcher.
    """
    words = [*sys.argv]
    for option in ("--resume_from_checkpoint", "--overwrite_output_dir"):
        words = _without(words, option)
    if shards:
        words = [*_without(words, "--fsdp"), "--fsdp", "true"]
    per_node = os.environ.get("LOCAL_WORLD_SIZE", "1")
    launcher = ["accelerate", "launch"] if per_node == "1" else ["torchrun", "--nproc_per_node", per_node]
    return shlex.join([*launcher, *words, "--resume_from_checkpoint", "true"])


def _without(words: list[str], option: str) -> list[str]:
    """The words without an option, in any of its spellings, and its value."""
    spellings = (option, f"--{option[2:].replace('_', '-')}")
    kept, skips_value = [], False
    for word in words:
        is_value = skips_value and not word.startswith("-")
        skips_value = word in spellings
        if not is_value and not skips_value and not word.startswith(tuple(f"{name}=" for name in spellings)):
            kept.append(word)
    return kept
