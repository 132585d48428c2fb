"""Precision, recall, density and coverage against the definitions written out image by image."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from memogen.metrics.prdc import Prdc, prdc
from memogen.types import InputError


def _by_hand(real: np.ndarray, fake: np.ndarray, k: int) -> Prdc:
    """Every pair of images by itself."""

    def distance(a: np.ndarray, b: np.ndarray) -> float:
        return float(np.sqrt(((a - b) ** 2).sum()))

    def radius(rows: np.ndarray, i: int) -> float:
        return sorted(distance(rows[i], rows[j]) for j in range(len(rows)) if j != i)[k - 1]

    inside = np.array([[distance(r, f) <= radius(real, i) for f in fake] for i, r in enumerate(real)])
    reached = np.array([[distance(r, f) <= radius(fake, j) for j, f in enumerate(fake)] for r in real])
    return Prdc(inside.any(0).mean(), reached.any(1).mean(), inside.sum(0).mean() / k, inside.any(1).mean())


@given(seed=st.integers(0, 1000), k=st.integers(1, 4), chunk=st.integers(1, 30), shift=st.floats(0, 2))
@settings(max_examples=25, deadline=None)
def test_equals_the_definitions(seed: int, k: int, chunk: int, shift: float) -> None:
    random = np.random.default_rng(seed)
    real, fake = random.normal(size=(13, 3)), random.normal(size=(9, 3)) + shift
    found, expected = prdc(torch.from_numpy(real), torch.from_numpy(fake), k=k, chunk=chunk), _by_hand(real, fake, k)
    for name in ("precision", "recall", "density", "coverage"):
        assert getattr(found, name) == pytest.approx(getattr(expected, name), abs=1e-12)


def test_the_same_set_is_all_covered() -> None:
    x = torch.randn(200, 4, generator=torch.Generator().manual_seed(0))
    found = prdc(x, x)
    assert (found.precision, found.recall, found.coverage) == (1.0, 1.0, 1.0)


def test_a_collapsed_model_has_precision_without_recall() -> None:
    real = torch.randn(500, 4, generator=torch.Generator().manual_seed(0))
    fake = real[:1] + 1e-3 * torch.randn(500, 4, generator=torch.Generator().manual_seed(1))
    found = prdc(real, fake)
    assert found.precision > 0.99 and found.recall < 0.02 and found.coverage < 0.05


def test_far_away_is_nothing() -> None:
    x = torch.randn(50, 4, generator=torch.Generator().manual_seed(0))
    assert prdc(x, x + 1000) == Prdc(0.0, 0.0, 0.0, 0.0)


def test_too_few_images_are_refused() -> None:
    with pytest.raises(InputError, match="at least 6 of each"):
        prdc(torch.zeros(5, 2), torch.zeros(9, 2))
