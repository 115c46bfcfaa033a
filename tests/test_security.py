"""Files from strangers: no code of theirs runs, nothing is written elsewhere, no memory is taken that they only claim.

Hostile checkpoints in pickles are in `conversion/test_research_checkpoint.py`, hostile label files and data sets in
`data/`. Nothing in the package unpacks archives; that they are refused clearly is tested here.
"""

import ast
import io
import json
import os
import shutil
import struct
import subprocess
import sys
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from huggingface_hub import HfApi
from PIL import Image
from transformers import AutoConfig, AutoImageProcessor, AutoModel, pipeline

import hiva_hf
from hiva_hf import HiVAConfig, HiVAForAUDetection, HiVAForPreTraining, HiVAImageProcessor
from hiva_hf.data.label_tables import read_table
from hiva_hf.data.manifest import read_manifest
from hiva_hf.data.raw import RawDataError
from hiva_hf.image_loading import ImageLoadError, load_image
from hiva_hf.inference.output_paths import openface_paths, paths_below
from hiva_hf.training.environment import describe_environment
from hiva_hf.training.settings import read_settings


SECRET = "hf_SecretThatNobodyMaySee"
# What a hostile repository would do if its code ran.
CODE = """
import os
open(os.environ["HIVA_TEST_TRACE"], "a").write(__file__)
from hiva_hf import AUDetectionPipeline as EvilPipeline
from hiva_hf import HiVAConfig as EvilConfig, HiVAForAUDetection as EvilModel, HiVAImageProcessor as EvilProcessor
"""
LOAD_HOSTILE = """
import logging
import sys
import transformers
from transformers import AutoConfig, AutoImageProcessor, AutoModel, AutoModelForImageClassification, pipeline
import hiva_hf

logging.basicConfig(level=logging.DEBUG)
transformers.logging.set_verbosity_debug()
name, folder = sys.argv[1:]
for auto_class in (AutoConfig, AutoImageProcessor, AutoModel, AutoModelForImageClassification):
    assert type(auto_class.from_pretrained(name)).__module__.startswith("hiva_hf."), auto_class
detector = pipeline("au-detection", model=name)
assert type(detector) is hiva_hf.AUDetectionPipeline
detector.save_pretrained(folder)
"""


@pytest.fixture(scope="module")
def hostile_repository(tiny_model_dir, tmp_path_factory):
    """A working checkpoint that names code of its own wherever transformers looks for some."""
    folder = tmp_path_factory.mktemp("hostile") / "model"
    shutil.copytree(tiny_model_dir, folder)
    (folder / "evil.py").write_text(CODE)
    edit_json(
        folder / "config.json",
        auto_map={
            "AutoConfig": "evil.EvilConfig",
            "AutoModel": "evil.EvilModel",
            "AutoModelForImageClassification": "evil.EvilModel",
        },
        custom_pipelines={
            "au-detection": {
                "impl": "evil.EvilPipeline",
                "pt": ["AutoModelForImageClassification"],
                "type": "image",
            }
        },
    )
    edit_json(folder / "preprocessor_config.json", auto_map={"AutoImageProcessor": "evil.EvilProcessor"})
    return folder


def edit_json(path: Path, **entries):
    path.write_text(json.dumps(json.loads(path.read_text()) | entries))


def load_hostile(name, folder, **environment) -> str:
    """Loads in a process of its own and saves again; returns all that was said."""
    trace = folder / "ran"
    finished = subprocess.run(
        [sys.executable, "-c", LOAD_HOSTILE, str(name), str(folder / "saved")],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        env=os.environ | {"HIVA_TEST_TRACE": str(trace)} | environment,
    )
    assert finished.returncode == 0, finished.stderr[-3000:]
    assert not trace.exists()
    return finished.stdout + finished.stderr


def test_code_of_a_hostile_folder_does_not_run(hostile_repository, tmp_path):
    load_hostile(hostile_repository, tmp_path)


def test_code_of_a_hostile_hub_repository_does_not_run_and_the_token_stays_secret(
    hostile_repository, hub_server, tmp_path, monkeypatch
):
    api = HfApi(endpoint=hub_server.endpoint, token=hub_server.token)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
    api.create_repo("org/hostile", private=True, exist_ok=True)
    api.upload_folder(repo_id="org/hostile", folder_path=hostile_repository)
    said = load_hostile("org/hostile", tmp_path, **hub_server.environment(tmp_path / "home", hub_server.token))
    # Its requests are in the log, what let them in is not.
    assert "/org/hostile/resolve/" in said
    assert hub_server.token not in said
    for path in (tmp_path / "saved").rglob("*"):
        assert hub_server.token.encode() not in path.read_bytes(), path


