"""How many CPU cores this process may use."""

import math
import os
from pathlib import Path


# On Linux, where containers see their own limits.
_CONTROL_GROUPS = Path("/sys/fs/cgroup")


def usable_cores() -> int:
    """The number of cores that this process may use. A container may have fewer than the machine, by affinity or by a
    quota of CPU time (as with `docker run --cpus`)."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    granted = _granted_time()
    return cores if granted is None else max(1, min(cores, math.ceil(granted)))


def _granted_time() -> float | None:
    """Seconds of CPU time granted per second, None without a limit."""
    for files in (["cpu.max"], ["cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us"]):
        try:
            quota, period = " ".join((_CONTROL_GROUPS / file).read_text(encoding="ascii") for file in files).split()
            return int(quota) / int(period) if int(quota) > 0 else None
        except (OSError, ValueError):
            # No such files, or "max", which is no limit.
            continue
    return None
