"""Where the pictures of one sequence are: a folder of images, or a video."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..image_loading import ImageLoadError, load_image
from ..video_decoding import VideoPicture, VideoReadError, VideoTruncatedError, decode_video
from .raw import FrameReadError


@dataclass(frozen=True)
class ImageFiles:
    """One picture file for each frame.

    Attributes:
        paths: Picture of each frame, by the frame numbers of the label file.
        folder: Folder that errors name when a frame has no picture; by default that of the first picture.
    """

    paths: Mapping[int, Path]
    folder: Path | None = None

    def __post_init__(self):
        if self.folder is None:
            if not self.paths:
                raise ValueError("`paths` is empty. Pass `folder`, which errors name when a picture is missing.")
            object.__setattr__(self, "folder", next(iter(self.paths.values())).parent)

    @property
    def files(self) -> Sequence[Path]:
        return tuple(self.paths.values())

    def read(self, frames: Sequence[int]) -> Iterator[NDArray[np.uint8] | FrameReadError]:
        """Yields the picture of each of `frames`: RGB `uint8` `[height, width, 3]`, or the error."""
        for frame in frames:
            yield self._read(frame)

    def _read(self, frame: int) -> NDArray[np.uint8] | FrameReadError:
        path = self.paths.get(frame)
        if path is None:
            return FrameReadError("missing frame", self.folder, f"there is no picture of frame {frame}")
        if not path.is_file():
            return FrameReadError("missing frame", path, "there is no such file")
        try:
            return np.array(load_image(path))
        except ImageLoadError as error:
            # Without the path, which is passed separately: the stored text must not depend on where the release is.
            return FrameReadError("unreadable frame", path, error.reason)


@dataclass(frozen=True)
class VideoFile:
    """A video whose frames are counted in presentation order.

    Frames are identified by their count, not by their time: the label files count them, and timestamps of recorded
    videos jitter. A picture that the decoder marks as damaged is not used, nor are those after it until the next key
    frame, because they are decoded from it.

    Attributes:
        path: The video.
        first_frame: Number that the label file gives to the first frame of the video.
    """

    path: Path
    first_frame: int = 1

    @property
    def files(self) -> Sequence[Path]:
        return (self.path,)

    def read(self, frames: Sequence[int]) -> Iterator[NDArray[np.uint8] | FrameReadError]:
        """Yields the picture of each of `frames` (ascending): RGB `uint8` `[height, width, 3]`, or the error.

        The video is decoded once, up to the last wanted frame, and only wanted pictures are converted to RGB.

        Raises:
            ImportError: if PyAV is missing.
            ValueError: if `frames` are not strictly ascending.
        """
        if any(frame >= following for frame, following in itertools.pairwise(frames)):
            raise ValueError(f"The frames of a video are read in ascending order, each once, but got {list(frames)}.")
        too_early = FrameReadError("missing frame", self.path, f"the video starts at frame {self.first_frame}")
        with closing(self._decode()) as pictures:
            numbered = zip(itertools.count(self.first_frame), pictures, strict=False)
            for frame in frames:
                if frame < self.first_frame:
                    yield too_early
                else:
                    yield self._to_rgb(next(picture for number, picture in numbered if number == frame))

    def _decode(self) -> Iterator[VideoPicture | FrameReadError]:
        """Yields every picture of the video, and then endlessly the error that says why there are no more."""
        num_frames = 0
        try:
            for picture in decode_video(self.path):
                number = self.first_frame + picture.number
                yield self._unreadable(f"frame {number} is damaged") if picture.is_damaged else picture
                num_frames += 1
            ending = FrameReadError("missing frame", self.path, f"the video has {num_frames} frames")
        except VideoTruncatedError as error:
            ending = FrameReadError("missing frame", self.path, f"the video has {num_frames} frames: {error}")
        except VideoReadError as error:
            ending = self._unreadable(f"reading failed at frame {self.first_frame + num_frames}: {error}")
        yield from itertools.repeat(ending)

    def _to_rgb(self, picture: VideoPicture | FrameReadError) -> NDArray[np.uint8] | FrameReadError:
        return picture if isinstance(picture, FrameReadError) else picture.to_rgb()

    def _unreadable(self, detail: str) -> FrameReadError:
        return FrameReadError("unreadable frame", self.path, detail)
