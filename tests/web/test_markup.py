"""Pieces of HTML."""

import numpy as np
import pytest

from hiva_hf.web.markup import attention_picture, au_bars, au_card, face_summary, notice
from hiva_hf.web.photos import ReadFace


def make_au(label="AU12", name="Lip Corner Puller", score=0.8, active=True, experimental=False) -> dict:
    return {"label": label, "name": name, "score": score, "active": active, "experimental": experimental}


def test_active_and_experimental_aus_are_marked_in_words():
    html = au_bars([make_au(), make_au("AU4", "Brow Lowerer", 0.2, False, experimental=True)], [0.5, 0.6], "AU4")
    smile, frown = sorted(html.split("<li>")[1:], key=lambda row: "AU12" not in row)
    assert ">active</span>" in smile and "experimental" not in smile and 'aria-pressed="false"' in smile
    assert ">active</span>" not in frown and 'title="experimental"' in frown and 'aria-pressed="true"' in frown
    assert "80 %" in smile and "left:60%" in frown
    assert "Experimental: unreliable on real photos." in html


def test_without_experimental_aus_nothing_is_said_of_them():
    assert "xperimental" not in au_bars([make_au()], [0.5], "AU12")


def test_a_label_that_facs_does_not_know_stands_for_itself():
    au = make_au("smile<b>", "smile<b>")
    assert "<b>smile&lt;b&gt;</b>" in au_bars([au], [0.5], "smile<b>")
    assert "smile&lt;b&gt;" in au_card(ReadFace([au], None, {}), "smile<b>")


def test_messages_are_escaped():
    assert notice("<script>", "error") == '<p class="hiva-notice hiva-error" role="alert">&lt;script&gt;</p>'


def test_the_overlay_colours_where_the_map_is_high_and_stays_grey_elsewhere():
    values = np.zeros((8, 8), np.float32)
    values[6, 1] = 1.0
    picture = np.asarray(attention_picture(np.full((224, 224, 3), 200, np.uint8), values), dtype=int)
    saturation = picture.max(axis=2) - picture.min(axis=2)
    row, column = np.unravel_index(saturation.argmax(), saturation.shape)
    assert row / len(picture) == pytest.approx(6.5 / 8, abs=0.1)
    assert column / len(picture) == pytest.approx(1.5 / 8, abs=0.1)
    assert saturation[:100, 200:].max() == 0


def test_the_face_shown_first_has_the_most_probable_reliable_au():
    aus = [make_au("AU1", score=0.9, experimental=True), make_au("AU4", score=0.95, active=False), make_au(score=0.6)]
    assert ReadFace(aus, None, {}).foremost_au == "AU12"
    assert ReadFace(aus[:2], None, {}).foremost_au == "AU4"


def test_the_caption_tells_how_pointed_a_map_is():
    view = np.zeros((224, 224, 3), np.uint8)
    even, pointed = np.full((1, 8, 8), 1 / 64, np.float32), np.eye(8, dtype=np.float32)[None] / 8
    card = au_card(ReadFace([make_au()], view, {"ddca": even, "cdca": pointed}), "AU12")
    assert "(DDCA): up to 1 times" in card and "(CDCA): up to 8 times" in card


def test_summary_warnings_and_evidence_are_shown_and_escaped():
    au = make_au() | {"explanation": {"sentence": 'It attends most to "<lip>".'}}
    face = ReadFace([au], None, {}, "Lips <apart>.", ["24 & 25 contradict each other."])
    assert "<p>Lips &lt;apart&gt;.</p>" in face_summary(face)
    assert "<li>24 &amp; 25 contradict each other.</li>" in face_summary(face)
    assert "&lt;lip&gt;" in au_card(face, "AU12")
    assert face_summary(ReadFace([make_au()], None, {})) == ""
    assert "rests on" not in au_card(ReadFace([make_au()], None, {}), "AU12")
