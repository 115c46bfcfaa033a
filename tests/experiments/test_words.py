"""The verdict on words follows from the intervals and the seeds, and from nothing else."""

import numpy as np
import pytest

from hiva_hf.evaluation.bootstrap import compare_paired
from hiva_hf.evaluation.protocol import score_protocol
from hiva_hf.experiments.words import HELPS, HURTS, NOT_SHOWN, WORD_VARIANTS, answer_of, compare_words


METRICS = ["f1", "tuned_f1", "roc_auc"]


@pytest.fixture
def skilled(random_fold):
    """Predictions of three seeds with a skill; networks of different names are different."""
    return lambda skill, name=0: [random_fold(1, seed=seed, skill=skill, name=name) for seed in (42, 43, 44)]


def verdicts(differences, control) -> list[str]:
    return [difference.verdict for difference in differences if difference.control == control]


def test_verdicts_tell_better_worse_and_equal_controls(skilled):
    differences = compare_words(
        {
            "sentence_level": skilled(0.4, name=1),
            "baseline": skilled(0.1, name=2),
            "full": skilled(0.4),
            "shuffled_descriptions": skilled(0.9, name=3),
        },
        num_resamples=400,
    )
    assert [difference.control for difference in differences[::3]] == [
        "shuffled_descriptions",
        "baseline",
        "sentence_level",
    ]
    assert [difference.metric for difference in differences[:3]] == METRICS
    assert verdicts(differences, "baseline") == [HELPS] * 3
    assert verdicts(differences, "shuffled_descriptions") == [HURTS] * 3
    assert verdicts(differences, "sentence_level") == [NOT_SHOWN] * 3


def test_differences_are_paired_over_subjects_and_seeds(skilled):
    full, control = skilled(0.4), skilled(0.3, name=1)
    first = compare_words({"full": full, "names_only": control}, num_resamples=50)[0]
    expected = compare_paired(full, control, "f1", num_resamples=50, over_seeds=True)
    np.testing.assert_array_equal(first.scores.mean_samples, expected.mean_samples)
    each = [
        score_protocol([ours]).headline("f1") - score_protocol([other]).headline("f1")
        for ours, other in zip(full, control, strict=True)
    ]
    assert first.of_seeds == pytest.approx(dict(zip((42, 43, 44), each, strict=True)))
    assert first.scores.mean_estimate == pytest.approx(np.mean(each), abs=0.01)


def test_one_seed_that_disagrees_leaves_the_question_open(skilled):
    full, control = skilled(0.5), skilled(0.2, name=1)
    helped = compare_words({"full": full, "names_only": control}, num_resamples=50)[0]
    assert helped.verdict == HELPS
    disagreeing = type(helped)(helped.control, helped.metric, helped.scores, helped.of_seeds | {44: -0.01})
    assert disagreeing.verdict == NOT_SHOWN


def test_the_answer_says_what_the_intervals_say(skilled):
    meaning = ("shuffled_descriptions", "random_vectors", "names_only")
    worse = {control: skilled(0.1, name=number) for number, control in enumerate(meaning, start=1)}
    answer = answer_of(compare_words({"full": skilled(0.6)} | worse, num_resamples=100))
    assert len(answer) == 4
    assert answer[1].startswith("Descriptions rather than random vectors: F1 helps (+")
    assert answer[3].startswith("The meaning of the words: F1: words help, against all three controls")
    mixed = worse | {"names_only": skilled(0.6, name=9)}
    answer = answer_of(compare_words({"full": skilled(0.6)} | mixed, num_resamples=100))
    assert "F1: no clear answer, of three controls 2 helps, 1 no difference shown" in answer[3]
    without = answer_of(compare_words({"full": skilled(0.6), "baseline": skilled(0.1, name=1)}, num_resamples=100))
    assert len(without) == 1


def test_controls_that_cannot_be_paired_are_refused(skilled):
    with pytest.raises(ValueError, match="there are only baseline"):
        compare_words({"baseline": skilled(0.5)})
    with pytest.raises(ValueError, match=r"one method has \[42, 43, 44\] and the other \[42, 43\]"):
        compare_words({"full": skilled(0.5), "baseline": skilled(0.5)[:2]})


def test_all_controls_of_the_question_are_run():
    assert WORD_VARIANTS == (
        "full",
        "shuffled_descriptions",
        "random_vectors",
        "names_only",
        "baseline",
        "sentence_level",
    )
