"""From photos to AUs: real detector, real (tiny) model, real files."""

import io
import json
import shutil
import threading

import datasets
import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.ops import box_iou
from transformers import (
    AutoImageProcessor,
    AutoModel,
    AutoTokenizer,
    ViTConfig,
    ViTForImageClassification,
    pipeline,
)
from transformers.pipelines.pt_utils import KeyDataset

from hiva_hf import AUDetectionPipeline, HiVAForAUDetection, HiVAImageProcessor, VLFAUForAUDetection
from hiva_hf.face_alignment import TEMPLATE, align_face
from hiva_hf.face_detection import CenterFaceDetector, DetectedFace
from hiva_hf.facs import get_action_unit
from hiva_hf.image_loading import ImageLoadError
from hiva_hf.modeling_hiva import adjacency
from hiva_hf.viz import draw_au_graph


# (xmin, ymin, xmax, ymax) in pixels.
ASTRONAUT_FACE = (182, 59, 270, 177)
CORNERS = ("xmin", "ymin", "xmax", "ymax")


@pytest.fixture(scope="module")
def detector(tiny_model_dir):
    return pipeline("au-detection", model=str(tiny_model_dir))


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


def test_all_faces_of_a_photo_come_with_the_largest_first(detector, wall, wall_boxes):
    faces = detector(wall)
    assert len(faces) == 3
    assert all(overlap(face["box"], place) > 0.5 for face, place in zip(faces, wall_boxes, strict=True))


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


def encoded(image: Image.Image, kind: str = "PNG") -> bytes:
    file = io.BytesIO()
    image.save(file, kind)
    return file.getvalue()


@pytest.fixture
def rows(astronaut, blank) -> datasets.Dataset:
    """A face, a damaged picture, no face, a face."""
    pictures = [encoded(astronaut), encoded(astronaut)[:9000], encoded(blank), encoded(astronaut)]
    features = datasets.Features({"image": datasets.Image(), "number": datasets.Value("int32")})
    columns = {"image": [{"bytes": data, "path": None} for data in pictures], "number": range(4)}
    return datasets.Dataset.from_dict(columns, features=features)


@pytest.mark.parametrize("kind", ["str", "Path", "bytes", "array", "undecoded", "row"])
def test_an_image_may_come_in_any_form(detector, astronaut, tmp_path, kind):
    path = tmp_path / "photo.png"
    astronaut.save(path)
    image = {
        "str": str(path),
        "Path": path,
        "bytes": path.read_bytes(),
        "array": np.asarray(astronaut),
        "undecoded": {"bytes": path.read_bytes(), "path": None},
        "row": {"image": astronaut, "labels": [1, 0]},
    }[kind]
    expected = detector(astronaut)
    assert detector(image) == expected
    assert detector([image, image]) == [expected, expected]


def test_a_column_is_a_list_and_data_sets_are_streams(detector, rows, astronaut):
    rows = rows.select([0, 2, 3])
    expected = [detector(astronaut), [], detector(astronaut)]
    assert detector(rows["image"]) == expected
    for stream in (rows, KeyDataset(rows, "image"), rows.to_iterable_dataset(), rows.to_iterable_dataset()["image"]):
        results = detector(stream, batch_size=2)
        assert next(results) == expected[0]
        assert list(results) == expected[1:]


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("kind", ["column", "rows", "KeyDataset", "undecoded stream"])
def test_a_row_that_does_not_decode_is_an_error_in_its_place(detector, rows, kind, num_workers):
    inputs = {
        "column": rows["image"],
        "rows": rows,
        "KeyDataset": KeyDataset(rows, "image"),
        "undecoded stream": rows.to_iterable_dataset().decode(False),
    }[kind]
    results = list(detector(inputs, on_error="return", batch_size=2, num_workers=num_workers))
    assert [len(result) for result in results] == [1, 1, 0, 1]
    # Two at a time may be rounded otherwise than one.
    (expected,) = detector(rows[0]["image"])
    for (face,) in (results[0], results[3]):
        assert face["box"] == expected["box"]
        assert scores(face) == pytest.approx(scores(expected), abs=1e-5)
    assert set(results[1]) == {"error"}
    assert results[1]["error"].startswith("Input 1 (counted from 0): ")
    with pytest.raises(ImageLoadError, match=r"Input 1 \(counted from 0\)"):
        list(detector(inputs))


