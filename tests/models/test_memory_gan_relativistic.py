"""The relativistic loss of a memoryGAN: against its formula and finite differences, and in training."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional as F

from memogen.data import load
from memogen.memory import MemoryRead
from memogen.models import MemoryConfig, MemoryGANConfig, MemoryGANObjective, NoiseConfig
from memogen.models.memory_gan import ContrastConfig, MemoryGAN
from memogen.training import TrainingConfig, fit, latest
from memogen.types import Batch, to_range

TINY = MemoryGANConfig(image_shape=(1, 8, 8), width=2, norm="none", noise=NoiseConfig(3), memory=MemoryConfig(48, 4, top_k=12))
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


@pytest.fixture
def double() -> object:
    """Double precision everywhere, as ``training.precision float64`` has it."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("critic", CRITICS)
def test_the_gradient_of_the_whole_loss_is_that_of_finite_differences(critic: str, double: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the critic's loss in its weights, and of the generator's in its own.

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
    objective = MemoryGANObjective("relativistic", contrast=SILENT)
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


@pytest.mark.parametrize("critic", ["own query", "plain"])
def test_stop_and_resume_give_the_same_bits(critic: str, tmp_path: Path) -> None:
    digits = load("digits", cache=tmp_path / "cache", progress=False)

    def run(folder: Path, steps: int) -> None:
        torch.manual_seed(3)
        contrast = ContrastConfig() if CRITICS[critic].memory else SILENT
        config = TrainingConfig(steps=steps, batch_size=16, checkpoint_every=100, sample_every=0, log_every=5, device="cpu")
        objective = MemoryGANObjective("relativistic", contrast=contrast)
        state = fit(CRITICS[critic].build(), objective, digits, config, folder, console=False)
        assert state.images_seen == 2 * 16 * steps, "both phases read"

    run(tmp_path / "straight", 20)
    run(tmp_path / "broken", 7)
    run(tmp_path / "broken", 20)
    for stem in ("model", "optimisers", "averages"):
        straight, broken = (load_file(latest(tmp_path / side) / f"{stem}.safetensors") for side in ("straight", "broken"))
        assert straight.keys() == broken.keys()
        assert all(torch.equal(tensor, broken[name]) for name, tensor in straight.items())
