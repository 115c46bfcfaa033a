import pytest

from hiva_hf.training.arguments import AUTrainingArguments
from hiva_hf.training.hiva_runs import HiVATrainingRun
from hiva_hf.training.model_runs import make_run
from hiva_hf.training.settings import parse_arguments
from hiva_hf.training.vl_fau_runs import VLFAUTrainingRun


def test_settings_choose_the_run(make_arguments, tmp_path):
    assert type(make_run(make_arguments(tmp_path / "vl-fau", model="vl_fau"))) is VLFAUTrainingRun
    assert type(make_run(make_arguments(tmp_path / "hiva"))) is HiVATrainingRun
    assert parse_arguments(["--model", "vl_fau"]).output_dir == "vl-fau-synthfacs"
    with pytest.raises(ValueError, match="`model` is 'vlfau', but it must be one of hiva, vl_fau"):
        AUTrainingArguments(model="vlfau")
    with pytest.raises(ValueError, match="`local_loss_weight` is -1"):
        AUTrainingArguments(local_loss_weight=-1)
