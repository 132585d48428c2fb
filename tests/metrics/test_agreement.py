"""The same features give the same scores elsewhere: torchmetrics for FID, KID, IS and MiFID, prdc for its four shares, to a thousandth."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import pytest
import torch
from prdc import compute_prdc
from torch import Tensor, nn
from torchmetrics.image.fid import FrechetInceptionDistance
from torchmetrics.image.inception import InceptionScore as TheirInceptionScore
from torchmetrics.image.kid import KernelInceptionDistance
from torchmetrics.image.mifid import MemorizationInformedFrechetInceptionDistance

from memogen.data import load
from memogen.metrics import FeatureStatistics, InceptionScore, classifier, frechet_distance, kernel_distance, prdc
from memogen.metrics.copies import MemorisationDistance, penalised

CLOSE = 1e-3


@dataclass(frozen=True)
class Case:
    """Features of real images and of others, and the others' logits."""

    real: Tensor
    fake: Tensor
    logits: Tensor


@cache
def _random() -> Case:
    """Features as a last layer gives them, none negative and far from normal."""
    generator = torch.Generator().manual_seed(0)
    mix = torch.randn(24, 24, generator=generator)
    real = (torch.randn(700, 24, generator=generator) @ mix).relu()
    fake = (torch.randn(500, 24, generator=generator) @ mix * 1.1 + 0.3).relu()
    return Case(real, fake, torch.randn(500, 10, generator=generator) * 3)


@cache
def _digits() -> Case:
    """Real features: held-out digits, blurred a little, against the training digits, by the shipped classifier."""
    judge = classifier("digits")
    train, test = (torch.from_numpy(load("digits", split=split, progress=False).image.copy()) for split in ("train", "test"))
    blurred = nn.functional.avg_pool2d(test.float(), 3, 1, 1, count_include_pad=False).mul(0.5).add(test.float() / 2).round().to(torch.uint8)
    features = judge.features(blurred)
    return Case(judge.features(train), features, judge.logits(features))


@pytest.fixture(params=[_random, _digits], ids=["random", "digits"])
def case(request: pytest.FixtureRequest) -> Iterator[Case]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torchmetrics warns that it stores all features
        yield request.param()


def identity(width: int) -> nn.Module:
    """A network that hands its input on, as torchmetrics wants it."""
    same = nn.Identity()
    same.num_features = width  # type: ignore[assignment]
    return same


def statistics(features: Tensor) -> FeatureStatistics:
    found = FeatureStatistics(features.shape[1])
    for part in features.split(97):
        found.update(part)
    return found


def test_frechet_distance(case: Case) -> None:
    theirs = FrechetInceptionDistance(identity(case.real.shape[1])).set_dtype(torch.float64)
    theirs.update(case.real.double(), real=True)
    theirs.update(case.fake.double(), real=False)
    assert frechet_distance(statistics(case.fake), statistics(case.real)) == pytest.approx(float(theirs.compute()), rel=CLOSE)


def test_kernel_distance_of_all_images(case: Case) -> None:
    """Subsets as large as both sets hold all images, so neither library's choice of them matters."""
    num = min(len(case.real), len(case.fake))
    theirs = KernelInceptionDistance(identity(case.real.shape[1]), subsets=2, subset_size=num)
    theirs.update(case.real[:num].double(), real=True)
    theirs.update(case.fake[:num].double(), real=False)
    assert kernel_distance(case.real[:num], case.fake[:num]).mean == pytest.approx(float(theirs.compute()[0]), rel=CLOSE)


def test_kernel_distance_over_subsets(case: Case) -> None:
    """Other subsets: the means agree within their errors, and so do the spreads."""
    torch.manual_seed(0)
    theirs = KernelInceptionDistance(identity(case.real.shape[1]), subsets=100, subset_size=100)
    theirs.update(case.real.double(), real=True)
    theirs.update(case.fake.double(), real=False)
    (mean, spread), ours = theirs.compute(), kernel_distance(case.real, case.fake, subsets=100, subset_size=100)
    assert abs(ours.mean - float(mean)) < 4 * (float(spread) ** 2 + ours.spread**2) ** 0.5 / 10
    assert ours.spread == pytest.approx(float(spread), rel=0.4)


@pytest.mark.parametrize("splits", [1, 5])
def test_inception_score(case: Case, splits: int) -> None:
    """Torchmetrics shuffles the images first; after the same shuffle the splits are the same. Its deviation divides by n - 1, ours by n."""
    num = len(case.logits) // splits * splits
    theirs = TheirInceptionScore(identity(10), splits=splits)
    theirs.update(case.logits[:num].double())
    torch.manual_seed(3)
    mean, spread = theirs.compute()
    torch.manual_seed(3)
    ours = InceptionScore(num, splits=splits)
    ours.update(case.logits[:num].double()[torch.randperm(num)].softmax(1))
    assert ours.compute()[0] == pytest.approx(float(mean), rel=CLOSE)
    if splits > 1:
        assert ours.compute()[1] == pytest.approx(float(spread) * ((splits - 1) / splits) ** 0.5, rel=CLOSE)


def memorisation(samples: Tensor, training: Tensor) -> float:
    distance = MemorisationDistance(training)
    for part in samples.split(61):
        distance.update(part)
    return distance.compute()


@pytest.mark.parametrize("scale", [1.0, 0.01], ids=["apart", "near"])
def test_penalised_frechet_distance(case: Case, scale: float) -> None:
    """Torchmetrics averages over what it calls real the distance to the nearest of what it calls fake: the paper's order with the names exchanged.

    "near": most samples are training images, a little moved, so that there is a penalty.
    """
    fake = case.fake if scale == 1 else case.real[: len(case.fake)] + scale * case.fake[: len(case.real)]
    theirs = MemorizationInformedFrechetInceptionDistance(identity(case.real.shape[1]), cosine_distance_eps=0.1)
    theirs.update(fake.double(), real=True)
    theirs.update(case.real.double(), real=False)
    distance, fid = memorisation(fake, case.real), frechet_distance(statistics(fake), statistics(case.real))
    assert penalised(fid, distance) == pytest.approx(float(theirs.compute()), rel=CLOSE)
    assert scale == 1 or penalised(fid, distance) > 10 * fid


def test_penalised_frechet_distance_in_their_order(case: Case) -> None:
    theirs = MemorizationInformedFrechetInceptionDistance(identity(case.real.shape[1]), cosine_distance_eps=1.0)
    theirs.update(case.real.double(), real=True)
    theirs.update(case.fake.double(), real=False)
    fid = frechet_distance(statistics(case.fake), statistics(case.real))
    assert penalised(fid, memorisation(case.real, case.fake), threshold=1.0) == pytest.approx(float(theirs.compute()), rel=CLOSE)


@pytest.mark.parametrize("k", [3, 5])
def test_precision_recall_density_coverage(case: Case, k: int) -> None:
    with contextlib.redirect_stdout(io.StringIO()):  # it prints the numbers of images
        theirs = compute_prdc(case.real.double().numpy(), case.fake.double().numpy(), nearest_k=k)
    ours = prdc(case.real, case.fake, k=k)
    for name, value in theirs.items():
        assert getattr(ours, name) == pytest.approx(float(value), rel=CLOSE), name
