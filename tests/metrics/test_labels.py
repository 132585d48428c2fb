"""A model that is told labels gets those of its images; any other gets none."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from memogen.metrics.evaluate import score_model
from memogen.metrics.imputation import Refinement, complete, imputation_error
from memogen.metrics.metric import ModelScoring
from memogen.metrics.slots import slot_preferences
from memogen.metrics.stream import labels_for, num_labels
from memogen.metrics.svm import svm_accuracy
from memogen.types import ImageData, InputError
from tests.models.mem_vae import SMALL, VARIANTS, built, images

DATA = images(30, VARIANTS["conditional"])


def test_labels_are_those_of_the_rows_that_are_asked_for() -> None:
    model = built(VARIANTS["conditional"])
    assert (num_labels(model), num_labels(built(SMALL)), num_labels(object())) == (3, 0, 0)
    assert labels_for(model, DATA, slice(5, 9))["label"].tolist() == list(DATA.label[5:9])
    assert labels_for(built(SMALL), DATA, slice(5, 9)) == {}
    for label, told in ((None, "has none"), (np.full(30, 3), "labels 3 to 3: this model knows labels 0 to 2")):
        with pytest.raises(InputError, match=told):
            labels_for(model, ImageData(DATA.image, label), slice(0, None))


def test_another_label_completes_another_image() -> None:
    model, other = built(VARIANTS["conditional"]), ImageData(DATA.image, (DATA.label + 1) % 3)
    own, others = (imputation_error(model, data, "half", Refinement(3)) for data in (DATA, other))
    assert own.value != others.value and own.protocol["labels"] == "given"
    assert "labels" not in imputation_error(built(SMALL), DATA, "half", Refinement(1)).protocol
    assert torch.equal(complete(model, DATA, "half", Refinement(3)).image, complete(model, other, "half", Refinement(3)).image)


def test_preferences_are_those_under_the_label() -> None:
    model = built(VARIANTS["conditional"])
    found = slot_preferences(model, DATA)
    label = torch.from_numpy(DATA.label)
    weight = model.addresses(torch.from_numpy(DATA.image), label=label)[0].double()
    share = weight / weight.sum(1, keepdim=True)
    expected = torch.stack([share[label == number].mean(0) for number in range(3)])
    np.testing.assert_allclose(found.layer(0), expected, rtol=1e-5)


def test_a_machine_is_not_asked_for_what_the_encoder_was_told() -> None:
    with pytest.raises(InputError, match="conditional on labels"):
        svm_accuracy(built(VARIANTS["conditional"]), DATA, DATA)
    with pytest.raises(InputError, match="conditional on labels"):
        score_model(built(VARIANTS["conditional"]), DATA, metrics=("svm",), train=DATA, progress=False)


def test_all_scores_of_a_conditional_model_are_made() -> None:
    how = ModelScoring(importance_samples=3, masks=("half",), refinements=2)
    rows = score_model(built(VARIANTS["conditional"]), DATA, metrics=("nll", "imputation", "slots", "parameters"), how=how, progress=False)
    assert [row["metric"] for row in rows] == ["log_likelihood", "elbo", *["imputation_mse"] * 2, *["slot_preference"] * 3, "parameters"]
    with pytest.raises(InputError, match="has none"):
        score_model(built(VARIANTS["conditional"]), ImageData(DATA.image), metrics=("nll", "imputation"), how=how, progress=False)
