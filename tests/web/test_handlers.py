"""Files go with their visitor, not before, and what is gone is called so."""

import shutil
from pathlib import Path
from types import SimpleNamespace

import gradio as gr
import numpy as np
import pytest
from PIL import Image
from transformers import pipeline

from hiva_hf.web import handlers
from hiva_hf.web.handlers import Handlers


@pytest.fixture
def page(sessions, tiny_model_dir):
    return Handlers(pipeline("au-detection", model=str(tiny_model_dir), device="cpu"), sessions, 60.0)


@pytest.fixture
def upload(uploads, tmp_path):
    """Copies a file to where the page would get it."""
    return lambda kind: shutil.copy(uploads[kind], tmp_path)


def test_nothing_stays_of_a_photo_whose_visitor_left(page, sessions, upload, tmp_path, monkeypatch):
    def read_and_leave(*args):
        photo = read_photo(*args)
        sessions.leave("anna")
        return photo

    read_photo = handlers.read_photo
    monkeypatch.setattr(handlers, "read_photo", read_and_leave)
    path, anna = upload("face"), gr.Request(session_hash="anna")
    page.keep_upload(path, anna)
    page.show_photo(path, anna)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_nothing_stays_of_a_video_whose_visitor_left(page, sessions, upload, tmp_path):
    path, anna = upload("face_video"), gr.Request(session_hash="anna")
    page.keep_upload(path, anna)
    steps = page.show_video(path, 1, 600, anna)
    next(steps)
    sessions.leave("anna")
    list(steps)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_an_upload_stays_for_a_visitor_whose_reading_has_to_wait(page, sessions, upload):
    path = Path(upload("face"))
    for visitor in ("anna", "berta"):
        page.keep_upload(str(path), gr.Request(session_hash=visitor))
    sessions.leave("anna")
    assert path.exists()
    sessions.leave("berta")
    assert not path.exists()


def test_an_upload_that_is_gone_is_called_so_and_its_folder_is_not_told(page, tmp_path):
    gone, anna = str(tmp_path / "gone.mp4"), gr.Request(session_hash="anna")
    (of_video,) = page.show_video(gone, 1, 600, anna)
    for message in (page.show_photo(gone, anna)[1], of_video[0]):
        assert "gone.mp4 is no longer here" in message and str(tmp_path) not in message


def test_a_result_that_is_gone_is_called_so(page):
    """Else a bar would be marked beside the maps of another AU."""
    card, au = page.choose_au(None, 0, SimpleNamespace(au="AU4"))
    assert "Choose the file again" in card and au is None
    bars, card, au = page.choose_face(None, 1)
    assert "Choose the file again" in bars and (card, au) == ("", None)


def test_a_picture_of_the_webcam_does_not_undo_what_was_chosen_while_it_was_read(page, uploads):
    two = np.asarray(Image.open(uploads["two_faces"]))
    *_, faces, _, _, au = page.show_webcam(two, 1, "AU4")
    # Nothing is written to what the visitor chooses by.
    assert "value" not in faces and au == gr.skip()
    *_, faces, _, _, au = page.show_webcam(two, None, None)
    assert faces["value"] == 0 and au in ("AU1", "AU4", "AU12", "AU25")
    # A face that is not seen for a moment.
    *_, au = page.show_webcam(np.full((240, 320, 3), 90, np.uint8), 1, "AU4")
    assert au == gr.skip()
