# %% [markdown]
# # From a video to statistics
#
# From a video to a row for every face in every frame, events with onset, apex and offset, a figure, and the statistics
# for a paper: rates, durations, co-occurrence and their uncertainty.
#
# Run it cell by cell, or as a whole: `python examples/notebook_video_statistics.py --video interview.mp4`. It needs
# `pip install ".[demo]"`.

# %%
import argparse
import sys
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
from PIL import Image
from transformers import pipeline

import hiva_hf
from hiva_hf.inference import find_events, smooth
from hiva_hf.inference.records import au_label


parser = argparse.ArgumentParser(description="From a video to statistics of its Action Units.")
parser.add_argument("--video", help="default: a slide show of rendered faces, which is created here")
parser.add_argument("--model", help="folder or Hub id of a detector; default: the starter in the package")
parser.add_argument("--every", type=int, default=1, help="read every n-th frame (default: %(default)s)")
parser.add_argument(
    "--segment", type=float, default=2, help="length of bootstrap segments, in s (default: %(default)s)"
)
parser.add_argument("--output_dir", type=Path, default=Path("hiva-video-statistics"), help="default: %(default)s")
# A notebook has no command line: change the defaults here.
options = parser.parse_args([] if "ipykernel" in sys.modules else None)
options.output_dir.mkdir(parents=True, exist_ok=True)

# %% [markdown]
# ## The video
#
# Without `--video`, one is created: **a slide show, not a recording.** It shows two fictitious people of the embedded
# data set side by side; each of their 16 rendered pictures is shown for a second, with slight camera shake. It only
# demonstrates the analysis: its results say nothing about people.


# %%
def make_slide_show(path):
    """Two people side by side, eight frames per second; each picture fades to the next at its end."""
    faces = hiva_hf.load_au_dataset("synthfacs", split="test").select_columns(["image", "subject"])
    people = [faces.filter(lambda name, who=who: name == who, input_columns="subject") for who in ("S0001", "S0004")]
    slides = [np.hstack([left["image"], right["image"]]).astype(float) for left, right in zip(*people, strict=True)]
    shake = np.random.default_rng(0)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=8)
        stream.width, stream.height, stream.pix_fmt = 320, 160, "yuv420p"
        for slide, following in pairwise([*slides, slides[-1]]):
            for share in (0, 0, 0, 0, 0, 0, 1 / 3, 2 / 3):
                padded = np.pad(slide + share * (following - slide), ((3, 3), (3, 3), (0, 0)), mode="edge")
                top, left = shake.integers(0, 7, size=2)
                frame = np.ascontiguousarray(padded[top : top + 160, left : left + 320].astype(np.uint8))
                container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    return path


video = options.video or make_slide_show(options.output_dir / "slide_show.mp4")

# %% [markdown]
# ## A row for every face in every frame
#
# `AU12` is the probability of AU12 in this frame, `AU12_c` the decision. `face_id` identifies a face throughout the
# video, and `timestamp` comes from the video itself. The table is written row by row: the processing of a long video
# can be stopped and resumed (`resume=True`).

# %%
detector = pipeline("au-detection", model=options.model)
table = hiva_hf.detect(video, detector, every=options.every, output=options.output_dir / "frames.csv", overwrite=True)
frames = table[table["face_id"].notna()]
if frames.empty:
    sys.exit("No face was found in this video.")
if frames["timestamp"].isna().any():
    sys.exit(f"{video} is not a video, or contains photos: statistics over time need the times of frames.")
decisions = [column for column in frames.columns if column.endswith("_c")]
aus = [column.removesuffix("_c") for column in decisions]
first = "AU12" if "AU12" in aus else aus[0]
print(frames[["frame", "timestamp", "face_id", "detector_score", first, f"{first}_c"]].head().to_string(index=False))

# %% [markdown]
# ## Smoothing and events
#
# Decisions on single frames flicker. A median over half a second removes this, but also any short movement: for
# fleeting expressions, choose a smaller window. An event lasts from the first to the last frame in which an AU is
# active; its apex is the frame with the highest probability.

