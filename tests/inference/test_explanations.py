"""Explanations in a file beside the table: the same after an interruption as without one."""

import json
import tracemalloc
from dataclasses import replace

import pytest

from hiva_hf.inference.explanations import ExplanationFile, explanation_text
from hiva_hf.inference.row_files import TableProgress


@pytest.fixture
def explained(frames):
    """The records of each frame, each face with an explanation of its own."""

    def explain(record):
        if not record.has_face:
            return record
        aus = {label: {"sentence": f'{label} says "{record.frame}".'} for label in record.probabilities}
        return replace(record, explanation={"summary": f"Face {record.face_id}.", "warnings": ["Odd."], "aus": aus})

    return [[explain(record) for record in frame] for frame in frames]


def write(path, frames, progress=None):
    with ExplanationFile(path, progress) as file:
        for records in frames:
            file.write(records)


def test_every_face_has_a_line_and_nothing_else_has(explained, tmp_path):
    write(tmp_path / "new" / "a.jsonl", explained)
    lines = [json.loads(line) for line in (tmp_path / "new" / "a.jsonl").read_text().splitlines()]
    faces = [record for frame in explained for record in frame if record.has_face]
    assert [(line["source"], line["frame"], line["face_id"]) for line in lines] == [
        (record.source, record.frame, record.face_id) for record in faces
    ]
    assert lines[0]["aus"]["AU12"] == {"sentence": 'AU12 says "0".'}
    assert lines[0]["warnings"] == ["Odd."]


@pytest.mark.parametrize("tail", [b"", b'{"source": "a.m', '{"source": "é'.encode()[:-1]])
def test_a_file_that_goes_on_holds_every_face_once(explained, tmp_path, tail):
    write(tmp_path / "whole.jsonl", explained)
    # The table got as far as frame 2 of the second source, the explanations one frame further.
    path = tmp_path / "cut.jsonl"
    write(path, explained[:9])
    path.write_bytes(path.read_bytes() + tail)
    second = explained[6][0].source
    write(path, explained[8:], TableProgress(frozenset(["a.mp4"]), source=second, frame=2))
    assert path.read_text() == (tmp_path / "whole.jsonl").read_text()


def test_a_long_file_goes_on_without_filling_the_memory(tmp_path):
    path, text = tmp_path / "long.jsonl", "x" * 10_000
    with path.open("w") as file:
        file.writelines(json.dumps({"source": "a.mp4", "frame": frame, "text": text}) + "\n" for frame in range(3000))
    before = path.read_bytes()
    tracemalloc.start()
    try:
        ExplanationFile(path, TableProgress(frozenset(), source="a.mp4", frame=2000)).__exit__()
        assert tracemalloc.get_traced_memory()[1] < len(before) / 10
    finally:
        tracemalloc.stop()
    after = path.read_bytes()
    assert after == before[: len(after)] and after.count(b"\n") == 2001


def test_the_text_holds_what_is_active(explained):
    record = explained[0][0]
    text = explanation_text(replace(record, active={"AU1": False, "AU12": True, "AU27": False, "AU45": False}))
    assert text.splitlines() == [
        "a.mp4, 0.00 s, face 0: Face 0.",
        "  Warning: Odd.",
        '  AU12 says "0".',
    ]


@pytest.mark.parametrize("progress", [None, TableProgress()])
def test_a_file_of_explanations_has_one_writer(tmp_path, progress):
    path = tmp_path / "explained.jsonl"
    with ExplanationFile(path, progress), pytest.raises(BlockingIOError, match="is being written by another process"):
        ExplanationFile(path, progress)
    ExplanationFile(path, progress).__exit__()
    assert [file.name for file in tmp_path.iterdir()] == ["explained.jsonl"]


def test_a_new_table_replaces_even_a_damaged_file_of_explanations(tmp_path):
    path = tmp_path / "explained.jsonl"
    path.write_text("damaged\n")
    ExplanationFile(path, TableProgress()).__exit__()
    assert path.read_text() == ""
