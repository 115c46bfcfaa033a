"""Images come out upright, in RGB and with their right colours, or the error names them and tells what to do."""

import base64
import functools
import http.server
import struct
import threading
import zlib
from io import BytesIO

import numpy as np
import pytest
from PIL import Image, TiffImagePlugin

from hiva_hf.image_loading import ImageLoadError, load_image


def encode(image: Image.Image, file_format: str = "PNG", **options) -> bytes:
    file = BytesIO()
    image.save(file, file_format, **options)
    return file.getvalue()


def difference(first: Image.Image, second: Image.Image) -> float:
    """Mean absolute difference of two RGB images, in grey levels."""
    assert first.mode == second.mode == "RGB" and first.size == second.size
    return np.abs(np.asarray(first, dtype=int) - np.asarray(second, dtype=int)).mean()


@pytest.fixture
def photo(astronaut) -> Image.Image:
    """A photo of 96 x 64 pixels."""
    return astronaut.crop((160, 40, 352, 168)).resize((96, 64))


def test_every_kind_of_source_gives_the_same_image(photo, tmp_path):
    data = encode(photo)
    path = tmp_path / "photo.png"
    path.write_bytes(data)
    url = f"data:image/png;base64,{base64.b64encode(data).decode()}"
    for source in (path, str(path), data, bytearray(data), url, photo, Image.open(path), np.asarray(photo)):
        assert difference(load_image(source), photo) == 0


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF"])
def test_common_formats_can_be_read(photo, file_format):
    assert difference(load_image(encode(photo, file_format)), photo) < 6


@pytest.mark.parametrize("mode", ["L", "1", "P", "CMYK", "YCbCr", "HSV"])
def test_other_colour_modes_become_rgb(photo, mode):
    assert difference(load_image(photo.convert(mode)), photo.convert(mode).convert("RGB")) == 0


def test_a_cmyk_file_keeps_its_colours(photo):
    assert difference(load_image(encode(photo.convert("CMYK"), "JPEG", quality=95)), photo) < 6


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparent_parts_become_white(photo, mode):
    image = photo.convert(mode)
    mask = Image.new("L", image.size, 255)
    mask.paste(0, (0, 0, 48, 64))
    image.putalpha(mask)
    loaded = np.asarray(load_image(encode(image)))
    assert (loaded[:, :48] == 255).all()
    np.testing.assert_array_equal(loaded[:, 48:], np.asarray(image.convert("RGB"))[:, 48:])


def test_a_transparent_palette_colour_becomes_white():
    image = Image.new("P", (4, 4), 0)
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.putpixel((0, 0), 1)
    loaded = load_image(encode(image, "GIF", transparency=0))
    assert loaded.getpixel((0, 0)) == (200, 100, 50) and loaded.getpixel((3, 3)) == (255, 255, 255)


def test_16_bit_images_are_scaled_not_clipped(photo):
    grey = np.asarray(photo.convert("L"))
    deep = grey.astype(np.uint16) * 257
    expected = Image.fromarray(grey).convert("RGB")
    image = Image.fromarray(deep)
    other_order = Image.frombytes("I;16B", image.size, deep.astype(">u2").tobytes())
    files = [encode(image, "PNG"), encode(image, "TIFF"), encode(other_order, "TIFF")]
    for source in (deep, deep.astype(">u2"), image, image.convert("I"), *files):
        assert difference(load_image(source), expected) == 0
    colours = np.asarray(photo).astype(np.uint16) * 257
    assert difference(load_image(colours), photo) == 0


def tiff(rows: np.ndarray, bits: int, photometric: int, orientation: int = 1) -> bytes:
    """A grey TIFF of one strip, written by hand: Pillow writes neither 12 bits nor white as 0."""
    data = rows.tobytes()
    height, width = rows.shape[0], rows.size * rows.itemsize * 8 // (bits * rows.shape[0])
    tags = {
        256: width,
        257: height,
        258: bits,
        259: 1,
        262: photometric,
        273: 8,
        274: orientation,
        277: 1,
        278: height,
    }
    entries = [struct.pack("<HHIHH", tag, 3, 1, value, 0) for tag, value in tags.items()]
    entries.append(struct.pack("<HHII", 279, 4, 1, len(data)))
    directory = struct.pack("<H", len(entries)) + b"".join(entries) + struct.pack("<I", 0)
    return struct.pack("<2sHI", b"II", 42, 8 + len(data)) + data + directory


