import numpy as np
import pytest

from hiva_hf.data.label_tables import (
    Complaints,
    au_names,
    find_au_columns,
    find_frame_column,
    parse_au_header,
    parse_codes,
    parse_frames,
    parse_integer,
    read_json_lines,
    read_table,
)
from hiva_hf.data.raw import RawDataError


@pytest.fixture
def table(tmp_path):
    """Reads a table with the given text."""

    def read(content: str | bytes, has_header: bool = True):
        path = tmp_path / "F001_T1.csv"
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return read_table(path, has_header)

    return read


PLAIN = "frame,AU1,AU2\n1,0,1\n2,1,0\n"


@pytest.mark.parametrize(
    "text",
    [
        PLAIN,
        PLAIN.replace("\n", "\r\n"),
        PLAIN.replace("\n", "\r"),
        "\ufeff" + PLAIN,
        "\ufeff" + PLAIN.replace("\n", "\r\n"),
        PLAIN.replace(",", " , "),
        PLAIN.replace(",", ";"),
        PLAIN.replace(",", "\t"),
        PLAIN.replace("\n", ",\n"),
        PLAIN.replace("\n", ",,\n"),
        PLAIN + "\n\n",
        PLAIN + ",,\n",
        "\n" + PLAIN.replace("\n", "\n\n"),
        PLAIN.rstrip("\n"),
        '"frame","AU1","AU2"\n1,0,1\n2,1,0\n',
        '"frame" , "AU1", "AU2"\n"1","0","1"\n"2",1,0\n',
    ],
)
def test_tables_are_read_however_they_are_written(table, text):
    found = table(text)
    assert found.header == ("frame", "AU1", "AU2")
    assert found.rows == (("1", "0", "1"), ("2", "1", "0"))


def test_the_lines_of_rows_are_those_of_the_file(table):
    assert table("a,b\n\n1,2\r\n\r\n3,4\n").lines == (3, 5)


def test_a_table_without_header_begins_with_its_first_row(table):
    found = table("1,0\n2,5\n", has_header=False)
    assert (found.header, found.rows, found.lines) == ((), (("1", "0"), ("2", "5")), (1, 2))


@pytest.mark.parametrize("text", ["", "\n\n", "\ufeff", " \r\n,,\r\n"])
def test_an_empty_file_is_a_table_without_rows(table, text):
    found = table(text)
    assert (found.header, found.rows) == ((), ())


def test_a_header_alone_is_a_table_without_rows(table):
    assert table("0,1,2\n").rows == ()


def test_an_empty_first_header_cell_is_kept(table):
    assert table("\tAU1\n1\t0\n").header == ("", "AU1")


@pytest.mark.parametrize(("row", "num_cells"), [("3,1", 2), ("3,1,0,1", 4)])
def test_a_row_of_another_length_is_refused_with_its_line(table, row, num_cells):
    with pytest.raises(RawDataError, match=f"F001_T1.csv, line 4: expected 3 cells .* found {num_cells}"):
        table(PLAIN + row + "\n")


def test_an_empty_cell_at_the_end_of_a_row_is_kept(table):
    assert table(PLAIN + "3,1,\n").rows[-1] == ("3", "1", "")


def test_what_is_not_text_is_refused_with_its_line(table):
    with pytest.raises(RawDataError, match="F001_T1.csv, line 3: expected text in UTF-8"):
        table(b"0,1\n1,0\n\xff\xfe,1\n")


def test_a_broken_quote_is_refused(table):
    with pytest.raises(RawDataError, match="F001_T1.csv, line 2: a quote is not closed"):
        table('0,1\n1,"0\n2,1\n')


def test_a_quoted_cell_may_hold_line_breaks(table):
    found = table('frame,note,AU1\n1,"seen\r\ntwice",0\n\n2,"x",1')
    assert found.rows == (("1", "seen\ntwice", "0"), ("2", "x", "1"))
    assert found.lines == (2, 5)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("7", 7),
        ("007", 7),
        ("7.0", 7),
        ("7.", 7),
        ("-100", -100),
        ("+1", 1),
        ("", None),
        ("7.5", None),
        ("1e3", None),
        ("O", None),
        ("1 2", None),
        ("nan", None),
        ("12345678901", None),
    ],
)
def test_numbers_are_whole_numbers(text, number):
    assert parse_integer(text) == number


@pytest.mark.parametrize(
    ("header", "au"),
    [
        ("AU1", 1),
        ("AU01", 1),
        ("au1", 1),
        ("1", 1),
        ("01", 1),
        ("AU12", 12),
        ("AU 12", 12),
        ("AU_12", 12),
        ("AU1_occ", 1),
        ("AU01_c", 1),
        ("AU1 Occurrence", 1),
        ("AU1_int", None),
        ("AU01_r", None),
        ("AU1_intensity", None),
        ("AU1L", None),
        ("0", None),
        ("AU0", None),
        ("", None),
        ("frame", None),
        ("123", None),
    ],
)
def test_columns_are_known_by_their_au_number(header, au):
    assert parse_au_header(header) == au


def test_columns_are_found_in_the_order_of_the_aus(table):
    assert find_au_columns(table("0,12,AU04,au1\n1,0,0,0\n"), (1, 4, 12)) == [3, 2, 1]


