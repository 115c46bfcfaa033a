import sys

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from hiva_hf.training.hiva_runs import HiVATrainingRun
from hiva_hf.training.tracking import check_trackers


def test_tensorboard_gets_steps_and_epochs(make_arguments, tmp_path):
    arguments = make_arguments(tmp_path, report_to=["tensorboard"], logging_steps=1, stage2_epochs=1)
    HiVATrainingRun(arguments).run()
    events = EventAccumulator(str(tmp_path / "hiva-hf"))
    events.Reload()
    for name in ("loss", "learning_rate", "grad_norm"):
        assert [event.step for event in events.Scalars(f"stage1/train/{name}")] == [1, 2, 3, 4, 5, 6]
        assert [event.step for event in events.Scalars(f"stage2/train/{name}")] == [7, 8, 9]
    # Of the step itself, without a warm-up: the first has the peak, half-way it is half of that.
    rates = [event.value for event in events.Scalars("stage1/train/learning_rate")]
    assert (rates[0], rates[3]) == pytest.approx((1e-3, 5e-4))
    tower_rates = [event.value for event in events.Scalars("stage1/train/backbone_learning_rate")]
    assert tower_rates == pytest.approx([0.1 * rate for rate in rates])
    assert [event.step for event in events.Scalars("stage1/validation/mean_roc_auc")] == [3, 6]
    assert [event.step for event in events.Scalars("stage2/validation/f1_AU12")] == [9]


def test_trackio_gets_the_run_without_a_network(start_run, make_settings, tmp_path):
    settings = make_settings(tmp_path / "run", report_to=["trackio"], logging_steps=1, stage2_epochs=1)
    start_run(settings, environment={"TRACKIO_DIR": str(tmp_path / "trackio")}).finish()
    (database,) = (tmp_path / "trackio").glob("hiva-hf*.db")
    content = database.read_bytes()
    assert b"stage1/train/loss" in content
    assert b"stage2/validation/mean_roc_auc" in content


def test_none_means_no_tracker():
    assert check_trackers(["none"]) == check_trackers([]) == []


def test_an_unknown_tracker_is_refused():
    with pytest.raises(ValueError, match="`report_to` names 'tensorbord', but it must be one of tensorboard, trackio"):
        check_trackers(["tensorbord"])


def test_a_missing_tracker_is_named_with_the_command_that_installs_it(monkeypatch):
    monkeypatch.setattr(sys, "path", [])
    monkeypatch.delitem(sys.modules, "trackio", raising=False)
    with pytest.raises(ImportError, match=r'trackio, which is not installed: `pip install "hiva-hf\[tracking\]"`'):
        check_trackers(["trackio"])
