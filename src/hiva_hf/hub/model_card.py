"""The model card (README.md) of a detector: its purpose, its training data, and its results.

The numbers of a card come from a run, from a measurement on photos, or from `evaluation.published`, and are then
marked as the paper's; its text is in `templates/`.
"""

import json
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from ..data.sets import AU_DATASETS
from ..data.visibility import needs_confirmation
from ..evaluation.metrics import AVERAGED_METRICS, format_au_table
from ..evaluation.published import published_tables
from ..facs import get_action_unit
from ..markdown_tables import markdown_table
from .finished_run import FinishedRun
from .privacy import SUBJECT_LISTS, TOWER_SETTINGS, is_hub_tower


# Cards without a run show this in place of a repository.
PLACEHOLDER_REPO = "org/{name}"
TAGS = ("au-detection", "facial-action-units", "hiva-hf")
# Hub ids of the packaged towers, which are used if the setting is empty.
PACKAGED_TOWERS = {
    "vision_model_name_or_path": "facebook/dinov2-small",
    "text_model_name_or_path": "sentence-transformers/all-MiniLM-L6-v2",
}

VL_FAU_CARD = "vl-fau"
# Of `evaluation.text_metrics`.
_TEXT_MEASURES = {
    "mean_text_f1": "F1 of what they say",
    "agreement": "Agreement with the probabilities",
    "unread_rate": "Not understood",
    "contradiction_rate": "Faces with contradictions",
    "bleu": "BLEU-4",
    "rouge_l": "ROUGE-L",
    "cider": "CIDEr",
}
_METRIC_NAMES = {"f1": "F1", "accuracy": "Accuracy", "roc_auc": "ROC-AUC"}
_TEMPLATES = files(__package__) / "templates"


@dataclass(frozen=True)
class PhotoAgreement:
    """Agreement of a detector with another one on real photos without labels.

    Attributes:
        num_faces: Number of faces that both processed.
        correlation: Correlation of the detector's probabilities with the other's scores, for each AU that both have,
            -1 to 1; None where it is undefined.
        experimental_labels: AUs that are unreliable on real photos; None for those in the detector's configuration.
        reference: The other detector.
        photos: Name of the photos.
    """

    num_faces: int
    correlation: Mapping[str, float | None]
    experimental_labels: tuple[str, ...] | None = None
    reference: str = "MediaPipe's blend shapes"
    photos: str | None = None


