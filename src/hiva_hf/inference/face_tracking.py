"""Track faces through a video: identify each and predict where to search, at a fraction of the detector's cost."""

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ..extras import import_from_extra
from ..face_alignment import alignment_matrix
from ..face_detection import DetectedFace, FaceDetector, import_cv2


# A face fills half of the region in which it is searched, and is then large enough for CenterFace: its landmarks are
# as close to the true ones as in the whole frame (1.08 % of the face's size on warped photos, in both).
REGION_FACTOR = 2.0
REGION_SIZE = 128
# The square stays where it is while the face is near its centre: otherwise the landmarks of a face at rest would
# jitter with the position of the square's pixel grid.
_REGION_DRIFT, _REGION_GROWTH = 0.1, 1.2
# Assumed size of the searched frame for a detector without `max_size`, and the size of a region with the border that
# is added to it: only for comparing costs.
_FRAME_SIZE, _REGION_COST_SIZE = 640, REGION_SIZE + 64
# A face is the same if it lies within this many face sizes of its expected position...
_MAX_DISTANCE = 1.0
# ... and its size changed by no more than this factor.
_MAX_SIZE_RATIO = 2.0
_FORBIDDEN = 1e6
# Weight of the newest displacement in the estimate of a face's velocity, and for how many seconds it is extrapolated.
_VELOCITY_WEIGHT = 0.5
_MAX_EXTRAPOLATION = 0.5
# Two detections are the same face if they overlap by this much.
_SAME_FACE_IOU = 0.4
# Below this correlation between two frames there is a cut.
_CUT_CORRELATION = 0.4
_THUMBNAIL_SIZE = (32, 18)


@dataclass(frozen=True)
class TrackedFace:
    """A face of one frame of a video.

    Attributes:
        face_id: Identifies the same face in all frames.
        face: Its box, score and landmarks.
    """

    face_id: int
    face: DetectedFace


@dataclass(frozen=True)
class Region:
    """A square in which a face is searched, in pixels; it may reach beyond the frame."""

    left: int
    top: int
    side: int

    @classmethod
    def around(cls, center: NDArray[np.float64], size: float) -> "Region":
        """The square for a face of `size` at `center`."""
        side = max(round(REGION_FACTOR * size), 16)
        return cls(*(round(place - side / 2) for place in center), side)

    @property
    def center(self) -> NDArray[np.float64]:
        return np.array([self.left + self.side / 2, self.top + self.side / 2])

    def fits(self, center: NDArray[np.float64], size: float) -> bool:
        """Whether a face of `size` at `center` is still near the centre of the square, and of a similar size."""
        growth = REGION_FACTOR * size / self.side
        drift = np.linalg.norm(center - self.center) / self.side
        return bool(drift < _REGION_DRIFT and 1 / _REGION_GROWTH < growth < _REGION_GROWTH)


@dataclass
class KnownFace:
    """State of one tracked face.

    Attributes:
        face_id: Its number.
        face: Its last detection.
        time: Time of this detection in seconds.
        velocity: `[2]`, of its centre, in pixels per second.
        region: Where it was last searched; `None` if that was the whole frame.
    """

    face_id: int
    face: DetectedFace
    time: float
    velocity: NDArray[np.float64] = field(default_factory=lambda: np.zeros(2))
    region: Region | None = None

    def center_at(self, time: float) -> NDArray[np.float64]:
        """Where the centre of the face is expected."""
        return center_of(self.face) + self.velocity * min(time - self.time, _MAX_EXTRAPOLATION)

    def region_at(self, time: float) -> Region:
        """Where to search for the face."""
        center, size = self.center_at(time), size_of(self.face)
        if self.region is None or not self.region.fits(center, size):
            self.region = Region.around(center, size)
        return self.region

    def see(self, face: DetectedFace, time: float) -> None:
        """Updates the state with a new detection."""
        elapsed = time - self.time
        if elapsed > 0:
            velocity = (center_of(face) - center_of(self.face)) / elapsed
            self.velocity = _VELOCITY_WEIGHT * velocity + (1 - _VELOCITY_WEIGHT) * self.velocity
        self.face, self.time = face, time


