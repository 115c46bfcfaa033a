"""A review file grows row by row, survives an interruption, and is read as its reviewer left it."""

import json
import logging

import pytest

from hiva_hf.language.review import ReviewFile, ReviewRow, accepted_descriptions, read_review


GOOD = ReviewRow("AU12", "The lip corners are pulled back and up toward the cheekbones.", "accepted", (), "me", "v1")
BAD = ReviewRow("AU12", "A happy face.", "rejected", ("is short",), "me", "v1")
UNREADY = ReviewRow("AU4", "The eyebrows are pulled down and inward, or so.", "edit", (), "me", "v1")


@pytest.fixture
def path(tmp_path):
    file = ReviewFile(tmp_path / "new" / "review.jsonl")
    for row in (GOOD, BAD, UNREADY):
        file.append(row)
    return file.path


def test_rows_are_read_back(path):
    assert read_review(path) == ReviewFile(path).rows == [GOOD, BAD, UNREADY]
    assert json.loads(path.read_text().splitlines()[1]) == {
        "au": "AU12",
        "text": "A happy face.",
        "status": "rejected",
        "reasons": ["is short"],
        "source": "me",
        "prompt_version": "v1",
        "request": None,
    }


def test_only_accepted_rows_are_descriptions(path):
    assert accepted_descriptions(path) == {"AU12": (GOOD.text,)}


def test_reviewer_edits_with_any_editor(path):
    lines = path.read_text().splitlines()
    lines[0] = lines[0].replace('"accepted"', '"rejected"')
    lines[2] = '{"au": "au04", "text": "The eyebrows are pulled down and inward.", "status": "accepted"}'
    path.write_text("\n".join([*lines, "", ""]))
    assert accepted_descriptions(path) == {"AU4": ("The eyebrows are pulled down and inward.",)}


def test_reviewer_has_the_last_word_but_is_warned(path, caplog):
    path.write_text(path.read_text().replace('"rejected"', '"accepted"'))
    with caplog.at_level(logging.WARNING):
        assert "A happy face." in accepted_descriptions(path)["AU12"]
    assert "AU12 has words for emotions: happy: 'A happy face.'" in caplog.text


def test_interrupted_line_is_removed_and_the_file_goes_on(path, caplog):
    whole = path.read_bytes()
    path.write_bytes(whole + whole.splitlines()[0][:40])
    file = ReviewFile(path)
    assert path.read_bytes() == whole
    assert "cut off by an interruption" in caplog.text
    file.append(GOOD)
    assert read_review(path) == [GOOD, BAD, UNREADY, GOOD]


@pytest.mark.parametrize("length", range(1, 40))
def test_a_row_is_removed_wherever_it_was_cut_off(path, length):
    whole = path.read_bytes()
    path.write_bytes(whole + whole.splitlines()[2][:length])
    assert ReviewFile(path).rows == [GOOD, BAD, UNREADY]
    assert path.read_bytes() == whole


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"subject,au4,au12\nanna,1,0\nbert,0,1", "line 1 is not JSON"),
        (b"one line", "line 1 is not JSON"),
        ("no text in 8 bits".encode("utf-16"), "is not a text file in UTF-8"),
        (b'{"au": "AU12", "text": "a", "status": "edit",}', "line 1 is not JSON"),
    ],
)
def test_a_file_that_is_none_of_ours_is_refused_and_stays_as_it_is(path, content, message):
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message) as caught:
        ReviewFile(path)
    assert str(path) in str(caught.value)
    assert path.read_bytes() == content


def test_the_marks_of_editors_and_web_pages_are_read(path):
    text = "The lip corners\u2028are pulled up\x85toward the cheekbones."
    row = json.dumps({"au": "AU12", "text": text, "status": "edit"}, ensure_ascii=False)
    path.write_bytes(f"\ufeff{row}\r\n{row}\r\n".encode())
    assert [row.text for row in ReviewFile(path).rows] == [text, text]


def test_texts_in_another_script_are_told_apart(path):
    texts = {
        "AU12": "\u0423\u0433\u043e\u043b\u043a\u0438 \u0433\u0443\u0431",
        "AU4": "\u0411\u0440\u043e\u0432\u0438",
    }
    rows = [json.dumps({"au": au, "text": text, "status": "accepted"}) for au, text in texts.items()]
    path.write_text("\n".join(rows))
    assert accepted_descriptions(path) == {au: (text,) for au, text in texts.items()}
    path.write_text("\n".join([*rows, rows[0]]))
    with pytest.raises(ValueError, match="for AU12 and again for AU12"):
        accepted_descriptions(path)


def test_missing_line_break_at_the_end_is_added(path):
    path.write_bytes(path.read_bytes().rstrip())
    ReviewFile(path).append(GOOD)
    assert len(read_review(path)) == 4


def test_last_line_that_a_person_mistyped_is_told_and_kept(path):
    mistyped = path.read_bytes().replace(b'"edit"', b'"edti"').rstrip()
    path.write_bytes(mistyped)
    with pytest.raises(ValueError, match="has the status 'edti'"):
        ReviewFile(path)
    assert path.read_bytes().rstrip() == mistyped


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("nonsense", "line 2 is not JSON"),
        ("[1, 2]", "line 2 lacks au, text or status"),
        ('{"au": "AU12", "text": 5, "status": "accepted"}', "line 2 lacks au, text or status"),
        ('{"au": "AU3", "text": "a", "status": "edit"}', "line 2: 'AU3' is not the label of a known Action Unit"),
        ('{"au": "AU12", "text": "a", "status": "ok"}', "line 2 has the status 'ok'; it is one of accepted, rejected"),
        ('{"au": "AU12", "text": " ", "status": "accepted"}', "line 2 accepts an empty text"),
        ('{"au": "AU12", "text": "a", "status": "edit", "request": "3"}', "line 2 has the request '3'"),
        ('{"au": "AU12", "text": "a", "status": "edit", "reasons": 3}', "line 2 has the reasons 3"),
        ('{"au": "AU12", "text": "a", "status": "edit", "reasons": "long"}', "line 2 has the reasons 'long'"),
        ("[" * 100_000, "line 2 is not JSON"),
    ],
)
def test_line_that_is_no_row_is_named(path, line, message):
    first = path.read_text().splitlines()[0]
    path.write_text(f"{first}\n{line}\n")
    for read in (read_review, ReviewFile, accepted_descriptions):
        with pytest.raises(ValueError, match=message) as caught:
            read(path)
        assert str(path) in str(caught.value)


def test_text_accepted_twice_is_refused(path):
    again = json.dumps({"au": "AU6", "text": GOOD.text.upper(), "status": "accepted"})
    path.write_text(path.read_text() + again + "\n")
    with pytest.raises(ValueError, match="for AU12 and again for AU6. Reject one"):
        accepted_descriptions(path)


def test_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="There is no review file .*no.jsonl"):
        accepted_descriptions(tmp_path / "no.jsonl")
