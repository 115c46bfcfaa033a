from dataclasses import asdict

import pytest
import yaml

from hiva_hf.training.arguments import AUTrainingArguments, settings_of_other_models
from hiva_hf.training.batches import resolve_batch_size
from hiva_hf.training.settings import PRESETS, load_preset, parse_arguments, preset_arguments, save_settings


def test_without_any_words_it_is_the_demo():
    assert parse_arguments([]) == AUTrainingArguments() == preset_arguments("demo")
    assert parse_arguments([]).output_dir == "hiva-synthfacs"


def test_the_paper_preset_is_what_the_paper_says():
    arguments = preset_arguments("paper", dataset="bp4d")
    assert (arguments.stage1_learning_rate, arguments.stage2_learning_rate) == (1e-5, 1e-6)
    assert (arguments.stage1_epochs, arguments.stage2_epochs) == (30, 30)
    assert arguments.total_train_batch_size == 128
    assert resolve_batch_size(arguments, num_processes=2) == (64, 1)
    assert (arguments.difference_loss_weight, arguments.weight_decay) == (1e-5, 5e-4)
    assert (arguments.image_size, arguments.hidden_size, arguments.num_neighbors) == (224, 512, 4)
    assert arguments.vision_model_name_or_path.startswith("timm/swin_base_patch4_window7_224")
    assert arguments.text_model_name_or_path == "google-bert/bert-large-uncased"
    # All of Swin-B learns, at the rate of everything else.
    assert (arguments.trainable_backbone_layers, arguments.backbone_learning_rate_scale) == (-1, 1.0)


def test_the_graph_of_disfa_has_the_papers_three_neighbours():
    assert preset_arguments("paper", dataset="disfa").num_neighbors == 3
    assert preset_arguments("paper", dataset="disfa", num_neighbors=5).num_neighbors == 5


def test_the_graph_of_faces_of_ones_own_waits_for_their_aus():
    assert preset_arguments("demo", dataset="custom", data_dir="faces").num_neighbors is None
    assert preset_arguments("demo", dataset="custom", data_dir="faces", num_neighbors=2).num_neighbors == 2


@pytest.mark.parametrize(
    ("words", "preset"),
    [
        (["--dataset", "bp4d"], "paper"),
        (["--dataset", "bp4d", "--preset", "demo"], "demo"),
        (["--fold", "2"], "demo"),
        (["--preset", "paper"], "paper"),
    ],
)
def test_real_faces_take_the_papers_settings_unless_told_otherwise(words, preset):
    assert parse_arguments(words).hidden_size == {"demo": 128, "paper": 512}[preset]


def test_every_run_has_a_folder_of_its_own():
    assert parse_arguments(["--fold", "2"]).output_dir == "hiva-synthfacs-fold2"
    assert parse_arguments(["--dataset", "bp4d"]).output_dir == "hiva-bp4d-fold1"


def test_the_command_line_overrules_the_file_and_the_file_the_preset(tmp_path):
    path = tmp_path / "settings.yaml"
    path.write_text(
        "preset: paper\nfold: 2\nstage1_epochs: 7\nstage2_learning_rate: 1e-7\nmixed_precision: no\n"
        "weight_decay: 2.0e-3\n"
    )
    arguments = parse_arguments([str(path), "--fold", "3"])
    assert (arguments.fold, arguments.stage1_epochs, arguments.stage2_epochs) == (3, 7, 30)
    # YAML reads `1e-7` as text and `no` as false.
    assert (arguments.stage2_learning_rate, arguments.weight_decay, arguments.mixed_precision) == (1e-7, 2e-3, "no")


def test_a_default_on_the_command_line_overrules_the_file_too(tmp_path):
    path = tmp_path / "settings.yaml"
    path.write_text("fold: 2\ntorch_compile: true\n")
    arguments = parse_arguments([str(path), "--fold", "1", "--torch_compile", "false"])
    assert (arguments.fold, arguments.torch_compile) == (1, False)