@pytest.mark.parametrize("orientation", [1, 3])
def test_tiffs_of_12_bits_and_with_white_as_0_are_read_as_others(orientation):
    grey = np.arange(64, dtype=np.uint16).reshape(8, 8) * 4
    expected = grey if orientation == 1 else grey[::-1, ::-1]
    values = (grey << 4 | grey >> 4).ravel()
    first, second = values[0::2], values[1::2]
    packed = np.stack([first >> 4, (first & 15) << 4 | second >> 8, second & 255], axis=1).astype(np.uint8)
    files = {
        "16 bits": tiff(grey * 257, 16, 1, orientation),
        "16 bits, white is 0": tiff(65535 - grey * 257, 16, 0, orientation),
        "12 bits": tiff(packed.reshape(8, -1), 12, 1, orientation),
    }
    for name, file in files.items():
        found = np.asarray(load_image(file))
        assert (found == expected[:, :, None]).all(), name


def test_heic_is_read_with_the_plugin(photo, tmp_path):
    heif = pytest.importorskip("pillow_heif")
    heif.from_pillow(photo).save(tmp_path / "IMG_0001.HEIC", quality=95)
    assert difference(load_image(tmp_path / "IMG_0001.HEIC"), photo) < 3


def test_floating_point_values_from_0_to_1_are_scaled(photo):
    values = np.asarray(photo)
    for dtype in (np.float32, np.float64):
        assert difference(load_image((values / 255).astype(dtype)), photo) == 0
    assert load_image(np.ones((2, 3), bool)).getpixel((0, 0)) == (255, 255, 255)
    assert load_image(Image.fromarray(np.full((2, 3), 0.2, np.float32))).getpixel((0, 0)) == (51, 51, 51)


def test_arrays_may_be_grey_or_have_an_alpha_channel(photo):
    grey = np.asarray(photo.convert("L"))
    expected = Image.fromarray(grey).convert("RGB")
    assert difference(load_image(grey), expected) == difference(load_image(grey[:, :, None]), expected) == 0
    clear = np.dstack([np.asarray(photo), np.zeros((64, 96), np.uint8)])
    assert (np.asarray(load_image(clear)) == 255).all()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_exif_orientation_is_applied(photo, orientation):
    stored = {
        1: [],
        2: [Image.Transpose.FLIP_LEFT_RIGHT],
        3: [Image.Transpose.ROTATE_180],
        4: [Image.Transpose.FLIP_TOP_BOTTOM],
        5: [Image.Transpose.TRANSPOSE],
        6: [Image.Transpose.ROTATE_90],
        7: [Image.Transpose.TRANSVERSE],
        8: [Image.Transpose.ROTATE_270],
    }[orientation]
    image = photo
    for operation in stored:
        image = image.transpose(operation)
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert difference(load_image(encode(image, "PNG", exif=exif)), photo) == 0


def test_of_several_frames_the_first_is_taken(photo):
    other = Image.new("RGB", photo.size, "red")
    data = encode(photo, "TIFF", save_all=True, append_images=[other])
    assert difference(load_image(data), photo) == 0


def test_an_image_that_datasets_did_not_decode_is_loaded(photo, tmp_path):
    data = encode(photo)
    (tmp_path / "photo.png").write_bytes(data)
    assert difference(load_image({"bytes": data, "path": "gone.png"}), photo) == 0
    assert difference(load_image({"bytes": None, "path": str(tmp_path / "photo.png")}), photo) == 0
    with pytest.raises(ImageLoadError, match=r"'row7\.png'.*is damaged"):
        load_image({"bytes": data[:20], "path": "row7.png"})
    with pytest.raises(ImageLoadError, match="expected a path"):
        load_image({"bytes": None, "path": None})


