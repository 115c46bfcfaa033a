"""Generate photos and videos of a real face, from NASA's photo of an astronaut in scikit-image."""

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageEnhance

from .timing import NotRun


FRAME_RATE = 25
# Height and width of a frame, and height of a head in it, in pixels.
FRAME_SIZE, HEAD_HEIGHT = (360, 640), 150
# Rows and columns of the head in the photo.
HEAD = (slice(20, 200), slice(150, 300))
# Number of frames after which the motion repeats.
PERIOD = 250


def read_astronaut() -> Image.Image:
    """The photo, RGB, 512 x 512 pixels, with one face."""
    try:
        from skimage import data
    except ImportError as error:
        raise NotRun(f"The photo comes with scikit-image ({error}): `pip install scikit-image`.") from error
    return Image.fromarray(data.astronaut())


def write_photos(folder: Path, number: int) -> list[str]:
    """Writes JPEG files of 512 x 512 pixels with one face, each brighter than the last, every other one mirrored."""
    photo, paths = read_astronaut(), []
    for index in range(number):
        changed = ImageEnhance.Brightness(photo).enhance(0.8 + 0.4 * index / number)
        changed = changed.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if index % 2 else changed
        paths.append(str(folder / f"photo{index:02d}.jpg"))
        changed.save(paths[-1], quality=90)
    return paths


def moving_heads(num_faces: int) -> Iterator[NDArray[np.uint8]]:
    """One period of frames, RGB `[height, width, 3]`, in which heads move side by side."""
    height, width = FRAME_SIZE
    noise = np.random.default_rng(0).integers(60, 180, (height // 20, width // 20, 3), dtype=np.uint8)
    background = Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC)
    head = Image.fromarray(np.asarray(read_astronaut())[HEAD])
    head = head.resize((round(HEAD_HEIGHT * head.width / head.height), HEAD_HEIGHT), Image.Resampling.BICUBIC)
    lane = width / num_faces
    for angle in np.linspace(0, 2 * np.pi, PERIOD, endpoint=False):
        frame = background.copy()
        for index in range(num_faces):
            x = lane * index + (lane - head.width) * (0.5 + 0.4 * np.sin(angle + index))
            y = (height - head.height) * (0.5 + 0.4 * np.cos(2 * angle + index))
            frame.paste(head, (round(x), round(y)))
        yield np.asarray(frame)


def write_video(path: Path, num_faces: int, num_frames: int) -> str:
    """Writes H.264 in MP4 with the frames of [`moving_heads`], repeated as often as needed."""
    try:
        import av
    except ImportError as error:
        raise NotRun(f'Videos need PyAV ({error}): `pip install "hiva-hf[video]"`.') from error
    frames = list(moving_heads(num_faces))
    # Written in memory first, since the index at the start of the file, where phones put it, needs a second pass.
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=FRAME_RATE, options={"crf": "20", "preset": "veryfast"})
        stream.height, stream.width = FRAME_SIZE
        stream.pix_fmt = "yuv420p"
        for number in range(num_frames):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frames[number % PERIOD], format="rgb24")))
        container.mux(stream.encode())
    path.write_bytes(buffer.getvalue())
    return str(path)
