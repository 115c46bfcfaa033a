"""What is known about each data set: AUs, subjects, folds, sizes and published class weights. Facts only."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType


# The part of subjects that no fold tests.
NEVER_TESTED = 0


@dataclass(frozen=True)
class AUSet:
    """One data set.

    Attributes:
        name: Name in code and commands.
        title: Display name.
        aus: Its AUs, ascending: the order of the label columns.
        parts: Part of each subject of the full set; fold k tests the subjects of part k, and those of part
            `NEVER_TESTED` are used for training or validation in every fold. Empty if the parts are stored in the
            shards.
        validation_subjects: The customary validation subjects, if there are any; otherwise they are drawn.
        num_sequences: Recordings of the full set.
        num_frames: Labelled frames of the full set.
        num_frames_per_part: The same for each part, where published.
        class_weights: Published weight of each AU in the loss, by the fold that is tested.
        intensity_threshold: Lowest intensity that counts as present, for sets that code intensity only.
        is_licensed: Whether the licence forbids sharing pictures and labels.
    """

    name: str
    title: str
    aus: tuple[int, ...]
    parts: Mapping[str, int] = field(default_factory=dict)
    validation_subjects: tuple[str, ...] = ()
    num_sequences: int | None = None
    num_frames: int | None = None
    num_frames_per_part: Mapping[int, int] = field(default_factory=dict)
    class_weights: Mapping[int, tuple[float, ...]] = field(default_factory=dict)
    intensity_threshold: int | None = None
    is_licensed: bool = False


def _parts(*subjects_of_part: str) -> Mapping[str, int]:
    parts = {subject: part for part, names in enumerate(subjects_of_part, start=1) for subject in names.split()}
    return MappingProxyType(dict(sorted(parts.items())))


def _trios(*groups: int) -> tuple[str, ...]:
    """GFT's subjects come in conversations of three: 001A, 001B, 001C."""
    return tuple(f"{group:03d}{letter}" for group in groups for letter in "ABC")


# The three parts are the same in all the literature; their numbering is not: here fold k tests part k, and what
# ME-GraphAU, MDHR and LibreFace call fold 1 is the one that tests part 3.
BP4D = AUSet(
    name="bp4d",
    title="BP4D",
    aus=(1, 2, 4, 6, 7, 10, 12, 14, 15, 17, 23, 24),
    parts=_parts(
        "F001 F002 F008 F009 F010 F016 F018 F023 M001 M004 M007 M008 M012 M014",
        "F003 F005 F011 F013 F020 F022 M002 M005 M010 M011 M013 M016 M017 M018",
        "F004 F006 F007 F012 F014 F015 F017 F019 F021 M003 M006 M009 M015",
    ),
    num_sequences=328,
    num_frames=146_847,
    num_frames_per_part={1: 50_631, 2: 50_182, 3: 46_034},
    class_weights={
        1: (
            *(1.132895, 1.519623, 1.308560, 0.552098, 0.507140, 0.443118),
            *(0.474432, 0.535111, 1.496040, 0.749851, 1.582501, 1.698632),
        ),
        2: (
            *(1.191051, 1.337315, 1.246995, 0.558933, 0.468168, 0.418041),
            *(0.440099, 0.581900, 1.670360, 0.774237, 1.586367, 1.726535),
        ),
        3: (
            *(1.342985, 1.689665, 1.248091, 0.561356, 0.433044, 0.435894),
            *(0.457287, 0.541004, 1.408054, 0.722762, 1.493145, 1.666711),
        ),
    },
    is_licensed=True,
)

DISFA = AUSet(
    name="disfa",
    title="DISFA",
    aus=(1, 2, 4, 6, 9, 12, 25, 26),
    parts=_parts(
        "SN001 SN002 SN009 SN010 SN016 SN026 SN027 SN030 SN032",
        "SN006 SN011 SN012 SN013 SN018 SN021 SN024 SN028 SN031",
        "SN003 SN004 SN005 SN007 SN008 SN017 SN023 SN025 SN029",
    ),
    num_sequences=27,
    num_frames=130_814,
    class_weights={
        1: (1.510590, 1.560063, 0.475896, 0.884891, 1.656857, 0.570937, 0.277589, 1.063177),
        2: (1.390215, 1.469573, 0.527298, 1.034498, 1.672842, 0.656650, 0.303915, 0.945009),
        3: (1.422290, 2.347771, 0.399672, 0.795021, 1.878217, 0.440125, 0.195583, 0.521322),
    },
    intensity_threshold=2,
    is_licensed=True,
)

# Stretches of DISFA's videos in which face tracking was lost: first and last frame, counted from 1. Long parts of
# SN021 are bad too, but no list of them was published.
DISFA_BAD_FRAMES: Mapping[str, tuple[tuple[int, int], ...]] = MappingProxyType(
    {
        "SN002": ((800, 826),),
        "SN009": ((1736, 1808),),
        "SN023": ((1021, 1049),),
        "SN025": ((4596, 4662),),
        "SN029": ((4090, 4543),),
    }
)

_GFT_TEST = _trios(8, 10, 19, 22, 28, 30)
GFT = AUSet(
    name="gft",
    title="GFT",
    aus=(1, 2, 4, 6, 10, 12, 14, 15, 23, 24),
    parts=MappingProxyType(
        {subject: 1 if subject in _GFT_TEST else NEVER_TESTED for subject in _trios(*range(1, 33))}
    ),
    validation_subjects=_trios(5, 12, 13, 15, 27, 32),
    num_sequences=96,
    is_licensed=True,
)

SYNTHFACS = AUSet(
    name="synthfacs",
    title="SynthFACS",
    aus=(1, 2, 4, 5, 6, 7, 9, 10, 12, 14, 15, 17, 18, 20, 22, 23, 24, 25, 26, 43),
)

AU_DATASETS: Mapping[str, AUSet] = MappingProxyType({facts.name: facts for facts in (BP4D, DISFA, GFT, SYNTHFACS)})

# The AUs of each data set, in the order of its `labels` column.
AU_SETS: Mapping[str, tuple[int, ...]] = MappingProxyType({name: facts.aus for name, facts in AU_DATASETS.items()})


def shared_aus(*aus: tuple[int, ...]) -> tuple[int, ...]:
    """The AUs that all of the given sets code, ascending."""
    return tuple(sorted(set.intersection(*map(set, aus))))
