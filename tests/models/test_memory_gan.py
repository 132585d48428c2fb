"""memoryGAN: its samples, its losses, its write, and the life or death of its memory."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch.nn import functional as F

from memogen.data import load
from memogen.memory import ReadPolicy, WritePolicy
from memogen.models import MemoryConfig, MemoryGANConfig, MemoryGANObjective, NoiseConfig
from memogen.models.memory_gan import MemoryGAN
from memogen.training import TrainingConfig, fit, latest
from memogen.types import Batch, GenerativeModel, ImageData, InputError, to_range

TINY = MemoryGANConfig(image_shape=(1, 8, 8), width=8, noise=NoiseConfig(3), memory=MemoryConfig(48, 16, top_k=12))
VARIANTS = {
    "memory_gan": TINY,
    "no_em": replace(TINY, memory=replace(TINY.memory, writing=WritePolicy(rule="kaiser"))),
    "no_mcgn": replace(TINY, conditional=False),
    "no_memory": replace(TINY, memory=None),
    "averaged": replace(TINY, encoder_decay=0.9),
    "projected": replace(TINY, encoder_decay=0.9, projection=True),
    "linear_head": replace(TINY, encoder_decay=0.9, projection=True, linear_head=True),
    "query_norm": replace(TINY, encoder_decay=0.9, projection=True, linear_head=True, query_norm=True),
}


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


def test_a_fixed_slot_gives_its_key_to_every_image() -> None:
    model = built()
    latents = model.latents(4, slot=7)
    assert torch.equal(latents.key, model.memory.keys[7].expand(4, -1))
    assert latents.slot.tolist() == [7] * 4
    with pytest.raises(InputError, match="slot: 99"):
        model.latents(4, slot=99)
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
    config = replace(TINY, norm="none", memory=replace(TINY.memory, reading=ReadPolicy(lookup="joint", clip=1e-3, prior="joint")))
    model, objective = built(config).train(), MemoryGANObjective(adversarial="saturating", information=0.3)
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
    for phase, part in zip(MemoryGANObjective(adversarial=kind).phases(model), (model.critic, model.generator), strict=True):
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


def test_the_encoder_is_the_average_of_the_critic() -> None:
    """After n steps of a critic that has jumped by one, each weight has come 1 - d^n of the way; buffers and gradients stay out of it."""
    model = built(VARIANTS["averaged"])
    start = [parameter.detach().clone() for parameter in model.encoder.parameters()]
    with torch.no_grad():
        for parameter in model.critic.parameters():
            parameter.add_(1.0)
    for _ in range(3):
        model.follow_critic()
    for before, after in zip(start, model.encoder.parameters(), strict=True):
        torch.testing.assert_close(after, before + 1 - 0.9**3)
        assert not after.requires_grad


def test_the_encoder_writes_the_keys_and_encodes() -> None:
    model = built(VARIANTS["averaged"], written=False).train()
    with torch.no_grad():
        for parameter in model.encoder.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    critic, _ = MemoryGANObjective().phases(model)
    assert critic.modules == (model.critic,)
    real = to_range(batch().image, model.image_range)
    with torch.no_grad():
        query = F.normalize(model.encoder(real))
    critic.commit(critic.loss(batch()))
    written = model.memory.keys[(model.memory.values > 0.5) & (model.memory.keys != 0).any(1)]
    assert len(written) == len(query)
    torch.testing.assert_close((query @ written.T).amax(1), torch.ones(len(query)))
    assert not torch.allclose(model.encode(batch().image), F.normalize(model.critic.eval()(real)))


def test_projection_adds_the_match_of_image_and_slot() -> None:
    """A fake is matched with the slot it was drawn from, a real image with the real slot that a search over all slots finds most probable."""
    model = built(replace(VARIANTS["projected"], norm="none")).train()
    critic, generator = MemoryGANObjective(information=0.0).phases(model)
    one, memory = batch(), model.memory
    latents = model.latents_at(one.index, seed=one.seed, stream=0)
    feature = [model.critic(image) for image in (to_range(one.image, model.image_range), model.generate(latents))]
    posterior = memory.posterior(feature[0][:, :16]) * memory.values
    keys = memory.keys[posterior.argmax(1)], latents.key
    real, fake = (memory(f[:, :16]).logit + (f[:, 16:] * key).sum(1) for f, key in zip(feature, keys, strict=True))
    torch.testing.assert_close(critic.loss(one).total, F.softplus(-real).mean() + F.softplus(fake).mean())
    torch.testing.assert_close(generator.loss(one).total, F.softplus(-fake).mean())
    torch.testing.assert_close(model.score(one.image), real)


@pytest.mark.parametrize("projection", [True, False])
def test_a_linear_head_adds_its_output_and_nothing_else(projection: bool) -> None:
    """Held at zero it leaves D that of the same critic without it; its own weights get the plain GAN's gradient, 1 for each image's logit."""
    model = built(replace(VARIANTS["linear_head"], projection=projection)).eval()
    feature = torch.randn(6, 33 if projection else 17, generator=torch.Generator().manual_seed(0), requires_grad=True)
    plain = built(replace(model.config, linear_head=False)).eval()
    plain.memory.load_state_dict(model.memory.state_dict())
    torch.testing.assert_close(model.logit(feature), plain.logit(feature[:, :-1]) + feature[:, -1])
    (gradient,) = torch.autograd.grad(model.logit(feature).sum(), feature)
    torch.testing.assert_close(gradient[:, -1], torch.ones(6))
    (without,) = torch.autograd.grad(plain.logit(feature[:, :-1]).sum(), feature)
    torch.testing.assert_close(gradient[:, :-1], without[:, :-1])
    assert model.critic(model.pixels(batch().image)).shape[1] == feature.shape[1]


@pytest.mark.parametrize("projection", [True, False])
@pytest.mark.parametrize("weight", [0.0, 0.1, 2.0])
def test_the_memorys_answer_counts_by_its_weight(projection: bool, weight: float) -> None:
    """The linear output and the match stay as they are, and a query hears of the answer by so much."""
    model = built(replace(VARIANTS["linear_head"], projection=projection, answer_weight=weight)).eval()
    whole = built(replace(model.config, answer_weight=1.0)).eval()
    whole.memory.load_state_dict(model.memory.state_dict())
    feature = torch.randn(6, 33 if projection else 17, generator=torch.Generator().manual_seed(0), requires_grad=True)
    answer = whole.memory(whole.query(feature)).logit
    torch.testing.assert_close(model.logit(feature), whole.logit(feature) + (weight - 1) * answer)
    one, other = (torch.autograd.grad(each.logit(feature).sum(), feature)[0][:, :16] for each in (model, whole))
    torch.testing.assert_close(one, weight * other)


def test_a_linear_head_is_judged_in_both_phases() -> None:
    """A bias on it moves every logit of both losses by as much."""
    model = built(replace(VARIANTS["linear_head"], norm="none")).train()
    critic, generator = MemoryGANObjective(adversarial="reverse_kl", information=0.0).phases(model)
    before = generator.loss(batch()).total
    real = critic.loss(batch()).terms["real"]
    last = [part for part in model.critic.modules() if getattr(part, "bias", None) is not None][-1]
    with torch.no_grad():
        last.bias[-1] += 2
    assert critic.loss(batch()).terms["real"] > real
    torch.testing.assert_close(generator.loss(batch()).total, before - 2)


@settings(deadline=None, max_examples=20)
@given(limit=st.floats(0.1, 20), scale=st.floats(1e-3, 1e3), seed=st.integers(0, 99))
def test_a_limited_match_is_a_cosine(limit: float, scale: float, seed: int) -> None:
    """It knows the direction of phi alone, and no image exceeds the limit."""
    model = replace(VARIANTS["projected"], match_limit=limit).build()
    random = torch.Generator().manual_seed(seed)
    feature, key = torch.randn(8, 32, generator=random), F.normalize(torch.randn(8, 16, generator=random))
    match = model.match(feature, key)
    torch.testing.assert_close(match, limit * F.cosine_similarity(feature[:, 16:], key))
    torch.testing.assert_close(model.match(scale * feature, key), match, rtol=1e-4, atol=1e-4)
    own = torch.cat([feature[:, :16], key], 1)
    torch.testing.assert_close(model.match(own, key), torch.full((8,), limit))


def test_projection_needs_a_slot_on_both_sides() -> None:
    for config in (VARIANTS["no_mcgn"], VARIANTS["no_memory"]):
        with pytest.raises(ValueError, match="projection is on"):
            replace(config, projection=True)
    for limit in (-1.0, float("inf"), float("nan")):
        with pytest.raises(ValueError, match="match_limit"):
            replace(VARIANTS["projected"], match_limit=limit)
    with pytest.raises(ValueError, match="match_limit"):
        replace(TINY, match_limit=4.0)
    with pytest.raises(ValueError, match="linear_head"):
        replace(VARIANTS["no_memory"], linear_head=True)
    for weight in (-0.1, float("inf"), float("nan")):
        with pytest.raises(ValueError, match="answer_weight"):
            replace(VARIANTS["linear_head"], answer_weight=weight)
    with pytest.raises(ValueError, match="answer_weight"):
        replace(TINY, answer_weight=0.5)
    with pytest.raises(ValueError, match="query_norm"):
        replace(VARIANTS["no_memory"], query_norm=True)
    with pytest.raises(ValueError, match="head is 'flat'"):
        replace(TINY, head="flat")
    with pytest.raises(ValueError, match="encoder_decay"):
        replace(TINY, encoder_decay=1.0)


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


@pytest.mark.parametrize("variant", ["memory_gan", "projected"])
def test_stop_and_resume_give_the_same_bits(variant: str, digits: ImageData, tmp_path: Path) -> None:
    """Stop at step 17 of 40, resume, and compare every tensor with the run that never stopped."""

    def run(folder: Path, steps: int) -> None:
        torch.manual_seed(3)
        config = TrainingConfig(steps=steps, batch_size=16, checkpoint_every=100, sample_every=0, log_every=5, device="cpu")
        fit(VARIANTS[variant].build(), MemoryGANObjective(), digits, config, folder, console=False)

    run(tmp_path / "straight", 40)
    run(tmp_path / "broken", 17)
    run(tmp_path / "broken", 40)
    for stem in ("model", "optimisers", "averages"):
        straight, broken = (load_file(latest(tmp_path / side) / f"{stem}.safetensors") for side in ("straight", "broken"))
        assert straight.keys() == broken.keys()
        assert all(torch.equal(tensor, broken[name]) for name, tensor in straight.items())


def life_signs(digits: ImageData, folder: Path, fidelity: str) -> tuple[float, float]:
    """After a short training: the logged share of queries that found one class only, and the share of images whose query gets no gradient."""
    policies = {"reading": ReadPolicy.preset(fidelity), "writing": WritePolicy.preset(fidelity)}
    memory = MemoryConfig(1024, 32, top_k=32, concentration=1.0 if fidelity == "paper" else 20.0, **policies)
    torch.manual_seed(0)
    model = MemoryGANConfig(image_shape=(1, 8, 8), width=8, noise=NoiseConfig(3), memory=memory).build()
    objective = MemoryGANObjective(adversarial="saturating" if fidelity == "paper" else "non_saturating")
    fit(model, objective, digits, TrainingConfig(steps=80, sample_every=0, log_every=20, device="cpu"), folder, console=False)
    query = model.encode(torch.tensor(digits.image[:200])).requires_grad_()
    (gradient,) = torch.autograd.grad(model.memory(query).logit.sum(), query)
    last = json.loads((folder / "metrics.jsonl").read_text().splitlines()[-1])
    return last["critic/one_class"], float((gradient == 0).all(1).float().mean())


def test_the_literal_paper_deadlocks_and_the_default_lives(digits: ImageData, tmp_path: Path) -> None:
    """Section 3.1 built literally soon looks up one class only, where the clip of Eq. 4 ends all learning; the stratified lookup cannot."""
    literal, robust = (life_signs(digits, tmp_path / fidelity, fidelity) for fidelity in ("paper", "robust"))
    assert min(literal) > 0.9
    assert robust == (0, 0)


def test_bad_configurations_are_refused() -> None:
    with pytest.raises(ValueError, match="positive"):
        MemoryGANConfig(width=0)
    with pytest.raises(ValueError, match="information"):
        MemoryGANObjective(information=-1.0)
    with pytest.raises(InputError, match="no memory"):
        built(VARIANTS["no_memory"]).encode(batch().image)
