"""Small real models: a few thousand parameters, the real classes, the real tokenizer."""

import hashlib
import importlib.util
import io
import json
import os
import signal


# A shell that runs the tests in the background ignores Ctrl-C on behalf of all their processes; some tests press it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Before torch and huggingface_hub are imported: no spinning threads, no waiting for a Hub that is not there.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

# PyTorch's compiler imports it, which fails before Python 3.12 once something has looked whether pip is there:
# setuptools then leaves the standard library its distutils.
if importlib.util.find_spec("setuptools"):
    import setuptools  # noqa: F401

from collections.abc import Callable, Iterator, Mapping
from fractions import Fraction
from functools import partial
from pathlib import Path
from types import ModuleType

import numpy as np
import pyarrow.parquet
import pytest
import torch
from PIL import Image
from transformers import (
    AutoTokenizer,
    BertConfig,
    BertModel,
    ConvNextConfig,
    Dinov2Config,
    Dinov2Model,
    PreTrainedConfig,
    SegformerConfig,
    SwinConfig,
    TimmWrapperConfig,
)

from hiva_hf import HiVAConfig, HiVAForAUDetection, HiVAImageProcessor, VLFAUConfig, VLFAUForAUDetection
from hiva_hf.data import AU_SETS, au_features
from hiva_hf.evaluation.predictions import Predictions
from hiva_hf.evaluation.protocol import FoldPredictions
from hiva_hf.language.tokenizer import build_state_tokenizer
from hiva_hf.training.towers import packaged_text_tower


IMAGE_SIZE = 56
AU_LABELS = ("AU1", "AU4", "AU12", "AU25")


@pytest.fixture(autouse=True)
def fixed_seed():
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def tokenizer():
    return AutoTokenizer.from_pretrained(packaged_text_tower())


def make_tiny_config(**overrides) -> HiVAConfig:
    """A HiVA over 4 AUs on a 2-layer DINOv2 at 56 px (16 tokens) and a 4-layer BERT."""
    settings = {
        "backbone_config": Dinov2Config(
            hidden_size=32, num_hidden_layers=2, num_attention_heads=2, image_size=IMAGE_SIZE, use_mask_token=False
        ),
        "text_config": BertConfig(
            hidden_size=16, num_hidden_layers=4, num_attention_heads=2, intermediate_size=32, vocab_size=30522
        ),
        "image_size": IMAGE_SIZE,
        "hidden_size": 24,
        "num_attention_heads": 2,
        "intermediate_size": 48,
        "num_neighbors": 2,
        "id2label": dict(enumerate(AU_LABELS)),
    }
    return HiVAConfig(**(settings | overrides))


@pytest.fixture(scope="session")
def make_config() -> Callable[..., HiVAConfig]:
    """[`make_tiny_config`] for tests, which can't import from here."""
    return make_tiny_config


def make_tiny_swin_config(**overrides) -> TimmWrapperConfig:
    """A timm Swin of two stages for 56 pixels: 7 x 7 tokens of width 16.

    Args:
        overrides: Further arguments of timm's class.
    """
    arguments = {"embed_dim": 8, "depths": (2, 2), "num_heads": (1, 2), "img_size": IMAGE_SIZE}
    return TimmWrapperConfig(
        architecture="swin_tiny_patch4_window7_224", model_args=arguments | overrides, do_pooling=False
    )


@pytest.fixture(scope="session")
def make_swin_config() -> Callable[..., TimmWrapperConfig]:
    """[`make_tiny_swin_config`] for tests, which can't import from here."""
    return make_tiny_swin_config


@pytest.fixture
def swin_config() -> TimmWrapperConfig:
    return make_tiny_swin_config()


@pytest.fixture
def tiny_config() -> HiVAConfig:
    return make_tiny_config()


@pytest.fixture
def tiny_detector(tiny_config, tokenizer) -> HiVAForAUDetection:
    """A detector in evaluation mode with text encoder and filled text memory."""
    model = HiVAForAUDetection(tiny_config).eval()
    model.encode_descriptions(tokenizer)
    return model


@pytest.fixture
def faces() -> torch.Tensor:
    """Three random pictures `[3, 3, 56, 56]`."""
    return torch.randn(3, 3, IMAGE_SIZE, IMAGE_SIZE)


@pytest.fixture
def text_inputs(tokenizer) -> dict[str, torch.Tensor]:
    """A description for each of the four AUs, of different lengths."""
    encoded = tokenizer(["a brow", "brows pulled together", "lip corners", "lips"], return_tensors="pt", padding=True)
    return {"input_ids": encoded["input_ids"], "attention_mask": encoded["attention_mask"]}


