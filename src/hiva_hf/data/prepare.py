"""Turn a release on disk into a folder of Parquet shards with aligned faces, and report on it."""

import json
import logging
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from tqdm.auto import tqdm

from ..atomic_files import UNFINISHED_SUFFIX, write_bytes
from ..face_detection import CenterFaceDetector
from ..file_locks import lock_folder
from ..processor_cores import usable_cores
from .crops import CROP_SIZE, JPEG_QUALITY, STAGES, ChunkPreparer
from .manifest import (
    MANIFEST_FILE,
    MANIFEST_FORMAT,
    PREPARATION_FILE,
    REPORT_FILE,
    REPORT_TEXT_FILE,
    title_of,
)
from .raw import RawDataError, RawDataset
from .report import Report, build_report
from .report_text import report_text
from .shards import FORMAT, Chunk, ShardFolder, ShardState, cut_into_chunks, to_json
from .workers import ChunkError, WorkerDiedError, is_disk_full, prepare_chunks


logger = logging.getLogger(__name__)

TIMING_FILE = "timing.json"
_OWN_NAMES = ("data", "state", MANIFEST_FILE, REPORT_FILE, REPORT_TEXT_FILE, TIMING_FILE)


class OutputFolderError(ValueError):
    """The output folder belongs to something else. The message says to what, and what to do about it."""


class PreparationError(RuntimeError):
    """Preparation had to stop. Finished shards are kept, and the same call continues from there."""


def prepare(raw: RawDataset, output_dir: str | Path, num_proc: int | None = None) -> Report:
    """Crops the faces of a release and stores them with their labels.

    Preparation can be interrupted and continued: finished shards are kept as long as their raw data stay the same. The
    same release gives the same files, whatever the number of processes and interruptions.

    Args:
        raw: What [`read_bp4d`], [`read_disfa`], [`read_gft`] or [`read_custom`] found.
        output_dir: Gets `data/*.parquet` (in the layout of [`au_features`]), `dataset.json` (their list, present only
            if all of them are), `report.txt`, `report.json` and `timing.json`.
        num_proc: Number of processes, by default as many as there are cores. A script that uses more than one needs
            the usual `if __name__ == "__main__":`.

    Returns:
        What the folder holds, and how it compares with the full set.

    Raises:
        RawDataError: if the release holds no labelled frame.
        OutputFolderError: if the folder was started with other settings or for other data, holds other files that
            would be overwritten, or is in use by another run.
        PreparationError: if the disk is full, a process dies, the data can't be processed, or none of the frames
            became a row (then the report is written, but not `dataset.json`).
        ImportError: if a package for face detection is missing.
        KeyboardInterrupt: with a message, after Ctrl-C.
    """
    num_proc = usable_cores() if num_proc is None else num_proc
    if num_proc < 1:
        raise ValueError(f"num_proc must be at least 1, got {num_proc}.")
    output_dir = Path(output_dir).expanduser()
    if output_dir.exists() and output_dir.samefile(raw.root):
        raise OutputFolderError(f"{output_dir} is the folder of the raw data. Choose another output folder.")
    _refuse_foreign_folder(output_dir)
    try:
        output_dir.mkdir(parents=True, exist_ok=True)
        with _lock(output_dir):
            return _Preparation(raw, output_dir).run(num_proc)
    except OSError as error:
        if not is_disk_full(error):
            raise
        raise PreparationError(
            f"The disk is full: {error}. Free some space and run the same command again."
        ) from error


