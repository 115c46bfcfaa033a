import logging
import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from hiva_hf import atomic_files
from hiva_hf.training.checkpoints import StageCheckpoints, has_checkpoints, read_progress, remove_checkpoints


@pytest.fixture
def checkpoints(tmp_path) -> StageCheckpoints:
    return StageCheckpoints(tmp_path, "stage1", limit=2)


def save(checkpoints: StageCheckpoints, step: int, best_epoch: int = 0) -> Path:
    def write(folder: Path):
        save_file({"weight": torch.full((100,), float(step))}, folder / "model.safetensors")

    return checkpoints.save(step, {"best_epoch": best_epoch, "steps_done": step}, write)


def keep_best(checkpoints: StageCheckpoints, epoch: int) -> Path:
    folder = checkpoints.best_folder(epoch)
    atomic_files.write_folder(folder, lambda path: (path / "model.safetensors").write_bytes(b"best"))
    return folder


def test_the_newest_state_is_found_with_all_that_was_written(checkpoints):
    for step in (2, 10):
        save(checkpoints, step)
    newest = checkpoints.newest_valid()
    assert read_progress(newest)["steps_done"] == 10
    assert load_file(newest / "model.safetensors")["weight"][0] == 10


def test_no_state_is_no_error(checkpoints, tmp_path):
    assert checkpoints.newest_valid() is None
    assert not has_checkpoints(tmp_path)


def damage(path: Path, kind: str):
    model, manifest = path / "model.safetensors", path / "manifest.json"
    content = model.read_bytes()
    if kind == "truncated":
        model.write_bytes(content[:-7])
    elif kind == "flipped":
        model.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    elif kind == "missing":
        model.unlink()
    elif kind == "no manifest":
        manifest.unlink()
    else:
        manifest.write_text(manifest.read_text()[:20])


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("truncated", r"model.safetensors has \d+ bytes, but \d+ were written"),
        ("flipped", "the content of model.safetensors has changed"),
        ("missing", "model.safetensors is missing"),
        ("no manifest", "manifest.json is missing"),
        ("half a manifest", "manifest.json is not readable as JSON"),
    ],
)
def test_a_damaged_state_is_passed_over_and_named(checkpoints, caplog, kind, message):
    older, newer = save(checkpoints, 1), save(checkpoints, 2)
    damage(newer, kind)
    with caplog.at_level(logging.WARNING):
        assert checkpoints.newest_valid() == older
    assert caplog.records[-1].getMessage().startswith(f"The checkpoint {newer} is damaged and skipped")
    assert re.search(message, caplog.records[-1].getMessage())


def test_old_states_are_pruned_with_the_weights_that_only_they_need(checkpoints, tmp_path):
    for epoch in (1, 2, 3):
        keep_best(checkpoints, epoch)
        save(checkpoints, 10 * epoch, best_epoch=epoch)
    assert sorted(path.name for path in checkpoints.folder.iterdir()) == [
        "best-epoch-002",
        "best-epoch-003",
        "step-000000020",
        "step-000000030",
    ]
    assert has_checkpoints(tmp_path)


@pytest.mark.parametrize("limit", [1, 2, 3, 5, 7])
def test_as_many_states_are_kept_as_the_limit_says(tmp_path, limit):
    checkpoints = StageCheckpoints(tmp_path, "stage1", limit)
    for step in range(1, 10):
        save(checkpoints, step)
        kept = [int(path.name.split("-")[1]) for path in sorted(checkpoints.folder.iterdir())]
        assert kept == list(range(1, step + 1))[-limit:]


@pytest.mark.parametrize("limit", [1, 2])
def test_a_state_written_after_going_back_behind_a_damaged_one_is_kept(tmp_path, limit):
    checkpoints = StageCheckpoints(tmp_path, "stage1", limit)
    save(StageCheckpoints(tmp_path, "stage1", limit=5), 10)
    damage(save(StageCheckpoints(tmp_path, "stage1", limit=5), 30), "truncated")
    written = save(checkpoints, 20)
    assert checkpoints.newest_valid() == written
    assert not (checkpoints.folder / "step-000000030").exists()


def test_a_state_is_replaced_by_one_of_the_same_step(checkpoints):
    damage(save(checkpoints, 5), "flipped")
    assert checkpoints.newest_valid() is None
    written = save(checkpoints, 5)
    assert checkpoints.newest_valid() == written
    assert [path.name for path in checkpoints.folder.iterdir()] == [written.name]


def test_what_could_not_be_written_leaves_the_older_state_alone(checkpoints):
    older = save(checkpoints, 1)

    def fail(folder: Path):
        (folder / "model.safetensors").write_bytes(b"half")
        raise OSError("No space left on device")

    with pytest.raises(OSError, match="No space left"):
        checkpoints.save(2, {"best_epoch": 0}, fail)
    assert checkpoints.newest_valid() == older
    save(checkpoints, 3)
    assert not list(checkpoints.folder.glob("*.unfinished"))


def test_removing_leaves_nothing(checkpoints, tmp_path):
    save(checkpoints, 1)
    remove_checkpoints(tmp_path)
    assert list(tmp_path.iterdir()) == []
