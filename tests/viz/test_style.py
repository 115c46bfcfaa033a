"""Themes can be read and told apart with every kind of colour vision, and in grey."""

import subprocess
import sys

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from skimage.color import deltaE_ciede2000, rgb2lab

import hiva_hf.viz
from hiva_hf.viz.overlay import FACE_COLORS
from hiva_hf.viz.style import THEMES, chosen_labels, fitting_text, text_width, thresholds_by_label


# Machado, Oliveira and Fernandes (2009), severity 1, on linear RGB.
VISIONS = {
    "trichromat": np.eye(3),
    "protan": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deutan": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritan": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
    "grey": [[0.2126, 0.7152, 0.0722]] * 3,
}


def difference(first, second, vision: str) -> float:
    """CIEDE2000 between two colours as somebody with this colour vision sees them; about 2 is just noticeable."""
    linear = np.array([to_rgb(first), to_rgb(second)]) ** 2.2
    seen = np.clip(linear @ np.array(VISIONS[vision]).T, 0, 1) ** (1 / 2.2)
    return float(deltaE_ciede2000(*rgb2lab(seen)))


@pytest.mark.parametrize("vision", VISIONS)
@pytest.mark.parametrize("theme", THEMES.values(), ids=lambda theme: theme.name)
def test_active_inactive_and_background_can_be_told_apart(theme, vision):
    assert difference(theme.active, theme.inactive, vision) > 20
    assert difference(theme.active, theme.background, vision) > 20
    assert difference(theme.alert, theme.background, vision) > 20


@pytest.mark.parametrize("vision", ["trichromat", "protan", "deutan", "tritan"])
@pytest.mark.parametrize("name", ["light", "dark"])
def test_thresholds_stand_out_from_bars(name, vision):
    assert difference(THEMES[name].active, THEMES[name].alert, vision) > 15


@pytest.mark.parametrize("vision", ["trichromat", "protan", "deutan"])
def test_neighbouring_faces_have_colours_that_differ(vision):
    colors = np.array(FACE_COLORS) / 255
    for index, color in enumerate(colors):
        assert difference(color, colors[(index + 1) % len(colors)], vision) > 10


@pytest.mark.parametrize("theme", THEMES.values(), ids=lambda theme: theme.name)
def test_text_and_edges_have_contrast(theme, contrast_ratio):
    assert contrast_ratio(theme.ink, theme.background) > 10
    assert contrast_ratio(theme.muted, theme.background) > 4.5
    assert contrast_ratio(theme.active, theme.background) > 4.5
    assert contrast_ratio(theme.alert, theme.background) > 3.5


@pytest.mark.parametrize("theme", THEMES.values(), ids=lambda theme: theme.name)
def test_more_attention_is_darker_in_grey_too(theme):
    steps = theme.heat(np.linspace(0, 1, 20))
    white = theme.face_range[1]
    over_skin = steps[:, :3] * steps[:, 3:] + 0.8 * white * (1 - steps[:, 3:])
    assert (np.diff(over_skin @ (0.2126, 0.7152, 0.0722)) < 0).all()


def test_thresholds_are_read_in_every_form():
    labels = ["AU1", "AU12"]
    assert thresholds_by_label(0.5, labels) == {"AU1": 0.5, "AU12": 0.5}
    assert thresholds_by_label([0.2, 0.3], labels) == {"AU1": 0.2, "AU12": 0.3}
    assert thresholds_by_label({"AU12": 0.4}, labels) == {"AU12": 0.4}
    assert thresholds_by_label(None, labels) == {}
    for wrong in ([0.5], {"AU7": 0.5}, 1.5):
        with pytest.raises(ValueError, match="thresholds"):
            thresholds_by_label(wrong, labels)


def test_aus_are_chosen_by_label_or_number():
    assert chosen_labels([12, "AU1"], ["AU1", "AU12"]) == ["AU12", "AU1"]
    with pytest.raises(ValueError, match="empty"):
        chosen_labels([], ["AU1"])


def test_text_is_cut_to_its_room():
    assert fitting_text("Lip Corner Depressor", 7, 5) == "Lip Corner Depressor"
    cut = fitting_text("Lip Corner Depressor", 7, 0.6)
    assert cut.startswith("Lip") and cut.endswith("\N{HORIZONTAL ELLIPSIS}") and text_width(cut, 7) <= 0.6


def test_every_public_name_is_there():
    for name in hiva_hf.viz.__all__:
        assert callable(getattr(hiva_hf.viz, name))
    assert hiva_hf.draw_timeline is hiva_hf.viz.draw_timeline
    with pytest.raises(AttributeError, match="draw_nothing"):
        _ = hiva_hf.viz.draw_nothing


def test_frames_are_marked_without_matplotlib_and_figures_name_what_is_missing():
    code = (
        "import sys; sys.modules['matplotlib'] = None\n"
        "from hiva_hf.viz import annotate_frame\n"
        "try:\n    from hiva_hf.viz import draw_faces\n"
        "except ImportError as error:\n    print(error)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == 'draw_faces needs matplotlib: `pip install "hiva-hf[faces]"`.'
