"""Cards: what they must say, and that they say no number that nobody measured."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from huggingface_hub import ModelCard
from transformers import AutoConfig

from hiva_hf.evaluation.published import find_published_table
from hiva_hf.hub.__main__ import main
from hiva_hf.hub.finished_run import read_finished_run
from hiva_hf.hub.model_card import card_names, card_of_run, read_photo_agreement, render_card


CARDS = Path(__file__).parents[2] / "model_cards"
COMMITTED = ("starter", "hiva-bp4d", "hiva-disfa", "hiva-gft", "vl-fau")
RESTRICTED = ("hiva-bp4d", "hiva-disfa", "hiva-gft", "vl-fau")


def numbers_in(text):
    return {float(number) for number in re.findall(r"(?<![\w.])\d+\.\d+(?![\w.])", text)}


def section(card, heading):
    return card.text.split(f"\n## {heading}\n")[1].split("\n## ")[0]


def bibtex(card):
    """The fields of each entry that the card asks to cite."""
    entries = re.findall(r"^@\w+{(\w+),\n(.*?)^}", section(card, "How to cite"), re.MULTILINE | re.DOTALL)
    field = re.compile(r"^  (\w+) = {(.*?)},?$", re.MULTILINE | re.DOTALL)
    return {key: dict(field.findall(fields)) for key, fields in entries}


@pytest.mark.parametrize("name", card_names())
def test_every_card_says_what_must_be_known(name):
    card = render_card(name)
    assert card.data.library_name == "transformers"
    assert card.data.pipeline_tag == "image-classification"
    assert {"au-detection", "facial-action-units"} <= set(card.data.tags)
    for heading in ("Intended use", "Training data and their licence", "Protocol", "Results", "Limits", "Ethics"):
        assert len(section(card, heading)) > 20
    assert "AUs are movements, not feelings" in card.text
    citations = bibtex(card)
    assert citations and all({"author", "title", "year"} <= fields.keys() for fields in citations.values())
    assert "{{" not in str(card) and "None" not in str(card).replace("None of our own yet", "")


@pytest.mark.parametrize("name", RESTRICTED)
def test_committed_cards_are_rendered_from_the_template(name):
    assert (CARDS / f"{name}.md").read_text() == str(render_card(name)), (
        f"python -m hiva_hf.hub render {name} --output model_cards/{name}.md"
    )


@pytest.mark.parametrize("name", COMMITTED)
def test_committed_cards_are_cards(name):
    card = ModelCard.load(CARDS / f"{name}.md")
    assert card.data.library_name == "transformers"
    assert str(card) == (CARDS / f"{name}.md").read_text()


@pytest.mark.parametrize("name", RESTRICTED)
def test_cards_without_a_run_have_no_results_and_say_so(name):
    card = render_card(name)
    assert card.data.eval_results is None
    assert card.data.license == "other"
    assert "There are no weights and no results of our own behind this card yet" in card.text
    assert "None of our own yet." in section(card, "Results")


def test_published_figures_are_marked_as_the_papers():
    text = section(render_card("hiva-disfa"), "Results")
    published = text.split("### Published figures")[1]
    assert "**the paper's," in published
    row = next(row for row in find_published_table("disfa", "comparison").rows if row.method == "HiVA")
    assert numbers_in(published) - {2602.14425} == {*row.f1, row.average}


def test_bp4d_says_what_to_check_before_weights_are_published():
    text = section(render_card("hiva-bp4d"), "Training data and their licence")
    assert "parameters of trained networks" in text and "read the agreement that your institution signed" in text


@pytest.mark.parametrize("dataset", ["synthfacs", "disfa", "custom"])
def test_results_are_those_of_the_run_and_no_others(make_run, results_of, dataset):
    run = make_run(dataset)
    results = results_of(run)
    card = card_of_run(read_finished_run(run), "org/name")
    held = {value for value in results.values() if isinstance(value, float)}

    (index,) = json.loads(json.dumps(card.data.to_dict()["model-index"]))
    (entry,) = index["results"]
    metrics = {metric["name"]: metric["value"] for metric in entry["metrics"]}
    assert entry["dataset"]["type"] == dataset and entry["dataset"]["split"] == "test"
    assert metrics["F1, AU12"] == results["test_f1_AU12"]
    assert metrics["ROC-AUC, mean"] == results["test_mean_roc_auc"]
    assert set(metrics.values()) <= held
    # Nobody showed AU1: there is no score to tell.
    assert results["test_roc_auc_AU1"] is None and "ROC-AUC, AU1" not in metrics

    measured = section(card, "Results").split("### Published")[0]
    assert numbers_in(measured) <= {round(value, 3) for value in held}
    assert f"{results['test_f1_AU12']:.3f}" in measured


def test_additional_data_bring_their_licence_and_their_citation(make_run):
    run = make_run("synthfacs", additional_data=["bp4d=/data/bp4d"])
    card = card_of_run(read_finished_run(run), "org/name")
    assert list(bibtex(card)) == ["hiva2026", "bp4d2014"]
    assert (card.data.license, card.data.license_name) == ("other", "bp4d-licence")
    assert "read the agreement that your institution signed" in card.text


def test_a_card_of_another_data_set_is_refused(make_run):
    with pytest.raises(ValueError, match="is about bp4d, but .* was tested on disfa"):
        render_card("hiva-bp4d", read_finished_run(make_run("disfa")))


def test_a_card_of_another_kind_of_network_is_refused(make_run, make_vl_fau_run):
    with pytest.raises(ValueError, match="card starter does not fit .* of the type vl_fau"):
        render_card("starter", read_finished_run(make_vl_fau_run("synthfacs")))
    with pytest.raises(ValueError, match="card vl-fau does not fit .* of the type hiva"):
        render_card("vl-fau", read_finished_run(make_run("synthfacs")))


def test_the_starters_card_is_filled_from_a_run_and_a_measurement_on_photos(make_run, results_of, tmp_path):
    agreement, output = tmp_path / "agreement.json", tmp_path / "card.md"
    measured = {"num_faces": 321, "correlation": {"AU12": 0.6543, "AU4": None}, "experimental_labels": ["AU4"]}
    agreement.write_text(json.dumps(measured))
    run = make_run("synthfacs")
    arguments = ["render", "starter", "--run_dir", run, "--photo_agreement", agreement, "--output", output]
    assert main([str(argument) for argument in arguments]) == 0
    card = ModelCard.load(output)
    text = section(card, "Results")
    assert f"{results_of(run)['test_f1_AU12']:.3f}" in text
    assert "on 321 faces" in text and "| AU12 | Lip Corner Puller |        0.65 |" in text
    assert "| AU4  | Brow Lowerer      |         n/a |" in text
    assert "unreliable on real photos: AU4." in text
    assert "No weights and no results" not in card.text


def test_a_measurement_that_judges_no_aus_leaves_it_to_the_detector(make_run, tmp_path):
    path = tmp_path / "agreement.json"
    path.write_text('{"num_faces": 3, "correlation": {"AU12": 0.5}}')
    agreement = read_photo_agreement(path)
    assert agreement.experimental_labels is None
    run = read_finished_run(make_run("synthfacs"))
    marked = replace(run, config=AutoConfig.from_pretrained(run.path, experimental_labels=["AU12"]))
    assert "unreliable on real photos: AU12." in card_of_run(marked, "org/name", agreement).text


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("{", "config.json' is not a valid JSON file"),
        ('{"model_type": "hiva", "hidden_size": 7}', "`hidden_size` (7) is not a multiple of `num_attention_heads`"),
    ],
)
def test_a_damaged_configuration_is_told_in_one_line(make_run, capsys, config, message):
    run = make_run("synthfacs")
    (run / "config.json").write_text(config)
    capsys.readouterr()
    assert main(["render", "starter", "--run_dir", str(run)]) == 1
    shown = capsys.readouterr().err
    assert message in shown and shown.count("\n") == 1


@pytest.mark.parametrize(("variant", "is_named"), [("full", True), ("baseline", False), ("random_vectors", False)])
def test_a_text_tower_is_named_where_one_was_read(make_run, variant, is_named):
    run = read_finished_run(make_run("synthfacs", text_model_name_or_path="google-bert/bert-base-uncased"))
    run = replace(run, config=AutoConfig.from_pretrained(run.path, variant=variant))
    card = card_of_run(run, "org/name")
    assert ("google-bert/bert-base-uncased" in card.data.base_model) is is_named


@pytest.mark.parametrize(
    "content",
    [
        "[]",
        "{",
        '{"num_faces": 3}',
        '{"num_faces": 3, "correlation": {"AU12": 2}}',
        '{"correlation": {}, "x": 1}',
        '{"num_faces": -5, "correlation": {}}',
        '{"num_faces": 500.5, "correlation": {}}',
        '{"num_faces": 3, "correlation": {"au12": 0.5}}',
    ],
)
def test_a_wrong_measurement_on_photos_is_refused(tmp_path, content):
    path = tmp_path / "agreement.json"
    path.write_text(content)
    with pytest.raises(ValueError, match="agreement.json is not a measurement on photos"):
        read_photo_agreement(path)


@pytest.mark.parametrize(
    ("dataset", "limit"), [("synthfacs", "has seen no real face"), ("disfa", "27 people are few")]
)
def test_the_card_of_a_vl_fau_follows_from_its_model_and_its_data(make_vl_fau_run, dataset, limit):
    card = card_of_run(read_finished_run(make_vl_fau_run(dataset)), "org/name")
    assert "# VL-FAU" in card.text
    assert "vlfau2024" in bibtex(card)
    assert "explain=True" in section(card, "Use")
    assert "It can be fluent and wrong" in section(card, "Limits")
    assert limit in section(card, "Limits")
    assert "BP4D are frontal" not in card.text
    sentences = "| about each AU | 0.625 | n/a | n/a | n/a | 0.750 | n/a | n/a |"
    assert sentences in re.sub(" +", " ", section(card, "Results"))
    # It reads no text.
    assert "MiniLM" not in str(card.data.base_model)