class _Preparation:
    """One run on an output folder, which must be locked."""

    def __init__(self, raw: RawDataset, output_dir: Path):
        self.raw = raw
        self.output_dir = output_dir
        self.folder = ShardFolder(output_dir)
        _claim(output_dir / PREPARATION_FILE, raw)
        self.folder.create()
        self._remove_leftovers()
        self.chunks = cut_into_chunks(raw)
        if not self.chunks:
            raise RawDataError(f"{raw.root} holds no labelled frame with pictures. Check that it is complete.")
        _refuse_foreign_shards(self.folder, self.chunks)

    def run(self, num_proc: int) -> Report:
        states = self._finished()
        missing = [chunk for chunk in self.chunks if chunk.name not in states]
        start = time.perf_counter()
        if missing:
            # Missing packages of the detector are reported here, in one line and before anything changes.
            CenterFaceDetector()(np.zeros((32, 32, 3), np.uint8))
            # A manifest must never list shards that are about to be replaced.
            for name in (MANIFEST_FILE, REPORT_FILE, REPORT_TEXT_FILE):
                (self.output_dir / name).unlink(missing_ok=True)
            with self._failures_explained(num_proc):
                states |= self._prepare(missing, num_proc)
        seconds = time.perf_counter() - start
        report = build_report(self.raw, self.chunks, states)
        self._write(REPORT_FILE, report.to_dict())
        _write_if_changed(self.output_dir / REPORT_TEXT_FILE, report_text(report).encode("utf-8"))
        if missing:
            num_frames = sum(map(len, missing))
            self._write(TIMING_FILE, _timing(list(states.values()), self.chunks, num_frames, seconds, num_proc))
        if not report.written:
            raise PreparationError(_describe_nothing(report, self.output_dir))
        self._write(MANIFEST_FILE, _manifest(self.raw, self.chunks, states))
        return report

    def _remove_leftovers(self) -> None:
        self.folder.remove_leftovers()
        for name in (PREPARATION_FILE, *_OWN_NAMES):
            (self.output_dir / f"{name}{UNFINISHED_SUFFIX}").unlink(missing_ok=True)

    def _finished(self) -> dict[str, ShardState]:
        states = {chunk.name: self.folder.finished(chunk) for chunk in self.chunks}
        return {name: state for name, state in states.items() if state is not None}

    def _prepare(self, missing: Sequence[Chunk], num_proc: int) -> dict[str, ShardState]:
        num_frames = sum(map(len, self.chunks))
        num_missing = sum(map(len, missing))
        logger.info(
            "Preparing %d of %d shards (%d of %d frames) in %s.",
            *(len(missing), len(self.chunks), num_missing, num_frames, self.output_dir),
        )
        preparer = ChunkPreparer(self.folder, self.raw.root, len(self.raw.aus))
        with tqdm(total=num_frames, initial=num_frames - num_missing, unit="frame", desc=self.raw.name) as progress:
            return prepare_chunks(missing, preparer, num_proc, progress)

    @contextmanager
    def _failures_explained(self, num_proc: int) -> Iterator[None]:
        try:
            yield
        except ChunkError as error:
            if error.is_disk_full:
                message = (
                    f"The disk is full: shard {error.name} could not be written ({error.reason}). {self._standing()} "
                    "Free some space and run the same command again: it continues from there."
                )
            else:
                message = (
                    f"Shard {error.name} could not be made: {error.reason}. {self._standing()} "
                    "Once the cause is fixed, the same command continues from there."
                )
            raise PreparationError(message) from error
        except WorkerDiedError as error:
            raise PreparationError(
                "A worker process was killed, as happens when memory runs out. "
                f"{self._standing()} Run the same command with fewer processes, such as --num_proc "
                f"{max(1, num_proc // 2)}: it continues from there."
            ) from error
        except KeyboardInterrupt:
            raise KeyboardInterrupt(
                f"Stopped. {self._standing()} Run the same command again: it continues from there."
            ) from None
        finally:
            self._remove_leftovers()

    def _standing(self) -> str:
        return f"{len(self._finished())} of {len(self.chunks)} shards are done."

    def _write(self, name: str, value: object) -> None:
        _write_if_changed(self.output_dir / name, to_json(value))


@contextmanager
def _lock(output_dir: Path) -> Iterator[None]:
    """Locks the folder against other runs."""
    try:
        lock = lock_folder(output_dir)
    except BlockingIOError as error:
        raise OutputFolderError(
            f"Another run is preparing {output_dir} at this moment. Wait for it, stop it, or use another output "
            "folder."
        ) from error
    try:
        yield
    finally:
        lock.release()


def _refuse_foreign_folder(output_dir: Path) -> None:
    """Raises an error for a folder that no preparation started, but whose files would be overwritten."""
    # In this order, because another run may be starting on the folder right now.
    taken = [name for name in _OWN_NAMES if (output_dir / name).exists()]
    if taken and not (output_dir / PREPARATION_FILE).exists():
        raise OutputFolderError(
            f"{output_dir} was not created by a preparation (it has no {PREPARATION_FILE}), but it holds "
            f"{', '.join(taken)}, which would be overwritten. Use another output folder."
        )


