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
"""Explains a detector's results for a face in plain English: evidence for one face in, sentences and figures out.

Nothing here is learned, looked up or random: the same evidence gives the same sentences. The sentences must not claim
more than the evidence shows, so a map that lies on the same place for every AU, or nowhere in particular, is called
not specific.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from .facs import ACTION_UNITS, find_action_unit, get_action_unit
from .facs_states import NEUTRAL_FACE_SENTENCE, face_sentence, state_clause, state_sentences
from .word_pieces import mean_word_weights


# Parts of a face that a map can lie on: those of `facs.Region` except the jaw, of which a crop shows the chin.
REGIONS = ("brows", "eyes", "nose", "cheeks", "mouth", "chin")
# Regions of the catalogue that are not in `REGIONS`: a dropped jaw shows at the chin and the mouth.
_PLACES_OF_REGION = {"jaw": ("chin", "mouth")}
_TEXT_OF_REGION = {"nose": "the nose", "mouth": "the mouth", "chin": "the chin"}
# Number of sample points along each side of a token of a map.
_POINTS_PER_TOKEN = 8
# A map lies on a region if at least this share of it does, and this multiple of the region's share of the view.
MIN_SHARE, MIN_LIFT = 0.35, 2.0
# It lies on one side of the region if at least this share of that part does.
MIN_SIDE_SHARE = 0.8
# A map is not specific if more than this share of the AUs that show elsewhere (this many or more) lie there too.
MAX_SHARED, MIN_STRANGERS = 0.5, 2
# A word stands out if its attention is at least this multiple of evenly spread attention.
MIN_WORD_LIFT = 1.5
NUM_WORDS = 3
# A decision is a close call if probability and threshold are less than this many logits apart.
CLOSE_CALL = 0.5


@dataclass(frozen=True, eq=False)
class FaceEvidence:
    """The evidence for one face; what is None was not measured, or the detector does not provide it.

    Attributes:
        labels: The N AUs, such as "AU12", in the order of everything else.
        probabilities: [N].
        thresholds: [N], from which an AU is active.
        experimental: Labels of AUs for which the detector is known to be unreliable on real photos.
        maps: [N, h, w], not negative, each summing to 1: where in the view the evidence for each AU lies. An AU whose
            map is 0 has none.
        kind: What the maps show: "sensitivity", what the probability depends on, or "attention", where the AU's
            description attended.
        landmarks: [5, 2], the landmarks of a `DetectedFace` in coordinates of the view, from 0 to 1.
        word_weights: [N, 1 + L], the attention to the keys of each AU's text memory, summing to 1.
        description_pieces: N lines in the format of `word_pieces`.
        graph: [N, N], row i marks the AUs that AU i is most similar to; its diagonal is left out.
        sentences: [N], what the detector itself wrote about each AU, in place of the sentences made here.
        face_text: What the detector itself wrote about the face, in place of the sentence made here.
    """

    labels: Sequence[str]
    probabilities: Sequence[float]
    thresholds: Sequence[float]
    experimental: Sequence[str] = ()
    maps: NDArray[np.floating] | None = None
    kind: Literal["sensitivity", "attention"] = "attention"
    landmarks: NDArray[np.floating] | None = None
    word_weights: NDArray[np.floating] | None = None
    description_pieces: Sequence[str] | None = None
    graph: NDArray[np.bool_] | None = None
    sentences: Sequence[str] | None = None
    face_text: str | None = None

    @property
    def active(self) -> list[bool]:
        return [score >= threshold for score, threshold in zip(self.probabilities, self.thresholds, strict=True)]


@dataclass(frozen=True)
class MapPlace:
    """Where a map lies.

    Attributes:
        region: One of `REGIONS`, the one with most of the map; None if it lies on none of them.
        share: How much of the map lies on that region.
        side: "left" or "right" of the image, if nearly all of that lies there.
        is_specific: Whether the maps of AUs that show elsewhere lie elsewhere.
        agrees: Whether the AU shows in that region; None without a region or for an AU that the catalogue lacks.
    """

    region: str | None
    share: float | None = None
    side: str | None = None
    is_specific: bool = False
    agrees: bool | None = None


def explain_face(evidence: FaceEvidence) -> dict[str, Any]:
    """Explains a detector's results for a face.

    Returns:
        `summary` (`str`), `warnings` (`list[str]`) and `explanations`, for each AU a dict:

        - **sentence** (`str`) -- Its state with the evidence for it.
        - **evidence** (`str` or `None`) -- What its map shows: "sensitivity" or "attention"; `None` without a map.
        - **region** (`str` or `None`) -- The part of the face (one of `REGIONS`) that the map lies on; `None` without
          a map, or if the map is not specific.
        - **region_share** (`float` or `None`) -- How much of the map lies there.
        - **side** (`str` or `None`) -- "left" or "right" of the image, if nearly all of that lies there.
        - **region_agrees** (`bool` or `None`) -- Whether the AU shows in that region.
        - **words** (`list[dict]` or `None`) -- The words of its description with the most attention, each with
          `word` and `attention`, as a multiple of uniform attention.
        - **related** (`list[str]` or `None`) -- The AUs most similar to it on this face.
    """
    places = map_places(evidence)
    words = attended_words(evidence)
    related = related_aus(evidence)
    explanations = []
    for index in range(len(evidence.labels)):
        place = places[index] if places else None
        is_placed = place is not None and place.region is not None and place.is_specific
        explanations.append(
            {
                "sentence": _sentence(evidence, index, place, words, related),
                "evidence": None if place is None else evidence.kind,
                "region": place.region if is_placed else None,
                "region_share": place.share if is_placed else None,
                "side": place.side if is_placed else None,
                "region_agrees": place.agrees if is_placed else None,
                "words": [{"word": word, "attention": lift} for word, lift in words[index]] if words else None,
                "related": related[index] if related else None,
            }
        )
    warnings = [
        *rule_warnings(evidence),
        *contradicting_sentences(evidence),
        *contradictions_of_face_text(evidence),
    ]
    return {"summary": summarize(evidence), "warnings": warnings, "explanations": explanations}


def summarize(evidence: FaceEvidence) -> str:
    """One sentence on what the face shows, and one that lists the active AUs with their probabilities."""
    rows = [row for row, is_active in enumerate(evidence.active) if is_active]
    known = [evidence.labels[row] for row in rows if find_action_unit(evidence.labels[row]) is not None]
    if not rows:
        sentence = face_sentence([]) if evidence.face_text is None else evidence.face_text
        return f"{sentence} None of {len(evidence.labels)} AUs is active."
    # AUs that the catalogue lacks have no clause, but are listed.
    sentence = f"{face_sentence(known)} " if known else ""
    if evidence.face_text is not None:
        sentence = f"{evidence.face_text} "
    listed = _enumerate([_with_score(evidence, row) for row in rows])
    return f"{sentence}Active: {listed}."


def rule_warnings(evidence: FaceEvidence) -> list[str]:
    """One sentence for each pair of active AUs that contradict each other by `ActionUnit.exclusions`.

    It says which of the two is less certain: the one whose probability is nearer to its threshold, in logits.
    """
    rows = {
        unit.number: row
        for row, is_active in enumerate(evidence.active)
        if is_active and (unit := find_action_unit(evidence.labels[row])) is not None
    }
    warnings = []
    for number in sorted(rows):
        for other in get_action_unit(number).exclusions:
            if other > number and other in rows:
                warnings.append(_warning(evidence, number, other, rows))
    return warnings


def contradicting_sentences(evidence: FaceEvidence) -> list[str]:
    """One sentence for each AU about which the detector wrote the opposite of what its probability says."""
    warnings = []
    for row, sentence in enumerate(evidence.sentences or ()):
        label, is_active = evidence.labels[row], evidence.active[row]
        if find_action_unit(label) is not None and sentence in state_sentences(label, not is_active):
            state = "active" if is_active else "not active"
            warnings.append(
                f'The detector calls {_with_score(evidence, row)} {state}, but wrote the opposite: "{sentence}"'
            )
    return warnings


def contradictions_of_face_text(evidence: FaceEvidence) -> list[str]:
    """One sentence for each AU whose state in the detector's text about the face contradicts its probability.

    The text is searched for the clauses of [`face_sentence`]. A text without any of them is worded differently, and
    gives no sentences.
    """
    if evidence.face_text is None:
        return []
    text = evidence.face_text.lower()
    told = {unit.number for unit in ACTION_UNITS.values() if state_clause(unit.number, True).lower() in text}
    if not told and evidence.face_text != NEUTRAL_FACE_SENTENCE:
        return []
    warnings = []
    for row, (label, is_active) in enumerate(zip(evidence.labels, evidence.active, strict=True)):
        unit = find_action_unit(label)
        if unit is None or is_active == (unit.number in told):
            continue
        scored = _with_score(evidence, row)
        warnings.append(
            f"The detector calls {scored} active, but its sentence about the face leaves it out."
            if is_active
            else f"The detector calls {scored} not active, but wrote of the face that {state_clause(label, True)}."
        )
    return warnings


def map_places(evidence: FaceEvidence) -> list[MapPlace | None] | None:
    """Where the map of each AU lies, None for an AU without one; None without maps or landmarks."""
    if evidence.maps is None or evidence.landmarks is None:
        return None
    cells = region_cells(evidence.landmarks, *evidence.maps.shape[1:])
    shares, areas = np.einsum("nhw,rhw->nr", evidence.maps, cells), cells.mean(axis=(1, 2))
    best = shares.argmax(axis=1)
    clear = [
        shares[row, region] >= max(MIN_SHARE, MIN_LIFT * areas[region]) for row, region in enumerate(best.tolist())
    ]
    units = [find_action_unit(label) for label in evidence.labels]
    has_map = evidence.maps.any(axis=(1, 2)).tolist()
    places = []
    for row, region in enumerate(best.tolist()):
        if not has_map[row]:
            places.append(None)
            continue
        if not clear[row]:
            places.append(MapPlace(None))
            continue
        name = REGIONS[region]
        strangers = [
            best[other] == region and clear[other]
            for other, unit in enumerate(units)
            if other != row and has_map[other] and unit is not None and name not in places_of(unit.region)
        ]
        places.append(
            MapPlace(
                region=name,
                share=float(shares[row, region]),
                side=_side(evidence.maps[row] * cells[region], evidence.landmarks),
                is_specific=len(strangers) < MIN_STRANGERS or sum(strangers) <= MAX_SHARED * len(strangers),
                agrees=None if units[row] is None else name in places_of(units[row].region),
            )
        )
    return places


def places_of(region: str) -> tuple[str, ...]:
    """The `REGIONS` of a crop in which AUs whose `ActionUnit.region` is `region` show."""
    return _PLACES_OF_REGION.get(region, (region,))


def region_cells(landmarks: NDArray[np.floating], height: int, width: int) -> NDArray[np.float64]:
    """How much of each token of a map belongs to each region of the face.

    Regions are defined relative to the landmarks: along the line between the eyes in units of the distance between the
    eyes, across it in units of the distance from the eyes to the mouth.

    Args:
        landmarks: [5, 2], see [`FaceEvidence`].
        height: Tokens of the map from top to bottom.
        width: Tokens from left to right.

    Returns:
        Array `[len(REGIONS), height, width]` of shares; the rest of a token is hair, neck and background.
    """
    rows, columns = (
        (np.arange(size * _POINTS_PER_TOKEN) + 0.5) / (size * _POINTS_PER_TOKEN) for size in (height, width)
    )
    along, across = _face_coordinates(landmarks, *np.meshgrid(columns, rows))
    out = np.abs(along)
    masks = dict.fromkeys(REGIONS)
    masks["brows"] = (across >= -0.75) & (across < -0.2) & (out < 1)
    masks["nose"] = ((across >= -0.05) & (across < 0.22) & (out < 0.15)) | (
        (across >= 0.22) & (across < 0.68) & (out < 0.34)
    )
    masks["eyes"] = (across >= -0.2) & (across < 0.22) & (out < 1) & ~masks["nose"]
    masks["mouth"] = (across >= 0.68) & (across < 1.3) & (out < 0.62)
    masks["cheeks"] = (across >= 0.22) & (across < 1.3) & (out < 0.95) & ~masks["nose"] & ~masks["mouth"]
    masks["chin"] = (across >= 1.3) & (across < 1.9) & (out < 0.75)
    points = np.stack([masks[name] for name in REGIONS]).astype(np.float64)
    tokens = points.reshape(len(REGIONS), height, _POINTS_PER_TOKEN, width, _POINTS_PER_TOKEN)
    return tokens.mean(axis=(2, 4))


def attended_words(evidence: FaceEvidence) -> list[list[tuple[str, float]]] | None:
    """The `NUM_WORDS` words of each AU's description with the most attention; None if they are not known.

    Returns:
        For each AU, pairs of a word and its attention, where 1 is uniform attention over the keys of the AU's text
        memory.
    """
    if evidence.word_weights is None or evidence.description_pieces is None:
        return None
    attended = []
    for pieces, weights in zip(evidence.description_pieces, evidence.word_weights, strict=True):
        # Key 0 is the AU's contextual embedding.
        num_keys = 1 + len(pieces.split())
        words = mean_word_weights(pieces, weights[1:])[:NUM_WORDS]
        attended.append([(word, num_keys * weight) for word, weight in words])
    return attended


def related_aus(evidence: FaceEvidence) -> list[list[str]] | None:
    """The AUs that the graph connects each AU to, itself left out; None without a graph."""
    if evidence.graph is None:
        return None
    return [
        [label for other, label in enumerate(evidence.labels) if row[other] and other != index]
        for index, row in enumerate(np.asarray(evidence.graph, dtype=bool))
    ]


def _sentence(
    evidence: FaceEvidence,
    index: int,
    place: MapPlace | None,
    words: list[list[tuple[str, float]]] | None,
    related: list[list[str]] | None,
) -> str:
    """The whole explanation of one AU."""
    if evidence.sentences is not None:
        return evidence.sentences[index]
    parts = [_statement(evidence, index)]
    if evidence.labels[index] in evidence.experimental:
        parts.append("Experimental: this detector is unreliable at it on real photos.")
    if place is not None:
        parts.append(_place_sentence(place, evidence.kind))
    if words is not None and (striking := [f'"{word}"' for word, lift in words[index] if lift >= MIN_WORD_LIFT]):
        parts.append(f"Of its description it attends most to {_enumerate(striking)}.")
    if related is not None and related[index]:
        parts.append(_related_sentence(evidence, related[index]))
    return " ".join(parts)


def _statement(evidence: FaceEvidence, index: int) -> str:
    """The AU's state with the figures behind it."""
    label, is_active = evidence.labels[index], evidence.active[index]
    unit = find_action_unit(label)
    name = label if unit is None else f"{label} {unit.name}"
    clause = "it is there" if is_active else "it is not there"
    if unit is not None:
        clause = state_clause(unit.number, is_active)
    probability, threshold = evidence.probabilities[index], evidence.thresholds[index]
    call = ", a close call" if abs(_margin(probability, threshold)) < CLOSE_CALL else ""
    return f"{name}: {clause} (probability {_round(probability)}, threshold {_round(threshold)}{call})."


