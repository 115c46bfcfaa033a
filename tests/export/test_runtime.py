import copy
import importlib
import json
import os
import pickle
import shutil
import subprocess
import sys

import pytest
import torch
from transformers import AutoModel, pipeline

from hiva_hf import HiVAConfig, HiVAForAUDetection, detect
from hiva_hf.export import ExportedDetector, export_detector, load_exported, programs
from hiva_hf.inference.loading import load_detector


@pytest.fixture
def openvino_dir(exports, tmp_path):
    """A copy that a test may spoil."""
    return shutil.copytree(exports("openvino", "fp32")[0], tmp_path / "export")


def test_exported_detector_is_called_as_the_detector(openvino_dir, detector):
    exported = HiVAForAUDetection.from_exported(openvino_dir)
    assert exported.config.au_labels == detector.config.au_labels
    assert exported.device == torch.device("cpu") and exported.dtype == torch.float32
    assert exported.eval() is exported and exported.to("cpu") is exported
    pixels = torch.randn(2, 3, 56, 56)
    assert exported(pixels).keys() == {"logits": 0, "au_features": 0, "visual_features": 0}.keys()
    labels = torch.tensor([[1.0, 0, 1, -100], [0, 0, 1, 1]])
    with torch.no_grad():
        torch.testing.assert_close(exported(pixels, labels=labels).loss, detector(pixels, labels=labels).loss)
    assert torch.equal(exported(pixels, return_dict=False)[0], exported(pixels).logits)


def test_exported_detector_refuses_what_it_can_not_do(openvino_dir):
    exported = load_exported(openvino_dir)
    with pytest.raises(ValueError, match=r"\(3, 56, 56\)"):
        exported(torch.zeros(1, 3, 224, 224))
    with pytest.raises(ValueError, match="`input_ids`"):
        exported(torch.zeros(1, 3, 56, 56), input_ids=torch.zeros(4, 5))
    with pytest.raises(ValueError, match="can't be trained"):
        exported.train()


def test_auto_class_and_pipeline_take_an_export(exports, detector_dir, astronaut):
    folder, _ = exports("openvino", "fp32")
    assert type(AutoModel.from_pretrained(folder)) is ExportedDetector
    options = {"return_attention": True, "return_features": True}
    (face,) = pipeline("au-detection", model=str(folder), **options)(astronaut)
    (expected,) = pipeline("au-detection", model=str(detector_dir), **options)(astronaut)
    assert face["box"] == expected["box"]
    for name in ("ddca_attention", "cdca_attention", "features", "visual_features"):
        torch.testing.assert_close(face[name], expected[name], atol=1e-3, rtol=1e-3)
    for au, other in zip(face["aus"], expected["aus"], strict=True):
        assert au["label"] == other["label"] and au["score"] == pytest.approx(other["score"], abs=1e-3)


def test_detect_takes_an_export(exports, astronaut, tmp_path):
    astronaut.save(tmp_path / "photo.png")
    table = detect(tmp_path / "photo.png", model=exports("onnx", "int8")[0], progress=False)
    assert len(table) == 1 and table["AU12"].between(0, 1).all()


def test_saved_export_is_the_same_export(exports, tmp_path):
    exported = load_exported(exports("openvino", "fp32")[0])
    exported.save_pretrained(tmp_path / "copy")
    pixels = torch.randn(1, 3, 56, 56)
    assert torch.equal(load_exported(tmp_path / "copy")(pixels).logits, exported(pixels).logits)


def test_decisions_that_were_changed_are_saved(exports, tmp_path):
    exported = load_exported(exports("onnx", "fp32")[0])
    for threshold in (0.9, 0.3):
        exported.config.label_thresholds = [threshold] * exported.config.num_labels
        # The second time into its own folder.
        exported.save_pretrained(tmp_path / "copy")
        exported = load_exported(tmp_path / "copy")
        assert set(exported.config.label_thresholds) == {threshold}