def _describe_nothing(report: Report, output_dir: Path) -> str:
    counts = Counter(problem.kind for problem in report.problems)
    listed = ", ".join(f"{count} times {kind}" for kind, count in counts.items())
    first = report.problems[0]
    return (
        f"None of the {report.labelled.found} labelled frames became a row: {listed}. The first is {first.where}. "
        f"{output_dir / REPORT_TEXT_FILE} lists more of them."
    )


def _claim(path: Path, raw: RawDataset) -> None:
    """Records in the folder what it is for, or checks that an existing record matches."""
    claim = {
        "format": FORMAT,
        "name": raw.name,
        "aus": list(raw.aus),
        "settings": dict(raw.settings),
        "crop_size": CROP_SIZE,
        "jpeg_quality": JPEG_QUALITY,
        "detector": repr(CenterFaceDetector()),
    }
    if not path.exists():
        write_bytes(path, to_json(claim))
        return
    try:
        noted = dict(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise OutputFolderError(f"{path} is damaged ({error}). Use another output folder.") from error
    claim = json.loads(to_json(claim))
    differing = [key for key in {**claim, **noted} if claim.get(key) != noted.get(key)]
    if differing:
        before, now = ({key: values.get(key) for key in differing} for values in (noted, claim))
        raise OutputFolderError(
            f"{path} says that this folder was started with {before}, but this run has {now}. Use the same settings "
            "or another output folder."
        )


def _refuse_foreign_shards(folder: ShardFolder, chunks: Sequence[Chunk]) -> None:
    expected = {chunk.name for chunk in chunks}
    foreign = [name for name in folder.names() if name not in expected]
    if foreign:
        raise OutputFolderError(
            f"{folder.output_dir} holds shards of recordings that the raw data no longer has: {', '.join(foreign)}. "
            "Restore the raw data, use another output folder, or delete these files from "
            f"{folder.data_dir} and {folder.state_dir}."
        )


def _manifest(raw: RawDataset, chunks: Sequence[Chunk], states: Mapping[str, ShardState]) -> dict:
    """The list of all shards that hold rows."""
    shards = [
        {
            "file": f"data/{chunk.name}.parquet",
            "subject": chunk.sequence.subject,
            "task": chunk.sequence.task,
            "fold": chunk.sequence.part,
            "num_rows": states[chunk.name].num_rows,
            "sha256": states[chunk.name].sha256,
        }
        for chunk in chunks
        if states[chunk.name].num_rows
    ]
    return {
        "format": MANIFEST_FORMAT,
        "name": raw.name,
        "title": title_of(raw.name),
        "aus": list(raw.aus),
        "settings": dict(raw.settings),
        "num_rows": sum(shard["num_rows"] for shard in shards),
        "shards": sorted(shards, key=lambda shard: shard["file"]),
    }


def _timing(
    states: Sequence[ShardState], chunks: Sequence[Chunk], num_frames: int, seconds: float, num_proc: int
) -> dict:
    """Time spent on all shards, whenever they were made, and in the last run alone."""
    totals = {stage: sum(state.seconds[stage] for state in states) for stage in STAGES}
    total = sum(totals.values())
    return {
        "all_shards": {
            "frames": sum(map(len, chunks)),
            "seconds": {stage: round(value, 3) for stage, value in totals.items()},
            "share": {stage: round(value / total, 4) if total else None for stage, value in totals.items()},
            "frames_per_second_and_process": round(sum(map(len, chunks)) / total, 2) if total else None,
        },
        "last_run": {
            "frames": num_frames,
            "seconds": round(seconds, 1),
            "frames_per_second": round(num_frames / seconds, 2),
            "num_proc": num_proc,
        },
    }


def _write_if_changed(path: Path, data: bytes) -> None:
    """Does not rewrite an unchanged file, so that its modification time shows when it changed."""
    if not path.is_file() or path.read_bytes() != data:
        write_bytes(path, data)
