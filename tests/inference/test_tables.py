"""A table that isn't one of this package is refused by name."""

import pytest

from hiva_hf.inference.tables import read_table


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", "", "name must end in one of"),
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
