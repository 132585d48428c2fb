"""What slots tell of images: every number from its parts, and what cannot be told."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from memogen.evaluation.clusters import agreement, effective_rank, neighbour_accuracy, variance_between
from memogen.evaluation.features import classifier
from memogen.models import MemoryGAN
from memogen.report import clusters as module
from memogen.report.clusters import Clusters, clusters
from memogen.types import ImageData, InputError, to_uint8
from tests.report import toy


def _labelled(num: int = 40) -> ImageData:
    data = toy.images(num)
    return ImageData(data.image, np.arange(num) % 3, ("a", "b", "c"), name="toys")


def _same(one: Clusters, other: Clusters) -> None:
    assert one.samples is not None and other.samples is not None
    for first, second in ((one.images, other.images), (one.samples, other.samples)):
        assert torch.equal(first.slot, second.slot)
        for name, rows in first.views.items():
            torch.testing.assert_close(rows, second.views[name], atol=1.01 if name == "pixels" else 1e-1, rtol=1e-5)
    torch.testing.assert_close(one.queries, other.queries)


def test_images_stand_in_their_best_slots_and_samples_in_their_own() -> None:
    model, data = toy.model(), _labelled()
    assert model.memory is not None
    found = clusters(model, data, judge=classifier("digits"), num=100, seed=3)
    image = torch.from_numpy(data.image)
    query = model.encode(image)
    real = model.memory.values > 0.5
    assert torch.equal(found.images.slot, (model.memory.posterior(query) * real).argmax(1)), "all 40 images, in their order"
    torch.testing.assert_close(found.queries, query)
    latents = model.latents(40, seed=3)
    assert found.samples is not None and latents.slot is not None
    assert torch.equal(found.samples.slot, latents.slot)
    drawn = to_uint8(model.decode(latents), model.image_range)
    for seen, pixels in ((found.images, image), (found.samples, drawn)):
        torch.testing.assert_close(seen.views["pixels"], pixels.flatten(1).double())
        torch.testing.assert_close(seen.views["mean colours"], pixels.double().mean((2, 3)))
        torch.testing.assert_close(seen.views["the classifier's features"], classifier("digits").features(pixels).double())


def test_tables_tell_the_measures() -> None:
    found = clusters(toy.model(), _labelled())
    assert found.label is not None and found.samples is not None
    table = {row[0]: row[1:] for row in found.table()}
    assert table[""] == ["images", "samples"] and table["number"] == ["40", "40"]
    assert table["different slots"] == [str(len(seen.slot.unique())) for seen in (found.images, found.samples)]
    between = [variance_between(seen.views["pixels"], seen.slot) for seen in (found.images, found.samples)]
    assert table["variance of pixels between slots"] == [f"{share:.3f}" for share in between]
    told = dict(found.queries_table())
    assert told["effective rank"] == f"{effective_rank(found.queries):.1f} of 8"
    assert told["5 nearest by pixels tell the class"] == f"{neighbour_accuracy(found.images.views['pixels'], found.label):.3f}"
    assert told["adjusted mutual information of slots and classes"] == f"{agreement(found.images.slot, found.label):.3f}"


def test_which_images_follows_from_the_seed_and_blocks_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    model, data = toy.model(), _labelled()
    whole, other = clusters(model, data, num=20, seed=1), clusters(model, data, num=20, seed=2)
    assert not torch.equal(whole.queries, other.queries)
    monkeypatch.setattr(module, "BLOCK", 7)
    _same(whole, clusters(model, data, num=20, seed=1))


def test_without_labels_and_without_slots_in_the_generator_there_is_less_to_tell() -> None:
    found = clusters(toy.model(conditional=False), toy.images())
    assert found.samples is None and found.table()[0] == ["", "images"]
    assert [row[0] for row in found.queries_table()] == ["queries", "effective rank", "mean cosine of two"]
    assert len(clusters(toy.model(), toy.images(), num=3).images.slot) == 3, "without labels nobody asks for neighbours"


def test_a_memory_that_sorts_by_brightness_is_found_out() -> None:
    """Slots for levels of brightness explain the colours, and of the classes what brightness knows."""
    model = _by_brightness()
    level = np.arange(200) % 4
    noise = np.random.default_rng(0).integers(0, 50, (200, 1, 8, 8))
    data = ImageData((noise + 60 * level[:, None, None, None]).astype(np.uint8), level, ("a", "b", "c", "d"), name="levels")
    found = clusters(model, data)
    share = found.images.between()
    assert share["mean colours"] > 0.99 and found.images.num_slots == 4
    assert dict(found.queries_table())["adjusted mutual information of slots and classes"] == "1.000"
    shuffled = ImageData(data.image, np.random.default_rng(1).permutation(level), data.classes, name="levels")
    assert float(dict(clusters(model, shuffled).queries_table())["adjusted mutual information of slots and classes"]) < 0.05


class _Brightness(torch.nn.Module):
    """A direction of the sphere for each level."""

    def forward(self, image: Tensor) -> Tensor:
        angle = image.mean((1, 2, 3)) * 255 / 60 - 25 / 60
        return torch.cat([torch.stack([angle.cos(), angle.sin()], 1), torch.zeros(len(image), 6)], 1)


def _by_brightness() -> MemoryGAN:
    model = toy.model()
    assert model.memory is not None
    model.critic, model.encoder = _Brightness(), None
    model.memory.values.zero_()
    for level in range(4):
        model.memory.keys[level] = torch.tensor([np.cos(level), np.sin(level), *[0.0] * 6])
        model.memory.values[level] = 1
    model.memory.mass.fill_(1)
    return model


@pytest.mark.parametrize(
    ("data", "num", "told"),
    [(toy.images(channels=3), 40, "of its shape"), (_labelled(), 5, "look at 6"), (_labelled(4), 40, "4 images")],
)
def test_what_cannot_be_compared_is_refused(data: ImageData, num: int, told: str) -> None:
    with pytest.raises(InputError, match=told):
        clusters(toy.model(), data, num=num)


def test_a_dead_memory_and_none_are_refused() -> None:
    with pytest.raises(InputError, match="without a memory"):
        clusters(toy.model(memory=False), toy.images())
    model = toy.model()
    assert model.memory is not None
    model.memory.values.zero_()
    with pytest.raises(InputError, match="no slot of the memory is real"):
        clusters(model, toy.images())
