"""A memoryGAN's past: what is replayed, how much of it, and that a stream without labels is learned and resumed to the same bits."""

from __future__ import annotations

import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from memogen.data.task_sequence import TaskConfig, task_sequence
from memogen.models import MemoryGANObjective
from memogen.models.memory_gan import MemoryGAN
from memogen.models.memory_gan.replay import Past, SlotTeacher, past_of
from memogen.noise import Stream
from memogen.training import Onlooker, Stopped, SuccessionConfig, TrainingConfig, TrainState, fit_tasks
from memogen.training.continual import ToldModel
from memogen.types import Batch, ImageData, InputError
from tests.models.test_memory_gan import SILENT, TINY, VARIANTS, batch, built
from tests.models.waiting import Waits
from tests.training.toy import fingerprint

KINDS = ["memory_gan", "no_memory", "no_mcgn", "as_printed"]
OBJECTIVE = MemoryGANObjective(replay=True, contrast=SILENT)
SMALL = built()


def taught(model: MemoryGAN, tasks: int = 1) -> SlotTeacher:
    teacher = OBJECTIVE.teacher(model)
    assert teacher is not None
    for _ in range(tasks):
        OBJECTIVE.teach(teacher, model)
    return teacher


@given(tasks=st.integers(1, 7), first=st.integers(0, 10**9), num=st.integers(1, 200))
def test_after_t_tasks_t_images_in_every_t_plus_1_are_replayed(tasks: int, first: int, num: int) -> None:
    """Any t + 1 numbers in a row hold exactly one image of the new task; so a batch of b holds b / (t + 1) of it, up to one."""
    again = Past(SlotTeacher(SMALL), tasks).again(torch.arange(first, first + num))
    new = int((~again).sum())
    assert num // (tasks + 1) <= new <= -(-num // (tasks + 1))
    whole = num // (tasks + 1) * (tasks + 1)
    assert bool(((~again)[:whole].view(-1, tasks + 1).sum(1) == 1).all())


@pytest.mark.parametrize("kind", KINDS)
def test_the_rest_of_a_batch_is_left_alone(kind: str) -> None:
    model = built(VARIANTS[kind])
    teacher, one = taught(model, tasks=3), replace(batch(), stream=2)
    real = model.pixels(one.image)
    mixed = Past(teacher, 3).mixed(real, one)
    old = teacher.model.decode(teacher.model.latents_at(one.index, seed=one.seed, stream=2 + Stream.REPLAY))
    for row, number in enumerate(one.index.tolist()):
        assert torch.equal(mixed[row], real[row] if number % 4 == 3 else old[row])


def test_mixing_is_by_the_address_of_each_image() -> None:
    """Two processes with a half each see what one sees with the whole."""
    model = built()
    past, one = Past(taught(model, tasks=2), 2), batch(num=16)
    whole = past.mixed(model.pixels(one.image), one)
    halves = [replace(one, index=one.index[part], image=one.image[part]) for part in (slice(0, 7), slice(7, 16))]
    torch.testing.assert_close(torch.cat([past.mixed(model.pixels(half.image), half) for half in halves]), whole)


@pytest.mark.parametrize("kind", KINDS)
def test_a_teacher_is_the_model_as_it_was(kind: str) -> None:
    model = built(VARIANTS[kind])
    teacher = taught(model)
    model.calibrate()
    before = model.sample(6, seed=4)
    torch.testing.assert_close(teacher.model.sample(6, seed=4), before)
    with torch.no_grad():
        for parameter in model.generator.parameters():
            parameter.add_(1)
        if model.memory is not None:
            model.memory.write(torch.randn(96, 16), torch.arange(96) % 2)
    torch.testing.assert_close(teacher.model.sample(6, seed=4), before)
    assert not any(parameter.requires_grad for parameter in teacher.parameters())
    assert not any(name.startswith(("model.critic", "model.encoder")) for name in teacher.state_dict())


def test_slots_are_replayed_by_their_mass() -> None:
    model = built()
    weight = model.memory.mass * (model.memory.values > 0.5)
    teacher = taught(model)
    slots = teacher.model.latents_at(torch.arange(20_000), seed=1, stream=Stream.REPLAY).slot
    share = torch.bincount(slots, minlength=48) / 20_000
    torch.testing.assert_close(share, weight / weight.sum(), atol=0.01, rtol=0)


def test_what_knows_nothing_adds_nothing() -> None:
    model = built()
    assert MemoryGANObjective().teacher(model) is None
    teacher = OBJECTIVE.teacher(model)
    assert past_of(teacher) is None
    assert past_of(None) is None
    plain, waiting = (
        MemoryGANObjective(replay=replay, contrast=SILENT).phases(model, teacher=given)[0] for replay, given in ((False, None), (True, teacher))
    )
    assert torch.equal(plain.loss(batch()).total, waiting.loss(batch()).total)


