"""The losses of Memory Replay GANs against their equations, worked out class by class with batches of one class."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from memogen import noise
from memogen.losses import wgan_penalty
from memogen.models.replay_gan import (
    AlignmentConfig,
    ConsolidationConfig,
    CriticConfig,
    GenerativeReplayConfig,
    JointConfig,
    ReplayConfig,
    ReplayGAN,
    ReplayGANObjective,
    Teacher,
)
from memogen.models.replay_gan import losses as streams
from memogen.types import Batch, Latents
from tests.models.test_replay_gan import KINDS, TINY, built
from tests.models.waiting import Waits

BATCH = 12
WEIGHT = 0.01


def batch(label: int | list[int] = 3, *, step: int = 0, num: int = BATCH) -> Batch:
    generator = torch.Generator().manual_seed(step)
    image = torch.randint(0, 256, (num, 1, 8, 8), dtype=torch.uint8, generator=generator)
    labels = torch.full((num,), label) if isinstance(label, int) else torch.tensor(label).repeat(num)[:num]
    return Batch(torch.arange(num) + num * step, image, labels, seed=7, stream=2, step=step)


def taught(
    objective: ReplayGANObjective, config: object = TINY, past: tuple[int, ...] = (0, 2), new: tuple[int, ...] = (3,)
) -> tuple[ReplayGAN, Teacher]:
    """A model in double precision that has moved on from its teacher, which knows ``past``."""
    torch.set_default_dtype(torch.float64)
    model = built(config, (past,)).double()
    teacher = objective.teacher(model)
    if teacher is not None:
        objective.teach(teacher, model)
    model.begin_task(1, new)
    with torch.no_grad():
        for parameter in model.generator.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return model, teacher


@pytest.fixture(autouse=True)
def double() -> object:
    yield
    torch.set_default_dtype(torch.float32)


def one_class(model: ReplayGAN, generator: nn.Module, index: Tensor, label: int, stream: int) -> Tensor:
    """A batch of one class by the generator's own batch statistics: what the authors' code draws."""
    address = index * (1 << 20) + label
    z = noise.normal(address, model.config.noise_dim, seed=7, stream=stream + (1 << 21))
    return generator(z, torch.full((len(index),), label), 1)


def reference(
    model: ReplayGAN, teacher: Teacher | None, given: Batch, past: tuple[int, ...], *, weights: str, classes: bool
) -> tuple[Tensor, Tensor]:
    """(critic's, generator's loss) of joint training with replay as in the authors' code: a sum over past classes of terms of their own."""
    new, real = 3, model.pixels(given.image)
    fake = one_class(model, model.generator, given.index, new, given.stream)
    share = noise.uniform(given.index, 1, seed=7, stream=given.stream + noise.Stream.PENALTY)[:, 0]
    penalty = wgan_penalty(lambda image: model.critic(image)[0], fake.detach(), real, share)
    each = len(given.index) // max(len(past), 1)

    def judge(image: Tensor, label: int) -> tuple[Tensor, Tensor]:
        score, logits = model.critic(image)
        return score.mean(), F.cross_entropy(logits, torch.full((len(image),), label)) if classes else torch.zeros(())

    (real_score, real_class), (fake_score, fake_class) = judge(real, new), judge(fake, new)
    critic, generator = fake_score - real_score + real_class, fake_class - fake_score
    for c in past:
        index = given.index[:each]
        own = one_class(model, model.generator, index, c, given.stream + noise.Stream.REPLAY)
        old = one_class(model, teacher.generator, index, c, given.stream + noise.Stream.REPLAY)
        (own_score, own_class), (old_score, old_class) = judge(own, c), judge(old, c)
        factor = 1 / len(past) if weights == "mean" else 1
        critic = critic + factor * (own_score - old_score + old_class)
        generator = generator + factor * (own_class - own_score)
    total = 1 / (1 + len(past)) if weights == "uniform" else 1
    return total * critic + 10 * penalty, total * generator


