"""Scores of single images: kept, found again, and compared in pairs."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from memogen.metrics.paired import KEY, PerImage, kept, moved, paired, per_image_of
from memogen.metrics.rows import append_rows
from memogen.types import InputError

RNG = np.random.default_rng(0)
EASE = RNG.normal(-90, 25, 1000)  # how likely each image is, whatever the model


def scores(shift: float, seed: int = 0, noise: float = 2.0) -> PerImage:
    value = EASE + shift + np.random.default_rng(seed).normal(0, noise, 1000)
    return PerImage("log_likelihood", value, "digest", {"importance_samples": 5000})


def test_pairs_see_what_the_means_cannot() -> None:
    first, second = scores(0.5, 1), scores(0.0, 2)
    found = paired([first], [second])
    difference = first.value - second.value
    assert found.mean == pytest.approx(difference.mean()) == pytest.approx(found.first - found.second)
    assert found.error == pytest.approx(difference.std(ddof=1) / math.sqrt(1000))
    assert found.mean > 2 * found.error and found.mean < 2 * first.value.std(ddof=1) / math.sqrt(1000)
    assert found.num_images == 1000 and math.isnan(found.seed_error)


def test_seeds_are_averaged_for_every_image() -> None:
    first, second = [scores(0.5, seed) for seed in (1, 2, 3)], [scores(0.0, seed) for seed in (4, 5, 6)]
    found = paired(first, second)
    one = paired(first[:1], second[:1])
    assert found.error == pytest.approx(one.error / math.sqrt(3), rel=0.1)
    assert found.by_seed == pytest.approx([float((a.value - b.value).mean()) for a, b in zip(first, second, strict=True)])
    assert found.seed_error == pytest.approx(np.std(found.by_seed, ddof=1) / math.sqrt(3))
    assert paired(first, second[:1]).mean == pytest.approx(np.mean([a.value for a in first]) - second[0].value.mean())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"metric": "elbo"}, "elbo"),
        ({"images": "other"}, "different images"),
        ({"value": EASE[:5]}, "different images"),
        ({"settings": {"importance_samples": 50}}, "importance_samples 5000 beside 50"),
    ],
)
def test_only_like_is_compared_with_like(change: dict[str, object], words: str) -> None:
    with pytest.raises(InputError, match=words):
        paired([scores(0.0)], [replace(scores(0.0), **change)])
    with pytest.raises(InputError, match="no scores of single images"):
        paired([], [scores(0.0)])


def test_rows_find_their_images_again_also_in_another_folder(tmp_path: Path) -> None:
    first = scores(0.0)
    rows = [{"recipe": "mem_vae/mnist", "variant": "vae", "seed": 3, "metric": "log_likelihood", "value": -90.0, KEY: first}]
    written = kept([*rows, {"metric": "elbo", "value": 1.0}], tmp_path / "run")
    append_rows(tmp_path / "run" / "results.jsonl", written)
    assert rows[0][KEY] is first, "the given rows stay as they are"
    append_rows(tmp_path / "all" / "table1.jsonl", moved(written, tmp_path / "run", tmp_path / "all"))
    for folder, file in (("run", "results.jsonl"), ("all", "table1.jsonl")):
        read = [json.loads(line) for line in (tmp_path / folder / file).read_text().splitlines()]
        (found,) = per_image_of(read, tmp_path / folder, metric="log_likelihood", variant="vae").values()
        np.testing.assert_array_equal(found.value, first.value.astype(np.float32))
        assert (found.metric, found.images, found.settings) == (first.metric, first.images, first.settings)
    assert per_image_of(written, tmp_path / "run", metric="log_likelihood", variant="mem_vae") == {}


def test_the_newest_row_of_a_seed_counts(tmp_path: Path) -> None:
    rows = kept([{"seed": seed, "metric": "log_likelihood", KEY: scores(shift)} for seed, shift in ((0, 0.0), (1, 1.0), (0, 2.0))], tmp_path)
    found = per_image_of(rows, tmp_path, metric="log_likelihood")
    assert list(found) == [0, 1]
    np.testing.assert_array_equal(found[0].value, scores(2.0).value.astype(np.float32))


def test_a_file_of_something_else_is_one_line(tmp_path: Path) -> None:
    np.savez(tmp_path / "other.npz", x=np.zeros(3))
    (tmp_path / "text.npz").write_text("no")
    for name in ("other.npz", "text.npz", "missing.npz"):
        with pytest.raises(InputError, match="holds no scores of images") as caught:
            PerImage.load(tmp_path / name)
        assert "\n" not in str(caught.value)
