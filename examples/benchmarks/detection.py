"""Detection in photos and videos, as with `hiva-hf detect`, with the packaged detector."""

import argparse
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import psutil

from hiva_hf.inference.engine_report import STAGE_NAMES
from hiva_hf.inference.job import DetectionJob
from hiva_hf.inference.loading import load_detector

from .scenes import FRAME_RATE, FRAME_SIZE, write_photos, write_video
from .timing import Table, interleave, median_ratio, ratio


NUM_PHOTOS = 24
# Length of the reference video.
NUM_FRAMES = 80
# Faces and frames of each video.
VIDEOS = ((1, NUM_FRAMES // 2), (1, NUM_FRAMES), (1, 2 * NUM_FRAMES), (3, NUM_FRAMES))
SEARCHES = (1, 10, 30)
MINUTES = 10


def make_turns(jobs: dict[str, DetectionJob]) -> dict[str, Callable[[], None]]:
    def go_through(job: DetectionJob):
        for _ in job.run(progress=False):
            pass

    return {name: lambda job=job: go_through(job) for name, job in jobs.items()}


def photos(options: argparse.Namespace) -> Iterator[Table]:
    """Photos per second from files to AUs, one at a time and as a folder."""
    rounds, number = (2, 4) if options.quick else (10, NUM_PHOTOS)
    detector = load_detector()
    with tempfile.TemporaryDirectory() as folder:
        paths = write_photos(Path(folder), number)
        one_by_one, folder_at_once = "pipeline, one after the other", "detect, the folder at once"
        job = DetectionJob(paths, [], detector)
        turns = {one_by_one: lambda: [detector(path) for path in paths]} | make_turns({folder_at_once: job})
        seconds = interleave(turns, rounds)
    yield Table(
        "Photos to AUs",
        ["512 x 512 pixels, one face", "photos/s", "best round", "ms per photo", "times as fast"],
        [
            [name, f"{number / np.median(times):.1f}", f"{number / min(times):.1f}"]
            + [f"{1e3 * np.median(times) / number:.0f}", ratio(seconds[one_by_one], times)]
            for name, times in seconds.items()
        ],
        "From JPEG files to probabilities: decoding, finding the face, aligning it, the network (fp32). "
        f"{number} photos, {rounds} rounds. {who_waited(folder_at_once, job)}",
        seconds,
    )


def who_waited(name: str, job: DetectionJob) -> str:
    report = job.report
    worked = ", ".join(f"{STAGE_NAMES[stage]} {share:.0%}" for stage, share in report.work.items())
    waited = ", ".join(
        f"{STAGE_NAMES[who]} for {STAGE_NAMES[other]} {share:.0%}" for (who, other), share in report.waits.items()
    )
    return f"{name[:1].upper()}{name[1:]}: worked {worked} of the time; waited {waited}."


def videos(options: argparse.Namespace) -> Iterator[Table]:
    """Frames per second for videos of several lengths, with one face and with three."""
    rounds, shorter = (1, 5) if options.quick else (3, 1)
    detector, jobs = load_detector(), {}
    with tempfile.TemporaryDirectory() as folder:
        for num_faces, num_frames in VIDEOS:
            num_frames //= shorter
            path = write_video(Path(folder) / f"{num_faces}-{num_frames}.mp4", num_faces, num_frames)
            jobs[f"{num_faces} face{'s' * (num_faces > 1)}, {num_frames} frames"] = DetectionJob([path], [], detector)
        seconds = interleave(make_turns(jobs), rounds)
    first = next(iter(jobs))
    per_frame = {name: [one / jobs[name].report.num_frames for one in times] for name, times in seconds.items()}
    rows = []
    for name, times in per_frame.items():
        report = jobs[name].report
        faces = report.num_faces / report.num_frames
        rows.append(
            [name, f"{1 / np.median(times):.1f}", f"{faces / np.median(times):.1f}", f"{1e3 * np.median(times):.1f}"]
            + [f"{median_ratio(times, per_frame[first]):.2f}"]
            + [f"{report.work[stage]:.0%}" for stage in STAGE_NAMES]
        )
    yield Table(
        "Videos to AUs",
        ["video", "frames/s", "faces/s", "ms per frame", "times as long per frame", *STAGE_NAMES.values()],
        rows,
        f"H.264, {FRAME_SIZE[1]} x {FRAME_SIZE[0]} pixels, the whole frame searched for faces every tenth frame, "
        f"network in fp32 on eight faces at a time; medians of {rounds} rounds. The last columns: the share of the "
        f"time in which each stage worked. {who_waited(next(reversed(jobs)), jobs[next(reversed(jobs))])}",
        seconds,
    )


def searches(options: argparse.Namespace) -> Iterator[Table]:
    """The speed-up from searching the whole frame for faces less often."""
    rounds, num_frames = (1, NUM_FRAMES // 5) if options.quick else (3, NUM_FRAMES)
    detector = load_detector()
    with tempfile.TemporaryDirectory() as folder:
        path = write_video(Path(folder) / "searched.mp4", 1, num_frames)
        jobs = {str(every): DetectionJob([path], [], detector, detect_every=every) for every in SEARCHES}
        seconds = interleave(make_turns(jobs), rounds)
    yield Table(
        "Searching the whole frame for faces only now and then",
        ["--detect_every", "whole frames searched", "frames/s", "times as fast as 1"],
        [
            [every, f"{jobs[every].report.num_searches} of {num_frames}", f"{num_frames / np.median(times):.1f}"]
            + [ratio(seconds[str(SEARCHES[0])], times)]
            for every, times in seconds.items()
        ],
        f"One face, {num_frames} frames of {FRAME_SIZE[1]} x {FRAME_SIZE[0]} pixels; medians of {rounds} rounds.",
        seconds,
    )


def memory(options: argparse.Namespace) -> Iterator[Table]:
    """Whether a long video takes more memory than a short one."""
    num_frames = 300 if options.quick else 60 * MINUTES * FRAME_RATE
    process = psutil.Process()
    with tempfile.TemporaryDirectory() as folder:
        path = write_video(Path(folder) / "long.mp4", 1, num_frames)
        job = DetectionJob([path], [], load_detector())
        resident = [process.memory_info().rss for _ in job.run()]
    # Buffers are allocated during the first frames.
    settled = resident[len(resident) // 20 :]
    moments = {
        "after a twentieth": settled[0],
        "in the middle": resident[len(resident) // 2],
        "at the end": resident[-1],
    }
    moments["at most since the first of these"] = max(settled)
    yield Table(
        f"Memory over {num_frames / FRAME_RATE / 60:.1f} minutes of video",
        ["", "MB resident", "more than at first"],
        [[name, f"{size / 1e6:.0f}", f"{(size - settled[0]) / 1e6:+.0f}"] for name, size in moments.items()],
        f"{job.report.num_frames} frames, {job.report.num_faces} faces, {job.report.frames_per_second:.1f} frames/s.",
        {"the whole video": [job.report.seconds]},
    )
