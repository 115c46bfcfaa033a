"""Runs that are really killed, in processes of their own, and end where an uninterrupted run ends."""

import filecmp
import json
import random
import signal
import time
from dataclasses import replace
from pathlib import Path

import pytest

from hiva_hf.training.checkpoints import checkpoint_folder
from hiva_hf.training.run_folder import RunFolder, read_metrics
from hiva_hf.training.settings import read_settings


WEIGHTS = ("model.safetensors", "stage1/model.safetensors", "stage2/model.safetensors")


def states(folder: Path, stage: str = "stage1") -> list[Path]:
    return sorted(path for path in checkpoint_folder(folder, stage).glob("step-*") if path.suffix == "")


def assert_same_end(run: Path, expected: Path):
    for name in WEIGHTS:
        assert filecmp.cmp(run / name, expected / name, shallow=False), name
    assert (run / "predictions_test.parquet").read_bytes() == (expected / "predictions_test.parquet").read_bytes()
    assert read_metrics(run / "metrics.jsonl") == read_metrics(expected / "metrics.jsonl")
    results, expected_results = (json.loads((path / "all_results.json").read_text()) for path in (run, expected))
    for measured in ("resources", "train_runtime"):
        del results[measured], expected_results[measured]
    assert results == expected_results


@pytest.mark.slow
@pytest.mark.parametrize(
    ("num_processes", "kills", "overrides"),
    [
        (1, 3, {"gradient_accumulation_steps": 2, "per_device_train_batch_size": 8, "ema_decay": 0.9}),
        (2, 2, {"per_device_train_batch_size": 8}),
    ],
)
def test_a_run_killed_at_random_ends_at_the_same_bits(
    start_run, run_to_the_end, make_settings, tmp_path, num_processes, kills, overrides
):
    whole = run_to_the_end(num_processes, **overrides)
    settings = make_settings(tmp_path, resume_from_checkpoint=True, checkpointing_steps="1", **overrides)
    moments = random.Random(0)

    def newest() -> list[Path]:
        return [path for stage in ("stage1", "stage2") for path in states(tmp_path, stage)[-1:]]

    for _ in range(kills):
        before = newest()
        start_run(settings, num_processes).kill_when(lambda before=before: newest() not in (before, []))
    # What a disk that was full, or a power cut, can leave of the newest state.
    damaged = newest()[-1] / "optimizer.safetensors"
    damaged.write_bytes(damaged.read_bytes()[:-100])
    for _ in range(kills):
        run = start_run(settings, num_processes)
        time.sleep(moments.uniform(0.5, 3.0))
        run.kill()
        run.wait()
    start_run(settings, num_processes).finish()
    assert_same_end(tmp_path, whole)


def test_a_state_that_was_being_written_is_passed_over(start_run, run_to_the_end, make_settings, tmp_path):
    settings = make_settings(tmp_path, resume_from_checkpoint=True, checkpointing_steps="1")
    folder = checkpoint_folder(tmp_path, "stage1")
    start_run(settings).kill_when(lambda: len(states(tmp_path)) >= 1 and bool(list(folder.glob("step-*.unfinished"))))
    assert list(folder.glob("step-*.unfinished"))
    start_run(settings).finish()
    assert_same_end(tmp_path, run_to_the_end())


def test_ctrl_c_saves_and_says_how_to_go_on(start_run, run_to_the_end, make_settings, tmp_path):
    settings = make_settings(tmp_path, resume_from_checkpoint=True, checkpointing_steps="1")
    run = start_run(settings)
    assert run.kill_when(lambda: bool(states(tmp_path, "stage2")), signal.SIGINT) == [130]
    log = run.log.read_text()
    assert "SIGINT: finishing this step and saving." in log
    assert "`--resume_from_checkpoint true` continues from there" in log
    # Without states inside epochs it can go on from the middle of an epoch, too: the interruption has saved one.
    start_run(settings | {"checkpointing_steps": "epoch"}).finish()
    assert_same_end(tmp_path, run_to_the_end())


