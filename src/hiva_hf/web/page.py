"""Layout of the page: its tabs, and the functions that their parts call."""

import os
import time
from pathlib import Path

import gradio as gr

from ..extras import import_from_extra
from ..facs import find_action_unit
from ..inference.loading import load_detector
from ..pipeline_au_detection import AUDetectionPipeline
from ..viz.style import EXPERIMENTAL_MARK
from .handlers import PHOTOS_AT_A_TIME, Handlers
from .photos import TABLES
from .sessions import Sessions


# Seconds between two searches for files of visitors who left unnoticed, and the age at which these are deleted.
DELETE_CACHE = (300, 3600)
# How long a result can still be used, in seconds.
STATE_LIFETIME = 3600
SECONDS_BETWEEN_WEBCAM_PICTURES = 0.5
BARS_SCRIPT = Path(__file__).with_name("au_bars.js").read_text(encoding="utf-8")
# The width available to the timeline; the browser fills in the last input.
MEASURE_WIDTH = """(path, every, _) => [path, every, document.querySelector("#hiva-timeline").clientWidth
    || document.querySelector("#hiva-page-top").clientWidth]"""

INTRODUCTION = """# Facial Action Units

Action Units (AUs) are the individual movements that facial muscles make, such as raising a brow or pulling up a lip
corner. This page finds faces and shows which movements each of them makes, and where the network looked for them.
**AUs are movements, not feelings:** they do not show what a person feels, thinks or intends."""

NETWORKS = {
    "hiva": """HiVA, a network with one branch for each AU that reads descriptions of what the AU looks like, gives
each AU a probability. An AU counts as active if its probability reaches its threshold. The maps show the attention of
an AU's description: to the AU's own features (DDCA) and to those of the whole face (CDCA).""",
    "vl_fau": """VL-FAU, a network with one branch for each AU that writes about what it sees, gives each AU a
probability. An AU counts as active if its probability reaches its threshold. The maps show the spatial attention of
the AU's branch.""",
}
PRIVACY = """**Your pictures** are processed by the computer that serves this page and sent nowhere else. They are
deleted when you close the page, or after an hour at the latest."""


class DemoPage(gr.Blocks):
    """A page that deletes everything of its visitors when it is closed.

    Attributes:
        sessions: State of its visitors.
    """

    sessions: Sessions

    def close(self, *args, **kwargs) -> None:
        # Before the server, which waits for responses in progress.
        self.sessions.close()
        super().close(*args, **kwargs)

    def block_thread(self) -> None:
        """Serves until Ctrl-C; a video in progress ends with its current frame."""
        try:
            while self.is_running:
                time.sleep(0.1)
        finally:
            self.close()


def build_demo(
    model: str | os.PathLike | AUDetectionPipeline | None = None,
    max_video_seconds: float = 120.0,
    device: str | int | None = None,
) -> DemoPage:
    """Builds the web page.

    Args:
        model: Folder or Hub repository of a detector, or an au-detection pipeline; by default the packaged starter
            checkpoint.
        max_video_seconds: Longer videos are rejected.
        device: Device of the model, as in `transformers.pipeline`.

    Returns:
        The page; launch it with [`launch_options`]: `build_demo().launch(**launch_options())`.

    Raises:
        ValueError: `max_video_seconds` is not positive, or the device can't be used.
        OSError: There is no such checkpoint.
    """
    if not max_video_seconds > 0:
        raise ValueError(f"`max_video_seconds` must be positive, got {max_video_seconds!r}.")
    for module, purpose in {"av": "Reading videos", "matplotlib": "Drawing timelines"}.items():
        import_from_extra(module, "demo", purpose)
    detector = load_detector(model, device)
    with DemoPage(title="Facial Action Units", analytics_enabled=False, delete_cache=DELETE_CACHE) as demo:
        demo.sessions = Sessions(Path(demo.GRADIO_CACHE))
        handlers = Handlers(detector, demo.sessions, max_video_seconds)
        gr.Markdown(INTRODUCTION, elem_id="hiva-page-top")
        with gr.Tab("Photo", elem_id="hiva-photo-tab"):
            _photo_tab(handlers)
        with gr.Tab("Webcam", elem_id="hiva-webcam-tab"):
            _webcam_tab(handlers)
        with gr.Tab("Video", elem_id="hiva-video-tab"):
            _video_tab(handlers, max_video_seconds)
        with gr.Tab("About", elem_id="hiva-about-tab"):
            gr.Markdown(about(detector))
        gr.Markdown(PRIVACY, elem_id="hiva-privacy")
        demo.unload(handlers.leave)
    return demo


def _photo_tab(handlers: Handlers) -> None:
    with gr.Row():
        with gr.Column():
            photo = gr.Image(
                label="Photo", sources=["upload", "clipboard"], type="filepath", height=320, elem_id="hiva-photo-input"
            )
            # Gradio would open the file itself; instead, our own image loader opens it and explains any error.
            photo.preprocess = _path_of
        result = _result_top()
    outputs = _result_bottom(handlers, result)
    tables = _table_buttons()
    _keep_uploads(handlers, photo)
    photo.change(
        handlers.show_photo,
        [photo],
        [*outputs, *tables],
        show_progress="minimal",
        concurrency_limit=PHOTOS_AT_A_TIME,
        api_visibility="private",
    )


