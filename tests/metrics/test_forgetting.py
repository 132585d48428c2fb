"""The averages over an accuracy matrix, on numbers that can be checked by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from memogen.metrics.forgetting import AccuracyMatrix
from memogen.types import InputError

VALUES = np.array([[0.9, 0.2, 0.1], [0.6, 0.8, 0.3], [0.7, 0.5, 1.0]])


def test_by_hand() -> None:
    matrix = AccuracyMatrix(VALUES, untrained=np.array([0.1, 0.1, 0.2]))
    assert matrix.average_accuracy == pytest.approx((0.7 + 0.5 + 1.0) / 3)
    assert matrix.backward_transfer == pytest.approx(((0.7 - 0.9) + (0.5 - 0.8)) / 2)
    assert matrix.forward_transfer == pytest.approx(((0.2 - 0.1) + (0.3 - 0.2)) / 2)
    assert matrix.forgetting == pytest.approx(((0.9 - 0.7) + (0.8 - 0.5)) / 2)
    np.testing.assert_allclose(matrix.forgetting_by_task, [0.2, 0.3])


def test_the_best_before_the_last_task_counts_and_what_was_not_learned_yet_does_not() -> None:
    values = np.array([[0.5, 0.99, 0.0], [0.8, 0.6, 0.0], [0.7, 0.7, 0.9]])
    np.testing.assert_allclose(AccuracyMatrix(values).forgetting_by_task, [0.8 - 0.7, 0.6 - 0.7])


@given(num=st.integers(2, 8), seed=st.integers(0, 1000))
def test_without_ups_and_downs_forgetting_is_minus_the_backward_transfer(num: int, seed: int) -> None:
    """When an accuracy is never better than when its task was learned, the two are the same number."""
    falling = np.sort(np.random.default_rng(seed).uniform(size=(num, num)), axis=0)[::-1]
    matrix = AccuracyMatrix(np.ascontiguousarray(falling))
    values = np.where(np.tri(num, dtype=bool), falling, np.nan)
    assert matrix.forgetting == pytest.approx(-AccuracyMatrix(values).backward_transfer)
    assert matrix.forgetting >= 0


def test_tasks_not_yet_learned_may_be_missing_but_then_forward_transfer_is() -> None:
    values = np.where(np.tri(3, dtype=bool), VALUES, np.nan)
    matrix = AccuracyMatrix(values, untrained=np.zeros(3))
    assert matrix.forgetting == AccuracyMatrix(VALUES).forgetting
    with pytest.raises(InputError, match="before it is learned"):
        _ = matrix.forward_transfer


def test_unusable_matrices_are_refused() -> None:
    with pytest.raises(InputError, match="one row and one column"):
        AccuracyMatrix(np.zeros((2, 3)))
    with pytest.raises(InputError, match="already learned is missing"):
        AccuracyMatrix(np.array([[0.5, 0.1], [np.nan, 0.5]]))
    with pytest.raises(InputError, match="learn two or more"):
        _ = AccuracyMatrix(np.ones((1, 1))).forgetting
    with pytest.raises(InputError, match="give one for each"):
        AccuracyMatrix(VALUES, untrained=np.zeros(2))
