"""Every format holds what the default table holds, and a killed run goes on as if nothing had happened."""

import json
import os
import random
import subprocess
import sys
from itertools import permutations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from hiva_hf.inference.output_paths import openface_paths
from hiva_hf.inference.records import FaceRecord
from hiva_hf.inference.tables import read_table, records_to_table, write_table
from hiva_hf.inference.writers import journal_of, open_table

from .conftest import LABELS, make_record


DEFAULT_FORMATS = ("csv", "jsonl", "parquet")
ENDINGS = {"csv": "csv", "jsonl": "jsonl", "parquet": "parquet", "openface": "csv", "pyfeat": "csv"}

# The columns of OpenFace 2.2 that are not numbered points or parameters, in its order (wiki page "Output Format", and
# lib/local/Utilities/src/RecorderCSV.cpp).
OPENFACE_COLUMNS = (
    "frame face_id timestamp confidence success "
    "gaze_0_x gaze_0_y gaze_0_z gaze_1_x gaze_1_y gaze_1_z gaze_angle_x gaze_angle_y "
    "pose_Tx pose_Ty pose_Tz pose_Rx pose_Ry pose_Rz "
    "AU01_r AU02_r AU04_r AU05_r AU06_r AU07_r AU09_r AU10_r AU12_r AU14_r AU15_r AU17_r AU20_r AU23_r AU25_r AU26_r "
    "AU45_r AU01_c AU02_c AU04_c AU05_c AU06_c AU07_c AU09_c AU10_c AU12_c AU14_c AU15_c AU17_c AU20_c AU23_c AU25_c "
    "AU26_c AU28_c AU45_c"
).split()
# Those of Py-Feat 0.6 without landmarks and identity embeddings (feat/utils/__init__.py and `output_columns` of
# feat/detector.py).
PYFEAT_COLUMNS = (
    "frame FaceRectX FaceRectY FaceRectWidth FaceRectHeight FaceScore "
    "AU01 AU02 AU04 AU05 AU06 AU07 AU09 AU10 AU11 AU12 AU14 AU15 AU17 AU20 AU23 AU24 AU25 AU26 AU28 AU43 "
    "Pitch Roll Yaw anger disgust fear happiness sadness surprise neutral Identity input approx_time"
).split()


def flat(frames) -> list[FaceRecord]:
    return [record for frame in frames for record in frame]


def sources_of(frames) -> list[str]:
    return list(dict.fromkeys(frame[0].source for frame in frames))


def go_on(table, frames) -> list[tuple[str, int]]:
    """Writes what a table lacks, as the engine does, and tells which frames these were."""
    written = []
    with table:
        for frame in frames:
            source, number = frame[0].source, frame[0].frame
            if not table.progress.is_finished(source) and number >= table.progress.next_frame(source):
                table.write(frame)
                written.append((source, number))
    return written


def write(path, frames, format=None, **options) -> Path:
    go_on(open_table(path, LABELS, format, sources_of(frames), **options), frames)
    return path


# Formats


@pytest.mark.parametrize("format", DEFAULT_FORMATS)
def test_the_default_table_comes_back_from_every_format(tmp_path, frames, format):
    path = write(tmp_path / "new" / f"faces.{format}", frames)
    pd.testing.assert_frame_equal(read_table(path), records_to_table(flat(frames), LABELS))
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("format", DEFAULT_FORMATS)
def test_plain_pandas_reads_every_format(tmp_path, frames, format):
    path = write(tmp_path / f"faces.{format}", frames)
    read = {"csv": pd.read_csv, "parquet": pd.read_parquet, "jsonl": lambda path: pd.read_json(path, lines=True)}
    table, expected = read[format](path), records_to_table(flat(frames), LABELS)
    assert list(table.columns) == list(expected.columns)
    for column in ("frame", "timestamp", "face_id", "xmin", "ymax", "detector_score", "AU01", "AU45", "AU12_c"):
        np.testing.assert_allclose(
            table[column].astype(float), expected[column].astype(float).to_numpy(na_value=np.nan), atol=1e-9
        )