@pytest.fixture(scope="session")
def image_processor() -> HiVAImageProcessor:
    """Resizes to 64 pixels, of which the tiny models see the central 56."""
    return HiVAImageProcessor.for_image_size(IMAGE_SIZE)


@pytest.fixture(scope="session")
def tiny_model_dir(tmp_path_factory, tokenizer, image_processor) -> Path:
    """A saved inference checkpoint: model without text side, and image processor."""
    folder = tmp_path_factory.mktemp("tiny-hiva")
    torch.manual_seed(0)
    model = HiVAForAUDetection(make_tiny_config())
    model.encode_descriptions(tokenizer)
    model.drop_text_encoder()
    model.save_pretrained(folder)
    image_processor.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def towers(tmp_path_factory, tokenizer) -> Path:
    """Folders `vision` (2-layer DINOv2) and `text` (3-layer BERT) with random weights."""
    folder = tmp_path_factory.mktemp("towers")
    torch.manual_seed(0)
    Dinov2Model(make_tiny_config().backbone_config).save_pretrained(folder / "vision")
    BertModel(
        BertConfig(hidden_size=16, num_hidden_layers=3, num_attention_heads=2, intermediate_size=32, vocab_size=30522)
    ).save_pretrained(folder / "text")
    tokenizer.save_pretrained(folder / "text")
    return folder


@pytest.fixture(scope="session")
def small_network(towers) -> dict:
    """Settings of runs that train a few thousand parameters, as `AUTrainingArguments` takes them."""
    return {
        "vision_model_name_or_path": str(towers / "vision"),
        "text_model_name_or_path": str(towers / "text"),
        "image_size": IMAGE_SIZE,
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_attention_heads": 2,
        "trainable_backbone_layers": 1,
        "mixed_precision": "no",
        "num_cpu_threads": 1,
    }


def make_tiny_vl_fau_config(**overrides) -> VLFAUConfig:
    """A VL-FAU over the same 4 AUs on a 3-layer DINOv2 at 56 px (16 tokens), with decoders of one layer."""
    settings = {
        "backbone_config": Dinov2Config(
            hidden_size=32, num_hidden_layers=3, num_attention_heads=2, image_size=IMAGE_SIZE, use_mask_token=False
        ),
        "text_config": {
            "vocab_size": len(build_state_tokenizer()),
            "hidden_size": 64,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "intermediate_size": 64,
            "hidden_dropout_prob": 0.0,
        },
        "image_size": IMAGE_SIZE,
        "hidden_size": 48,
        "id2label": dict(enumerate(AU_LABELS)),
    }
    return VLFAUConfig(**(settings | overrides))


@pytest.fixture(scope="session")
def make_vl_fau_config() -> Callable[..., VLFAUConfig]:
    """[`make_tiny_vl_fau_config`] for tests, which can't import from here."""
    return make_tiny_vl_fau_config


@pytest.fixture
def vl_fau_backbones(make_swin_config) -> dict[str, PreTrainedConfig]:
    """Configurations of small backbones for 224 pixels with the three scales that a VL-FAU needs."""
    vit = {"embed_dim": 24, "depth": 5, "num_heads": 2}
    return {
        "timm Swin": make_swin_config(depths=(2, 2, 1, 2), num_heads=(1, 1, 2, 2), img_size=224),
        "timm ViT": TimmWrapperConfig(architecture="vit_tiny_patch16_224", model_args=vit, do_pooling=False),
        "Swin": SwinConfig(embed_dim=8, depths=[1, 1, 1, 1], num_heads=[1, 1, 2, 2], image_size=224),
        "ConvNeXt": ConvNextConfig(hidden_sizes=[8, 8, 16, 24], depths=[1, 1, 1, 1]),
        "SegFormer": SegformerConfig(
            depths=[1, 1, 1, 1], hidden_sizes=[8, 8, 16, 16], num_attention_heads=[1, 1, 2, 2]
        ),
    }


@pytest.fixture(scope="session")
def state_tokenizer():
    return build_state_tokenizer()


@pytest.fixture(scope="session")
def tiny_vl_fau_dir(tmp_path_factory, image_processor, state_tokenizer) -> Path:
    """A saved VL-FAU: model, image processor and tokenizer."""
    folder = tmp_path_factory.mktemp("tiny-vl-fau")
    torch.manual_seed(0)
    VLFAUForAUDetection(make_tiny_vl_fau_config()).save_pretrained(folder)
    image_processor.save_pretrained(folder)
    state_tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def astronaut() -> Image.Image:
    """A real photo with one face, at about (182, 59, 270, 177)."""
    from skimage import data

    return Image.fromarray(data.astronaut())


