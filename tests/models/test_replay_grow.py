"""A grown model knows what it knew, to the bit; and what keeping the past costs is what is drawn."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from memogen.models.replay_gan import (
    AlignmentConfig,
    GenerativeReplayConfig,
    JointConfig,
    ReplayConfig,
    ReplayGANObjective,
)
from memogen.models.replay_gan.model import grown, with_class
from memogen.models.replay_gan.objective import cost, images_in_a_step
from memogen.types import Batch, InputError
from tests.models.test_replay_gan import KINDS, TINY, built
from tests.models.test_replay_losses import batch


@pytest.mark.parametrize("kind", ["norm", "concat", "resnet", "mixed"])
def test_growing_keeps_every_known_image_and_every_known_logit(kind: str) -> None:
    model = built(KINDS[kind])
    larger = grown(model, 7, ("a", "b"))
    assert (larger.config.num_classes, larger.config.classes) == (7, ("a", "b"))
    assert larger.known == model.known == (0, 1, 2)
    for label in model.known:
        assert torch.equal(larger.sample(5, label=label, seed=3), model.sample(5, label=label, seed=3))
    image = model.sample(6)
    torch.testing.assert_close(larger.classify(image)[:, :4], model.classify(image), rtol=0, atol=1e-6)
    torch.testing.assert_close(larger.critic(larger.framed(image))[0], model.critic(model.framed(image))[0])
    assert larger.classify(image).shape == (6, 7)
    larger.begin_task(2, [6])
    larger.calibrate()
    assert larger.sample(2, label=6).isfinite().all()


def test_new_slots_are_plain_and_a_model_does_not_lose_any() -> None:
    larger = grown(built(), 6, ())
    for norm in larger.generator.norms:
        assert torch.equal(norm.weight[4:], torch.ones_like(norm.weight[4:]))
        assert not norm.bias[4:].any()
    assert larger.learned[4:].tolist() == [-1, -1]
    assert larger.critic.classes.weight[4:].detach().std() > 0
    with pytest.raises(InputError, match="does not lose slots"):
        grown(built(), 3, ())


def test_a_new_class_takes_a_free_slot_or_a_new_one() -> None:
    named = built(replace(TINY, classes=("zero", "one", "two")))
    free, slot = with_class(named, "three")
    assert (slot, free.config.num_classes, free.config.classes) == (3, 4, ("zero", "one", "two", "three"))
    more, slot = with_class(built(replace(TINY, classes=("zero", "one", "two", "three")), ((0, 1, 2, 3),)), "four")
    assert (slot, more.config.num_classes) == (4, 5)
    waiting, slot = with_class(built(replace(TINY, classes=("zero", "one", "two", "three"))), "three")
    assert (slot, waiting.config.num_classes) == (3, 4)
    nameless, slot = with_class(built(TINY, ((0, 1, 2, 3),)), "four")
    assert (slot, nameless.config.classes) == (4, ("0", "1", "2", "3", "four"))
    unnamed, slot = with_class(built(TINY, ((0, 2),)), "one")
    assert (slot, unnamed.config.num_classes, unnamed.config.classes) == (1, 4, ("0", "one"))
    with pytest.raises(InputError, match="'one' is known to this model, as class 1"):
        with_class(named, "one")
    assert named.config.classes == ("zero", "one", "two"), "the model itself is left alone"


METHODS = {
    "fine_tuning": ReplayGANObjective(),
    "joint": ReplayGANObjective(joint=JointConfig()),
    "bank": ReplayGANObjective(joint=JointConfig(bank=70)),
    "full": ReplayGANObjective(joint=JointConfig(weights="mean"), alignment=AlignmentConfig(norm="full"), replay=ReplayConfig(images="full")),
    "alignment": ReplayGANObjective(alignment=AlignmentConfig()),
    "generative": ReplayGANObjective(generative_replay=GenerativeReplayConfig()),
}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("past", [(), (0, 1)])
def test_the_images_of_a_step_are_those_that_are_drawn(method: str, past: tuple[int, ...]) -> None:
    objective = METHODS[method]
    config = KINDS["none"] if method == "generative" else TINY
    model = built(config, (past,) if past else ())
    teacher = objective.teacher(model)
    if teacher is not None and past:
        objective.teach(teacher, model)
    model.begin_task(1, (3,))
    drawn = list[int]()
    for generator in (model.generator, *([teacher.generator] if teacher is not None else [])):
        generator.register_forward_hook(lambda module, inputs, output: drawn.append(len(output)))
    phases = objective.phases(model, teacher=teacher)
    phases[0].loss(batch())  # makes the store, where there is one
    drawn.clear()
    for phase in phases:
        for turn in range(phase.repeats):
            phase.loss(replace_stream(batch(), turn))
    assert sum(drawn) == images_in_a_step(objective, config, 1, len(past), len(batch().index))


def replace_stream(given: Batch, stream: int) -> Batch:
    return replace(given, stream=stream)


def test_the_cost_of_a_course() -> None:
    """Two tasks of one class: fine-tuning draws six batches a step; the teacher is stored once, with its buffers."""
    model = built()
    steps, size = 5, 12
    assert cost(METHODS["fine_tuning"], TINY, (1, 1), steps=steps, batch_size=size, teacher=None).drawn == 2 * steps * 6 * size
    teacher = METHODS["joint"].teacher(model)
    found = cost(METHODS["joint"], TINY, (1, 1), steps=steps, batch_size=size, teacher=teacher)
    assert found.drawn == steps * 6 * size + steps * (5 * 3 * size + 2 * size)
    assert found.stored == sum(value.numel() * value.element_size() for value in teacher.state_dict().values())
    bank = cost(METHODS["bank"], TINY, (1, 1), steps=steps, batch_size=size, teacher=teacher)
    assert bank.stored == found.stored + 70 * 64 * 4
