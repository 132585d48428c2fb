"""Sparse writing: slots with rows of their own in a frozen generator. What old slots draw keeps its bits, through training, kills and resumes."""

from __future__ import annotations

import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from memogen.data.task_sequence import TaskConfig, task_sequence
from memogen.export.graphs import graphs
from memogen.memory.inspect import prior, written
from memogen.models import MemoryGANObjective
from memogen.models.memory_gan import MemoryGAN
from memogen.models.memory_gan.replay import Past, SlotTeacher
from memogen.models.memory_gan.sparse import level, open_slots, settle
from memogen.nets.slot_rows import SlotGenerator
from memogen.pretrained import from_pretrained
from memogen.training import Stopped, SuccessionConfig, TrainingConfig, TrainState, fit_tasks
from memogen.training.task_folders import task_folders
from memogen.types import Batch, ImageData, InputError
from tests.models.test_memory_gan import SILENT, TINY, built
from tests.training.toy import fingerprint

SPARSE = replace(TINY, slot_rows=True)
OBJECTIVE = MemoryGANObjective(kept_slots=5, contrast=SILENT)
CONFIG = TrainingConfig(6, batch_size=16, ema_decay=0.9, checkpoint_every=3, sample_every=0, log_every=3, device="cpu", keep=2)


def learned(rows: float = 0.0) -> MemoryGAN:
    """A model with some real slots, whose rows are ``rows`` times standard normal."""
    model = built(SPARSE)
    with torch.no_grad():
        for parameter in (model.generator.row, model.generator.offset):
            parameter.copy_(rows * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    return model


def data() -> ImageData:
    """Sixteen images of each of four classes: noise around a shade of the class."""
    noise = np.random.default_rng(0).integers(0, 40, (64, 1, 8, 8))
    label = np.arange(64) % 4
    return ImageData((noise + 60 * label[:, None, None, None]).astype(np.uint8), label)


def train(folder: Path, *, teacher: str = "averaged", look: Any = None) -> tuple[TrainState, MemoryGAN]:
    torch.manual_seed(0)
    model = SPARSE.build()
    objective = OBJECTIVE if look is None else Watched(look)
    sequence = task_sequence(data(), TaskConfig(classes_per_task=2))
    succession = SuccessionConfig(TaskConfig(classes_per_task=2), teacher=teacher)
    state = fit_tasks(model, objective, sequence, CONFIG, folder, succession=succession, console=False)
    return state, model


class Watched:
    """The objective, whose batches are looked at."""

    def __init__(self, look: Any) -> None:
        self.look, self.teacher, self.teach, self.settle = look, OBJECTIVE.teacher, OBJECTIVE.teach, OBJECTIVE.settle

    def phases(self, model: Any, *, teacher: Any = None) -> tuple[Any, ...]:
        def seen(loss: Any) -> Any:
            def watched(batch: Batch) -> Any:
                self.look(batch)
                return loss(batch)

            return watched

        return tuple(replace(phase, loss=seen(phase.loss)) for phase in OBJECTIVE.phases(model, teacher=teacher))


def test_rows_of_zero_change_nothing() -> None:
    model = learned()
    latents = model.latents(12, seed=3)
    with torch.no_grad():
        model.generator.eval()
        assert torch.equal(model.generate(latents), model.generator.whole(model.code(latents)))


def test_each_layer_is_modulated_as_written() -> None:
    """y (1 + a) + b after every batch norm, image by image, in a generator of two layers; a, b and the offset are four times the parameters."""
    torch.manual_seed(0)
    whole = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Unflatten(1, (6, 1, 1)), nn.ConvTranspose2d(6, 5, 3), nn.BatchNorm2d(5)).eval()
    generator = SlotGenerator(whole, 7, 4).eval()
    with torch.no_grad():
        generator.row.normal_()
        generator.offset.normal_()
    code, slot = torch.randn(3, 4), torch.tensor([5, 0, 5])
    found = generator(code, slot)
    for number, c in enumerate(slot.tolist()):
        gain, shift, wide_gain, wide_shift = (4 * generator.row[c]).split([6, 6, 5, 5])
        first = whole[1](whole[0]((code[number] + 4 * generator.offset[c])[None]))[0] * (1 + gain) + shift
        second = whole[4](whole[3](first[None, :, None, None]))[0]
        torch.testing.assert_close(found[number], second * (1 + wide_gain[:, None, None]) + wide_shift[:, None, None])


def test_a_slot_draws_by_its_own_row_alone() -> None:
    model = learned(0.3)
    latents = model.latents(40, seed=3)
    before = model.decode(latents)
    with torch.no_grad():
        model.generator.row[latents.slot[0]] += 1.0
    same = (model.decode(latents) == before).flatten(1).all(1)
    assert torch.equal(same, latents.slot != latents.slot[0])


