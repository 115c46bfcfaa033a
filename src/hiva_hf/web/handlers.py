"""Event handlers of the page: from the values of its components to their updates."""

import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
from numpy.typing import NDArray

from ..image_loading import ImageLoadError
from ..inference.tables import records_to_table
from ..pipeline_au_detection import AUDetectionPipeline
from .markup import au_bars, au_card, face_summary, notice, picture
from .photos import TABLES, ReadPhoto, read_photo, write_tables
from .sessions import Sessions
from .timeline import timelines
from .videos import ReadVideo, VideoRefusedError, read_video


logger = logging.getLogger(__name__)

NO_FACE = (
    "No face was found in this picture. Faces that are turned far away, covered, very small or dark are easily "
    "missed: try a picture in which the face is larger."
)
PHOTOS_AT_A_TIME = 2
GONE = "{name} is no longer here: uploads are deleted after an hour. Choose the file again."
EXPIRED = "The results for this picture were deleted after an hour. Choose the file again."
FAILED = "Something went wrong while reading {name}. See the server's log for details. Other files may still work."


class Handlers:
    """The page's functions.

    Args:
        detector: The au-detection pipeline, which all visitors share.
        sessions: State of the visitors.
        max_video_seconds: Longer videos are rejected.
    """

    def __init__(self, detector: AUDetectionPipeline, sessions: Sessions, max_video_seconds: float):
        self._detector = detector
        self._sessions = sessions
        self._max_video_seconds = max_video_seconds
        # Gradio has forty threads, and the memory that a large photo needs stays allocated to the thread that read it.
        self._readers = ThreadPoolExecutor(PHOTOS_AT_A_TIME, "photo")

    def keep_upload(self, path: str | None, request: gr.Request) -> None:
        """Registers an upload as soon as it arrives.

        It may be processed later, in the queue or on the press of a button. Until then, its visitor may leave, or the
        same file, which Gradio stores once, may be deleted with another visitor.
        """
        if path is not None:
            self._sessions.keep_until_left(request.session_hash, path)

    def show_photo(self, path: str | None, request: gr.Request) -> tuple[Any, ...]:
        """Reads an uploaded photo.

        Returns:
            Values of state, notice, picture, choice of the face, bars, card, chosen AU and tables.
        """
        if path is None:
            return *_empty(""), *_no_tables()
        name = Path(path).name
        if not Path(path).is_file():
            return *_empty(notice(GONE.format(name=name), "error")), *_no_tables()
        folder = self._sessions.new_folder(request.session_hash)
        try:
            photo = self._readers.submit(read_photo, self._detector, Path(path), name).result()
        except ImageLoadError as error:
            # Without the path on the server.
            message = f"Cannot use {name!r}: {error.reason}"
            return *_empty(notice(message, "error")), *_no_tables()
        except Exception:
            logger.exception("Reading a photo failed.")
            return *_empty(notice(FAILED.format(name=name), "error")), *_no_tables()
        if not folder.exists():
            # The visitor has left: files written now would never be deleted.
            return *_empty(""), *_no_tables()
        tables = write_tables(photo.records, self._detector.model.config.au_labels, folder)
        return *self._show(photo, None, None), *_tables(tables)

    def show_webcam(self, image: NDArray[np.uint8] | None, face: int | None, au: str | None) -> tuple[Any, ...]:
        """Reads a picture of the webcam, and keeps the chosen face and AU.

        Returns:
            Values of state, notice, picture, choice of the face, bars, card and chosen AU.
        """
        if image is None:
            return _empty("")
        photo = read_photo(self._detector, image, "webcam", explain=False)
        *shown, faces, bars, card, chosen = self._show(photo, face, au)
        if faces.get("value") == face:
            # It must not overwrite what the visitor chose in the meantime.
            del faces["value"]
        # The chosen AU is also kept if a picture shows no face.
        return *shown, faces, bars, card, gr.skip() if au is not None else chosen

    def choose_face(self, photo: ReadPhoto | None, face: int | None) -> tuple[str, str, str | None]:
        """Shows another face of a photo; returns bars, card and chosen AU."""
        if photo is None:
            return notice(EXPIRED, "error"), "", None
        if face is None or face >= len(photo.faces):
            return "", "", None
        au = photo.faces[face].foremost_au
        return self._bars(photo, face, au), au_card(photo.faces[face], au), au

    def choose_au(self, photo: ReadPhoto | None, face: int | None, event: gr.EventData) -> tuple[str, str | None]:
        """Shows another AU of a face; returns card and chosen AU. The page marks the bar itself."""
        if photo is None:
            return notice(EXPIRED, "error"), None
        au = str(event.au)
        return au_card(photo.faces[face or 0], au), au

    def show_video(self, path: str | None, every: int, width: int, request: gr.Request) -> Iterator[tuple[Any, ...]]:
        """Reads an uploaded video, and reports its progress.

        Args:
            path: Path of the upload.
            every: Only frames whose number is a multiple of this are read.
            width: Width of the timeline in CSS pixels.
            request: Request of the visitor.

        Yields:
            Values of status, stop button, preview, timeline and tables.
        """
        if path is None:
            yield notice("Choose a video first.", "error"), *_no_video()
            return
        name, session = Path(path).name, request.session_hash
        if not Path(path).is_file():
            yield notice(GONE.format(name=name), "error"), *_no_video()
            return
        folder = self._sessions.new_folder(session)
        video = None
        try:
            with self._sessions.running_video(session) as stop:
                steps = read_video(self._detector, path, name, folder, stop, every, self._max_video_seconds)
                for video in steps:
                    yield progress(video), gr.update(visible=True), *_no_video()[1:]
            # The folder is deleted when the visitor leaves.
            if folder.exists():
                yield self._video_result(video, folder, width)
        except VideoRefusedError as error:
            yield notice(str(error), "error"), *_no_video()
        except Exception:
            logger.exception("Reading a video failed.")
            yield notice(FAILED.format(name=name), "error"), *_no_video()

    def forget_video(self, request: gr.Request) -> tuple[Any, ...]:
        """Clears the results of the previous video when another one is chosen.

        Returns:
            The same values as `show_video`.
        """
        self._sessions.stop_video(request.session_hash)
        return "", *_no_video()

    def stop_video(self, request: gr.Request) -> None:
        """Stops the visitor's video."""
        self._sessions.stop_video(request.session_hash)

    def leave(self, request: gr.Request) -> None:
        """Deletes everything of a visitor who closed the page."""
        self._sessions.leave(request.session_hash)

    def _show(self, photo: ReadPhoto, face: int | None, au: str | None) -> tuple[Any, ...]:
        number = len(photo.faces)
        alt = f"{photo.name} with {number} numbered face{'s' * (number != 1)}"
        shown = picture(photo.picture, alt, image_class="hiva-photo")
        if not photo.faces:
            return photo, notice(NO_FACE), shown, gr.update(visible=False), "", "", None
        face = face if face is not None and face < number else 0
        au = au or photo.faces[face].foremost_au
        choices = [(f"#{index}" + " (largest)" * (index == 0), index) for index in range(number)]
        found = notice("1 face was found." if number == 1 else f"{number} faces were found. Choose one below.")
        return (
            photo,
            found,
            shown,
            gr.update(choices=choices, value=face, visible=number > 1),
            self._bars(photo, face, au),
            au_card(photo.faces[face], au),
            au,
        )

    def _bars(self, photo: ReadPhoto, face: int, au: str) -> str:
        thresholds = self._detector.model.config.au_thresholds
        return face_summary(photo.faces[face]) + au_bars(photo.faces[face].aus, thresholds, au)

    def _video_result(self, video: ReadVideo, folder: Path, width: int) -> tuple[Any, ...]:
        labels = self._detector.model.config.au_labels
        hidden = gr.update(visible=False)
        if not video.num_frames:
            return notice(video.remark or f"{video.name} has no frame.", "error"), hidden, hidden, "", *_no_tables()
        tables = write_tables(video.records, labels, folder)
        status = notice(summary(video), "error" if not video.num_faces else "info")
        preview = gr.update(value=str(video.preview), visible=video.preview.exists())
        drawing = ""
        if video.num_faces:
            table = records_to_table(video.records, labels)
            drawing = timelines(table, self._detector.model.config, width)
        return status, hidden, preview, drawing, *_tables(tables)


