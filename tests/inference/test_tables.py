"""A table that isn't one of this package is refused by name."""

import pandas as pd
import pytest

from hiva_hf.inference.records import table_columns
from hiva_hf.inference.tables import read_table, table_dtypes, write_table


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", "", "its name must end in one of"),
        ("a.csv", "x,y\n1,2\n", "'source', 'frame'"),
        ("a.jsonl", '{"x": 1}\n', "'source', 'frame'"),
        ("a.jsonl", "", "'source', 'frame'"),
    ],
)
def test_other_files_are_refused(tmp_path, name, content, message):
    path = tmp_path / name
    path.write_text(content)
    with pytest.raises(ValueError, match=message) as error:
        read_table(path)
    assert str(path) in str(error.value)


@pytest.mark.parametrize("ending", [".csv", ".jsonl", ".parquet"])
def test_a_table_of_many_sources_is_written_in_few_portions(tmp_path, monkeypatch, ending):
    columns = table_columns(["AU1"])
    values = {"timestamp": None, "xmin": 1.0, "ymin": 2.0, "xmax": 3.0, "ymax": 4.0, "detector_score": 0.5}
    values |= {"face_id": 0, "AU01": 0.25, "AU01_c": 0, "error": None}
    rows = [{"source": f"{source}.jpg", "frame": frame} | values for frame in range(2) for source in range(700)]
    table = pd.DataFrame(rows)[columns].astype(table_dtypes(columns))
    to_dict, calls = pd.DataFrame.to_dict, []
    monkeypatch.setattr(pd.DataFrame, "to_dict", lambda *arguments: calls.append(1) or to_dict(*arguments))
    write_table(table, tmp_path / f"table{ending}")
    assert len(calls) == 2
    written = read_table(tmp_path / f"table{ending}")
    # One source after the other, in the order in which they came first.
    assert written["source"].tolist() == [f"{source}.jpg" for source in range(700) for _ in range(2)]
    assert written["frame"].tolist() == [0, 1] * 700


def test_a_table_that_a_spreadsheet_saved_is_read(tmp_path):
    columns = table_columns(["AU1"])
    path = tmp_path / "table.csv"
    path.write_text("\ufeff" + ",".join(columns) + "\nphoto.jpg,0,,0,1,2,3,4,0.5,0.25,0,\n", encoding="utf-8")
    assert read_table(path)["source"].tolist() == ["photo.jpg"]


def test_columns_that_somebody_added_are_read(tmp_path):
    columns = table_columns(["AU1"])
    path = tmp_path / "table.csv"
    path.write_text(",".join([*columns, "note", "age"]) + '\nphoto.jpg,0,,0,1,2,3,4,0.5,0.25,0,,"smiles, a bit",31\n')
    table = read_table(path)
    assert (table["note"][0], table["age"][0], table["AU01"][0]) == ("smiles, a bit", 31, 0.25)
    table.to_json(tmp_path / "table.jsonl", orient="records", lines=True)
    table = read_table(tmp_path / "table.jsonl")
    assert (table["note"][0], table["age"][0], table["AU01"][0]) == ("smiles, a bit", 31, 0.25)
