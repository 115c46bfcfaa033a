"""The picture shows every face, every AU with its probability, and the attention maps where they belong."""

import numpy as np
import pytest
from matplotlib.patches import Rectangle
from PIL import Image
from transformers import pipeline

import hiva_hf  # noqa: F401  (registers the task)
from hiva_hf.face_detection import CenterFaceDetector
from hiva_hf.image_loading import ImageLoadError
from hiva_hf.viz import draw_faces


@pytest.fixture(scope="module")
def detector(tiny_model_dir):
    return pipeline("au-detection", model=str(tiny_model_dir), return_attention=True)


@pytest.fixture(scope="module")
def found(detector, astronaut) -> list[dict]:
    """The astronaut's face, with two of the four AUs active."""
    (face,) = detector(astronaut)
    for au, score in zip(face["aus"], (0.1, 0.62, 0.93, 0.31), strict=True):
        au.update(score=score, active=score >= 0.5)
    return [face]


def texts(axes) -> list[str]:
    return [text.get_text() for text in axes.texts if text.get_gid() != "legend"]


def titles(figure) -> list[str]:
    return [axes.get_title() or axes.get_title(loc="left") for axes in figure.axes]


def axes_titled(figure, start: str):
    (found,) = (axes for axes, title in zip(figure.axes, titles(figure), strict=True) if title.startswith(start))
    return found


def test_the_picture_is_saved(found, astronaut, tmp_path):
    path = tmp_path / "result.png"
    figure = draw_faces(astronaut, found, path, dpi=50)
    with Image.open(path) as picture:
        width, height = figure.get_size_inches()
        assert picture.size == pytest.approx((50 * width, 50 * height), abs=1)
        assert np.asarray(picture.convert("L")).std() > 20


def test_boxes_are_drawn_where_the_faces_are(found, astronaut):
    photo_axes = draw_faces(astronaut, found).axes[0]
    (box,) = (patch for patch in photo_axes.patches if isinstance(patch, Rectangle))
    expected = found[0]["box"]
    assert (box.get_x(), box.get_y()) == (expected["xmin"], expected["ymin"])
    assert (box.get_width(), box.get_height()) == (
        expected["xmax"] - expected["xmin"],
        expected["ymax"] - expected["ymin"],
    )
    assert [text.get_text() for text in photo_axes.texts] == ["1"]


def test_every_au_has_a_bar_and_active_ones_are_marked_without_colour(found, astronaut):
    bars = axes_titled(draw_faces(astronaut, found), "Face 1")
    assert [bar.get_width() for bar in bars.patches] == pytest.approx([au["score"] for au in found[0]["aus"]])
    assert [text.get_text() for text in bars.get_yticklabels()] == [
        "AU1  Inner Brow Raiser",
        "AU4  Brow Lowerer",
        "AU12  Lip Corner Puller",
        "AU25  Lips Part",
    ]
    assert [text.get_fontweight() for text in bars.get_yticklabels()] == ["normal", "bold", "bold", "normal"]
    assert texts(bars) == ["0.10", "0.62 \N{BLACK CIRCLE}", "0.93 \N{BLACK CIRCLE}", "0.31"]


def test_attention_of_the_most_probable_aus_is_drawn_over_the_face(found, astronaut):
    figure = draw_faces(astronaut, found, num_maps=3)
    assert [title for title in titles(figure) if "CA" in title] == [
        "DDCA AU12 (0.93)",
        "DDCA AU4 (0.62)",
        "DDCA AU25 (0.31)\nnot active",
        "CDCA, mean of\nAU4, AU12, AU25",
    ]
    view, heat = axes_titled(figure, "DDCA AU4").get_images()
    assert view.get_extent() == heat.get_extent()
    np.testing.assert_allclose(heat.get_array(), 16 * found[0]["ddca_attention"][1])
    composite = axes_titled(figure, "CDCA").get_images()[1]
    np.testing.assert_allclose(composite.get_array(), 16 * found[0]["cdca_attention"][1:].mean(axis=0), rtol=1e-6)


def test_the_face_under_the_maps_is_what_the_network_saw(found, astronaut):
    view = axes_titled(draw_faces(astronaut, found), "DDCA AU12").get_images()[0].get_array()
    assert view.shape == (224, 224)
    (face,) = CenterFaceDetector()(np.repeat(np.asarray(view)[:, :, None], 3, axis=2).astype(np.uint8))
    # The eyes, as the template places them in the central 7/8 of the aligned crop.
    expected = (np.array([[0.355, 0.355], [0.645, 0.355]]) - 1 / 16) * 8 / 7 * 224
    assert np.abs(face.landmarks[:2] - expected).max() < 12


@pytest.fixture(scope="module")
def pair(astronaut) -> Image.Image:
    """A photo with two faces."""
    photo = Image.new("RGB", (1024, 512), "gray")
    photo.paste(astronaut, (0, 0))
    photo.paste(astronaut.resize((400, 400)), (560, 60))
    return photo


def test_each_face_has_its_own_row(detector, pair):
    figure = draw_faces(pair, detector(pair))
    names = titles(figure)
    assert [name for name in names if name.startswith("Face")] == ["Face 1", "Face 2"]
    assert sum(name.startswith("DDCA") for name in names) == 6
    limited = draw_faces(pair, detector(pair), max_faces=1)
    assert [name for name in titles(limited) if name.startswith("Face")] == ["Face 1"]
    assert [text.get_text() for text in limited.axes[0].texts] == ["1", "2"]


