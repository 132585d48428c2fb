"""What a teacher keeps: a copy that does not move, and the importance of weights on nets whose importance is known."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from memogen.models.replay_gan import ConsolidationConfig, ReplayGANObjective, Teacher
from memogen.models.replay_gan.teacher import importance
from memogen.training.runtime import Runtime
from memogen.types import Latents
from tests.models.test_replay_gan import KINDS, TINY, built
from tests.models.test_replay_losses import batch


class Linear(nn.Module):
    """An image W z + b_c of three pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.randn(3, 4)), nn.Parameter(torch.zeros(2, 3))

    def forward(self, noise: Tensor, label: Tensor, turns: int | None) -> Tensor:
        assert turns is None
        return noise @ self.weight.T + self.bias[label]


class Weighing(nn.Module):
    """The score a . x."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("a", torch.tensor([1.0, -2.0, 3.0]))

    def forward(self, image: Tensor) -> tuple[Tensor, None]:
        return image @ self.a, None


def test_importance_of_a_linear_game_is_known() -> None:
    """s = a . (W z + b_c): ds/dW_ij = a_i z_j and ds/db_ci = a_i for the sample's class, so F is a_i^2 E z_j^2 and a_i^2 P(c)."""
    torch.manual_seed(0)
    generator, critic = Linear(), Weighing()
    latents = Latents(torch.randn(50, 4), label=torch.arange(50) % 5 // 4)  # a fifth of class 1
    found = importance(generator, critic, latents)
    square = critic.a.square()
    torch.testing.assert_close(found["weight"], torch.outer(square, latents.noise.square().mean(0)))
    torch.testing.assert_close(found["bias"], torch.outer(torch.tensor([0.8, 0.2]), square))
    log = importance(generator, critic, latents, source="log_sigmoid")
    score = critic(generator(latents.noise, latents.label, None).detach())[0]
    slope = torch.sigmoid(-score).square()  # d log sigmoid(s) = sigmoid(-s) ds
    torch.testing.assert_close(log["weight"], torch.outer(square, (slope[:, None] * latents.noise.square()).mean(0)))


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("kind", ["norm", "concat", "resnet"])
def test_importance_is_the_mean_of_squares_of_single_gradients(kind: str, channels_last: bool) -> None:
    model = built(KINDS[kind])
    Runtime(torch.device("cpu"), channels_last=channels_last).place(model)
    latents = model.in_turns(torch.arange(3), torch.tensor([0, 2]), seed=4)
    found = importance(model.generator, model.critic, latents, at_once=4)
    squares = {name: torch.zeros_like(p) for name, p in model.generator.named_parameters()}
    for z, c in zip(latents.noise, latents.label, strict=True):
        score = model.critic(model.generator(z[None], c[None], None))[0]
        for (name, _), gradient in zip(
            model.generator.named_parameters(), torch.autograd.grad(score.sum(), list(model.generator.parameters())), strict=True
        ):
            squares[name] += gradient.square() / 6
    for name, square in squares.items():
        torch.testing.assert_close(found[name], square, rtol=1e-3, atol=1e-9, msg=name)
    if kind == "norm":
        assert found["norms.0.weight"][[1, 3]].abs().max() == 0


@pytest.mark.parametrize(
    ("accumulation", "normalise", "wanted"),
    [("last", "none", (0, 1)), ("sum", "none", (1, 1)), ("online", "none", (0.5, 1)), ("last", "max", (0, "max")), ("last", "mean", (0, "mean"))],
)
def test_importance_over_tasks(accumulation: str, normalise: str, wanted: tuple[float, float | str]) -> None:
    config = ConsolidationConfig(num_samples=8, accumulation=accumulation, normalise=normalise, decay=0.5)
    model = built(TINY, ((0,),))
    teacher = Teacher(model, estimates_fisher=True)
    assert all(not value.any() for value in teacher.importance.parameters())
    teacher.weigh(model, config)
    assert all(not value.any() for value in teacher.importance.parameters()), "nothing is known yet"
    found = []
    for number in range(2):
        if number:
            model.begin_task(1, (1,))
        teacher.follow(model)
        alone = Teacher(model, estimates_fisher=True)
        alone.follow(model)
        alone.weigh(model, ConsolidationConfig(num_samples=8))
        found.append(torch.cat([value.flatten() for value in alone.importance.parameters()]))
        teacher.weigh(model, config)
    kept = torch.cat([value.flatten() for value in teacher.importance.parameters()])
    scale = {"max": found[1].max(), "mean": found[1].mean()}.get(wanted[1], 1.0)
    torch.testing.assert_close(kept, wanted[0] * found[0] + found[1] / scale)


def test_consolidation_is_half_the_weighted_distance_from_the_anchor() -> None:
    objective = ReplayGANObjective(consolidation=ConsolidationConfig(weight=50.0, num_samples=8))
    model = built(TINY, ((0,),))
    teacher = objective.teacher(model)
    objective.teach(teacher, model)
    model.begin_task(1, (3,))
    _, generator = objective.phases(model, teacher=teacher)
    assert float(generator.loss(batch()).terms["consolidation"]) == 0
    with torch.no_grad():
        for parameter in model.generator.parameters():
            parameter.add_(0.3)
    loss, plain = generator.loss(batch()), ReplayGANObjective().phases(model)[1].loss(batch())
    wanted = 25.0 * sum(float((value * 0.09).sum()) for value in teacher.importance.parameters())
    assert wanted > 0
    assert float((loss.total - plain.total).detach()) == pytest.approx(wanted, rel=1e-3)


def test_a_teacher_is_the_model_as_it_was() -> None:
    for kind in ("norm", "none"):
        model = built(KINDS[kind], ((0,), (2,)))
        teacher = Teacher(model)
        assert teacher.known == ()
        teacher.follow(model)
        assert teacher.known == (0, 2)
        latents = model.in_turns(torch.arange(4), torch.tensor([0, 2]), seed=1)
        label = torch.zeros(8, dtype=torch.long) if latents.label is None else latents.label
        torch.testing.assert_close(teacher.generator(latents.noise, label, None), model.generator(latents.noise, label, None))
        with torch.no_grad():
            model.generator.foot.weight.zero_()
        assert teacher.generator.foot.weight.any()
        if kind == "none":
            image = torch.randn(3, *TINY.frame)
            assert torch.equal(teacher.solver(image)[1], model.solver(image)[1])
            assert not any(p.requires_grad for p in teacher.parameters())


def test_fine_tuning_keeps_nothing() -> None:
    assert ReplayGANObjective().teacher(built()) is None


@pytest.mark.parametrize("wrong", [{"weight": -1.0}, {"num_samples": 0}, {"decay": 2.0}, {"accumulation": "mean"}, {"source": "logit"}])
def test_wrong_options_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises((ValueError, TypeError)):  # the checker of types, which only the tests have, comes first where a choice is wrong
        ConsolidationConfig(**wrong)
