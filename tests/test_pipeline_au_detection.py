"""From photos to AUs: real detector, real (tiny) model, real files."""

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.ops import box_iou
from transformers import AutoImageProcessor, AutoModel, ViTConfig, ViTForImageClassification, pipeline

import hiva_hf  # noqa: F401  (registers the task)
from hiva_hf.face_alignment import TEMPLATE, align_face
from hiva_hf.face_detection import CenterFaceDetector, DetectedFace
from hiva_hf.image_loading import ImageLoadError


# (xmin, ymin, xmax, ymax) in pixels.
ASTRONAUT_FACE = (182, 59, 270, 177)
CORNERS = ("xmin", "ymin", "xmax", "ymax")


@pytest.fixture(scope="module")
def detector(tiny_model_dir):
    return pipeline("au-detection", model=str(tiny_model_dir))


@pytest.fixture(scope="module")
def wall(astronaut) -> Image.Image:
    """A photo with a small, a large and a medium face."""
    wall = Image.new("RGB", (1100, 512), "gray")
    wall.paste(astronaut.resize((256, 256)), (0, 0))
    wall.paste(astronaut, (256, 0))
    wall.paste(astronaut.resize((300, 300)), (768, 100))
    return wall


@pytest.fixture
def blank() -> Image.Image:
    return Image.new("RGB", (320, 200), "gray")


def overlap(box: dict[str, int], expected: tuple[float, ...]) -> float:
    """Intersection over union of a face's box and `(xmin, ymin, xmax, ymax)`."""
    first = torch.tensor([[box[corner] for corner in CORNERS]], dtype=torch.float64)
    return box_iou(first, torch.tensor([expected], dtype=torch.float64)).item()


def scores(face: dict) -> list[float]:
    return [au["score"] for au in face["aus"]]


def test_a_photo_gives_its_face_with_every_au_in_order(detector, astronaut):
    (face,) = detector(astronaut)
    assert set(face) == {"box", "score", "landmarks", "aus"}
    assert overlap(face["box"], ASTRONAUT_FACE) > 0.5
    assert all(type(face["box"][corner]) is int for corner in CORNERS)
    assert 0.5 < face["score"] <= 1
    assert [(au["label"], au["name"]) for au in face["aus"]] == [
        ("AU1", "Inner Brow Raiser"),
        ("AU4", "Brow Lowerer"),
        ("AU12", "Lip Corner Puller"),
        ("AU25", "Lips Part"),
    ]
    assert all(au["active"] is (au["score"] >= 0.5) for au in face["aus"])


def test_scores_are_the_models_probabilities_for_the_aligned_face(detector, astronaut, tiny_model_dir):
    photo = np.asarray(astronaut)
    crop = Image.fromarray(align_face(photo, CenterFaceDetector()(photo)[0].landmarks, 256))
    inputs = AutoImageProcessor.from_pretrained(tiny_model_dir)(crop, return_tensors="pt")
    with torch.no_grad():
        expected = AutoModel.from_pretrained(tiny_model_dir)(**inputs).logits.sigmoid()[0]
    torch.testing.assert_close(torch.tensor(scores(detector(astronaut)[0])), expected)


def test_all_faces_of_a_photo_come_with_the_largest_first(detector, wall):
    expected = [(438, 59, 526, 177), (875, 135, 926, 204), (91, 30, 135, 89)]
    faces = detector(wall)
    assert len(faces) == 3
    assert all(overlap(face["box"], place) > 0.5 for face, place in zip(faces, expected, strict=True))


def test_a_photo_without_a_face_gives_an_empty_list(detector, blank):
    assert detector(blank) == []
    assert detector([blank, blank], batch_size=2) == [[], []]


@pytest.mark.parametrize("batch_size", [1, 2, 3, 8])
def test_a_list_keeps_its_order_whatever_the_batch_size(detector, astronaut, wall, blank, batch_size):
    photos = [blank, astronaut, wall, blank, np.asarray(astronaut)[:, ::-1]]
    together = detector(photos, batch_size=batch_size, return_attention=True)
    assert [len(faces) for faces in together] == [0, 1, 3, 0, 1]
    for photo, faces in zip(photos, together, strict=True):
        for face, alone in zip(faces, detector(photo, return_attention=True), strict=True):
            assert face["box"] == alone["box"]
            np.testing.assert_allclose(scores(face), scores(alone), atol=1e-5)
            np.testing.assert_allclose(face["ddca_attention"], alone["ddca_attention"], atol=1e-5)
            np.testing.assert_allclose(face["view_matrix"], alone["view_matrix"])


