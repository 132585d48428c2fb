"""Rare classes, with samples whose recall, coverage, share and distance are known."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from memogen.data import DataOptions, load
from memogen.metrics import score_images
from memogen.metrics.fid import FeatureStatistics, frechet_distance
from memogen.metrics.prdc import Manifold, prdc
from memogen.metrics.rare import RareClasses, rare_distance, rarest, reach, share_of
from memogen.types import ImageData, InputError


def labelled(label: list[int]) -> ImageData:
    return ImageData(np.zeros((len(label), 1, 2, 2), np.uint8), np.array(label))


def test_the_rarest_come_first_and_ties_go_to_the_higher_number() -> None:
    found = rarest(labelled([0] * 9 + [1] * 2 + [2] * 5 + [3] * 2 + [4] * 2))
    assert found.classes == (4, 3, 1) and found.share == pytest.approx(6 / 20) and found.counts == {0: 9, 1: 2, 2: 5, 3: 2, 4: 2}
    with pytest.raises(InputError, match="with more than 3"):
        rarest(labelled([0, 1, 2]))
    with pytest.raises(InputError, match="no labels"):
        rarest(ImageData(np.zeros((4, 1, 2, 2), np.uint8)))


def test_the_manifold_gives_the_same_shares_as_prdc() -> None:
    random = torch.Generator().manual_seed(0)
    real, fake = torch.randn(300, 3, generator=random), torch.randn(200, 3, generator=random) * 0.6 + 0.3
    whole = prdc(real, fake)
    of_real, of_fake = Manifold.of(real, chunk=70), Manifold.of(fake)
    assert float(of_real.holds(fake, chunk=90).double().mean()) == pytest.approx(whole.precision)
    assert float(of_fake.holds(real).double().mean()) == pytest.approx(whole.recall)
    assert float(of_real.covered(fake, chunk=110).double().mean()) == pytest.approx(whole.coverage)


def islands(counts: list[int], seed: int) -> tuple[torch.Tensor, np.ndarray]:
    """So many rows of each class, around centres that lie 100 apart, in any order."""
    label = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(counts)), counts))
    rows = torch.randn(len(label), 2, generator=torch.Generator().manual_seed(seed)) + torch.from_numpy(label * 100.0)[:, None]
    return rows, label


def test_a_class_without_samples_is_not_reached() -> None:
    real, label = islands([60] * 4, 0)
    found = reach(real, label, islands([400, 400, 400, 0], 1)[0])
    assert (found.block, found.num_samples) == (240, 1200)
    assert min(found.recall[name] for name in (0, 1, 2)) > 0.9 and min(found.coverage[name] for name in (0, 1, 2)) > 0.9
    assert found.recall[3] == 0 and found.coverage[3] == 0
    assert found.over((3, 2)) == (found.recall[2] / 2, found.coverage[2] / 2)


def test_strays_flatter_recall_and_not_coverage() -> None:
    real, label = islands([60] * 4, 0)
    strays = torch.tensor([[310.0, 290.0], [290.0, 310.0], [310.0, 310.0], [280.0, 280.0], [320.0, 300.0], [300.0, 320.0]])
    found = reach(real, label, torch.cat([islands([78, 78, 78, 0], 1)[0], strays]))
    assert found.recall[3] == 1 and found.coverage[3] == 0


def rare_case(counts: list[int], seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Samples of 10 features and, as the judge sees them, the probability of the two rare classes 2 and 3."""
    label = np.repeat(np.arange(4), counts)
    rows = torch.randn(len(label), 10, generator=torch.Generator().manual_seed(seed)) + torch.from_numpy(label * 5.0)[:, None]
    return rows, torch.from_numpy((label >= 2).astype(float))


RARE = RareClasses((3, 2), 0.1, {0: 500, 1: 400, 2: 75, 3: 25})


def test_a_faithful_generator_has_next_to_no_distance_though_the_real_classes_are_even() -> None:
    label = np.repeat(np.arange(4), 500)
    real = rare_case([500] * 4, 0)[0]
    fake, belief = rare_case([5000, 4000, 750, 250], 1)
    distance, chosen = rare_distance(real, label, fake, belief, RARE)
    assert chosen == 1000 and distance < 0.5
    uneven = rare_case([5000, 4000, 250, 750], 2)
    assert rare_distance(real, label, *uneven, RARE)[0] > 20 * distance, "the rare classes in each other's shares"


def test_a_generator_without_rare_samples_is_judged_by_what_comes_nearest() -> None:
    label = np.repeat(np.arange(4), 500)
    real = rare_case([500] * 4, 0)[0]
    fake, _ = rare_case([5500, 4500, 0, 0], 1)
    belief = fake.mean(1) / 100  # class 1 lies nearer
    distance, chosen = rare_distance(real, label, fake, belief, RARE)
    assert chosen == 1000 and np.isfinite(distance) and distance > 200
    few, few_belief = rare_case([50, 40, 8, 2], 1)
    assert rare_distance(real, label, few, few_belief, RARE)[1] == 11, "one more than there are features"
    with pytest.raises(InputError, match="10 samples cannot give the covariance"):
        rare_distance(real, label, few[:10], few_belief[:10], RARE)


def test_with_even_classes_the_distance_is_the_plain_one() -> None:
    real, label = rare_case([300] * 4, 0)[0], np.repeat(np.arange(4), 300)
    fake, belief = rare_case([300] * 4, 1)
    statistics = [FeatureStatistics(10), FeatureStatistics(10)]
    for part, rows in zip(statistics, (fake[600:], real[600:]), strict=True):
        part.update(rows)
    even = RareClasses((3, 2), 0.5, {name: 300 for name in range(4)})
    assert rare_distance(real, label, fake, belief, even)[0] == pytest.approx(frechet_distance(*statistics), rel=1e-3)


def test_the_share_is_that_of_the_judges_first_choice() -> None:
    probabilities = torch.tensor([[0.5, 0.3, 0.2], [0.1, 0.2, 0.7], [0.0, 0.6, 0.4], [0.9, 0.1, 0.0]])
    assert share_of(probabilities, (1, 2)) == 0.5


def test_real_images_of_long_tailed_digits_come_as_often_as_they_should() -> None:
    train = load("digits", options=DataOptions(long_tail=0.6), progress=False)
    test = load("digits", split="test", progress=False)
    rows = {str(row["metric"]): row for row in score_images(train, test, extractor="digits", metrics=["rare"], train=train, progress=False)}
    assert rows["rare_share"]["value"] == pytest.approx(1, abs=0.15)
    protocol = rows["rare_recall"]["protocol"]
    assert protocol["classes"] == (9, 8, 7) and set(protocol["by_class"]) == set(range(10))  # type: ignore[index]
    assert protocol["by_class"][0] > 0.9 > float(str(rows["rare_coverage"]["value"]))  # type: ignore[index]
    with pytest.raises(InputError, match="give them as train"):
        score_images(train, test, extractor="digits", metrics=["rare"], progress=False)
