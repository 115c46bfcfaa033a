"""The pieces of `examples/benchmark.py`, on small networks. That they are fast is not tested here."""

import argparse
import importlib
import json
import sys
from functools import partial
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from torch._inductor import config as inductor_config

from hiva_hf import HiVAImageProcessor
from hiva_hf.face_detection import CenterFaceDetector
from hiva_hf.video_decoding import decode_video


EXAMPLES = Path(__file__).parents[2] / "examples"
SMALL_SWIN = "swin_tiny_patch4_window7_224"


@pytest.fixture
def part(monkeypatch):
    """Imports a module of `examples/benchmarks/`."""
    monkeypatch.syspath_prepend(EXAMPLES)

    def load(name: str) -> ModuleType:
        return importlib.import_module(f"benchmarks.{name}")

    return load


@pytest.fixture
def benchmark(part, example) -> ModuleType:
    return example("benchmark")


@pytest.fixture
def quick() -> argparse.Namespace:
    return argparse.Namespace(
        quick=True, checkpoint=None, me_graphau=None, mediapipe_python=None, face_landmarker=None
    )


def check_table(table: dict):
    assert table["title"] and table["note"] and table["rows"]
    assert {len(row) for row in table["rows"]} == {len(table["columns"])}
    assert all(seconds > 0 for times in table["seconds"].values() for seconds in times)


def test_variants_take_turns_and_their_first_turn_does_not_count(part):
    turns, clock = [], iter(range(100))
    variants = {name: partial(turns.append, name) for name in "AB"}
    seconds = part("timing").interleave(variants, 3, clock=lambda: next(clock))
    assert "".join(turns) == "AB" * 4
    assert seconds == {"A": [1, 1, 1], "B": [1, 1, 1]}


def test_a_turn_is_as_many_calls_as_fill_it(part):
    calls, clock = [], iter(range(100))
    seconds = part("timing").interleave({"A": partial(calls.append, "A")}, 2, lambda: next(clock), turn_seconds=3)
    # The first one does not count; the clock is read before a turn and after every call.
    assert len(calls) == 1 + 2 * 3
    assert seconds == {"A": [1, 1]}


def test_a_ratio_is_one_of_times_from_the_same_round(part):
    timing = part("timing")
    # The machine was three times as slow in the last round.
    a, b = [2.0, 2.0, 6.0], [1.0, 1.1, 3.0]
    assert timing.median_ratio(a, b) == pytest.approx(2.0)
    assert timing.ratio(a, b) == "2.00 (2.00)"


def test_the_json_file_holds_tables_and_machine(benchmark, tmp_path, capsys):
    path = tmp_path / "figures.json"
    benchmark.main(["--quick", "--only", "transform", "megraphau", "--json", str(path)])
    results = json.loads(path.read_text())
    assert set(results) == {"machine", "benchmarks", "not_run"}
    assert results["machine"]["packages"]["torch"] == torch.__version__
    assert [table["title"][:18] for table in results["benchmarks"]["transform"]] == ["Training transform"] * 2
    for table in results["benchmarks"]["transform"]:
        check_table(table)
    assert "--me_graphau" in results["not_run"]["megraphau"]
    assert results["benchmarks"]["transform"][0]["title"] in capsys.readouterr().out


def test_what_was_measured_before_an_error_is_in_the_json_file(benchmark, part, tmp_path, monkeypatch):
    def fail_after_a_table(options):
        yield part("timing").Table("First", ["", "ms"], [["network", "1"]], "A note.", figures={"first": 1.0})
        raise KeyboardInterrupt

    monkeypatch.setitem(benchmark.BENCHMARKS, "transform", fail_after_a_table)
    path = tmp_path / "figures.json"
    with pytest.raises(KeyboardInterrupt):
        benchmark.main(["--quick", "--only", "transform", "--json", str(path)])
    results = json.loads(path.read_text())
    assert results["first"] == 1.0
    assert [table["title"] for table in results["benchmarks"]["transform"]] == ["First"]


def test_without_a_compiler_only_what_needs_one_is_left_out(part, quick, monkeypatch):
    exports = part("exports")
    monkeypatch.setattr(
        exports, "QUICK_MODES", (exports.PLAIN, "PyTorch, fused, compiled, fp32", "PyTorch, fused, compiled, int8")
    )
    model = part("networks").make_detector(SMALL_SWIN)
    with (
        inductor_config.patch({"cpp.cxx": (None, "/none/g++")}),
        exports.prepared_modes(model, HiVAImageProcessor(), quick=True) as (runners, missing),
    ):
        assert list(runners) == [exports.PLAIN]
    assert missing.count("needs a C++ compiler") == 2


def test_an_unknown_benchmark_is_named_with_those_that_exist(benchmark, capsys):
    with pytest.raises(SystemExit):
        benchmark.parse_options(["--only", "fusd"])
    assert "fusd" in (error := capsys.readouterr().err) and "modes" in error


def test_a_place_for_the_results_is_needed_before_an_hour_of_work(benchmark, tmp_path, capsys):
    with pytest.raises(SystemExit):
        benchmark.parse_options(["--json", str(tmp_path / "missing" / "figures.json")])
    assert "there is no folder" in capsys.readouterr().err


