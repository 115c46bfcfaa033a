"""`examples/train.py`: what is wrong is told in a line, before any training."""

import sys

import pytest


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--photo", "nowhere.jpg"], r"^train\.py: .*nowhere\.jpg"),
        (["--dataset", "bp4d", "--preset", "demo", "--data_dir", "nowhere"], r"^train\.py: .*nowhere"),
        (["--report_to", "tensorbord"], r"^train\.py: `report_to` names 'tensorbord'"),
        (["--per_device_train_batch_size", "4000"], r"^train\.py: .*one optimizer step needs 4000"),
        (["--num_neighbors", "30"], r"^train\.py: `num_neighbors`"),
        (["--expected_num_processes", "3"], r"^train\.py: This run has 1 process"),
    ],
)
def test_a_mistake_is_told_in_a_line_and_nothing_is_written(
    example, small_settings, monkeypatch, tmp_path, words, message
):
    settings = small_settings(output_dir=str(tmp_path / "run"))
    options = [word for name, value in settings.items() for word in (f"--{name}", str(value))]
    monkeypatch.setattr(sys, "argv", ["train.py", *options, *words])
    with pytest.raises(SystemExit, match=message):
        example("train").main()
    assert not (tmp_path / "run").exists()
