"""One stream for all metrics: the same rows at any batch size, complete protocols, and nothing moved by scoring."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from memogen.metrics import ScoreConfig, ScoreEvaluator, append_rows, classifier, evaluate, score_images
from memogen.metrics.fid import FeatureStatistics, frechet_distance
from memogen.metrics.inception_score import splits_for
from memogen.metrics.metric import nothing_to_check
from memogen.metrics.registry import METRICS
from memogen.metrics.rows import ResultRow
from memogen.metrics.samples import drawn_batches
from memogen.types import Evaluator, ImageData, InputError, Latents, to_uint8
from tests.metrics.conftest import Moments, ToyGenerator
from tests.metrics.toys import EVERYTHING, Recalling, noise

ALL = ("is", "fid", "prdc")


def _values(rows: list[ResultRow]) -> dict[str, float]:
    return {str(row["metric"]): float(str(row["value"])) for row in rows}


def test_rows_agree_at_every_batch_size(generator: ToyGenerator, tiny: ImageData, extractor: Moments) -> None:
    first, *others = (
        _values(evaluate(generator, tiny, extractor=extractor, metrics=ALL, num_samples=600, seed=4, batch_size=size)) for size in (1, 7, 256)
    )
    assert set(first) == {"inception_score", "fid", "precision", "recall", "density", "coverage"}
    for other in others:
        assert other == pytest.approx(first, abs=1e-9)


class SmallPictures(nn.Module):
    """A float32 deconvolution to 8x8 pixels: its rounding differs a little from batch size to batch size."""

    image_range = (0.0, 1.0)

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.Sequential(nn.ConvTranspose2d(8, 16, 4), nn.BatchNorm2d(16), nn.ReLU(), nn.ConvTranspose2d(16, 1, 4, 2, 1), nn.Sigmoid())

    def latents(self, num: int, *, label: int | None = None, slot: int | None = None, seed: int = 0, start: int = 0) -> Latents:
        return Latents(ToyGenerator().latents(num, seed=seed, start=start).noise.float())

    def decode(self, latents: Latents) -> torch.Tensor:
        return self.net(nn.functional.pad(latents.noise, (0, 2))[:, :, None, None] * 3)

    def sample(self, num: int, *, label: int | None = None, slot: int | None = None, seed: int = 0, start: int = 0) -> torch.Tensor:
        return self.decode(self.latents(num, seed=seed, start=start))


def test_the_shipped_classifier_gives_the_same_score_at_every_batch_size() -> None:
    data = ImageData(np.random.default_rng(0).integers(0, 256, (200, 1, 8, 8)).astype(np.uint8), digest="noise")
    rows = [_values(evaluate(SmallPictures(), data, extractor="digits", metrics=ALL, num_samples=500, batch_size=size)) for size in (1, 7, 256)]
    for other in rows[1:]:
        assert other == pytest.approx(rows[0], rel=1e-6, abs=1e-6)


def test_a_row_holds_its_protocol(generator: ToyGenerator, tiny: ImageData, extractor: Moments) -> None:
    score, distance = evaluate(generator, tiny, extractor=extractor, num_samples=1500, seed=9)
    assert (score["metric"], distance["metric"]) == ("inception_score", "fid")
    assert score["spread"] is not None and distance["spread"] is None
    assert score["protocol"] == {
        "extractor": "moments:1", "extractor_accuracy": None, "num_samples": 1500, "resize": "none", "seed": 9, "splits": 3,
    }  # fmt: skip
    assert distance["protocol"]["reference"] == {"data": "tiny", "split": "test", "digest": "tiny-1", "num": 120}  # type: ignore[index]
    assert distance["split"] == "test" and distance["device"] == "cpu" and float(str(distance["seconds"])) > 0
    json.dumps([score.to_json(), distance.to_json()], allow_nan=False)


def test_every_row_says_all_that_its_number_depends_on(generator: ToyGenerator, tiny: ImageData, extractor: Moments) -> None:
    train = replace(tiny, image=255 - tiny.image, split="train", digest="tiny-2")
    names = ("is", "fid", "prdc", "kid", "mifid", "copies")
    rows = evaluate(generator, tiny, extractor=extractor, metrics=names, num_samples=400, seed=9, train=train)
    neighbours, shares = {"reference", "neighbours", "block"}, {"share_below_5_percent", "held_out_share", "more_than_held_out"}
    copies = {"reference", "training", "percentile", "threshold", "quantiles", *shares}
    own: dict[str, set[str]] = {
        "inception_score": {"splits"},
        "fid": {"reference"},
        "kid": {"reference", "subsets", "subset_size", "subset_seed"},
        "mifid": {"reference", "memorisation_distance", "threshold", "unpenalised"},
        **{name: neighbours for name in ("precision", "recall", "density", "coverage")},
        **{name: copies for name in ("copies_pixels", "copies_features")},
    }
    assert {str(row["metric"]) for row in rows} == set(own)
    for row in rows:
        protocol: dict[str, object] = row["protocol"]  # type: ignore[assignment]
        assert set(protocol) == {"extractor", "extractor_accuracy", "num_samples", "resize", "seed", *own[str(row["metric"])]}
        compared = train if row["metric"] == "mifid" else tiny
        if "reference" in protocol:
            assert protocol["reference"] == {"data": "tiny", "split": compared.split, "digest": compared.digest, "num": 120}
        assert protocol["seed"] == 9 and protocol["num_samples"] == (360 if "block" in protocol else 400)
    json.dumps([row.to_json() for row in rows], allow_nan=False)


def test_scores_do_not_depend_on_which_others_are_asked_for(generator: ToyGenerator, tiny: ImageData, extractor: Moments) -> None:
    together = _values(evaluate(generator, tiny, extractor=extractor, metrics=("kid", "prdc", "fid", "is"), num_samples=300))
    alone = {
        name: value
        for metric in ALL
        for name, value in _values(evaluate(generator, tiny, extractor=extractor, metrics=(metric,), num_samples=300)).items()
    }
    assert {name: together[name] for name in alone} == alone


def test_an_extractor_without_logits_serves_all_scores_but_the_inception_score(generator: ToyGenerator, tiny: ImageData) -> None:
    class Features(Moments):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            raise InputError("no logits")

    assert len(evaluate(generator, tiny, extractor=Features(), metrics=("fid", "kid", "prdc"), num_samples=100)) == 6
    with pytest.raises(InputError, match="no logits"):
        evaluate(generator, tiny, extractor=Features(), metrics=("is",), num_samples=100)


def test_fid_is_that_of_the_samples_against_all_the_data(generator: ToyGenerator, tiny: ImageData, extractor: Moments) -> None:
    fake, real = FeatureStatistics(4), FeatureStatistics(4)
    fake.update(extractor.features(to_uint8(generator.eval().sample(300, seed=2), generator.image_range)))
    real.update(extractor.features(torch.from_numpy(tiny.image)))
    rows = evaluate(generator, tiny, extractor=extractor, metrics=("fid",), num_samples=300, seed=2, batch_size=64)
    assert _values(rows)["fid"] == pytest.approx(frechet_distance(fake, real), rel=1e-10)


def test_the_seed_chooses_the_samples(generator: ToyGenerator, tiny: ImageData, extractor: Moments) -> None:
    a, b, c = (_values(evaluate(generator, tiny, extractor=extractor, num_samples=200, seed=seed)) for seed in (1, 1, 2))
    assert a == b and a != c


def test_scoring_leaves_the_model_as_it_was(generator: ToyGenerator, tiny: ImageData, extractor: Moments) -> None:
    generator.train()
    generator.layer[0].eval()
    before = {name: value.clone() for name, value in generator.state_dict().items()}
    state = torch.get_rng_state()
    evaluate(generator, tiny, extractor=extractor, num_samples=100)
    assert generator.training and generator.layer[1].training and not generator.layer[0].training
    assert all(torch.equal(value, before[name]) for name, value in generator.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)


def test_samples_are_cut_to_the_number_asked_for(generator: ToyGenerator) -> None:
    parts = list(drawn_batches(generator, 10, seed=3, batch_size=4))
    assert [len(part) for part in parts] == [4, 4, 2] and parts[0].dtype == torch.uint8
    assert torch.equal(torch.cat(parts), next(iter(drawn_batches(generator, 10, seed=3, batch_size=99))))


def test_real_images_against_themselves(tiny: ImageData, extractor: Moments) -> None:
    rows = score_images(tiny, tiny, extractor=extractor, metrics=ALL)
    values = _values(rows)
    assert all(row["variant"] == "real" for row in rows)
    assert values["fid"] == pytest.approx(0.0, abs=1e-9)
    assert values["precision"] == values["recall"] == values["coverage"] == 1.0
    assert rows[0]["protocol"]["images"] == {"data": "tiny", "split": "test", "digest": "tiny-1"}  # type: ignore[index]


def test_a_part_of_sorted_data_still_holds_all_classes() -> None:
    image = np.repeat(np.arange(10, dtype=np.uint8) * 25, 100)[:, None, None, None] * np.ones((1, 1, 4, 4), np.uint8)
    data = ImageData(image)

    class Brightness(Moments):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            return nn.functional.one_hot(image[:, 0, 0, 0].long() // 25, 10).double() * 100

    (row,) = score_images(data, data, extractor=Brightness(), metrics=("is",), num_samples=500)
    assert float(str(row["value"])) > 9.5


def test_evaluator_gives_numbers_and_keeps_the_protocol_of_types(generator: ToyGenerator, tiny: ImageData, extractor: Moments) -> None:
    evaluator: Evaluator = ScoreEvaluator(extractor, ScoreConfig(num_samples=150, progress=False))
    rows = evaluate(generator, tiny, extractor=extractor, num_samples=150, seed=6)
    assert evaluator(generator, tiny, seed=6) == pytest.approx(_values(rows))
    with pytest.raises(InputError, match="Linear does not draw"):
        evaluator(nn.Linear(1, 1), tiny, seed=0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"metrics": ("is", "fjd")}, "metric 'fjd': unknown: choose from is, fid, kid"),
        ({"metrics": ()}, "none given"),
        ({"num_samples": 0}, "at least 1"),
        ({"metrics": ("fid",), "num_samples": 4}, "4 samples cannot .* at least 5"),
        ({"metrics": ("kid",), "num_samples": 1}, "1 samples make no pair: use at least 2"),
        ({"metrics": ("prdc",), "num_samples": 5}, "needs at least 6 of each"),
        ({"metrics": ("mifid",)}, "give them as train"),
        ({"metrics": ("copies",)}, "give them as train"),
        ({"extractor": "nothing"}, "choose inception-v3 or resnet50=PATH or pixels, or give a file"),
    ],
)
def test_unusable_input_is_one_clear_line(
    generator: ToyGenerator, tiny: ImageData, extractor: Moments, options: dict[str, object], message: str
) -> None:
    with pytest.raises(InputError, match=message) as error:
        evaluate(generator, tiny, **{"extractor": extractor, **options})  # type: ignore[arg-type]
    assert "\n" not in str(error.value)


def test_samples_of_another_shape_than_the_classifier_reads(generator: ToyGenerator) -> None:
    data = ImageData(np.zeros((200, 1, 8, 8), np.uint8))
    with pytest.raises(InputError, match=r"give \(c, h, w\) = \(1, 8, 8\)"):
        evaluate(generator, data, extractor=classifier("digits"), metrics=("is",), num_samples=20)


def test_splits_are_fewer_where_images_are_few() -> None:
    assert [splits_for(num) for num in (1, 360, 1000, 5000, 64_000)] == [1, 1, 2, 10, 10]


def test_rows_are_appended_and_a_torn_line_loses_only_itself(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "results.jsonl"
    append_rows(path, [{"metric": "fid", "value": 1.5}])
    with open(path, "a") as file:
        file.write('{"metric": "is", "val')
    append_rows(path, [{"metric": "is", "value": 2.5}, {"metric": "kid", "value": 0.5}])
    lines = path.read_text().splitlines()
    assert len(lines) == 4 and [json.loads(lines[i])["metric"] for i in (0, 2, 3)] == ["fid", "is", "kid"]


def test_rows_that_are_no_numbers_are_not_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        append_rows(tmp_path / "rows.jsonl", [{"value": float("nan")}])
    assert not (tmp_path / "rows.jsonl").exists()


def test_data_without_a_digest_are_scored_too(generator: ToyGenerator, tiny: ImageData, extractor: Moments, own_cache: Path) -> None:
    assert evaluate(generator, replace(tiny, digest=""), extractor=extractor, num_samples=100)
    assert not own_cache.exists()


# --- What is missing for any metric is said before anything is computed; what can be computed but not believed is told in one line ---


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