def test_openface_has_the_names_and_order_of_openface(tmp_path):
    frames = [[make_record()]]
    columns = list(pd.read_csv(write(tmp_path / "faces.csv", frames, "openface")).columns)
    assert columns == [column for column in OPENFACE_COLUMNS if column in columns]
    # OpenFace has no AU27; AU01 and AU12 have no `_r`, since a probability is no intensity.
    assert columns == ["frame", "face_id", "timestamp", "confidence", "success", "AU01_c", "AU12_c", "AU45_c"]


@pytest.mark.parametrize("habit", [{}, {"skipinitialspace": True}, {"sep": ", *", "engine": "python"}])
def test_openface_holds_what_the_default_table_holds(tmp_path, frames, habit):
    frames = [frame for frame in frames if frame[0].source == "a.mp4"]
    table = pd.read_csv(write(tmp_path / "faces.csv", frames, "openface"), **habit)
    table.columns = table.columns.str.strip()
    expected = records_to_table(flat(frames), LABELS)
    assert table["frame"].tolist() == (expected["frame"] + 1).tolist()
    np.testing.assert_allclose(table["timestamp"], expected["timestamp"])
    np.testing.assert_array_equal(table["success"], expected["face_id"].notna())
    detected, expected = table[table["success"] == 1], expected.dropna(subset="face_id")
    assert detected["face_id"].tolist() == expected["face_id"].tolist()
    np.testing.assert_allclose(detected["confidence"], expected["detector_score"])
    for column in ("AU01_c", "AU12_c", "AU45_c"):
        assert detected[column].tolist() == expected[column].tolist()
    lost = table[table["success"] == 0]
    assert lost["confidence"].tolist() == [0]
    assert lost["AU01_c"].isna().all()


def test_openface_writes_a_file_for_each_source_into_a_folder(tmp_path, frames):
    folder = write(tmp_path / "processed", frames, "openface")
    names = [f"{name}.csv" for name in ("a", 'odd, "name" ü', "NA", "broken", "two")]
    assert sorted(path.name for path in folder.iterdir()) == sorted(names)
    assert pd.read_csv(folder / "two.csv")["face_id"].tolist() == [0, 1]
    assert pd.read_csv(folder / "broken.csv")["success"].tolist() == [0]


def test_openface_cannot_put_two_sources_into_one_file(tmp_path, frames):
    with pytest.raises(ValueError, match="can hold only one, but there are 5"):
        write(tmp_path / "faces.csv", frames, "openface")


def test_pyfeat_has_the_names_and_order_of_pyfeat(tmp_path, frames):
    columns = list(pd.read_csv(write(tmp_path / "faces.csv", frames, "pyfeat")).columns)
    assert columns == [column for column in PYFEAT_COLUMNS if column in columns]
    assert [column for column in columns if "AU" in column] == ["AU01", "AU12"]


def test_pyfeat_holds_what_the_default_table_holds(tmp_path, frames):
    table = pd.read_csv(write(tmp_path / "faces.csv", frames, "pyfeat"), keep_default_na=False, na_values=[""])
    expected = records_to_table(flat(frames), LABELS)
    assert table["input"].tolist() == expected["source"].tolist()
    assert table["frame"].tolist() == expected["frame"].tolist()
    pairs = {"FaceRectX": "xmin", "FaceRectY": "ymin", "FaceScore": "detector_score", "AU01": "AU01", "AU12": "AU12"}
    for theirs, ours in pairs.items():
        np.testing.assert_allclose(table[theirs], expected[ours])
    np.testing.assert_allclose(table["FaceRectX"] + table["FaceRectWidth"], expected["xmax"])
    np.testing.assert_allclose(table["FaceRectY"] + table["FaceRectHeight"], expected["ymax"])
    in_video = expected["timestamp"].notna() & expected["face_id"].notna()
    assert table.loc[in_video, "Identity"].tolist() == [f"Person_{face}" for face in expected["face_id"][in_video]]
    assert table.loc[~in_video, "Identity"].isna().all()


