"""A small MEM-VAE asked about small pictures: every row against the function behind it, and what is refused beforehand."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from memogen.metrics.evaluate import check_model, score_model
from memogen.metrics.imputation import Refinement, imputation_error
from memogen.metrics.log_likelihood import Binarisation, HeldOutBounds, log_likelihood, observable
from memogen.metrics.metric import ModelScoring
from memogen.metrics.paired import PerImage, kept, paired
from memogen.metrics.registry import measured
from memogen.metrics.rows import Interrupted
from memogen.metrics.samples import part_of
from memogen.models import AttentionConfig, MemVAEConfig
from memogen.models.mem_vae import MemVAE
from memogen.types import ImageData, InputError

HOW = ModelScoring(importance_samples=20, masks=("half", "rand-0.5"), refinements=2, svm_penalty=0.1)


def pictures(num: int, split: str, seed: int) -> ImageData:
    rng = np.random.default_rng(seed)
    label = rng.integers(0, 3, num)
    image = rng.integers(0, 200, (num, 1, 4, 4)) + 50 * (np.arange(16).reshape(1, 1, 4, 4) % 3 == label[:, None, None, None])
    return ImageData(image.astype(np.uint8), label, ("a", "b", "c"), "toy", split, f"toy-{split}")


TRAIN, TEST = pictures(300, "train", 0), pictures(60, "test", 1)


def small(**changes: object) -> MemVAE:
    torch.manual_seed(0)
    config = MemVAEConfig((1, 4, 4), hidden=(6, 5), latent_dim=2, memory=AttentionConfig((4, 3)))
    model = replace(config, **changes).build().eval()
    model.calibrate(TRAIN)
    return model


def scored(model: nn.Module, *metrics: str, **options: object) -> list[dict[str, object]]:
    return score_model(model, TEST, metrics=metrics, how=HOW, train=TRAIN, progress=False, **options)  # type: ignore[arg-type]


def test_the_likelihood_is_of_one_binary_draw_and_kept_for_every_image() -> None:
    whole, lower = scored(small(), "nll")
    found = log_likelihood(small(), Binarisation(0, 256).apply(TEST), num_samples=20)
    assert (whole["metric"], lower["metric"]) == ("log_likelihood", "elbo")
    assert whole["value"] == pytest.approx(found.value) and lower["value"] == pytest.approx(found.elbo)
    assert whole["protocol"]["binarisation"] == "one draw, p = v / 256"
    assert isinstance(whole["per_image"], PerImage)
    np.testing.assert_allclose(whole["per_image"].value, found.log_likelihood[:, -1])
    assert whole["split"] == "test" and whole["spread"] == pytest.approx(found.spread)


def test_a_part_of_the_images_has_their_estimates_in_black_and_white_of_the_whole() -> None:
    part = part_of(TEST, 10)
    assert len(part) == 10 and part.label is not None and part.digest != TEST.digest and part_of(TEST, 60) is TEST
    rows = [int(np.flatnonzero((TEST.image == image).all((1, 2, 3)))[0]) for image in part.image]
    assert rows == sorted(rows) and TEST.label[rows].tolist() == part.label.tolist()
    few = scored(small(), "nll", num_samples=10)[0]
    drawn = Binarisation(0, 256).apply(TEST)
    expected = log_likelihood(small(), replace(drawn, image=drawn.image[rows]), num_samples=20)
    np.testing.assert_allclose(few["per_image"].value, expected.log_likelihood[:, -1])


def test_bounds_over_training() -> None:
    images, told = observable(small(), TEST, seed=3)
    assert told == Binarisation(3, 256).protocol and set(np.unique(images.image)) == {0, 1}
    found = HeldOutBounds(images)(small(), TRAIN, seed=0)
    exact = log_likelihood(small(), images, num_samples=10)
    assert found == {"images": 60, "lower_bound": pytest.approx(exact.elbo), "bound_of_10_samples": pytest.approx(exact.value)}
    assert found["lower_bound"] < found["bound_of_10_samples"]
    with pytest.raises(InputError, match="no likelihood"):
        HeldOutBounds(images)(nn.Linear(1, 1), TRAIN, seed=0)


def test_two_models_are_compared_on_the_same_draw() -> None:
    one, other = (scored(small(**change), "nll")[0]["per_image"] for change in ({}, {"hidden": (7, 5)}))
    assert paired([one], [other]).num_images == 60
    changed = scored(small(), "nll", seed=1)[0]["per_image"]
    with pytest.raises(InputError, match="seed 0 beside 1"):
        paired([one], [changed])


def test_real_pixels_are_not_binarised() -> None:
    row = scored(small(output="gaussian"), "nll")[0]
    assert row["protocol"]["binarisation"] == "none"
    assert row["value"] == pytest.approx(log_likelihood(small(output="gaussian"), TEST, num_samples=20).value)


def test_every_mask_by_both_statistics() -> None:
    rows = scored(small(), "imputation")
    assert [measured("imputation_mse", row["protocol"]) for row in rows] == [
        "imputation_mse half",
        "imputation_mse half by batch",
        "imputation_mse rand-0.5",
        "imputation_mse rand-0.5 by batch",
    ]
    assert rows[1]["value"] == pytest.approx(imputation_error(small(), TEST, "half", Refinement(2, by_batch=True)).value)
    assert rows[0]["value"] != rows[1]["value"]


def test_machine_slots_and_parameters() -> None:
    rows = {measured(str(row["metric"]), row["protocol"]): row for row in scored(small(), "svm", "slots", "parameters")}
    assert list(rows) == ["svm_accuracy", "slot_preference 1", "slot_preference 2", "slot_preference 3", "parameters"]
    assert rows["svm_accuracy"]["value"] > 0.4
    shares = [rows[f"slot_preference {rank}"]["value"] for rank in (1, 2, 3)]
    assert shares == sorted(shares, reverse=True) and 0.25 < shares[0] < 1
    assert set(rows["slot_preference 1"]["protocol"]["by_class"]) == {"a", "b", "c"}
    assert rows["parameters"]["value"] == sum(parameter.numel() for parameter in small().parameters())


def test_rows_are_ready_for_a_file(tmp_path: Path) -> None:
    rows = kept(scored(small(), "nll", "imputation", "svm", "slots", "parameters"), tmp_path)
    json.dumps([row.to_json() for row in rows], allow_nan=False)
    assert all(row["protocol"]["extractor"] is None and "num_samples" in row["protocol"] for row in rows)


@pytest.mark.parametrize(
    ("metrics", "changes", "words"),
    [
        (("nul",), {}, "unknown: choose from nll"),
        (("nll", "svm"), {"train": None}, "with a test part"),
        (("svm",), {"train": replace(TRAIN, label=None)}, "toy, train, has no labels"),
        (("slots",), {"data": replace(TEST, label=None)}, "has no labels"),
        (("imputation",), {"how": replace(HOW, masks=("half", "rect-9"))}, "choose a side from 1 to 4"),
        (("slots",), {"model": small(memory=AttentionConfig(()))}, "it has no memory"),
        (("nll",), {"model": nn.Linear(1, 1)}, "a Linear has no likelihood"),
        (("imputation",), {"model": nn.Linear(1, 1)}, "reconstructs no images"),
        (("svm",), {"model": nn.Linear(1, 1)}, "has no features"),
        (("slots",), {"model": nn.Linear(1, 1)}, "no slots that images address"),
    ],
)
def test_what_a_metric_lacks_is_said_before_anything_is_computed(metrics: tuple[str, ...], changes: dict[str, object], words: str) -> None:
    given: dict[str, object] = {"model": small(), "data": TEST, "train": TRAIN, "how": HOW, **changes}
    with pytest.raises(InputError, match=words):
        check_model(given["model"], given["data"], metrics=metrics, how=given["how"], train=given["train"])  # type: ignore[arg-type]
    with pytest.raises(InputError):
        ModelScoring(importance_samples=0)


def test_what_was_computed_before_a_stop_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    model, past = small(), 0
    weigh = model.log_weights

    def stopping(image: torch.Tensor, *, num_samples: int, seed: int, start: int, index: torch.Tensor) -> torch.Tensor:
        if int(index[0]) >= past:
            raise KeyboardInterrupt
        return weigh(image, num_samples=num_samples, seed=seed, start=start, index=index)

    monkeypatch.setattr(model, "log_weights", stopping)
    monkeypatch.setattr("memogen.metrics.log_likelihood.CHUNK", 400)  # twenty images at a time
    with pytest.raises(Interrupted, match="log-likelihood, 0 images") as caught:
        scored(model, "imputation", "nll")
    assert [row["metric"] for row in caught.value.rows] == ["imputation_mse"] * 4
    past = 20
    with pytest.raises(Interrupted, match="log-likelihood, 20 images") as caught:
        scored(model, "nll")
    row, whole = caught.value.rows[0], log_likelihood(small(), Binarisation(0, 256).apply(TEST), num_samples=20)
    assert row["protocol"]["interrupted"] is True and row["protocol"]["num_samples"] == 20 and "per_image" not in row
    assert row["value"] == pytest.approx(whole.log_likelihood[:20, -1].mean())