@pytest.mark.parametrize("weights", ["sum", "mean", "uniform"])
@pytest.mark.parametrize("past", [(0,), (0, 2), (0, 1, 2)])
def test_joint_training_with_replay_is_a_sum_over_batches_of_one_class(weights: str, past: tuple[int, ...]) -> None:
    objective = ReplayGANObjective(joint=JointConfig(weights=weights))
    model, teacher = taught(objective, past=past)
    critic, generator = objective.phases(model, teacher=teacher)
    given = batch()
    wanted = reference(model, teacher, given, past, weights=weights, classes=True)
    torch.testing.assert_close(critic.loss(given).total, wanted[0])
    torch.testing.assert_close(generator.loss(given).total, wanted[1])
    assert (critic.repeats, generator.repeats) == (5, 1)


@pytest.mark.parametrize("term", ["several", "always"])
def test_fine_tuning_has_a_class_term_only_where_asked(term: str) -> None:
    objective = ReplayGANObjective(game=CriticConfig(class_term=term))
    model, teacher = taught(objective)
    assert teacher is None
    critic, generator = objective.phases(model, teacher=None)
    wanted = reference(model, None, batch(), (), weights="sum", classes=term == "always")
    torch.testing.assert_close(critic.loss(batch()).total, wanted[0])
    torch.testing.assert_close(generator.loss(batch()).total, wanted[1])


def test_several_new_classes_are_told_apart_without_being_asked() -> None:
    objective = ReplayGANObjective()
    model, _ = taught(objective, new=(1, 3))
    critic, generator = objective.phases(model)
    terms = critic.loss(batch([1, 3])).terms, generator.loss(batch([1, 3])).terms
    assert all(float(term["class"]) > 0 for term in terms)


@pytest.mark.parametrize("past", [(0,), (0, 1), (0, 1, 2)])
@pytest.mark.parametrize("norm", ["split", "full", "mean"])
def test_alignment_is_zero_at_first_and_then_the_authors_half_sum(norm: str, past: tuple[int, ...]) -> None:
    images = "full" if norm == "full" else "split"
    objective = ReplayGANObjective(alignment=AlignmentConfig(WEIGHT, norm), replay=ReplayConfig(images=images))
    torch.set_default_dtype(torch.float64)
    model = built(TINY, (past,)).double()
    teacher = objective.teacher(model)
    objective.teach(teacher, model)
    model.begin_task(1, (3,))
    _, generator = objective.phases(model, teacher=teacher)
    assert float(generator.loss(batch()).terms["alignment"]) == 0
    with torch.no_grad():
        model.generator.foot.weight.mul_(1.2)
    given = batch()
    each = BATCH if images == "full" else BATCH // len(past)
    pairs = [
        [one_class(model, part, given.index[:each], c, given.stream + noise.Stream.REPLAY) for part in (model.generator, teacher.generator)]
        for c in past
    ]
    squares = torch.stack([(new - old).square().sum() for new, old in pairs])
    wanted = {"split": WEIGHT / len(past) * 0.5 * squares.sum(), "full": WEIGHT * 0.5 * squares.sum(), "mean": WEIGHT * squares.mean() / each}[norm]
    loss, plain = generator.loss(given), replace(objective, alignment=None).phases(model)[1].loss(given)
    assert float(wanted.detach()) > 0
    torch.testing.assert_close(loss.total - plain.total, wanted)
    torch.testing.assert_close(loss.terms["alignment"] * loss.terms["alignment_weight"], wanted.detach())


