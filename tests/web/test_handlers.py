"""Nothing stays of a visitor who leaves while a file is being read."""

import shutil

import gradio as gr
import pytest
from transformers import pipeline

from hiva_hf.web import handlers
from hiva_hf.web.handlers import Handlers
from hiva_hf.web.sessions import Sessions


@pytest.fixture
def sessions(tmp_path):
    return Sessions(tmp_path / "results")


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
    page.show_photo(upload("face"), gr.Request(session_hash="anna"))
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_nothing_stays_of_a_video_whose_visitor_left(page, sessions, upload, tmp_path):
    steps = page.show_video(upload("face_video"), 1, 600, gr.Request(session_hash="anna"))
    next(steps)
    sessions.leave("anna")
    list(steps)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
