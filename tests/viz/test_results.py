"""The picture of a run's results shows the numbers that it is given."""

import numpy as np
import pytest

from hiva_hf.facs import ACTION_UNITS
from hiva_hf.viz import draw_results


LABELS = ["AU1", "AU4", "AU12"]
RESULTS = {
    **{"test_f1_AU1": 0.5, "test_f1_AU4": None, "test_f1_AU12": 0.9, "test_mean_f1": 0.7},
    **{"test_roc_auc_AU1": 0.6, "test_roc_auc_AU4": float("nan"), "test_roc_auc_AU12": 1.0, "test_mean_roc_auc": 0.8},
    **{"test_positive_rate_AU1": 0.1, "test_positive_rate_AU4": 0.0, "test_positive_rate_AU12": 0.3},
}


def marks(figure) -> dict[str, list]:
    """The places of each kind of mark, in the order of the rows."""
    scatters = {series.get_label(): series.get_offsets().filled(np.nan) for series in figure.axes[0].collections[1:]}
    for places in scatters.values():
        defined = ~np.isnan(places[:, 0])
        np.testing.assert_array_equal(places[defined, 1], np.flatnonzero(defined))
    return {label: places[:, 0].tolist() for label, places in scatters.items()}


def test_every_score_stands_at_its_place_and_undefined_ones_have_no_mark():
    figure = draw_results(RESULTS, LABELS, title="HiVA")
    seen = marks(figure)
    np.testing.assert_array_equal(seen["F1"], [0.5, np.nan, 0.9, 0.7])
    np.testing.assert_array_equal(seen["ROC-AUC (chance: 0.5)"], [0.6, np.nan, 1.0, 0.8])
    assert seen["positive rate"] == [0.1, 0.0, 0.3]
    names = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert names == ["AU1  Inner Brow Raiser", "AU4  Brow Lowerer", "AU12  Lip Corner Puller", "Mean"]


@pytest.mark.parametrize(("theme", "width"), [("light", 7.2), ("print", 3.5), ("dark", 3.5)])
def test_texts_are_legible_with_all_aus(theme, width, check_texts):
    labels = [unit.label for unit in ACTION_UNITS.values()]
    keys = [f"test_{name}_{label}" for name in ("f1", "roc_auc", "positive_rate") for label in labels]
    results = dict.fromkeys([*keys, "test_mean_f1", "test_mean_roc_auc"], 0.5)
    check_texts(draw_results(results, labels, title="disfa, fold 1", theme=theme, width=width), theme)


def test_other_aus_than_those_tested_are_refused(tmp_path):
    with pytest.raises(ValueError, match="`results` has no 'test_f1_AU26'"):
        draw_results(RESULTS, ["AU26"])
    with pytest.raises(ValueError, match="extension of `path` must be one of"):
        draw_results(RESULTS, LABELS, tmp_path / "results.gif")
    draw_results(RESULTS, LABELS, tmp_path / "new" / "results.svg")
    assert (tmp_path / "new" / "results.svg").stat().st_size > 1000
