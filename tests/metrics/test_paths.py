"""Ways between samples of generators whose islands are known."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from memogen.metrics import evaluate, score_images
from memogen.metrics.paths import PLACES, geodesic, line, ways
from memogen.models import MemoryConfig, MemoryGANConfig, NoiseConfig
from memogen.models.memory_gan import MemoryGAN
from memogen.models.memory_gan.model import Condition
from memogen.types import ImageData, InputError, Latents


class Pixels:
    """An extractor that reads the four pixels themselves."""

    name, version, resize, accuracy = "pixels", "pixels:1", "none", None

    def features(self, image: Tensor) -> Tensor:
        return image.flatten(1).double()

    def __call__(self, image: Tensor) -> Tensor:
        return self.features(image)


def islands(num: int, seed: int) -> ImageData:
    """Two islands: half of the pictures are dark, around 40 in all pixels, half light, around 210."""
    image = np.random.default_rng(seed).normal(0, 6, (num, 1, 2, 2)) + np.where(np.arange(num) % 2, 40, 210)[:, None, None, None]
    return ImageData(image.clip(0, 255).astype(np.uint8), name="islands", split="test", digest=f"islands-{seed}")


class Plain:
    """A generator whose noise is the picture itself: sample i lies on the island i mod 2, in its middle."""

    image_range = (0.0, 255.0)

    def latents(self, num: int, *, label: int | None = None, slot: int | None = None, seed: int = 0, start: int = 0) -> Latents:
        index = torch.arange(start, start + num)
        return Latents(torch.where(index % 2 == 1, 40.0, 210.0)[:, None] + torch.sin(index[:, None] * torch.arange(1.0, 5)))

    def decode(self, latents: Latents) -> Tensor:
        return latents.noise.view(-1, 1, 2, 2)

    def sample(self, num: int, *, label: int | None = None, slot: int | None = None, seed: int = 0, start: int = 0) -> Tensor:
        return self.decode(self.latents(num, start=start))


def shares(model: object, num_samples: int) -> dict[str, float]:
    """Of every kind of way: the share of images off the data, and of the ways that leave it."""
    rows = evaluate(model, islands(1000, 0), extractor=Pixels(), metrics=["paths"], num_samples=num_samples, progress=False)  # type: ignore[arg-type]
    return {str(row["metric"]): float(str(row["value"])) for row in rows}


def test_lines_between_islands_cross_the_sea_and_lines_on_one_do_not() -> None:
    across = shares(Plain(), 5 * 101)  # way i leads from sample i to sample i + 101
    assert across == {"path_ends": 0.0, "path_z": 1.0, "path_z_left": 1.0}
    along = shares(Plain(), 5 * 100)
    assert along == {"path_ends": 0.0, "path_z": 0.0, "path_z_left": 0.0}


class Island(nn.Module):
    """[key, z] to a picture: the first number of the key says how light it is, the noise adds at most 3."""

    def forward(self, code: Tensor) -> Tensor:
        middle = 125 + 85 * code[:, :1] / code[:, :2].norm(dim=1, keepdim=True)
        return (middle + 3 * code[:, 4:8]).view(-1, 1, 2, 2)


def two_slots(condition: Condition = "key") -> MemoryGAN:
    """Two real slots with opposite first numbers and a little of a second, and two fake ones between them, which no snap may choose."""
    memory = MemoryConfig(4, 4, 400.0, top_k=2)
    config = MemoryGANConfig((1, 2, 2), width=4, noise=NoiseConfig(4), memory=memory, condition=condition, image_range=(0.0, 255.0))
    model = MemoryGAN.__new__(MemoryGAN)
    nn.Module.__init__(model)
    model.config, model.image_range, model.generator, model.memory = config, config.image_range, Island(), config.memory.build()
    model.generator.register_parameter("any", nn.Parameter(torch.zeros(1)))
    small = 0.05
    keys = torch.tensor([[1.0, small, 0, 0], [-1.0, small, 0, 0], [0, 1.0, 0, 0], [0, 0, 1.0, 0]])
    model.memory.keys.copy_(nn.functional.normalize(keys, dim=1))
    model.memory.values.copy_(torch.tensor([1.0, 1, 0, 0]))
    model.memory.mass.fill_(1.0)
    return model.eval()


def test_geodesics_cross_the_sea_and_leaps_between_slots_do_not() -> None:
    found = shares(two_slots(), 1000)
    on_data = {name: value for name, value in found.items() if not name.startswith("path_keys")}
    assert set(on_data.values()) == {0.0} and len(on_data) == 7
    slot = two_slots().latents(400).slot
    assert slot is not None
    between = float((slot[:200] != slot[200:]).double().mean())  # the others stay where they are
    assert found["path_keys_left"] == between > 0.3
    assert 0.8 * between < found["path_keys"] <= between, "the first and the last step of a way may still be on its island"


def test_points_of_a_way() -> None:
    model = two_slots()
    found, drawn = ways(model, 50), model.latents(100)
    assert drawn.key is not None and drawn.slot is not None
    assert set(found) == {"path_ends", "path_z", "path_keys", "path_snapped", "path_within"}
    assert all(len(part.noise) == (100 if name == "path_ends" else 350) for name, part in found.items())
    middle = found["path_z"].take(slice(3, None, 7))
    torch.testing.assert_close(middle.noise, (drawn.noise[:50] + drawn.noise[50:]) / 2)
    assert torch.equal(middle.key, drawn.key[:50])  # type: ignore[arg-type]
    snapped, within = found["path_snapped"], found["path_within"]
    assert snapped.slot is not None and snapped.key is not None and model.memory is not None
    assert torch.equal(snapped.key, model.memory.keys[snapped.slot]) and int(snapped.slot.max()) == 1
    assert torch.equal(snapped.noise, found["path_keys"].noise) and torch.equal(snapped.noise, drawn.noise[:50].repeat_interleave(7, 0))
    assert within.key is not None and within.slot is not None
    torch.testing.assert_close(within.key, model.memory.keys[within.slot])


def test_a_model_that_draws_conditions_is_walked_through_its_draws() -> None:
    model = two_slots("draw")
    found, drawn = ways(model, 60), model.latents(60)
    assert model.memory is not None and drawn.key is not None and drawn.slot is not None
    snapped, within = found["path_snapped"], found["path_within"]
    assert snapped.key is not None and within.key is not None and snapped.slot is not None and within.slot is not None
    torch.testing.assert_close(snapped.key[::7], drawn.key)  # the way begins at the sample itself
    for part in (snapped, within):
        assert part.key is not None and part.slot is not None
        cosine = torch.linalg.vecdot(part.key, model.memory.keys[part.slot])
        assert float(cosine.min()) > 0.95 and float(cosine.min()) < 0.9999, "near the key, and not on it"
    assert float((within.key[::7] - within.key[6::7]).norm(dim=1).min()) > 1e-3, "two draws of one slot"
    assert torch.equal(within.slot[::7], drawn.slot)


@given(dim=st.integers(2, 40), seed=st.integers(0, 500), near=st.floats(0, 1))
@settings(max_examples=40, deadline=None)
def test_a_geodesic_is_walked_at_equal_speed_on_the_sphere(dim: int, seed: int, near: float) -> None:
    random = torch.Generator().manual_seed(seed)
    a, b = (nn.functional.normalize(torch.randn(3, dim, generator=random, dtype=torch.float64), dim=1) for _ in range(2))
    b = nn.functional.normalize((1 - near) * b + near * a, dim=1)
    points = geodesic(a, b, torch.linspace(0, 1, 5)).view(3, 5, dim)
    torch.testing.assert_close(points.norm(dim=2), torch.ones(3, 5, dtype=torch.float64))
    torch.testing.assert_close(points[:, 0], a)
    torch.testing.assert_close(points[:, -1], b)
    steps = 2 * torch.asin(((points[:, 1:] - points[:, :-1]).norm(dim=2) / 2).clamp(max=1))
    torch.testing.assert_close(steps, steps[:, :1].expand(3, 4), atol=1e-7, rtol=1e-6)
    assert (steps.sum(1) <= math.pi + 1e-6).all()


def test_a_line_is_straight() -> None:
    a, b = torch.zeros(2, 3), torch.tensor([[1.0, 2, 3], [6, 6, 6]])
    points = line(a, b, torch.tensor(PLACES))
    torch.testing.assert_close(points[:7], b[0] * torch.tensor(PLACES)[:, None])
    torch.testing.assert_close(points[7:], b[1] * torch.tensor(PLACES)[:, None])


def test_images_are_not_walked_between() -> None:
    with pytest.raises(InputError, match="samples of a model"):
        score_images(islands(50, 1), islands(50, 0), extractor=Pixels(), metrics=["paths"], progress=False)
