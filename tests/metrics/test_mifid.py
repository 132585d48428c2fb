"""The memorisation distance and its penalty."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from memogen.metrics.copies import MemorisationDistance, penalised
from memogen.types import InputError


def _random(seed: int, *size: int) -> torch.Tensor:
    return torch.randn(*size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@given(seed=st.integers(0, 1000), num=st.integers(1, 20), batch=st.integers(1, 25), chunk=st.integers(1, 40))
def test_is_the_mean_over_samples_of_the_least_cosine_distance(seed: int, num: int, batch: int, chunk: int) -> None:
    samples, training = _random(seed, num, 4), _random(seed + 1, 33, 4)
    distance = MemorisationDistance(training, chunk=chunk)
    for part in samples.split(batch):
        distance.update(part)
    cosine = torch.nn.functional.cosine_similarity(samples[:, None], training[None], dim=2)
    assert distance.compute() == pytest.approx(float((1 - cosine.abs().amax(1)).mean()), abs=1e-12)


def test_copies_have_no_distance_whatever_their_length() -> None:
    training = _random(0, 50, 8).float()
    distance = MemorisationDistance(training)
    distance.update(training[:10] * 3)
    assert distance.compute() < 1e-7


def test_rows_of_zeros_have_no_direction() -> None:
    training = torch.cat([torch.zeros(2, 3), torch.eye(3)])
    distance = MemorisationDistance(training)
    distance.update(torch.tensor([[0.0, 0, 0], [1, 1, 0]]))
    assert distance.count == 1 and distance.compute() == pytest.approx(1 - 0.5**0.5)
    with pytest.raises(InputError, match="no training image"):
        MemorisationDistance(torch.zeros(4, 3))
    with pytest.raises(InputError, match="no sample"):
        MemorisationDistance(training).compute()


def test_only_a_small_distance_is_a_penalty() -> None:
    assert penalised(3.0, 0.05) == pytest.approx(60.0) and penalised(3.0, 0.1) == 3.0 and penalised(3.0, 0.4) == 3.0
    assert penalised(1e-9, 0.0) == 0.0 and penalised(1.0, 0.0) > 1e13
