"""The reproduction end to end: runs, resuming, tables, figures, and the command itself."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from hiva_hf.data import AU_SETS, load_au_dataset
from hiva_hf.evaluation.bootstrap import compare_paired
from hiva_hf.evaluation.metrics import compute_au_metrics
from hiva_hf.evaluation.tables import OURS, PUBLISHED
from hiva_hf.experiments.report import make_report
from hiva_hf.experiments.reproduction import VARIANT_NAMES, VARIANTS, Job, default_folds
from hiva_hf.training.arguments import AUTrainingArguments
from hiva_hf.training.engine import StageTrainer
from hiva_hf.training.hiva_runs import HiVATrainingRun
from hiva_hf.training.interruption import TrainingInterrupted
from hiva_hf.training.settings import save_settings


EXAMPLE = Path(__file__).parents[2] / "examples" / "reproduce.py"
AU_LABELS = [f"AU{number}" for number in AU_SETS["synthfacs"]]


@pytest.fixture(scope="module")
def report(reproduction):
    return make_report(reproduction, command="reproduce.py --dataset synthfacs")


@pytest.fixture(scope="module")
def record(report) -> dict:
    return json.loads((report.folder / "tables.json").read_text())


def words_of(settings: dict) -> list[str]:
    return [word for name, value in settings.items() for word in (f"--{name}", str(value))]


def vision_weights(folder: Path) -> dict[str, torch.Tensor]:
    weights = load_file(folder / "model.safetensors")
    return {name: tensor for name, tensor in weights.items() if name.startswith("vision_model.")}


# Runs


def test_there_are_eight_ablations_and_four_controls():
    assert len(VARIANT_NAMES) == 8 + 4
    assert VARIANTS[:2] == ("full", "baseline")
    assert sorted(VARIANTS) == sorted(VARIANT_NAMES)


def test_every_run_has_its_own_folder_with_its_own_settings(reproduction):
    assert reproduction.pending() == []
    assert len(reproduction.jobs) == 6
    for job in reproduction.jobs:
        config = json.loads((reproduction.folder(job) / "config.json").read_text())
        assert config.get("variant", "full") == job.variant
        results = reproduction.results(job)
        assert results["fold"] == job.fold
        test_subjects = set(load_au_dataset("synthfacs", fold=job.fold, split="test")["subject"])
        assert set(results["test_subjects"]) <= test_subjects


def test_predictions_are_those_that_the_run_reported(reproduction):
    for part, job in zip(reproduction.predictions("full"), [Job("full", 1, 42), Job("full", 2, 42)], strict=True):
        metrics = compute_au_metrics(part.test.labels, part.test.probabilities, part.test.au_labels)
        assert metrics["mean_roc_auc"] == pytest.approx(reproduction.results(job)["test_mean_roc_auc"])
        assert not set(part.validation.subjects) & set(part.test.subjects)


def test_variants_of_a_fold_share_one_stage_1_and_folds_do_not(reproduction):
    stages = [reproduction.output_dir / f"fold{fold}-seed42" / "shared" / "stage1" for fold in (1, 2)]
    weights = [vision_weights(stage) for stage in stages]
    assert any(not torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    assert not list(reproduction.output_dir.glob("*/full/stage1"))
    assert not list(reproduction.output_dir.glob("*/baseline/stage1"))


def test_a_shared_stage_1_gives_what_a_run_of_its_own_gives(reproduction):
    """The full variant by `HiVATrainingRun` alone, which trains its own stage 1: the same weights."""
    job = Job("full", 1, 42)
    settings = reproduction.arguments.__dict__ | {"output_dir": str(reproduction.output_dir / "alone"), "fold": 1}
    HiVATrainingRun(AUTrainingArguments(**settings)).run()
    alone = load_file(reproduction.output_dir / "alone" / "model.safetensors")
    shared = load_file(reproduction.folder(job) / "model.safetensors")
    assert all(torch.equal(alone[name], shared[name]) for name in alone)


def test_finished_runs_are_not_repeated_and_other_settings_are_refused(reproduction, make_reproduction):
    weights = [reproduction.folder(job) / "model.safetensors" for job in reproduction.jobs]
    before = [path.stat().st_mtime_ns for path in weights]
    again = make_reproduction(reproduction.output_dir, variants=("full", "names_only"))
    assert [str(job) for job in again.pending()] == ["names_only, fold 1, seed 42", "names_only, fold 2, seed 42"]
    again.run(Job("full", 1, 42))
    assert [path.stat().st_mtime_ns for path in weights] == before
    with pytest.raises(ValueError, match=r"holds runs with other settings: stage2_epochs was 1, but is 2\. Their"):
        make_reproduction(reproduction.output_dir, stage2_epochs=2)
    with pytest.raises(ValueError, match="share_stage1 was True, but is False"):
        make_reproduction(reproduction.output_dir, share_stage1=False)


def test_settings_that_no_run_began_with_bind_nobody(
    make_reproduction, example, small_settings, monkeypatch, tmp_path
):
    words = ["reproduce.py", "--folds", "1", "--variants", "full"]
    mistaken = small_settings(output_dir=tmp_path, per_device_train_batch_size=4000)
    monkeypatch.setattr(sys, "argv", [*words, *words_of(mistaken)])
    with pytest.raises(SystemExit, match=r"^reproduce\.py: .*one optimizer step needs 4000"):
        example("reproduce").main()
    small = make_reproduction(tmp_path, folds=(1,))
    small.run(small.jobs[0])
    with pytest.raises(ValueError, match="per_device_train_batch_size was"):
        make_reproduction(tmp_path, folds=(1,), per_device_train_batch_size=4)


@pytest.mark.parametrize("fold", [1, 2])
def test_a_run_with_other_settings_is_refused_if_the_first_one_began_meanwhile(
    make_reproduction, tmp_path, monkeypatch, fold
):
    first, second = make_reproduction(tmp_path), make_reproduction(tmp_path, stage2_epochs=2)
    build, built = HiVATrainingRun.build_detector, []

    def build_in_turn(run):
        built.append((run, build(run)))
        if len(built) == 1:
            second.run(Job("full", fold, 42))
        else:
            first_run, its_detector = built[0]
            first_run._open_folder(its_detector)
        return built[-1][1]

    monkeypatch.setattr(HiVATrainingRun, "build_detector", build_in_turn)
    with pytest.raises(ValueError, match="stage2_epochs was 1, but is 2"):
        first.run(first.jobs[0])
    assert len(built) == 2
    make_reproduction(tmp_path)
    with pytest.raises(ValueError, match="stage2_epochs was 1, but is 2"):
        make_reproduction(tmp_path, stage2_epochs=2)


def test_a_run_that_lost_its_predictions_is_not_called_finished(make_reproduction, tmp_path):
    small = make_reproduction(tmp_path, folds=(1,), variants=("baseline",), share_stage1=False)
    (job,) = small.jobs
    small.run(job)
    assert (small.folder(job) / "stage1").exists()
    (small.folder(job) / "predictions_test.parquet").unlink()
    assert small.pending() == [job]
    with pytest.raises(RuntimeError, match=r"ended, but wrote no predictions_test\.parquet"):
        small.run(job)


def test_senseless_reproductions_are_refused(make_reproduction, tmp_path):
    with pytest.raises(ValueError, match=r"got \[1\], \[42\] and \['vlu'\]. Variants are full, baseline"):
        make_reproduction(tmp_path, folds=(1,), variants=("vlu",))
    with pytest.raises(ValueError, match="needs folds, seeds and variants"):
        make_reproduction(tmp_path, folds=())


def test_folds_are_those_of_the_data_set(tmp_path, write_prepared):
    assert default_folds("synthfacs") == (1,)
    write_prepared(tmp_path / "gft", "gft", {"008A": 1, "001A": 0, "005A": 0})
    assert default_folds("gft", str(tmp_path / "gft")) == (1,)
    write_prepared(tmp_path / "bp4d", "bp4d", {"F001": 1, "F003": 2, "F004": 3})
    assert default_folds("bp4d", str(tmp_path / "bp4d")) == (1, 2, 3)


# Report


def test_tables_of_synthfacs_hold_our_rows_only(report):
    assert [table.key for table in report.tables] == ["ablations", "details", "differences"]
    for table in report.tables:
        assert {row[1] for row in table.rows} == {OURS}
    methods = [row[0] for row in report.tables[0].rows]
    assert methods == ["HiVA, w/o L_diff", "HiVA", "Baseline (vision only)"]
    assert report.missing == ()


def test_markdown_latex_and_json_tell_the_same(report, record):
    markdown = (report.folder / "tables.md").read_text()
    latex = (report.folder / "tables.tex").read_text()
    full = next(row for row in record["tables"]["ablations"]["rows"] if row["Method"] == "HiVA")
    cells = ["HiVA", "ours", *(f"{full[label]:.1f}" for label in AU_LABELS), f"{full['Average']:.1f}"]
    line = next(line for line in markdown.splitlines() if line.startswith("| HiVA "))
    assert [cell.strip() for cell in line.strip("|").split("|")][: len(cells)] == cells
    line = next(line for line in latex.splitlines() if line.startswith("HiVA & ours"))
    assert [cell.strip() for cell in line.split("&")][: len(cells)] == cells
    assert markdown.startswith("## Reproduction on SynthFACS\n\n    reproduce.py --dataset synthfacs\n\n")
    assert "6 finished runs" in markdown


def test_json_holds_protocol_differences_and_how_it_was_made(record, reproduction):
    full, baseline = reproduction.predictions("full"), reproduction.predictions("baseline")
    per_fold = [compute_au_metrics(p.test.labels, p.test.probabilities, AU_LABELS)["mean_roc_auc"] for p in full]
    assert record["methods"]["full"]["headline"]["roc_auc"] == pytest.approx(np.mean(per_fold), abs=0.02)
    difference = next(row for row in record["differences"] if row["second"] == "Baseline (vision only)")
    expected = compare_paired(full, baseline, "roc_auc")
    assert difference["roc_auc"]["mean"] == pytest.approx(100 * expected.mean_estimate)
    assert difference["roc_auc"]["p"] == expected.p_value
    assert set(difference["f1"]["per_au"]) == set(AU_LABELS)
    assert (record["source"], record["folds"], record["seeds"]) == ("ours", [1, 2], [42])
    assert record["environment"]["num_processes"] == 1
    assert record["seconds"] > 0
    assert record["settings"]["stage2_learning_rate"] == 0.02


def test_figures_4_to_7_are_there_as_png_and_svg(report, record):
    assert [path.name for path in report.figures] == [
        f"figure{number}.{ending}" for number in (4, 5, 6, 7) for ending in ("png", "svg")
    ]
    for path in report.figures:
        assert path.stat().st_size > 5_000
    for path in report.figures[::2]:
        with Image.open(path) as picture:
            assert picture.width > 700
    assert list(record["figures"]) == ["figure4", "figure5", "figure6", "figure7"]
    moments = record["figures"]["figure5"]["mean_cosine_similarity"]
    assert list(moments["HiVA"]) == ["before training", "epoch 1"]
    # Both variants start from the same text tower; afterwards they differ.
    assert moments["HiVA"]["before training"] == moments["HiVA, w/o L_diff"]["before training"]
    assert moments["HiVA"]["epoch 1"] != moments["HiVA"]["before training"]


def test_what_is_not_finished_is_missing_and_said_to_be(make_reproduction, reproduction, tmp_path):
    folder = tmp_path / "part"
    folder.mkdir()
    for name in ("fold1-seed42", "fold2-seed42"):
        (folder / name).mkdir()
        (folder / name / "full").symlink_to(reproduction.output_dir / name / "full")
    partial = make_reproduction(folder, variants=("full", "baseline"))
    report = make_report(partial)
    assert [table.key for table in report.tables] == ["ablations", "details"]
    assert [path.name for path in report.figures] == ["figure6.png", "figure6.svg"]
    assert "The run baseline, fold 2, seed 42 is not finished." in report.missing
    assert "figure4 needs finished runs of full and baseline." in report.missing
    assert "### Missing" in (report.folder / "tables.md").read_text()
    nothing = make_report(make_reproduction(tmp_path / "empty"))
    assert (nothing.tables, nothing.figures) == ((), ())


# The command


def test_the_command_reports_what_is_there_without_training(
    reproduction, small_settings, example, monkeypatch, capsys
):
    """And shows a published table of another data set, as published, because it was asked for."""
    words = ["--report_only", "--folds", "1", "2", "--variants", "full", "--tables", "I", "V"]
    settings = words_of(small_settings(output_dir=reproduction.output_dir))
    monkeypatch.setattr(sys, "argv", ["reproduce.py", *words, *settings])
    example("reproduce").main()
    printed = capsys.readouterr().out
    assert "### Table I: BP4D, comparison (published only)" in printed
    assert "### SynthFACS: every score of HiVA (ours)" in printed
    assert f"figures: {reproduction.output_dir}/report" in printed
    record = json.loads((reproduction.output_dir / "report" / "tables.json").read_text())
    assert list(record["tables"]) == ["table_I", "table_V", "ablations", "details"]
    for key in ("table_I", "table_V"):
        assert {row["Source"] for row in record["tables"][key]["rows"]} == {PUBLISHED}
    assert record["command"].startswith("accelerate launch reproduce.py --report_only")


def test_the_command_takes_the_settings_of_a_training_run(example, tmp_path):
    words = ["--output_dir", str(tmp_path), "--seeds", "1", "2", "--stage2_epochs", "7", "--separate_stage1"]
    options, reproduction = example("reproduce").parse_options(words)
    assert not options.report_only
    assert (reproduction.folds, reproduction.seeds, reproduction.variants) == ((1,), (1, 2), VARIANTS)
    assert reproduction.arguments.stage2_epochs == 7
    assert not reproduction.share_stage1


def test_the_folder_may_stand_in_the_file(example, tmp_path):
    run = AUTrainingArguments(output_dir=str(tmp_path / "runs"))
    save_settings(run, tmp_path / "settings.yaml")
    _, reproduction = example("reproduce").parse_options([str(tmp_path / "settings.yaml")])
    assert reproduction.output_dir == tmp_path / "runs"


def test_sentence_level_is_the_full_network_whatever_the_settings_say(make_reproduction, tmp_path):
    reproduction = make_reproduction(tmp_path, variants=("sentence_level",), variant="baseline")
    settings = reproduction._arguments_of(reproduction.jobs[0], tmp_path)
    assert (settings.variant, settings.text_level) == ("full", "sentence")


def test_a_score_of_0_is_printed(example, make_reproduction, tmp_path, capsys, monkeypatch):
    reproduction = make_reproduction(tmp_path, folds=(1,))
    results = {"test_mean_f1": 0.0, "test_mean_roc_auc": None, "test_subjects": ["carl", "anna"]}
    monkeypatch.setattr(reproduction, "run", lambda job: results)
    example("reproduce").run_all(reproduction)
    printed = capsys.readouterr().out
    assert "full, fold 1, seed 42: mean F1 0.0\n" in printed
    assert "Fold 1 tests anna, carl.\n" in printed


def test_a_request_after_the_last_step_of_stage_1_begins_no_other_run(make_reproduction, tmp_path, monkeypatch):
    finish = StageTrainer._finish

    def finish_when_asked_to_stop(trainer):
        signal.raise_signal(signal.SIGINT)
        return finish(trainer)

    monkeypatch.setattr(StageTrainer, "_finish", finish_when_asked_to_stop)
    small = make_reproduction(tmp_path, folds=(1,), variants=("baseline",))
    with pytest.raises(TrainingInterrupted, match="Stopped after stage 1 of fold 1, seed 42, which is finished"):
        small.run(small.jobs[0])
    assert not small.folder(small.jobs[0]).exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--tables", "XII"], "There is no published table XII; there are I, II, III, IV, V, VI"),
        (["--variants", "vlu"], "invalid choice: 'vlu'"),
        (["--dataset", "bp5d"], "bp5d"),
        (["--stage2_epochs", "0"], "`stage2_epochs` is 0"),
        (["--fold", "1"], "`fold` is for single runs: use --folds"),
        (["--variant", "baseline"], "use --variants"),
        (["--text_level", "sentence"], "use --variants sentence_level"),
        (["--overwrite_output_dir"], "delete the folders of the runs"),
        (["--seeds", "1", "2", "--seed", "3"], "`seed` is for single runs: these runs have --seeds 1 2"),
        (["--folds", "1", "9"], "The folds [1, 9] were requested, but synthfacs has the folds 1, 2, 3."),
        (["--folds", "1", "1"], "A number occurs twice among the folds [1, 1]"),
        (["--seeds", "7", "7"], "A number occurs twice among the seeds [7, 7]"),
    ],
)
def test_the_command_names_a_senseless_option(example, tmp_path, capsys, words, message):
    with pytest.raises(SystemExit) as stopped:
        example("reproduce").parse_options(["--output_dir", str(tmp_path), *words])
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_ctrl_c_stops_the_command_and_the_same_command_goes_on(small_settings, make_reproduction, tmp_path):
    settings = small_settings(output_dir=tmp_path, stage2_epochs=40)
    words = ["--variants", "baseline", *words_of(settings)]
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen([sys.executable, str(EXAMPLE), *words], stdout=log, stderr=log)
    waiting = time.monotonic() + 200
    while not list(tmp_path.glob("fold1-seed42/baseline/checkpoints/stage2/step-*")) and time.monotonic() < waiting:
        assert process.poll() is None, (tmp_path / "log").read_text()
        time.sleep(0.1)
    os.kill(process.pid, signal.SIGINT)
    assert process.wait(timeout=60) == 130
    assert "contains what is finished. The same command continues" in (tmp_path / "log").read_text()
    partial = make_reproduction(tmp_path, folds=(1,), variants=("baseline",), stage2_epochs=40)
    assert [str(job) for job in partial.pending()] == ["baseline, fold 1, seed 42"]
    stage1 = (tmp_path / "fold1-seed42" / "shared" / "stage1" / "model.safetensors").stat().st_mtime_ns
    results = partial.run(partial.pending()[0])
    assert results["fold"] == 1
    assert partial.pending() == []
    assert (tmp_path / "fold1-seed42" / "shared" / "stage1" / "model.safetensors").stat().st_mtime_ns == stage1


def test_a_figure_that_can_not_be_drawn_leaves_all_tables(reproduction, monkeypatch, tmp_path):
    monkeypatch.setattr("hiva_hf.experiments.result_figures.NUM_EXAMPLES", 10_000)
    monkeypatch.setattr("hiva_hf.experiments.report.REPORT_FOLDER", str(tmp_path))
    report = make_report(reproduction)
    assert report.tables and (tmp_path / "tables.tex").is_file()
    undrawn = [sentence for sentence in report.missing if "can't be drawn: 10000 faces of different" in sentence]
    assert [sentence.split()[0] for sentence in undrawn] == ["figure6", "figure7"]


def test_runs_whose_weights_and_environment_were_deleted_keep_their_tables(reproduction, make_reproduction, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(reproduction.output_dir, folder)
    copy = make_reproduction(folder, variants=reproduction.variants)
    for job in copy.jobs:
        (copy.folder(job) / "model.safetensors").unlink()
    (copy.folder(copy.jobs[0]) / "environment.json").unlink()
    report = make_report(copy)
    assert "### SynthFACS: every score of HiVA (ours)" in (report.folder / "tables.md").read_text()
    undrawn = [sentence.split(" can't be drawn: ") for sentence in report.missing]
    assert [name for name, _ in undrawn] == ["figure6", "figure7"]
    assert all("model.safetensors" in reason for _, reason in undrawn)
    # Another run still knows it.
    assert copy.environment() == reproduction.environment()


def test_a_full_disk_is_not_called_a_missing_figure(reproduction, small_settings, example, monkeypatch):
    def fail(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("hiva_hf.experiments.report.save_figure", fail)
    settings = words_of(small_settings(output_dir=reproduction.output_dir))
    monkeypatch.setattr(sys, "argv", ["reproduce.py", "--report_only", "--folds", "1", "2", *settings])
    with pytest.raises(SystemExit, match="^There is no report: .*No space left on device"):
        example("reproduce").main()


def test_several_sets_are_refused_before_any_training(make_reproduction, tmp_path):
    with pytest.raises(ValueError, match="leave out `additional_data`"):
        make_reproduction(tmp_path / "runs", additional_data=["bp4d=prepared/bp4d"])
    assert not (tmp_path / "runs").exists()