def test_a_data_set_without_an_image_column_is_told_how_to_choose_one(detector, rows):
    with pytest.raises(ImageLoadError, match=r"\['number', 'photo'\] and without `image`.*dataset\[\"photo\"\]"):
        list(detector(rows.rename_column("image", "photo")))


@pytest.fixture
def batch_sizes(detector):
    """How many faces the model was given, call by call."""
    sizes = []
    hook = detector.model.register_forward_pre_hook(
        lambda model, args, kwargs: sizes.append(len(kwargs["pixel_values"])), with_kwargs=True
    )
    yield sizes
    hook.remove()


@pytest.mark.parametrize(("batch_size", "expected"), [(1, [1] * 9), (2, [2, 2, 2, 2, 1]), (4, [4, 4, 1]), (64, [9])])
def test_batches_are_full_of_faces_across_images(detector, batch_sizes, astronaut, wall, blank, batch_size, expected):
    photos = [blank, wall, blank, blank, astronaut, blank, wall, b"", astronaut, blank, astronaut]
    results = detector(photos, batch_size=batch_size, on_error="return")
    assert [len(result) for result in results] == [0, 3, 0, 0, 1, 0, 3, 1, 1, 0, 1]
    assert batch_sizes == expected


def test_a_photo_without_a_face_waits_for_none(detector, batch_sizes, astronaut, blank):
    """Frames without a face have results at once; behind a face they wait for its batch, but not for ever."""
    taken = []

    def frames():
        for number in range(100):
            taken.append(number)
            yield astronaut if number == 1 else blank

    results = detector(frames(), batch_size=3)
    assert (next(results), taken) == ([], [0])
    assert len(next(results)) == 1
    assert len(taken) == 13
    assert batch_sizes == [1]


@pytest.mark.parametrize("num_workers", [1, 3])
@pytest.mark.parametrize("batch_size", [1, 4])
def test_workers_keep_the_order(detector, astronaut, wall, blank, tmp_path, num_workers, batch_size):
    photos = [wall, blank, tmp_path / "none.png", astronaut, np.asarray(astronaut)[:, ::-1], blank, wall, astronaut]
    expected = detector(photos, on_error="return")
    assert [len(faces) for faces in expected] == [3, 0, 1, 1, 1, 0, 3, 1]
    settings = {"num_workers": num_workers, "batch_size": batch_size, "on_error": "return"}
    for results in (detector(photos, **settings), list(detector((photo for photo in photos), **settings))):
        for faces, expected_faces in zip(results, expected, strict=True):
            if "error" in expected_faces:
                assert faces == expected_faces
            else:
                assert [face["box"] for face in faces] == [face["box"] for face in expected_faces]
                for face, expected_face in zip(faces, expected_faces, strict=True):
                    np.testing.assert_allclose(scores(face), scores(expected_face), atol=1e-5)


def one_face(image: np.ndarray) -> list[DetectedFace]:
    """A face detector that finds one face in the middle, always."""
    height, width = image.shape[:2]
    return [DetectedFace((0.0, 0.0, float(width), float(height)), 0.9, min(height, width) * TEMPLATE)]


def test_workers_find_faces_in_threads_and_run_only_a_little_ahead(detector, blank):
    threads, taken = set(), []

    def find(image):
        threads.add(threading.current_thread().name)
        return one_face(image)

    def photos():
        for number in range(50):
            taken.append(number)
            yield blank

    results = detector(photos(), face_detector=find, num_workers=3)
    next(results)
    assert len(taken) <= 5
    assert len(list(results)) == 49
    assert threading.current_thread().name not in threads
    # One that is left early leaves no thread behind.
    results = detector(photos(), face_detector=find, num_workers=3)
    next(results)
    results.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("au-detection")]