def test_saved_settings_are_read_again(tmp_path):
    arguments = preset_arguments("paper", dataset="gft", report_to=["tensorboard"], data_dir="gft", max_grad_norm=2)
    save_settings(arguments, tmp_path / "settings.yaml")
    assert asdict(parse_arguments([str(tmp_path / "settings.yaml")])) == asdict(arguments)


@pytest.mark.parametrize("model", ["hiva", "vl_fau"])
def test_saved_settings_are_those_of_the_model_and_are_read_under_another_preset(tmp_path, model):
    arguments = preset_arguments("paper", model=model)
    save_settings(arguments, tmp_path / "settings.yaml")
    again = parse_arguments([str(tmp_path / "settings.yaml")])
    others = settings_of_other_models(model)
    saved = {name: value for name, value in asdict(arguments).items() if name not in others}
    assert saved.items() <= asdict(again).items()
    assert not set(others) & set(yaml.safe_load((tmp_path / "settings.yaml").read_text()))


def test_the_shipped_presets_hold_nothing_but_settings():
    for preset in PRESETS:
        assert load_preset(preset).keys() <= asdict(AUTrainingArguments()).keys()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("foldd: 2", "sets `foldd`, which is not a setting. Did you mean `fold`?"),
        ("fold: two", "sets `fold` to 'two', but it must be of type int"),
        ("fold: 1.5", "sets `fold` to 1.5, but it must be of type int"),
        ("torch_compile: 1", "sets `torch_compile` to 1, but it must be of type bool"),
        ("weight_decay: heavy", "sets `weight_decay` to 'heavy', but it must be of type float"),
        ("weight_decay: 1" + 400 * "0", "but it must be of type float"),
        ("fold: null", "sets `fold` to None, but it must be of type int"),
        ("- fold", "holds a list, but settings are lines of `name: value`"),
        ("fold: [", "is not valid YAML"),
        ("preset: papr", "There is no preset 'papr'"),
        ("optim: sgd", "`optim` is 'sgd', but it must be one of adamw_torch_fused, adamw_torch"),
    ],
)
def test_a_bad_file_is_refused_by_name(tmp_path, capsys, content, message):
    path = tmp_path / "settings.yaml"
    path.write_text(content)
    with pytest.raises(SystemExit):
        parse_arguments([str(path)])
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--fold", "two"], "argument --fold: invalid int value: 'two'"),
        (["--metric_for_best_model", "accuracy"], "--metric-for-best-model: invalid choice: 'accuracy'"),
        (["--foldd", "2"], "unrecognized arguments: --foldd. Did you mean --fold?"),
        (["--zzz", "2"], "unrecognized arguments: --zzz. --help lists all."),
        (["--with_tracking"], "unrecognized arguments: --with_tracking. Name the trackers: --report_to"),
        (["--push_to_hub", "--hub_model_id", "me/x"], "--push_to_hub. Publish the finished run: `hiva-hf push"),
        (["--hub_model_id=me/x"], "--hub_model_id. Publish the finished run"),
        (["--resume_from_checkpoint", "."], "--resume_from_checkpoint takes `true`"),
        (["--resume_from_checkpoint=."], "--resume_from_checkpoint takes `true`"),
        (["nowhere.yaml"], "No such file or directory: 'nowhere.yaml'"),
        (["--stage1_epochs", "0"], "`stage1_epochs` is 0, but it must be at least 1"),
        (
            ["--learning_rate", "1e-5"],
            "`learning_rate` is not a setting of `model` hiva: use `stage1_learning_rate` and `stage2_learning_rate`.",
        ),
        (["--model", "vl_fau", "--stage2_epochs", "2"], "not a setting of `model` vl_fau: use `num_train_epochs`."),
        (["--model", "vl_fau", "--descriptions", "generated"], "not a setting of `model` vl_fau: leave it out."),
        (["--variant", "ful"], "`variant` is 'ful', but the variants of `model` hiva are full, no_augmentation,"),
        (["--model", "vl_fau", "--variant", "baseline"], "the variants of `model` vl_fau are full, no_local,"),
        (
            [
                *("--total_train_batch_size", "8", "--per_device_train_batch_size", "8"),
                *("--gradient_accumulation_steps", "8"),
            ],
            "Pass only two of `total_train_batch_size`",
        ),
    ],
)
def test_bad_words_are_refused_by_name(capsys, words, message):
    with pytest.raises(SystemExit):
        parse_arguments(words)
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("words", [["--resume_from_checkpoint"], ["--resume_from_checkpoint", "true"]])
def test_going_on_needs_no_value(words):
    assert parse_arguments(words).resume_from_checkpoint
    assert parse_arguments([*words, "--fold", "2"]).resume_from_checkpoint


