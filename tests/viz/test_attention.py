"""Attention maps of all or chosen AUs stand over the face, on one scale, each with its AU's name."""

import numpy as np
import pytest

from hiva_hf.viz import draw_attention


def maps_of(figure) -> dict:
    return {axes.get_gid(): axes for axes in figure.axes if axes.get_gid()}


def test_every_au_has_its_maps_on_one_scale(read_face, astronaut, check_texts):
    figure = draw_attention(astronaut, read_face)
    check_texts(figure)
    maps = maps_of(figure)
    assert len(maps) == 40
    heats = {name: axes.get_images()[1] for name, axes in maps.items()}
    np.testing.assert_allclose(heats["ddca AU4"].get_array(), 16 * read_face["ddca_attention"][2])
    np.testing.assert_allclose(heats["cdca AU4"].get_array(), 16 * read_face["cdca_attention"][2])
    assert {heat.get_clim() for heat in heats.values()} == {(0.0, 16 * float(np.float32(0.7)))}


def test_chosen_aus_stand_in_their_order(read_face, astronaut):
    maps = maps_of(draw_attention(astronaut, read_face, aus=["AU12", 6], kinds=["ddca"]))
    assert list(maps) == ["ddca AU12", "ddca AU6"]
    titles = [axes.get_title(loc="left") for axes in maps.values()]
    assert titles == ["AU12  1.00 \N{BLACK CIRCLE}\nLip Corner Puller", "AU6  0.83 \N{BLACK CIRCLE}\nCheek Raiser"]


def test_the_key_names_left_and_right_as_they_are_drawn(read_face, astronaut):
    figure = draw_attention(astronaut, read_face, aus=[12], kinds=["cdca", "ddca"])
    assert list(maps_of(figure)) == ["cdca AU12", "ddca AU12"]
    (key,) = (text.get_text() for axes in figure.axes for text in axes.texts)
    assert key.index("left\nCDCA") < key.index("right\nDDCA")


def test_attention_without_focus_does_not_look_focused(read_face, astronaut):
    even = {**read_face, "ddca_attention": np.full((20, 4, 4), 1 / 16)}
    heat = maps_of(draw_attention(astronaut, even, aus=[1], kinds=["ddca"]))["ddca AU1"].get_images()[1]
    assert heat.get_array().max() == pytest.approx(1)
    assert heat.get_clim() == (0, 2)


def test_in_print_black_is_attention_and_not_hair(read_face, astronaut):
    maps = maps_of(draw_attention(astronaut, read_face, aus=[1], theme="print"))
    face, heat = maps["ddca AU1"].get_images()
    assert face.get_array().min() > 140
    assert max(heat.cmap(1.0)[:3]) < 0.1


@pytest.mark.parametrize(("theme", "width"), [("light", 3.5), ("dark", 7.2), ("print", 3.5)])
def test_texts_are_legible(read_face, astronaut, theme, width, check_texts):
    for arguments in ({"aus": [10]}, {"aus": [1, 15, 12, 26, 43], "kinds": ["cdca"]}, {"aus": [15, 12, 26]}):
        figure = draw_attention(astronaut, read_face, theme=theme, width=width, **arguments)
        assert figure.get_size_inches()[0] <= width + 1e-6
        check_texts(figure, theme)


def test_what_is_not_there_is_named(read_face, astronaut):
    bare = {name: value for name, value in read_face.items() if not name.endswith("attention")}
    with pytest.raises(ValueError, match="return_attention=True"):
        draw_attention(astronaut, bare)
    with pytest.raises(ValueError, match=r"\['AU3'\]"):
        draw_attention(astronaut, read_face, aus=[3])
    with pytest.raises(ValueError, match="'adca'"):
        draw_attention(astronaut, read_face, kinds=["adca"])