@pytest.mark.parametrize("num_workers", [0, 2])
def test_one_bad_image_among_hundreds_costs_only_itself(detector, blank, tmp_path, num_workers):
    good = tmp_path / "good.png"
    blank.resize((64, 64)).save(good)
    photos = [good] * 200
    photos[157] = tmp_path / "bad.png"
    settings = {"face_detector": one_face, "batch_size": 64, "num_workers": num_workers}
    results = detector(photos, on_error="return", **settings)
    assert len(results) == 200
    assert [number for number, faces in enumerate(results) if "error" in faces] == [157]
    assert "bad.png'" in results[157]["error"]
    assert all(len(faces) == 1 for number, faces in enumerate(results) if number != 157)
    with pytest.raises(ImageLoadError, match=r"Input 157 .*bad\.png'"):
        detector(photos, **settings)


def test_a_single_bad_image_can_return_its_error(detector, tmp_path):
    result = detector(str(tmp_path / "none.png"), on_error="return")
    assert "none.png'" in result["error"]


def test_a_failing_face_detector_is_an_error_of_the_image(detector, astronaut, blank, tmp_path):
    def fail(image):
        if image.shape[0] == 200:
            raise ArithmeticError("no scale")
        return one_face(image)

    blank.save(tmp_path / "blank.png")
    photos = [astronaut, tmp_path / "blank.png", astronaut]
    results = detector(photos, face_detector=fail, on_error="return", batch_size=2)
    assert [len(result) for result in results] == [1, 1, 1]
    assert "blank.png': reading its AUs failed (ArithmeticError: no scale)" in results[1]["error"]
    with pytest.raises(RuntimeError, match=r"Input 1 .*blank\.png'.*no scale") as caught:
        detector(photos, face_detector=fail)
    assert isinstance(caught.value.__cause__, ArithmeticError)


def test_a_missing_package_is_never_taken_for_a_bad_image(detector, astronaut):
    def find(image):
        raise ImportError("pip install something")

    with pytest.raises(ImportError, match="pip install something"):
        detector([astronaut], face_detector=find, on_error="return")


