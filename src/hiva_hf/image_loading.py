# Copyright 2026 The hiva-hf authors.
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.
"""Read an image from nearly anything, upright and in RGB, or say clearly why not."""

import http.client
import importlib.util
import os
import urllib.error
import urllib.parse
import urllib.request
import warnings
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError


ImageSource = str | os.PathLike | bytes | Image.Image | np.ndarray | Mapping

# Above the largest photos that phones take; decoding one this large needs some 400 MB.
MAX_PIXELS = 128_000_000
MAX_FILE_BYTES = 256 * 2**20
# Formats that are programs: decoding them means running Ghostscript, or Windows' own player of drawing commands.
PROGRAM_FORMATS = ("EPS", "WMF")
# Brands of files with a single image (ISO/IEC 23008-12); sequences have others.
_HEIF_BRANDS = frozenset((b"heic", b"heix", b"heim", b"heis", b"mif1", b"avif"))
_HEIF_PLUGIN = "pillow_heif"
_TIFF_SUBFILE_TYPE = 254
_TIFF_BITS_PER_SAMPLE = 258
_TIFF_PHOTOMETRIC_INTERPRETATION = 262
# 16 to 8 bits: 65535 is 257 times 255.
_TO_8_BITS = ((np.arange(2**16) + 128) // 257).astype(np.uint8)
URL_SCHEMES = ("http://", "https://", "data:image/")


class ImageLoadError(ValueError):
    """An image cannot be used. The message names the image, the reason and the remedy.

    Args:
        reason: The reason and the remedy.
        name: What the message calls the image, see [`image_name`].
    """

    def __init__(self, reason: str, name: str | None = None):
        super().__init__(reason if name is None else f"Cannot use {name}: {reason}")
        self.reason = reason


def load_image(source: ImageSource, max_pixels: int = MAX_PIXELS, timeout: float | None = 30.0) -> Image.Image:
    """Load an image as upright 8-bit RGB.

    The EXIF orientation is applied, and of several frames the first is taken. Transparent parts become white, as in a
    browser. 16-bit values are scaled from 0..65535 to 0..255, floating point values from 0..1 to 0..255; floating
    point values outside 0..1 are rejected, because their range could only be guessed.

    Args:
        source: A path, a URL (`http`, `https` or `data`), the bytes of an image file, a PIL image, an array of
            shape `[height, width]`, `[height, width, 1]`, `[height, width, 3]` (RGB) or `[height, width, 4]` (RGBA)
            and of type `uint8`, `uint16`, `bool` or floating point, or a dict with `"bytes"` or `"path"`, as
            `datasets` represents an image that it has not decoded.
        max_pixels: Larger images are rejected before they are decoded. Pillow has its own limit, twice
            `PIL.Image.MAX_IMAGE_PIXELS`.
        timeout: Seconds that a URL may take to answer; `None` waits indefinitely.

    Returns:
        A PIL image in mode RGB.

    Raises:
        ImageLoadError: The image is missing, empty, damaged, too large, or in an unsupported form.
    """
    try:
        image = _open(_encoded(source), timeout)
        _check_size(image, max_pixels)
        return _to_rgb(_scaled_to_16_bits(_decode(image), getattr(image, "tag_v2", {})))
    except ImageLoadError as error:
        raise ImageLoadError(error.reason, image_name(source)) from error.__cause__


def image_name(source: ImageSource) -> str:
    """Name an image in a message: its path or address, or what it is."""
    if _is_undecoded(source):
        source = source.get("path") or source.get("bytes")
    if isinstance(source, (str, os.PathLike)):
        text = os.fspath(source)
        return repr(text if len(text) <= 200 else f"{text[:100]}...")
    if isinstance(source, (bytes, bytearray)):
        return f"the image given as {len(source)} bytes"
    if isinstance(source, Image.Image):
        return f"the PIL image {getattr(source, 'filename', '') or f'of mode {source.mode} and size {source.size}'}"
    if isinstance(source, np.ndarray):
        return f"the array of shape {list(source.shape)} and type {source.dtype}"
    return f"the argument of type {type(source).__name__}"


def _is_undecoded(source: ImageSource) -> bool:
    """Whether `source` is an image that `datasets` has not decoded."""
    return isinstance(source, Mapping) and bool(source) and source.keys() <= {"bytes", "path"}


def _encoded(source: ImageSource) -> ImageSource:
    """Take the bytes or, without them, the path out of an image that `datasets` has not decoded."""
    if not _is_undecoded(source):
        return source
    return source.get("path") if source.get("bytes") is None else source["bytes"]


def _open(source: ImageSource, timeout: float | None) -> Image.Image:
    """Open `source` without decoding its pixels (an array has none to decode)."""
    if isinstance(source, np.ndarray):
        return _from_array(source)
    if isinstance(source, Image.Image):
        return source
    if not isinstance(source, (str, os.PathLike, bytes, bytearray)):
        raise ImageLoadError("expected a path, a URL, the bytes of an image file, a PIL image or a NumPy array.")
    data = _read(source, timeout)
    if not data:
        raise ImageLoadError("it is empty (0 bytes). Get another copy of the file.")
    if _is_heif(data[:12]) and _has_heif_plugin():
        # By name: transformers requires all imports of code from the Hub to be installed.
        importlib.import_module(_HEIF_PLUGIN).register_heif_opener()
    try:
        with warnings.catch_warnings():
            # `_check_size` rejects large images, or accepts them on request.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            return Image.open(BytesIO(data))
    except UnidentifiedImageError as error:
        if _is_heif(data[:12]) and not _has_heif_plugin():
            raise ImageLoadError(
                "it is a HEIC or HEIF photo, as phones take them, which Pillow reads with a plugin only: "
                "`pip install pillow-heif`, or save it as JPEG."
            ) from error
        raise ImageLoadError(
            "it is not an image, is damaged, or has a format that Pillow does not know. If an image viewer shows it, "
            "save it as PNG or JPEG. Videos are read by `hiva-hf detect`."
        ) from error
    except Image.DecompressionBombError as error:
        raise ImageLoadError(
            f"it is too large ({error}). Shrink it, or raise `PIL.Image.MAX_IMAGE_PIXELS` as well as `max_pixels` if "
            "you trust its origin."
        ) from error
    except Exception as error:
        raise _damaged(error) from error


def is_heif_photo(path: str | os.PathLike) -> bool:
    """Whether a file is a single photo of the HEIF family (HEIC, HIF, AVIF), which video decoders open too."""
    try:
        with Path(path).open("rb") as file:
            return _is_heif(file.read(12))
    except OSError:
        return False


def _is_heif(beginning: bytes) -> bool:
    return beginning[4:8] == b"ftyp" and beginning[8:12] in _HEIF_BRANDS


def _has_heif_plugin() -> bool:
    return importlib.util.find_spec(_HEIF_PLUGIN) is not None


def _read(source: ImageSource, timeout: float | None) -> bytes:
    """Read the encoded image."""
    if isinstance(source, (bytes, bytearray)):
        return bytes(source)
    try:
        if isinstance(source, str) and source.startswith(URL_SCHEMES):
            # Some servers reject clients that don't identify themselves.
            request = urllib.request.Request(_encoded_address(source), headers={"User-Agent": "hiva-hf"})
            with urllib.request.urlopen(request, timeout=timeout) as response:
                data = response.read(MAX_FILE_BYTES + 1)
        else:
            with Path(source).open("rb") as file:
                data = file.read(MAX_FILE_BYTES + 1)
    except FileNotFoundError as error:
        raise ImageLoadError(f"there is no such file (looked in {Path.cwd()}). Check the path.") from error
    except IsADirectoryError as error:
        raise ImageLoadError(
            "it is a folder. Pass the path of one image or a list of paths, or run `hiva-hf detect FOLDER`."
        ) from error
    except (OSError, ValueError, http.client.HTTPException) as error:
        if isinstance(error, urllib.error.HTTPError):
            # It holds the connection open.
            error.close()
        reason = getattr(error, "strerror", None) or error
        raise ImageLoadError(
            f"reading it failed ({reason}). Check the address and your permission to read it."
        ) from error
    if len(data) > MAX_FILE_BYTES:
        raise ImageLoadError(f"the file is larger than {MAX_FILE_BYTES // 2**20} MiB. Shrink it.")
    return data


def _encoded_address(url: str) -> str:
    """Encodes spaces and non-ASCII letters in an address, which browsers show decoded; leaves all else."""
    if url.startswith("data:"):
        return url
    parts = urllib.parse.urlsplit(url)
    user, at, place = parts.netloc.rpartition("@")
    if not place.isascii():
        host, colon, port = place.partition(":")
        place = f"{host.encode('idna').decode()}{colon}{port}"
    parts = parts._replace(netloc=f"{user}{at}{place}")
    return urllib.parse.quote(parts.geturl(), safe="%!#$&'()*+,/:;=?@[]~")


def _check_size(image: Image.Image, max_pixels: int) -> None:
    if image.format in PROGRAM_FORMATS:
        raise ImageLoadError(f"it is a drawing ({image.format}), not a photo. Save it as PNG or JPEG.")
    if _is_preview(image):
        raise ImageLoadError("it is a camera's raw file, of which only a preview can be read. Save it as JPEG.")
    if image.width * image.height == 0:
        raise ImageLoadError("it has no pixels.")
    if image.width * image.height > max_pixels:
        raise ImageLoadError(
            f"it has {image.width} x {image.height} pixels, more than the limit of {max_pixels}. Shrink it, or raise "
            "`max_pixels` if you trust its origin."
        )


def _is_preview(image: Image.Image) -> bool:
    """Whether it is a reduced image of a TIFF file: camera raw files have one first, which is what Pillow reads."""
    kind = image.tag_v2.get(_TIFF_SUBFILE_TYPE, 0) if hasattr(image, "tag_v2") else 0
    # Damaged files may have several values.
    return isinstance(kind, int) and bool(kind & 1)


def _decode(image: Image.Image) -> Image.Image:
    # PIL's decoders raise nearly every type of error on damaged data.
    try:
        image.load()
    except Exception as error:
        raise _damaged(error) from error
    try:
        return ImageOps.exif_transpose(image)
    except Exception:
        # Its pixels are intact: like image viewers, take them as they are stored.
        return image


def _damaged(error: Exception) -> ImageLoadError:
    return ImageLoadError(f"it is damaged or incomplete ({error}). Get another copy of the file.")


def _scaled_to_16_bits(image: Image.Image, tags: Mapping) -> Image.Image:
    """Scale a TIFF's 12-bit values to 16 bits, and invert one that stores white as 0; Pillow does neither."""
    if not image.mode.startswith("I;16"):
        return image
    has_12_bits = tags.get(_TIFF_BITS_PER_SAMPLE) == (12,)
    is_negative = tags.get(_TIFF_PHOTOMETRIC_INTERPRETATION) == 0
    if not (has_12_bits or is_negative):
        return image
    values = np.asarray(image).astype(np.uint16)
    if has_12_bits:
        values = values << 4 | values >> 8
    return Image.fromarray(65535 - values if is_negative else values)


def _to_rgb(image: Image.Image) -> Image.Image:
    """Convert any PIL mode to RGB."""
    if image.mode.startswith("I") or image.mode == "F":
        values = np.asarray(image)
        if image.mode == "I":
            # PIL holds some 16-bit files as 32-bit integers.
            if values.min() < 0 or values.max() > 65535:
                raise ImageLoadError("its integers go beyond 16 bits. Convert it to 8 or 16 bits per channel.")
            values = values.astype(np.uint16)
        return _from_array(values).convert("RGB")
    if image.mode == "La":
        # Pillow converts this mode to LA only.
        image = image.convert("LA")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image).convert("RGB")
    try:
        return image.convert("RGB")
    except ValueError as error:
        raise ImageLoadError(f"its colours (mode {image.mode}) are not supported. Save it as RGB.") from error


def _from_array(array: np.ndarray) -> Image.Image:
    """Turn an array (see [`load_image`]) into a PIL image of 8 bits per channel."""
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (3, 4)) or 0 in array.shape:
        raise ImageLoadError("expected the shape [height, width], optionally followed by 1, 3 (RGB) or 4 (RGBA).")
    # Files may have the other byte order, such as ImageJ's 16-bit TIFF.
    array = array.astype(array.dtype.newbyteorder("="), copy=False)
    if array.dtype == np.uint16:
        array = _TO_8_BITS[array]
    elif array.dtype == bool:
        array = array * np.uint8(255)
    if np.issubdtype(array.dtype, np.floating):
        # NaN fails this test as well.
        if not (array.min() >= 0 and array.max() <= 1):
            raise ImageLoadError("its floating point values must lie between 0 and 1. Scale them, or pass `uint8`.")
        array = np.rint(array * 255).astype(np.uint8)
    if array.dtype != np.uint8:
        raise ImageLoadError("its type is not supported. Convert it to `uint8`, 0 to 255.")
    return Image.fromarray(array)
