"""Scores of novelty: the area under the curve by its definition, neighbours by brute force, and a memory with known directions."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from memogen.memory.functional import unit
from memogen.metrics.log_likelihood import log_likelihood, observable
from memogen.metrics.novelty import BOUND, MEMORY, NEAR_PIXELS, NEAR_QUERIES, NoveltyScore, auroc, auroc_error, neighbour_score, novelty
from memogen.pretrained import from_pretrained
from memogen.types import ImageData, InputError
from tests.metrics.toys import noise, small_gan

SCORES = st.lists(st.integers(-3, 3), min_size=1, max_size=12)


def pairs(known: Tensor, others: Tensor) -> Tensor:
    """Whether each known score is above each other one, ties by half."""
    return (known[:, None] > others).double() + (known[:, None] == others).double() / 2


@given(SCORES, SCORES)
def test_the_area_under_the_curve_is_the_share_of_ordered_pairs(known: list[int], others: list[int]) -> None:
    left, right = torch.tensor(known).double(), torch.tensor(others).double()
    by_pairs = float(pairs(left, right).sum()) / (len(known) * len(others))
    assert auroc(left, right) == by_pairs, "exactly"
    assert auroc(right, left) == pytest.approx(1 - by_pairs)
    assert auroc(3 * left.exp(), 3 * right.exp()) == by_pairs, "only the order counts"


def test_its_error_is_that_of_placements_and_of_repeated_draws() -> None:
    chance = torch.Generator().manual_seed(0)
    known, others = torch.randn(40, generator=chance).double() + 1, torch.randn(60, generator=chance).double()
    placed = pairs(known, others)
    assert auroc_error(known, others) == pytest.approx(math.sqrt(float(placed.mean(1).var() / 40 + placed.mean(0).var() / 60)))
    draws = [auroc(torch.randn(40, generator=chance) + 1, torch.randn(60, generator=chance)) for _ in range(400)]
    assert auroc_error(known, others) == pytest.approx(float(np.std(draws)), rel=0.3)
    assert math.isnan(auroc_error(known[:1], others))


def test_percentiles_count_known_images_below_and_ties_by_half() -> None:
    score = NoveltyScore("memory", torch.tensor([1.0, 2, 2, 4]), torch.tensor([0.0, 2, 3, 5]))
    assert score.percentiles.tolist() == [0, 50, 75, 100]


def test_nan_and_nothing_are_refused() -> None:
    with pytest.raises(InputError, match="nan"):
        auroc(torch.tensor([math.nan]), torch.ones(2))
    with pytest.raises(InputError, match="at least one of each"):
        auroc(torch.ones(2), torch.ones(0))


def test_neighbours_by_brute_force() -> None:
    chance = torch.Generator().manual_seed(1)
    rows, training = torch.randn(7, 5, generator=chance), torch.randn(300, 5, generator=chance)
    by_hand = [-sorted(float((row - each).norm()) for each in training)[2] for row in rows]
    assert neighbour_score(rows, training, k=3).tolist() == pytest.approx(by_hand, rel=1e-5)
    with pytest.raises(InputError, match="ask for 1 to 300"):
        neighbour_score(rows, training, k=301)


def test_a_memory_knows_what_lies_in_the_direction_of_its_keys() -> None:
    """A critic whose queries are told: known images near the keys, others anywhere."""
    model = small_gan()
    assert model.memory is not None
    known, others, training = (noise(32, split, seed) for split, seed in (("test", 0), ("test", 1), ("train", 2)))
    with torch.no_grad():
        model.memory.keys.copy_(unit(model.encode(torch.from_numpy(known.image))))
        model.memory.concentration = 500.0
    found = {score.name: score for score in novelty(model, known, others, training)}
    assert list(found) == [MEMORY, NEAR_QUERIES, NEAR_PIXELS]
    query = model.encode(torch.from_numpy(known.image))
    assert torch.allclose(found[MEMORY].known, model.memory.log_likelihood(query).double())
    assert found[MEMORY].auroc > 0.8, "the keys are queries of known images"
    cosine = found[MEMORY].protocol["cosine"]
    assert isinstance(cosine, dict) and cosine["known"] > cosine["others"]


def test_the_memory_guesses_where_queries_collapse() -> None:
    """Where other images have the queries of known ones no memory tells them apart, and neighbours in pixels still may."""
    model = small_gan()

    class Blind(torch.nn.Module):
        """The same features for everything."""

        def forward(self, image: Tensor) -> Tensor:
            return torch.ones(len(image), 17)

    model.critic = Blind()
    known, training = noise(40, "test", 0), noise(60, "train", 0)
    black = ImageData(np.zeros((30, 1, 8, 8), np.uint8), name="black", split="test")
    found = {score.name: score.auroc for score in novelty(model, known, black, training)}
    assert found == {MEMORY: 0.5, NEAR_QUERIES: 0.5, NEAR_PIXELS: pytest.approx(1.0)}


def test_a_vae_is_asked_for_its_bound() -> None:
    model = from_pretrained("digits-vae")
    known, others, training = (noise(20, split, seed) for split, seed in (("test", 0), ("test", 1), ("train", 2)))
    found = novelty(model, known, others, training, importance_samples=3)
    assert [score.name for score in found] == [BOUND, NEAR_PIXELS]
    images, drawn = observable(model, others, seed=0)
    assert np.array_equal(found[0].others.numpy(), log_likelihood(model, images, num_samples=3, at=(3,)).log_likelihood[:, -1])
    assert found[0].protocol == {"importance_samples": 3, **drawn}


def test_what_has_neither_memory_nor_likelihood_is_refused() -> None:
    data = noise(20, "test", 0)
    with pytest.raises(InputError, match="choose a memoryGAN or a MEM-VAE"):
        novelty(torch.nn.Linear(2, 2), data, data, data)
    wide = ImageData(np.zeros((20, 1, 8, 9), np.uint8), name="wide")
    with pytest.raises(InputError, match="wide: images are"):
        novelty(small_gan(), data, wide, data)
    with pytest.raises(InputError, match="no images in split"):
        novelty(small_gan(), data, ImageData(np.zeros((0, 1, 8, 8), np.uint8)), data)
