"""What is forgotten leaves with no export: no file of an edited model holds the key of an emptied slot, and none of its laws draws one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import memogen
from memogen.data import load
from memogen.export import html
from memogen.export.graphs import graphs, latent_distributions
from memogen.export.onnx import translate
from memogen.memory import VMFMemory
from memogen.metrics.slot_choice import without_classes
from memogen.metrics.slots import placed
from memogen.pretrained import save_pretrained


@pytest.fixture(scope="module")
def forgotten() -> tuple[Any, VMFMemory, torch.Tensor]:
    """The shipped digits without the threes, the memory before, and the slots that are gone."""
    model = memogen.from_pretrained("digits")
    before = model.memory
    model.memory, gone = without_classes(before, placed(model, load("digits", split="train")), [3])  # type: ignore[arg-type]
    assert len(gone) > 20
    return model, before, gone


def test_a_forgotten_slot_is_never_drawn_and_weighs_no_more_than_beta(forgotten: tuple[Any, VMFMemory, torch.Tensor]) -> None:
    model, before, gone = forgotten
    assert torch.isin(before.draw(20_000, generator=torch.Generator().manual_seed(0))[1], gone).any()
    assert not torch.isin(model.latents(20_000, seed=0).slot, gone).any()
    log_prior = model.memory.log_prior()[gone].double().exp()
    assert float(log_prior.max()) <= 1e-8 / float(model.memory.mass[model.memory.values > 0.5].sum()) * 0.51, (
        "beta over the mass of its class, halved"
    )
    posterior = model.memory.posterior(before.keys[gone])
    assert float(posterior[:, gone].max()) < 1e-8
    assert float(before.posterior(before.keys[gone])[torch.arange(len(gone)), gone].min()) > 0.1


def test_no_file_holds_the_key_of_a_forgotten_slot(forgotten: tuple[Any, VMFMemory, torch.Tensor], tmp_path: Path) -> None:
    model, before, gone = forgotten
    stays = int(((model.memory.values > 0.5) & (model.memory.mass > 0)).nonzero()[0])
    save_pretrained(model, tmp_path / "edited")
    files = [(tmp_path / "edited" / "model.safetensors").read_bytes(), *(translate(graph).SerializeToString() for graph in graphs(model)[1:])]
    for file in files:
        assert not any(before.keys[slot].numpy().tobytes() in file for slot in gone)
    assert before.keys[stays].numpy().tobytes() in files[0] and before.keys[stays].numpy().tobytes() in files[1]
    again = memogen.from_pretrained(tmp_path / "edited")
    assert torch.equal(again.memory.keys, model.memory.keys) and torch.equal(again.memory.mass, model.memory.mass)


def test_the_laws_of_onnx_and_the_page_draw_no_forgotten_slot(forgotten: tuple[Any, VMFMemory, torch.Tensor]) -> None:
    model, _, gone = forgotten
    law = latent_distributions(model)
    assert law.slots is not None and not set(law.slots.numbers) & set(gone.tolist()) and sum(law.slots.prior) == pytest.approx(1)
    data, keys = html._data(model, law, None)
    assert keys is not None and not set(data["slots"]["numbers"]) & set(gone.tolist()) and len(keys) == len(law.slots.numbers)
