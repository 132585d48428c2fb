"""The relativistic loss and the gradient penalty of a memoryGAN: against closed forms and finite differences, and in training."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from memogen.data import load
from memogen.losses import squared_slopes
from memogen.memory import MemoryRead
from memogen.models import MemoryConfig, MemoryGANConfig, MemoryGANObjective, NoiseConfig
from memogen.models.memory_gan import ContrastConfig, MemoryGAN
from memogen.training import TrainingConfig, fit, latest
from memogen.types import Batch, InputError, Loss, to_range

TINY = MemoryGANConfig(image_shape=(1, 8, 8), width=2, norm="generator", noise=NoiseConfig(3), memory=MemoryConfig(48, 4, top_k=12))
SILENT = ContrastConfig(weight=0.0)
CRITICS = {
    "own query": TINY,
    "key": replace(TINY, condition="key"),
    "no condition": replace(TINY, condition="none"),
    "printed": replace(TINY, head="printed", condition="key"),
    "few slots of many": replace(TINY, memory=MemoryConfig(96, 4, top_k=6)),
    "residual": replace(TINY, network="resnet", norm="layer"),
    "plain": replace(TINY, memory=None),
}


def built(config: MemoryGANConfig, dtype: torch.dtype = torch.float64) -> MemoryGAN:
    torch.manual_seed(0)
    model = config.build().to(dtype).train()
    if model.memory is not None:
        model.memory.write(torch.randn(96, 4), torch.arange(96) % 2)
    return model


def batch(num: int = 6, first: int = 0) -> Batch:
    image = torch.randint(0, 256, (num, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(first))
    return Batch(torch.arange(first, first + num), image, seed=1)


def critic_loss(model: MemoryGAN, **options: object) -> Loss:
    return MemoryGANObjective(contrast=SILENT, **options).phases(model)[0].loss(batch())


@pytest.fixture
def double() -> object:
    """Double precision everywhere, as ``training.precision float64`` has it."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def closed_form(model: MemoryGAN, weight: Tensor, image: Tensor, condition: Tensor) -> Tensor:
    """||d logit / d x||^2 of a critic ``weight`` that is linear in the pixels: the log odds' gradient reaches the query less its radial part."""
    features = image.flatten(1) @ weight.T
    query, length = F.normalize(features[:, :4]), features[:, :4].norm(dim=1, keepdim=True)
    memory = model.memory
    read = memory(features[:, :4])
    mean = []
    for value in (1, 0):  # of the keys looked up of one class, by their posterior
        score = read.score.masked_fill(memory.values[read.slots] != value, -1e30)
        mean.append(torch.einsum("bt,btd->bd", torch.softmax(score, 1), memory.keys[read.slots]))
    pull = memory.concentration * (mean[0] - mean[1])
    pull = (pull - (pull * query).sum(1, keepdim=True) * query) / length
    return (weight[-1] + pull @ weight[:4] + condition @ weight[4:8]).square().sum(1)


def test_the_penalty_of_a_linear_critic_is_its_closed_form(double: None) -> None:
    """The slope at an image is w of the head, plus the memory's answer and the projection on the condition, taken through their linear maps."""
    model, one = built(TINY), batch()
    linear = nn.Linear(64, 9, bias=False)
    model.critic = nn.Sequential(nn.Flatten(), linear)
    latents = model.latents_at(one.index, seed=one.seed)
    real, fake = to_range(one.image, model.image_range), model.generate(latents).detach()
    own = F.normalize(real.flatten(1) @ linear.weight[:4].T)
    loss = critic_loss(model, gradient_penalty=3.0)
    wanted = [closed_form(model, linear.weight, *pair).mean() for pair in ((real, own), (fake, latents.key))]
    torch.testing.assert_close([loss.terms["r1"], loss.terms["r2"]], [term.detach() for term in wanted])
    torch.testing.assert_close(loss.total, critic_loss(model).total + 1.5 * (wanted[0] + wanted[1]))


