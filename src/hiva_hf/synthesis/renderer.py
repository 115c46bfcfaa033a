# Copyright 2026 The HiVA-HF Authors. Licensed under the Apache License, Version 2.0.
"""A small deferred renderer: OpenCV rasterises triangles, NumPy shades the pixels. No GPU, no OpenGL."""

from dataclasses import dataclass

import cv2
import numpy as np

from .install_hints import EXTRA_COMMAND
from .mesh import SurfacePart


if not hasattr(cv2, "triangleRasterize"):
    raise ImportError(f"Rendering needs OpenCV 5.0 or later, found {cv2.__version__}: {EXTRA_COMMAND}")


# Near and far plane in decimetres; a head is about 3 wide and the camera about 11 away.
NEAR, FAR = 1.0, 60.0


@dataclass(frozen=True)
class Camera:
    """A pinhole camera.

    Attributes:
        position: Array `[3]`, in decimetres.
        target: Array `[3]`, the point at the centre of the picture, in decimetres.
        roll: Rotation around the line of sight, in radians.
        field_of_view: Vertical opening angle, in radians.
    """

    position: np.ndarray
    target: np.ndarray
    roll: float
    field_of_view: float

    @property
    def rotation(self) -> np.ndarray:
        """Array `[3, 3]`, its rows are the camera's right, up and backward axes in the world."""
        backward = self.position - self.target
        backward = backward / np.linalg.norm(backward)
        right = np.cross([np.sin(self.roll), np.cos(self.roll), 0.0], backward)
        right /= np.linalg.norm(right)
        return np.stack([right, np.cross(backward, right), backward]).astype(np.float32)

    @property
    def world_to_camera(self) -> np.ndarray:
        """Array `[4, 4]` that maps homogeneous world to camera coordinates."""
        matrix = np.eye(4, dtype=np.float32)
        matrix[:3, :3] = self.rotation
        matrix[:3, 3] = -self.rotation @ self.position.astype(np.float32)
        return matrix

    def project(self, points: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Projects points into a square picture.

        Args:
            points: Array `[..., 3]`, in decimetres.
            size: Side of the picture in pixels.

        Returns:
            Column, row (in pixels) and distance along the line of sight (in decimetres), each of shape `[...]`.
        """
        local = (points - self.position.astype(np.float32)) @ self.rotation.T
        depth = -local[..., 2]
        scale = 0.5 * size / float(np.tan(0.5 * self.field_of_view)) / depth
        return 0.5 * size + local[..., 0] * scale, 0.5 * size - local[..., 1] * scale, depth

    def unproject(self, depth: np.ndarray) -> np.ndarray:
        """The world positions `[size, size, 3]` of the pixels of a depth map `[size, size]`."""
        size = len(depth)
        ticks = (np.arange(size, dtype=np.float32) + 0.5) / (0.5 * size) - 1.0
        slope = float(np.tan(0.5 * self.field_of_view))
        local = np.stack([slope * ticks[None] * depth, -slope * ticks[:, None] * depth, -depth], axis=-1)
        return local @ self.rotation + self.position.astype(np.float32)


@dataclass(frozen=True)
class Lighting:
    """Distant lamps and a sky.

    Attributes:
        directions: Array `[num_lamps, 3]`, unit vectors towards the lamps; the first one casts shadows.
        colors: Array `[num_lamps, 3]`, linear RGB.
        ambient: Array `[3]`, linear RGB light from everywhere.
        sky: Extra ambient light from above (minus the same from below).
        shadow: Strength of the cast shadow, 0 to 1.
    """

    directions: np.ndarray
    colors: np.ndarray
    ambient: np.ndarray
    sky: float
    shadow: float


@dataclass(frozen=True)
class Material:
    """How a surface reflects light.

    Attributes:
        specular: Strength of the highlight.
        gloss: Its exponent; a larger one makes it smaller and sharper.
        wrap: How far light reaches around the edge, 0 for a hard terminator.
        bleed: Extra reach of red light, which imitates subsurface scattering in skin.
    """

    specular: float
    gloss: float
    wrap: float = 0.25
    bleed: float = 0.0


@dataclass
class Layer:
    """One part with everything that is needed to draw it.

    Attributes:
        part: Its topology.
        vertices: Array `[num_vertices, 3]`, in decimetres.
        texture: Array `[height, width, 4]`, linear RGB and alpha.
        material: How it reflects light.
        relief: Array `[height, width]`, height of fine relief in decimetres over the texture plane, if any.
        keep: Array `[num_vertices]`; if given, the part is drawn where it is above 0, with a soft and ragged edge.
    """

    part: SurfacePart
    vertices: np.ndarray
    texture: np.ndarray
    material: Material
    relief: np.ndarray | None = None
    keep: np.ndarray | None = None


def _settings(culling: int) -> cv2.TriangleRasterizeSettings:
    settings = cv2.TriangleRasterizeSettings()
    settings.setCullingMode(culling)
    settings.setShadingType(cv2.RASTERIZE_SHADING_SHADED)
    return settings


_BOTH_SIDES = _settings(cv2.RASTERIZE_CULLING_NONE)
# The far side of hair is drawn first, so that curls behind the head do not hide those in front.
_HAIR_PASSES = (_settings(cv2.RASTERIZE_CULLING_CW), _settings(cv2.RASTERIZE_CULLING_CCW))


def rasterize(
    positions: np.ndarray,
    triangles: np.ndarray,
    attributes: np.ndarray,
    camera: Camera,
    depth: np.ndarray,
    settings: cv2.TriangleRasterizeSettings = _BOTH_SIDES,
) -> tuple[np.ndarray, np.ndarray]:
    """Interpolates three attributes over the visible pixels of a mesh.

    Args:
        positions: Array `[num_corners, 3]`, in decimetres.
        triangles: Array `[num_triangles, 3]`.
        attributes: Array `[num_corners, 3]`.
        camera: The camera.
        depth: Array `[size, size]`, depth of what is already drawn (`FAR` where nothing is); it is not changed.
        settings: Culling.

    Returns:
        The attributes `[size, size, 3]`, NaN where the mesh is not visible, and the new depth `[size, size]`.
    """
    size = len(depth)
    canvas = np.full((size, size, 3), np.nan, np.float32)
    return cv2.triangleRasterize(
        np.ascontiguousarray(positions, np.float32).reshape(-1, 1, 3),
        np.ascontiguousarray(triangles, np.int32).reshape(-1, 1, 3),
        np.ascontiguousarray(attributes, np.float32).reshape(-1, 1, 3),
        canvas,
        depth.copy(),
        camera.world_to_camera,
        camera.field_of_view,
        NEAR,
        FAR,
        settings,
    )


def sample_texture(texture: np.ndarray, uv: np.ndarray) -> np.ndarray:
    """Samples a texture `[height, width, ...]` at coordinates `uv` `[size, size, 2]`, v up; zero where uv is NaN."""
    height, width = texture.shape[:2]
    u, v = np.nan_to_num(uv[..., 0], nan=-9.0), np.nan_to_num(uv[..., 1], nan=-9.0)
    return cv2.remap(texture, u * width - 0.5, (1.0 - v) * height - 0.5, cv2.INTER_LINEAR, borderValue=0.0)


def render(
    opaque: list[Layer],
    translucent: list[Layer],
    hair: list[Layer],
    camera: Camera,
    lighting: Lighting,
    background: np.ndarray,
) -> np.ndarray:
    """Draws a head.

    Args:
        opaque: Parts that occlude each other, the skin first.
        translucent: Parts with alpha on the skin (lashes, brows).
        hair: Layers with alpha around the head, from the inside out.
        camera: The camera.
        lighting: The lamps.
        background: Array `[size, size, 3]`, linear RGB.

    Returns:
        Array `[size, size, 3]`, float32 linear RGB.
    """
    picture, depth, shade = _draw_opaque(opaque, camera, lighting, background)
    for layer in translucent:
        # Parts of lashes and brows lie below the skin's triangles: three millimetres of tolerance let them show.
        picture = _blend(picture, layer, camera, depth + 0.03, _BOTH_SIDES, shade)
    for layer in hair:
        for settings in _HAIR_PASSES:
            picture = _blend(picture, layer, camera, depth, settings, shade)
    return picture


class _Shader:
    """Lambert light with a soft terminator, a Blinn-Phong highlight and ambient light."""

    def __init__(self, camera: Camera, lighting: Lighting):
        self.view = camera.rotation[2]
        self.lighting = lighting

    def facing(self, normals: np.ndarray) -> np.ndarray:
        """Turns normals `[..., 3]` to the camera's side."""
        return np.where((normals @ self.view)[..., None] < 0, -normals, normals)

    def __call__(
        self, albedo: np.ndarray, normals: np.ndarray, material: Material, lit: np.ndarray | None = None
    ) -> np.ndarray:
        """Shades points.

        Args:
            albedo: Array `[n, 3]`, linear RGB.
            normals: Array `[n, 3]`, unit vectors.
            material: How the surface reflects light.
            lit: Array `[n]`, the share of the first lamp's light that arrives.

        Returns:
            Array `[n, 3]`, linear RGB.
        """
        light = self.lighting
        result = albedo * (light.ambient + light.sky * normals[:, 1:2]).astype(np.float32)
        reach = material.wrap + material.bleed * np.array([1.0, 0.25, 0.0], np.float32)
        for lamp, (direction, color) in enumerate(zip(light.directions, light.colors, strict=True)):
            cosine = normals @ direction
            diffuse = np.clip((cosine[:, None] + reach) / (1.0 + reach), 0.0, 1.0)
            half = direction + self.view
            shine = np.clip(normals @ (half / np.linalg.norm(half)), 0.0, 1.0) ** material.gloss * (cosine > 0)
            arriving = color * (1.0 if lamp or lit is None else lit[:, None])
            result += arriving.astype(np.float32) * (albedo * diffuse + material.specular * shine[:, None])
        return result


def _draw_opaque(
    layers: list[Layer], camera: Camera, lighting: Lighting, background: np.ndarray
) -> tuple[np.ndarray, np.ndarray, _Shader]:
    uv, owner, normals, depth, positions, triangles = _geometry_buffers(layers, camera, len(background))
    shade = _Shader(camera, lighting)
    normals = shade.facing(normals)
    lit = _lit_by_key_lamp(positions, triangles, camera, lighting, depth)
    picture = background.astype(np.float32).copy()
    for number, layer in enumerate(layers):
        seen = owner == number
        if not seen.any():
            continue
        albedo = sample_texture(layer.texture, uv)[seen][:, :3]
        n = normals[seen]
        if layer.relief is not None:
            n, cavity = _bumped(layer.relief, uv, depth, camera, seen, n)
            albedo = albedo * cavity[:, None]
        picture[seen] = shade(albedo, n, layer.material, lit[seen])
    picture *= _ambient_occlusion(depth, owner >= 0)[..., None]
    return picture, depth, shade


def _geometry_buffers(layers: list[Layer], camera: Camera, size: int) -> tuple[np.ndarray, ...]:
    """Rasterises all parts into texture coordinates, owner, normals and depth; also returns the joint mesh."""
    positions, normals, uvs, triangles, first = [], [], [], [], 0
    for number, layer in enumerate(layers):
        points, directions = layer.part.corners(layer.vertices)
        positions.append(points)
        normals.append(directions)
        # OpenCV guarantees correct results only for attributes in 0..1.
        owner = np.full((len(points), 1), (number + 0.5) / len(layers), np.float32)
        uvs.append(np.concatenate([layer.part.uvs, owner], axis=1))
        triangles.append(layer.part.triangles + first)
        first += len(points)
    positions, normals, uvs, triangles = map(np.concatenate, (positions, normals, uvs, triangles))
    visible = triangles[_faces_camera(positions, triangles, camera)]
    empty = np.full((size, size), FAR, np.float32)
    attributes, depth = rasterize(positions, visible, uvs, camera, empty)
    directions, _ = rasterize(positions, visible, 0.5 * normals + 0.5, camera, empty)
    directions = np.nan_to_num(2.0 * directions - 1.0, nan=1.0)
    directions /= np.maximum(np.linalg.norm(directions, axis=-1, keepdims=True), 1e-6)
    owner = np.nan_to_num(np.floor(attributes[..., 2] * len(layers)), nan=-1.0).astype(np.int8)
    return attributes[..., :2], owner, directions, depth, positions, triangles


def _faces_camera(positions: np.ndarray, triangles: np.ndarray, camera: Camera) -> np.ndarray:
    """Whether each triangle `[num_triangles]` faces the camera.

    The others are never visible on a closed surface, but the inner side of strongly squeezed lids would pierce the
    skin.
    """
    a, b, c = (positions[triangles[:, corner]] for corner in range(3))
    toward_camera = camera.position.astype(np.float32) - a
    return (np.cross(b - a, c - a) * toward_camera).sum(axis=1) > 0.0


def _bumped(
    relief: np.ndarray, uv: np.ndarray, depth: np.ndarray, camera: Camera, seen: np.ndarray, normals: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Tilts normals `[n, 3]` by a relief, and returns how much light reaches its grooves `[n]`.

    The slope is computed between neighbouring pixels, in the image plane (bump mapping after Mikkelsen, "Bump Mapping
    Unparametrized Surfaces on the GPU", 2010, for a distant camera).
    """
    height = np.where(seen, sample_texture(relief, uv), 0.0)
    pixel = 2.0 * float(np.tan(0.5 * camera.field_of_view)) * depth / len(depth)
    slope_x = cv2.Sobel(height, cv2.CV_32F, 1, 0, scale=0.125)[seen] / pixel[seen]
    slope_y = -cv2.Sobel(height, cv2.CV_32F, 0, 1, scale=0.125)[seen] / pixel[seen]
    right, up, backward = camera.rotation
    # Near the outline of the face, a pixel covers much skin, so that its slope is unreliable.
    trust = np.clip(normals @ backward, 0.0, 1.0)[:, None]
    tilted = normals - trust * (np.clip(slope_x, -2, 2)[:, None] * right + np.clip(slope_y, -2, 2)[:, None] * up)
    tilted /= np.linalg.norm(tilted, axis=1, keepdims=True)
    cavity = np.clip(1.0 + 14.0 * np.minimum(height[seen], 0.0), 0.35, 1.0)
    return tilted.astype(np.float32), cavity.astype(np.float32)


def _lit_by_key_lamp(
    positions: np.ndarray, triangles: np.ndarray, camera: Camera, lighting: Lighting, depth: np.ndarray
) -> np.ndarray:
    """The share of the first lamp's light that reaches each pixel `[size, size]`: a shadow map with soft edges."""
    if lighting.shadow <= 0.0:
        return np.ones_like(depth)
    direction = lighting.directions[0]
    lamp = Camera(camera.target + 25.0 * direction, camera.target, 0.0, np.radians(8.0))
    empty = np.full((256, 256), FAR, np.float32)
    _, nearest = rasterize(positions, triangles, np.zeros_like(positions), lamp, empty)
    column, row, distance = lamp.project(camera.unproject(depth), len(nearest))
    first = cv2.remap(nearest, column - 0.5, row - 0.5, cv2.INTER_LINEAR, borderValue=FAR)
    # A bias of five millimetres: with less, triangles shade themselves; with more, the nose loses its shadow.
    covered = np.clip((distance - first - 0.05) / 0.06, 0.0, 1.0).astype(np.float32)
    return 1.0 - lighting.shadow * cv2.GaussianBlur(covered, (0, 0), len(depth) / 160.0)


def _ambient_occlusion(depth: np.ndarray, hit: np.ndarray) -> np.ndarray:
    """Darkens pixels that lie deeper than their surroundings, such as the corners of the eyes."""
    if not hit.any():
        return np.ones_like(depth)
    filled = np.where(hit, depth, depth[hit].max())
    behind = filled - cv2.GaussianBlur(filled, (0, 0), len(depth) / 60.0)
    return np.where(hit, 1.0 - np.clip(1.8 * behind, 0.0, 0.55), 1.0)


def _blend(
    picture: np.ndarray,
    layer: Layer,
    camera: Camera,
    depth: np.ndarray,
    settings: cv2.TriangleRasterizeSettings,
    shade: _Shader,
) -> np.ndarray:
    """Draws one layer with alpha over the picture `[size, size, 3]`."""
    points, normals = layer.part.corners(layer.vertices)
    keep = np.ones(len(layer.vertices), np.float32) if layer.keep is None else np.clip(layer.keep, -0.5, 0.5) + 0.5
    attributes = np.concatenate([layer.part.uvs, layer.part.per_corner(keep)[:, None]], axis=1)
    attributes, _ = rasterize(points, layer.part.triangles, attributes, camera, depth, settings)
    directions, _ = rasterize(points, layer.part.triangles, 0.5 * normals + 0.5, camera, depth, settings)
    seen = np.isfinite(attributes[..., 0])
    if not seen.any():
        return picture
    color = sample_texture(layer.texture, attributes[..., :2])[seen]
    directions = 2.0 * directions[seen] - 1.0
    directions /= np.maximum(np.linalg.norm(directions, axis=1, keepdims=True), 1e-6)
    # Light strands are made longer than dark ones: a straight edge would be conspicuous.
    strand = color[:, :3].mean(axis=1, keepdims=True)
    ragged = 0.03 * np.clip(strand / max(float(strand.mean()), 1e-4) - 1.0, -1.5, 1.5)
    alpha = color[:, 3:] * np.clip((attributes[seen][:, 2:] - 0.5 + ragged) / 0.03 + 0.5, 0.0, 1.0)
    shaded = shade(color[:, :3], shade.facing(directions), layer.material)
    picture[seen] = picture[seen] * (1.0 - alpha) + shaded * alpha
    return picture
