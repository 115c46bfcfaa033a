"""A checkpoint is scored on AUs that it shares with a data set, and on people whom it has not met."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from accelerate import PartialState
from huggingface_hub.errors import LocalEntryNotFoundError
from transformers import AutoImageProcessor, AutoModel

from hiva_hf.data import AU_SETS, load_au_dataset
from hiva_hf.experiments.checkpoint_evaluation import (
    check_unseen_subjects,
    common_aus,
    predict_checkpoint,
    read_subject_record,
)


AU_LABELS = ("AU1", "AU4", "AU12", "AU25")
BP4D_PARTS = {"F001": 1, "F002": 1, "F003": 2, "F005": 2, "F004": 3, "F006": 3}


@pytest.fixture
def checkpoint(tiny_model_dir, tmp_path):
    """A detector that tells that it was trained on SynthFACS, fold 1."""
    folder = tmp_path / "checkpoint"
    shutil.copytree(tiny_model_dir, folder)
    subjects = {
        f"{name}_subjects": sorted(set(load_au_dataset("synthfacs", fold=1, split=split)["subject"]))
        for name, split in (("training", "train"), ("validation", "validation"), ("test", "test"))
    }
    (folder / "all_results.json").write_text(json.dumps({"dataset": "synthfacs", "fold": 1, **subjects}))
    return str(folder)


@pytest.fixture
def bp4d(tmp_path, write_prepared):
    folder = tmp_path / "bp4d"
    rows = write_prepared(folder, "bp4d", BP4D_PARTS)
    return str(folder), [row for row in rows if row["fold"] == 1]


def probabilities_of(checkpoint: str, faces) -> np.ndarray:
    """What the model itself says of rows of a data set."""
    pixels = AutoImageProcessor.from_pretrained(checkpoint)(faces["image"][:], return_tensors="pt")["pixel_values"]
    with torch.no_grad():
        return AutoModel.from_pretrained(checkpoint)(pixels).logits.sigmoid().numpy()


def test_processes_that_would_each_evaluate_everything_are_found_out(checkpoint, monkeypatch):
    # Of a process that knows of no other.
    PartialState(cpu=True)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(RuntimeError, match="2 processes were started, but this run has 1"):
        predict_checkpoint(checkpoint, "synthfacs", max_samples=2, mixed_precision="no")


def test_predictions_are_those_of_the_model_for_the_rows_of_the_split(checkpoint):
    predicted = predict_checkpoint(checkpoint, "synthfacs", max_samples=20, mixed_precision="no", batch_size=8)
    faces = load_au_dataset("synthfacs", fold=1, split="test")
    faces = faces.select(np.linspace(0, len(faces) - 1, 20).astype(int))
    np.testing.assert_allclose(predicted.probabilities, probabilities_of(checkpoint, faces), atol=1e-5)
    assert predicted.au_labels == AU_LABELS
    assert predicted.subject.tolist() == faces["subject"][:]
    assert predicted.frame.tolist() == faces["frame"][:]
    columns = [AU_SETS["synthfacs"].index(int(label[2:])) for label in AU_LABELS]
    assert predicted.labels.tolist() == np.array(faces["labels"])[:, columns].tolist()


def test_on_another_data_set_only_shared_aus_are_predicted(checkpoint, bp4d, caplog):
    folder, rows = bp4d
    predicted = predict_checkpoint(checkpoint, "bp4d", folder, fold=1, mixed_precision="no")
    assert predicted.au_labels == ("AU1", "AU4", "AU12")
    assert "bp4d does not code AU25: left out of every score" in caplog.text
    columns = [AU_SETS["bp4d"].index(number) for number in (1, 4, 12)]
    expected = {
        (row["subject"], row["task"], row["frame"]): [row["labels"][column] for column in columns] for row in rows
    }
    found = dict(zip(predicted.faces, predicted.labels.tolist(), strict=True))
    assert found == expected
    assert -100 in predicted.labels
    everything = predict_checkpoint(checkpoint, "bp4d", folder, fold=2, mixed_precision="no")
    assert set(everything.subject) == {"F003", "F005"}


def test_probabilities_stay_with_their_au_when_one_in_the_middle_is_left_out(checkpoint, tmp_path, write_prepared):
    write_prepared(tmp_path / "own", "custom", {"A": 1, "B": 2, "C": 3}, aus=(4, 25))
    predicted = predict_checkpoint(checkpoint, "custom", str(tmp_path / "own"), mixed_precision="no")
    assert predicted.au_labels == ("AU4", "AU25")
    faces = load_au_dataset("custom", tmp_path / "own", fold=1, split="test")
    np.testing.assert_allclose(predicted.probabilities, probabilities_of(checkpoint, faces)[:, [1, 3]], atol=1e-5)
    assert predicted.labels.tolist() == faces["labels"][:]


def test_training_subjects_are_refused_unless_asked_for(checkpoint):
    with pytest.raises(ValueError, match=r"was trained on \d+ of these \d+ subjects of synthfacs \(S\d+, "):
        predict_checkpoint(checkpoint, "synthfacs", split="train", max_samples=40)
    with pytest.raises(ValueError, match="was trained on"):
        predict_checkpoint(checkpoint, "synthfacs", fold=2, max_samples=40)
    allowed = predict_checkpoint(
        checkpoint, "synthfacs", split="train", max_samples=8, allow_training_subjects=True, mixed_precision="no"
    )
    assert len(allowed) == 8


def test_subjects_that_chose_the_epoch_count_as_met_unless_called_validation(checkpoint):
    validation = load_au_dataset("synthfacs", fold=1, split="validation")["subject"][:]
    with pytest.raises(ValueError, match="had its epoch selected on"):
        check_unseen_subjects(checkpoint, "synthfacs", validation, "test")
    check_unseen_subjects(checkpoint, "synthfacs", validation, "validation")
    training = load_au_dataset("synthfacs", fold=1, split="train")["subject"][:]
    with pytest.raises(ValueError, match="was trained on"):
        check_unseen_subjects(checkpoint, "synthfacs", training, "validation")


def test_people_of_another_data_set_are_other_people(checkpoint):
    training = read_subject_record(checkpoint).training
    check_unseen_subjects(checkpoint, "disfa", sorted(training), "test")


def test_a_checkpoint_that_tells_nothing_is_refused_unless_asked_for(tiny_model_dir):
    assert read_subject_record(str(tiny_model_dir)) is None
    with pytest.raises(ValueError, match="does not record which subjects it was trained on"):
        predict_checkpoint(str(tiny_model_dir), "synthfacs", max_samples=4)
    predicted = predict_checkpoint(
        str(tiny_model_dir), "synthfacs", max_samples=4, allow_training_subjects=True, mixed_precision="no"
    )
    assert len(predicted) == 4


@pytest.mark.parametrize("record", [b"{", b"[]", b"\xff"])
def test_a_damaged_record_is_refused_by_name(tmp_path, record):
    (tmp_path / "all_results.json").write_bytes(record)
    with pytest.raises(ValueError, match="all_results.json is damaged"):
        read_subject_record(str(tmp_path))


@pytest.mark.parametrize("max_samples", [0, -1])
def test_less_than_one_face_is_refused(max_samples):
    with pytest.raises(ValueError, match=f"`max_samples` is {max_samples}, but at least 1 face"):
        predict_checkpoint("anywhere", "synthfacs", max_samples=max_samples)


def test_a_hub_that_is_not_reached_is_not_taken_for_one_without_a_record():
    with pytest.raises(LocalEntryNotFoundError):
        read_subject_record("nobody/no-such-detector")


def test_a_hub_checkpoint_without_record_tells_nothing(hub_server, tmp_path):
    code = (
        "import io; from huggingface_hub import HfApi; api = HfApi(); api.create_repo('org/no-record');"
        "api.upload_file(path_or_fileobj=io.BytesIO(b'{}'), path_in_repo='config.json', repo_id='org/no-record');"
        "from hiva_hf.experiments.checkpoint_evaluation import read_subject_record;"
        "print(read_subject_record('org/no-record'))"
    )
    environment = hub_server.environment(tmp_path / "home", hub_server.token)
    client = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=120)
    assert client.stdout == "None\n", client.stderr


def test_without_a_shared_au_there_is_nothing_to_score():
    assert common_aus(("AU12", "AU1"), (1, 2, 12)) == ["AU12", "AU1"]
    with pytest.raises(ValueError, match="The model detects AU43, none of which this data set codes"):
        common_aus(("AU43",), (1, 2))
