import json
import sys
from importlib.metadata import PackageNotFoundError, version

import pytest
import torch
from torch._inductor import config as inductor_config

from hiva_hf.export import export_detector, exporting, load_exported
from hiva_hf.export.formats import default_dtype
from hiva_hf.export.programs import check_compiler


# The largest difference of a logit of the tiny detector, about 1 in size.
TOLERANCES = {
    ("openvino", "fp32"): 1e-4,
    ("openvino", "bf16"): 0.05,
    ("openvino", "int8"): 0.3,
    ("onnx", "fp32"): 1e-4,
    ("onnx", "int8"): 0.3,
    ("torch", "fp32"): 1e-4,
    ("torch", "bf16"): 0.05,
    ("torch", "int8"): 0.3,
}


@pytest.mark.parametrize(("format", "dtype"), TOLERANCES)
def test_export_gives_the_outputs_of_the_detector_for_any_batch_size(exports, detector, format, dtype):
    folder, _ = exports(format, dtype)
    exported = load_exported(folder, trust_remote_code=format == "torch")
    for batch_size in (1, 3, 18):
        pixels = torch.randn(batch_size, 3, 56, 56)
        with torch.no_grad():
            expected = detector(pixel_values=pixels, output_attentions=True)
        outputs = exported(pixel_values=pixels, output_attentions=True)
        assert type(outputs) is type(expected) and outputs.keys() == expected.keys()
        for name in expected:
            scale = expected[name].abs().max().clamp(min=1)
            torch.testing.assert_close(
                outputs[name] / scale, expected[name] / scale, atol=TOLERANCES[format, dtype], rtol=0
            )


@pytest.mark.parametrize(("format", "dtype"), [("openvino", "int8"), ("onnx", "fp32"), ("torch", "int8")])
def test_folder_tells_what_it_was_made_from(exports, format, dtype):
    folder, report = exports(format, dtype)
    entry = json.loads((folder / "export.json").read_text())["hiva"]
    assert entry["dtype"] == dtype and entry["num_comparison_faces"] == 4
    assert entry["num_calibration_faces"] == (8 if dtype == "int8" else 0)
    assert entry["packages"]["torch"] == version("torch")
    assert 0 < entry["largest_probability_change"] == report.largest_probability_change < 0.1
    assert {"config.json", "preprocessor_config.json"} < {file.name for file in folder.iterdir()}
    assert not (folder / "model.safetensors").exists()


def test_linear_layers_alone_are_computed_in_8_bits(exports):
    folder, _ = exports("openvino", "int8")
    program = pytest.importorskip("openvino").Core().read_model(folder / "openvino_model.xml")
    kinds = set()
    for product in (node for node in program.get_ops() if node.get_type_name() == "MatMul"):
        left, right = (value.get_node() for value in product.input_values())
        is_quantized = left.get_type_name() == "FakeQuantize"
        has_weights = right.get_type_name() in ("Constant", "Multiply")
        has_many_channels = has_weights and min(right.output(0).get_shape()[-2:]) >= 96
        assert is_quantized == has_many_channels, product
        kinds.add((has_weights, has_many_channels))
    assert kinds == {(True, True), (True, False), (False, False)}


def test_linear_layers_alone_read_8_bits_in_onnx_and_write_32(exports, detector):
    onnx = pytest.importorskip("onnx")
    folder, _ = exports("onnx", "int8")
    graph = onnx.load(folder / "model.onnx", load_external_data=False).graph
    made_by = {output: node.op_type for node in graph.node for output in node.output}
    products = [node for node in graph.node if node.op_type in ("MatMul", "Gemm")]
    quantized = [all(made_by.get(name) == "DequantizeLinear" for name in node.input[:2]) for node in products]
    blocks = [block for stage in detector.vision_model.backbone.timm_model.layers for block in stage.blocks]
    # Four in each block, the embedding of patches, the layer that merges them, and those of the heads.
    assert sum(quantized) >= 4 * len(blocks) + 2
    # Each block's attention has two products without weights.
    assert quantized.count(False) >= 2 * len(blocks)
    # What is converted for another reason than to be multiplied with weights.
    read = {name for node in products for name in node.input[:2]}
    converted = [node for node in graph.node if node.op_type == "DequantizeLinear"]
    assert not [node.name for node in converted if node.output[0] not in read]
    assert not [node for node in graph.node if node.op_type in ("Where", "IsNaN")]


def test_a_quantizer_that_finds_nothing_to_round_is_told(detector, image_processor, tmp_path, monkeypatch):
    """As that of torchao with PyTorch 2.11."""
    from hiva_hf.export import torch_quantizer

    monkeypatch.setattr(torch_quantizer, "prepare_pt2e", lambda model, quantizer: model)
    with pytest.raises(ImportError, match="found no layer to quantize with PyTorch"):
        export_detector(detector, image_processor, tmp_path / "export", "torch", "int8", progress=False)
    assert not (tmp_path / "export").exists()


def test_linear_layers_of_torch_are_kept_in_8_bits_alone(exports, detector):
    folder, _ = exports("torch", "int8")
    weights = torch.export.load(folder / "model.pt2").state_dict
    shapes = {tensor.shape for tensor in weights.values() if tensor.dtype == torch.int8}
    block = detector.vision_model.backbone.timm_model.layers[1].blocks[0]
    linear = [block.attn.qkv, block.attn.proj, block.mlp.fc1, block.mlp.fc2]
    assert {layer.weight.shape for layer in linear} <= shapes
    assert not [name for name, tensor in weights.items() if tensor.dtype == torch.float32 and tensor.shape in shapes]


