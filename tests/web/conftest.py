"""One page, served with a small real model, and one headless Chromium for all tests of it."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
import torch
from PIL import Image

from hiva_hf import HiVAForAUDetection, HiVAImageProcessor
from hiva_hf.web import build_demo, launch_options
from hiva_hf.web.sessions import Sessions


CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
CHROMIUM_OPTIONS = (
    "--no-sandbox --disable-gpu --disable-background-networking --disable-component-update --disable-sync "
    "--disable-quic --no-first-run --use-fake-ui-for-media-stream --use-fake-device-for-media-stream"
).split()
MAX_VIDEO_SECONDS = 4.0
# Milliseconds; a machine that is busy needs them, another one does not wait.
PATIENCE = 60_000


@pytest.fixture
def sessions(tmp_path) -> Sessions:
    return Sessions(tmp_path / "results")


@dataclass
class Server:
    """The page under test; `files` is where its visitors' files lie."""

    url: str
    files: Path


@dataclass
class Visit:
    """A visitor's page, and all addresses that it asked for."""

    page: object
    addresses: list[str] = field(default_factory=list)

    @property
    def hosts(self) -> set[str]:
        return {urlsplit(address).hostname for address in self.addresses if address.startswith(("http", "ws"))}

    @property
    def notice(self) -> str:
        """The message that is in view."""
        return self.page.locator(".hiva-notice:visible").inner_text()

    def has_overflow(self) -> bool:
        return self.page.evaluate("document.documentElement.scrollWidth > innerWidth")


@pytest.fixture(scope="session")
def face_video(tmp_path_factory, astronaut) -> Path:
    """Two seconds of the astronaut, who moves sideways: 8 frames."""
    return write_video(
        tmp_path_factory.mktemp("video") / "face_video.mp4", np.asarray(astronaut.resize((320, 320))), 8
    )


def write_video(path: Path, picture: np.ndarray, num_frames: int, rate: int = 4) -> Path:
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=rate)
        stream.height, stream.width, stream.pix_fmt = *picture.shape[:2], "yuv420p"
        for number in range(num_frames):
            frame = av.VideoFrame.from_ndarray(np.roll(picture, 2 * number, axis=1), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@pytest.fixture(scope="session")
def uploads(tmp_path_factory, astronaut, face_video) -> dict[str, Path]:
    """Files of all kinds, by what they are."""
    folder = tmp_path_factory.mktemp("uploads")
    two = Image.new("RGB", (768, 512))
    two.paste(astronaut, (0, 0))
    two.paste(astronaut.resize((256, 256)), (512, 128))
    pictures = {"face": astronaut, "two_faces": two, "nobody": Image.new("RGB", (320, 240), "seagreen")}
    paths = {"face_video": face_video}
    for kind, picture in pictures.items():
        paths[kind] = folder / f"{kind}.jpg"
        picture.save(paths[kind])
    for kind, source in {"broken_photo": paths["face"], "broken_video": face_video}.items():
        paths[kind] = folder / f"{kind}{source.suffix}"
        paths[kind].write_bytes(source.read_bytes()[:300])
    moving = np.asarray(astronaut.resize((320, 320)))
    # Takes seconds to be read: time to stop it.
    paths["many_frames"] = write_video(folder / "many_frames.mp4", moving, num_frames=230, rate=60)
    nobody = np.full((64, 64, 3), 90, np.uint8)
    paths["long_video"] = write_video(folder / "long_video.mp4", nobody, num_frames=20)
    return paths


@pytest.fixture(scope="session")
def decided_model_dir(tiny_model_dir, tmp_path_factory) -> Path:
    """The tiny detector with larger weights: the untrained one says 50 % of everything and looks everywhere."""
    folder = tmp_path_factory.mktemp("decided-hiva")
    model = HiVAForAUDetection.from_pretrained(tiny_model_dir)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weights in model.parameters():
            weights += 0.3 * torch.randn(weights.shape, generator=generator)
    model.config.experimental_labels = ["AU4"]
    model.save_pretrained(folder)
    HiVAImageProcessor.from_pretrained(tiny_model_dir).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def server(decided_model_dir, tmp_path_factory) -> Iterator[Server]:
    files = tmp_path_factory.mktemp("gradio")
    with pytest.MonkeyPatch.context() as patch:
        # Where Gradio, and the page, put what visitors upload.
        patch.setenv("GRADIO_TEMP_DIR", str(files))
        # Seconds until the server notices that a page was closed.
        patch.setenv("GRADIO_HEARTBEAT_INTERVAL", "1")
        demo = build_demo(decided_model_dir, max_video_seconds=MAX_VIDEO_SECONDS, device="cpu")
        demo.launch(prevent_thread_lock=True, quiet=True, **launch_options())
        yield Server(demo.local_url, files)
        demo.close(verbose=False)


@pytest.fixture(scope="session")
def browser(server, tmp_path_factory, astronaut) -> Iterator:
    """A Chromium whose webcam shows the astronaut."""
    if CHROMIUM is None:
        pytest.skip("There is no Chromium: apt-get install chromium")
    from playwright.sync_api import sync_playwright

    film = tmp_path_factory.mktemp("webcam") / "astronaut.mjpeg"
    astronaut.save(film, "JPEG")
    options = [*CHROMIUM_OPTIONS, f"--use-file-for-fake-video-capture={film}"]
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=options)
        yield chromium
        chromium.close()


@pytest.fixture(scope="session")
def visit(browser, server):
    """Opens the page: `visit(width=390)`."""

    def open_page(width: int = 1200, height: int = 900, color_scheme: str = "light") -> Visit:
        context = browser.new_context(
            viewport={"width": width, "height": height}, color_scheme=color_scheme, permissions=["camera"]
        )
        page = context.new_page()
        page.set_default_timeout(PATIENCE)
        visitor = Visit(page)
        page.on("request", lambda request: visitor.addresses.append(request.url))
        page.on("websocket", lambda socket: visitor.addresses.append(socket.url))
        page.goto(server.url)
        page.get_by_role("tab", name="Photo").wait_for()
        return visitor

    return open_page
