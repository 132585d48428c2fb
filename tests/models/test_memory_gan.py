"""memoryGAN: its samples, its losses, its write, and the life or death of its memory."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch.nn import functional as F

from memogen import configs
from memogen.augment import AugmentConfig, augment
from memogen.data import load
from memogen.losses import info_nce
from memogen.memory import Policy
from memogen.memory.edit import without
from memogen.memory.functional import mean_cosine
from memogen.models import MemoryConfig, MemoryGANConfig, MemoryGANObjective, NoiseConfig
from memogen.models.memory_gan import ContrastConfig, MemoryGAN
from memogen.noise import Stream
from memogen.training import TrainingConfig, fit, latest
from memogen.types import Batch, GenerativeModel, ImageData, InputError, to_range

TINY = MemoryGANConfig(image_shape=(1, 8, 8), width=8, noise=NoiseConfig(3), memory=MemoryConfig(48, 16, top_k=12))
PRINTED = replace(TINY, head="printed", condition="key")
VARIANTS = {
    "memory_gan": TINY,
    "no_em": replace(TINY, memory=replace(TINY.memory, policy=replace(Policy.preset("robust"), rule="kaiser"))),
    "no_mcgn": replace(TINY, condition="none"),
    "no_memory": replace(TINY, memory=None),
    "no_memory_contrast": replace(TINY, memory=None, query_dim=16),
    "own_key": replace(TINY, condition="key"),
    "as_printed": PRINTED,
    "code": replace(PRINTED, query_norm=True, memory=replace(TINY.memory, concentration=1.0, policy="code")),
}
SILENT = ContrastConfig(weight=0.0)


def objective_of(variant: str, **options: object) -> MemoryGANObjective:
    """With contrast where the variant has queries."""
    return MemoryGANObjective(contrast=ContrastConfig() if VARIANTS[variant].query_length else SILENT, **options)


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> ImageData:
    return load("digits", cache=tmp_path_factory.mktemp("cache"), progress=False)


def built(config: MemoryGANConfig = TINY, *, written: bool = True) -> MemoryGAN:
    torch.manual_seed(0)
    model = config.build()
    if written and model.memory is not None:
        model.memory.write(torch.randn(96, 16), torch.arange(96) % 2)
    return model


def batch(seed: int = 0, num: int = 16) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    image = torch.randint(0, 256, (num, 1, 8, 8), dtype=torch.uint8, generator=generator)
    return Batch(torch.arange(num), image, seed=seed)


@pytest.mark.parametrize("variant", VARIANTS)
def test_samples_are_addressed(variant: str) -> None:
    model = built(VARIANTS[variant])
    assert isinstance(model, GenerativeModel)
    torch.testing.assert_close(model.sample(8, seed=5)[3:], model.sample(5, seed=5, start=3))
    assert not torch.equal(model.sample(4, seed=5), model.sample(4, seed=6))
    low, high = model.image_range
    images = model.sample(20)
    assert float(images.min()) >= low
    assert float(images.max()) <= high


@pytest.mark.parametrize("variant", VARIANTS)
def test_looking_changes_nothing(variant: str) -> None:
    model = built(VARIANTS[variant]).train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    image = batch().image
    model.sample(4), model.score(image)
    if model.memory is not None:
        model.encode(image)
    assert model.training
    assert model.critic.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_a_fixed_slot_gives_its_key_to_every_image_or_draws_around_it() -> None:
    model = built(PRINTED)
    latents = model.latents(4, slot=7)
    assert torch.equal(latents.key, model.memory.keys[7].expand(4, -1))
    assert latents.slot.tolist() == [7] * 4
    model = built()
    latents = model.latents(2000, slot=7)
    assert latents.slot.tolist() == [7] * 2000
    torch.testing.assert_close(latents.key.norm(dim=1), torch.ones(2000))
    kappa = model.memory.fitted_concentration()
    expected = float(mean_cosine(kappa, 16))
    assert float((latents.key @ model.memory.keys[7]).mean()) == pytest.approx(expected, abs=4 / 2000**0.5)
    assert float(F.cosine_similarity(latents.key.mean(0), model.memory.keys[7], dim=0)) > 0.95
    with pytest.raises(InputError, match="slot: 99"):
        model.latents(4, slot=99)
    model.memory = without(model.memory, [7])
    with pytest.raises(InputError, match="slot: 7 is empty"):
        model.latents(4, slot=7)
    with pytest.raises(InputError, match="not conditioned"):
        built(VARIANTS["no_mcgn"]).latents(4, slot=7)
    with pytest.raises(InputError, match="label"):
        model.latents(4, label=1)


def test_noise_laws() -> None:
    index = torch.arange(20_000)
    uniform, normal = (NoiseConfig(2, law).draw(index, seed=1) for law in ("uniform", "normal"))
    assert float(uniform.abs().max()) <= 1
    np.testing.assert_allclose(uniform.var(0), [1 / 3] * 2, rtol=0.03)
    np.testing.assert_allclose(normal.var(0), [1] * 2, rtol=0.03)


def test_losses_are_equations_7_and_8() -> None:
    """Re-derived from the parts: real and fake pass the critic apart, D by Eq. 4, I by Eq. 6, lambda on the cosine."""
    config = replace(PRINTED, norm="none", memory=replace(TINY.memory, policy="paper"))
    model, objective = built(config).train(), MemoryGANObjective(adversarial="saturating", information=0.3, contrast=SILENT)
    critic, generator = objective.phases(model)
    one = batch()
    latents = model.latents_at(one.index, seed=one.seed, stream=0)
    fake = model.generator(torch.cat([latents.key, latents.noise], 1))
    query = [F.normalize(model.critic(image)) for image in (to_range(one.image, model.image_range), fake)]
    d_real, d_fake = (model.memory(q).value.clamp(1e-3, 1 - 1e-3) for q in query)
    information = -(query[1] * latents.key).sum(1).mean()
    expected = -torch.log(d_real).mean() - torch.log(1 - d_fake).mean() + 0.3 * information
    torch.testing.assert_close(critic.loss(one).total, expected)
    torch.testing.assert_close(generator.loss(one).total, torch.log(1 - d_fake).mean() + 0.3 * information)


@pytest.mark.parametrize("kind", ["saturating", "non_saturating", "reverse_kl", "updown"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_every_loss_trains_every_variant(kind: str, variant: str) -> None:
    model = built(VARIANTS[variant]).train()
    for phase, part in zip(objective_of(variant, adversarial=kind).phases(model), (model.critic, model.generator), strict=True):
        loss = phase.loss(batch())
        gradient = torch.autograd.grad(loss.total, [p for p in part.parameters() if p.requires_grad], allow_unused=True)
        size = sum(float(g.square().sum()) for g in gradient if g is not None)
        assert math.isfinite(size)
        assert size > 0


def test_critic_step_writes_its_queries_and_tells() -> None:
    model = built().train()
    critic, generator = MemoryGANObjective().phases(model)
    assert generator.commit is None
    loss = critic.loss(batch())
    keys = model.memory.keys.clone()
    loss.total.backward()
    told = critic.commit(loss)
    assert not torch.equal(keys, model.memory.keys)
    for name in ("replaced", "replaced_real", "real_slots", "effective_real", "effective_fake", "nearest", "movement", "query_gradient"):
        assert math.isfinite(float(told[name])), name
    assert float(loss.terms["one_class"]) == 0
    assert {"real", "fake"} <= loss.terms.keys()


def test_the_gradient_that_is_told_is_the_loss_s_own() -> None:
    """Training in half precision multiplies a loss before its backward pass; the life sign does not see it."""
    told = []
    for scale in (1.0, 1024.0):
        critic = MemoryGANObjective().phases(built())[0]
        loss = critic.loss(batch())
        (scale * loss.total).backward()
        told.append(float(critic.commit(loss)["query_gradient"]))
    assert told[0] == told[1] > 0
    assert "query_gradient" not in critic.commit(critic.loss(batch())), "nothing was differentiated"


def test_generator_step_writes_only_when_asked() -> None:
    model = built().train()
    _, generator = MemoryGANObjective(write_in_generator_step=True).phases(model)
    keys = model.memory.keys.clone()
    generator.commit(generator.loss(batch()))
    real = model.memory.values > 0.5
    assert not torch.equal(keys[~real], model.memory.keys[~real])
    assert torch.equal(keys[real], model.memory.keys[real])


def test_running_statistics_of_the_critic_describe_real_images_only() -> None:
    model = built().train()
    critic, generator = MemoryGANObjective().phases(model)
    norm = next(part for part in model.critic.modules() if isinstance(part, torch.nn.BatchNorm2d))
    generator.loss(batch())
    assert torch.equal(norm.running_mean, torch.zeros_like(norm.running_mean))
    critic.loss(batch())
    assert not torch.equal(norm.running_mean, torch.zeros_like(norm.running_mean))
    assert norm.momentum == 0.1


def test_projection_adds_the_match_of_image_and_condition() -> None:
    """D = linear output + the memory's answer + phi . condition: of a fake the query that it was drawn from, of a real image its own, held fixed."""
    model = built(replace(TINY, norm="none")).train()
    critic, generator = MemoryGANObjective(information=0.0, contrast=SILENT).phases(model)
    one, memory = batch(), model.memory
    latents = model.latents_at(one.index, seed=one.seed, stream=0)
    feature = [model.critic(image) for image in (to_range(one.image, model.image_range), model.generate(latents))]
    assert feature[0].shape[1] == 2 * 16 + 1
    conditions = F.normalize(feature[0][:, :16]).detach(), latents.key
    real, fake = (f[:, -1] + memory(f[:, :16]).logit + (f[:, 16:32] * key).sum(1) for f, key in zip(feature, conditions, strict=True))
    expected = F.softplus(-real).mean() + F.softplus(fake).mean()
    loss = critic.loss(one).total
    torch.testing.assert_close(loss, expected)
    parameters = list(model.critic.parameters())
    for found, wanted in zip(torch.autograd.grad(loss, parameters), torch.autograd.grad(expected, parameters), strict=True):
        torch.testing.assert_close(found, wanted)
    torch.testing.assert_close(generator.loss(one).total, F.softplus(-fake).mean())
    torch.testing.assert_close(model.score(one.image), real)