def test_processes_stop_together_though_one_alone_was_asked(start_run, run_to_the_end, make_settings, tmp_path):
    overrides = {"per_device_train_batch_size": 8}
    settings = make_settings(tmp_path, resume_from_checkpoint=True, checkpointing_steps="1", **overrides)
    run = start_run(settings, 2)
    everyone, run.ids = run.ids, run.ids[1:]
    assert run.kill_when(lambda: bool(states(tmp_path)), signal.SIGTERM) == [143]
    run.ids = everyone[:1]
    assert run.wait() == [143]
    start_run(settings, 2).finish()
    assert_same_end(tmp_path, run_to_the_end(2, **overrides))


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="a process is halted to keep the folder")
def test_two_runs_never_share_a_folder(start_run, run_to_the_end, make_settings, tmp_path):
    """Also if the second one may overwrite the first, as a job that is started twice."""
    settings = make_settings(tmp_path / "run")
    first = start_run(settings, 2)
    deadline = time.monotonic() + 120
    while not (tmp_path / "run" / "settings.yaml").exists():
        assert time.monotonic() < deadline, first.log.read_text()
        time.sleep(0.01)
    first.kill(signal.SIGSTOP)
    second = start_run(settings | {"overwrite_output_dir": True, "seed": 7}, 2)
    # Both of its processes, of which one alone looks at the folder.
    assert second.wait() == [1, 1]
    assert "Another process is training in" in second.log.read_text()
    first.kill(signal.SIGCONT)
    first.finish()
    assert_same_end(tmp_path / "run", run_to_the_end(2))


def test_a_run_goes_on_only_with_as_many_processes_as_before(make_arguments, tmp_path):
    folder = RunFolder(tmp_path)
    arguments = make_arguments(tmp_path)
    folder.open(arguments, {"num_processes": 2})
    with pytest.raises(ValueError, match=r"was started with 2 process\(es\), but this one has 1"):
        folder.check(replace(arguments, resume_from_checkpoint=True), num_processes=1)


def test_where_and_how_fast_a_run_goes_on_may_change(make_arguments, tmp_path):
    folder = RunFolder(tmp_path)
    arguments = make_arguments(tmp_path)
    folder.open(arguments, {"num_processes": 1})
    free = {
        "checkpointing_steps": "7",
        "num_cpu_threads": 2,
        "report_to": ["tensorboard"],
        "dataloader_num_workers": 3,
    }
    folder.check(replace(arguments, resume_from_checkpoint=True, **free), num_processes=1)
    with pytest.raises(ValueError, match="stage2_epochs was 2, but is 9"):
        folder.check(replace(arguments, resume_from_checkpoint=True, stage2_epochs=9), num_processes=1)


def test_other_versions_than_at_the_start_are_a_warning(make_arguments, tmp_path, caplog):
    folder = RunFolder(tmp_path)
    arguments = make_arguments(tmp_path, resume_from_checkpoint=True)
    folder.open(arguments, {"num_processes": 1, "packages": {"torch": "2.11.0"}})
    (checkpoint_folder(tmp_path, "stage1") / "step-000000001").mkdir(parents=True)
    folder.open(arguments, {"num_processes": 1, "packages": {"torch": "2.15.0"}})
    assert "was started with other versions (torch 2.11.0, now 2.15.0)" in caplog.text


def test_pictures_of_a_run_that_is_overwritten_go(make_arguments, tmp_path):
    for name in ("results.png", "photo.png", "mine.png"):
        (tmp_path / name).touch()
    RunFolder(tmp_path).open(make_arguments(tmp_path, resume_from_checkpoint=True), {})
    assert (tmp_path / "results.png").exists()
    RunFolder(tmp_path).open(make_arguments(tmp_path, overwrite_output_dir=True), {})
    assert [path.name for path in tmp_path.glob("*.png")] == ["mine.png"]


def test_settings_that_are_written_down_neither_resume_nor_overwrite(make_arguments, tmp_path):
    arguments = make_arguments(tmp_path, resume_from_checkpoint=True, overwrite_output_dir=True)
    RunFolder(tmp_path).open(arguments, {"num_processes": 1})
    written = read_settings((tmp_path / "settings.yaml").read_text(), "settings.yaml")
    assert not written["resume_from_checkpoint"]
    assert not written["overwrite_output_dir"]
    assert written["stage1_epochs"] == 2