@pytest.mark.parametrize("load", [AutoModel.from_pretrained, HiVAForPreTraining.from_pretrained])
def test_pickled_weights_are_refused(tiny_model_dir, tmp_path, load):
    folder = shutil.copytree(tiny_model_dir, tmp_path / "model")
    weights = HiVAForAUDetection.from_pretrained(folder).state_dict()
    (folder / "model.safetensors").unlink()
    torch.save(weights, folder / "pytorch_model.bin")
    with pytest.raises(OSError, match=r"no file named model\.safetensors.*`hiva-hf convert CHECKPOINT OUTPUT_DIR`"):
        load(folder)
    with pytest.raises(ValueError, match="asks for a pickle"):
        load(folder, use_safetensors=False)


@pytest.mark.parametrize("place", ["pytorch_model.bin", "../outside.safetensors", "/absolute"])
def test_an_index_that_names_other_files_than_safetensors_beside_it_is_refused(tiny_model_dir, tmp_path, place):
    folder = shutil.copytree(tiny_model_dir, tmp_path / "model")
    weights = HiVAForAUDetection.from_pretrained(folder).state_dict()
    place = str(tmp_path / "outside.safetensors") if place == "/absolute" else place
    torch.save(weights, folder / "pytorch_model.bin")
    (folder / "model.safetensors").rename(tmp_path / "outside.safetensors")
    index = {"metadata": {}, "weight_map": dict.fromkeys(weights, place)}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(ValueError, match=f"names '{place}'.*safetensors files beside it only"):
        AutoModel.from_pretrained(folder)