def test_with_the_key_as_condition_a_real_image_is_judged_with_the_key_of_its_own_slot() -> None:
    """That of the real slot that a search over all slots finds most probable."""
    model = built(replace(VARIANTS["own_key"], norm="none")).eval()
    feature = model.critic(to_range(batch().image, model.image_range))
    posterior = model.memory.posterior(feature[:, :16]) * model.memory.values
    key = model.memory.keys[posterior.argmax(1)]
    torch.testing.assert_close(model.score(batch().image), feature[:, -1] + model.memory(feature[:, :16]).logit + (feature[:, 16:32] * key).sum(1))


def test_contrast_is_info_nce_of_views_of_the_same_real_images() -> None:
    """It is added by its weight, reaches the query's part of the critic and no other output, and leaves the running statistics alone."""
    model = built(replace(TINY, norm="none")).train()
    objectives = [MemoryGANObjective(contrast=ContrastConfig(weight=weight, temperature=0.3)) for weight in (0.0, 0.5, 1.5)]
    losses = [objective.phases(model)[0].loss(batch()) for objective in objectives]
    silent, half, more = (loss.total for loss in losses)
    torch.testing.assert_close(more - silent, 3 * (half - silent), rtol=1e-4, atol=1e-5)
    contrast = losses[1].terms["contrast"]
    torch.testing.assert_close(half - silent, 0.5 * contrast, rtol=1e-4, atol=1e-5)
    assert 0 < float(contrast) < 2 * math.log(2 * 16 - 1)
    (gradient,) = torch.autograd.grad((half - silent), [model.critic.pooled.weight])
    assert float(gradient[:16].abs().max()) > 0
    assert float(gradient[16:].abs().max()) < 1e-6