def test_axes_do_not_overlap_and_stay_inside_the_picture(detector, astronaut, pair):
    for image in (astronaut, pair):
        figure = draw_faces(image, detector(image))
        figure.draw_without_rendering()
        boxes = [axes.get_tightbbox() for axes in figure.axes]
        for index, box in enumerate(boxes):
            assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= figure.bbox.x1 and box.y1 <= figure.bbox.y1
            assert not any(box.overlaps(other) for other in boxes[index + 1 :])


def test_without_attention_only_photo_and_bars_are_drawn(found, astronaut):
    plain = [{name: found[0][name] for name in ("box", "score", "aus")}]
    assert titles(draw_faces(astronaut, plain)) == ["", "Face 1"]
    assert titles(draw_faces(astronaut, found, attention=False)) == ["", "Face 1"]


def test_a_photo_without_a_face_says_so(astronaut, tmp_path):
    figure = draw_faces(astronaut, [], tmp_path / "none.png")
    assert titles(figure) == ["No face found"]
    assert (tmp_path / "none.png").stat().st_size > 0


def test_wrong_arguments_are_refused(found, tmp_path):
    with pytest.raises(ImageLoadError, match=r"none\.jpg"):
        draw_faces(tmp_path / "none.jpg", found)
    with pytest.raises(ValueError, match="at least 1, got 0 and 6"):
        draw_faces(Image.new("RGB", (9, 9)), found, num_maps=0)


@pytest.mark.parametrize(("theme", "width"), [("light", 7.2), ("dark", 7.2), ("print", 3.5)])
def test_twenty_aus_are_legible_at_the_width_of_a_page_and_of_a_column(
    read_face, astronaut, theme, width, check_texts
):
    figure = draw_faces(astronaut, [read_face], theme=theme, width=width, thresholds=0.5)
    assert figure.get_size_inches()[0] == width
    check_texts(figure, theme)


@pytest.mark.parametrize("attention", [True, False])
def test_two_faces_with_twenty_aus_are_legible(read_face, astronaut, attention, check_texts):
    faces = [read_face, {**read_face, "box": {"xmin": 300, "ymin": 0, "xmax": 400, "ymax": 90}}]
    check_texts(draw_faces(astronaut, faces, attention=attention))


def test_experimental_aus_are_hollow_and_explained(read_face, astronaut):
    bars = axes_titled(draw_faces(astronaut, [read_face]), "Face 1")
    labels = [label.get_text() for label in bars.get_yticklabels()]
    assert [label for label in labels if "\N{DAGGER}" in label] == [
        "AU10\N{DAGGER}  Upper Lip Raiser",
        "AU26\N{DAGGER}  Jaw Drop",
    ]
    assert "0.55 \N{WHITE CIRCLE}" in texts(bars) and "0.91 \N{BLACK CIRCLE}" in texts(bars)
    (legend,) = (text.get_text() for text in bars.texts if text.get_gid() == "legend")
    assert "\N{DAGGER} experimental" in legend
    solid, hollow, background = bars.patches[8], bars.patches[7], bars.get_facecolor()
    assert hollow.get_facecolor() == background != solid.get_facecolor()
    assert hollow.get_hatch() and not solid.get_hatch()


def test_thresholds_are_ticks_on_their_bars(found, astronaut):
    bars = axes_titled(draw_faces(astronaut, found, thresholds={"AU4": 0.4, "AU25": 0.7}), "Face 1")
    ticks = [segment for lines in bars.collections for segment in lines.get_segments()]
    assert [segment[:, 0].tolist() for segment in ticks] == [[0.4, 0.4], [0.7, 0.7]]
    assert [segment[:, 1].mean() for segment in ticks] == pytest.approx([1, 3])
    with pytest.raises(ValueError, match=r"\['AU7'\]"):
        draw_faces(astronaut, found, thresholds={"AU7": 0.4})


def test_landmarks_are_drawn_where_they_are(read_face, astronaut):
    photo_axes = draw_faces(astronaut, [read_face], landmarks=True).axes[0]
    (points,) = photo_axes.collections
    np.testing.assert_allclose(points.get_offsets(), read_face["landmarks"])
    bare = {name: value for name, value in read_face.items() if name != "landmarks"}
    with pytest.raises(ValueError, match="landmarks"):
        draw_faces(astronaut, [bare], landmarks=True)


@pytest.mark.parametrize("ending", ["svg", "pdf"])
def test_the_ending_tells_the_format(read_face, astronaut, tmp_path, ending):
    path = tmp_path / "new" / f"faces.{ending}"
    draw_faces(astronaut, [read_face], path)
    assert path.read_bytes()[:5] == {"svg": b"<?xml", "pdf": b"%PDF-"}[ending]


def test_an_unknown_ending_or_theme_is_refused_at_once(read_face, astronaut):
    with pytest.raises(ValueError, match=r"'faces\.docx'"):
        draw_faces(astronaut, [read_face], "faces.docx")
    with pytest.raises(ValueError, match="'light', 'dark', 'print', got 'pink'"):
        draw_faces(astronaut, [read_face], theme="pink")
