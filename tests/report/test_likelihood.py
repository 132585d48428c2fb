"""What is followed of held-out images while a model trains."""

from __future__ import annotations

import math

import pytest
import torch

from memogen.report.life_signs import HeldOutQueries
from memogen.types import InputError
from tests.report import toy


def test_held_out_numbers_are_those_of_the_first_images() -> None:
    """Means and counts, re-derived from the parts; the training data have no say."""
    model, data = toy.model(), toy.images(30)
    assert model.memory is not None
    query = model.encode(torch.from_numpy(data.image)[:20])
    real = model.memory.values > 0.5
    cosines = [float(query[i] @ query[j]) for i in range(20) for j in range(20) if i != j]
    keys = model.memory.keys[real & model.memory.keys.ne(0).any(1)].double()
    pairs = (keys @ keys.T)[~torch.eye(len(keys), dtype=torch.bool)]
    assert HeldOutQueries(data, num=20)(model, toy.images(3), seed=0) == {
        "images": 20,
        "log_likelihood": pytest.approx(float(model.memory.log_likelihood(query).mean()), rel=1e-5),
        "best_slots": len((model.memory.posterior(query) * real).argmax(1).unique()),
        "query_cosine": pytest.approx(sum(cosines) / len(cosines), rel=1e-4),
        "key_cosine": pytest.approx(float(pairs.mean()), rel=1e-6),
    }


def test_a_memory_that_lost_its_real_slots_reaches_none() -> None:
    model = toy.model()
    assert model.memory is not None
    model.memory.values.zero_()
    found = HeldOutQueries(toy.images(20))(model, toy.images(3), seed=0)
    assert found["best_slots"] == 0 and math.isnan(found["key_cosine"])


def test_a_model_without_memory_is_refused() -> None:
    with pytest.raises(InputError, match="without a memory"):
        HeldOutQueries(toy.images())(toy.model(memory=False), toy.images(), seed=0)