def test_detector_is_left_as_it_was(exports, detector):
    exports("torch", "bf16")
    assert not detector.is_fused and detector.dtype == torch.float32
    assert all(parameter.requires_grad for parameter in detector.parameters())


@pytest.mark.parametrize(
    ("format", "dtype", "reason"),
    [
        ("onnx", "bf16", "no bfloat16"),
        ("tflite", "fp32", "openvino, onnx, torch"),
        ("onnx", "int4", "fp32, bf16, int8"),
    ],
)
def test_combination_that_does_not_exist_is_refused(detector, image_processor, tmp_path, format, dtype, reason):
    with pytest.raises(ValueError, match=reason):
        export_detector(detector, image_processor, tmp_path / "out", format, dtype)
    assert not list(tmp_path.iterdir())


def test_precision_by_default_is_one_that_the_format_has(detector, image_processor, tmp_path):
    assert (default_dtype("openvino"), default_dtype("torch")) == ("bf16", "bf16")
    pytest.importorskip("onnxscript")
    out = tmp_path / "out"
    report = export_detector(detector, image_processor, out, "onnx", num_comparison_faces=2, progress=False)
    assert report.dtype == "fp32"


def test_a_folder_that_came_meanwhile_is_not_overwritten(detector, image_processor, tmp_path, monkeypatch):
    export_program = exporting._export_program

    def export_beside_others(*arguments):
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "model.onnx").write_text("theirs")
        return export_program(*arguments)

    monkeypatch.setattr(exporting, "_export_program", export_beside_others)
    with pytest.raises(FileExistsError, match="was filled by another process meanwhile"):
        export_detector(detector, image_processor, tmp_path / "out", "torch", "fp32", num_comparison_faces=2)
    assert [path.name for path in tmp_path.rglob("*")] == ["out", "model.onnx"]


def test_folder_that_holds_something_is_not_overwritten(detector, image_processor, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="Pass a new folder"):
        export_detector(detector, image_processor, tmp_path, "torch", "fp32")
    assert [file.name for file in tmp_path.iterdir()] == ["notes.txt"]


@pytest.mark.parametrize(
    ("format", "dtype", "module", "extra"),
    [
        ("openvino", "fp32", "openvino", "openvino"),
        ("onnx", "fp32", "onnxscript", "onnx"),
        ("torch", "int8", "torchao", "torchao"),
    ],
)
def test_missing_packages_are_told_in_one_line(
    monkeypatch, detector, image_processor, tmp_path, format, dtype, module, extra
):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=rf'pip install "hiva-hf\[{extra}\]"') as caught:
        export_detector(detector, image_processor, tmp_path / "out", format, dtype)
    assert "\n" not in str(caught.value)


def test_missing_compiler_is_told_before_the_work(detector, image_processor, tmp_path):
    with (
        inductor_config.patch({"cpp.cxx": (None, "/none/g++")}),
        pytest.raises(OSError, match=r"needs a C\+\+ compiler: install one"),
    ):
        export_detector(detector, image_processor, tmp_path / "out", "torch", "int8")
    assert not list(tmp_path.iterdir())


def test_empty_folder_that_is_there_is_filled(detector, image_processor, tmp_path, monkeypatch):
    (tmp_path / "mounted").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "mounted")
    monkeypatch.chdir(tmp_path / "link")
    export_detector(detector, image_processor, ".", "torch", "fp32", num_comparison_faces=1, progress=False)
    names = {file.name for file in (tmp_path / "mounted").iterdir()}
    assert names == {"export.json", "model.pt2", "config.json", "preprocessor_config.json"}
    assert load_exported(tmp_path / "link", trust_remote_code=True).config.au_labels == detector.config.au_labels
    assert {file.name for file in tmp_path.iterdir()} == {"mounted", "link"}


def test_package_of_another_name_has_a_version(monkeypatch, detector, image_processor, tmp_path):
    def version_of(name):
        if name == "timm":
            raise PackageNotFoundError(name)
        return version(name)

    monkeypatch.setattr("hiva_hf.export.exporting.version", version_of)
    out = tmp_path / "out"
    report = export_detector(detector, image_processor, out, "torch", "fp32", num_comparison_faces=1, progress=False)
    assert report.packages["timm"] == version("timm")


def test_comparison_needs_a_face(detector, image_processor, tmp_path):
    with pytest.raises(ValueError, match="`num_comparison_faces` must be at least 1, got 0"):
        export_detector(detector, image_processor, tmp_path / "out", "torch", "fp32", num_comparison_faces=0)


def test_calibration_needs_a_face(detector, image_processor, tmp_path):
    with pytest.raises(ValueError, match="`num_calibration_faces` must be at least 1 for int8, got 0"):
        export_detector(detector, image_processor, tmp_path / "out", "onnx", "int8", num_calibration_faces=0)


@pytest.mark.parametrize("format", ["openvino", "onnx", "torch"])
def test_a_swin_without_biases_of_its_attention(detector_without_biases, image_processor, tmp_path, format):
    pytest.importorskip({"torch": "torch"}.get(format, format))
    out = tmp_path / "out"
    options = {"num_comparison_faces": 2, "progress": False}
    report = export_detector(detector_without_biases, image_processor, out, format, "fp32", **options)
    assert report.largest_probability_change < TOLERANCES[format, "fp32"]


def test_missing_headers_of_python_are_told(monkeypatch, tmp_path):
    monkeypatch.setattr("sysconfig.get_path", lambda name: str(tmp_path))
    with pytest.raises(OSError, match="needs the headers of Python: install them"):
        check_compiler()