def _place_sentence(place: MapPlace, kind: str) -> str:
    is_attention = kind == "attention"
    subject = "Its attention map" if is_attention else "What it depends on"
    if place.region is None:
        return f"{subject} is not specific: no part of the face stands out."
    where = _TEXT_OF_REGION.get(place.region, f"the {place.region}")
    if not place.is_specific:
        return f"{subject} is not specific: it lies on {where}, as it does for AUs that show elsewhere."
    verb, what = ("Its attention map lies most", "it") if is_attention else ("It depends most", "its sensitivity")
    side = f", on the image's {place.side}" if place.side else ""
    fit = {True: ", where this AU shows", False: ", although this AU shows elsewhere", None: ""}[place.agrees]
    return f"{verb} on {where} ({100 * place.share:.0f} % of {what}{side}){fit}."


def _related_sentence(evidence: FaceEvidence, related: list[str]) -> str:
    is_active = dict(zip(evidence.labels, evidence.active, strict=True))
    both = [label for label in related if is_active[label]]
    if not both:
        return f"None of the AUs most similar to it here ({_enumerate(related)}) is active."
    verb = "is" if len(both) == 1 else "are"
    return f"Of the AUs most similar to it here ({_enumerate(related)}), {_enumerate(both)} {verb} active."


def _warning(evidence: FaceEvidence, number: int, other: int, rows: dict[int, int]) -> str:
    first, second = rows[number], rows[other]
    margins = [_margin(evidence.probabilities[row], evidence.thresholds[row]) for row in (first, second)]
    less_sure = evidence.labels[first if margins[0] < margins[1] else second]
    names = [
        f"{get_action_unit(au).label} {get_action_unit(au).name} ({_round(evidence.probabilities[rows[au]])})"
        for au in (number, other)
    ]
    return (
        f"{names[0]} and {names[1]} contradict each other: either {state_clause(number, True)} or "
        f"{state_clause(other, True)}. The less sure of the two is {less_sure}."
    )


