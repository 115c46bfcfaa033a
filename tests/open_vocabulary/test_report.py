"""What is said of scores whose distance from chance is known."""

import json

import numpy as np
import pytest

from hiva_hf.evaluation.protocol import FoldPredictions
from hiva_hf.open_vocabulary.leave_one_out import LeaveOneOut, LeaveOneOutSettings
from hiva_hf.open_vocabulary.report import ABOVE, BELOW, NOT_SHOWN, verdict, write_report


@pytest.mark.parametrize(
    ("interval", "expected"),
    [((0.51, 0.9), ABOVE), ((0.2, 0.49), BELOW), ((0.4, 0.6), NOT_SHOWN), ((0.5, 0.6), NOT_SHOWN)],
)
def test_the_verdict_follows_from_the_interval(interval, expected):
    assert verdict(interval) == expected


@pytest.fixture
def experiment(predictions_of, tmp_path, monkeypatch) -> LeaveOneOut:
    """AU1 is always told, AU4 always mistaken, and AU12 a matter of luck, whatever is asked."""
    generator = np.random.default_rng(0)
    labels, luck = generator.integers(0, 2, (200, 3)), generator.random(200)
    scores = np.stack([labels[:, 0], 1 - labels[:, 1], luck], axis=1)
    faces = predictions_of(labels, scores, [f"S{row % 20}" for row in range(200)], ("AU1", "AU4", "AU12"))
    monkeypatch.setattr(LeaveOneOut, "pending", lambda self: [])
    monkeypatch.setattr(
        LeaveOneOut, "predictions", lambda self, query: [FoldPredictions(1, seed, faces) for seed in (1, 2)]
    )
    return LeaveOneOut(tmp_path, LeaveOneOutSettings(seeds=(1, 2)))


def test_the_answer_counts_what_is_shown(experiment):
    text = write_report(experiment, "python new_au.py")
    assert "1 above chance (AU1); 1 below chance (AU4); 1 not shown (AU12). Mean 0." in text
    record = json.loads((experiment.output_dir / "new_au.json").read_text())
    assert [row["Against 0.5"] for row in record["table"]["rows"]] == [ABOVE, BELOW, NOT_SHOWN, NOT_SHOWN]
    assert [row["Its description"] for row in record["table"]["rows"][:2]] == [1, 0]
    assert record["mean"]["own"]["roc_auc"] == record["table"]["rows"][3]["Its description"]
    assert (experiment.output_dir / "new_au.md").read_text() == text + "\n"
    assert "    python new_au.py\n" in text
