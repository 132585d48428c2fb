"""The judge of stacked digits against the classifier asked about each channel by itself."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from memogen.data import load
from memogen.data.stacked import digits_of
from memogen.metrics.classifiers import classifier
from memogen.metrics.extractors import extractor
from memogen.types import InputError


def test_a_combination_is_as_probable_as_its_digits_together() -> None:
    data = load("stacked-digits", split="test", progress=False)
    image = torch.from_numpy(np.array(data.image[:60]))
    judge, one = extractor("stacked-digits", image_shape=(3, 8, 8)), classifier("digits")
    logits = judge(image)
    assert logits.shape == (60, 1000) and torch.allclose(logits.exp().sum(1), torch.ones(60), atol=1e-5)
    channels = [one(image[:, place, None]).softmax(1) for place in range(3)]
    digit = torch.from_numpy(digits_of(np.array([0, 42, 305, 999])))
    for combination, parts in zip((0, 42, 305, 999), digit, strict=True):
        together = torch.stack([channel[:, part] for channel, part in zip(channels, parts, strict=True)]).prod(0)
        torch.testing.assert_close(logits.exp()[:, combination], together, rtol=1e-4, atol=1e-7)
    assert float((logits.argmax(1).numpy() == data.label[:60]).mean()) > 0.95
    torch.testing.assert_close(judge.features(image)[:, 64:128], one.features(image[:, 1, None]))


def test_another_number_of_channels_is_refused() -> None:
    with pytest.raises(InputError, match="3 channels"):
        extractor("stacked-digits").features(torch.zeros(2, 1, 8, 8, dtype=torch.uint8))