def test_an_export_can_be_replaced_while_a_detector_reads_it(exports, tmp_path):
    load_exported(exports("openvino", "fp32")[0]).save_pretrained(tmp_path)
    reader, pixels = load_exported(tmp_path), torch.randn(1, 3, 56, 56)
    load_exported(exports("openvino", "int8")[0]).save_pretrained(tmp_path)
    assert torch.equal(reader(pixels).logits, load_exported(exports("openvino", "fp32")[0])(pixels).logits)
    assert load_exported(tmp_path).manifest.dtype == "int8"


def test_an_export_may_be_copied_from_another_working_directory(exports, tmp_path, monkeypatch):
    folder = exports("onnx", "fp32")[0]
    monkeypatch.chdir(folder.parent)
    exported = load_exported(folder.name)
    monkeypatch.chdir(tmp_path)
    pixels = torch.randn(1, 3, 56, 56)
    assert torch.equal(copy.deepcopy(exported)(pixels).logits, exported(pixels).logits)
    exported.save_pretrained("copy")
    assert torch.equal(load_exported("copy")(pixels).logits, exported(pixels).logits)


def test_a_configuration_that_is_passed_stays_as_it_is(exports):
    folder = exports("onnx", "fp32")[0]
    config = HiVAConfig.from_pretrained(folder)
    config.name_or_path = "mine"
    assert load_exported(folder, config=config).config.name_or_path == str(folder)
    assert config.name_or_path == "mine"


def test_a_program_of_openvino_reads_on_after_ctrl_c(openvino_dir, monkeypatch):
    def interrupt(request):
        raise KeyboardInterrupt

    exported, faces = load_exported(openvino_dir), torch.randn(19, 3, 56, 56)
    logits = exported(faces).logits
    torch.testing.assert_close(torch.cat([exported(face[None]).logits for face in faces]), logits)
    with monkeypatch.context() as patch:
        patch.setattr(programs, "_finished", interrupt)
        with pytest.raises(KeyboardInterrupt):
            exported(faces)
    assert torch.equal(exported(faces).logits, logits)


@pytest.mark.parametrize("format", ["openvino", "onnx", "torch"])
@pytest.mark.parametrize("copied", [copy.deepcopy, lambda value: pickle.loads(pickle.dumps(value))])
def test_a_copy_of_an_export_runs_as_well(exports, format, copied):
    """As processes of `multiprocessing`, joblib and dask get one."""
    exported = load_exported(exports(format, "fp32")[0], trust_remote_code=format == "torch")
    pixels = torch.randn(1, 3, 56, 56)
    assert torch.equal(copied(exported)(pixels).logits, exported(pixels).logits)


@pytest.mark.parametrize("auto_class", [HiVAForAUDetection, AutoModel])
def test_arguments_of_an_export_are_obeyed_or_refused(exports, auto_class):
    folder, _ = exports("openvino", "fp32")
    harmless = {"dtype": "auto", "device_map": "cpu", "revision": None}
    changes = {"label_thresholds": [0.9] * 4, "output_attentions": True}
    exported = auto_class.from_pretrained(folder, num_threads=1, **changes, **harmless)
    assert exported.config.au_thresholds == [0.9] * 4
    assert exported(torch.zeros(1, 3, 56, 56)).ddca_attentions is not None
    with pytest.raises(ValueError, match="`id2label` is .* in the export"):
        auto_class.from_pretrained(folder, id2label={0: "AU1", 1: "AU4", 2: "AU12", 3: "AU6"})
    with pytest.raises(ValueError, match="`hidden_size` is 48, but it is 24 in the export"):
        auto_class.from_pretrained(folder, hidden_size=48)
    with pytest.raises(TypeError, match="loading an export: output_loading_info"):
        auto_class.from_pretrained(folder, output_loading_info=True)


def test_checkpoint_goes_before_an_export_beside_it(openvino_dir, detector_dir):
    shutil.copy(detector_dir / "model.safetensors", openvino_dir)
    assert type(HiVAForAUDetection.from_pretrained(openvino_dir)) is HiVAForAUDetection


