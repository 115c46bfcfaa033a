"""A head that reads sentences: it solves its regressions, carries over to a new sentence, and can be saved."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge
from torch.nn.functional import normalize

from hiva_hf.evaluation.metrics import compute_roc_auc
from hiva_hf.open_vocabulary import Ridges, TextConditionedAUConfig, TextConditionedAUHead, fit_head
from hiva_hf.open_vocabulary.leave_one_out import TEXT_RIDGES, choose_text_ridge, score_sentence
from hiva_hf.open_vocabulary.training import fit_patterns, fit_readout


PATCHES, SIZE, TEXT = 6, 8, 32
NAMES = [f"movement {number}" for number in range(8)]


def make_world(num_faces: int = 300):
    """A movement is a direction of the face; the sentence about it is a fixed rotation of that direction, with noise.

    The last movement is a mixture of the first two, so that others' sentences can tell of it.
    """
    generator = torch.Generator().manual_seed(0)
    directions = torch.randn(len(NAMES), PATCHES * SIZE, generator=generator)
    directions[-1] = (directions[0] + directions[1]) / 2**0.5
    rotation = torch.randn(PATCHES * SIZE, TEXT, generator=generator)
    tokens = torch.randn(num_faces, PATCHES, SIZE, generator=generator)
    labels = ((tokens.flatten(1) @ directions.T) > 3).long()
    meaning = normalize(directions @ rotation, dim=-1)
    sentences = {
        name: normalize(each + 0.02 * torch.randn(4, TEXT, generator=generator), dim=-1)
        for name, each in zip(NAMES, meaning, strict=True)
    }
    return tokens, labels, sentences


def make_config(**changes) -> TextConditionedAUConfig:
    sizes = {"num_patches": PATCHES, "vision_hidden_size": SIZE, "text_hidden_size": TEXT}
    return TextConditionedAUConfig(**(sizes | changes))


def roc_auc(logits: torch.Tensor, labels: torch.Tensor) -> float:
    return compute_roc_auc(labels.numpy()[:, None], logits.detach().sigmoid().numpy()[:, None])[0]


@pytest.fixture(scope="module")
def world():
    return make_world()


@pytest.fixture(scope="module")
def fitted(world):
    """A head that never saw the last movement."""
    tokens, labels, sentences = world
    seen = {name: sentences[name] for name in NAMES[:-1]}
    return fit_head(make_config(), tokens[:200], labels[:200, :-1], seen, Ridges(face=0.1, text=0.01))


def test_it_learns_what_it_is_fitted_to(world, fitted):
    tokens, labels, sentences = world
    logits = fitted(tokens[200:], torch.stack([each[0] for each in sentences.values()])).logits
    assert min(roc_auc(logits[:, column], labels[200:, column]) for column in range(7)) > 0.8


def test_it_scores_a_movement_that_it_never_saw_by_its_sentence_alone(world, fitted):
    tokens, labels, sentences = world
    new = labels[200:, -1]

    def score(sentence):
        return roc_auc(fitted(tokens[200:], sentence[None]).logits[:, 0], new)

    assert score(sentences[NAMES[-1]][0]) > 0.8
    assert score(sentences[NAMES[-1]][0]) > max(score(sentences[name][0]) for name in NAMES[2:-1]) + 0.1
    random = [
        score(normalize(torch.randn(TEXT, generator=torch.Generator().manual_seed(k)), dim=0)) for k in range(40)
    ]
    assert np.mean(random) == pytest.approx(0.5, abs=0.1)


def test_patterns_are_a_ridge_regression_of_standardised_labels(world):
    """Unknown labels are their mean."""
    tokens, labels, _ = world
    labels = labels.clone()
    labels[::3, 0] = -100
    patterns = fit_patterns(tokens, labels, ridge=0.2)
    faces = (tokens - tokens.mean(dim=0)) / (tokens - tokens.mean(dim=0)).square().mean(dim=(0, 1)).sqrt()
    faces = faces.flatten(1).double().numpy()
    size = (faces**2).sum(axis=1).mean()
    for column in range(3):
        target = labels[:, column].double().numpy()
        target[target == -100] = np.nan
        target = np.nan_to_num((target - np.nanmean(target)) / np.nanstd(target))
        expected = Ridge(alpha=0.2 * size, fit_intercept=False).fit(faces, target)
        np.testing.assert_allclose(patterns.weights[:, column].numpy(), expected.coef_, atol=1e-4)
    np.testing.assert_allclose(patterns.score(tokens).numpy(), faces @ patterns.weights.double().numpy(), atol=1e-4)


def test_a_pattern_depends_on_its_own_labels_alone(world):
    tokens, labels, _ = world
    changed = labels.clone()
    changed[:, 0] = 1 - changed[:, 0]
    before, after = (fit_patterns(tokens, each, 0.1).weights for each in (labels, changed))
    torch.testing.assert_close(before[:, 1:], after[:, 1:])
    assert not torch.allclose(before[:, 0], after[:, 0])


def test_the_readout_is_a_ridge_regression_on_sentences(world):
    _, _, sentences = world
    texts = torch.stack([each.mean(dim=0) for each in sentences.values()])
    asked = fit_readout(texts, ridge=0.05) @ (texts[3] - texts.mean(dim=0))
    centered = (texts - texts.mean(dim=0)).double().numpy()
    expected = Ridge(alpha=0.05, fit_intercept=False).fit(centered, np.eye(len(texts))).predict(centered[3:4])[0]
    np.testing.assert_allclose(asked.numpy(), expected, atol=1e-4)


def test_the_head_says_what_its_regressions_say(world, fitted):
    tokens, labels, sentences = world
    texts = torch.stack([sentences[name].mean(dim=0) for name in NAMES[:-1]])
    patterns = fit_patterns(tokens[:200], labels[:200, :-1], 0.1)
    scores = score_sentence(patterns.score(tokens[:200]), texts, 0.01, sentences[NAMES[-1]][0])
    logits = fitted(tokens[:200], sentences[NAMES[-1]][:1]).logits[:, 0]
    torch.testing.assert_close(logits, scores, atol=1e-4, rtol=1e-4)


def test_the_text_ridge_is_the_one_that_serves_left_out_movements_best(world):
    tokens, labels, sentences = world
    texts = torch.stack([each.mean(dim=0) for each in sentences.values()])
    canonical = torch.stack([each[0] for each in sentences.values()])
    scores = fit_patterns(tokens[:200], labels[:200], 0.1).score(tokens[:200])

    def score_left_out(left_out, ridge):
        others = [column for column in range(8) if column != left_out]
        left_out_scores = score_sentence(scores[:, others], texts[others], ridge, canonical[left_out])
        return roc_auc(left_out_scores, labels[:200, left_out])

    def mean_of(ridge):
        return np.mean([score_left_out(left_out, ridge) for left_out in range(8)])

    best = choose_text_ridge(scores, labels[:200], texts, canonical)
    assert mean_of(best) == max(map(mean_of, TEXT_RIDGES))


def test_round_trip_in_safetensors(fitted, world, tmp_path):
    tokens, _, sentences = world
    # A loaded one is: products of matrices that lie otherwise may round otherwise.
    assert all(tensor.is_contiguous() for tensor in fitted.state_dict().values())
    fitted.save_pretrained(tmp_path)
    assert (tmp_path / "model.safetensors").is_file()
    loaded = TextConditionedAUHead.from_pretrained(tmp_path)
    texts = sentences[NAMES[-1]]
    assert torch.equal(loaded(tokens, texts).logits, fitted(tokens, texts).logits)
    assert loaded.config.trained_aus == NAMES[:-1]
    assert torch.equal(loaded(tokens, texts, return_dict=False)[0], loaded(tokens, texts).logits)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"patch_tokens": torch.zeros(4, 8, SIZE)}, r"needs patch tokens \[n, 6, 8\]"),
        ({"labels": torch.zeros(4, 3)}, r"labels \[n, 2\]"),
        ({"labels": torch.ones(4, 2)}, "a can't be learned"),
        ({"sentences": {"a": torch.zeros(1, TEXT), "b": torch.zeros(0, TEXT)}}, "b needs sentences"),
        ({"sentences": {"a": torch.zeros(1, TEXT)}, "labels": torch.tensor([[0], [1], [0], [1]])}, "at least two AUs"),
    ],
)
def test_mistakes_are_named(change, message):
    arguments = {
        "patch_tokens": torch.zeros(4, PATCHES, SIZE),
        "labels": torch.tensor([[0, 1], [1, 0], [0, 0], [1, 1]]),
        "sentences": {"a": torch.zeros(1, TEXT), "b": torch.zeros(1, TEXT)},
    }
    with pytest.raises(ValueError, match=message):
        fit_head(make_config(), **(arguments | change))