def test_tuples_generators_and_empty_lists_are_lists_of_images(detector, astronaut, blank):
    expected = detector([astronaut, blank])
    assert detector((astronaut, blank)) == expected
    assert list(detector(photo for photo in (astronaut, blank))) == expected
    assert detector([]) == []


def test_a_threshold_decides_what_is_active(detector, astronaut):
    (face,) = detector(astronaut)
    ordered = sorted(scores(face))
    middle = (ordered[1] + ordered[2]) / 2
    (face,) = detector(astronaut, threshold=middle)
    assert [au["active"] for au in face["aus"]] == [score > middle for score in scores(face)]
    assert sum(au["active"] for au in face["aus"]) == 2


def test_thresholds_can_be_set_for_single_aus(detector, astronaut, tiny_model_dir):
    low_and_high = {"AU1": 0.0, "AU12": 1.0}
    (face,) = detector(astronaut, threshold=low_and_high)
    active = {au["label"]: au["active"] for au in face["aus"]}
    others = {au["label"]: au["score"] >= 0.5 for au in face["aus"] if au["label"] not in low_and_high}
    assert active == {"AU1": True, "AU12": False, **others}
    by_default = pipeline("au-detection", model=str(tiny_model_dir), threshold=low_and_high)
    assert by_default(astronaut) == [face]


def test_without_face_detection_the_image_is_the_face(detector, astronaut, tiny_model_dir):
    def never(image):
        raise AssertionError("no face detector is needed")

    crop = astronaut.crop((150, 30, 300, 210))
    (face,) = detector(crop, detect_faces=False, face_detector=never)
    assert face["box"] == {"xmin": 0, "ymin": 0, "xmax": 150, "ymax": 180}
    assert face["score"] is None
    inputs = AutoImageProcessor.from_pretrained(tiny_model_dir)(crop, return_tensors="pt")
    with torch.no_grad():
        expected = AutoModel.from_pretrained(tiny_model_dir)(**inputs).logits.sigmoid()[0]
    torch.testing.assert_close(torch.tensor(scores(face)), expected)


def test_another_face_detector_can_be_used(detector, astronaut):
    def two_faces(image):
        small = DetectedFace((5.5, 5.5, 50.2, 60.8), 0.7, 60 * TEMPLATE)
        large = DetectedFace((-10.0, 300.0, 200.0, 600.0), 0.6, 200 * TEMPLATE + (0, 300))
        return [small, large]

    large, small = detector(astronaut, face_detector=two_faces)
    assert (small["box"], small["score"]) == ({"xmin": 5, "ymin": 5, "xmax": 51, "ymax": 61}, 0.7)
    assert (large["box"], large["score"]) == ({"xmin": 0, "ymin": 300, "xmax": 200, "ymax": 512}, 0.6)


def test_a_detection_that_cannot_be_aligned_is_left_out(detector, astronaut):
    def one_point(image):
        return [DetectedFace((0.0, 0.0, 9.0, 9.0), 0.9, np.full((5, 2), 4.0))]

    assert detector(astronaut, face_detector=one_point) == []


def test_attention_maps_come_with_their_place_in_the_photo(detector, astronaut):
    landmarks = CenterFaceDetector()(np.asarray(astronaut))[0].landmarks
    (face,) = detector(astronaut, return_attention=True)
    for name in ("ddca_attention", "cdca_attention"):
        assert face[name].shape == (4, 4, 4)
        np.testing.assert_allclose(face[name].sum(axis=(1, 2)), 1, atol=1e-5)
    # Resized to 64 pixels, of which the model sees the central 56.
    expected = (64 * TEMPLATE - 4) / 56
    placed = landmarks @ face["view_matrix"][:, :2].T + face["view_matrix"][:, 2]
    assert np.abs(placed - expected).max() < 0.05