def test_an_absent_au_is_named_with_the_columns_found(table):
    with pytest.raises(
        RawDataError, match=r"F001_T1.csv: there is no column for AU2, AU4. The columns .*: '0', 'AU1', 'x'"
    ):
        find_au_columns(table("0,AU1,x\n1,0,0\n"), (1, 2, 4))


def test_two_columns_of_one_au_are_refused(table):
    with pytest.raises(RawDataError, match="AU1 has 2 columns: 'AU1', 'AU01_occ'"):
        find_au_columns(table("0,AU1,AU01_occ\n1,0,0\n"), (1,))


@pytest.mark.parametrize(
    ("header", "column"),
    [
        ("frame,1,2", 0),
        ("AU1,Frame", 1),
        ("Frame Number,1", 0),
        ("frame_number,1", 0),
        ("Frames,1", 0),
        ("0,1,2", 0),
        (",1,2", 0),
        (",frame,1", 1),
        (",image_number,1", 1),
        ("Unnamed: 0,1,2", 0),
        ("index,AU1", 0),
        ("Time,1,2", None),
        ("1,2,4", None),
        ("AU1,AU2", None),
    ],
)
def test_the_frame_column_is_found_by_its_header(table, header, column):
    assert find_frame_column(table(header + "\n" + header.replace(",", "1,") + "1\n")) == column


def test_frames_keep_the_order_of_the_file(table):
    frames = parse_frames(table("0,1\n7,0\n3.0,1\n05,1\n"), 0)
    assert frames.tolist() == [7, 3, 5]
    assert frames.dtype == np.int32


def test_a_frame_that_stands_twice_is_refused_with_both_lines(table):
    with pytest.raises(RawDataError, match="F001_T1.csv, line 4: frame 3 already occurs in line 2"):
        parse_frames(table("0,1\n3,0\n4,0\n003,0\n"), 0)


@pytest.mark.parametrize("cell", ["x", "-1", "1.5", "0"])
def test_a_broken_frame_number_is_refused_with_its_line(table, cell):
    with pytest.raises(RawDataError, match=f"line 3: expected a frame number, 1 or higher, found '{cell}'"):
        parse_frames(table(f"0,1\n1,0\n{cell},0\n"), 0, first=1)


def test_codes_are_translated_column_by_column(table):
    found = parse_codes(table(PLAIN), {"AU2": 2, "AU1": 1}, {"0": 0, "1": 1})
    assert found.tolist() == [[1, 0], [0, 1]]
    assert found.dtype == np.int8


def test_codes_may_be_written_as_fractions_and_in_capitals(table):
    found = parse_codes(table("a,b\n1.0,NaN\n00,\n"), {"a": 0, "b": 1}, {"0": 0, "1": 1, "nan": -100, "": -100})
    assert found.tolist() == [[1, -100], [0, -100]]


def test_an_unknown_code_is_refused_with_its_line_and_those_known(table):
    with pytest.raises(RawDataError, match="F001_T1.csv, line 3: AU2 is '7', expected 0, 1, 9 or nothing"):
        parse_codes(table("0,1,2\n1,0,9\n2,0,7\n"), au_names((1, 2), [1, 2]), {"0": 0, "1": 1, "9": -100, "": -100})


def test_unknown_codes_may_have_a_default(table):
    found = parse_codes(table("1\n0\n-999\n2\n?\n"), {"AU1": 0}, {"0": 0, "1": 1}, default=-100)
    assert found[:, 0].tolist() == [0, -100, -100, -100]


def test_json_lines_are_a_table_of_all_their_keys(tmp_path):
    text = '\ufeff{"file_name": "a.jpg", "AU1": 1}\r\n\n{"AU12": null, "file_name": "b\u2028.jpg", "AU1": 0.0}\n'
    (tmp_path / "metadata.jsonl").write_text(text, encoding="utf-8", newline="")
    found = read_json_lines(tmp_path / "metadata.jsonl")
    assert found.header == ("file_name", "AU1", "AU12")
    assert found.rows == (("a.jpg", "1", ""), ("b\u2028.jpg", "0.0", ""))
    assert found.lines == (1, 3)


@pytest.mark.parametrize(
    ("line", "reason"), [("{AU1: 1}", "this is not JSON"), ("[1]", "expected"), ('{"a": [1]}', "expected")]
)
def test_a_broken_json_line_is_refused_by_number(tmp_path, line, reason):
    (tmp_path / "metadata.jsonl").write_text('{"a": 1}\n' + line)
    with pytest.raises(RawDataError, match=f"metadata.jsonl, line 2: {reason}"):
        read_json_lines(tmp_path / "metadata.jsonl")


def test_complaints_are_raised_together():
    complaints = Complaints("BP4D")
    for number in range(22):
        with complaints.collect():
            raise RawDataError(f"file {number} is bad")
    with pytest.raises(RawDataError, match="The labels of BP4D") as error:
        complaints.raise_any()
    assert "- file 0 is bad\n" in str(error.value)
    assert "- file 19 is bad\n- and 2 more" in str(error.value)


def test_without_complaints_nothing_is_raised():
    complaints = Complaints("BP4D")
    with complaints.collect():
        pass
    complaints.raise_any()
