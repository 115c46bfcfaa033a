"""Detectors are loaded by a folder, and what can't be used is told before the work."""

import pytest
import torch
from transformers import pipeline

from hiva_hf import AUDetectionPipeline
from hiva_hf.inference import loading
from hiva_hf.inference.loading import load_detector


@pytest.mark.parametrize("device", ["cuda:99", "nowhere", 99])
def test_a_device_that_is_not_there_is_told_before_the_work(tiny_model_dir, device):
    with pytest.raises(ValueError, match=f"The device {device!r} can't be used here: "):
        load_detector(tiny_model_dir, device=device)


@pytest.mark.parametrize("device", ["cpu", -1, None])
def test_the_processor_has_several_names(tiny_model_dir, device):
    assert load_detector(tiny_model_dir, device=device).device.type == "cpu"


def test_precisions_have_the_names_that_exports_have(tiny_model_dir):
    assert load_detector(tiny_model_dir, dtype="bf16").model.dtype == torch.bfloat16
    for dtype in ("float32", "auto", torch.float32, None):
        assert load_detector(tiny_model_dir, dtype=dtype).model.dtype == torch.float32
    with pytest.raises(ValueError, match="no precision 'half-ish': choose one of float32, bfloat16"):
        load_detector(tiny_model_dir, dtype="half-ish")


def test_a_pipeline_of_other_code_is_named(tiny_model_dir, monkeypatch):
    class Foreign(AUDetectionPipeline):
        """What a repository's code makes: of the same name, but no subclass of the package's."""

    monkeypatch.setattr(loading, "AUDetectionPipeline", Foreign)
    other = pipeline("au-detection", model=str(tiny_model_dir))
    with pytest.raises(ValueError, match="pipeline of hiva_hf.pipeline_au_detection, .*after `import hiva_hf`"):
        load_detector(other)