def test_the_help_names_every_setting_and_the_presets(capsys):
    with pytest.raises(SystemExit):
        parse_arguments(["--help"])
    text = capsys.readouterr().out
    assert all(f"--{name}" in text for name in asdict(AUTrainingArguments()))
    assert "--preset" in text


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"stage1_epochs": 0}, "`stage1_epochs` is 0"),
        ({"per_device_train_batch_size": 0}, "`per_device_train_batch_size` is 0"),
        ({"weight_decay": float("nan")}, "`weight_decay` is nan"),
        ({"ema_decay": 1.0}, "`ema_decay` is 1.0, but it must be below 1"),
        ({"layerwise_lr_decay": 1.5}, "`layerwise_lr_decay` is 1.5, but it must be at most 1"),
        ({"checkpointing_steps": "often"}, "`checkpointing_steps` is 'often', but it must be `epoch`"),
        ({"checkpointing_steps": "0"}, "`checkpointing_steps` is '0'"),
        ({"checkpoints_total_limit": 0}, "`checkpoints_total_limit` is 0"),
        ({"mixed_precision": "fp16"}, "`mixed_precision` is 'fp16', but it must be one of auto, no, bf16"),
    ],
)
def test_settings_that_make_no_sense_are_refused_by_name(settings, message):
    with pytest.raises(ValueError, match=message):
        AUTrainingArguments(**settings)


@pytest.mark.parametrize(
    ("words", "total", "expected"),
    [
        ([], 128, (64, 1)),
        (["--per_device_train_batch_size", "8"], 128, (8, 8)),
        (["--gradient_accumulation_steps", "4"], 128, (16, 4)),
        (["--per_device_train_batch_size", "8", "--total_train_batch_size", "32"], 32, (8, 2)),
        (["--per_device_train_batch_size", "8", "--gradient_accumulation_steps", "4"], None, (8, 4)),
    ],
)
def test_the_total_batch_of_a_preset_is_kept_unless_all_of_it_is_given(tmp_path, words, total, expected):
    arguments = parse_arguments(["--preset", "paper", *words])
    assert arguments.total_train_batch_size == total
    assert resolve_batch_size(arguments, num_processes=2) == expected
    # Also where a run has written everything down.
    save_settings(preset_arguments("paper", per_device_train_batch_size=64), tmp_path / "settings.yaml")
    arguments = parse_arguments([str(tmp_path / "settings.yaml"), *words])
    assert resolve_batch_size(arguments, num_processes=2) == expected


def test_a_batch_size_that_does_not_divide_the_total_is_refused():
    arguments = parse_arguments(["--preset", "paper", "--per_device_train_batch_size", "48"])
    with pytest.raises(
        ValueError, match=r"is 128, which is not divisible by 2 process\(es\) times `per_device_train_batch_size` 48"
    ):
        resolve_batch_size(arguments, num_processes=2)


def test_a_total_batch_that_cannot_be_shared_is_refused():
    arguments = AUTrainingArguments(total_train_batch_size=128, gradient_accumulation_steps=3)
    with pytest.raises(
        ValueError, match=r"`total_train_batch_size` is 128, which is not divisible by 2 process\(es\) times 3 pass"
    ):
        resolve_batch_size(arguments, num_processes=2)
