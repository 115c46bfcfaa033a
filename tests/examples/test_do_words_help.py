"""One command trains HiVA and its controls over several seeds and says what the intervals show."""

import json
import sys

import pytest

from hiva_hf.experiments.words import compare_words


@pytest.fixture
def run_command(small_settings, example, monkeypatch, capsys):
    """Runs the command with small networks and returns what it printed."""

    def run(output_dir, *words: str) -> str:
        settings = small_settings(output_dir=str(output_dir))
        options = [word for name, value in settings.items() for word in (f"--{name}", str(value))]
        monkeypatch.setattr(sys, "argv", ["do_words_help.py", *words, *options])
        example("do_words_help").main()
        return capsys.readouterr().out

    return run


def test_one_command_trains_compares_and_goes_on(run_command, make_reproduction, tmp_path):
    options = ("--seeds", "42", "43", "--variants", "full", "sentence_level")
    first = run_command(tmp_path, *options)
    assert "0 of 4 runs are finished." in first
    assert "## Do words help? on SynthFACS" in first
    weights = tmp_path / "fold1-seed42" / "full" / "model.safetensors"
    before = weights.stat().st_mtime_ns
    again = run_command(tmp_path, *options)
    assert "4 of 4 runs are finished." in again
    assert weights.stat().st_mtime_ns == before
    config = json.loads((tmp_path / "fold1-seed43" / "sentence_level" / "config.json").read_text())
    assert config["text_level"] == "sentence"

    record = json.loads((tmp_path / "report" / "words.json").read_text())
    assert (record["seeds"], record["missing"]) == ([42, 43], [])
    reproduction = make_reproduction(tmp_path, folds=(1,), seeds=(42, 43), variants=("full", "sentence_level"))
    predictions = {variant: reproduction.predictions(variant) for variant in reproduction.variants}
    expected = [difference.as_dict() for difference in compare_words(predictions)]
    assert record["differences"] == expected
    assert [row["Verdict"] for row in record["tables"]["word_differences"]["rows"]] == [
        difference["verdict"] for difference in expected
    ]
    markdown = (tmp_path / "report" / "words.md").read_text()
    assert all(sentence in markdown for sentence in record["answer"])
    assert markdown.strip() in again


def test_by_default_all_controls_run_with_three_seeds_and_missing_ones_are_named(run_command, tmp_path):
    printed = run_command(tmp_path, "--report_only")
    assert printed.count("is not finished.") == 18
    record = json.loads((tmp_path / "report" / "words.json").read_text())
    assert (record["seeds"], record["dataset"], record["differences"]) == ([42, 43, 44], "synthfacs", [])


def test_help_tells_the_defaults_of_this_command(example, capsys):
    module = example("do_words_help")
    with pytest.raises(SystemExit):
        module.parse_options(["--help"], seeds=module.SEEDS, variants=module.WORD_VARIANTS, shows_published=False)
    printed = " ".join(capsys.readouterr().out.split())
    assert "default: 42 43 44." in printed
    assert f"Default: {' '.join(module.WORD_VARIANTS)}." in printed


def test_published_tables_have_no_place_here(run_command, tmp_path, capsys):
    with pytest.raises(SystemExit):
        run_command(tmp_path, "--report_only", "--tables", "I")
    assert "--tables" in capsys.readouterr().err


def test_one_seed_is_refused_before_any_training(run_command, tmp_path):
    with pytest.raises(SystemExit, match="Seed 7 alone can't show whether words help"):
        run_command(tmp_path / "runs", "--seeds", "7")
    assert not (tmp_path / "runs").exists()


def test_settings_may_stand_in_a_file(run_command, tmp_path):
    settings = tmp_path / "settings.yaml"
    settings.write_text("stage2_epochs: 3\n")
    assert run_command(tmp_path / "runs", str(settings), "--report_only").count("is not finished.") == 18