def test_views_of_no_strength_leave_contrast_to_telling_images_apart() -> None:
    """Every image's partner is at cosine one."""
    model = built(replace(TINY, norm="none")).train()
    still = AugmentConfig(rotation=0.0, scale=0.0, shift=0.0, brightness=0.0, cutout=0.0)
    contrast = MemoryGANObjective(contrast=ContrastConfig(augment=still)).phases(model)[0].loss(batch()).terms["contrast"]
    query = model.encode(batch().image)
    torch.testing.assert_close(contrast, info_nce(query, query, 0.2), rtol=1e-4, atol=1e-4)


def test_augmentation_is_a_view_of_every_image_that_the_critic_judges() -> None:
    """Both losses are those of the views; the generator's gradient passes through its own."""
    config = replace(TINY, memory=None, norm="none")
    few = AugmentConfig(shift=0.2, cutout=0.4)
    model, one = built(config).train(), batch()
    critic, generator = MemoryGANObjective(adversarial="saturating", contrast=SILENT, augmentation=few).phases(model)
    fake = model.generate(model.latents_at(one.index, seed=one.seed, stream=0))
    seen = [
        augment(image, one.index, seed=one.seed, stream=stream, config=few, image_range=model.image_range)
        for image, stream in ((model.pixels(one.image), Stream.REAL_VIEW), (fake, Stream.FAKE_VIEW))
    ]
    real, drawn = (torch.sigmoid(model.logit(model.critic(view), None)) for view in seen)
    torch.testing.assert_close(critic.loss(one).total, -torch.log(real).mean() - torch.log(1 - drawn).mean())
    loss = generator.loss(one).total
    torch.testing.assert_close(loss, torch.log(1 - drawn).mean())
    weights = list(model.generator.parameters())
    for got, expected in zip(torch.autograd.grad(loss, weights), torch.autograd.grad(torch.log(1 - drawn).mean(), weights), strict=True):
        torch.testing.assert_close(got, expected)
        assert bool(got.any())


