import pytest

from hiva_hf.training.hardware import choose_mixed_precision


def test_the_launchers_precision_is_taken_where_the_run_has_none_of_its_own(monkeypatch):
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")
    assert choose_mixed_precision("auto") == "bf16"
    assert choose_mixed_precision("no") == "no"


@pytest.mark.parametrize("precision", ["fp16", "fp8"])
def test_a_precision_that_there_is_not_is_refused(monkeypatch, precision):
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", precision)
    with pytest.raises(ValueError, match=f"asked for mixed precision {precision}, but there are no and bf16"):
        choose_mixed_precision("auto")
    assert choose_mixed_precision("bf16") == "bf16"
