"""Detect a new Action Unit from a sentence: each AU in turn is left out of training and scored from its description.

The head is fitted to all other Action Units of the training subjects and tested on the test subjects, who are unseen,
with the canonical description of the one that was left out, which is unseen, too. No other information can leak: the
towers are frozen and saw no label, and the one hyperparameter, the ridge of the text regression, is chosen by leaving
out the *other* Action Units in turn and scoring them on the validation subjects. Two controls show how much of a score
is due to the sentence: the description of another Action Unit in its place, and a random vector.

A seed draws four fifths of the training subjects, half of the sentences of each Action Unit, and the controls.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch.nn.functional import normalize
from tqdm.auto import tqdm
from transformers.utils import SAFE_WEIGHTS_NAME

from ..atomic_files import write_file, write_folder, write_text
from ..data import au_numbers, load_au_dataset
from ..evaluation.metrics import compute_roc_auc
from ..evaluation.predictions import Predictions
from ..evaluation.protocol import FoldPredictions
from ..facs import au_label
from ..file_locks import locked_output
from .head import TextConditionedAUConfig
from .towers import FrozenTowers
from .training import Ridges, check_labels, fit_patterns, fit_readout, make_head, training_sentences


# Queries to a head that never saw an AU.
OWN, OTHER, RANDOM = "own", "other", "random"
QUERIES = {OWN: "Its description", OTHER: "Another AU's description", RANDOM: "A random vector"}
# For comparison: the pattern of the AU itself, fitted to its labels.
LABELLED = "labelled"

TEXT_RIDGES = (0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3)
_SHARE_OF_SUBJECTS = 0.8
_MAX_DRAWS = 100
_ROW_COLUMNS = ("subject", "task", "frame", "fold")
_SETTINGS_FILE = "settings.json"


@dataclass(frozen=True)
class LeaveOneOutSettings:
    """Settings of the experiment.

    Attributes:
        dataset: Name of the data set.
        data_dir: Its folder; the embedded data set needs none.
        fold: The fold of subjects that is tested.
        seeds: Seeds to train each head with.
        image_size: Side of the face crop that the vision tower sees, in pixels.
        vision_model_name_or_path: See [`FrozenTowers`].
        text_model_name_or_path: See [`FrozenTowers`].
        vision_layer: See [`FrozenTowers`].
        face_ridge: See [`Ridges`].
        max_faces: Use only the first faces of each split; None uses all.
    """

    dataset: str = "synthfacs"
    data_dir: str | None = None
    fold: int = 1
    seeds: tuple[int, ...] = (42, 43, 44)
    image_size: int = TextConditionedAUConfig.image_size
    vision_model_name_or_path: str | None = None
    text_model_name_or_path: str | None = None
    vision_layer: int = TextConditionedAUConfig.vision_layer
    face_ridge: float = Ridges.face
    max_faces: int | None = None


@dataclass(frozen=True, eq=False)
class Faces:
    """The faces of a split, with their features from the frozen tower.

    Attributes:
        tokens: `[n, num_patches, V]` float16.
        labels: `[n, N]`.
        rows: The columns that identify each face.
    """

    tokens: torch.Tensor
    labels: torch.Tensor
    rows: dict[str, list]


class LeaveOneOut:
    """The whole experiment, which can be resumed from its folder.

    Args:
        output_dir: Folder for features, scores and the head.
        settings: Settings of the experiment.

    Raises:
        ValueError: If the folder contains features or scores of other settings, or there are fewer than two seeds.
    """

    def __init__(self, output_dir: str | Path, settings: LeaveOneOutSettings | None = None):
        self.output_dir = Path(output_dir)
        self.settings = settings or LeaveOneOutSettings()
        if len(set(self.settings.seeds)) < 2:
            raise ValueError("Pass at least two different seeds, better three: their spread is part of the interval.")
        self.aus = au_numbers(self.settings.dataset, self.settings.data_dir)
        self._towers: FrozenTowers | None = None
        self._check_settings()

    @property
    def towers(self) -> FrozenTowers:
        """The frozen towers, loaded when they are first needed."""
        if self._towers is None:
            settings = self.settings
            self._towers = FrozenTowers(
                settings.vision_model_name_or_path,
                settings.text_model_name_or_path,
                settings.vision_layer,
                settings.image_size,
            )
        return self._towers

    def pending(self) -> list[int]:
        """Seeds without scores."""
        return [seed for seed in self.settings.seeds if not self._scores_path(seed).is_file()]

    def run(self):
        """Computes what is missing: features of the faces, scores of each seed, and a head for all AUs.

        Raises:
            BlockingIOError: If another process works in the folder.
        """
        self.output_dir.mkdir(parents=True, exist_ok=True)
        with locked_output(self.output_dir):
            # Another process may have left features or scores here since.
            self._check_settings()
            write_text(self.output_dir / _SETTINGS_FILE, json.dumps(self._binding_settings(), indent=2))
            self._compute()

    def _compute(self):
        train, validation, test = (self.faces(split) for split in ("train", "validation", "test"))
        check_labels(train.labels, [au_label(au) for au in self.aus])
        sentences = {au_label(au): self.towers.sentence_embeddings(training_sentences(au)) for au in self.aus}
        for seed in tqdm(self.pending(), desc="seeds, leaving out each AU in turn", leave=False):
            scores = self._score_left_out(seed, train, validation, test, list(sentences.values()))
            self._scores_path(seed).parent.mkdir(exist_ok=True)
            _save_whole(scores, self._scores_path(seed))
        # The folder is written atomically: with weights, it is complete.
        if not (self.head_folder / SAFE_WEIGHTS_NAME).is_file():
            texts = torch.stack([each.mean(dim=0) for each in sentences.values()])
            canonical = torch.stack([each[0] for each in sentences.values()])
            patterns = fit_patterns(train.tokens, train.labels, self.settings.face_ridge)
            ridge = choose_text_ridge(patterns.score(validation.tokens), validation.labels, texts, canonical)
            write_folder(self.head_folder, make_head(self._config(train), patterns, sentences, ridge).save_pretrained)

    @property
    def head_folder(self) -> Path:
        """A head that was trained on all AUs, for [`OpenVocabularyDetector`]."""
        return self.output_dir / "head"

    def faces(self, split: str) -> Faces:
        """The faces of a split; their features are computed once.

        Raises:
            ValueError: If existing features are of other faces or labels.
        """
        settings = self.settings
        dataset = load_au_dataset(settings.dataset, settings.data_dir, settings.fold, split)
        if settings.max_faces is not None:
            dataset = dataset.select(range(min(settings.max_faces, len(dataset))))
        labels = torch.tensor(np.array(dataset["labels"][:]))
        rows = {name: list(dataset[name]) for name in _ROW_COLUMNS}
        made_of = {"faces": hashlib.sha256(json.dumps([rows, labels.tolist()]).encode()).hexdigest()}
        path = self.output_dir / f"features-{split}.safetensors"
        if not path.is_file():
            tokens = self.towers.patch_tokens(dataset["image"], progress=f"{split} faces")
            _save_whole({"tokens": tokens}, path, made_of)
        with safe_open(path, "pt") as file:
            if file.metadata() != made_of:
                raise ValueError(
                    f"{path} was made from other faces or labels than {settings.dataset} has now, and so were the "
                    "scores beside it: use another folder."
                )
            tokens = file.get_tensor("tokens")
        return Faces(tokens, labels, rows)

    def predictions(self, query: str) -> list[FoldPredictions]:
        """For each seed, the scores of all AUs, each by the head that never saw it.

        Args:
            query: Query to the head: the AU's `"own"` description, an `"other"` AU's, or a `"random"` vector;
                `"labelled"` gives the scores of the patterns that were fitted to the AUs' own labels.
        """
        test = self.faces("test")
        predictions = []
        for seed in self.settings.seeds:
            scores = load_file(self._scores_path(seed))[query]
            faces = Predictions(
                subject=np.array(test.rows["subject"], dtype=object),
                task=np.array(test.rows["task"], dtype=object),
                frame=np.array(test.rows["frame"], dtype=np.int32),
                fold=np.array(test.rows["fold"], dtype=np.int8),
                labels=test.labels.numpy().astype(np.int8),
                probabilities=scores.numpy(),
                au_labels=tuple(au_label(au) for au in self.aus),
            )
            predictions.append(FoldPredictions(self.settings.fold, seed, faces))
        return predictions

    def _score_left_out(
        self, seed: int, train: Faces, validation: Faces, test: Faces, sentences: list[torch.Tensor]
    ) -> dict[str, torch.Tensor]:
        """Scores `[n, N]` of the test faces for each query, those of each AU by a head without it."""
        generator = torch.Generator().manual_seed(seed)
        rows = self._draw_rows(seed, train, generator)
        texts = torch.stack([_draw_sentences(each, generator).mean(dim=0) for each in sentences])
        canonical = torch.stack([each[0] for each in sentences])
        patterns = fit_patterns(train.tokens[rows], train.labels[rows], self.settings.face_ridge)
        of_validation, of_test = patterns.score(validation.tokens), patterns.score(test.tokens)
        columns: dict[str, list[torch.Tensor]] = {query: [] for query in QUERIES}
        for left_out in range(len(self.aus)):
            others = [column for column in range(len(self.aus)) if column != left_out]
            ridge = choose_text_ridge(
                of_validation[:, others], validation.labels[:, others], texts[others], canonical[others]
            )
            other = others[int(torch.randint(len(others), (), generator=generator))]
            queries = {
                OWN: canonical[left_out],
                OTHER: canonical[other],
                RANDOM: normalize(torch.randn(canonical.shape[1], generator=generator), dim=0),
            }
            for query, sentence in queries.items():
                columns[query].append(score_sentence(of_test[:, others], texts[others], ridge, sentence))
        scores = {query: torch.stack(each, dim=1) for query, each in columns.items()} | {LABELLED: of_test}
        return {query: each.sigmoid().contiguous() for query, each in scores.items()}

    def _draw_rows(self, seed: int, train: Faces, generator: torch.Generator) -> torch.Tensor:
        """Rows of the faces of some subjects, such that each AU is present in some face and absent from another."""
        for _ in range(_MAX_DRAWS):
            rows = _draw_subjects(train.rows["subject"], generator)
            labels = train.labels[rows]
            is_lacking = ~((labels == 1).any(dim=0) & (labels == 0).any(dim=0))
            if not is_lacking.any():
                return rows
        lacking = ", ".join(au_label(au) for au, lacks in zip(self.aus, is_lacking.tolist(), strict=True) if lacks)
        raise ValueError(
            f"Seed {seed}: in none of {_MAX_DRAWS} draws of {_SHARE_OF_SUBJECTS:.0%} of the subjects is every AU "
            f"present in some face and absent from another (the last draw lacked {lacking}): there are too few "
            "subjects. Use another seed or fold, or a data set with more subjects."
        )

    def _config(self, faces: Faces) -> TextConditionedAUConfig:
        settings = self.settings
        return TextConditionedAUConfig(
            num_patches=faces.tokens.shape[1],
            vision_hidden_size=faces.tokens.shape[2],
            text_hidden_size=self.towers.text_model.config.hidden_size,
            vision_layer=settings.vision_layer,
            image_size=settings.image_size,
            vision_model_name_or_path=settings.vision_model_name_or_path,
            text_model_name_or_path=settings.text_model_name_or_path,
        )

    def _scores_path(self, seed: int) -> Path:
        return self.output_dir / "scores" / f"seed{seed}.safetensors"

    def _binding_settings(self) -> dict:
        """The settings that all scores of a folder must share; more seeds may be added."""
        binding = asdict(self.settings)
        return json.loads(json.dumps({name: value for name, value in binding.items() if name != "seeds"}))

    def _check_settings(self):
        path = self.output_dir / _SETTINGS_FILE
        # Settings of an attempt that failed before it had features bind nobody.
        if not path.is_file() or not any(self.output_dir.rglob("*.safetensors")):
            return
        if json.loads(path.read_text(encoding="utf-8")) != self._binding_settings():
            raise ValueError(
                f"{self.output_dir} contains features or scores of other settings (see {_SETTINGS_FILE}): use another "
                "folder."
            )


def score_sentence(
    pattern_scores: torch.Tensor, texts: torch.Tensor, ridge: float, sentence: torch.Tensor
) -> torch.Tensor:
    """Logits `[n]` of a sentence `[T]`, from scores `[n, N]` of the patterns of N AUs with the sentences `[N, T]`."""
    return pattern_scores @ (fit_readout(texts, ridge) @ (sentence - texts.mean(dim=0)))


def choose_text_ridge(
    pattern_scores: torch.Tensor, labels: torch.Tensor, texts: torch.Tensor, canonical: torch.Tensor
) -> float:
    """The ridge that gives the best scores for AUs that are left out in turn, from their sentences.

    Args:
        pattern_scores: `[n, N]`, scores of the patterns on validation faces.
        labels: `[n, N]`, labels of these faces.
        texts: `[N, T]`, mean sentence of each AU.
        canonical: `[N, T]`, canonical sentence of each AU.

    Returns:
        One of `TEXT_RIDGES`, by the mean ROC-AUC over AUs.
    """
    num_aus = len(texts)
    means = []
    for ridge in TEXT_RIDGES:
        scores = []
        for left_out in range(num_aus):
            others = [column for column in range(num_aus) if column != left_out]
            scores.append(score_sentence(pattern_scores[:, others], texts[others], ridge, canonical[left_out]))
        means.append(np.nanmean(compute_roc_auc(labels.numpy(), torch.stack(scores, dim=1).sigmoid().numpy())))
    return TEXT_RIDGES[int(np.argmax(means))]


def _draw_subjects(subjects: Sequence[str], generator: torch.Generator) -> torch.Tensor:
    """Rows of the faces of some of the subjects."""
    names = sorted(set(subjects))
    order = torch.randperm(len(names), generator=generator)[: round(_SHARE_OF_SUBJECTS * len(names))]
    drawn = {names[index] for index in order.tolist()}
    return torch.tensor([row for row, subject in enumerate(subjects) if subject in drawn])


def _draw_sentences(sentences: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Half of the sentences of an AU."""
    return sentences[torch.randperm(len(sentences), generator=generator)[: (len(sentences) + 1) // 2]]


def _save_whole(tensors: dict[str, torch.Tensor], path: Path, made_of: dict[str, str] | None = None):
    """Writes atomically, so that an interrupted run leaves no incomplete file."""
    write_file(path, lambda unfinished: save_file(tensors, unfinished, made_of))