@pytest.fixture(scope="session")
def wall(astronaut) -> Image.Image:
    """A photo with a small, a large and a medium face."""
    wall = Image.new("RGB", (1100, 512), "gray")
    wall.paste(astronaut.resize((256, 256)), (0, 0))
    wall.paste(astronaut, (256, 0))
    wall.paste(astronaut.resize((300, 300)), (768, 100))
    return wall


@pytest.fixture(scope="session")
def wall_boxes() -> list[tuple[int, ...]]:
    """Where its faces are, (xmin, ymin, xmax, ymax) in pixels, the largest first."""
    return [(438, 59, 526, 177), (875, 135, 926, 204), (91, 30, 135, 89)]


@pytest.fixture(scope="session")
def person(astronaut) -> np.ndarray:
    """A head with one face, RGB `[180, 150, 3]`."""
    return np.asarray(astronaut)[20:200, 150:300].copy()


def paint_scene(person: np.ndarray, places=(), size=(240, 320), seed=0) -> np.ndarray:
    """A frame of `size` (height, width) with a head of `height` pixels at each (x, y, height) of `places`."""
    import cv2

    noise = np.random.default_rng(seed).integers(60, 180, (*(side // 20 for side in size), 3), np.uint8)
    scene = cv2.resize(noise, size[::-1], interpolation=cv2.INTER_CUBIC)
    for x, y, height in places:
        scale = height / person.shape[0]
        matrix = np.array([[scale, 0, x - scale * person.shape[1] / 2], [0, scale, y - scale * person.shape[0] / 2]])
        head = cv2.warpAffine(person, matrix, size[::-1], flags=cv2.INTER_AREA)
        mask = cv2.warpAffine(np.full(person.shape[:2], 255, np.uint8), matrix, size[::-1])
        scene = np.where(mask[..., None] > 127, head, scene)
    return scene


def write_video(path, frames, *, times=None, codec="libx264", rotation=None, container_options=None, **options):
    """Writes RGB frames at 25 frames/s, or at `times` in milliseconds."""
    import av

    with av.open(str(path), "w", container_options=container_options or {}) as container:
        stream = container.add_stream(codec, rate=25, options={"crf": "18"} | options)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        if rotation is not None:
            stream.set_display_rotation(rotation)
        stream.codec_context.time_base = Fraction(1, 1000 if times else 25)
        for number, frame in enumerate(frames):
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
            picture.pts = times[number] if times else number
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
    return path


@pytest.fixture(scope="session")
def scene(person):
    """[`paint_scene`] with this person."""
    return partial(paint_scene, person)


@pytest.fixture(scope="session")
def make_video():
    """[`write_video`] for tests, which can't import from here."""
    return write_video


@pytest.fixture(scope="session")
def hub_server(tmp_path_factory) -> Iterator:
    """A Hub on the loopback address, with nothing in it: see `hub_server.py`."""
    spec = importlib.util.spec_from_file_location("hub_server", Path(__file__).with_name("hub_server.py"))
    module: ModuleType = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    server = module.HubServer(tmp_path_factory.mktemp("hub"))
    yield server
    server.stop()


def make_face_rows(subject: str, part: int, task: str, num_rows: int, aus: tuple[int, ...]) -> list[dict]:
    """Rows of `au_features` with 16-pixel pictures, all different from each other; every seventh label is missing."""
    rows = []
    for frame in range(1, num_rows + 1):
        seed = sum(subject.encode()) + 31 * frame
        picture = io.BytesIO()
        Image.new("RGB", (16, 16), (seed % 256, 3 * frame % 256, part)).save(picture, "JPEG", quality=95)
        intensities = [-100 if (seed + au) % 7 == 0 else (seed + 5 * au) % 6 for au in aus]
        rows.append(
            {
                "image": {"bytes": picture.getvalue(), "path": None},
                "labels": [-100 if value < 0 else int(value >= 2) for value in intensities],
                "intensities": intensities,
                "subject": subject,
                "task": task,
                "frame": frame,
                "fold": part,
                "detector_score": 0.5 + frame / 256,
            }
        )
    return rows


@pytest.fixture(scope="session")
def make_rows() -> Callable[..., list[dict]]:
    """[`make_face_rows`] for tests, which can't import from here."""
    return make_face_rows


def write_prepared_folder(
    folder: Path, name: str, parts: Mapping[str, int], num_rows: int = 6, aus: tuple[int, ...] | None = None
) -> list[dict]:
    """Writes what `hiva-hf prepare` leaves: two shards of `num_rows / 2` rows for each subject.

    Args:
        folder: Where to; made if there is none.
        name: Of the set.
        parts: Part of each subject.
        num_rows: Rows of each subject.
        aus: Its AUs, by default those of the set.

    Returns:
        The rows, in order, as they were written.
    """
    aus = AU_SETS[name] if aus is None else aus
    (folder / "data").mkdir(parents=True, exist_ok=True)
    (folder / "prepare.json").write_text("{}")
    shards, everything = [], []
    for subject, part in parts.items():
        for index, task in enumerate(("T1", "T2")):
            rows = make_face_rows(subject, part, task, num_rows // 2, aus)
            everything += rows
            path = folder / "data" / f"{subject}_{task}-{index:03d}.parquet"
            table = pyarrow.Table.from_pylist(rows, schema=au_features(len(aus)).arrow_schema)
            pyarrow.parquet.write_table(table, path, row_group_size=2)
            facts = {"subject": subject, "task": task, "fold": part, "num_rows": len(rows)}
            sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
            shards.append({"file": f"data/{path.name}", **facts, "sha256": sha256})
    _write_report(folder, name, aus, everything)
    manifest = {"format": 1, "name": name, "title": name.upper(), "aus": list(aus), "settings": {"camera": "left"}}
    manifest |= {"num_rows": len(everything), "shards": shards}
    (folder / "dataset.json").write_text(json.dumps(manifest, indent=2))
    return everything


def _write_report(folder: Path, name: str, aus: tuple[int, ...], rows: list[dict]) -> None:
    def rate(index: int, parts: set[int]) -> float | None:
        known = [row["labels"][index] for row in rows if row["fold"] in parts and row["labels"][index] >= 0]
        return round(sum(known) / len(known), 6) if known else None

    parts = sorted({row["fold"] for row in rows})
    figures = [
        {
            "au": au,
            "missing": sum(row["labels"][index] < 0 for row in rows),
            "positive_rate_written": rate(index, set(parts)),
            "positive_rate_per_part": {str(part): rate(index, {part}) for part in parts},
        }
        for index, au in enumerate(aus)
    ]
    report = {
        "verdict": {"status": "subset", "headline": f"subset of {name}", "findings": ["2 recordings missing: A B."]},
        "settings": {"camera": "left"},
        "labelled": {"found": len(rows) + 1, "published": None},
        "written": len(rows),
        "parts": [{"part": part} for part in parts],
        "aus": figures,
        "problem_counts": {"no face": 1, "missing frame": 0},
    }
    (folder / "report.json").write_text(json.dumps(report))
    (folder / "report.txt").write_text(f"{name}, prepared.")


@pytest.fixture(scope="session")
def write_prepared() -> Callable[..., list[dict]]:
    """[`write_prepared_folder`] for tests, which can't import from here."""
    return write_prepared_folder


def make_predictions(
    labels, probabilities, subjects, au_labels=AU_LABELS, fold: int = 1, first_frame: int = 0
) -> Predictions:
    labels = np.asarray(labels, dtype=np.int8)
    return Predictions(
        subject=np.array(subjects, dtype=object),
        task=np.array(["T1"] * len(labels), dtype=object),
        frame=np.arange(first_frame, first_frame + len(labels), dtype=np.int32),
        fold=np.full(len(labels), fold, dtype=np.int8),
        labels=labels,
        probabilities=np.asarray(probabilities, dtype=np.float32),
        au_labels=tuple(au_labels),
    )


def make_random_fold(
    fold: int, seed: int = 0, skill: float = 0.2, num_subjects: int = 8, faces_each: int = 12, name: int = 0
) -> FoldPredictions:
    """Test and validation predictions. The labels depend on the fold alone, so that methods can be compared.

    Networks of another `name` err on other faces.
    """

    def draw(split: str) -> Predictions:
        truth = np.random.default_rng([fold, split == "test"])
        network = np.random.default_rng([99, fold, split == "test", seed, *([name] if name else [])])
        num_faces = num_subjects * faces_each
        labels = (truth.random((num_faces, len(AU_LABELS))) < 0.35).astype(int)
        # Rounded, so that there are ties.
        noise = network.uniform(0, 1 - skill, labels.shape)
        probabilities = (skill * labels + noise).round(2)
        labels[truth.random(labels.shape) < 0.1] = -100
        subjects = [f"{split}{fold}-{face % num_subjects}" for face in range(num_faces)]
        return make_predictions(labels, probabilities, subjects, fold=fold)

    return FoldPredictions(fold=fold, seed=seed, test=draw("test"), validation=draw("validation"))


@pytest.fixture(scope="session")
def predictions_of():
    """[`make_predictions`] for tests, which can't import from here."""
    return make_predictions


@pytest.fixture(scope="session")
def random_fold():
    """[`make_random_fold`]."""
    return make_random_fold
