"""Find photos and videos in a user's inputs, and read their frames one after the other."""

import glob
import mimetypes
import os
import re
import warnings
from collections.abc import Callable, Collection, Hashable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..image_loading import URL_SCHEMES, ImageLoadError, is_heif_photo, load_image
from ..video_decoding import VideoReadError, decode_video, import_av, open_video, video_streams
from .output_paths import identity_of


# Files of these formats are videos if they hold several images; other formats (MPO, TIFF) hold photos or pages.
_ANIMATED_FORMATS = frozenset(("GIF", "PNG"))
# Concatenated JPEG images, of which Pillow would read only the first.
_STREAM_SUFFIXES = (".mjpeg", ".mjpg")
# Pillow recognises these but cannot decode them: a video and tables.
_STUB_FORMATS = frozenset(("MPEG", "HDF5", "GRIB", "BUFR"))
# For videos without timestamps.
ASSUMED_FRAME_RATE = 25
# Streams without a signature: FFmpeg also detects them in documents with pictures and in executables.
_UNSIGNED_FORMATS = frozenset(
    ("mjpeg", "m4v", "mpegvideo", "h261", "h263", "h264", "hevc", "vvc", "vc1", "obu", "av1", "dnxhd")
)


@dataclass(frozen=True, eq=False)
class Frame:
    """A photo, or one frame of a video.

    Attributes:
        source: The photo or video, as the user named it.
        number: Index in the video, in presentation order, from 0; 0 for photos.
        timestamp: Seconds in the video; `None` for photos.
        is_video: Whether the source is a video.
        image: Upright RGB `uint8` `[height, width, 3]`; `None` for photos, which are decoded later, and with an error.
        error: Why there is no image.
        is_done: Whether the frame's rows are already written; it then serves only to track faces.
    """

    source: str
    number: int = 0
    timestamp: float | None = None
    is_video: bool = False
    image: NDArray[np.uint8] | None = None
    error: str | None = None
    is_done: bool = False

    @property
    def seconds(self) -> float:
        """Seconds in the video; estimated for videos without timestamps."""
        return self.number / ASSUMED_FRAME_RATE if self.timestamp is None else self.timestamp

    def load(self, **options: Any) -> NDArray[np.uint8]:
        """Returns the image; a photo is decoded now.

        Args:
            **options: For photos, `max_pixels` and `timeout` of [`load_image`].

        Raises:
            ImageLoadError: The photo can't be used.
        """
        return np.asarray(load_image(self.source, **options)) if self.image is None else self.image


def find_sources(inputs: Sequence[str | os.PathLike], exclude: Sequence[Path] = ()) -> tuple[list[str], list[str]]:
    """Lists photos and videos.

    Folders are searched recursively, in natural order (2.jpg before 10.jpg), through symbolic links, but each once.
    Hidden files are skipped. A file is listed if its name or content indicates a photo or video; whether it can be
    decoded turns out when it is read.

    Args:
        inputs: Photos, videos, URLs of photos, folders, and patterns such as `*.mp4`, which the shells of Windows
            don't expand.
        exclude: Folders that are not searched.

    Returns:
        The sources in order, each once and as it was named first, and the files in folders that are neither photo nor
        video.

    Raises:
        FileNotFoundError: An input does not exist.
        ValueError: There is no photo or video, or an input is a named pipe or a device.
        PermissionError: A folder can't be read.
    """
    names = [name for item in inputs for name in _fill_in(os.fspath(item))]
    paths = [name for name in names if not name.startswith(URL_SCHEMES)]
    missing = [path for path in paths if not os.path.exists(path)]
    if missing:
        raise FileNotFoundError(f"There is no such file or folder: {', '.join(missing)} (looked in {Path.cwd()}).")
    streams = [path for path in paths if not os.path.isdir(path) and not os.path.isfile(path)]
    if streams:
        raise ValueError(
            f"Pipes and devices can't be read, since photos and videos are read several times: {', '.join(streams)}. "
            "Save what comes from there as a file."
        )
    sources, others = [], []
    for name in names:
        for file in _walk(name, {identity_of(path) for path in exclude}) if os.path.isdir(name) else [name]:
            is_source = file is name or _is_media(file)
            (sources if is_source else others).append(file)
    if not sources:
        raise ValueError(f"There is no photo or video in {', '.join(names) or 'nothing'}.")
    return _each_once(sources), _each_once(others)


def read_frames(
    sources: Sequence[str], every: int = 1, first_frame: Callable[[str], int] = lambda source: 0
) -> Iterator[Frame]:
    """Yields the frames of all sources, in their order.

    A photo is one frame. What can't be read becomes a frame with an error: a source that can't be decoded, a damaged
    frame of a video, and the point at which a damaged video ends.

    Args:
        sources: As from [`find_sources`].
        every: Only frames of a video whose number is a multiple of this are yielded.
        first_frame: Returns the first frame of a source to process; those before it are marked as done.

    Raises:
        ImportError: There is a video, but PyAV is missing.
    """
    for source in sources:
        first = first_frame(source)
        if source.startswith(URL_SCHEMES) or is_photo(source):
            yield Frame(source, is_done=first > 0)
        else:
            yield from _read_video(source, every, first)


