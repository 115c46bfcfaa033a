"""A new Action Unit from a sentence: the command end to end with small towers, and the head that it leaves."""

import json
import sys
from dataclasses import replace

import pytest
import torch

from hiva_hf.data import AU_SETS, load_au_dataset
from hiva_hf.evaluation.bootstrap import bootstrap_scores
from hiva_hf.evaluation.metrics import compute_roc_auc
from hiva_hf.file_locks import locked_output
from hiva_hf.open_vocabulary import OpenVocabularyDetector
from hiva_hf.open_vocabulary.leave_one_out import LeaveOneOut, LeaveOneOutSettings
from hiva_hf.open_vocabulary.report import ABOVE, BELOW, NOT_SHOWN, write_report


AU_LABELS = [f"AU{number}" for number in AU_SETS["synthfacs"]]


@pytest.fixture(scope="module")
def settings(towers) -> LeaveOneOutSettings:
    return LeaveOneOutSettings(
        seeds=(1, 2),
        image_size=56,
        vision_model_name_or_path=str(towers / "vision"),
        text_model_name_or_path=str(towers / "text"),
        max_faces=150,
    )


@pytest.fixture(scope="module")
def words(settings, tmp_path_factory) -> list[str]:
    folder = tmp_path_factory.mktemp("new-au")
    options = {
        "output_dir": folder,
        "image_size": settings.image_size,
        "vision_model_name_or_path": settings.vision_model_name_or_path,
        "text_model_name_or_path": settings.text_model_name_or_path,
        "max_faces": settings.max_faces,
    }
    return [*(word for name, value in options.items() for word in (f"--{name}", str(value))), "--seeds", "1", "2"]


@pytest.fixture(scope="module")
def finished(words, settings, example) -> LeaveOneOut:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["new_au.py", *words])
        example("new_au").main()
    return LeaveOneOut(words[1], settings)


def test_every_au_is_left_out_with_every_seed(finished):
    assert finished.pending() == []
    record = json.loads((finished.output_dir / "new_au.json").read_text())
    rows = record["table"]["rows"]
    assert [row["AU that was left out"].split()[0] for row in rows] == [*AU_LABELS, "Mean"]
    assert record["command"].startswith("python new_au.py --output_dir")


def test_the_table_holds_the_scores_of_test_subjects(finished):
    own = finished.predictions("own")
    test = load_au_dataset("synthfacs", fold=1, split="test").select(range(150))
    assert own[0].test.subject.tolist() == list(test["subject"])
    assert not set(own[0].test.subjects) & set(load_au_dataset("synthfacs", fold=1, split="train")["subject"])
    rows = json.loads((finished.output_dir / "new_au.json").read_text())["table"]["rows"]
    of_seeds = [compute_roc_auc(part.test.labels, part.test.probabilities) for part in own]
    assert rows[3]["Its description"] == pytest.approx((of_seeds[0][3] + of_seeds[1][3]) / 2)
    scores = bootstrap_scores(own, "roc_auc", over_seeds=True)
    assert rows[3]["95% interval"] == pytest.approx(scores.intervals[3].tolist())
    assert {row["Against 0.5"] for row in rows} <= {ABOVE, BELOW, NOT_SHOWN}


def test_finished_seeds_are_not_repeated_and_other_settings_are_refused(finished, settings, words):
    path = finished.output_dir / "scores" / "seed2.safetensors"
    kept = finished.output_dir / "scores" / "seed1.safetensors"
    before = (path.read_bytes(), kept.stat().st_mtime_ns)
    path.unlink()
    assert finished.pending() == [2]
    with pytest.raises(ValueError, match=r"seeds \[2\] have no scores yet"):
        write_report(finished)
    finished.run()
    # The same seed, the same scores.
    assert (path.read_bytes(), kept.stat().st_mtime_ns) == before
    with pytest.raises(ValueError, match="contains features or scores of other settings"):
        LeaveOneOut(finished.output_dir, LeaveOneOutSettings(seeds=(1, 2), face_ridge=0.5))
    with pytest.raises(ValueError, match="at least two different seeds"):
        LeaveOneOut(finished.output_dir, LeaveOneOutSettings(seeds=(1, 1)))


def test_settings_of_an_attempt_without_features_bind_nobody(settings, tmp_path):
    with pytest.raises(OSError, match="no-such-tower"):
        LeaveOneOut(tmp_path, replace(settings, vision_model_name_or_path=str(tmp_path / "no-such-tower"))).run()
    LeaveOneOut(tmp_path, settings).run()
    with pytest.raises(ValueError, match="contains features or scores of other settings"):
        LeaveOneOut(tmp_path, replace(settings, face_ridge=0.5))


def test_two_processes_never_work_in_one_folder(settings, tmp_path):
    experiment = LeaveOneOut(tmp_path, settings)
    with locked_output(tmp_path), pytest.raises(BlockingIOError, match="is being written by another process"):
        experiment.run()
    assert not list(tmp_path.glob("settings.json"))


def test_the_head_that_is_left_scores_sentences_of_one_s_own(finished, astronaut):
    detector = OpenVocabularyDetector.from_pretrained(finished.head_folder)
    assert list(detector.head.config.trained_aus) == AU_LABELS
    scores = detector([astronaut, astronaut], ["The nostrils are flared.", "The jaw is dropped.", "Hair is long."])
    assert scores.shape == (2, 3)
    assert torch.equal(scores[0], scores[1])
    assert ((scores >= 0) & (scores <= 1)).all()
    torch.testing.assert_close(detector(astronaut, "The jaw is dropped."), scores[:1, 1:2], atol=2e-3, rtol=0)
    with pytest.raises(ValueError, match="no face to score"):
        detector([], ["The jaw is dropped."])
    with pytest.raises(ValueError, match="sentences that describe a movement"):
        detector(astronaut, " ")


def test_features_of_other_faces_are_not_taken(finished, settings, monkeypatch):
    def with_other_labels(*arguments):
        dataset = load_au_dataset(*arguments)
        return dataset.map(lambda row: {"labels": [1 - label for label in row["labels"]]}, load_from_cache_file=False)

    monkeypatch.setattr("hiva_hf.open_vocabulary.leave_one_out.load_au_dataset", with_other_labels)
    with pytest.raises(ValueError, match="was made from other faces or labels than synthfacs has now"):
        LeaveOneOut(finished.output_dir, settings).faces("test")


def test_a_head_that_was_not_written_whole_is_made_again(finished):
    weights = finished.head_folder / "model.safetensors"
    before = weights.read_bytes()
    weights.unlink()
    finished.run()
    assert weights.read_bytes() == before