@pytest.mark.parametrize("critic", CRITICS)
def test_slopes_are_those_of_finite_differences(critic: str, double: None) -> None:
    """Of the logit of ``MemoryGAN.score``, in directions of their own; its condition does not move with the image."""
    model = built(CRITICS[critic]).eval()
    image = to_range(batch().image, model.image_range).requires_grad_(True)

    def logit(image: Tensor, condition: Tensor | None) -> Tensor:
        feature = model.critic(image)
        return model.logit(feature, None if model.memory is None else model.memory(model.query(feature)), condition)

    feature = model.critic(image)
    own = model.own_condition(feature, model.memory(model.query(feature))) if model.config.projects else None
    torch.testing.assert_close(logit(image, own), model.score(batch().image))
    (slope,) = torch.autograd.grad(logit(image, own).sum(), image)
    direction = slope / slope.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
    with torch.no_grad():
        difference = (logit(image + 1e-6 * direction, own) - logit(image - 1e-6 * direction, own)) / 2e-6
    found = critic_loss(model.train(), gradient_penalty=1.0).terms["r1"]
    torch.testing.assert_close(found, difference.square().mean(), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("critic", CRITICS)
def test_the_gradient_of_the_whole_loss_is_that_of_finite_differences(critic: str, double: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Relativistic loss and penalty of the critic in its weights, and the relativistic loss of the generator in its own.

    What a real image is judged with is fixed to what it is at the start: it moves with the weights, but no gradient passes through it.
    """
    model = built(CRITICS[critic])
    with torch.no_grad():
        for weight in model.critic.parameters():
            weight.mul_(10)  # a query of length one in ten thousand turns at the smallest step
    own, kept = model.own_condition, list[Tensor]()

    def first(feature: Tensor, read: MemoryRead) -> Tensor:
        kept.append(own(feature, read))
        return kept[0]

    monkeypatch.setattr(model, "own_condition", first)
    objective = MemoryGANObjective("relativistic", contrast=SILENT, gradient_penalty=2.0)
    for phase, weights in zip(objective.phases(model), (list(model.critic.parameters()), list(model.generator.parameters())), strict=True):
        few = [weight for weight in weights if weight.numel() <= 40][:4]
        assert torch.autograd.gradcheck(lambda *_, phase=phase: phase.loss(batch(4)).total, few, atol=1e-5, rtol=1e-4)


def test_both_losses_compare_real_and_fake_images_in_pairs() -> None:
    """Re-derived from the parts; the generator's real images are those of its own batch."""
    model = built(replace(TINY, memory=None), torch.float32)
    critic, generator = MemoryGANObjective("relativistic", contrast=SILENT).phases(model)
    assert critic.reads_data and generator.reads_data
    assert not MemoryGANObjective(contrast=SILENT).phases(model)[1].reads_data
    for phase, one, sign in ((critic, batch(), 1), (generator, batch(first=6), -1)):
        fake = model.generate(model.latents_at(one.index, seed=one.seed))
        real, drawn = (model.critic(image)[:, -1] for image in (to_range(one.image, model.image_range), fake))
        torch.testing.assert_close(phase.loss(one).total, -torch.log(torch.sigmoid(sign * (real - drawn))).mean())


def test_no_gradient_reaches_the_generator_through_real_images() -> None:
    model = built(TINY, torch.float32)
    generator = MemoryGANObjective("relativistic", contrast=SILENT, information=0.0).phases(model)[1]
    weights = list(model.generator.parameters())
    found = torch.autograd.grad(generator.loss(batch()).total, weights)
    one = batch()
    latents = model.latents_at(one.index, seed=one.seed)
    fake, real = model.critic(model.generate(latents)), model.score(one.image)
    logit = model.logit(fake, model.memory(model.query(fake)), latents.key)
    for got, wanted in zip(found, torch.autograd.grad(F.softplus(real - logit).mean(), weights), strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-7)


def test_a_generator_step_leaves_memory_and_running_statistics_alone() -> None:
    model = built(replace(TINY, norm="batch"), torch.float32)
    generator = MemoryGANObjective("relativistic").phases(model)[1]
    before = {name: value.clone() for name, value in [*model.critic.named_buffers(), *model.memory.named_buffers()] if "num_batches" not in name}
    assert generator.commit is None
    generator.loss(batch()).total.backward()
    for name, value in [*model.critic.named_buffers(), *model.memory.named_buffers()]:
        assert name not in before or torch.equal(value, before[name]), name


def test_the_penalty_is_taken_in_full_precision() -> None:
    model = built(TINY, torch.float32)
    full = critic_loss(model, gradient_penalty=1.0).terms
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = critic_loss(model, gradient_penalty=1.0).terms
    torch.testing.assert_close(half["r1"], full["r1"])
    assert half["r1"].dtype == torch.float32 and half["loss"] != full["loss"]


def test_a_penalty_under_batch_norm_is_refused_and_off_by_none_and_zero() -> None:
    model = built(replace(TINY, norm="batch"), torch.float32)
    with pytest.raises(InputError, match=r"^objective\.gradient_penalty: .*model\.norm"):
        MemoryGANObjective(gradient_penalty=1.0).phases(model)
    totals = [critic_loss(model, gradient_penalty=gamma).total for gamma in (None, 0.0)]
    assert totals[0] == totals[1]
    for gamma in (-1.0, float("inf"), float("nan")):
        with pytest.raises(ValueError, match="gradient_penalty"):
            MemoryGANObjective(gradient_penalty=gamma)


def test_squared_slopes_of_one_image_do_not_depend_on_the_others() -> None:
    """Without batch norm the sum over the batch has each image's own slope."""
    model = built(replace(TINY, memory=None), torch.float32)
    image = to_range(batch().image, model.image_range)

    def slopes(part: Tensor) -> Tensor:
        part = part.clone().requires_grad_(True)
        return squared_slopes(model.critic(part)[:, -1], part)

    torch.testing.assert_close(slopes(image)[2:4], slopes(image[2:4]))


@pytest.mark.parametrize("critic", ["own query", "plain"])
def test_stop_and_resume_give_the_same_bits(critic: str, tmp_path: Path) -> None:
    digits = load("digits", cache=tmp_path / "cache", progress=False)

    def run(folder: Path, steps: int) -> None:
        torch.manual_seed(3)
        contrast = ContrastConfig() if CRITICS[critic].memory else SILENT
        config = TrainingConfig(steps=steps, batch_size=16, checkpoint_every=100, sample_every=0, log_every=5, device="cpu")
        objective = MemoryGANObjective("relativistic", contrast=contrast, gradient_penalty=1.0)
        state = fit(CRITICS[critic].build(), objective, digits, config, folder, console=False)
        assert state.images_seen == 2 * 16 * steps, "both phases read"

    run(tmp_path / "straight", 20)
    run(tmp_path / "broken", 7)
    run(tmp_path / "broken", 20)
    for stem in ("model", "optimisers", "averages"):
        straight, broken = (load_file(latest(tmp_path / side) / f"{stem}.safetensors") for side in ("straight", "broken"))
        assert straight.keys() == broken.keys()
        assert all(torch.equal(tensor, broken[name]) for name, tensor in straight.items())
