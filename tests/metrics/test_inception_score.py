"""The inception score's identities, and its streaming."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from memogen.metrics.inception_score import InceptionScore
from memogen.types import InputError


def _score(p: torch.Tensor, *, splits: int, batch: int) -> tuple[float, float]:
    score = InceptionScore(len(p), splits=splits)
    for part in p.split(batch):
        score.update(part)
    return score.compute()


def _direct(p: np.ndarray, splits: int) -> tuple[float, float]:
    """The formula of Salimans et al. written out, every split at once."""
    scores = []
    for i in range(splits):
        part = p[[j for j in range(len(p)) if j * splits // len(p) == i]]
        scores.append(np.exp(np.mean(np.sum(part * (np.log(part) - np.log(part.mean(0))), axis=1))))
    return float(np.mean(scores)), float(np.std(scores))


def test_sure_and_even_is_the_number_of_classes() -> None:
    p = torch.eye(7).repeat(20, 1)
    assert _score(p, splits=2, batch=9) == pytest.approx((7.0, 0.0), abs=1e-12)


@pytest.mark.parametrize("row", [[1.0, 0.0, 0.0], [0.2, 0.5, 0.3]])
def test_one_answer_for_all_is_one(row: list[float]) -> None:
    mean, spread = _score(torch.tensor([row]).repeat(50, 1), splits=5, batch=50)
    assert mean == pytest.approx(1.0, abs=1e-7) and spread == pytest.approx(0.0, abs=1e-7)


@given(num=st.integers(10, 60), splits=st.integers(1, 10), batch=st.integers(1, 70), seed=st.integers(0, 1000))
def test_streaming_equals_the_direct_formula(num: int, splits: int, batch: int, seed: int) -> None:
    p = torch.randn(num, 5, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).mul(3).softmax(1)
    assert _score(p, splits=splits, batch=batch) == pytest.approx(_direct(p.numpy(), splits), abs=1e-10)


def test_lies_between_one_and_the_classes() -> None:
    mean, _ = _score(torch.randn(500, 6).softmax(1), splits=1, batch=64)
    assert 1 <= mean <= 6


def test_too_few_too_many_and_unfinished_are_refused() -> None:
    with pytest.raises(InputError, match="at least 10 samples"):
        InceptionScore(9, splits=10)
    score = InceptionScore(4, splits=2)
    score.update(torch.full((3, 2), 0.5))
    with pytest.raises(InputError, match="3 of 4"):
        score.compute()
    with pytest.raises(InputError, match="more than the 4"):
        score.update(torch.full((2, 2), 0.5))
