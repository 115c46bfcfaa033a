"""`hiva-hf describe` from the command line to a file that training reads."""

import pytest

from hiva_hf.cli.main import main
from hiva_hf.facs import ACTION_UNITS
from hiva_hf.language.review import accepted_descriptions, read_review


def describe(*arguments) -> int:
    return main(["describe", *map(str, arguments)])


def test_descriptions_of_the_grammar_are_counted_and_kept(tmp_path, capsys):
    path = tmp_path / "review.jsonl"
    assert describe("--aus", "AU12", "au04", 12, "--llm", "grammar", "--number", 3, "--output", path) == 0
    assert {label: len(texts) for label, texts in accepted_descriptions(path).items()} == {"AU12": 3, "AU4": 3}
    output = capsys.readouterr().out
    assert "AU12: 3 accepted\nAU4: 3 accepted\n" in output
    assert str(path) in output


@pytest.mark.slow
def test_all_aus_can_be_asked_for(tmp_path):
    path = tmp_path / "review.jsonl"
    assert describe("--aus", "all", "--llm", "grammar", "--number", 1, "--output", path) == 0
    assert list(accepted_descriptions(path)) == [unit.label for unit in ACTION_UNITS.values()]


def test_too_few_are_told(tmp_path, capsys):
    path = tmp_path / "review.jsonl"
    arguments = ("--llm", "grammar", "--number", 15, "--max_requests", 1, "--output", path)
    assert describe("--aus", "AU12", *arguments) == 1
    assert "Fewer than 15 for AU12 after 1 requests each" in capsys.readouterr().err
    assert len(read_review(path)) == 10
    assert describe("--aus", "AU12", *arguments) == 0


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("--aus", "AU3", "--llm", "grammar"), 2, "'AU3' is not the label of a known Action Unit"),
        (("--aus", "AU12", "--llm", "no/such/folder/at/all"), 1, "no/such/folder/at/all"),
        (("--aus", "AU12", "--llm", "ftp://example"), 1, "ftp://example"),
    ],
)
def test_impossible_request_is_refused(arguments, code, message, tmp_path, capsys):
    assert describe(*arguments, "--output", tmp_path / "review.jsonl") == code
    assert message in capsys.readouterr().err
    assert not (tmp_path / "review.jsonl").exists()


def test_number_must_be_positive(capsys):
    with pytest.raises(SystemExit):
        describe("--aus", "AU12", "--llm", "grammar", "--number", 0)
    assert "must be at least 1, got 0" in capsys.readouterr().err
