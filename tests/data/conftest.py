"""Miniature releases of BP4D, DISFA, GFT and a user's own set: real files with faces that the detector finds.

The corner of each picture has a colour that tells which frame it is (`mark`), so that a test can see whether a row has
its own picture. The builders return a [`Tree`]: the folder, and exactly what is to come out of it.
"""

import io
import json
import zlib
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from hiva_hf.data import sets
from hiva_hf.data.raw import FrameReadError, RawDataset


MISSING = -100
SIZE = (320, 240)
NUM_FACES = 4
BP4D_EXTRA_AUS = (5, 9, 27)
BP4D_INTENSITY_AUS = (6, 10, 12, 14, 17)
DISFA_EXTRA_AUS = (5, 15, 17, 20)


@dataclass(frozen=True)
class Row:
    labels: tuple[int, ...]
    intensities: tuple[int, ...]
    # Colour of the picture's corner; pictures that went through a video are a few levels off.
    mark: tuple[int, int, int]


@dataclass
class Tree:
    """A miniature release and what is to come out of it.

    Attributes:
        root: What `--data_dir` is.
        rows: Every labelled frame of the sequences that have pictures, by (subject, task, frame), in order.
        failures: Kind of problem of those among `rows` that can't become a picture of a face.
        problems: (kind, subject, task) of the problems that concern whole sequences.
        parts: Part of each subject.
    """

    root: Path
    rows: dict[tuple[str, str, int], Row] = field(default_factory=dict)
    failures: dict[tuple[str, str, int], str] = field(default_factory=dict)
    problems: list[tuple[str, str, str]] = field(default_factory=list)
    parts: dict[str, int] = field(default_factory=dict)

    @property
    def prepared_rows(self) -> dict[tuple[str, str, int], Row]:
        """The rows that the prepared set has."""
        return {key: row for key, row in self.rows.items() if key not in self.failures}


# Pictures