def test_pickled_program_is_opened_by_those_who_trust_it_alone(exports, monkeypatch):
    folder, _ = exports("torch", "fp32")
    with monkeypatch.context() as patch:
        patch.setattr(torch.export, "load", lambda *_: pytest.fail("opened"))
        for load in (HiVAForAUDetection.from_exported, HiVAForAUDetection.from_pretrained, load_detector):
            with pytest.raises(ValueError, match="a pickle: .*trust_remote_code=True.`.$"):
                load(folder)
    assert HiVAForAUDetection.from_exported(folder, trust_remote_code=True)(torch.zeros(1, 3, 56, 56)).logits.ndim == 2


# OpenVINO reports by a package of its own; ONNX Runtime leaves files where it has begun to report.
WATCHED = """
import sys, torch
from hiva_hf.export import load_exported
load_exported(sys.argv[1])(torch.zeros(1, 3, 56, 56))
print("reports:", sys.modules.get("openvino_telemetry") is not None)
"""


@pytest.mark.parametrize("format", ["openvino", "onnx"])
def test_running_an_export_tells_nobody(exports, tmp_path, format):
    folder, _ = exports(format, "fp32")
    hidden = ("ORT_DISABLE_TELEMETRY", "XDG_CACHE_HOME", "HF_HOME")
    environment = {name: value for name, value in os.environ.items() if name not in hidden} | {"HOME": str(tmp_path)}
    result = subprocess.run(
        [sys.executable, "-c", WATCHED, folder], env=environment, check=True, capture_output=True, text=True
    )
    assert result.stdout.endswith("reports: False\n")
    assert not [path for path in tmp_path.rglob("*") if "microsoft" in str(path).lower()]


RELEASED = """
import signal, sys, torch
from hiva_hf.export import load_exported
programs = [load_exported(sys.argv[1]) for _ in range(2)]
for program in programs:
    program(torch.zeros(1, 3, 56, 56))
del program
while programs:
    del programs[0]
try:
    signal.raise_signal(signal.SIGINT)
except KeyboardInterrupt:
    print("interrupted")
"""


def test_ctrl_c_interrupts_where_programs_of_openvino_were_released(exports):
    folder, _ = exports("openvino", "fp32")
    result = subprocess.run([sys.executable, "-c", RELEASED, folder], capture_output=True, text=True)
    assert (result.returncode, result.stdout) == (0, "interrupted\n")