@pytest.fixture
def server(tmp_path):
    """An HTTP server of `tmp_path` on this machine; gives its address."""
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=tmp_path)
    handler.func.log_message = lambda *args: None
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as httpd:
        threading.Thread(target=httpd.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{httpd.server_port}"
        httpd.shutdown()


def test_a_url_is_downloaded(server, photo, tmp_path):
    photo.save(tmp_path / "photo.png")
    assert difference(load_image(f"{server}/photo.png"), photo) == 0
    with pytest.raises(ImageLoadError, match=rf"'{server}/none\.png'.*404"):
        load_image(f"{server}/none.png")


def test_a_url_may_be_written_as_browsers_show_it(server, photo, tmp_path):
    photo.save(tmp_path / "Bär & Katze 100%.png")
    assert difference(load_image(f"{server}/Bär & Katze 100%25.png?größe=1"), photo) == 0
    assert difference(load_image(f"{server}/B%C3%A4r%20%26%20Katze%20100%25.png"), photo) == 0
    with pytest.raises(ImageLoadError, match=r"'http://bücher\.invalid/a\.png'.*reading it failed"):
        load_image("http://bücher.invalid/a.png")


@pytest.mark.parametrize("file_format", ["PNG", "WEBP", "JPEG"])
def test_an_image_whose_notes_are_damaged_is_taken_as_it_is_stored(photo, file_format):
    data = BytesIO()
    photo.save(data, file_format, exif=b"garbage" * 10, quality=100)
    assert difference(load_image(data.getvalue()), photo) < 6


def test_a_preview_is_not_taken_for_a_photo(photo):
    """As camera raws begin, which are TIFF files."""
    data, tags = BytesIO(), TiffImagePlugin.ImageFileDirectory_v2()
    tags[254] = 1
    photo.resize((24, 16)).save(data, "TIFF", tiffinfo=tags)
    with pytest.raises(ImageLoadError, match="camera's raw file.*Save it as JPEG"):
        load_image(data.getvalue())


def test_premultiplied_grey_becomes_rgb(photo):
    assert load_image(photo.convert("LA").convert("La")).mode == "RGB"


def damaged_files(photo: Image.Image) -> dict[str, bytes]:
    png, jpeg = encode(photo), encode(photo, "JPEG")
    return {
        "empty.png": b"",
        "truncated.png": png[: len(png) // 2],
        "truncated.jpg": jpeg[: len(jpeg) // 2],
        "only_header.png": png[:33],
        "corrupt.png": png[:200] + bytes(400) + png[600:],
        "text.jpg": b"This is not a picture.",
    }


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("empty.png", "is empty .* Get another copy"),
        ("truncated.png", "damaged or incomplete .* Get another copy"),
        ("truncated.jpg", "damaged or incomplete .* Get another copy"),
        ("only_header.png", "damaged"),
        ("corrupt.png", "damaged or incomplete .* Get another copy"),
        ("text.jpg", "not an image, is damaged, or has a format .* save it as PNG or JPEG"),
    ],
)
def test_a_damaged_file_is_named_with_reason_and_remedy(photo, tmp_path, name, message):
    path = tmp_path / name
    path.write_bytes(damaged_files(photo)[name])
    with pytest.raises(ImageLoadError, match=rf"{name}'.*{message}"):
        load_image(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ImageLoadError, match=r"none\.jpg'.*no such file.*Check the path"):
        load_image(tmp_path / "none.jpg")


def test_a_folder_is_refused(tmp_path):
    with pytest.raises(ImageLoadError, match="it is a folder"):
        load_image(tmp_path)


def test_an_image_that_opens_but_does_not_decode_is_refused(photo):
    data = encode(photo)
    with pytest.raises(ImageLoadError, match="the PIL image.*damaged"):
        load_image(Image.open(BytesIO(data[: len(data) // 2])))


def png_header(width: int, height: int) -> bytes:
    """A PNG that announces a size and has no pixels to decode."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b""))


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("size", [(13000, 10000), (40000, 40000)])
def test_a_giant_image_is_refused_before_it_is_decoded(size):
    with pytest.raises(ImageLoadError, match=r"(pixels, more than the limit of|exceeds limit of) \d+.* Shrink it"):
        load_image(png_header(*size))


def test_the_size_limit_can_be_set(photo):
    with pytest.raises(ImageLoadError, match="96 x 64 pixels, more than the limit of 6000.*max_pixels"):
        load_image(photo, max_pixels=6000)
    assert load_image(photo, max_pixels=6144).size == (96, 64)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (np.zeros((3, 8, 8), np.uint8), r"array of shape \[3, 8, 8\].*expected the shape \[height, width\]"),
        (np.zeros((0, 8, 3), np.uint8), r"array of shape \[0, 8, 3\].*expected the shape"),
        (np.full((8, 8, 3), 128.0), "float64.*between 0 and 1"),
        (np.full((8, 8, 3), np.nan), "float64.*between 0 and 1"),
        (np.zeros((8, 8, 3), np.int64), "int64.*Convert it to `uint8`"),
        (Image.fromarray(np.full((8, 8), 70_000, np.int32)), "PIL image of mode I.*beyond 16 bits"),
        (Image.new("RGB", (0, 5)), "no pixels"),
        (None, "argument of type NoneType: expected a path"),
        ([b""], "argument of type list: expected a path"),
    ],
)
def test_an_unsupported_argument_is_refused_with_what_is_expected(source, message):
    with pytest.raises(ImageLoadError, match=message):
        load_image(source)