def test_pyfeat_gives_the_time_in_minutes_and_seconds(tmp_path):
    frames = [[make_record(frame=2500, timestamp=83.9)]]
    assert pd.read_csv(write(tmp_path / "faces.csv", frames, "pyfeat"))["approx_time"].tolist() == ["01:23"]


def test_aus_without_a_column_are_told(tmp_path, frames, caplog):
    open_table(tmp_path / "a.csv", LABELS, "pyfeat").close()
    assert "no column for AU27, AU45" in caplog.text
    open_table(tmp_path / "c.csv", ["AU1", "smile"], "pyfeat").close()
    assert "no column for smile" in caplog.text
    caplog.clear()
    open_table(tmp_path / "b.csv", LABELS).close()
    assert not caplog.records


@pytest.mark.parametrize("format", DEFAULT_FORMATS)
def test_a_table_can_be_written_again_in_any_format(tmp_path, frames, format):
    table = records_to_table(flat(frames), LABELS)
    write_table(table, tmp_path / f"faces.{format}")
    pd.testing.assert_frame_equal(read_table(tmp_path / f"faces.{format}"), table)


def test_stdout_gets_the_same_bytes_as_a_file(tmp_path, frames, capfdbinary):
    for format in ("csv", "jsonl", "pyfeat"):
        expected = write(tmp_path / f"{format}.{ENDINGS[format]}", frames, format).read_bytes()
        write("-", frames, format)
        assert capfdbinary.readouterr().out == expected


# Kill and resume


def unfinished(path: Path, format: str) -> Path:
    """The file that a killed run leaves."""
    return journal_of(path) if format == "parquet" else path


@pytest.mark.parametrize("format", list(ENDINGS))
def test_a_run_killed_at_any_byte_goes_on_to_the_same_table(tmp_path, frames, format):
    if format == "openface":
        frames = [frame for frame in frames if frame[0].source == "a.mp4"]
    full = write(tmp_path / f"full.{ENDINGS[format]}", frames, format)
    whole = full.read_bytes()
    rows = write(tmp_path / "rows.jsonl", frames).read_bytes() if format == "parquet" else whole
    cuts = [0, 1, len(rows) - 1, len(rows), *random.Random(0).sample(range(len(rows)), 60)]
    for cut in cuts:
        path = tmp_path / f"cut_{cut}.{ENDINGS[format]}"
        unfinished(path, format).write_bytes(rows[:cut])
        table = open_table(path, LABELS, format, sources_of(frames), resume=True)
        kept = unfinished(path, format).read_bytes().count(b"\n")
        go_on(table, frames)
        if format == "parquet":
            pd.testing.assert_frame_equal(pd.read_parquet(path), pd.read_parquet(full))
            assert not journal_of(path).exists()
        else:
            assert path.read_bytes() == whole, cut
        # No more is done again than the frame that was cut, and the one before it if the cut fell between two.
        assert rows[:cut].count(b"\n") - kept <= 2
        path.unlink()


def test_a_killed_folder_of_openface_goes_on(tmp_path, frames):
    full = write(tmp_path / "full", frames, "openface")
    sources = sources_of(frames)
    order = list(openface_paths(Path(), sources).values())
    for done, name in enumerate(order):
        folder = tmp_path / f"killed_{done}"
        folder.mkdir()
        for before in order[:done]:
            (folder / before).write_bytes((full / before).read_bytes())
        (folder / name).write_bytes((full / name).read_bytes()[:-5])
        table = open_table(folder, LABELS, "openface", sources, resume=True)
        assert table.progress.finished == set(sources[:done])
        go_on(table, frames)
        assert {path.name: path.read_bytes() for path in folder.iterdir()} == {
            path.name: path.read_bytes() for path in full.iterdir()
        }