def test_quick_measures_what_has_figures(benchmark):
    assert benchmark.parse_options(["--quick"]).only == ["fused", "modes"]
    assert benchmark.parse_options([]).only == list(benchmark.BENCHMARKS)


@pytest.mark.slow
def test_the_fused_network_is_measured_beside_its_backbone(part, quick, monkeypatch):
    inference = part("inference")
    monkeypatch.setattr(inference, "make_detector", partial(part("networks").make_detector, SMALL_SWIN))
    monkeypatch.setattr(inference, "QUICK_ROUNDS", {1: 2, 2: 1})
    tables = list(inference.fused(quick))
    figures = {name: value for table in tables for name, value in table.figures.items()}
    assert set(figures) == {
        "hiva_over_backbone_fp32_b1",
        "hiva_over_backbone_fp32_b2",
        "backbone_over_timm_eager_fp32_b1",
        "fused_macs",
        "fused_max_abs_diff",
    }
    # Swin-T alone has 4.4 G.
    assert 4.3e9 < figures["fused_macs"] < 5e9
    assert 0 < figures["fused_max_abs_diff"] < 1e-4
    for table in tables:
        check_table(vars(table))


@pytest.mark.slow
def test_vl_fau_is_measured_plain_and_fused(part, quick, monkeypatch):
    inference = part("inference")
    monkeypatch.setattr(inference, "make_vl_fau", partial(part("networks").make_vl_fau, SMALL_SWIN))
    monkeypatch.setattr(inference, "QUICK_ROUNDS", {1: 1, 2: 1})
    tables = list(inference.vl_fau(quick))
    assert len(tables) == 4
    for table in tables:
        check_table(vars(table))
        assert [row[0] for row in table.rows] == ["VL-FAU", "VL-FAU, fused"]


@pytest.fixture
def three_modes(part, monkeypatch) -> ModuleType:
    """The module of the modes, with three that need no preparation."""
    exports = part("exports")
    monkeypatch.setattr(exports, "QUICK_MODES", (exports.BASELINE, exports.PLAIN, "PyTorch, fused, eager, fp32"))
    return exports


@pytest.mark.slow
def test_modes_are_measured_beside_the_plain_network(three_modes, part, quick, monkeypatch):
    monkeypatch.setattr(three_modes, "make_detector", partial(part("networks").make_detector, SMALL_SWIN))
    monkeypatch.setattr(three_modes, "QUICK_ROUNDS", {1: 2, 2: 1})
    monkeypatch.setattr(three_modes, "NUM_FACES", 2)
    tables = list(three_modes.modes(quick))
    assert [list(table.figures) for table in tables] == [
        [f"best_cpu_speedup_b{size}", f"best_cpu_speedup_over_plain_b{size}"] for size in (1, 2)
    ]
    for table in tables:
        check_table(vars(table))
        assert [row[0] for row in table.rows] == list(three_modes.QUICK_MODES)
        # The plain network is what is compared with; the others give the same but for rounding.
        assert float(table.rows[1][-1]) == 0 < float(table.rows[2][-1]) < 1e-3
        assert float(table.rows[0][-1]) < 1e-3


@pytest.mark.slow
def test_the_accuracy_of_a_mode_is_that_of_the_plain_network_where_it_computes_the_same(three_modes, quick):
    (table,) = three_modes.accuracy(quick)
    plain, fused = table.rows
    assert plain[1:4] == fused[1:4]
    # The detector of the package was trained on other people of this set.
    assert float(plain[3]) > 0.9
    # Not 0, as if the fused network were compared with itself.
    assert 0 < float(fused[4]) < 1e-3


def test_the_random_network_tells_faces_apart(part):
    networks = part("networks")
    model = networks.make_detector(SMALL_SWIN)
    with torch.inference_mode():
        logits = model(networks.random_faces(model, 3)).logits
    # Differences of logits that all were the same would say nothing about folding.
    assert logits.std() > 0.1 and logits.std(dim=0).mean() > 1e-3
    with pytest.raises(SystemExit, match="differ by"):
        networks.check_equal("this", logits, logits + 1, 0.5)
    with pytest.raises(SystemExit, match="nan"):
        networks.check_equal("this", logits, logits * torch.nan, 0.5)


def test_videos_have_the_faces_that_they_are_said_to_have(part, tmp_path):
    scenes = part("scenes")
    path = scenes.write_video(tmp_path / "heads.mp4", num_faces=3, num_frames=5)
    frames = [picture.to_rgb() for picture in decode_video(path)]
    assert [frame.shape for frame in frames] == [(*scenes.FRAME_SIZE, 3)] * 5
    assert not np.array_equal(frames[0], frames[4])
    assert len(CenterFaceDetector()(frames[0])) == 3


def test_where_mediapipe_does_not_run_is_told(part, tmp_path):
    peers = part("peers")
    with (
        pytest.raises(part("timing").NotRun, match="--mediapipe_python"),
        peers.mediapipe_reader(sys.executable, tmp_path / "missing.task", []),
    ):
        pass


def test_a_folder_without_me_graphau_is_named(part, tmp_path):
    with pytest.raises(part("timing").NotRun, match=r"model/MEFL\.py is missing"):
        part("peers").load_me_graphau(tmp_path, "MEFL", 12)