def test_running_statistics_see_no_views() -> None:
    one, other = built().train(), built().train()
    MemoryGANObjective().phases(one)[0].loss(batch())
    MemoryGANObjective(contrast=SILENT).phases(other)[0].loss(batch())
    for name, value in one.critic.named_buffers():
        if "num_batches" not in name:
            assert torch.equal(value, other.critic.get_buffer(name)), name


@pytest.mark.parametrize("network", ["dcgan", "dcgan_pointwise", "resnet"])
@pytest.mark.parametrize("query_dim", [0, 32])
def test_arms_of_equal_size(network: str, query_dim: int) -> None:
    """Both networks within 3 % of the arm with memory, at the widths that are used."""
    shape = (3, 32, 32) if network == "resnet" else (1, 28, 28)
    full = MemoryGANConfig(shape, network, width=64, memory=MemoryConfig(64, 32, top_k=8), noise=NoiseConfig(8))
    plain = replace(full, memory=None, noise=NoiseConfig(32), query_dim=query_dim).sized_like(full)
    for one, other in ((plain.build_generator(), full.build_generator()), (plain.build_critic(), full.build_critic())):
        sizes = [sum(parameter.numel() for parameter in net.parameters()) for net in (one, other)]
        assert abs(sizes[0] / sizes[1] - 1) < 0.03
    assert full.sized_like(full) == replace(full, critic_width=64)


def test_configurations_that_contradict_themselves_are_refused() -> None:
    with pytest.raises(ValueError, match="query_dim"):
        replace(TINY, query_dim=16)
    for weight in (-0.1, float("inf"), float("nan")):
        with pytest.raises(ValueError, match="weight"):
            ContrastConfig(weight=weight)
    with pytest.raises(ValueError, match="temperature"):
        ContrastConfig(temperature=0.0)
    with pytest.raises(InputError, match=r"objective\.contrast\.weight"):
        MemoryGANObjective().phases(built(VARIANTS["no_memory"]))


def test_calibration_replaces_the_batch_statistics() -> None:
    model = built()
    norm = next(part for part in model.generator.modules() if isinstance(part, torch.nn.BatchNorm1d))
    norm.running_mean.fill_(100.0)
    model.calibrate(batches=4)
    once = norm.running_mean.clone()
    model.calibrate(batches=4)
    assert torch.equal(once, norm.running_mean)
    assert float(once.abs().max()) < 50
    assert norm.momentum == 0.1