def test_a_crowd_is_read_up_to_a_number(detector, batch_sizes, blank, caplog):
    def crowd(image):
        corners = [(3.0 * (number % 100), 2.0 * (number // 100)) for number in range(10_000)]
        return [DetectedFace((x, y, x + 8 + y / 100, y + 9), 0.9, 8 * TEMPLATE + (x, y)) for x, y in corners]

    faces = detector(blank, face_detector=crowd, batch_size=100)
    assert batch_sizes == [100, 100, 56]
    assert len(faces) == 256
    assert "shows 10000 faces, of which the 256 largest are read. Raise `max_faces`" in caplog.text
    # The largest are in the last rows.
    assert min(face["box"]["ymin"] for face in faces) >= 2 * 97
    assert len(detector(blank, face_detector=crowd, max_faces=3)) == 3


def test_a_folder_and_a_video_are_referred_to_the_command(detector, tmp_path):
    with pytest.raises(ImageLoadError, match="it is a folder.*`hiva-hf detect FOLDER`"):
        detector(tmp_path)
    video = tmp_path / "video.mp4"
    video.write_bytes(b"\0\0\0\x20ftypisom" + bytes(200))
    with pytest.raises(ImageLoadError, match="Videos are read by `hiva-hf detect`"):
        detector(str(video))


@pytest.mark.parametrize("wrong", [None, 7, torch.zeros(3, 8, 8)])
def test_what_is_no_image_is_refused(detector, wrong):
    with pytest.raises(ImageLoadError, match="expected a path"):
        detector(wrong)


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


def test_thresholds_of_single_aus_stay_theirs_in_another_model(tiny_model_dir, astronaut):
    reader = pipeline("au-detection", model=str(tiny_model_dir), threshold={"AU1": 0.0, "AU12": 1.0})
    reader.model = HiVAForAUDetection.from_pretrained(tiny_model_dir)
    reader.model.config.id2label = dict(enumerate(reversed(reader.model.config.au_labels)))
    active = {au["label"]: au["active"] for au in reader(astronaut)[0]["aus"]}
    assert active["AU1"] and not active["AU12"]


def test_thresholds_can_be_listed_in_the_models_order(detector, astronaut):
    for thresholds in ([0.0, 1.0, 0, 1], np.array([0.0, 1.0, 0, 1])):
        (face,) = detector(astronaut, threshold=thresholds)
        assert [au["active"] for au in face["aus"]] == [True, False, True, False]


@pytest.fixture(scope="module")
def tuned(tiny_model_dir):
    """A detector with thresholds and an unreliable AU in its configuration."""
    settings = {"label_thresholds": [0.0, 1.0, 0.0, 1.0], "experimental_labels": ["AU12"]}
    model = AutoModel.from_pretrained(tiny_model_dir, **settings)
    image_processor = AutoImageProcessor.from_pretrained(tiny_model_dir)
    return pipeline("au-detection", model=model, image_processor=image_processor)


def test_the_checkpoints_own_thresholds_are_the_default(tuned, detector, astronaut):
    (face,) = tuned(astronaut)
    assert [au["active"] for au in face["aus"]] == [True, False, True, False]
    (face,) = tuned(astronaut, threshold={"AU4": 0.0})
    assert [au["active"] for au in face["aus"]] == [True, True, True, False]
    assert tuned(astronaut, threshold=0.5)[0]["aus"][0] == detector(astronaut)[0]["aus"][0]


def test_unreliable_aus_are_marked(tuned, detector, astronaut):
    marks = {au["label"]: au["experimental"] for au in tuned(astronaut)[0]["aus"]}
    assert marks == {"AU1": False, "AU4": False, "AU12": True, "AU25": False}
    assert not any(au["experimental"] for au in detector(astronaut)[0]["aus"])


def test_features_are_those_that_the_heads_read(detector, astronaut):
    with_features = detector([astronaut, astronaut.rotate(10)], return_features=True, batch_size=2)
    for (face,) in with_features:
        assert face["features"].shape == (4, 24)
        assert face["features"].dtype == np.float32
        with torch.no_grad():
            features = torch.from_numpy(face["features"])[None, :, None]
            expected = detector.model.classifier(features).flatten().sigmoid()
        torch.testing.assert_close(torch.tensor(scores(face)), expected)
    assert not {"features", "visual_features"} & set(detector(astronaut)[0])
    assert "ddca_attention" not in with_features[0][0]


def test_landmarks_are_in_pixels_of_the_photo(detector, astronaut):
    (face,) = detector(astronaut)
    (detected,) = CenterFaceDetector()(np.asarray(astronaut))
    assert face["landmarks"] == detected.landmarks.tolist()
    assert type(face["landmarks"][0][0]) is float
    (face,) = detector(astronaut, detect_faces=False)
    assert face["landmarks"] is None


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


@pytest.mark.parametrize("dtype", [torch.bfloat16, "float16"])
def test_a_half_precision_model_gives_nearly_the_same(detector, astronaut, blank, tiny_model_dir, dtype):
    half = pipeline("au-detection", model=str(tiny_model_dir), dtype=dtype, device="cpu")
    assert half.model.dtype == (torch.bfloat16 if dtype is torch.bfloat16 else torch.float16)
    extras = {"return_attention": True, "return_features": True}
    (face,), none, (second,) = half([astronaut, blank, astronaut], batch_size=3, **extras)
    (expected,) = detector(astronaut, **extras)
    assert none == []
    assert scores(face) == scores(second)
    np.testing.assert_allclose(scores(face), scores(expected), atol=0.03)
    for name in ("ddca_attention", "cdca_attention", "features"):
        assert face[name].dtype == np.float32
        np.testing.assert_allclose(face[name], expected[name], atol=0.1)


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


def test_the_size_limit_can_be_set(detector, blank):
    assert detector(blank, max_pixels=64_000) == []
    with pytest.raises(ImageLoadError, match="320 x 200 pixels, more than the limit of 63999.*max_pixels"):
        detector(blank, max_pixels=63_999)


@pytest.mark.parametrize(
    ("parameters", "error", "message"),
    [
        ({"threshold": {"AU99": 0.4}}, ValueError, r"does not detect: \['AU99'\].*'AU1', 'AU4', 'AU12', 'AU25'"),
        ({"threshold": 50}, ValueError, "between 0 and 1, got 50"),
        ({"threshold": {"AU1": "high"}}, ValueError, "between 0 and 1, got 'high' for AU1"),
        ({"face_detector": "centerface"}, ValueError, "must be callable, got 'centerface'"),
        ({"threshold": [0.5, 0.5]}, ValueError, r"has 2 entries, but the model detects \['AU1'"),
        ({"on_error": "ignore"}, ValueError, '"raise" or "return", got \'ignore\''),
        ({"max_faces": 0}, ValueError, "`max_faces` must be a whole number of at least 1, got 0"),
        ({"max_pixels": 1.5}, ValueError, "`max_pixels` must be a whole number"),
        ({"batch_size": 0}, ValueError, "`batch_size` must be at least 1, got 0"),
        ({"top_k": 3}, TypeError, "top_k"),
    ],
)
def test_wrong_parameters_are_refused(detector, astronaut, parameters, error, message):
    with pytest.raises(error, match=message):
        detector(astronaut, **parameters)


def test_an_image_processor_of_one_side_is_refused(detector):
    processor = HiVAImageProcessor(size={"shortest_edge": 64}, crop_size={"height": 56, "width": 56})
    with pytest.raises(ValueError, match=r"`size` is \{'shortest_edge': 64\}.*needs a height and a width"):
        AUDetectionPipeline(detector.model, image_processor=processor)


def test_a_folder_without_a_checkpoint_is_named(tmp_path):
    folder = tmp_path / "no-checkpoint-here"
    folder.mkdir()
    with pytest.raises(ValueError, match="no-checkpoint-here.*config.json"):
        pipeline("au-detection", model=str(folder))


def test_a_checkpoint_of_another_architecture_is_refused(tmp_path, tiny_model_dir):
    config = ViTConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16)
    ViTForImageClassification(config).save_pretrained(tmp_path)
    AutoImageProcessor.from_pretrained(tiny_model_dir).save_pretrained(tmp_path)
    refusal = rf"needs a HiVA model, or a VL-FAU, but '{tmp_path}' is a ViTForImageClassification"
    with pytest.raises(ValueError, match=refusal):
        pipeline("au-detection", model=str(tmp_path))


# Explanations


EXPLANATION_KEYS = {"sentence", "evidence", "region", "region_share", "side", "region_agrees", "words", "related"}


def assert_explained(face: dict):
    assert face["summary"]
    assert isinstance(face["warnings"], list)
    for au in face["aus"]:
        assert set(au["explanation"]) == EXPLANATION_KEYS
        assert au["explanation"]["sentence"].startswith(f"{au['label']} {au['name']}: ")
        # Themselves left out: K is 2.
        assert len(au["explanation"]["related"]) == 1


def test_explanations_come_on_request_alone(detector, astronaut):
    (plain,), (explained,) = detector(astronaut), detector(astronaut, explain=True)
    assert_explained(explained)
    assert set(explained) == {"box", "score", "landmarks", "aus", "summary", "warnings"}
    for au in explained["aus"]:
        del au["explanation"]
    np.testing.assert_allclose(scores(explained), scores(plain), atol=1e-6)
    assert set(plain) == {"box", "score", "landmarks", "aus"}


def test_explanations_are_plain_data_that_repeats(detector, astronaut):
    first, second = (json.dumps(detector(astronaut, explain=True)) for _ in range(2))
    assert first == second


def test_words_of_explanations_come_from_the_descriptions(detector, astronaut):
    (face,) = detector(astronaut, explain=True)
    for au in face["aus"]:
        description = get_action_unit(au["label"]).description.lower()
        assert len(au["explanation"]["words"]) == 3
        assert all(word["word"] in description for word in au["explanation"]["words"])


def test_explanations_reach_batches_errors_and_photos_without_faces(detector, astronaut, wall, blank):
    photos = [blank, wall, b"no photo", astronaut]
    nobody, crowd, broken, (face,) = detector(photos, explain=True, batch_size=3, on_error="return")
    assert nobody == []
    assert "error" in broken
    # Their numbers are their places here, and the table's face_id elsewhere.
    assert not any("Face" in face["summary"] for face in crowd)
    for explained in (*crowd, face):
        assert_explained(explained)
    alone = detector(astronaut, explain=True)[0]
    assert [au["explanation"]["region"] for au in face["aus"]] == [au["explanation"]["region"] for au in alone["aus"]]


def test_aligned_faces_are_explained(detector, astronaut):
    photo = np.asarray(astronaut)
    crop = Image.fromarray(align_face(photo, CenterFaceDetector()(photo)[0].landmarks, 256))
    (face,) = detector(crop, detect_faces=False, explain=True)
    assert_explained(face)
    assert face["landmarks"] is None


def test_explanations_keep_maps_and_features_as_they_are(detector, astronaut):
    (face,) = detector(astronaut, explain=True, return_attention=True, return_features=True)
    (other,) = detector(astronaut, return_attention=True, return_features=True)
    for name in ("ddca_attention", "cdca_attention", "features", "view_matrix"):
        np.testing.assert_allclose(face[name], other[name], atol=1e-5)
    # As in the paper's Figure 7: by what is seen, before the descriptions.
    features = torch.from_numpy(face["visual_features"])[None]
    graph = adjacency(features, detector.model.config.num_neighbors)[0].numpy()
    labels = np.array([au["label"] for au in face["aus"]])
    for number, au in enumerate(face["aus"]):
        others = (graph[number] > 0) & (np.arange(len(labels)) != number)
        assert set(au["explanation"]["related"]) == set(labels[others])
    is_active = np.array([au["active"] for au in face["aus"]], dtype=float)
    np.testing.assert_allclose(face["sensitivity"].sum(axis=(1, 2)), is_active, atol=1e-5)
    assert "sensitivity" not in other


def test_batch_mates_do_not_change_what_an_au_is_said_to_depend_on(detector, astronaut, wall):
    asked = {"explain": True, "return_attention": True, "threshold": 0.5}
    (alone,) = detector(astronaut, **asked)
    (face,), _ = detector([astronaut, wall], batch_size=4, **asked)
    np.testing.assert_allclose(face["sensitivity"], alone["sensitivity"], atol=1e-5)


def test_thresholds_of_a_call_reach_its_explanations(detector, astronaut):
    (face,) = detector(astronaut, explain=True, threshold={"AU12": 0.0, "AU1": 1.0})
    explanations = {au["label"]: au["explanation"]["sentence"] for au in face["aus"]}
    assert "the lip corners are pulled up (" in explanations["AU12"]
    assert "the inner ends of the eyebrows are not raised (" in explanations["AU1"]


def test_a_pipeline_explains_by_default_if_asked_to(tiny_model_dir, astronaut):
    detector = pipeline("au-detection", model=str(tiny_model_dir), explain=True)
    assert_explained(detector(astronaut)[0])
    assert "summary" not in detector(astronaut, explain=False)[0]


@pytest.mark.parametrize(
    ("settings", "has_words"),
    [
        ({"variant": "no_ddca"}, False),
        ({"variant": "baseline"}, False),
        ({"variant": "random_vectors"}, False),
        ({"text_level": "sentence"}, False),
        ({"variant": "names_only"}, True),
    ],
)
def test_variants_explain_what_they_have(
    make_config, tokenizer, tiny_model_dir, tmp_path, astronaut, settings, has_words
):
    torch.manual_seed(0)
    model = HiVAForAUDetection(make_config(**settings)).eval()
    model.encode_descriptions(tokenizer)
    model.drop_text_encoder()
    model.save_pretrained(tmp_path)
    AutoImageProcessor.from_pretrained(tiny_model_dir).save_pretrained(tmp_path)
    (face,) = pipeline("au-detection", model=str(tmp_path), explain=True, threshold={"AU12": 0, "AU1": 1})(astronaut)
    assert_explained(face)
    explanations = {au["label"]: au["explanation"] for au in face["aus"]}
    # What a probability depends on is known of active AUs, with or without attention.
    assert [explanations[label]["evidence"] for label in ("AU12", "AU1")] == ["sensitivity", None]
    assert all((explanation["words"] is not None) == has_words for explanation in explanations.values())


def test_a_detector_without_gradients_is_explained_by_its_attention(tiny_model_dir, astronaut):
    class Frozen(HiVAForAUDetection):
        @torch.no_grad()
        def forward(self, *args, **kwargs):
            return super().forward(*args, **kwargs)

    model = Frozen.from_pretrained(tiny_model_dir)
    processor = AutoImageProcessor.from_pretrained(tiny_model_dir)
    (face,) = pipeline("au-detection", model=model, image_processor=processor)(astronaut, explain=True)
    assert_explained(face)
    for au in face["aus"]:
        assert au["explanation"]["evidence"] == "attention"
        assert "Its attention map" in au["explanation"]["sentence"]


def test_checkpoints_from_before_words_were_named_are_explained_without(tiny_model_dir, tmp_path, astronaut):
    shutil.copytree(tiny_model_dir, tmp_path / "old")
    file = tmp_path / "old" / "config.json"
    config = json.loads(file.read_text())
    del config["description_pieces"]
    file.write_text(json.dumps(config))
    (face,) = pipeline("au-detection", model=str(tmp_path / "old"), explain=True)(astronaut)
    assert_explained(face)
    assert all(au["explanation"]["words"] is None for au in face["aus"])


@pytest.fixture(scope="module")
def writer(tiny_vl_fau_dir):
    """A pipeline around a VL-FAU, which writes its sentences itself."""
    return pipeline("au-detection", model=str(tiny_vl_fau_dir))


def test_a_vl_fau_is_read_like_a_hiva_and_writes_nothing_unasked(writer, astronaut):
    assert type(writer) is AUDetectionPipeline
    calls = []
    decoders = (writer.model.local_decoder, writer.model.global_decoder)
    hooks = [decoder.register_forward_hook(lambda *call: calls.append(1)) for decoder in decoders]
    (face,) = writer(astronaut, return_attention=True, return_features=True)
    for hook in hooks:
        hook.remove()
    assert [au["label"] for au in face["aus"]] == ["AU1", "AU4", "AU12", "AU25"]
    assert face["features"].shape == (4, 48)
    assert draw_au_graph(face, num_neighbors=2) is not None
    assert np.array_equal(face["visual_features"], face["features"])
    assert face["spatial_attention"].shape == (4, 4, 4)
    assert 0 < face["spatial_attention"].min() < face["spatial_attention"].max() < 1
    assert calls == []


def test_a_vl_fau_is_quoted(writer, tiny_vl_fau_dir, astronaut, wall):
    model, tokenizer = writer.model, AutoTokenizer.from_pretrained(tiny_vl_fau_dir)
    (face,), crowd = writer([astronaut, wall], explain=True, batch_size=2)
    assert crowd
    seen = []
    hook = model.vision_model.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    assert writer(astronaut, explain=True) == [face]
    hook.remove()
    # The first look; those that follow are for what the scores depend on.
    pixel_values = seen[0]
    local = tokenizer.batch_decode(model.generate(pixel_values), skip_special_tokens=True)
    assert [au["explanation"]["sentence"] for au in face["aus"]] == local
    (of_face,) = tokenizer.batch_decode(model.generate(pixel_values, level="global"), skip_special_tokens=True)
    assert face["summary"].startswith(of_face)
    for explained in crowd:
        assert all(isinstance(au["explanation"]["sentence"], str) for au in explained["aus"])


def test_a_vl_fau_without_a_decoder_is_explained_by_our_sentences(
    make_vl_fau_config, tiny_vl_fau_dir, tmp_path, astronaut
):
    shutil.copytree(tiny_vl_fau_dir, tmp_path / "model")
    VLFAUForAUDetection(make_vl_fau_config(variant="no_local")).save_pretrained(tmp_path / "model")
    (face,) = pipeline("au-detection", model=str(tmp_path / "model"), explain=True)(astronaut)
    assert all(au["explanation"]["sentence"].startswith(au["label"]) for au in face["aus"])


def test_the_users_default_device_is_not_that_of_faces(detector, astronaut, blank):
    wanted = detector([astronaut, blank], batch_size=2)
    with torch.device("meta"):
        assert detector([astronaut, blank], batch_size=2) == wanted


def test_explanations_under_the_users_autocast(detector, astronaut):
    with torch.autocast("cpu", torch.bfloat16):
        (face,) = detector(astronaut, explain=True)
    assert all(au["explanation"]["sentence"] for au in face["aus"])


def test_the_tokenizer_comes_with_the_model(detector, tiny_vl_fau_dir):
    """Loaded later, it would lack the token that opens a private repository, and be missing offline."""
    assert pipeline("au-detection", model=str(tiny_vl_fau_dir)).tokenizer is not None
    assert detector.tokenizer is None


def test_a_saved_pipeline_of_a_vl_fau_has_its_tokenizer(writer, astronaut, tmp_path):
    writer.save_pretrained(tmp_path)
    again = pipeline("au-detection", model=str(tmp_path))
    assert again(astronaut, explain=True)[0]["summary"] == writer(astronaut, explain=True)[0]["summary"]


def test_a_vl_fau_in_memory_needs_its_tokenizer(make_vl_fau_config, state_tokenizer, detector, astronaut):
    model = VLFAUForAUDetection(make_vl_fau_config())
    parts = {"image_processor": detector.image_processor, "detect_faces": False}
    with pytest.raises(ValueError, match="pass `tokenizer=` to the pipeline"):
        AUDetectionPipeline(model, **parts)(astronaut, explain=True)
    (face,) = AUDetectionPipeline(model, tokenizer=state_tokenizer, **parts)(astronaut, explain=True)
    assert face["summary"]


def test_a_model_that_was_just_trained_learns_nothing_from_what_it_reads(tiny_model_dir):
    model = HiVAForAUDetection.from_pretrained(tiny_model_dir)
    processor = AutoImageProcessor.from_pretrained(tiny_model_dir)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    photo = Image.fromarray(np.random.default_rng(0).integers(0, 256, (80, 80, 3), np.uint8))
    expected = pipeline("au-detection", model=str(tiny_model_dir))(photo, detect_faces=False)
    found = pipeline("au-detection", model=model.train(), image_processor=processor)(photo, detect_faces=False)
    assert scores(found[0]) == scores(expected[0])
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_a_model_that_is_trained_on_learns_nothing_from_what_it_reads(tiny_model_dir, astronaut):
    reader = pipeline("au-detection", model=str(tiny_model_dir))
    before = {name: value.clone() for name, value in reader.model.state_dict().items()}
    expected = reader(astronaut)
    reader.model.train()
    assert reader(astronaut) == expected
    assert reader.model.training
    assert all(torch.equal(value, before[name]) for name, value in reader.model.state_dict().items())


def test_a_variant_of_the_file_of_weights_is_none_of_the_network(tiny_model_dir, tmp_path, astronaut, caplog):
    AutoModel.from_pretrained(tiny_model_dir).half().save_pretrained(tmp_path, variant="fp16")
    AutoImageProcessor.from_pretrained(tiny_model_dir).save_pretrained(tmp_path)
    assert not (tmp_path / "model.safetensors").exists()
    halved = pipeline("au-detection", model=str(tmp_path), model_kwargs={"variant": "fp16"}, dtype="float32")
    assert halved.model.config.variant == "full"
    assert "no variant 'fp16'" in caplog.text
    whole = pipeline("au-detection", model=str(tiny_model_dir))
    found, expected = (scores(reader(astronaut, detect_faces=False)[0]) for reader in (halved, whole))
    assert found == pytest.approx(expected, abs=2e-3)