class FaceTracker:
    """Detects the faces in a video frame by frame, and gives each face a number.

    **Same face.** A detection continues a known face if it lies within one face size of the position expected from
    that face's last position and velocity, and is at most twice as large or small; of all ways to pair faces, the one
    with the smallest sum of distances is taken. A face that was out of sight for up to `max_gap` seconds keeps its
    number if it reappears near the expected position; the allowed distance grows with the time. After a longer absence
    or a cut, it gets a new number. Numbers count from 0 and are never reused.

    **Cost.** The whole frame is searched every `detect_every` frames. In between, the detector sees only a small
    square around each known face. The whole frame is also searched as soon as a face is not found in its square, when
    no face is known, after a cut, and when there are so many faces that squares would cost more. A new face that
    appears while others are visible is therefore detected up to `detect_every - 1` frames late.

    Args:
        detector: Detects the faces in an image.
        detect_every: Number of frames from one search of the whole frame to the next; 1 always searches it.
        max_gap: Seconds that a face may be out of sight.
    """

    def __init__(self, detector: FaceDetector, detect_every: int = 10, max_gap: float = 1.0):
        if detect_every < 1:
            raise ValueError(f"detect_every must be at least 1, got {detect_every}.")
        if max_gap < 0:
            raise ValueError(f"max_gap must be at least 0 seconds, got {max_gap}.")
        self.detect_every = detect_every
        self.max_gap = max_gap
        self.num_searches = 0
        self._detector = detector
        # With its own copy for regions, a network that sees images of one size need not allocate its buffers anew.
        self._region_detector = copy.copy(detector)
        self.reset()

    def reset(self) -> None:
        """Forgets all faces, before the next video."""
        self._known: list[KnownFace] = []
        self._next_id = 0
        self._frames_since_search = 0
        self._last_time = -math.inf
        self._thumbnail: NDArray[np.float32] | None = None

    def __call__(self, image: NDArray[np.uint8], time: float) -> list[TrackedFace]:
        """Finds the faces of the next frame.

        Args:
            image: RGB `uint8` `[height, width, 3]`.
            time: Its time in the video, in seconds; increases from frame to frame, except in concatenated recordings.

        Returns:
            The faces that can be aligned, the largest first.
        """
        if time < self._last_time:
            self._begin_anew(time)
        self._forget(image, time)
        faces, is_complete = self._search_regions(image, time) if self._regions_pay(image) else ([], False)
        if not is_complete or self._frames_since_search >= self.detect_every:
            faces = _refined(self._search_frame(image), faces)
        self._frames_since_search += 1
        tracked = self._continue(faces, time)
        self._last_time = time
        return sorted(tracked, key=lambda item: -item.face.area)

    def _begin_anew(self, time: float) -> None:
        """Shifts the times of known faces to a clock that went back."""
        for known in self._known:
            known.time = time if self._is_visible(known) else known.time - (self._last_time - time)
        self._last_time = time

    def _forget(self, image: NDArray[np.uint8], time: float) -> None:
        """Drops faces that were out of sight for too long, and all of them at a cut."""
        thumbnail = _thumbnail(image)
        # A black or white frame, such as a flash, is skipped: the frame after it is compared with the one before.
        if _has_contrast(thumbnail):
            if self._thumbnail is not None and _correlation(thumbnail, self._thumbnail) < _CUT_CORRELATION:
                self._known = []
            self._thumbnail = thumbnail
        self._known = [known for known in self._known if self._is_visible(known) or time - known.time <= self.max_gap]

    def _is_visible(self, known: KnownFace) -> bool:
        """Whether the face was detected in the last frame."""
        return known.time == self._last_time

    def _regions_pay(self, image: NDArray[np.uint8]) -> bool:
        """Whether to search around known faces: there are some, and not so many that the whole frame costs less."""
        height, width = image.shape[:2]
        shrink = min(1.0, getattr(self._detector, "max_size", _FRAME_SIZE) / max(height, width))
        is_cheaper = len(self._known) * _REGION_COST_SIZE**2 < height * width * shrink**2
        return self.detect_every > 1 and is_cheaper and any(self._is_visible(known) for known in self._known)

    def _search_frame(self, image: NDArray[np.uint8]) -> list[DetectedFace]:
        self._frames_since_search = 0
        self.num_searches += 1
        return [face for face in self._detector(image) if _can_be_aligned(face)]

    def _search_regions(self, image: NDArray[np.uint8], time: float) -> tuple[list[DetectedFace], bool]:
        """The faces in squares around the known ones, and whether all those of the last frame are among them."""
        found = []
        for known in self._known:
            region = known.region_at(time)
            found += [(face, region.center) for face in self._search_region(image, region)]
        # Of a face in two squares, the detection nearest to the centre of its square is the best.
        found.sort(key=lambda item: np.linalg.norm(center_of(item[0]) - item[1]))
        faces = []
        for face, _ in found:
            if all(overlap(face, other) < _SAME_FACE_IOU for other in faces):
                faces.append(face)
        continued = {index for index, _ in self._pairs(faces, time)}
        is_lost = any(self._is_visible(known) and i not in continued for i, known in enumerate(self._known))
        return faces, not is_lost

    def _search_region(self, image: NDArray[np.uint8], region: Region) -> list[DetectedFace]:
        cv2 = import_cv2()
        height, width = image.shape[:2]
        left, top, side = region.left, region.top, region.side
        x, y, right, bottom = max(left, 0), max(top, 0), min(left + side, width), min(top + side, height)
        if x >= right or y >= bottom:
            return []
        edges = (y - top, top + side - bottom, x - left, left + side - right)
        square = cv2.copyMakeBorder(image[y:bottom, x:right], *edges, cv2.BORDER_CONSTANT)
        mode = cv2.INTER_AREA if side > REGION_SIZE else cv2.INTER_LINEAR
        square = cv2.resize(square, (REGION_SIZE, REGION_SIZE), interpolation=mode)
        faces = [_place(face, left, top, side / REGION_SIZE, width, height) for face in self._region_detector(square)]
        # A face that the square cuts off would get a wrong box and wrong landmarks.
        bounds = (left if left > 0 else -1, top if top > 0 else -1)
        bounds += (left + side if right < width else width + 1, top + side if bottom < height else height + 1)
        return [face for face in faces if _is_inside(face.box, bounds) and _can_be_aligned(face)]

    def _continue(self, faces: Sequence[DetectedFace], time: float) -> list[TrackedFace]:
        """Updates known faces, and adds new ones."""
        known_of = {index: self._known[known] for known, index in self._pairs(faces, time)}
        for index, face in enumerate(faces):
            if index in known_of:
                known_of[index].see(face, time)
            else:
                known_of[index] = KnownFace(self._next_id, face, time)
                self._known.append(known_of[index])
                self._next_id += 1
        return [TrackedFace(known_of[index].face_id, face) for index, face in enumerate(faces)]

    def _pairs(self, faces: Sequence[DetectedFace], time: float) -> list[tuple[int, int]]:
        """Pairs indices of known faces with those of `faces`."""
        if not self._known or not faces:
            return []
        costs = self._costs(faces, time)
        return [(int(i), int(j)) for i, j in zip(*_assign(costs), strict=True) if costs[i, j] < _FORBIDDEN]

    def _costs(self, faces: Sequence[DetectedFace], time: float) -> NDArray[np.float64]:
        """How far each face is from where each known one was expected, in face sizes: `[known faces, faces]`."""
        size, other_size = (
            np.array([size_of(face) for face in each]) for each in ([known.face for known in self._known], faces)
        )
        expected = np.array([known.center_at(time) for known in self._known])
        centers = np.array([center_of(face) for face in faces])
        size = size[:, None]
        ratio = np.maximum(size, other_size) / np.minimum(size, other_size)
        distance = np.linalg.norm(expected[:, None] - centers, axis=2) / np.sqrt(size * other_size)
        gap = np.array([0.0 if self._is_visible(known) else time - known.time for known in self._known])[:, None]
        is_other = (ratio > _MAX_SIZE_RATIO) | (distance > _MAX_DISTANCE * (1 + gap))
        return np.where(is_other, _FORBIDDEN, distance + np.log(ratio))