@pytest.mark.parametrize("variant", ["memory_gan", "no_memory_contrast", "as_printed", "code"])
def test_stop_and_resume_give_the_same_bits(variant: str, digits: ImageData, tmp_path: Path) -> None:
    """Stop at step 17 of 40, resume, and compare every tensor with the run that never stopped."""

    def run(folder: Path, steps: int) -> None:
        torch.manual_seed(3)
        config = TrainingConfig(steps=steps, batch_size=16, checkpoint_every=100, sample_every=0, log_every=5, device="cpu")
        fit(VARIANTS[variant].build(), objective_of(variant), digits, config, folder, console=False)

    run(tmp_path / "straight", 40)
    run(tmp_path / "broken", 17)
    run(tmp_path / "broken", 40)
    for stem in ("model", "optimisers", "averages"):
        straight, broken = (load_file(latest(tmp_path / side) / f"{stem}.safetensors") for side in ("straight", "broken"))
        assert straight.keys() == broken.keys()
        assert all(torch.equal(tensor, broken[name]) for name, tensor in straight.items())


def life_signs(digits: ImageData, folder: Path, policy: str) -> tuple[float, float]:
    """After a short training: the logged share of queries that found one class only, and the share of images whose query gets no gradient."""
    memory = MemoryConfig(1024, 32, top_k=32, concentration=1.0 if policy == "paper" else 20.0, policy=policy)
    torch.manual_seed(0)
    model = replace(PRINTED, memory=memory).build()
    objective = MemoryGANObjective(adversarial="saturating" if policy == "paper" else "non_saturating", contrast=SILENT)
    fit(model, objective, digits, TrainingConfig(steps=80, sample_every=0, log_every=20, device="cpu"), folder, console=False)
    query = model.encode(torch.tensor(digits.image[:200])).requires_grad_()
    (gradient,) = torch.autograd.grad(model.memory(query).logit.sum(), query)
    last = json.loads((folder / "metrics.jsonl").read_text().splitlines()[-1])
    return last["critic/one_class"], float((gradient == 0).all(1).float().mean())


def test_the_literal_paper_deadlocks_and_the_default_lives(digits: ImageData, tmp_path: Path) -> None:
    """Section 3.1 built literally soon looks up one class only, where the clip of Eq. 4 ends all learning; the lookup by class cannot."""
    literal, robust = (life_signs(digits, tmp_path / policy, policy) for policy in ("paper", "robust"))
    assert min(literal) > 0.9
    assert robust == (0, 0)


def test_a_policy_is_a_name_or_complete() -> None:
    """A name stays a name; every field by itself is the same memory; some fields of it are none."""
    for name in ("robust", "paper", "code"):
        named = MemoryConfig(8, 4, policy=name)
        assert configs.to_dict(named)["policy"] == name
        spelt_out = replace(named, policy=Policy.preset(name))
        assert configs.from_dict(MemoryConfig, configs.to_dict(spelt_out)) == spelt_out
        assert named.build().policy == spelt_out.build().policy == Policy.preset(name)
    for policy, complaint in (
        ("papr", r"^memory\.policy: 'papr' .*did you mean 'paper'"),
        ({"clip": 0.1}, r"^memory\.policy\.lookup: missing option"),
        ({**configs.to_dict(Policy.preset("paper")), "clip": 0.9}, r"^memory\.policy: clip is 0\.9"),
        ({"initial_mass": 1.0}, r"^memory\.policy\.initial_mass: unknown option"),
    ):
        with pytest.raises(InputError, match=complaint):
            configs.from_dict(MemoryConfig, {"policy": policy}, where="memory", complete=False)


def test_bad_configurations_are_refused() -> None:
    with pytest.raises(ValueError, match="positive"):
        MemoryGANConfig(width=0)
    with pytest.raises(ValueError, match="information"):
        MemoryGANObjective(information=-1.0)
    with pytest.raises(InputError, match="no memory"):
        built(VARIANTS["no_memory"]).encode(batch().image)