def test_progress_tells_where_the_work_stopped(tmp_path, frames):
    path = tmp_path / "faces.csv"
    # a.mp4 is whole; of the second video the frames 0, 2 and 4 are there, and 4 may be cut.
    write(path, frames[:9])
    progress = open_table(path, LABELS, resume=True).progress
    assert progress.finished == {"a.mp4"}
    assert (progress.source, progress.frame) == ('odd, "name" ü.mp4', 2)
    assert progress.next_frame('odd, "name" ü.mp4') == 3
    assert progress.next_frame("NA") == 0
    assert path.read_text().count("\n") == 1 + len(flat(frames[:8]))


@pytest.mark.parametrize("format", DEFAULT_FORMATS)
def test_a_finished_table_takes_further_sources(tmp_path, frames, format):
    path = write(tmp_path / f"faces.{format}", frames[:6])
    written = go_on(open_table(path, LABELS, resume=True), frames)
    # The last frame of the table may have been cut, and is done again.
    assert written[0] == ("a.mp4", 5)
    pd.testing.assert_frame_equal(read_table(path), records_to_table(flat(frames), LABELS))


@pytest.mark.parametrize("format", DEFAULT_FORMATS)
def test_a_table_does_not_go_on_without_the_source_that_it_ends_in(tmp_path, frames, format):
    path = write(tmp_path / f"faces.{format}", frames[:6])
    before = read_table(path)
    with pytest.raises(ValueError, match=r"ends within a\.mp4, .* add it to the inputs"):
        open_table(path, LABELS, sources=["b.jpg"], resume=True)
    go_on(open_table(path, LABELS, sources=["a.mp4", "b.jpg"], resume=True), frames[:6])
    pd.testing.assert_frame_equal(read_table(path), before)


@pytest.mark.parametrize("format", ["csv", "jsonl"])
def test_zeros_at_the_end_as_after_a_power_cut_are_dropped(tmp_path, frames, format):
    path = write(tmp_path / f"faces.{format}", frames[:6])
    before = read_table(path)
    with path.open("ab") as file:
        file.write(bytes(200_000))
    go_on(open_table(path, LABELS, resume=True), frames[:6])
    pd.testing.assert_frame_equal(read_table(path), before)


def test_a_name_with_a_carriage_return(tmp_path):
    path = write(tmp_path / "faces.csv", [[FaceRecord("Icon\r.png")], [FaceRecord("b.png")]])
    assert read_table(path)["source"].tolist() == ["Icon\r.png", "b.png"]
    with open_table(path, LABELS, resume=True) as table:
        assert table.progress.is_finished("Icon\r.png")


@pytest.mark.parametrize("format", DEFAULT_FORMATS)
def test_an_error_about_a_name_that_is_no_text(tmp_path, format):
    name = os.fsdecode(b"caf\xe9.avi")
    path = write(tmp_path / f"faces.{format}", [[FaceRecord(name, 0, error=f"Cannot use {name}: it is cut.")]])
    assert read_table(path)["error"].tolist() == ["Cannot use caf\\xe9.avi: it is cut."]


@pytest.mark.parametrize("format", DEFAULT_FORMATS)
def test_an_error_leaves_a_table_of_all_rows_so_far(tmp_path, frames, format):
    path = tmp_path / f"faces.{format}"
    with pytest.raises(KeyboardInterrupt), open_table(path, LABELS) as table:
        for frame in frames[:4]:
            table.write(frame)
        raise KeyboardInterrupt
    pd.testing.assert_frame_equal(read_table(path), records_to_table(flat(frames[:4]), LABELS))


