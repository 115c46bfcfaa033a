"""Which faces the head of a seed is fitted to."""

import pytest
import torch

from hiva_hf.open_vocabulary.leave_one_out import Faces, LeaveOneOut


@pytest.fixture
def few_people() -> Faces:
    """Ten people of two faces each; AU4 is shown by the first alone."""
    subjects = [f"S{number}" for number in range(10) for _ in range(2)]
    labels = torch.tensor([[row % 2, int(row == 0)] for row in range(20)])
    return Faces(torch.randn(20, 4, 8).half(), labels, {"subject": subjects})


def test_people_are_drawn_anew_until_every_au_has_both_states(few_people, tmp_path):
    experiment = LeaveOneOut(tmp_path)
    experiment.aus = (1, 4)
    for seed in range(20):
        rows = experiment._draw_rows(seed, few_people, torch.Generator().manual_seed(seed))
        assert len(rows) == 16
        assert few_people.labels[rows].sum(dim=0).tolist() == [8, 1]


def test_an_au_that_no_draw_has_is_named(few_people, tmp_path):
    experiment = LeaveOneOut(tmp_path)
    experiment.aus = (1, 4)
    few_people.labels[:, 1] = 0
    with pytest.raises(ValueError, match=r"Seed 3: .* \(the last draw lacked AU4\)"):
        experiment._draw_rows(3, few_people, torch.Generator().manual_seed(3))
