"""Statistics of real data: cached under what they depend on, measured again where the file is damaged."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from memogen.metrics.evaluate import score_images, score_model
from memogen.metrics.fid import reference_statistics
from memogen.metrics.imputation import Refinement, complete, imputation_error
from memogen.metrics.metric import ModelScoring
from memogen.metrics.samples import Reference, default_cache, labels_for, num_labels, shuffled
from memogen.metrics.slot_contents import slot_preferences
from memogen.metrics.svm import svm_accuracy
from memogen.types import ImageData, InputError
from tests.metrics.conftest import Moments
from tests.models.mem_vae import SMALL, VARIANTS, built, images


def _files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*"))


def test_second_time_comes_from_the_cache(tiny: ImageData, tmp_path: Path) -> None:
    class Once(Moments):
        read = 0

        def features(self, image: torch.Tensor) -> torch.Tensor:
            self.read += len(image)
            return super().features(image)

    extractor = Once()
    first = reference_statistics(Reference(tiny, extractor, tmp_path))
    assert extractor.read == len(tiny) and len(_files(tmp_path)) == 1
    second = reference_statistics(Reference(tiny, extractor, tmp_path))
    assert extractor.read == len(tiny)
    assert second.count == first.count and torch.equal(second.mean, first.mean) and torch.equal(second.scatter, first.scatter)


def test_each_image_is_seen_once_by_the_scores_that_look_for_copies(tiny: ImageData) -> None:
    """But for the one image of each set that is looked at before all else."""

    class Counting(Moments):
        read = 0

        def features(self, image: torch.Tensor) -> torch.Tensor:
            self.read += len(image)
            return super().features(image)

    rng = np.random.default_rng(7)
    samples, training = (ImageData(rng.integers(0, 256, (num, *tiny.image_shape), dtype=np.uint8), name=f"noise-{num}") for num in (110, 300))
    counting = Counting()
    score_images(samples, tiny, extractor=counting, metrics=["copies", "mifid"], train=replace(training, split="train"), progress=False)
    assert counting.read == len(samples) + len(tiny) + len(training) + 3


def test_statistics_of_known_features_are_those_read_afresh(tiny: ImageData, extractor: Moments) -> None:
    known = Reference(tiny, extractor)
    known.features()
    first, second = reference_statistics(known), reference_statistics(Reference(tiny, extractor))
    assert first.count == second.count == len(tiny)
    assert torch.equal(first.mean, second.mean) and torch.equal(first.scatter, second.scatter)


def test_other_data_or_another_extractor_have_their_own(tiny: ImageData, extractor: Moments, tmp_path: Path) -> None:
    class Other(Moments):
        version = "moments:2"

    for data, reader in ((tiny, extractor), (replace(tiny, digest="tiny-2"), extractor), (tiny, Other()), (replace(tiny, split="train"), extractor)):
        reference_statistics(Reference(data, reader, tmp_path))
    assert len(_files(tmp_path)) == 4


def test_damaged_file_is_measured_again(tiny: ImageData, extractor: Moments, tmp_path: Path) -> None:
    first = reference_statistics(Reference(tiny, extractor, tmp_path))
    (path,) = _files(tmp_path)
    for damage in (b"", b"no safetensors", path.read_bytes()[:-7]):
        path.write_bytes(damage)
        assert torch.equal(reference_statistics(Reference(tiny, extractor, tmp_path)).scatter, first.scatter)
    assert _files(tmp_path) == [path]


def test_a_cache_that_cannot_be_written_costs_no_score(tiny: ImageData, extractor: Moments, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    assert reference_statistics(Reference(tiny, extractor, tmp_path / "file" / "cache")).count == 120


def test_features_of_a_part_are_drawn_from_all_of_it(tiny: ImageData, extractor: Moments) -> None:
    features = Reference(tiny, extractor).features(40)
    chosen = shuffled(120, 0)[:40]
    assert len({int(tiny.label[i]) for i in chosen}) >= 9  # type: ignore[index]
    torch.testing.assert_close(features, extractor.features(torch.from_numpy(tiny.image[chosen])))
    assert len(Reference(tiny, extractor).features(1000)) == 120


def test_features_are_read_once_and_do_not_depend_on_how_many_are_asked_for() -> None:
    class Counting(Moments):
        read = 0

        def features(self, image: torch.Tensor) -> torch.Tensor:
            self.read += len(image)
            return super().features(image)

    data = ImageData(np.random.default_rng(0).integers(0, 256, (600, 1, 4, 4)).astype(np.uint8))
    extractor = Counting()
    reference = Reference(data, extractor)
    first, all_of_them, again = reference.features(40), reference.features(), reference.features(40)
    assert extractor.read == 600 and torch.equal(first, again) and torch.equal(first, all_of_them[:40])
    assert torch.equal(all_of_them, Reference(data, Counting()).features())


def test_cache_follows_the_environment(own_cache: Path) -> None:
    assert default_cache() == own_cache / "statistics"


# --- A model that is told labels gets those of its images; any other gets none ---


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