def read_photo_agreement(path: str | Path) -> PhotoAgreement:
    """Reads `{"num_faces": 500, "correlation": {"AU12": 0.7, ...}, "experimental_labels": ["AU14"]}`.

    `experimental_labels`, `reference` and `photos` are optional.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if its content is different.
    """
    path = Path(path)
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
        if content.get("experimental_labels") is not None:
            content["experimental_labels"] = tuple(content["experimental_labels"])
        agreement = PhotoAgreement(**content)
        if not (isinstance(agreement.num_faces, int) and agreement.num_faces >= 1):
            raise ValueError(f"`num_faces` is {agreement.num_faces!r}, but must be a number of at least 1.")
        for label in (*agreement.correlation, *(agreement.experimental_labels or ())):
            if get_action_unit(label).label != label:
                raise ValueError(f"an AU is called {label!r}: write {get_action_unit(label).label}.")
        outside = [name for name, value in agreement.correlation.items() if value is not None and not -1 <= value <= 1]
    except (AttributeError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is not a measurement on photos: {error}") from error
    if outside:
        raise ValueError(f"{path} is not a measurement on photos: correlations of {outside} are not between -1 and 1.")
    return agreement


def card_names() -> list[str]:
    """Names of all cards that can be rendered."""
    return list(_texts()["cards"])


def card_of_run(
    run: FinishedRun,
    repo_id: str,
    agreement: PhotoAgreement | None = None,
    training_checkpoint: bool = False,
    pictures: Sequence[str] = (),
) -> ModelCard:
    """Renders the card of a run, which is chosen by its model type and, for HiVA, its data set."""
    name = VL_FAU_CARD if run.config.model_type == "vl_fau" else _card_of_dataset(run.dataset)
    return render_card(name, run, repo_id, agreement, training_checkpoint, pictures)


def render_card(
    name: str,
    run: FinishedRun | None = None,
    repo_id: str | None = None,
    agreement: PhotoAgreement | None = None,
    training_checkpoint: bool = False,
    pictures: Sequence[str] = (),
) -> ModelCard:
    """Renders a card.

    Args:
        name: One of [`card_names`].
        run: The run with its results; without a run, the card says that there are none.
        repo_id: `ORG/NAME` of the model.
        agreement: A measurement on real photos, if there is one.
        training_checkpoint: Whether the repository also has the network with its text encoder.
        pictures: Which of `results.png` and `photo.png` the repository has.

    Raises:
        ValueError: if the name is unknown, or the run has another data set or model type.
    """
    texts = _texts()
    if name not in texts["cards"]:
        raise ValueError(f"There is no card {name!r}. Known: {', '.join(card_names())}.")
    if run is not None and (name == VL_FAU_CARD) != (run.config.model_type == "vl_fau"):
        raise ValueError(
            f"The card {name} does not fit {run.path}, which contains a model of the type {run.config.model_type}."
        )
    card = texts["cards"][name]
    about = [card]
    if name == VL_FAU_CARD:
        dataset = card["dataset"] if run is None else run.dataset
        of_dataset = texts["cards"][_card_of_dataset(dataset)]
        about.append(of_dataset)
        card = card | {"dataset": of_dataset["dataset"]}
    if run is not None and card["dataset"] not in (run.dataset, "custom"):
        raise ValueError(f"The card {name} is about {card['dataset']}, but {run.path} was tested on {run.dataset}.")
    method = texts["methods"][card["method"]]
    repo_id = PLACEHOLDER_REPO.format(name=name) if repo_id is None else repo_id
    names = run.training_datasets if run else [card["dataset"]]
    variables = {
        **{key: card[key].strip() for key in ("title", "summary")},
        "limits": "\n".join(part["limits"].strip() for part in about),
        "recipe": card.get("recipe", "").strip(),
        "selection": card.get("selection", "Nothing was chosen on them."),
        "method": card["method"],
        "citations": _citations(method, names),
        "protocol": _dataset_texts(card["dataset"])["protocol"].strip(),
        "dataset_title": _title(run.dataset if run else card["dataset"]),
        "training_sets": [_training_set(dataset) for dataset in names],
        "repo_id": repo_id,
        "has_weights": run is not None,
        "training_checkpoint": training_checkpoint,
        "au_labels": run.config.au_labels if run else _labels_of(card["dataset"]),
        "run": None if run is None else _run_facts(run),
        "results_table": None if run is None else format_au_table(run.results, run.config.au_labels, prefix="test_"),
        "sentences_table": None if run is None else _sentences_table(run.results),
        "pictures": pictures,
        "agreement": agreement,
        "agreement_table": None if agreement is None else _agreement_table(agreement),
        "experimental_labels": _experimental_labels(run, agreement),
        "published_tables": _published(card, method),
    }
    template = (_TEMPLATES / "template.md").read_text(encoding="utf-8")
    data = _card_data(name, run, names, repo_id)
    # Empty parts of the template leave blank lines.
    content = ModelCard.from_template(data, template_str=template, **variables).content
    return ModelCard(_without_repeated_blank_lines(content))


@cache
def _texts() -> dict[str, Any]:
    return tomllib.loads((_TEMPLATES / "cards.toml").read_text(encoding="utf-8"))


def _dataset_texts(name: str) -> dict[str, str]:
    datasets = _texts()["datasets"]
    return datasets.get(name, datasets["custom"])


def _card_of_dataset(name: str) -> str:
    return f"hiva-{name if name in AU_DATASETS else 'custom'}"


def _title(name: str) -> str:
    return AU_DATASETS[name].title if name in AU_DATASETS else name


def _labels_of(dataset: str) -> list[str]:
    return [f"AU{number}" for number in AU_DATASETS[dataset].aus] if dataset in AU_DATASETS else []


def _training_set(name: str) -> dict[str, str]:
    texts = _dataset_texts(name)
    return {"title": _title(name), "data": texts["data"].strip(), "terms": texts["terms"].strip()}


def _citations(method: Mapping[str, Any], datasets: Sequence[str]) -> list[str]:
    """BibTeX of the method's paper, and of the data sets' papers."""
    texts = (method, *map(_dataset_texts, dict.fromkeys(datasets)))
    return [text["citation"].strip() for text in texts if "citation" in text]


def _card_data(name: str, run: FinishedRun | None, datasets: Sequence[str], repo_id: str) -> ModelCardData:
    licence: dict[str, Any] = {"license": "apache-2.0"}
    restricted = [dataset for dataset in datasets if needs_confirmation(dataset)]
    if restricted:
        licence = {"license": "other", "license_name": f"{'-'.join(restricted)}-licence"}
    results = [] if run is None else list(_eval_results(run))
    return ModelCardData(
        **licence,
        language=None,
        library_name="transformers",
        pipeline_tag="image-classification",
        tags=list(TAGS),
        base_model=None if run is None else _towers(run) or None,
        model_name=repo_id.split("/")[-1] if results else None,
        eval_results=results or None,
    )


def _eval_results(run: FinishedRun) -> Iterator[EvalResult]:
    """The run's test metrics; undefined ones are omitted."""
    shared = {
        "task_type": "image-classification",
        "task_name": "Facial Action Unit detection",
        "dataset_type": run.dataset,
        "dataset_name": _title(run.dataset),
        "dataset_config": f"fold{run.results['fold']}",
        "dataset_split": "test",
    }
    for metric in AVERAGED_METRICS:
        scores = {"mean": f"mean_{metric}"} | {label: f"{metric}_{label}" for label in run.config.au_labels}
        for label, key in scores.items():
            value = run.results.get(f"test_{key}")
            if value is not None:
                yield EvalResult(
                    **shared, metric_type=metric, metric_name=f"{_METRIC_NAMES[metric]}, {label}", metric_value=value
                )


def _run_facts(run: FinishedRun) -> dict[str, Any]:
    numbers = {f"num_{name}": len(run.results.get(name, ())) for name in SUBJECT_LISTS}
    return numbers | {
        "fold": run.results["fold"],
        "seed": run.settings.get("seed"),
        "towers": _towers(run),
        "num_threads": run.environment.get("num_threads"),
        "device": run.environment.get("device"),
        "mixed_precision": run.environment.get("mixed_precision"),
        "version": run.environment.get("packages", {}).get("hiva-hf"),
    }


def _towers(run: FinishedRun) -> list[str]:
    """Hub ids of the pretrained towers; local folders are omitted."""
    if not run.settings:
        return []
    names = [name for name in TOWER_SETTINGS if run.reads_descriptions or not name.startswith("text")]
    towers = [run.settings.get(name) or PACKAGED_TOWERS[name] for name in names]
    return [tower for tower in towers if is_hub_tower(tower)]


def _sentences_table(results: Mapping[str, Any]) -> str | None:
    """Scores of the sentences of a VL-FAU; None if the run wrote none, or did not score them."""
    rows = []
    for level, name in (("local", "about each AU"), ("global", "about the face")):
        values = [results.get(f"test_{level}_{measure}") for measure in _TEXT_MEASURES]
        if any(value is not None for value in values):
            rows.append([name, *("n/a" if value is None else f"{value:.3f}" for value in values)])
    head = ["Sentences", *_TEXT_MEASURES.values()]
    return markdown_table([head, *rows], [False] + [True] * len(_TEXT_MEASURES)) if rows else None


def _experimental_labels(run: FinishedRun | None, agreement: PhotoAgreement | None) -> list[str]:
    if agreement is not None and agreement.experimental_labels is not None:
        return list(agreement.experimental_labels)
    return list((run.config.experimental_labels if run else None) or ())


def _agreement_table(agreement: PhotoAgreement) -> str:
    rows = [
        [label, get_action_unit(label).name, "n/a" if value is None else f"{value:.2f}"]
        for label, value in agreement.correlation.items()
    ]
    return markdown_table([["AU", "Name", "Correlation"], *rows], [False, False, True])


def _published(card: Mapping[str, str], method: Mapping[str, str]) -> list[dict[str, Any]]:
    """The paper's results on the card's data set; for VL-FAU's card, on all data sets."""
    shown = []
    for table in published_tables().values():
        if table.kind != "comparison" or (card["method"] == "hiva" and table.dataset != card["dataset"]):
            continue
        for row in table.rows:
            if row.method == method["paper_row"]:
                numbers = [f"{value:.1f}" for value in (*row.f1, row.average)]
                shown.append(
                    {
                        "dataset": _title(table.dataset),
                        "number": table.number,
                        "source": table.source,
                        "method": row.method,
                        "table": markdown_table([[*table.au_labels, "Mean"], numbers], [True] * len(numbers)),
                    }
                )
    return shown


def _without_repeated_blank_lines(text: str) -> str:
    lines: list[str] = []
    for line in text.splitlines():
        if line.strip() or (lines and lines[-1]):
            lines.append(line.rstrip())
    return "\n".join(lines).rstrip("\n") + "\n"
