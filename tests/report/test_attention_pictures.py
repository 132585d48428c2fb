"""Pictures of attention memories: sizes, what stands where, and that the model is left as it was."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from memogen.metrics.imputation import Refinement, complete
from memogen.metrics.slot_contents import class_correlation, slot_preferences
from memogen.models import AttentionConfig, MemVAEConfig
from memogen.models.mem_vae import MemVAE
from memogen.report import mem_vae
from memogen.report.grid import CLEAR, DARK, LIGHT
from memogen.types import ImageData, InputError

DATA = ImageData(np.random.default_rng(0).integers(0, 256, (60, 1, 8, 8)).astype(np.uint8), np.arange(60) % 3, ("a", "b", "c"))


def small(slots: tuple[int, ...] = (7, 4)) -> MemVAE:
    torch.manual_seed(0)
    model = MemVAEConfig((1, 8, 8), hidden=(12, 9), latent_dim=3, memory=AttentionConfig(slots, slot_std=1.0)).build().eval()
    for layer in model.decoder.layers:
        if layer.memory is not None:
            torch.nn.init.normal_(layer.memory.linear)
    model.calibrate(DATA)
    return model


@pytest.mark.parametrize("theme", [LIGHT, DARK, CLEAR])
def test_a_map_is_dark_where_much_is_asked_for(theme) -> None:
    table = np.array([[0.1, 0.9, 0.0], [0.4, 0.5, 0.1]])
    picture = mem_vae.preference_map(table, ("zero", "one"), theme=theme).convert("RGBA")
    wide, tall = mem_vae.CELL
    left = picture.width - 3 * wide
    shade = np.array([[picture.getpixel((left + c * wide + 2, r * tall + 2))[:3] for c in range(3)] for r in range(2)], float)
    far = np.abs(shade - np.array(mem_vae.PALE)).sum(2)
    assert (np.argsort(far.ravel()) == np.argsort(table.ravel(), kind="stable")).all() or far[0, 1] == far.max()
    assert far[0, 2] == 0 and far[0, 1] == np.abs(np.array(mem_vae.DEEP) - np.array(mem_vae.PALE)).sum()


@given(arrays(np.float64, st.tuples(st.integers(1, 12), st.just(6)), elements=st.floats(0, 1)))
def test_classes_lie_in_the_square_and_apart(table: np.ndarray) -> None:
    place = mem_vae.layout(class_correlation(table))
    assert place.shape == (len(table), 2) and place.min() >= 0 and place.max() <= 1
    gaps = np.linalg.norm(place[:, None] - place[None], axis=2) + 9 * np.eye(len(table))
    assert gaps.min() > 0.04


def test_alike_classes_lie_together() -> None:
    place = mem_vae.layout(class_correlation(np.array([[1.0, 0, 0, 0], [0.9, 0.1, 0, 0], [0, 0, 1, 0], [0, 0, 0.9, 0.1]])))
    near, far = np.linalg.norm(place[0] - place[1]), np.linalg.norm(place[0] - place[2])
    assert near < 0.4 * far


def test_a_graph_draws_the_strongest_edge_darkest() -> None:
    correlation = np.array([[1.0, 0.9, -0.5], [0.9, 1.0, -0.4], [-0.5, -0.4, 1.0]])
    picture = mem_vae.class_graph(correlation, ("a", "b", "c"))
    place = mem_vae.NODE + 4 + mem_vae.layout(correlation) * (mem_vae.SIDE - 2 * mem_vae.NODE - 8)
    strong, weak = (picture.getpixel(tuple(int(v) for v in (place[i] + place[j]) / 2)) for i, j in ((0, 1), (0, 2)))
    assert strong == mem_vae.DEEP and sum(weak) > sum(strong)
    assert mem_vae.class_graph(np.ones((1, 1)), ("alone",)).size == (mem_vae.SIDE, mem_vae.SIDE)


def test_slots_of_every_class() -> None:
    model = small()
    found = slot_preferences(model, DATA)
    sheet, all_slots = mem_vae.slot_sheet(model, found, num=2), mem_vae.slot_grid(model)
    assert sheet.width % 3 == 0 and all_slots.width == 7 * 58 - 2  # seven slots of 56 pixels
    assert mem_vae.slot_grid(model, [1], layer=1).size == (56, 56)
    stretched = np.asarray(mem_vae.slot_grid(model, [1], stretched=True))
    assert (stretched.min(), stretched.max()) == (0, 255)
    for call in (lambda: mem_vae.slot_sheet(model, found, layer=2), lambda: mem_vae.slot_grid(small(()))):
        with pytest.raises(InputError, match=r"layers 0 .* to 1|without a memory"):
            call()


def test_memories_go_one_after_the_other() -> None:
    model = small()
    before = [tensor.clone() for tensor in model.state_dict().values()]
    sheet = mem_vae.disabled_sheet(model, 5, seed=1)
    assert sheet.height == 3 * (56 + 16 + 6)
    rows = [np.asarray(sheet.crop((0, row * 78 + 16, 5 * 58 - 2, row * 78 + 72))) for row in range(3)]
    latents = model.latents(5, seed=1)
    for row, without in zip(rows, ((), (0,), (0, 1)), strict=True):
        first = (model.decode(latents, without_memory=without)[0, 0] * (256 / 255) * 255).round().clamp(0, 255)
        np.testing.assert_array_equal(row[::7, :56:7, 0], first.numpy())
    assert not np.array_equal(rows[0], rows[1]) and not np.array_equal(rows[1], rows[2])
    assert all(torch.equal(one, other) for one, other in zip(before, model.state_dict().values(), strict=True)) and not model.training
    with pytest.raises(InputError, match="none can be taken away"):
        mem_vae.disabled_sheet(small(()))


def test_an_imputation_has_a_row_for_every_stage() -> None:
    model = small()
    found = complete(model, replace(DATA, image=DATA.image[:4]), "half", Refinement(12))
    assert mem_vae.imputation_sheet(found, model.image_range).height == 5 * (56 + 16 + 6)