def test_the_coefficients_of_alignment_are_the_published_ones() -> None:
    """On E ||difference||^2 of an image, a batch of 64 and weight 1e-3: falling with the number of classes for digits, rising for LSUN."""
    digits = [64 // k * k * AlignmentConfig(1e-3, "split").coefficient(k, 64 // k * k) for k in range(1, 10)]
    assert digits == pytest.approx([0.0320, 0.0160, 0.0105, 0.0080, 0.0060, 0.0050, 0.0045, 0.0040, 0.0035])
    assert [64 * k * AlignmentConfig(1e-3, "full").coefficient(k, 64 * k) for k in (1, 2, 3)] == pytest.approx([0.032, 0.064, 0.096])
    assert [64 * AlignmentConfig(1e-3, "mean").coefficient(k, 64) for k in (1, 2)] == pytest.approx([1e-3, 1e-3])


def test_alignment_leaves_the_critic_to_the_new_task() -> None:
    objective = ReplayGANObjective(alignment=AlignmentConfig())
    model, teacher = taught(objective)
    critic, _ = objective.phases(model, teacher=teacher)
    torch.testing.assert_close(critic.loss(batch()).total, reference(model, None, batch(), (), weights="sum", classes=False)[0])


def test_both_together_are_the_sum_of_their_terms() -> None:
    joint, both = ReplayGANObjective(joint=JointConfig()), ReplayGANObjective(joint=JointConfig(), alignment=AlignmentConfig(WEIGHT))
    model, teacher = taught(both)
    alone, together = (objective.phases(model, teacher=teacher) for objective in (joint, both))
    torch.testing.assert_close(together[0].loss(batch()).total, alone[0].loss(batch()).total)
    loss = together[1].loss(batch())
    extra = loss.terms["alignment"] * loss.terms["alignment_weight"]
    torch.testing.assert_close(loss.total, alone[1].loss(batch()).total + extra)


def test_the_new_task_leaves_the_norms_of_old_classes_alone() -> None:
    """Adam without momentum then leaves them where they are."""
    model, _ = taught(ReplayGANObjective())
    _, generator = ReplayGANObjective().phases(model)
    generator.loss(batch()).total.backward()
    for norm in model.generator.norms:
        for parameter in (norm.weight, norm.bias):
            assert parameter.grad[:3].abs().max() == 0
            assert parameter.grad[3].abs().max() > 0
    before = [norm.weight[:3].clone() for norm in model.generator.norms]
    adam = torch.optim.Adam(model.generator.parameters(), 1e-2, betas=(0.0, 0.9))
    adam.step()
    assert all(torch.equal(norm.weight[:3], rows) for norm, rows in zip(model.generator.norms, before, strict=True))


def test_the_teacher_gets_no_gradient_and_does_not_move_with_the_model() -> None:
    objective = ReplayGANObjective(joint=JointConfig(), alignment=AlignmentConfig())
    model, teacher = taught(objective)
    assert teacher.known == (0, 2)
    for phase in objective.phases(model, teacher=teacher):
        phase.loss(batch()).total.backward()
    assert all(p.grad is None and not p.requires_grad for p in teacher.parameters())
    assert not any(torch.equal(mine, its) for mine, its in zip(model.generator.parameters(), teacher.generator.parameters(), strict=True))


def test_replays_weigh_as_their_number_against_that_of_the_new_classes() -> None:
    """Three past classes and two new ones, each weighing as much as any other."""
    objective = ReplayGANObjective(joint=JointConfig())
    model, teacher = taught(objective, replace(TINY, num_classes=5), past=(0, 2, 4), new=(1, 3))
    critic, generator = (phase.loss(batch([1, 3])) for phase in objective.phases(model, teacher=teacher))
    term = critic.terms
    replayed = 3 / 2 * (term["past_class"] - term["past_wasserstein"])
    torch.testing.assert_close(critic.total.detach(), term["class"] - term["wasserstein"] + 10 * term["penalty"] + replayed)
    term = generator.terms
    torch.testing.assert_close(generator.total.detach(), term["loss"] + term["class"] + 3 / 2 * (term["past_loss"] + term["past_class"]))


def test_stored_replays_are_those_of_the_class_that_is_asked_for() -> None:
    objective = ReplayGANObjective(joint=JointConfig(bank=5))
    model, teacher = taught(objective)
    losses = [objective.phases(model, teacher=teacher)[0] for _ in range(2)]
    first, again = losses[0].loss(batch()).total, losses[1].loss(batch()).total
    assert torch.equal(first, again), "a resumed task makes the same store"
    bound = losses[0].loss.__self__
    assert bound.banks[7].shape == (5, 2, 1, 8, 8)
    stored = {label: one_class(model, teacher.generator, torch.arange(64), label, noise.Stream.BANK)[:5] for label in (0, 2)}
    wanted = bound._past(batch())
    chosen = set[int]()
    for image, label in zip(bound._banked(batch(), wanted), wanted.label.tolist(), strict=True):
        gap = (stored[label] - image).abs().amax((1, 2, 3))
        assert float(gap.min()) < 1e-9
        chosen.add(int(gap.argmin()))
    assert len(chosen) > 1


def test_joint_training_asks_for_every_class_alike_whatever_the_real_ones_are() -> None:
    objective = ReplayGANObjective()
    model, _ = taught(objective, KINDS["mixed"], past=(), new=(0, 1, 3))
    losses = objective.phases(model)[0].loss.__self__
    asked = losses.fakes(batch(0, num=3000))
    assert asked.turns == 0
    counts = torch.bincount(asked.label, minlength=4)
    assert counts[2] == 0
    assert (counts[[0, 1, 3]] - 1000).abs().max() < 130, "five standard deviations"
    assert not torch.equal(asked.label, losses.fakes(batch(0, num=3000, step=1)).label)


def test_the_penalty_can_reach_the_replays() -> None:
    objective = ReplayGANObjective(joint=JointConfig(penalty=True), game=CriticConfig(class_weight=0.0))
    model, teacher = taught(objective, past=(0,))
    found = objective.phases(model, teacher=teacher)[0].loss(batch())
    given = batch()
    real, fake = model.pixels(given.image), one_class(model, model.generator, given.index, 3, given.stream).detach()
    old, new = (one_class(model, part, given.index, 0, given.stream + noise.Stream.REPLAY).detach() for part in (teacher.generator, model.generator))
    share = noise.uniform(streams.lines(given, 2 * BATCH), 1, seed=7, stream=given.stream + noise.Stream.PENALTY)[:, 0]
    wanted = wgan_penalty(lambda image: model.critic(image)[0], torch.cat([fake, new]), torch.cat([real, old]), share)
    torch.testing.assert_close(found.terms["penalty"], wanted.detach())


def test_stored_statistics_of_the_teacher_are_an_option() -> None:
    objective = ReplayGANObjective(alignment=AlignmentConfig(WEIGHT), replay=ReplayConfig(statistics="stored"))
    model, teacher = taught(objective)
    found = objective.phases(model, teacher=teacher)[1].loss(batch()).terms["alignment"]
    latents = model.in_turns(batch().index[:6], torch.tensor([0, 2]), seed=7, stream=2 + noise.Stream.REPLAY)
    gap = model.generate(latents, 2) - teacher.generator(latents.noise, latents.label, None)
    torch.testing.assert_close(found, gap.detach().square().sum() / 12)


def test_too_many_classes_for_a_batch_are_drawn_in_part() -> None:
    config = replace(TINY, num_classes=9)
    objective = ReplayGANObjective(joint=JointConfig())
    model, teacher = taught(objective, config, past=tuple(range(8)), new=(8,))
    losses = objective.phases(model, teacher=teacher)[0].loss.__self__
    drawn = [losses._past(batch(8, step=step)) for step in range(40)]
    assert all(len(asked.classes) == 3 and asked.turns == 3 and len(asked.label) == BATCH for asked in drawn)
    counts = torch.bincount(torch.cat([asked.classes for asked in drawn]), minlength=8)
    assert counts.min() > 5
    assert counts.sum() == 120


def test_generative_replay_mixes_images_and_replays_by_their_numbers_of_classes() -> None:
    objective = ReplayGANObjective(generative_replay=GenerativeReplayConfig())
    model, teacher = taught(objective, KINDS["none"])
    critic, generator, solver = objective.phases(model, teacher=teacher)
    given, r = batch(), 1 / 3
    real = model.pixels(given.image)
    draw = lambda part, stream: part(model.noise(given.index, 7, given.stream + stream), torch.zeros(BATCH, dtype=torch.long), 1)  # noqa: E731
    fake, old = draw(model.generator, 0), draw(teacher.generator, noise.Stream.REPLAY)
    score = lambda image: model.critic(image)[0]  # noqa: E731
    mix = noise.uniform(given.index, 1, seed=7, stream=given.stream + noise.Stream.PENALTY)[:, 0]
    gaps = [score(fake).mean() - score(image).mean() + 10 * wgan_penalty(score, fake.detach(), image, mix) for image in (real, old)]
    torch.testing.assert_close(critic.loss(given).total, r * gaps[0] + (1 - r) * gaps[1])
    torch.testing.assert_close(generator.loss(given).total, -score(fake).mean())
    label = teacher.solver(old)[1].argmax(1)
    wanted = r * F.cross_entropy(model.solver(real)[1], given.label) + (1 - r) * F.cross_entropy(model.solver(old)[1], label)
    torch.testing.assert_close(solver.loss(given).total, wanted)


def test_generative_replay_without_a_past_is_a_plain_gan_and_a_classifier() -> None:
    objective = ReplayGANObjective(generative_replay=GenerativeReplayConfig())
    torch.set_default_dtype(torch.float64)
    model = built(KINDS["none"], ((0, 1),)).double()
    phases = objective.phases(model, teacher=objective.teacher(model))
    loss = phases[2].loss(batch([0, 1]))
    torch.testing.assert_close(loss.total, F.cross_entropy(model.solver(model.pixels(batch().image))[1], batch([0, 1]).label))
    with pytest.raises(ValueError, match="conditioning none"):
        ReplayGANObjective().phases(model)
    with pytest.raises(ValueError, match="stands alone"):
        replace(objective, joint=JointConfig())


@pytest.mark.parametrize("kind", ["norm", "concat", "mixed"])
def test_every_method_trains_every_kind(kind: str) -> None:
    methods = [
        ReplayGANObjective(),
        ReplayGANObjective(joint=JointConfig(), alignment=AlignmentConfig()),
        ReplayGANObjective(consolidation=ConsolidationConfig(num_samples=8)),
    ]
    for objective in methods:
        model, teacher = taught(objective, KINDS[kind])
        for phase, part in zip(objective.phases(model, teacher=teacher), (model.critic, model.generator), strict=True):
            loss = phase.loss(batch())
            gradient = torch.autograd.grad(loss.total, list(part.parameters()), allow_unused=True)
            size = sum(float(g.square().sum()) for g in gradient if g is not None)
            assert 0 < size < float("inf")


def test_latents_without_classes_belong_to_unconditional_models() -> None:
    model = built(KINDS["none"])
    assert model.in_turns(torch.arange(3), torch.tensor([0]), seed=0).label is None
    assert isinstance(model.latents(2), Latents)


STEPPED = {
    "fine_tuning": ReplayGANObjective(),
    "both": ReplayGANObjective(joint=JointConfig(), alignment=AlignmentConfig()),
    "bank": ReplayGANObjective(joint=JointConfig(bank=5, penalty=True)),
    "ewc": ReplayGANObjective(consolidation=ConsolidationConfig(num_samples=8)),
    "dgr": ReplayGANObjective(generative_replay=GenerativeReplayConfig()),
    "many": ReplayGANObjective(joint=JointConfig()),
}


@pytest.mark.parametrize("method", STEPPED)
def test_a_step_waits_for_the_device_only_once_a_task(method: str) -> None:
    """On a GPU a host that reads a number stands still until the device has come so far. What a task's classes are is read once."""
    config = replace(TINY, num_classes=8, conditioning="none" if method == "dgr" else "norm")
    model, teacher = taught(STEPPED[method], config, past=(0, 1, 2, 4, 5, 6) if method == "many" else (0, 2))
    phases = STEPPED[method].phases(model, teacher=teacher)
    for phase in phases:
        phase.loss(batch())
    with Waits() as waits:
        for phase in phases:
            phase.loss(batch(step=1)).total.backward()
    assert waits.noted == []