def _keep_uploads(handlers: Handlers, upload: gr.Image | gr.Video) -> None:
    # Bypasses the queue, in which the processing waits.
    upload.change(handlers.keep_upload, [upload], queue=False, show_progress="hidden", api_visibility="private")


def _path_of(upload: gr.FileData | None) -> str | None:
    return None if upload is None else upload.path


def _webcam_tab(handlers: Handlers) -> None:
    with gr.Row():
        with gr.Column():
            webcam = gr.Image(
                label="Webcam", sources=["webcam"], streaming=True, type="numpy", height=320, elem_id="hiva-webcam"
            )
            gr.Markdown(
                "Press the round button, allow the camera, and move your face. Browsers allow a camera only on this "
                "computer or over https.",
                elem_classes="hiva-legend",
            )
        result = _result_top()
    outputs = _result_bottom(handlers, result)
    _, _, _, faces, _, _, au = outputs
    webcam.stream(
        handlers.show_webcam,
        [webcam, faces, au],
        outputs,
        stream_every=SECONDS_BETWEEN_WEBCAM_PICTURES,
        time_limit=600,
        concurrency_limit=2,
        show_progress="hidden",
        api_visibility="private",
    )


def _result_top() -> tuple[gr.HTML, gr.HTML, gr.Radio]:
    """Notice, annotated picture and choice of the face."""
    with gr.Column():
        message = gr.HTML()
        picture = gr.HTML()
        faces = gr.Radio(label="Face", visible=False, interactive=True)
    return message, picture, faces


def _result_bottom(handlers: Handlers, top: tuple[gr.HTML, gr.HTML, gr.Radio]) -> list[gr.components.Component]:
    """Adds bars and the card of an AU; returns all components that a result fills: see `Handlers.show_webcam`."""
    message, picture, faces = top
    result, au = gr.State(time_to_live=STATE_LIFETIME), gr.State(time_to_live=STATE_LIFETIME)
    with gr.Row(elem_classes="hiva-result"):
        with gr.Column(elem_classes="hiva-bars-column"):
            bars = gr.HTML(js_on_load=BARS_SCRIPT)
        with gr.Column(elem_classes="hiva-card-column"):
            card = gr.HTML()
    quick = {"show_progress": "hidden", "api_visibility": "private"}
    faces.input(handlers.choose_face, [result, faces], [bars, card, au], **quick)
    bars.click(handlers.choose_au, [result, faces], [card, au], **quick)
    return [result, message, picture, faces, bars, card, au]


def _table_buttons() -> list[gr.DownloadButton]:
    with gr.Row():
        return [gr.DownloadButton(label, visible=False) for _, label in TABLES.values()]


def _video_tab(handlers: Handlers, max_video_seconds: float) -> None:
    with gr.Row():
        with gr.Column():
            video = gr.Video(
                label=f"Video, up to {max_video_seconds:g} seconds",
                sources=["upload"],
                height=320,
                elem_id="hiva-video",
            )
            every = gr.Dropdown(
                [("every frame", 1), ("every 2nd frame", 2), ("every 5th frame", 5), ("every 10th frame", 10)],
                value=1,
                label="Read",
                interactive=True,
            )
            run = gr.Button("Read the video", variant="primary")
        with gr.Column():
            status = gr.HTML()
            stop = gr.Button("Stop and show what was found", variant="stop", visible=False)
            preview = gr.Video(
                label="Annotated video", interactive=False, visible=False, height=320, elem_id="hiva-preview"
            )
    timeline = gr.HTML(elem_id="hiva-timeline")
    tables = _table_buttons()
    width = gr.Number(visible=False)
    outputs = [status, stop, preview, timeline, *tables]
    _keep_uploads(handlers, video)
    video.change(handlers.forget_video, None, outputs, show_progress="hidden", api_visibility="private")
    run.click(
        handlers.show_video,
        [video, every, width],
        outputs,
        js=MEASURE_WIDTH,
        show_progress="hidden",
        concurrency_limit=1,
        api_visibility="private",
    )
    stop.click(handlers.stop_video, queue=False, show_progress="hidden", api_visibility="private")


def about(detector: AUDetectionPipeline) -> str:
    """The page's text about its model and the limits of it."""
    config = detector.model.config
    experimental = config.experimental_labels or ()
    lines = []
    for label, threshold in zip(config.au_labels, config.au_thresholds, strict=True):
        unit = find_action_unit(label)
        mark = EXPERIMENTAL_MARK if label in experimental else ""
        meaning = f" {unit.name}: {unit.action} ({', '.join(unit.muscles)})" if unit else ""
        lines.append(f"- **{label}{mark}**{meaning}; threshold {100 * threshold:.0f} %.")
    note = f"{EXPERIMENTAL_MARK} Experimental: unreliable on real photos.\n\n" if experimental else ""
    units = "\n".join(lines)
    return f"""## What this page shows

{NETWORKS[config.model_type]}

## The Action Units of this model

{units}

{note}## What it does not show

AUs are movements, not feelings: a smile may be polite, a frown may be concentration. Do not use this page to judge
people, to make decisions about them, or to guess what they feel, think or intend. Some AUs will be wrong, more often
in faces that are turned away, covered, badly lit, or unlike those that the model was trained on.

## Your pictures

They are processed by the computer that serves this page. Photos and videos, and the tables and videos made from them,
are deleted when you close the page, or after an hour at the latest; nothing is kept, counted or sent elsewhere.
"""
