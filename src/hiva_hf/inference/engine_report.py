"""What a run of the engine did, how fast, and which stage waited for which."""

from dataclasses import dataclass, field


STAGES = ("decode", "faces", "model")
STAGE_NAMES = {"decode": "decoding", "faces": "finding faces", "model": "network"}


@dataclass
class EngineReport:
    """How much was done, and which stage waited for which.

    Attributes:
        num_frames: Frames that gave records.
        num_faces: Faces in them.
        num_errors: Frames and sources that could not be used.
        num_searches: Video frames that were searched as a whole (see [`FaceTracker`]).
        num_tracked_frames: Video frames that went through the tracker.
        seconds: Wall-clock time, from the first frame to the last.
        work: For each stage the seconds of work per second, over all its threads: "decode" (videos), "faces"
            (finding, tracking and aligning them, decoding photos) and "model" (and all that is done with its results).
        waits: Which stage waited for which, as a share of the time: `{("decode", "faces"): 0.6, ...}`.
    """

    num_frames: int = 0
    num_faces: int = 0
    num_errors: int = 0
    num_searches: int = 0
    num_tracked_frames: int = 0
    seconds: float = 0.0
    work: dict[str, float] = field(default_factory=dict)
    waits: dict[tuple[str, str], float] = field(default_factory=dict)

    @property
    def frames_per_second(self) -> float:
        return self.num_frames / self.seconds if self.seconds else 0.0

    def describe(self) -> str:
        """How much was done, how fast, and which stage waited for which, in a few lines."""
        lines = [
            f"{self.num_frames} frames, {self.num_faces} faces, {self.num_errors} errors in "
            f"{self.seconds:.1f} s: {self.frames_per_second:.1f} frames/s"
        ]
        if self.num_tracked_frames:
            lines[0] += f"; {self.num_searches} of {self.num_tracked_frames} video frames were searched as a whole"
        for stage in STAGES:
            waits = [
                f"{share:.0%} for {STAGE_NAMES[other]}" for (who, other), share in self.waits.items() if who == stage
            ]
            work = f"worked {self.work[stage]:.0%} of the time"
            lines.append(f"  {STAGE_NAMES[stage]}: {work}, waited {', '.join(waits)}")
        return "\n".join(lines)