def test_a_condition_without_its_slot_is_drawn_by_the_nearest_real_one() -> None:
    """As between two keys, and in an exported graph, which has no slot to give."""
    model = learned(0.3)
    real = open_slots(model.memory).nonzero()[:, 0]
    asked = model.latents(len(real), seed=3)
    at_keys = replace(asked, key=model.memory.keys[real], slot=real)
    torch.testing.assert_close(model.decode(replace(at_keys, slot=None)), model.decode(at_keys))
    graph = next(graph for graph in graphs(model) if graph.name == "generator")
    torch.testing.assert_close(graph(at_keys.noise, at_keys.key)[0], model.decode(at_keys))


def test_settling_freezes_the_heaviest_slots_and_empties_the_rest() -> None:
    model = learned()
    own, mass = open_slots(model.memory), model.memory.mass.clone()
    heaviest = set(mass.masked_fill(~own, -1).argsort(descending=True, stable=True)[:5].tolist())
    settle(model, model, 5)
    memory = model.memory
    assert set(memory.frozen.nonzero()[:, 0].tolist()) == heaviest and int(model.generator.tasks) == 1
    assert float(memory.mass[memory.frozen].mean()) == pytest.approx(1)
    assert not bool((written(memory) & own & ~memory.frozen).any())
    memory.write(torch.randn(64, 16), 1)
    frozen = {name: getattr(memory, name)[memory.frozen].clone() for name in ("keys", "mass")}
    level(model)
    settle(model, model, 5)
    level(model)
    chance, old = prior(model.memory), torch.tensor(sorted(heaviest))
    assert float(chance[old].sum()) == pytest.approx(0.5), "two tasks, drawn alike"
    assert int(model.memory.frozen.sum()) == 10 and int(model.generator.tasks) == 2
    for name, before in frozen.items():
        assert torch.equal(getattr(model.memory, name)[old], before)


def test_a_memory_that_is_full_is_refused() -> None:
    model = learned()
    settle(model, model, 10)
    model.memory.write(torch.randn(64, 16), 1)
    with pytest.raises(InputError, match="kept_slots: 4 real slots are left"):
        settle(model, model, 10)


@pytest.mark.parametrize("teacher", ["averaged", "live"])
def test_what_old_slots_draw_keeps_its_bits(tmp_path: Path, teacher: str) -> None:
    state, _ = train(tmp_path, teacher=teacher)
    first, last = (from_pretrained(place) for place in task_folders(tmp_path))
    old = last.memory.frozen.nonzero()[:, 0]
    assert state.step == 12 and len(old) == 5 and int(last.generator.tasks) == 1
    index = torch.arange(30)
    drawn = first.latents_at(index, seed=5, slot=old[index % 5])
    assert torch.equal(last.decode(drawn), first.decode(drawn)) or teacher == "live"
    assert torch.equal(last.memory.keys[old], first.memory.keys[old])
    assert not bool(last.generator.row[old].any()) and not bool(last.generator.offset[old].any()), "the first task's slots draw by the whole"
    new = open_slots(last.memory)
    assert bool(last.generator.row[new].any()) and float(prior(last.memory)[new].sum()) == pytest.approx(0.5)
    if teacher == "averaged":
        for name, tensor in first.generator.whole.state_dict().items():
            assert torch.equal(last.generator.whole.state_dict()[name], tensor), name


@pytest.mark.parametrize("step", [4, 8, 10])
def test_a_stop_and_resume_gives_the_same_bits(tmp_path: Path, step: int) -> None:
    def look(batch: Batch) -> None:
        if batch.step + 1 == step and batch.image is None:
            signal.raise_signal(signal.SIGTERM)

    straight = fingerprint(train(tmp_path / "straight")[0])
    with pytest.raises(Stopped):
        train(tmp_path / "stopped", look=look)
    assert fingerprint(train(tmp_path / "stopped")[0]) == straight
    assert fingerprint(train(tmp_path / "stopped")[0]) == straight, "a finished sequence is looked up"


def test_options_that_do_not_go_together_are_refused() -> None:
    with pytest.raises(ValueError, match="kept_slots is 3"):
        MemoryGANObjective(kept_slots=3, replay=True)
    with pytest.raises(InputError, match="give both, or neither"):
        OBJECTIVE.phases(built())
    for change in ({"norm": "none"}, {"memory": None}, {"condition": "none"}):
        with pytest.raises(ValueError, match="slot_rows"):
            replace(SPARSE, **change)


@given(tasks=st.integers(1, 6), share=st.sampled_from([0.0, 0.1, 0.25, 0.5, 1.0]), cycles=st.integers(1, 60))
def test_a_share_of_the_replayed_images_is_replayed(tasks: int, share: float, cycles: int) -> None:
    """Of m candidates floor(m share), and none that would not be one at a share of 1."""
    teacher = SlotTeacher(built(TINY, written=False))
    index = torch.arange(cycles * (tasks + 1))
    some, all_of_them = Past(teacher, tasks, share).again(index), Past(teacher, tasks).again(index)
    assert int(some.sum()) == int(np.floor(np.float64(cycles * tasks) * share)) and not bool((some & ~all_of_them).any())
