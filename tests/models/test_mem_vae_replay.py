"""A MEM-VAE's past: what is replayed, by which statistics, and that a stream without labels is resumed to the same bits."""

from __future__ import annotations

import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from memogen.data.task_sequence import TaskConfig, task_sequence
from memogen.models import MemVAE, MemVAEConfig, MemVAEObjective
from memogen.models.mem_vae import AttentionConfig
from memogen.models.mem_vae.replay import SampleTeacher
from memogen.pretrained import from_pretrained
from memogen.training import Onlooker, Stopped, SuccessionConfig, TrainingConfig, TrainState, fit_tasks
from memogen.types import Batch, ImageData, InputError
from tests.training.toy import fingerprint

CONFIG = MemVAEConfig((1, 8, 8), hidden=(12, 10), latent_dim=4, memory=AttentionConfig((6, 4)), pixel_levels=255)
OBJECTIVE = MemVAEObjective(replay=True)
STEPS = 3


def shades(num: int = 48) -> ImageData:
    """Images of three classes, each brighter than the one before."""
    noise, label = np.random.default_rng(0).integers(0, 60, (num, 1, 8, 8)), np.arange(num) % 3
    return ImageData((noise + 90 * label[:, None, None, None]).astype(np.uint8), label)


def built() -> MemVAE:
    torch.manual_seed(0)
    model = CONFIG.build()
    model.calibrate(shades())
    return model


def taught(model: MemVAE, tasks: int = 1) -> SampleTeacher:
    teacher = OBJECTIVE.teacher(model)
    assert teacher is not None
    for _ in range(tasks):
        OBJECTIVE.teach(teacher, model)
    return teacher


def batch(num: int = 12) -> Batch:
    return Batch(torch.arange(num), torch.from_numpy(shades().image[:num]), seed=3)


def test_after_three_tasks_three_images_of_four_are_the_teachers() -> None:
    model, one = built(), batch()
    real = model.pixels(one.image)
    mixed = taught(model, tasks=3).mixed(real, one)
    for row, number in enumerate(one.index.tolist()):
        assert torch.equal(mixed[row], real[row]) == (number % 4 == 3)


def test_a_teacher_is_the_decoder_as_it_was() -> None:
    model = built()
    teacher, one = taught(model), batch()
    before = teacher.mixed(model.pixels(one.image), one)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1)
    torch.testing.assert_close(teacher.mixed(model.pixels(one.image), one), before)
    assert not any(parameter.requires_grad for parameter in teacher.parameters())


def test_the_loss_on_replays_is_that_on_the_same_images_as_data() -> None:
    model, one = built().train(), batch()
    teacher = taught(model, tasks=2)
    (replaying,) = OBJECTIVE.phases(model, teacher=teacher)
    (plain,) = MemVAEObjective().phases(model)
    mixture = teacher.mixed(model.pixels(one.image), one)
    torch.testing.assert_close(replaying.loss(one).total, plain.loss(replace(one, image=mixture)).total)


def test_what_knows_nothing_adds_nothing() -> None:
    model = built().train()
    assert MemVAEObjective().teacher(model) is None
    waiting = OBJECTIVE.teacher(model)
    assert waiting is not None and waiting.among(data := shades()) is data
    plain, same = (objective.phases(model, teacher=given)[0] for objective, given in ((MemVAEObjective(), None), (OBJECTIVE, waiting)))
    assert torch.equal(plain.loss(batch()).total, same.loss(batch()).total)


def test_statistics_are_those_of_the_mixture() -> None:
    """Bright images of a third task among dark samples of the copy: as many as there were tasks."""
    data, model = shades(), built()
    bright = replace(data, image=np.full_like(data.image, 255))
    mixture = taught(model, tasks=2).among(bright)
    replayed = np.flatnonzero((mixture.image != 255).any((1, 2, 3)))
    assert replayed.tolist() == [number for number in range(48) if number % 3 < 2]
    assert (bright.image == 255).all(), "the task's own images stay as they are"


def test_a_model_with_labels_has_no_replay() -> None:
    with pytest.raises(InputError, match=r"objective\.replay: tasks come without labels"):
        OBJECTIVE.teacher(replace(CONFIG, num_classes=3).build())


def train(folder: Path, *, onlooker: Onlooker | None = None) -> TrainState:
    torch.manual_seed(0)
    config = TrainingConfig(STEPS, batch_size=8, ema_decay=0.0, checkpoint_every=1, sample_every=0, device="cpu")
    sequence, succession = task_sequence(shades(), TaskConfig()), SuccessionConfig(teacher="averaged")
    return fit_tasks(CONFIG.build(), OBJECTIVE, sequence, config, folder, succession=succession, onlooker=onlooker or Onlooker(), console=False)


def test_a_stream_is_resumed_to_the_same_bits(tmp_path: Path) -> None:
    whole = train(tmp_path / "whole")
    stopping = Onlooker(lambda number, place: lambda step, model: signal.raise_signal(signal.SIGTERM) if (number, step) == (2, 1) else None)
    with pytest.raises(Stopped):
        train(tmp_path / "cut", onlooker=stopping)
    again = train(tmp_path / "cut")
    assert fingerprint(again) == fingerprint(whole) and int(again.modules["teacher"].tasks) == 2
    saved, state = from_pretrained(tmp_path / "whole" / "model"), whole.modules["model"]
    assert all(torch.equal(value, state.state_dict()[name]) for name, value in saved.state_dict().items())