def mark_of(frame: int, camera: str = "left") -> tuple[int, int, int]:
    level = 24 + 8 * (frame % 27)
    return (level, level, level) if camera == "left" else (level, level // 2, level)


@cache
def face_crops() -> list[Image.Image]:
    """Neutral faces of rendered people, 200 px."""
    import pyarrow.parquet

    shard = Path(sets.__file__).parent / "synthfacs" / "synthfacs-fold1.parquet"
    rows = pyarrow.parquet.read_table(shard, columns=["image"]).slice(0, 16 * NUM_FACES).to_pylist()[::16]
    crops = (Image.open(io.BytesIO(row["image"]["bytes"])) for row in rows)
    return [crop.resize((200, 200), Image.Resampling.BICUBIC) for crop in crops]


@cache
def draw_picture(subject: str, mark: tuple[int, int, int], has_face: bool = True) -> Image.Image:
    """A plain canvas with one face in its middle."""
    picture = Image.new("RGB", SIZE, mark)
    if has_face:
        picture.paste(face_crops()[zlib.crc32(subject.encode()) % NUM_FACES], (60, 20))
    return picture


@cache
def encode_picture(subject: str, mark: tuple[int, int, int], suffix: str, has_face: bool = True) -> bytes:
    buffer = io.BytesIO()
    draw_picture(subject, mark, has_face).save(buffer, Image.registered_extensions()[suffix.lower()], quality=92)
    return buffer.getvalue()


@cache
def encode_video(
    subject: str,
    marks: tuple[tuple[int, int, int], ...],
    suffix: str,
    rate: int,
    faceless: frozenset[int] = frozenset(),
) -> bytes:
    """MPEG-4 in AVI, H.264 in MP4. The frames in `faceless`, counted from 1, show nobody."""
    import av

    buffer = io.BytesIO()
    with av.open(buffer, "w", format=suffix.lower().removeprefix(".")) as container:
        stream = container.add_stream("mpeg4" if suffix.lower() == ".avi" else "libx264", rate=rate)
        (stream.width, stream.height), stream.pix_fmt, stream.bit_rate = SIZE, "yuv420p", 4_000_000
        for frame, mark in enumerate(marks, start=1):
            picture = draw_picture(subject, mark, has_face=frame not in faceless)
            container.mux(stream.encode(av.VideoFrame.from_image(picture)))
        container.mux(stream.encode())
    return buffer.getvalue()


def write(path: Path, content: bytes | str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())


def add_picture(tree: Tree, path: Path, key: tuple[str, str, int], mark: tuple[int, int, int], quirks: dict) -> None:
    """Writes the picture of one labelled frame, with what is wrong with it, and records the failure."""
    kinds = {"missing": "missing frame", "truncated": "unreadable frame", "faceless": "no face"}
    for quirk, kind in kinds.items():
        if key in quirks.get(quirk, ()):
            tree.failures[key] = kind
    if tree.failures.get(key) == "missing frame":
        return
    data = encode_picture(key[0], mark, path.suffix, has_face=tree.failures.get(key) != "no face")
    write(path, data[: len(data) // 3] if tree.failures.get(key) == "unreadable frame" else data)


def add_video(tree: Tree, path: Path, subject: str, num_frames: int, rate: int, quirks: dict, camera="left") -> None:
    """Writes the video of a subject whose only task is "", and records failures."""
    num_shown = num_frames - (subject in quirks.get("short_video", ()))
    marks = tuple(mark_of(frame, camera) for frame in range(1, num_shown + 1))
    faceless = frozenset(frame for name, _, frame in quirks.get("faceless", ()) if name == subject)
    write(path, encode_video(subject, marks, path.suffix, rate, faceless))
    tree.failures |= {(subject, "", frame): "no face" for frame in faceless}
    if num_shown < num_frames:
        tree.failures[subject, "", num_frames] = "missing frame"


def drop_failures_without_row(tree: Tree) -> Tree:
    tree.failures = {key: kind for key, kind in tree.failures.items() if key in tree.rows}
    return tree


# Labels


def draw_codes(subject: str, task: str, frame: int, num_codes: int, highest: int) -> tuple[int, ...]:
    """Random codes 0 to `highest`, always the same for one frame."""
    seed = zlib.crc32(f"{subject}/{task}/{frame}".encode())
    return tuple(np.random.default_rng(seed).integers(0, highest + 1, num_codes).tolist())


QUIRKS = {
    "bp4d": """nested images labels padding suffix frame_offset frame_header au_header intensities not_codable empty
        header_only no_pictures unlabelled""",
    "disfa": """nested labels pictures cameras suffix frame_base threshold missing_line missing_au_line short_video
        empty no_pictures unlabelled""",
    "gft": """tables pictures frame_header au_header missing_codes short_video empty header_only no_pictures
        unlabelled""",
    "custom": "table columns folds intensities missing_codes first_frame",
    "all": "delimiter newline bom quoted trailing blank_lines missing truncated faceless",
}


def check_quirks(quirks: dict, name: str) -> None:
    """A misspelled quirk would make a test that tests nothing."""
    if unknown := quirks.keys() - {*QUIRKS[name].split(), *QUIRKS["all"].split()}:
        raise TypeError(f"This tree has no quirks {unknown}.")


def write_table(path: Path, lines: list[list[object]], quirks: dict) -> None:
    """Quirks: `delimiter`, `newline`, `bom`, `quoted` (header), `trailing` (after each line), `blank_lines`."""
    cells = [[str(cell) for cell in line] for line in lines]
    if quirks.get("quoted") and cells:
        cells[0] = [f'"{cell}"' for cell in cells[0]]
    newline = quirks.get("newline", "\n")
    text = "".join(quirks.get("delimiter", ",").join(line) + quirks.get("trailing", "") + newline for line in cells)
    text += quirks.get("blank_lines", 0) * newline
    write(path, ("\ufeff" if quirks.get("bom") else "") + text)


# Releases

BP4D_SEQUENCES = {
    ("F001", "T1"): range(2440, 2444),
    ("F001", "T2"): range(1, 5),
    ("F003", "T1"): range(1, 5),
    ("M003", "T8"): range(1, 5),
}


def build_bp4d_tree(root: Path, sequences: dict[tuple[str, str], range] | None = None, **quirks) -> Tree:
    """A miniature BP4D.

    Args:
        root: Folder to write to.
        sequences: Labelled frames of each (subject, task). By default four sequences, of all three parts.
        quirks: Those of [`write_table`]; of file names: `nested` (the release lies in this sub-folder), `images`
            ("Sequences(2D+3D)", "2D+3D", ""), `labels` ("AUCoding/AU_OCC", "AU_OCC"), `padding`, `suffix`,
            `frame_offset` (of the pictures' names); of the header: `frame_header`, `au_header` ("{}"); of labels:
            `intensities` (True: write AU_INT), `not_codable` ({key: AUs} with code 9); lists of (subject, task):
            `empty`, `header_only`, `no_pictures`, `unlabelled`; lists of (subject, task, frame): `missing`,
            `truncated`, `faceless`.
    """
    check_quirks(quirks, "bp4d")
    aus, base = sets.BP4D.aus, root / quirks.get("nested", "")
    columns = sorted((*aus, *BP4D_EXTRA_AUS))
    tree = Tree(root)
    for subject, task in sorted(sequences or BP4D_SEQUENCES):
        key, frames, lines = (subject, task), (sequences or BP4D_SEQUENCES)[subject, task], []
        header = [quirks.get("frame_header", "0"), *(quirks.get("au_header", "{}").format(au) for au in columns)]
        tree.parts[subject] = sets.BP4D.parts[subject]
        intensity_lines = {au: [] for au in BP4D_INTENSITY_AUS}
        folder = base / quirks.get("images", "Sequences(2D+3D)") / subject / task
        is_labelled = not any(key in quirks.get(quirk, ()) for quirk in ("empty", "header_only", "unlabelled"))
        for frame in frames:
            codes = dict(zip(aus, draw_codes(*key, frame, len(aus), 1), strict=True))
            codes |= dict.fromkeys(quirks.get("not_codable", {}).get((*key, frame), ()), 9)
            levels = {au: 3 * codes[au] for au in BP4D_INTENSITY_AUS if quirks.get("intensities")}
            for au in BP4D_INTENSITY_AUS:
                intensity_lines[au].append([frame, 9 if codes[au] == 9 else 3 * codes[au]])
            lines.append([frame, *(codes.get(au, 9) for au in columns)])
            if is_labelled and key not in quirks.get("no_pictures", ()):
                labels = tuple(MISSING if codes[au] == 9 else codes[au] for au in aus)
                intensities = tuple(MISSING if codes[au] == 9 else levels.get(au, MISSING) for au in aus)
                tree.rows[(*key, frame)] = Row(labels, intensities, mark_of(frame))
            if key not in quirks.get("no_pictures", ()):
                name = f"{frame + quirks.get('frame_offset', 0):0{quirks.get('padding', 0)}d}"
                path = folder / (name + quirks.get("suffix", ".jpg"))
                add_picture(tree, path, (*key, frame), mark_of(frame), quirks)
        if key in quirks.get("unlabelled", ()):
            tree.problems.append(("no labelled frame", *key))
            continue
        path = base / quirks.get("labels", "AUCoding/AU_OCC") / f"{subject}_{task}.csv"
        if key in quirks.get("empty", ()):
            write(path, b"")
        else:
            write_table(path, [header, *([] if key in quirks.get("header_only", ()) else lines)], quirks)
        if not is_labelled:
            tree.problems.append(("no labels", *key))
        elif key in quirks.get("no_pictures", ()):
            tree.problems.append(("no pictures", *key))
        if quirks.get("intensities"):
            for au, rows in intensity_lines.items():
                write_table(path.parents[1] / f"AU_INT/AU{au:02d}/{subject}_{task}_AU{au:02d}.csv", rows, quirks)
    return drop_failures_without_row(tree)


DISFA_SUBJECTS = {"SN001": 5, "SN006": 4, "SN010": 5, "SN003": 4}


def build_disfa_tree(root: Path, subjects: dict[str, int] | None = None, **quirks) -> Tree:
    """A miniature DISFA.

    Args:
        root: Folder to write to.
        subjects: Number of frames of each subject. By default four subjects, of all three parts.
        quirks: Those of [`write_table`]; `nested`, `labels` ("ActionUnit_Labels"); `pictures` ("videos" or a format of
            paths below root such as "frames/{subject}/{number}.png"), `cameras` (("left",)), `suffix` (of videos),
            `frame_base` (number of the first extracted frame); `threshold`, `missing_line` ({subject: frame} that no
            AU file has), `missing_au_line` ({(subject, AU): frame}); lists of subjects:
            `no_pictures`, `short_video` (lacks its last frame), `empty` (all label files), `unlabelled`; lists of
            (subject, "", frame): `faceless`, and for extracted frames `missing`, `truncated`.
    """
    check_quirks(quirks, "disfa")
    aus, base = sets.DISFA.aus, root / quirks.get("nested", "")
    tree = Tree(root)
    camera = quirks.get("cameras", ("left",))[0]
    for subject in sorted(subjects or DISFA_SUBJECTS):
        num_frames = (subjects or DISFA_SUBJECTS)[subject]
        tree.parts[subject] = sets.DISFA.parts[subject]
        all_aus = sorted((*aus, *DISFA_EXTRA_AUS))
        missing_line = quirks.get("missing_line", {}).get(subject)
        levels = {
            frame: dict(zip(all_aus, draw_codes(subject, "", frame, len(all_aus), 5), strict=True))
            for frame in range(1, num_frames + 1)
            if frame != missing_line
        }
        for (name, au), frame in quirks.get("missing_au_line", {}).items():
            if name == subject:
                del levels[frame][au]
        for au in all_aus if subject not in quirks.get("unlabelled", ()) else ():
            lines = [[frame, level[au]] for frame, level in levels.items() if au in level]
            path = base / quirks.get("labels", "ActionUnit_Labels") / subject / f"{subject}_au{au}.txt"
            write_table(path, [] if subject in quirks.get("empty", ()) else lines, quirks)
        for kind, quirk in (
            ("no labels", "empty"),
            ("no labelled frame", "unlabelled"),
            ("no pictures", "no_pictures"),
        ):
            if subject in quirks.get(quirk, ()):
                tree.problems.append((kind, subject, ""))
        if not any(subject in quirks.get(quirk, ()) for quirk in ("empty", "unlabelled", "no_pictures")):
            for frame, level in levels.items():
                intensities = tuple(level.get(au, MISSING) for au in aus)
                labels = tuple(MISSING if x == MISSING else int(x >= quirks.get("threshold", 2)) for x in intensities)
                tree.rows[subject, "", frame] = Row(labels, intensities, mark_of(frame, camera))
        if subject not in quirks.get("no_pictures", ()):
            _add_disfa_pictures(tree, base, subject, num_frames, quirks)
    return drop_failures_without_row(tree)


def _add_disfa_pictures(tree: Tree, base: Path, subject: str, num_frames: int, quirks: dict) -> None:
    pictures = quirks.get("pictures", "videos")
    for camera in quirks.get("cameras", ("left",)):
        side = camera.capitalize()
        if pictures == "videos":
            name = f"Videos_{side}Camera/{side}Video{subject}_comp{quirks.get('suffix', '.avi')}"
            add_video(tree, base / name, subject, num_frames, 20, quirks, camera)
            continue
        for frame in range(1, num_frames + 1):
            number = frame - 1 + quirks.get("frame_base", 1)
            path = base / pictures.format(subject=subject, number=number, side=side)
            add_picture(tree, path, (subject, "", frame), mark_of(frame, camera), quirks)


GFT_SUBJECTS = {"001A": 4, "005C": 4, "008B": 5}


def build_gft_tree(root: Path, subjects: dict[str, int] | None = None, **quirks) -> Tree:
    """A miniature GFT.

    Args:
        root: Folder to write to.
        subjects: Number of frames of each subject. By default a training, a validation and a test subject.
        quirks: Those of [`write_table`]; `tables` (format of paths, "labels/{subject}_occ.csv"), `pictures` (format of
            the videos' paths, "videos/{subject}.mp4", or of the frames', "frames/{subject}/{frame}.jpg"),
            `frame_header` ("frame"; None leaves the column out), `au_header` ("AU{}"), `missing_codes` ({(subject,
            frame): {AU: text}}); lists of subjects: `no_pictures`, `short_video`, `empty`, `header_only`,
            `unlabelled`; lists of (subject, "", frame): `faceless`, and for frames `missing`,
            `truncated`.
    """
    check_quirks(quirks, "gft")
    aus, frame_header = sets.GFT.aus, quirks.get("frame_header", "frame")
    tree = Tree(root)
    for subject in sorted(subjects or GFT_SUBJECTS):
        num_frames, lines = (subjects or GFT_SUBJECTS)[subject], []
        tree.parts[subject] = sets.GFT.parts[subject]
        kinds = {
            "empty": "no labels",
            "header_only": "no labels",
            "unlabelled": "no labelled frame",
            "no_pictures": "no pictures",
        }
        problems = [kind for quirk, kind in kinds.items() if subject in quirks.get(quirk, ())]
        tree.problems += [(kind, subject, "") for kind in problems]
        for frame in range(1, num_frames + 1):
            cells = dict(zip(aus, draw_codes(subject, "", frame, len(aus), 1), strict=True))
            cells |= quirks.get("missing_codes", {}).get((subject, frame), {})
            lines.append(([] if frame_header is None else [frame]) + [cells[au] for au in aus])
            if not problems:
                labels = tuple(cells[au] if cells[au] in (0, 1) else MISSING for au in aus)
                tree.rows[subject, "", frame] = Row(labels, (MISSING,) * len(aus), mark_of(frame))
        header = ([] if frame_header is None else [frame_header]) + [
            quirks.get("au_header", "AU{}").format(au) for au in aus
        ]
        if subject not in quirks.get("unlabelled", ()):
            content = [header, *([] if subject in quirks.get("header_only", ()) else lines)]
            path = root / quirks.get("tables", "labels/{subject}_occ.csv").format(subject=subject)
            write_table(path, [] if subject in quirks.get("empty", ()) else content, quirks)
        if subject not in quirks.get("no_pictures", ()):
            _add_gft_pictures(tree, subject, num_frames, quirks)
    return drop_failures_without_row(tree)


def _add_gft_pictures(tree: Tree, subject: str, num_frames: int, quirks: dict) -> None:
    pictures = quirks.get("pictures", "videos/{subject}.mp4")
    if "{frame" in pictures:
        for frame in range(1, num_frames + 1):
            path = tree.root / pictures.format(subject=subject, frame=frame)
            add_picture(tree, path, (subject, "", frame), mark_of(frame), quirks)
        return
    add_video(tree, tree.root / pictures.format(subject=subject), subject, num_frames, 30, quirks)


CUSTOM_AUS = (1, 12, 25)
CUSTOM_SEQUENCES = {("anna", "day1"): 3, ("anna", "day2"): 3, ("ben", "day1"): 3, ("cleo", "day1"): 3}


def build_custom_tree(root: Path, sequences: dict[tuple[str, str], int] | None = None, **quirks) -> Tree:
    """A user's own pictures with a table.

    Args:
        root: Folder to write to.
        sequences: Number of frames of each (subject, task); task "" where the column is to be left empty.
        quirks: Those of [`write_table`]; `table` ("labels.csv", "metadata.jsonl" ...), `columns` (optional columns to
            write: "task", "frame", "fold"; all of them by default), `folds` ({subject: fold}), `intensities` (True:
            for AU12), `missing_codes` ({key: {AU: text}}), `first_frame` (0); lists of (subject, task, frame):
            `missing`, `truncated`, `faceless`.
    """
    check_quirks(quirks, "custom")
    tree, lines = Tree(root), []
    sequences = sequences or CUSTOM_SEQUENCES
    subjects = sorted({subject for subject, _ in sequences})
    tree.parts = quirks.get("folds") or {subject: index % 3 + 1 for index, subject in enumerate(subjects)}
    optional = quirks.get("columns", ("task", "frame", "fold"))
    table = quirks.get("table", "labels.csv")
    for (subject, task), num_frames in sorted(sequences.items()):
        for frame in range(quirks.get("first_frame", 0), quirks.get("first_frame", 0) + num_frames):
            key = (subject, task, frame)
            cells = dict(zip(CUSTOM_AUS, draw_codes(*key, len(CUSTOM_AUS), 1), strict=True))
            cells |= quirks.get("missing_codes", {}).get(key, {})
            name = f"pictures/{subject}/{task}-{frame}.jpg"
            line = {"file_name" if table.startswith("metadata") else "path": name, "subject": subject}
            known = {"task": task, "frame": frame, "fold": tree.parts[subject]}
            line |= {column: known[column] for column in optional} | {f"AU{au}": cells[au] for au in CUSTOM_AUS}
            labels = tuple(cells[au] if cells[au] in (0, 1) else MISSING for au in CUSTOM_AUS)
            intensities = [MISSING] * len(CUSTOM_AUS)
            if quirks.get("intensities"):
                line["AU12_intensity"] = intensities[1] = 4 if cells[12] == 1 else 0
            lines.append(line)
            tree.rows[key] = Row(labels, tuple(intensities), mark_of(frame))
            add_picture(tree, root / name, key, mark_of(frame), quirks)
    if table.endswith(".jsonl"):
        write(root / table, "".join(json.dumps(line) + "\n" for line in lines))
    else:
        write_table(root / table, [list(lines[0]), *(list(line.values()) for line in lines)], quirks)
    return drop_failures_without_row(tree)


# Checks


def check_dataset(dataset: RawDataset, tree: Tree) -> None:
    """Everything that a reader hands over is what the tree says; every picture is read."""
    rows, pictures = {}, {}
    for sequence in dataset.sequences:
        frames = sequence.frames.tolist()
        assert (sequence.frames.dtype, sequence.labels.dtype, sequence.intensities.dtype) == (
            np.int32,
            np.int8,
            np.int8,
        )
        assert sequence.part == tree.parts[sequence.subject]
        for index, (frame, picture) in enumerate(zip(frames, sequence.source.read(frames), strict=True)):
            key = (sequence.subject, sequence.task, frame)
            rows[key] = tuple(sequence.labels[index].tolist()), tuple(sequence.intensities[index].tolist())
            pictures[key] = picture.kind if isinstance(picture, FrameReadError) else picture[2, 2]
    assert rows == {key: (row.labels, row.intensities) for key, row in tree.rows.items()}
    assert list(rows) == sorted(rows, key=lambda key: ("_".join(filter(None, key[:2])), key[2]))
    assert sorted((problem.kind, problem.subject, problem.task) for problem in dataset.problems) == sorted(
        tree.problems
    )
    failures = {key: picture for key, picture in pictures.items() if isinstance(picture, str)}
    assert failures == {key: kind for key, kind in tree.failures.items() if kind != "no face"}
    for key in pictures.keys() - failures.keys():
        np.testing.assert_allclose(pictures[key], tree.rows[key].mark, atol=3, err_msg=str(key))


@pytest.fixture(scope="session")
def assert_reads_as():
    return check_dataset


@pytest.fixture(scope="session")
def make_bp4d_tree():
    return build_bp4d_tree


@pytest.fixture(scope="session")
def make_disfa_tree():
    return build_disfa_tree


@pytest.fixture(scope="session")
def make_gft_tree():
    return build_gft_tree


@pytest.fixture(scope="session")
def make_custom_tree():
    return build_custom_tree


@pytest.fixture(scope="session")
def pictures():
    """The makers of single pictures and videos."""
    return SimpleNamespace(
        draw_picture=draw_picture,
        encode_picture=encode_picture,
        encode_video=encode_video,
        mark_of=mark_of,
        write=write,
    )
