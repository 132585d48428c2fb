"""What is missing for any metric is said before anything is computed; what can be computed but not believed is told in one line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from torch import Tensor

from memogen.metrics import evaluate, score_images
from memogen.metrics.metric import nothing_to_check
from memogen.metrics.registry import METRICS
from memogen.types import ImageData, InputError
from tests.metrics.conftest import Moments, ToyGenerator
from tests.metrics.toys import EVERYTHING, Recalling, noise


class Counting(Moments):
    """Counts the images it has read."""

    read = 0

    def features(self, image: Tensor) -> Tensor:
        self.read += len(image)
        return super().features(image)


def training(data: ImageData) -> ImageData:
    return replace(data, image=255 - data.image, split="train", digest="tiny-2")


@pytest.mark.parametrize(
    ("metrics", "num", "message"),
    [
        (("is", "kid", "fid"), 4, "Fréchet distance: 4 samples .* 4 features"),
        (("fid", "kid", "prdc"), 5, "needs at least 6 of each"),
        (("fid", "kid", "mifid"), 400, "metric mifid: .* give them as train"),
        (("fid", "prdc", "copies"), 400, "metric copies: .* give them as train"),
        (("is", "fid", "accuracy"), 9, "10 classes need at least 10 samples"),
        (("is", "fid", "reverse_accuracy"), 63, "63 images make no batch of 64"),
        (("is", "fid", "fitting_capacity"), 400, "give the training split as train"),
    ],
)
def test_what_the_last_metric_lacks_is_said_before_the_first_is_computed(
    metrics: Sequence[str], num: int, message: str, generator: ToyGenerator, tiny: ImageData
) -> None:
    reader = Counting()
    with pytest.raises(InputError, match=message) as error:
        evaluate(generator, tiny, extractor=reader, metrics=metrics, num_samples=num, progress=False)
    assert reader.read <= 2 and "\n" not in str(error.value), "one sample and one real image have been looked at"


def test_a_small_reference_is_named(generator: ToyGenerator, tiny: ImageData) -> None:
    few = replace(tiny, image=tiny.image[:4], digest="tiny-4")
    with pytest.raises(InputError, match="4 images of tiny test cannot give the covariance of 4 features: use at least 5"):
        evaluate(generator, few, extractor=Moments(), metrics=("kid", "fid"), num_samples=100, progress=False)
    with pytest.raises(InputError, match="1 images of tiny train make no pair"):
        score_images(tiny, replace(few, image=few.image[:1], split="train"), extractor=Moments(), metrics=("is", "kid"), progress=False)


def test_training_images_of_another_shape_are_refused(generator: ToyGenerator, tiny: ImageData) -> None:
    reader = Counting()
    other = replace(training(tiny), image=tiny.image.reshape(120, 1, 2, 8))
    with pytest.raises(InputError, match="all three must be of one shape"):
        evaluate(generator, tiny, extractor=reader, metrics=("fid", "copies"), num_samples=100, train=other, progress=False)
    assert reader.read == 3


def test_no_images_are_refused(tiny: ImageData) -> None:
    none = replace(tiny, image=tiny.image[:0], label=None)
    for images, data in ((none, tiny), (tiny, none)):
        with pytest.raises(InputError, match="no images in split test"):
            score_images(images, data, extractor=Moments(), progress=False)


def test_a_model_without_classes_is_asked_for_one_before_it_is_scored(tiny: ImageData) -> None:
    class Blind(ToyGenerator):
        def sample(self, num: int, *, label: int | None = None, slot: int | None = None, seed: int = 0, start: int = 0) -> Tensor:
            if label is not None:
                raise InputError("label: this model knows none")
            return super().sample(num, seed=seed, start=start)

    reader = Counting()
    with pytest.raises(InputError, match="knows none"):
        evaluate(Blind(), tiny, extractor=reader, metrics=("fid", "accuracy"), num_samples=100, progress=False)
    assert reader.read == 2


def test_every_score_of_given_images_is_checked_by_their_labels() -> None:
    test, train = noise(80, "test", 0), noise(90, "train", 1)
    unlabelled, of_nine = replace(test, label=None), replace(test, label=np.arange(80) % 9)
    for metric in ("accuracy", "reverse_accuracy", "fitting_capacity"):
        with pytest.raises(InputError, match="has no labels: give images in a sub-folder for each class"):
            score_images(unlabelled, test, extractor="digits", metrics=("is", metric), train=train, progress=False)
    with pytest.raises(InputError, match="no generated image of class 9"):
        score_images(of_nine, test, extractor="digits", metrics=("is", "reverse_accuracy"), progress=False)
    many = replace(test, label=np.arange(80) % 12, classes=())
    with pytest.raises(InputError, match="knows 10 classes, the images 12"):
        evaluate(Recalling(test), many, extractor="digits", metrics=("is", "accuracy"), num_samples=100, progress=False)


@pytest.mark.parametrize(
    ("num", "told"),
    [
        (300, ["fid: 300 samples are few for 64 features", "mifid: 300 samples are few"]),
        (350, ["mifid: 310 real images are few for 64 features and make the distance too large: use 320"]),
        (900, ["mifid: 310 real images"]),
    ],
)
def test_few_images_for_the_features_are_told_once_each(num: int, told: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """64 features want 320 images. Whoever wants no progress is told nothing."""
    test, train = noise(400, "test", 0), noise(310, "train", 1)
    model = Recalling(test)
    for shown in (True, False):
        evaluate(model, test, extractor="digits", metrics=EVERYTHING, num_samples=num, train=train, progress=shown)
        lines = capsys.readouterr().err.splitlines()
        assert len(lines) == (len(told) if shown else 0) and all(words in line for words, line in zip(told, lines, strict=False))


def test_every_metric_is_checked() -> None:
    unchecked = {name for name, metric in METRICS.items() if metric.check is nothing_to_check}
    assert unchecked == {"is", "parameters"}
