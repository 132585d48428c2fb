"""The walk through latent space: corners, great circles, slots by the highest posterior, closed round trips."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from memogen.memory.functional import slerp, unit
from memogen.report.figures import between, corner_weights, draw, loop_weights, round_trip, square
from memogen.types import InputError, Latents, to_uint8
from tests.report import toy


@pytest.mark.parametrize("memory", [True, False])
@pytest.mark.parametrize("where", ["keys", "noise"])
def test_corners_are_the_drawn_latents_bit_for_bit(memory: bool, where: str) -> None:
    model = toy.model(memory=memory)
    found = square(model, where=where, side=8, seed=3)  # type: ignore[arg-type]
    slot = None if not memory or where == "keys" else int(found.latents.slot[0])  # type: ignore[index]
    drawn = model.latents(4, slot=slot, seed=3)
    at = list(found.corners)
    assert at == [0, 7, 56, 63]
    assert torch.equal(found.latents.noise[at], drawn.noise)
    assert torch.equal(found.images[at], to_uint8(model.decode(drawn), model.image_range))
    if memory:
        assert drawn.slot is not None and found.latents.slot is not None
        assert torch.equal(found.latents.slot[at], drawn.slot)


@given(seed=st.integers(0, 1000), dim=st.integers(2, 9))
@settings(max_examples=30, deadline=None)
def test_a_great_circle_is_walked_at_even_speed(seed: int, dim: int) -> None:
    start, end = unit(torch.randn(2, dim, generator=torch.Generator().manual_seed(seed)).double())
    share = torch.linspace(0, 1, 12, dtype=torch.float64)
    walk = slerp(start.expand(12, -1), end.expand(12, -1), share)
    torch.testing.assert_close(walk.norm(dim=1), torch.ones(12).double())
    torch.testing.assert_close(walk[[0, -1]], torch.stack([start, end]))
    angle = float(torch.arccos((start @ end).clamp(-1, 1)))
    torch.testing.assert_close(torch.arccos((walk @ start).clamp(-1, 1)), share * angle, atol=1e-6, rtol=1e-6)


def test_next_to_each_other_nothing_is_lost() -> None:
    key = unit(torch.randn(1, 8))
    near = unit(key + 1e-6 * torch.randn(1, 8))
    torch.testing.assert_close(slerp(key, key, torch.tensor([0.3])), key)
    torch.testing.assert_close(slerp(key, near, torch.tensor([0.5])), unit(key + near))


def test_nothing_leaps_between_keys_nor_inside_a_slot() -> None:
    """The longest step between neighbours shrinks with the side of the square, on the sphere and in what is drawn."""
    model = toy.model()
    for where in ("keys", "noise"):
        longest = []
        for side in (5, 33):
            found = square(model, where=where, side=side, seed=5)  # type: ignore[arg-type]
            assert found.latents.key is not None
            torch.testing.assert_close(found.latents.key.norm(dim=1), torch.ones(side**2))
            image = model.decode(found.latents).flatten(1)
            rows = torch.cat([4 * found.latents.key, image], 1).view(side, side, -1)
            longest.append(max(float(rows.diff(dim=axis).norm(dim=-1).max()) for axis in (0, 1)))
        assert longest[1] < longest[0] / 3


def test_every_point_is_given_to_the_slot_with_the_highest_posterior() -> None:
    model = toy.model()
    memory, side = model.memory, 6
    assert memory is not None
    found, drawn = square(model, side=side, seed=5), model.latents(4, seed=5)
    assert found.latents.slot is not None and found.latents.key is not None and drawn.key is not None
    log_prior = memory.log_prior()
    for row in range(side):
        for column in range(side):
            point = row * side + column
            if point in found.corners:
                continue
            query = found.latents.key[point]
            scores = [float(memory.concentration * memory.keys[c] @ query + log_prior[c]) for c in range(memory.num_slots) if memory.values[c] > 0]
            chosen = int(found.latents.slot[point])
            assert float(memory.values[chosen]) == 1
            assert float(memory.concentration * memory.keys[chosen] @ query + log_prior[chosen]) == pytest.approx(max(scores), abs=1e-4)
    assert len(set(found.latents.slot.tolist())) > 1


def test_weights_are_shares_and_name_the_corners() -> None:
    for weights in (corner_weights(5), loop_weights(20)):
        assert bool((weights >= 0).all())
        torch.testing.assert_close(weights.sum(1), torch.ones(len(weights)))
    assert torch.equal(corner_weights(5)[[0, 4, 20, 24]], torch.eye(4))


def test_a_round_trip_is_closed_and_even() -> None:
    weights = loop_weights(40)
    steps = (weights.roll(-1, 0) - weights).norm(dim=1)
    torch.testing.assert_close(steps, steps[:1].expand_as(steps))
    latents, images = round_trip(toy.model(), frames=16, seed=2)
    assert len(latents.noise) == len(images) == 16
    assert torch.equal(latents.noise[0], toy.model().latents(4, seed=2).noise[0])


@pytest.mark.parametrize("options", [{"memory": False}, {"conditional": False}])
def test_a_generator_without_keys_is_interpolated_in_noise(options: dict[str, bool]) -> None:
    found = square(toy.model(**options), where="keys", side=3)
    assert found.where == "noise"
    torch.testing.assert_close(found.latents.noise[4], found.latents.noise[[0, 2, 6, 8]].mean(0))


def test_noise_inside_one_slot_keeps_the_slot() -> None:
    found = square(toy.model(), where="noise", slot=7, side=4)
    assert found.latents.slot is not None and set(found.latents.slot.tolist()) == {7}


def test_labels_follow_the_nearest_corner() -> None:
    corners = Latents(torch.randn(4, 3), label=torch.tensor([5, 6, 7, 8]))
    found = between(toy.model(memory=False), corners, corner_weights(4), "noise")
    assert found.label is not None and found.label[[0, 1, 3, 12, 15]].tolist() == [5, 5, 6, 7, 8]


def test_impossible_walks_are_refused() -> None:
    with pytest.raises(InputError, match="needs at least 2"):
        square(toy.model(), side=1)
    with pytest.raises(InputError, match="slot fixes the key"):
        square(toy.model(), where="keys", slot=3)


def test_drawing_does_not_depend_on_the_block() -> None:
    model = toy.model()
    latents = model.latents(150, seed=1)
    whole = to_uint8(model.decode(latents), model.image_range)
    assert int((draw(model, latents).int() - whole.int()).abs().max()) <= 1
