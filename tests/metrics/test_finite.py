"""Scores of nothing: samples, features and the like that are nan or infinite give one clear error of every metric, and no number."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from memogen.metrics import METRICS, evaluate, score_images, score_model
from memogen.metrics.samples import NotFiniteError, finite
from memogen.models.mem_vae import MemVAE
from memogen.types import ImageData, InputError
from tests.metrics.conftest import Moments, ToyGenerator
from tests.metrics.test_forgetting import grey_data, grey_gan, keep
from tests.metrics.test_model_metrics import HOW, TEST, TRAIN, small
from tests.metrics.toys import Recalling, noise

STREAMED = tuple(name for name, metric in METRICS.items() if metric.batched)
LABELLED = ("accuracy", "reverse_accuracy", "fitting_capacity")


def broken(model: nn.Module) -> nn.Module:
    """The model with weights that are no numbers."""
    for parameter in model.parameters():
        torch.nn.init.constant_(parameter, torch.nan)
    return model


class Overflowing(Moments):
    """Its features leave the range of half precision, as do the logits."""

    def features(self, image: Tensor) -> Tensor:
        return (super().features(image) * 1e6).half()

    def forward(self, image: Tensor) -> Tensor:
        return super().forward(image) * torch.inf


class Undecided(Moments):
    """Its logits are no numbers."""

    def forward(self, image: Tensor) -> Tensor:
        return super().forward(image) * torch.nan


def rows_of(subject: object, data: ImageData, metric: str, extractor: object) -> None:
    train = ImageData(np.ascontiguousarray(data.image[::-1]), data.label, data.classes, "tiny", "train", "other")
    evaluate(subject, data, train=train, extractor=extractor, metrics=(metric,), num_samples=100, progress=False)  # type: ignore[arg-type]


@pytest.mark.parametrize("metric", [*STREAMED, "paths"])
def test_samples_of_a_broken_model(metric: str, tiny: ImageData, extractor: Moments) -> None:
    with pytest.raises(InputError, match="samples are nan or infinite"):
        rows_of(broken(ToyGenerator()), tiny, metric, extractor)


@pytest.mark.parametrize("metric", [*STREAMED, "paths"])
def test_features_of_an_extractor_that_overflows(metric: str, tiny: ImageData) -> None:
    with pytest.raises(InputError, match="features are nan or infinite"):
        rows_of(ToyGenerator(), tiny, metric, Overflowing())


@pytest.mark.parametrize("metric", [name for name in STREAMED if "probabilities" in METRICS[name].needs])
def test_logits_that_are_no_numbers(metric: str, tiny: ImageData) -> None:
    with pytest.raises(InputError, match="logits are nan or infinite"):
        rows_of(ToyGenerator(), tiny, metric, Undecided())


def test_features_of_given_images(tiny: ImageData) -> None:
    with pytest.raises(InputError, match="features are nan or infinite"):
        score_images(tiny, tiny, extractor=Overflowing(), metrics=("fid",), progress=False)


@pytest.mark.parametrize("metric", LABELLED)
def test_labelled_samples_of_a_broken_model(metric: str) -> None:
    class Broken(Recalling):
        def sample(self, num: int, *, label: int | None = None, slot: int | None = None, seed: int = 0, start: int = 0) -> Tensor:
            return super().sample(num, label=label, seed=seed, start=start) * torch.nan

    test, train = noise(100, "test", 0), noise(100, "train", 1)
    with pytest.raises(InputError, match="samples are nan or infinite"):
        evaluate(Broken(test), test, train=train, extractor="digits", metrics=(metric,), num_samples=100, progress=False)


def test_a_judge_of_labels_without_numbers(tiny: ImageData) -> None:
    with pytest.raises(InputError, match="logits are nan or infinite"):
        score_images(tiny, tiny, extractor=Undecided(), metrics=("accuracy",), progress=False)


@pytest.mark.parametrize("metric", ["nll", "imputation", "svm", "slots"])
def test_a_broken_model_that_is_asked_itself(metric: str) -> None:
    model = broken(small())
    assert isinstance(model, MemVAE)
    with pytest.raises(InputError, match="nan or infinite"):
        score_model(model, TEST, metrics=(metric,), how=HOW, train=TRAIN, progress=False)


def test_a_discriminator_without_numbers(tmp_path: Path) -> None:
    last = grey_gan(torch.nan, torch.nan)
    run = keep(tmp_path, s1=grey_gan(0.1, 0.1), s2=last)
    with pytest.raises(InputError, match="scores are nan or infinite"):
        score_model(last, grey_data(100, 200), metrics=("critic",), run=run, progress=False)


def test_finite_values_pass_as_they_are() -> None:
    values = torch.arange(3.0)
    assert finite(values, "values") is values
    whole = torch.tensor([1, 2])
    assert finite(whole, "values") is whole
    with pytest.raises(NotFiniteError, match="values are nan or infinite"):
        finite(torch.tensor([1.0, torch.inf]), "values")