FORKED = """
import os, sys, torch
from hiva_hf.export import load_exported
program, pixels = load_exported(sys.argv[1]), torch.zeros(1, 3, 56, 56)
if sys.argv[2] == "after":
    program(pixels)
if sys.argv[2] == "while another thread uses it":
    program._program._lock.acquire()
child = os.fork()
if child == 0:
    try:
        program(pixels)
    except RuntimeError as error:
        print(error, flush=True)
        os._exit(1)
    os._exit(0)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("when", ["before", "after", "while another thread uses it"])
def test_a_program_in_a_fork_runs_or_says_why_not(exports, when):
    """OpenVINO would hang in a fork of a process in which it ran."""
    command = [sys.executable, "-c", FORKED, exports("openvino", "fp32")[0], when]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert (result.returncode, "spawn" in result.stdout) == ((1, True) if when == "after" else (0, False))


def test_a_program_of_torch_runs_where_it_was_moved_to(tiny_detector, image_processor, tmp_path):
    """That of a DINOv2 in bf16 names the device of its input."""
    export_detector(
        tiny_detector, image_processor, tmp_path / "export", "torch", "bf16", num_comparison_faces=2, progress=False
    )
    exported = load_exported(tmp_path / "export", trust_remote_code=True)
    faces = torch.randn(2, 3, 56, 56)
    logits = exported(faces).logits
    assert torch.equal(exported.to("cpu")(faces).logits, logits)
    assert exported.to("meta").device.type == "meta"
    assert exported(faces).logits.device.type == "meta"
    assert copy.deepcopy(exported).device.type == "meta"


def test_int8_program_of_torch_is_compiled_for_two_numbers_of_faces(exports):
    exported = load_exported(exports("torch", "int8")[0], trust_remote_code=True)
    exported(torch.randn(9, 3, 56, 56))
    with torch.compiler.set_stance("fail_on_recompile"):
        for number in (1, 2, 7, 18):
            faces = torch.randn(number, 3, 56, 56)
            expected = exported(faces).logits
            with torch.inference_mode():
                assert torch.equal(exported(faces.clone()).logits, expected)
    with pytest.raises(ValueError, match="`pixel_values` is empty"):
        exported(torch.zeros(0, 3, 56, 56))
    assert exported.to("meta").device.type == "cpu"


def test_int8_program_of_torch_is_computed_in_int8_where_it_was_not_exported(exports):
    script = (
        "import sys, torch; from torch._dynamo.utils import counters; from hiva_hf.export import load_exported\n"
        "load_exported(sys.argv[1], trust_remote_code=True)(torch.zeros(1, 3, 56, 56))\n"
        "print('layers:', counters['inductor']['qlinear_weight_prepack_matcher_count'])"
    )
    folder, _ = exports("torch", "int8")
    result = subprocess.run([sys.executable, "-c", script, folder], check=True, capture_output=True, text=True)
    assert int(result.stdout.rpartition("layers: ")[2]) > 0


def test_missing_package_of_int8_programs_of_torch_is_told(exports, monkeypatch):
    folder, _ = exports("torch", "int8")
    monkeypatch.setitem(sys.modules, "torchao.quantization.pt2e.quantizer.x86_inductor_quantizer", None)
    with pytest.raises(ImportError, match=r'Running int8 programs of PyTorch needs .*"hiva-hf\[torchao\]"'):
        load_exported(folder, trust_remote_code=True)


def test_precision_of_an_export_stays_and_that_is_told(exports, caplog):
    pytest.importorskip("openvino")
    load_detector(exports("openvino", "fp32")[0], dtype="bf16")
    assert "exported in fp32 and computes in it" in caplog.text


def test_threads_of_torch_programs_are_those_of_torch(exports):
    folder, _ = exports("torch", "fp32")
    with pytest.raises(ValueError, match=r"change these with `torch\.set_num_threads`"):
        load_exported(folder, trust_remote_code=True, num_threads=torch.get_num_threads() + 1)


def set_format(manifest):
    manifest["hiva"]["format"] = "pickle"


def set_file(manifest):
    manifest["components"]["model"]["file"] = "../../file.xml"


def add_component(manifest):
    manifest["components"]["other"] = manifest["components"]["model"]


def drop_entry(manifest):
    del manifest["hiva"]


@pytest.mark.parametrize("spoil", [set_format, set_file, add_component, drop_entry])
def test_manifest_that_no_export_wrote_is_refused(openvino_dir, spoil):
    manifest = json.loads((openvino_dir / "export.json").read_text())
    spoil(manifest)
    (openvino_dir / "export.json").write_text(json.dumps(manifest))
    with pytest.raises(ValueError, match=r"export\.json"):
        load_exported(openvino_dir)


@pytest.mark.parametrize("content", [b"[]", b"{", b"\xff\xfe", b" " * 1_000_001])
def test_manifest_that_is_none_is_refused(openvino_dir, content):
    (openvino_dir / "export.json").write_bytes(content)
    with pytest.raises(ValueError, match=r"export\.json"):
        load_exported(openvino_dir)


def test_missing_program_is_named(openvino_dir):
    (openvino_dir / "openvino_model.bin").unlink()
    with pytest.raises(OSError, match=r"openvino_model\.bin"):
        load_exported(openvino_dir)


def test_folder_without_export_is_named(tmp_path):
    with pytest.raises(OSError, match=r"export\.json"):
        HiVAForAUDetection.from_exported(tmp_path)


def test_missing_runtime_is_told_in_one_line(monkeypatch, openvino_dir):
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(ImportError, match=r'pip install "hiva-hf\[openvino\]"'):
        pipeline("au-detection", model=str(openvino_dir))


def test_model_files_alone_tell_that_the_package_is_needed(monkeypatch, openvino_dir):
    import_module = importlib.import_module

    def without_package(name, *args):
        if name == "hiva_hf.export":
            raise ModuleNotFoundError("No module named 'hiva_hf'")
        return import_module(name, *args)

    monkeypatch.setattr(importlib, "import_module", without_package)
    with pytest.raises(ImportError, match="need the package"):
        HiVAForAUDetection.from_exported(openvino_dir)