def _read_video(source: str, every: int, first: int) -> Iterator[Frame]:
    try:
        for picture in decode_video(source):
            if picture.number % every:
                continue
            yield Frame(
                source,
                picture.number,
                picture.timestamp,
                is_video=True,
                image=None if picture.is_damaged else picture.to_rgb(),
                error=f"{source}: frame {picture.number} is damaged." if picture.is_damaged else None,
                is_done=picture.number < first,
            )
    except VideoReadError as error:
        message = f"{source}: {error}." if error.number else _why_unusable(source, error)
        yield Frame(source, error.number, is_video=error.number > 0, error=message, is_done=error.number < first)
    except ImportError as error:
        if not _is_called_image(source):
            raise
        yield Frame(source, error=_why_unusable(source, error), is_done=first > 0)


def count_frames(sources: Sequence[str], every: int = 1) -> int | None:
    """Number of frames according to the headers of all sources, or `None` if one lacks it. Decodes nothing."""
    counts = [
        1 if source.startswith(URL_SCHEMES) or is_photo(source) else _promised_frames(source) for source in sources
    ]
    return None if None in counts else sum(-(-count // every) for count in counts)


def _promised_frames(source: str) -> int | None:
    try:
        av = import_av()
    except ImportError:
        if not _is_called_image(source):
            raise
        # Also without PyAV, it will become one row with the error of the image.
        return 1
    try:
        with open_video(source) as container:
            stream = video_streams(container)[0]
            if stream.frames:
                return stream.frames
            if container.duration and stream.average_rate:
                return round(container.duration / av.time_base * stream.average_rate)
    except (av.FFmpegError, OSError, ValueError, IndexError):
        # It will become one row with the error.
        return 1
    return None


def _each_once(names: Sequence[str]) -> list[str]:
    """Drops other spellings of earlier paths ("./a.jpg" after "a.jpg")."""
    first = {}
    for name in names:
        first.setdefault(name if name.startswith(URL_SCHEMES) else os.path.abspath(name), name)
    return list(first.values())


def _fill_in(name: str) -> list[str]:
    # The name of an existing file may look like a pattern.
    if name.startswith(URL_SCHEMES) or os.path.exists(name) or not glob.has_magic(name):
        return [name]
    return sorted(glob.glob(name, recursive=True), key=_natural_order) or [name]


def _walk(folder: str, exclude: set[Hashable]) -> Iterator[str]:
    searched = set()
    for parent, folders, files in os.walk(folder, onerror=_fail, followlinks=True):
        # Symbolic links may form a cycle.
        if (place := identity_of(parent)) in searched:
            folders.clear()
            continue
        searched.add(place)
        folders[:] = sorted(
            (name for name in folders if name[0] != "." and identity_of(os.path.join(parent, name)) not in exclude),
            key=_natural_order,
        )
        yield from (os.path.join(parent, name) for name in sorted(files, key=_natural_order) if name[0] != ".")


def _fail(error: OSError) -> None:
    raise error


def _natural_order(name: str) -> tuple[list[tuple[int, int | str]], str]:
    """Sorts numbers within names by value."""
    parts = re.split(r"(\d+)", name.casefold())
    return [(0, int(part)) if part.isdecimal() else (1, part) for part in parts if part], name


def _is_media(path: str) -> bool:
    # Opening a named pipe would block until somebody writes to it. A broken link may have the name of a photo.
    if os.path.exists(path) and not os.path.isfile(path):
        return False
    kind = mimetypes.guess_type(path)[0] or ""
    return kind.startswith(("image/", "video/")) or is_photo(path) or _is_video(path)


def is_photo(path: str) -> bool:
    """Whether Pillow recognises the file, and it is no animation. Its pixels are not decoded."""
    # FFmpeg would decode one tile of a HEIF photo; if a package is missing, reading the photo says which.
    if is_heif_photo(path):
        return True
    if path.lower().endswith(_STREAM_SUFFIXES):
        return False
    try:
        with warnings.catch_warnings():
            # An image that is too large is reported when it is read.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path) as image:
                is_animation = image.format in _ANIMATED_FORMATS and getattr(image, "is_animated", False)
                return not is_animation and image.format not in _STUB_FORMATS
    # Pillow raises nearly every type of error on damaged files.
    except Exception:
        return False


def _is_video(path: str) -> bool:
    try:
        av = import_av()
    except ImportError:
        return False
    try:
        with open_video(path) as container:
            is_told = container.format.name not in _UNSIGNED_FORMATS or _ends_with(path, container.format.extensions)
            return is_told and bool(video_streams(container))
    except (av.FFmpegError, OSError, ValueError):
        return False


def _ends_with(path: str, extensions: Collection[str]) -> bool:
    # FFmpeg lists no extension for MPEG-1 and MPEG-2 without a container.
    return Path(path).suffix.lower().removeprefix(".") in {*extensions, "m1v", "m2v"}


def _is_called_image(path: str) -> bool:
    return (mimetypes.guess_type(path)[0] or "").startswith("image/")


def _why_unusable(path: str, video_error: Exception) -> str:
    """Explains why a file is neither photo nor video, with the message of the decoder that matches its name."""
    try:
        if _is_called_image(path):
            load_image(path)
    except ImageLoadError as error:
        return str(error)
    return f"Cannot use {path!r}: {video_error}."
