"""Thinned classes: the counts, the choice, and that only the training split is touched."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memogen.data import DataOptions, load
from memogen.data.arrays import digest
from memogen.data.derived import long_tailed, tail_rows
from memogen.types import ImageData, InputError


@given(counts=st.lists(st.integers(1, 300), min_size=2, max_size=8), share=st.floats(0.05, 1.0), seed=st.integers(0, 99))
@settings(max_examples=25, deadline=None)
def test_class_k_keeps_its_share_to_the_power_of_k_and_never_nothing(counts: list[int], share: float, seed: int) -> None:
    label = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(counts)), counts))
    rows = tail_rows(label, share)
    kept = np.bincount(label[rows], minlength=len(counts))
    wanted = np.array(counts) * share ** np.arange(len(counts))
    assert (np.diff(rows) > 0).all() and (kept >= 1).all()
    assert (np.abs(kept - np.maximum(wanted, 1)) <= 0.5 + 1e-9).all()


def test_a_larger_share_keeps_all_that_a_smaller_one_keeps() -> None:
    label = np.arange(2000) % 5
    few, many = tail_rows(label, 0.5), tail_rows(label, 0.8)
    assert set(few) < set(many)
    first = few[label[few] == 3]
    assert abs(first.mean() - 1000) < 250, "drawn from the whole set, not from its beginning"


def test_only_the_training_split_is_thinned(tmp_path: Path) -> None:
    options = DataOptions(long_tail=0.6)
    whole, train = (load("digits", options=option, cache=tmp_path, progress=False) for option in (DataOptions(), options))
    assert train.label is not None and whole.label is not None
    assert np.bincount(train.label).tolist() == [max(1, round(0.6**k * n)) for k, n in enumerate(np.bincount(whole.label))]
    assert train.digest == digest(train.image, train.label) != whole.digest
    assert {image.tobytes() for image in train.image} <= {image.tobytes() for image in whole.image}
    assert load("digits", split="test", options=options, cache=tmp_path, progress=False).digest[:12] == "99ac20baf448"
    again = load("digits", options=options, cache=tmp_path, progress=False)
    assert again.digest == train.digest and len(list((tmp_path / "images").glob("digits-*"))) == 2, "thinned after the cache, which holds all"


def test_what_cannot_be_thinned_is_refused() -> None:
    with pytest.raises(InputError, match="no labels to thin it by"):
        long_tailed(ImageData(np.zeros((4, 1, 2, 2), np.uint8)), 0.5)
    for share in (0.0, 1.5, float("nan")):
        with pytest.raises(InputError, match="long_tail"):
            DataOptions(long_tail=share)