def progress(video: ReadVideo) -> str:
    """The progress of a video as HTML."""
    rate = video.num_frames / video.seconds if video.seconds else 0.0
    promised = video.num_promised
    text = f"{video.num_frames} of {promised} frames" if promised else f"{video.num_frames} frames"
    text += f", {rate:.1f} frames per second" if rate else ""
    left = (promised - video.num_frames) / rate if promised and rate else 0
    text += f", about {left:.0f} s left" if left >= 1 else ""
    value = f'value="{video.num_frames}" max="{max(promised, 1)}"' if promised else ""
    return (
        f'<div class="hiva-notice hiva-progress" role="status"><progress {value} aria-label="Video"></progress>'
        f"<span>{text}</span></div>"
    )


def summary(video: ReadVideo) -> str:
    """A summary of a video's results in words."""
    rate = video.num_frames / video.seconds if video.seconds else 0.0
    text = f"{video.num_frames} frames read, {rate:.1f} per second. "
    if not video.num_faces:
        text += "No face was found in any of them."
    else:
        with_face = len({record.frame for record in video.records if record.has_face})
        faces = "1 face" if video.num_faces == 1 else f"{video.num_faces} different faces"
        text += f"{faces}, in {with_face} of the frames."
    return f"{text} {video.remark}".strip()


def _tables(paths: list[str]) -> list[dict[str, Any]]:
    return [gr.update(value=path, visible=True) for path in paths]


def _no_tables() -> list[dict[str, Any]]:
    return [gr.update(value=None, visible=False) for _ in TABLES]


def _no_video() -> tuple[Any, ...]:
    return gr.update(visible=False), gr.update(value=None, visible=False), "", *_no_tables()


def _empty(message: str) -> tuple[Any, ...]:
    return None, message, "", gr.update(choices=[], value=None, visible=False), "", "", None