def test_without_face_detection_the_maps_cover_the_centre_of_the_image(detector, blank):
    (face,) = detector(blank, detect_faces=False, return_attention=True)
    corners = np.array([[20, 12.5], [160, 100], [300, 187.5]])
    placed = corners @ face["view_matrix"][:, :2].T + face["view_matrix"][:, 2]
    np.testing.assert_allclose(placed, [[0, 0], [0.5, 0.5], [1, 1]], atol=1e-9)


def test_a_half_precision_model_gives_nearly_the_same(detector, astronaut, tiny_model_dir):
    half = pipeline("au-detection", model=str(tiny_model_dir), dtype=torch.bfloat16)
    assert half.model.dtype == torch.bfloat16
    np.testing.assert_allclose(scores(half(astronaut)[0]), scores(detector(astronaut)[0]), atol=0.03)


def test_a_saved_pipeline_loads_without_trusting_remote_code(detector, astronaut, tmp_path):
    detector.save_pretrained(tmp_path)
    assert pipeline("au-detection", model=str(tmp_path))(astronaut) == detector(astronaut)


@pytest.mark.parametrize("kind", ["grey", "rgba", "cmyk", "16 bit", "exif rotated", "palette"])
def test_unusual_images_give_the_same_face(detector, astronaut, tmp_path, kind):
    path = tmp_path / "photo.tif"
    if kind == "exif rotated":
        exif = Image.Exif()
        exif[0x0112] = 6
        astronaut.transpose(Image.Transpose.ROTATE_90).save(path := tmp_path / "photo.jpg", exif=exif)
    elif kind == "16 bit":
        Image.fromarray(np.asarray(astronaut.convert("L")).astype(np.uint16) * 257).save(path)
    else:
        mode = {"grey": "L", "rgba": "RGBA", "cmyk": "CMYK", "palette": "P"}[kind]
        astronaut.convert(mode).save(path)
    (face,) = detector(str(path))
    assert overlap(face["box"], ASTRONAUT_FACE) > 0.5


@pytest.mark.parametrize("kind", ["empty", "truncated", "corrupt", "missing"])
def test_a_bad_file_is_named_also_in_a_list(detector, astronaut, tmp_path, kind):
    good, bad = tmp_path / "good.png", tmp_path / f"{kind}.png"
    astronaut.save(good)
    data = good.read_bytes()
    if kind != "missing":
        bad.write_bytes(
            {"empty": b"", "truncated": data[:9000], "corrupt": data[:500] + bytes(900) + data[1400:]}[kind]
        )
    with pytest.raises(ImageLoadError, match=rf"{kind}\.png'"):
        detector([str(good), str(bad)])


def test_a_giant_image_is_refused(detector):
    with pytest.raises(ImageLoadError, match="20000 x 10000 pixels, more than the limit"):
        detector(Image.new("1", (20000, 10000)))


@pytest.mark.parametrize(
    ("parameters", "error", "message"),
    [
        ({"threshold": {"AU99": 0.4}}, ValueError, r"does not detect: \['AU99'\].*'AU1', 'AU4', 'AU12', 'AU25'"),
        ({"threshold": 50}, ValueError, "between 0 and 1, got 50"),
        ({"threshold": {"AU1": "high"}}, ValueError, "between 0 and 1, got 'high' for AU1"),
        ({"face_detector": "centerface"}, ValueError, "must be callable, got 'centerface'"),
        ({"top_k": 3}, TypeError, "top_k"),
    ],
)
def test_wrong_parameters_are_refused(detector, astronaut, parameters, error, message):
    with pytest.raises(error, match=message):
        detector(astronaut, **parameters)


def test_a_folder_without_a_checkpoint_is_named(tmp_path):
    folder = tmp_path / "no-checkpoint-here"
    folder.mkdir()
    with pytest.raises(ValueError, match="no-checkpoint-here.*config.json"):
        pipeline("au-detection", model=str(folder))


def test_a_checkpoint_of_another_architecture_is_refused(tmp_path, tiny_model_dir):
    config = ViTConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16)
    ViTForImageClassification(config).save_pretrained(tmp_path)
    AutoImageProcessor.from_pretrained(tiny_model_dir).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=rf"needs a HiVA model, but '{tmp_path}' is a ViTForImageClassification"):
        pipeline("au-detection", model=str(tmp_path))