def test_rows_are_there_when_a_process_is_killed(tmp_path):
    paths = [tmp_path / f"faces.{format}" for format in DEFAULT_FORMATS]
    code = f"""
import os, signal
from hiva_hf.inference import FaceRecord, open_table
tables = [open_table(path, ["AU1"]) for path in {[str(path) for path in paths]!r}]
for frame in range(5):
    for table in tables:
        table.write([FaceRecord("a.mp4", frame, frame / 30)])
os.kill(os.getpid(), signal.SIGKILL)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -9
    for format, path in zip(DEFAULT_FORMATS, paths, strict=True):
        assert read_table(unfinished(path, format))["frame"].tolist() == [0, 1, 2, 3, 4]


def test_a_full_disk_leaves_whole_rows(tmp_path, frames, monkeypatch):
    path = tmp_path / "faces.csv"
    table = open_table(path, LABELS)
    table.write(frames[0])
    before = path.read_bytes()
    real = table._file._file

    class FullDisk:
        def __init__(self):
            self.calls = 0

        def write(self, data):
            self.calls += 1
            if self.calls > 1:
                raise OSError(28, "No space left on device")
            return real.write(data[:20])

        def __getattr__(self, name):
            return getattr(real, name)

    monkeypatch.setattr(table._file, "_file", FullDisk())
    with pytest.raises(OSError, match="No space left"):
        table.write(frames[1])
    assert path.read_bytes() == before


# Refusals


@pytest.mark.parametrize("format", list(ENDINGS))
def test_a_table_is_not_replaced_unasked(tmp_path, frames, format):
    path = write(tmp_path / f"faces.{ENDINGS[format]}", frames[:1], format)
    before = path.read_bytes()
    with pytest.raises(FileExistsError, match="--resume .* --overwrite"):
        open_table(path, LABELS, format)
    assert path.read_bytes() == before
    write(path, frames[:2], format, overwrite=True)
    assert path.read_bytes() != before


def writer_of(frames, folder, format, **options):
    """A writer of a file, or with "folder" of a folder in OpenFace's format."""
    if format == "folder":
        return open_table(folder / "tables", LABELS, "openface", sources_of(frames), **options)
    return open_table(folder / f"table.{ENDINGS[format]}", LABELS, format, **options)


@pytest.mark.parametrize("options", [{"resume": True}, {"overwrite": True}])
@pytest.mark.parametrize("format", [*DEFAULT_FORMATS, "folder"])
def test_a_table_has_one_writer(tmp_path, frames, format, options):
    with writer_of(frames, tmp_path, format) as table:
        table.write(frames[0])
        names = sorted(path.name for path in tmp_path.rglob("*"))
        with pytest.raises(BlockingIOError, match="is being written by another process"):
            writer_of(frames, tmp_path, format, **options)
        assert sorted(path.name for path in tmp_path.rglob("*")) == names
    # Also after one that did not come to be.
    with pytest.raises(FileExistsError):
        writer_of(frames, tmp_path, format)
    with writer_of(frames, tmp_path, format, **options) as table:
        table.close()
        writer_of(frames, tmp_path, format, **options).close()
    assert not list(tmp_path.rglob("*lock*"))


@pytest.mark.parametrize("format", DEFAULT_FORMATS)
def test_a_link_to_a_table_stays_a_link(tmp_path, frames, format):
    target, link = tmp_path / "results" / f"a.{ENDINGS[format]}", tmp_path / f"latest.{ENDINGS[format]}"
    link.symlink_to(target)
    for options in ({}, {"overwrite": True}, {"resume": True}):
        with open_table(link, LABELS, **options) as table:
            table.write(frames[0])
        assert link.is_symlink()
        assert set(read_table(target)["source"]) == set(sources_of(frames[:1]))


@pytest.mark.parametrize("options", [{}, {"overwrite": True}])
def test_what_is_no_regular_file_is_not_replaced(tmp_path, options):
    os.mkfifo(tmp_path / "table.csv")
    with pytest.raises(ValueError, match="is not a regular file"):
        open_table(tmp_path / "table.csv", LABELS, **options)
    assert (tmp_path / "table.csv").is_fifo()


def test_a_parquet_table_is_on_the_disk_before_its_journal_goes(tmp_path, frames, monkeypatch):
    flushed = []
    fsync = os.fsync
    monkeypatch.setattr(os, "fsync", lambda file: flushed.append(os.fstat(file).st_ino) or fsync(file))
    with open_table(tmp_path / "table.parquet", LABELS) as table:
        table.write(frames[0])
    assert (tmp_path / "table.parquet").stat().st_ino in flushed