def test_the_critics_loss_on_replays_is_that_on_the_same_images_as_data() -> None:
    """Nothing but the real batch changes: its loss is that of a plain objective, given the mixture as data."""
    model = built(replace(TINY, norm="none")).train()
    teacher, one = taught(model, tasks=2), batch()
    mixed = Past(teacher, 2).mixed(model.pixels(one.image), one)
    critic, generator = OBJECTIVE.phases(model, teacher=teacher)
    plain, same = MemoryGANObjective(contrast=SILENT).phases(model)
    torch.testing.assert_close(critic.loss(one).total, plain.loss(replace(one, image=mixed)).total)
    torch.testing.assert_close(generator.loss(one).total, same.loss(one).total)


@pytest.mark.parametrize("kind", KINDS)
def test_replaying_never_waits_for_the_device(kind: str) -> None:
    model = built(VARIANTS[kind]).train()
    critic, _ = OBJECTIVE.phases(model, teacher=taught(model))
    plain, _ = MemoryGANObjective(contrast=SILENT).phases(model)
    noted = []
    for phase in (critic, plain):
        with Waits() as waits:
            phase.loss(batch())
        noted.append(waits.noted)
    with Waits() as waits:
        model.latents(2)  # which looks for unwritten slots where looking costs nothing, on the CPU
    assert sorted(noted[0]) in (sorted(noted[1]), sorted(noted[1] + waits.noted)), "no more than without replay but for the past's own draw"


# --- a stream ---

STEPS = 3


def stream_of_shades() -> object:
    noise, label = np.random.default_rng(0).integers(0, 60, (48, 1, 8, 8)), np.arange(48) % 3
    return task_sequence(ImageData((noise + 90 * label[:, None, None, None]).astype(np.uint8), label), TaskConfig())


def train(folder: Path, *, onlooker: Onlooker | None = None, seen: list[Batch] | None = None, **succession: object) -> TrainState:
    torch.manual_seed(0)
    model, config = (
        VARIANTS["memory_gan"].build(),
        TrainingConfig(STEPS, batch_size=8, ema_decay=0.9, checkpoint_every=1, sample_every=0, device="cpu"),
    )
    objective = OBJECTIVE if seen is None else Watched(seen)
    options = {"onlooker": onlooker or Onlooker(), "succession": SuccessionConfig(**succession)}
    return fit_tasks(model, objective, stream_of_shades(), config, folder, console=False, **options)


class Watched:
    """The objective, which notes the batches that it is given."""

    def __init__(self, seen: list[Batch]) -> None:
        self.seen, self.teacher, self.teach = seen, OBJECTIVE.teacher, OBJECTIVE.teach

    def phases(self, model: MemoryGAN, *, teacher: torch.nn.Module | None = None) -> tuple[object, ...]:
        def noting(loss: object) -> object:
            return lambda batch: (self.seen.append(batch), loss(batch))[1]

        return tuple(replace(phase, loss=noting(phase.loss)) for phase in OBJECTIVE.phases(model, teacher=teacher))


def test_a_stream_is_learned_without_labels(tmp_path: Path) -> None:
    seen = list[Batch]()
    state = train(tmp_path, seen=seen)
    assert not isinstance(state.modules["model"], ToldModel)
    assert state.step == 3 * STEPS
    assert int(state.modules["teacher"].tasks) == 2, "after the last task nothing is left to teach"
    assert len(seen) == 3 * STEPS * 2
    assert all(batch.label is None for batch in seen)
    data = [batch for batch in seen if batch.image is not None]
    assert all(90 * (batch.step // STEPS) <= int(batch.image.min()) for batch in data), "of its own task alone"


@pytest.mark.parametrize("teacher", ["live", "averaged"])
def test_a_stream_stopped_in_its_third_task_is_resumed_to_the_same_bits(tmp_path: Path, teacher: str) -> None:
    whole = fingerprint(train(tmp_path / "whole", teacher=teacher))
    stopping = Onlooker(lambda number, place: lambda step, model: signal.raise_signal(signal.SIGTERM) if (number, step) == (2, 1) else None)
    with pytest.raises(Stopped):
        train(tmp_path / "cut", onlooker=stopping, teacher=teacher)
    assert fingerprint(train(tmp_path / "cut", teacher=teacher)) == whole


def test_a_critic_whose_space_the_keys_lie_in_is_not_renewed(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"succession\.fresh_critic: a MemoryGAN"):
        train(tmp_path, fresh_critic=True)
    assert not (tmp_path / "tasks").exists()
