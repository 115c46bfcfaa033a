"""The detector as one graph: compiled, and exported with a free batch size."""

import shutil

import pytest
import torch

from hiva_hf import HiVAForAUDetection, HiVAForPreTraining


@pytest.fixture(params=["dinov2", "timm"])
def detector(request, make_config, swin_config, tokenizer):
    """An inference checkpoint on either kind of backbone."""
    overrides = {"backbone_config": swin_config} if request.param == "timm" else {}
    model = HiVAForAUDetection(make_config(**overrides)).eval()
    model.encode_descriptions(tokenizer)
    model.drop_text_encoder()
    return model


@pytest.fixture(autouse=True)
def fresh_compiler():
    torch.compiler.reset()


def test_compiled_detector_is_one_graph_and_equals_eager(detector, faces):
    compiled = torch.compile(detector, fullgraph=True, backend="aot_eager")
    with torch.no_grad():
        for inputs in ({}, {"output_attentions": True}):
            expected, outputs = detector(faces, **inputs), compiled(faces, **inputs)
            assert outputs.keys() == expected.keys()
            for name in expected:
                torch.testing.assert_close(outputs[name], expected[name], atol=1e-5, rtol=1e-5)


def test_detector_with_text_encoder_compiles_as_one_graph(tiny_detector, faces, text_inputs):
    compiled = torch.compile(tiny_detector, fullgraph=True, backend="aot_eager")
    with torch.no_grad():
        logits, expected = compiled(faces, **text_inputs).logits, tiny_detector(faces, **text_inputs).logits
    torch.testing.assert_close(logits, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch's own compiler backend needs a C++ compiler")
def test_detector_compiled_to_machine_code_equals_eager(tiny_detector, faces):
    compiled = torch.compile(tiny_detector, fullgraph=True)
    with torch.no_grad():
        torch.testing.assert_close(compiled(faces).logits, tiny_detector(faces).logits, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("model_class", [HiVAForAUDetection, HiVAForPreTraining])
def test_training_step_compiles_as_one_graph(make_config, faces, model_class):
    model = model_class(make_config(hidden_dropout_prob=0.0)).train()
    labels = torch.tensor([[1.0, 0, 1, 0], [0, 0, 1, -100], [1, 1, 1, 1]])
    inputs = {"labels": labels}
    if model_class is HiVAForAUDetection:
        # As training does it: the frozen part of the text encoder ran before.
        inputs["text_hidden_states"] = torch.randn(4, 5, 16)
        inputs["attention_mask"] = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0], [1, 1, 1, 0, 0], [1, 1, 1, 1, 0]])
        model.text_model.encoder.eval()
    losses, gradients = [], []
    for function in (model, torch.compile(model, fullgraph=True, backend="aot_eager")):
        model.zero_grad()
        loss = function(faces, **inputs).loss
        loss.backward()
        losses.append(loss.detach())
        gradients.append({name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None})
    torch.testing.assert_close(*losses)
    torch.testing.assert_close(*gradients, atol=1e-5, rtol=1e-3)


def test_exported_detector_takes_any_batch_size(detector, faces, tmp_path):
    program = torch.export.export(
        detector, (), {"pixel_values": faces}, dynamic_shapes={"pixel_values": {0: torch.export.Dim("batch")}}
    )
    torch.export.save(program, tmp_path / "hiva.pt2")
    exported = torch.export.load(tmp_path / "hiva.pt2").module()
    with torch.no_grad():
        for batch in (faces, faces[:1], torch.randn(7, 3, 56, 56)):
            logits = exported(pixel_values=batch).logits
            torch.testing.assert_close(logits, detector(batch).logits, atol=1e-5, rtol=1e-5)
