"""The environment of a run: versions, kind of machine, git revision, memory."""

import platform
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch


_PACKAGES = (
    "hiva-hf",
    "torch",
    "torchvision",
    "transformers",
    "accelerate",
    "timm",
    "datasets",
    "safetensors",
    "numpy",
)
_CPU_INFO = Path("/proc/cpuinfo")
_PROCESS_STATUS, _RESET_PEAK = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def describe_environment(num_processes: int, device: torch.device, mixed_precision: str) -> dict:
    """Versions, kind of machine and git revision; no names of machines, people or folders."""
    return {
        "python": platform.python_version(),
        # torch's own version also tells what it was built for.
        "packages": {name: found for name in _PACKAGES if (found := _version(name)) is not None}
        | {"torch": torch.__version__},
        "git_revision": git_revision(),
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "num_processes": num_processes,
        "num_threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "cuda": torch.version.cuda,
        "mixed_precision": mixed_precision,
    }


def git_revision() -> str | None:
    """Commit of the package's source, with `+` if it has been changed since; None outside a checkout."""
    here = Path(__file__)
    if _git("ls-files", "--error-unmatch", here.name, folder=here.parent) is None:
        return None
    commit = _git("rev-parse", "HEAD", folder=here.parent)
    return f"{commit}+" if _git("status", "--porcelain", "--", ".", folder=here.parents[1]) else commit


def _git(*arguments: str, folder: Path) -> str | None:
    try:
        done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, check=False)
    except OSError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _processor() -> str:
    if _CPU_INFO.exists():
        models = [
            line.split(":", 1)[1] for line in _CPU_INFO.read_text().splitlines() if line.startswith("model name")
        ]
        if models:
            return models[0].strip()
    return platform.processor() or platform.machine()


class PeakMemory:
    """Peak memory use since the last [`start`]: allocated by torch on a GPU, resident in the process on a CPU.

    Only Linux can reset the peak within a process; elsewhere the peak on a CPU is that of the whole process.
    """

    def __init__(self, device: torch.device):
        self.device = device

    def start(self):
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
        elif _RESET_PEAK.exists():
            # "5" resets the peak of the resident memory; see proc(5).
            _RESET_PEAK.write_text("5")

    def bytes(self) -> int | None:
        """The peak, None if the system does not report it (Windows)."""
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated(self.device)
        if _RESET_PEAK.exists():
            peak = next(line for line in _PROCESS_STATUS.read_text().splitlines() if line.startswith("VmHWM:"))
            return 1024 * int(peak.split()[1])
        if sys.platform == "win32":
            return None
        import resource

        # Kibibytes, but bytes on macOS.
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