@pytest.mark.parametrize("options", [{}, {"overwrite": True}, {"resume": True}])
def test_what_is_to_be_read_is_never_replaced(tmp_path, monkeypatch, options):
    monkeypatch.chdir(tmp_path)
    Path("a.jpg").write_bytes(b"a photo")
    with pytest.raises(ValueError, match="is one of the photos and videos to read"):
        open_table(tmp_path / "a.jpg", LABELS, "csv", ["./a.jpg"], **options)
    assert Path("a.jpg").read_bytes() == b"a photo"


def test_a_journal_is_not_replaced_unasked(tmp_path):
    path = tmp_path / "faces.parquet"
    journal_of(path).write_text("")
    with pytest.raises(FileExistsError, match="--resume"):
        open_table(path, LABELS)


@pytest.mark.parametrize(("found", "asked"), list(permutations(ENDINGS, 2)))
def test_resume_refuses_another_format_and_names_both(tmp_path, frames, found, asked):
    path = write(tmp_path / f"faces.{ENDINGS[found]}", frames[:1], found).rename(tmp_path / f"faces.{ENDINGS[asked]}")
    before = path.read_bytes()
    with pytest.raises(ValueError, match=f"format {found}, .*as {asked}"):
        open_table(path, LABELS, asked, ["a.mp4"], resume=True)
    assert path.read_bytes() == before


@pytest.mark.parametrize("format", list(ENDINGS))
def test_resume_refuses_other_aus_and_names_both(tmp_path, frames, format):
    path = write(tmp_path / f"faces.{ENDINGS[format]}", frames[:1], format)
    before = path.read_bytes()
    with pytest.raises(ValueError, match=r"\['AU01', 'AU12'.*\['AU01', 'AU04'\]"):
        open_table(path, ["AU1", "AU4"], format, ["a.mp4"], resume=True)
    assert path.read_bytes() == before


@pytest.mark.parametrize("content", [b"my notes\nmore notes\n", b"my notes", b'{"a": 1}\n', b'{"a', b"\x00\xff" * 50])
@pytest.mark.parametrize("format", ["csv", "jsonl", "parquet", "pyfeat"])
def test_resume_leaves_foreign_files_alone(tmp_path, content, format):
    path = tmp_path / "faces"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="faces"):
        open_table(path, LABELS, format, resume=True)
    assert path.read_bytes() == content


@pytest.mark.parametrize("format", ["csv", "jsonl"])
def test_resume_refuses_a_table_damaged_in_the_middle(tmp_path, frames, format):
    path = write(tmp_path / f"faces.{format}", frames)
    lines = path.read_bytes().splitlines(keepends=True)
    lines[4] = lines[4][: len(lines[4]) // 2] + b"\n"
    path.write_bytes(b"".join(lines))
    with pytest.raises(ValueError, match="is damaged and cannot be resumed"):
        open_table(path, LABELS, resume=True)
    assert path.read_bytes() == b"".join(lines)


@pytest.mark.parametrize(
    ("output", "options", "message"),
    [
        ("faces.txt", {}, "No format can be inferred from the extension of .*faces.txt"),
        ("faces.jsonl", {"format": "csv"}, "ending of .*faces.jsonl says jsonl, but the format is csv"),
        ("faces.parquet", {"format": "openface"}, "says parquet, but the format is openface"),
        ("faces.csv", {"format": "xlsx"}, "no table format 'xlsx'"),
        ("faces.csv", {"resume": True, "overwrite": True}, "set only one of them"),
        ("-", {"format": "parquet"}, "cannot be written to stdout"),
        ("-", {"resume": True}, "cannot be resumed"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(tmp_path, output, options, message):
    with pytest.raises(ValueError, match=message):
        open_table(output if output == "-" else tmp_path / output, LABELS, **options)


def test_a_folder_is_refused_where_a_file_is_needed(tmp_path):
    with pytest.raises(IsADirectoryError, match="writes a file"):
        open_table(tmp_path, LABELS, "csv")


def test_rows_of_jsonl_have_one_form(tmp_path, frames):
    path = write(tmp_path / "faces.jsonl", frames)
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert rows[0]["face_id"] == 0
    assert rows[6]["AU01"] is None
    assert len({tuple(row) for row in rows}) == 1