def _side(values: NDArray[np.floating], landmarks: NDArray[np.floating]) -> str | None:
    """The side of the face, as seen in the image, on which nearly all of `values` `[h, w]` lies."""
    height, width = values.shape
    rows, columns = ((np.arange(size) + 0.5) / size for size in (height, width))
    along, _ = _face_coordinates(landmarks, *np.meshgrid(columns, rows))
    # A token through which the middle of the face runs lies on both sides.
    half = 0.5 * np.abs(along[:, 1:] - along[:, :-1]).mean() if width > 1 else 1.0
    left = float((values * np.clip(0.5 - along / (2 * half), 0, 1)).sum() / max(values.sum(), 1e-12))
    if max(left, 1 - left) < MIN_SIDE_SHARE:
        return None
    return "left" if left > 0.5 else "right"


def _face_coordinates(
    landmarks: NDArray[np.floating], x: NDArray[np.float64], y: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Positions in the view -> on the face: (0, 0) between the eyes, (+-0.5, 0) the eyes, (0, 1) the mouth."""
    points = np.asarray(landmarks, dtype=np.float64)
    center, mouth = points[:2].mean(axis=0), points[3:].mean(axis=0)
    eye_line = points[1] - points[0]
    distance = max(float(np.hypot(*eye_line)), 1e-6)
    direction = eye_line / distance
    normal = np.array([-direction[1], direction[0]])
    # If a face looks up or down, the distance to the mouth shrinks, but is kept from vanishing.
    to_mouth = max(float((mouth - center) @ normal), 0.5 * distance)
    along = ((x - center[0]) * direction[0] + (y - center[1]) * direction[1]) / distance
    across = ((x - center[0]) * normal[0] + (y - center[1]) * normal[1]) / to_mouth
    return along, across


def _with_score(evidence: FaceEvidence, row: int) -> str:
    mark = ", experimental" if evidence.labels[row] in evidence.experimental else ""
    return f"{evidence.labels[row]} ({_round(evidence.probabilities[row])}{mark})"


def _margin(probability: float, threshold: float) -> float:
    """How far a probability is above its threshold, in logits."""
    return _logit(probability) - _logit(threshold)


def _logit(probability: float) -> float:
    bounded = min(max(probability, 1e-6), 1 - 1e-6)
    return math.log(bounded / (1 - bounded))


def _round(probability: float) -> str:
    """Two decimals; three where two might read as 0 or 1."""
    return f"{probability:.2f}" if 0.01 <= probability <= 0.99 else f"{probability:.3f}"


def _enumerate(parts: Sequence[str]) -> str:
    """["a", "b", "c"] -> "a, b and c"."""
    *others, last = parts
    return f"{', '.join(others)} and {last}" if others else last
