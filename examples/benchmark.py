"""Measure the speed of the parts of hiva-hf, each beside what it replaces or competes with.

python examples/benchmark.py                              # everything that can run here: an hour
python examples/benchmark.py --only fused modes           # some of it
python examples/benchmark.py --quick --json figures.json  # the cost of the network, in eight minutes
python examples/benchmark.py --only memory                # ten minutes of video

Variants alternate (A B A B ...), so that other load on the machine affects all of them alike: compare the ratios, not
the seconds. A turn of a network lasts .6 s or one call. The results of all variants are compared before anything is
timed, and the first call of each does not count.

The JSON file contains the machine, the tables with the time of every round, and these figures of the paper's network
(Swin-B, 12 AUs, 224 pixels), as far as they were measured:

hiva_over_backbone_fp32_b1, hiva_over_backbone_fp32_b16
    Time of the fused network over that of its backbone alone, which is equally optimised, for 1 and for 16 faces.
backbone_over_timm_eager_fp32_b1
    Speed of that backbone relative to timm's own with timm's defaults: time of timm's over time of ours.
best_cpu_speedup_b1, best_cpu_speedup_b16
    Speed of the fastest mode that was measured relative to PyTorch, eager, fp32, with timm's default attention;
    best_cpu_speedup_over_plain_b1 and _b16: relative to this package's plain network, which uses timm's faster
    attention.
fused_macs
    Multiply-adds of the fused network for one face.
fused_max_abs_diff
    Largest difference of its logits from the plain network's, in fp32.
gpu_ms_b1, gpu_ms_b32
    Milliseconds of the fused network in bf16 on a GPU, compiled into CUDA graphs, for 1 and for 32 faces.
"""

import os


# Waiting threads must not spin, which is costly on shared cores. It is read when torch is first imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import argparse  # noqa: E402
import json  # noqa: E402
from collections.abc import Callable, Iterator  # noqa: E402
from dataclasses import asdict  # noqa: E402
from pathlib import Path  # noqa: E402

import datasets  # noqa: E402
import torch  # noqa: E402
from benchmarks import detection, exports, gpu, inference, peers, training  # noqa: E402
from benchmarks.timing import NotRun, Table  # noqa: E402

from hiva_hf.training.environment import describe_environment  # noqa: E402
from hiva_hf.training.hardware import choose_mixed_precision, use_cpu_cores  # noqa: E402


BENCHMARKS: dict[str, Callable[[argparse.Namespace], Iterator[Table]]] = {
    "fused": inference.fused,
    "vl_fau": inference.vl_fau,
    "modes": exports.modes,
    "accuracy": exports.accuracy,
    "megraphau": peers.megraphau,
    "mediapipe": peers.mediapipe,
    "photos": detection.photos,
    "videos": detection.videos,
    "searches": detection.searches,
    "memory": detection.memory,
    "transform": training.transform,
    "loader": training.loader,
    "stages": training.stages,
    "gpu": gpu.latency,
}
# Benchmarks that give meaningful figures with --quick, too.
QUICK = ("fused", "modes")


def parse_options(words: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=BENCHMARKS, help="Default: all, with --quick fused and modes.")
    parser.add_argument(
        "--quick", action="store_true", help="Enough rounds for the figures above; a smoke test of everything else."
    )
    parser.add_argument("--json", type=Path, help="File for figures, tables and the time of every round.")
    parser.add_argument("--checkpoint", help="Folder or Hub id of the detector for accuracy [the one in the package].")
    parser.add_argument("--me_graphau", type=Path, help="Folder with a checkout of ME-GraphAU, for megraphau.")
    parser.add_argument("--mediapipe_python", help="A Python that has MediaPipe, for mediapipe [this one].")
    parser.add_argument("--face_landmarker", type=Path, help="MediaPipe's face_landmarker .task file, for mediapipe.")
    options = parser.parse_args(words)
    if options.json is not None and not options.json.resolve().parent.is_dir():
        parser.error(f"--json: there is no folder {options.json.resolve().parent}.")
    options.only = list(dict.fromkeys(options.only or (QUICK if options.quick else BENCHMARKS)))
    return options


def main(words: list[str] | None = None):
    options = parse_options(words)
    datasets.disable_progress_bars()
    use_cpu_cores(None)
    machine = describe_environment(1, torch.device("cpu"), choose_mixed_precision("auto"))
    packages = ", ".join(f"{name} {version}" for name, version in machine["packages"].items())
    print(f"{machine['processor']}, {os.cpu_count()} cores; {packages}\n")
    tables: dict[str, list[dict]] = {}
    figures, not_run = {}, {}

    def save():
        if options.json is not None:
            results = figures | {"machine": machine, "benchmarks": tables, "not_run": not_run}
            options.json.write_text(json.dumps(results, indent=2) + "\n")

    for name in options.only:
        tables[name] = []
        use_cpu_cores(None)
        try:
            for table in BENCHMARKS[name](options):
                print(table.markdown(), flush=True)
                tables[name].append(asdict(table))
                figures |= table.figures
                save()
        except NotRun as reason:
            print(f"### {name}: not run{' to the end' if tables[name] else ''}\n\n{reason}\n", flush=True)
            not_run[name] = str(reason)
            save()


if __name__ == "__main__":
    main()