# %%
steady = smooth(frames, "median", window=0.5)
events = find_events(steady, min_duration=0.2)
events.to_csv(options.output_dir / "events.csv", index=False)
print(f"{len(events)} events, {len(find_events(frames, min_duration=0.2))} without smoothing. The longest:")
columns = ["face_id", "au", "onset_timestamp", "apex_timestamp", "offset_timestamp", "duration", "peak_probability"]
print(events.nlargest(5, "duration")[columns].to_string(index=False, float_format="{:.2f}".format))

# %% [markdown]
# ## Rates, durations, shares
#
# For each face and AU: events per minute, their mean duration in seconds, and the share of the time with this face in
# which the AU was active.

# %%
faces = steady.groupby("face_id")
minutes = faces.size() * steady["timestamp"].drop_duplicates().diff().median() / 60
shares = faces[decisions].mean().set_axis(aus, axis="columns")
durations = events.groupby(["face_id", "au"])["duration"]

statistics = shares.stack().rename("share_of_time").rename_axis(["face_id", "au"]).to_frame()
statistics["events"] = durations.size().reindex(statistics.index, fill_value=0)
statistics["events_per_minute"] = statistics["events"].div(minutes, level="face_id")
statistics["mean_duration"] = durations.mean().reindex(statistics.index)

# %% [markdown]
# ## How certain is that?
#
# Adjacent frames are almost identical: a thousand frames are not a thousand observations, and a standard error over
# frames is far too small. Therefore, the video is cut into segments longer than an expression, these are resampled
# with replacement 2,000 times, and the middle 95 % of the results are the interval. With fewer than about 20 segments
# it is only a rough guide. It shows how much the share would vary **within such a video**; it includes neither the
# variation between people (for a study, resample people) nor the errors of the detector.

# %%
draw = np.random.default_rng(0)
for face_id, face in faces:
    segments = face[decisions].groupby(face["timestamp"] // options.segment)
    active_frames, seen_frames = segments.sum().to_numpy(dtype=float), segments.size().to_numpy(dtype=float)
    number = len(seen_frames)
    # How often each segment is drawn. Shares are over all frames, since segments may have different numbers of them.
    weights = draw.multinomial(number, np.full(number, 1 / number), size=2000)
    drawn = (weights @ active_frames) / (weights @ seen_frames)[:, None]
    statistics.loc[face_id, ["low", "high"]] = np.quantile(drawn, [0.025, 0.975], axis=0).T
    print(f"Face {face_id}: {minutes[face_id]:.2f} minutes in {number} segments")

experimental = detector.model.config.experimental_labels or []
reliable = [au for au in aus if au_label(au) not in experimental]
statistics["experimental"] = [au not in reliable for _, au in statistics.index]
statistics.to_csv(options.output_dir / "statistics.csv")
most_active = statistics.sort_values("share_of_time", ascending=False).groupby("face_id").head(6).sort_index()
print(most_active.to_string(float_format="{:.2f}".format))

# %% [markdown]
# ## Co-occurrence
#
# Each row gives the share of the time with its AU in which the AU of the column was active, too. From here on, AUs
# that are experimental in the checkpoint are excluded, and here also those active for less than a twentieth of the
# time.

# %%
active = steady[[f"{au}_c" for au in reliable]].set_axis(reliable, axis="columns").astype(float)
active = active.loc[:, active.mean() >= 0.05]
together = (active.T @ active).div(active.sum(), axis="index")
together.to_csv(options.output_dir / "co_occurrence.csv")
print(together.to_string(float_format="{:.2f}".format))

# %% [markdown]
# ## A picture
#
# The eight AUs that were active longest. The height of a lane is the probability, and the dashed line the checkpoint's
# threshold for the AU; lines above are events, triangles their apexes. Events of low probability come from low
# thresholds: the starter's were chosen on rendered faces, and may be too low for your own videos.

# %%
longest = shares[reliable].mean().nlargest(8).index
hiva_hf.draw_timeline(
    steady,
    options.output_dir / "timeline.png",
    aus=[au_label(au) for au in sorted(longest)],
    events=events,
    thresholds=detector.model.config.label_thresholds,
)
print(f"Tables and the picture are in {options.output_dir}.")
Image.open(options.output_dir / "timeline.png")