def test_a_checkpoint_in_several_files_is_read(tiny_model_dir, tmp_path):
    model = HiVAForAUDetection.from_pretrained(tiny_model_dir)
    model.save_pretrained(tmp_path, max_shard_size=100_000)
    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    reloaded = AutoModel.from_pretrained(tmp_path).state_dict()
    assert all(torch.equal(value, reloaded[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("size", [2**40, 90_000_000])
def test_weights_with_a_huge_header_are_refused(tiny_model_dir, tmp_path, size):
    folder = shutil.copytree(tiny_model_dir, tmp_path / "model")
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", size) + b"{}")
    with pytest.raises(Exception, match="header"):
        AutoModel.from_pretrained(folder)


SWIN = {"model_type": "timm_wrapper", "architecture": "swin_tiny_patch4_window7_224"}


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"hidden_size": 10**9}, "`hidden_size` is 1000000000"),
        ({"intermediate_size": 10**9}, "`intermediate_size` is"),
        ({"image_size": 10**6}, "`image_size` is 1000000"),
        ({"text_memory_length": 10**9}, "`text_memory_length` is"),
        ({"num_context_layers": 10**9}, "`num_context_layers` is"),
        ({"num_labels": 10**9}, "has 1000000000 AUs"),
        ({"id2label": {str(index): f"AU{index}" for index in range(5000)}}, "has 5000 AUs"),
        ({"id2label": -1}, "`id2label` is -1, but must name the AU of each logit"),
        ({"id2label": None, "num_labels": "twelve"}, "`num_labels` is 'twelve', but must be a number"),
        # Each number is possible, the network is not.
        ({"hidden_size": 16_384, "num_attention_heads": 1}, "billion numbers"),
        ({"text_config": {"vocab_size": 10**12}}, r"`text_config\.vocab_size` is"),
        ({"text_config": {"num_labels": 10**9}}, r"`text_config\.num_labels` is"),
        ({"backbone_config": {"hidden_size": 10**6}}, "billion numbers"),
        ({"backbone_config": {"num_hidden_layers": 10**8}}, r"`backbone_config\.num_hidden_layers` is"),
        ({"backbone_config": SWIN | {"model_args": {"depths": [2, 10**9]}}}, r"`backbone_config\.model_args\.depths`"),
        ({"backbone_config": SWIN | {"model_args": {"checkpoint_path": "evil.pth"}}}, "has a `checkpoint_path`"),
        ({"backbone_config": SWIN | {"architecture": "hf-hub:evil/model"}}, "must name a timm architecture"),
    ],
)
def test_absurd_configs_are_refused_before_they_take_memory(tiny_model_dir, tmp_path, entries, message):
    folder = shutil.copytree(tiny_model_dir, tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    for name, value in entries.items():
        is_tower = name.endswith("_config") and "architecture" not in value
        config[name] = config[name] | value if is_tower else value
    (folder / "config.json").write_text(json.dumps(config))
    # What comes from a validator is wrapped by `huggingface_hub`.
    with pytest.raises(Exception, match=message):
        AutoModel.from_pretrained(folder)


def test_the_largest_published_networks_are_far_from_the_limits():
    text = {"model_type": "xlm-roberta", "hidden_size": 1024, "num_attention_heads": 16, "intermediate_size": 4096}
    text |= {"num_hidden_layers": 24, "vocab_size": 250_002}
    labels = {index: f"AU{index}" for index in range(60)}
    with torch.device("meta"):
        HiVAForAUDetection(HiVAConfig(text_config=text, hidden_size=1024, id2label=labels))


def test_image_processors_that_blow_up_pictures_are_refused(tiny_model_dir, tmp_path):
    folder = shutil.copytree(tiny_model_dir, tmp_path / "model")
    for name in ("size", "crop_size"):
        HiVAImageProcessor().save_pretrained(folder)
        edit_json(folder / "preprocessor_config.json", **{name: {"height": 10**6, "width": 10**6}})
        with pytest.raises(ValueError, match=f"`{name}` is .*at most 4096 pixels"):
            AutoImageProcessor.from_pretrained(folder)


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, pixels: bytes = b"", *extra: bytes) -> bytes:
    """A grey PNG of any size, whether it has the pixels or not."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    data = chunk(b"IDAT", zlib.compress(pixels, 9))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(extra) + data + chunk(b"IEND", b"")


def compressed(kind: bytes) -> bytes:
    return chunk(kind, b"a\0\0" + zlib.compress(bytes(20_000_000), 9))


def gif_with_a_frame_beyond_its_canvas() -> bytes:
    frame = b"," + struct.pack("<HHHH", 0, 0, 65535, 65535) + b"\x80" + bytes(6) + b"\x02\x02\x4c\x01\x00;"
    return b"GIF89a" + struct.pack("<HH", 1, 1) + bytes(3) + frame


def icon_with_a_huge_picture() -> bytes:
    picture = png(30_000, 30_000)
    return struct.pack("<HHHBBBBHHII", 0, 1, 1, 16, 16, 0, 0, 1, 32, len(picture), 22) + picture


def archive() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr("../../outside.jpg", b"no")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (png(10**6, 10**6), "too large"),
        (png(128_000_001, 1), "more than the limit"),
        (png(8, 8, bytes(72), compressed(b"zTXt")), "too large"),
        (png(8, 8, bytes(72), compressed(b"iCCP")), "too large"),
        (png(8, 8, bytes(72), *[chunk(b"tEXt", b"a\0" + bytes(1_000_000))] * 68), "Too much memory"),
        (gif_with_a_frame_beyond_its_canvas(), "too large"),
        (icon_with_a_huge_picture(), "too large"),
        (b"P6 11000 11000 255\n", "damaged"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nquit\n%%EOF\n", r"a drawing \(EPS\)"),
        (b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>', "not an image"),
        (archive(), "not an image"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_hostile_pictures_are_refused(data, message):
    with pytest.raises(ImageLoadError, match=message):
        load_image(data)


def test_of_thousands_of_frames_one_is_decoded(monkeypatch):
    frames = [Image.new("RGB", (8, 8), (index % 256, 0, 0)) for index in range(2000)]
    buffer = io.BytesIO()
    frames[0].save(buffer, "TIFF", save_all=True, append_images=frames[1:])
    decoded = []
    load = Image.Image.load
    monkeypatch.setattr(Image.Image, "load", lambda image: decoded.append(image) or load(image))
    assert load_image(buffer.getvalue()).size == (8, 8)
    assert len(decoded) < 10


@pytest.mark.parametrize("size", [(1_000_000, 1), (1, 1_000_000)])
def test_a_picture_a_million_pixels_wide_has_no_face_and_takes_no_memory(tiny_model_dir, size):
    picture = png(*size, pixels=bytes((size[0] + 1) * size[1]))
    detector = pipeline("au-detection", model=str(tiny_model_dir))
    assert detector(picture) == []
    (face,) = detector(picture, detect_faces=False)
    assert face["box"] == {"xmin": 0, "ymin": 0, "xmax": size[0], "ymax": size[1]}


def test_sixteen_bits_take_no_more_memory_than_eight():
    import tracemalloc

    picture = np.random.default_rng(0).integers(0, 2**16, (1000, 1000), dtype=np.uint16)
    tracemalloc.start()
    loaded = load_image(picture)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3 * picture.size
    assert np.array_equal(np.asarray(loaded)[..., 0], np.rint(picture / 257))


@pytest.mark.parametrize(
    "file", ["../../outside", "/etc/passwd", r"..\..\outside", r"C:\outside", r"data\..\..\outside", "C:outside"]
)
def test_shards_outside_of_a_data_set_are_refused(file):
    shard = {"file": file, "subject": "S1", "fold": 1, "num_rows": 1, "sha256": ""}
    manifest = {"format": 1, "name": "custom", "title": "custom", "aus": [1], "settings": {}, "shards": [shard]}
    with pytest.raises(ValueError, match="is outside the folder"):
        read_manifest(json.dumps(manifest).encode(), "org/evil")


@pytest.mark.parametrize(
    "sources",
    [
        ["../a.mp4", "../../b/a.mp4"],
        ["/etc/a.mp4", "../../x.jpg"],
        ["a/../../../etc/x.mp4", "b/y.mp4"],
        ["...mp4", "a/...mp4", "../..jpg"],
    ],
)
def test_what_is_written_for_sources_from_anywhere_stays_in_its_folder(tmp_path, sources):
    folder = tmp_path / "out"
    for source, path in openface_paths(folder, sources).items():
        assert path.resolve().is_relative_to(folder), source
    for source, path in paths_below(folder, sources).items():
        # As the pictures of a photo or video are called.
        assert path.with_name(f"{path.name}.mp4").resolve().is_relative_to(folder), source


def test_tables_with_a_huge_cell_or_without_end_are_refused(tmp_path):
    path = tmp_path / "labels.csv"
    path.write_text(f"path,subject,AU1\n{'x' * 200_000},anna,1\n")
    with pytest.raises(RawDataError, match="line 2: a quote is not closed, or a cell is longer than"):
        read_table(path)
    with path.open("r+b") as file:
        # A hole: it takes no room on the disk.
        file.truncate(2**30)
    with pytest.raises(RawDataError, match="larger than 256 MiB"):
        read_table(path)


def test_yaml_that_multiplies_itself_or_asks_for_objects_is_refused():
    lines = [f"  - &a{level} [{', '.join([f'*a{level - 1}'] * 9)}]" for level in range(1, 12)]
    bomb = "\n".join(["report_to:", "  - &a0 [x]", *lines])
    with pytest.raises(ValueError, match="sets `report_to` to") as error:
        read_settings(bomb, "settings.yaml")
    assert len(str(error.value)) < 1000
    with pytest.raises(ValueError, match="not valid YAML"):
        read_settings('seed: !!python/object/apply:os.system ["true"]', "settings.yaml")


def test_archives_are_not_unpacked_and_refused_by_name(tmp_path):
    path = tmp_path / "BP4D.zip"
    path.write_bytes(archive())
    run = "import sys; from hiva_hf.cli.main import main; sys.exit(main(sys.argv[1:]))"
    finished = subprocess.run(
        [sys.executable, "-c", run, "prepare", "bp4d", "--data_dir", str(path), "--output_dir", str(tmp_path / "out")],
        capture_output=True,
        text=True,
    )
    assert finished.returncode == 2
    assert "a file; pass the folder into which the release was unpacked" in finished.stderr
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["BP4D.zip"]


def test_nothing_in_the_package_unpacks_archives_or_runs_text():
    """What a change would have to be tested for before it may come in."""
    forbidden = {"extractall", "unpack_archive", "eval", "exec", "unsafe_load", "full_load"}
    for path in Path(hiva_hf.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                # `model.eval()` is another one.
                name = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
                is_method = name == "eval" and isinstance(node.func, ast.Attribute)
                assert name not in forbidden or is_method, f"{path}:{node.lineno} calls {name}"


def test_tokens_do_not_reach_what_a_run_writes_down(monkeypatch):
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "WANDB_API_KEY", "GITHUB_TOKEN"):
        monkeypatch.setenv(name, SECRET)
    environment = describe_environment(1, torch.device("cpu"), "no")
    assert SECRET not in json.dumps(environment)
    assert SECRET not in AutoConfig.for_model("hiva", token=SECRET).to_json_string()


def test_tokens_that_fetch_a_checkpoint_are_not_saved_with_it(tiny_model_dir, tmp_path):
    AutoModel.from_pretrained(tiny_model_dir, token=SECRET).save_pretrained(tmp_path)
    AutoImageProcessor.from_pretrained(tiny_model_dir, token=SECRET).save_pretrained(tmp_path)
    assert all(SECRET.encode() not in path.read_bytes() for path in tmp_path.iterdir())
