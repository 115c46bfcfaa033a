import pytest

from hiva_hf.training.batches import BatchPlan


def rows_of_all(num_processes: int, size: int, num_passes: int = 1, **place) -> list[list[list[int]]]:
    plans = [BatchPlan(50, size, num_passes, num_processes, index) for index in range(num_processes)]
    return [plan.rows(seed=1, epoch=2, **place) for plan in plans]


def test_a_step_has_the_same_faces_however_it_is_shared():
    (alone,) = rows_of_all(1, 12)
    first, second = rows_of_all(2, 6)
    assert [a + b for a, b in zip(first, second, strict=True)] == alone
    (passes,) = rows_of_all(1, 6, num_passes=2)
    assert [a + b for a, b in zip(passes[::2], passes[1::2], strict=True)] == alone
    first, second = rows_of_all(2, 3, num_passes=2)
    shared = [a + b for a, b in zip(first, second, strict=True)]
    assert shared == passes


def test_no_face_comes_twice_in_an_epoch_and_every_step_is_full():
    (rows,) = rows_of_all(1, 12)
    seen = [row for batch in rows for row in batch]
    assert len(rows) == 4
    assert len(seen) == len(set(seen)) == 48


def test_an_epoch_goes_on_where_it_was_left():
    assert rows_of_all(2, 3, num_passes=2, first_step=3)[1] == rows_of_all(2, 3, num_passes=2)[1][6:]


def test_epochs_and_seeds_have_orders_of_their_own():
    plan = BatchPlan(50, 50, 1, 1, 0)
    orders = [tuple(plan.rows(seed, epoch)[0]) for seed in (1, 2) for epoch in (0, 1)]
    assert len(set(orders)) == 4
    assert all(sorted(order) == list(range(50)) for order in orders)


def test_a_step_larger_than_the_split_is_refused():
    with pytest.raises(ValueError, match=r"has 50 faces, but one optimizer step needs 64 \(16 per process"):
        BatchPlan(50, 16, 2, 2, 0)