def _refined(faces: Sequence[DetectedFace], near: Sequence[DetectedFace]) -> list[DetectedFace]:
    """Replaces faces of the whole frame by the same faces from the squares, where these were found there.

    A face is thus measured the same way in all frames: its landmarks do not jump at every search of the whole frame.
    """
    return [next((other for other in near if overlap(face, other) >= _SAME_FACE_IOU), face) for face in faces]


def _assign(costs: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows and columns of the pairs with the smallest sum of costs."""
    # The import takes half a second and is needed only for videos.
    optimize = import_from_extra("scipy.optimize", "video", "Following faces through a video")
    return optimize.linear_sum_assignment(costs)


def center_of(face: DetectedFace) -> NDArray[np.float64]:
    """Centre (x, y) of a face's box."""
    xmin, ymin, xmax, ymax = face.box
    return np.array([(xmin + xmax) / 2, (ymin + ymax) / 2])


def size_of(face: DetectedFace) -> float:
    """The longer side of a face's box."""
    xmin, ymin, xmax, ymax = face.box
    return max(xmax - xmin, ymax - ymin)


def overlap(face: DetectedFace, other: DetectedFace) -> float:
    """Intersection over union of two faces' boxes."""
    width = min(face.box[2], other.box[2]) - max(face.box[0], other.box[0])
    height = min(face.box[3], other.box[3]) - max(face.box[1], other.box[1])
    common = max(width, 0.0) * max(height, 0.0)
    return common / (face.area + other.area - common)


def _place(face: DetectedFace, left: int, top: int, scale: float, width: int, height: int) -> DetectedFace:
    """Converts a face's coordinates from a region to the frame."""
    xmin, ymin, xmax, ymax = (scale * edge + shift for edge, shift in zip(face.box, (left, top) * 2, strict=True))
    box = (max(xmin, 0.0), max(ymin, 0.0), min(xmax, float(width)), min(ymax, float(height)))
    return DetectedFace(box, face.score, scale * face.landmarks + (left, top))


def _is_inside(box: tuple[float, float, float, float], bounds: tuple[float, float, float, float]) -> bool:
    return box[0] > bounds[0] and box[1] > bounds[1] and box[2] < bounds[2] and box[3] < bounds[3]


def _can_be_aligned(face: DetectedFace) -> bool:
    try:
        alignment_matrix(face.landmarks)
    except ValueError:
        return False
    return True


def _thumbnail(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The frame reduced to a few grey pixels, minus their mean."""
    cv2 = import_cv2()
    small = cv2.resize(image, _THUMBNAIL_SIZE, interpolation=cv2.INTER_AREA).astype(np.float32).mean(axis=2)
    return small - small.mean()


def _has_contrast(thumbnail: NDArray[np.float32]) -> bool:
    """Whether a frame shows anything: it deviates from its mean by more than one grey level (root mean square)."""
    return bool(np.linalg.norm(thumbnail) > math.sqrt(thumbnail.size))


def _correlation(image: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """Correlation of two thumbnails that have contrast."""
    return float((image * other).sum() / (np.linalg.norm(image) * np.linalg.norm(other)))
