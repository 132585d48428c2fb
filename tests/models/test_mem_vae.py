"""MEM-VAE as a model: its size, its start, its densities, its memory, and what it refuses."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from memogen.metrics.ais import Annealing, anneal
from memogen.metrics.imputation import Reconstructs, Refinement, imputation_error
from memogen.metrics.log_likelihood import log_likelihood
from memogen.models import AttentionConfig, GaussianConfig, MemVAEConfig
from memogen.models.mem_vae.model import binarised
from memogen.types import GenerativeModel, ImageData, InputError, Latents, LikelihoodModel, to_range
from tests.models.mem_vae import PLAIN, SMALL, VARIANTS, built, exact, images, labels, linear_gaussian, scored

NONE = AttentionConfig(())
VIS = AttentionConfig(addressing="softmax", compose="additive")
OCR = MemVAEConfig((1, 16, 8), (200, 200), 50)
FREY = MemVAEConfig((1, 28, 20), (200,), 10, memory=AttentionConfig((20,)), output="gaussian")


@pytest.mark.parametrize(
    ("config", "count"),
    [
        (MemVAEConfig(memory=NONE), 1_440_984),
        (MemVAEConfig(hidden=(530, 530), memory=NONE), 1_559_184),
        (MemVAEConfig(), 1_550_084),
        (replace(OCR, memory=NONE), 163_828),
        (OCR, 207_528),
        (replace(FREY, memory=NONE), 344_340),
        (FREY, 354_160),
        (MemVAEConfig(memory=VIS), 1_541_084),
    ],
)
def test_models_have_the_papers_number_of_parameters(config: MemVAEConfig, count: int) -> None:
    """Table 3 (1,441K, 1,559K, 1,550K, 164K, 208K) and the models it leaves out, to the last bias."""
    assert sum(parameter.numel() for parameter in config.build().parameters()) == count


# --- the start ---


def test_with_a_fresh_memory_it_is_the_vae_of_the_same_seed() -> None:
    """Same seed, same networks; and the ladder begins as the identity, so that every output is equal to the bit."""
    memory, plain = built(SMALL, spread=0.0), built(PLAIN, spread=0.0)
    assert all(torch.equal(memory.get_parameter(name), value) for name, value in plain.named_parameters())
    image = scored(5)
    assert torch.equal(memory.sample(7, seed=2), plain.sample(7, seed=2))
    assert torch.equal(memory.log_weights(image, num_samples=4), plain.log_weights(image, num_samples=4))


@pytest.mark.parametrize(("config", "nats"), [(MemVAEConfig(), -543.4), (OCR, -88.7)])
def test_an_output_of_one_half_costs_ln_2_a_pixel(config: MemVAEConfig, nats: float) -> None:
    model = config.build()
    torch.nn.init.zeros_(model.decoder.head.weight)
    x = (torch.rand(2, *config.image_shape) < 0.3).float()
    raw = model.decoder(torch.randn(2, config.latent_dim)).raw
    found = model.log_prob(x, raw, 1)
    torch.testing.assert_close(found, torch.full((1, 2), -math.prod(config.image_shape) * math.log(2)))
    assert float(found[0, 0].detach()) == pytest.approx(nats, abs=0.05)


# --- drawing ---


@pytest.mark.parametrize("variant", VARIANTS)
def test_samples_are_addressed(variant: str) -> None:
    model = built(VARIANTS[variant])
    assert isinstance(model, GenerativeModel) and isinstance(model, LikelihoodModel) and isinstance(model, Reconstructs)
    whole = model.sample(8, seed=5)
    assert whole.shape == (8, *model.config.image_shape)
    torch.testing.assert_close(whole[3:], model.sample(5, seed=5, start=3))
    assert not torch.equal(whole, model.sample(8, seed=6))
    if model.config.output == "bernoulli":
        assert float(whole.min()) >= 0 and float(whole.max()) <= 1


@pytest.mark.parametrize("variant", VARIANTS)
def test_looking_changes_nothing(variant: str) -> None:
    config = VARIANTS[variant]
    model, image = built(config).train(), scored(3, config)
    label = labels(3, config)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    model.sample(4), model.encode(image, label), model.features(image, label), model.log_weights(image, num_samples=2)
    model.reconstruct(model.pixels(image), seed=0, step=0, start=0, label=label, batch_statistics=True)
    if config.memory.slots:
        model.addresses(image, label=label), model.slot_picture()
    assert all(part.training for part in model.modules())
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_labels_are_drawn_or_given() -> None:
    model = built(VARIANTS["conditional"])
    drawn = model.latents(3000, seed=1).label
    assert drawn is not None
    np.testing.assert_allclose(torch.bincount(drawn) / 3000, [1 / 3] * 3, atol=0.04)
    z = model.latents(4, label=2).noise
    assert torch.equal(model.sample(4, label=2), model.decode(Latents(z, label=torch.tensor([2, 2, 2, 2]))))
    assert not torch.allclose(model.sample(4, label=2), model.sample(4, label=1))


# --- densities ---


@pytest.mark.parametrize("variant", VARIANTS)
def test_weights_do_not_depend_on_how_they_are_asked_for(variant: str) -> None:
    """In parts, in other company, by number: sample j of image i is the same."""
    config = VARIANTS[variant]
    model, image = built(config), scored(5, config)
    whole = model.log_weights(image, num_samples=7, seed=3)
    assert whole.shape == (7, 5)
    parts = torch.cat([model.log_weights(image, num_samples=n, seed=3, start=s) for n, s in ((2, 0), (1, 2), (4, 3))])
    torch.testing.assert_close(parts, whole, rtol=1e-5, atol=1e-4)
    one = model.log_weights(image[2:3], num_samples=7, seed=3, index=torch.tensor([2]))
    torch.testing.assert_close(one, whole[:, 2:3], rtol=1e-5, atol=1e-4)
    assert not torch.equal(whole[0], whole[1]) and not torch.equal(whole, model.log_weights(image, num_samples=7, seed=4))


def test_the_exact_posterior_of_a_linear_model_weighs_every_sample_by_the_likelihood() -> None:
    model, covariance = linear_gaussian()
    image = scored(8, model.config)
    truth = exact(covariance, image)
    torch.testing.assert_close(model.log_weights(image, num_samples=5), truth.expand(5, -1), rtol=0, atol=1e-7)


def test_many_samples_of_a_wide_proposal_match_the_exact_likelihood_and_stay_below_it_on_average() -> None:
    model, covariance = linear_gaussian(width=1.6)
    data = ImageData(scored(30, model.config).numpy())
    found = log_likelihood(model, data, num_samples=5000, at=(1, 5, 50), chunk=20_000)
    truth = exact(covariance, torch.from_numpy(data.image)).numpy()
    assert np.abs((found.log_likelihood[:, -1] - truth) / found.error[:, -1]).max() < 4
    assert found.value == pytest.approx(truth.mean(), abs=0.02)
    curve = found.log_likelihood.mean(0)
    assert list(curve) == sorted(curve) and found.elbo < truth.mean() - 0.1


def test_annealing_from_the_prior_finds_the_same_likelihood() -> None:
    model, covariance = linear_gaussian()
    image = scored(3, model.config)
    beside = model.beside(image)
    found = anneal(beside, Annealing(temperatures=60, chains=32), seed=1).log_likelihood
    np.testing.assert_allclose(found, exact(covariance, image), atol=0.25)


def test_the_weights_of_a_conditional_model_without_labels_are_those_of_the_marginal() -> None:
    """log p(x) = log 1/C sum_y p(x | y), by many samples of each side."""
    config = VARIANTS["conditional"]
    model, image = built(config, spread=0.15), scored(3, config)
    num = 6000
    each = torch.stack([model.log_weights(image, num_samples=num, label=torch.full((3,), y)).double().logsumexp(0) for y in range(3)])
    marginal = each.logsumexp(0) - math.log(3 * num)
    found = model.log_weights(image, num_samples=num, seed=9).double()
    mean, error = found.exp().mean(0), found.exp().std(0) / num**0.5
    assert ((mean - marginal.exp()).abs() < 5 * error).all()


# --- real pixels ---


def test_means_and_variances_of_real_pixels_are_bounded_as_asked() -> None:
    """mean = raw or sigmoid(raw); log variance = raw or c + log(1 + exp(raw - c)), in the density as in the picture."""
    raw, x = 9 * torch.randn(2 * 4, 24, generator=torch.Generator().manual_seed(0)), torch.rand(4, 1, 4, 3)
    mean, log_variance = raw.chunk(2, dim=1)
    free, bounded = built(VARIANTS["gaussian"]), built(VARIANTS["bounded_gaussian"])
    expected = {free: (mean, log_variance), bounded: (1 / (1 + (-mean).exp()), -4 + (1 + (log_variance + 4).exp()).log())}
    for model, (mu, lv) in expected.items():
        found = torch.distributions.Normal(mu.view(2, 4, 12), (lv / 2).exp().view(2, 4, 12)).log_prob(x.flatten(1)).sum(-1)
        torch.testing.assert_close(model.log_prob(x, raw, 2), found, rtol=1e-4, atol=1e-3)
        torch.testing.assert_close(model.mean(raw).flatten(1), mu)
    assert float(bounded.normal(raw)[1].min()) >= -4 > float(log_variance.min())
    raw.requires_grad_()
    bounded.normal(raw)[1][log_variance < -10].sum().backward()
    assert raw.grad is not None and (raw.grad[:, 12:][log_variance < -10] > 0).all(), "a pixel at the bound can still rise"


# --- statistics ---


@pytest.mark.parametrize("variant", VARIANTS)
def test_calibrated_in_pieces_it_evaluates_as_it_trains_on_all_images_at_once(variant: str) -> None:
    """One forward pass of the whole set in training mode has the statistics that calibration stores, layer by layer and in any pieces."""
    config = VARIANTS[variant]
    model, data = built(config), images(37, config)
    index, image = torch.arange(37), torch.from_numpy(data.image)
    for chunk in (5, 1000):
        model.calibrate(data, seed=4, chunk=chunk)
        x = model.observed(image, index, seed=4, stream=7201)
        condition = model.condition(torch.from_numpy(data.label) if config.num_classes else None)
        with torch.no_grad():
            outputs = []
            for mode in (True, False):
                model.train(mode)
                encoded = model.encoder(x, condition)
                z = encoded.mean + torch.exp(0.5 * encoded.log_variance) * model.draws(index, 1, seed=4, stream=7200)[0]
                outputs.append((encoded.mean, model.decoder(z, condition).raw))
        for trained, evaluated in zip(*outputs, strict=True):
            torch.testing.assert_close(evaluated, trained, rtol=2e-3, atol=2e-3)


def test_calibration_forgets_the_former_statistics_and_is_the_same_again() -> None:
    model, data = built(), images(20, seed=3)
    with torch.no_grad():
        for norm in (part for name, part in model.named_modules() if name.endswith("norm")):
            norm.mean.fill_(7.0)
    model.calibrate(data)
    once = {name: tensor.clone() for name, tensor in model.named_buffers()}
    model.calibrate(data)
    assert all(torch.equal(tensor, once[name]) for name, tensor in model.named_buffers())
    assert all(float(tensor.abs().max()) < 7 for name, tensor in once.items() if name.endswith("mean"))


# --- pixels ---


def test_a_byte_is_white_as_often_as_its_value_says() -> None:
    image = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16).expand(4000, -1, -1, -1)
    for levels in (256, 255):
        share = binarised(image, torch.arange(4000), levels=levels, seed=1, stream=0).float().mean(0).flatten()
        expected = torch.arange(256) / levels
        deviation = (share - expected) / (expected * (1 - expected) / 4000).sqrt().clamp_min(1e-9)
        assert float(deviation[1:255].abs().max()) < 4.5 and 0.85 < float(deviation[1:255].std()) < 1.15
        assert share[0] == 0
    assert share[255] == 1


def test_black_and_white_is_drawn_by_address() -> None:
    """Each number of an image in training gets a draw of its own, which no batch changes: an epoch on, the same image is drawn anew."""
    image = torch.from_numpy(images(6).image)
    index = torch.arange(100, 106)
    whole = binarised(image, index, levels=256, seed=0, stream=5)
    assert torch.equal(binarised(image[2:4], index[2:4], levels=256, seed=0, stream=5), whole[2:4])
    for other in ({"seed": 1, "stream": 5}, {"seed": 0, "stream": 6}):
        assert not torch.equal(binarised(image, index, levels=256, **other), whole)
    assert not torch.equal(binarised(image, index + 6, levels=256, seed=0, stream=5), whole)
    floats = image.float() / 255
    assert float(binarised(floats, index, levels=256, seed=0, stream=5).float().mean()) == pytest.approx(float(floats.mean()), abs=0.15)


def test_scales_of_bytes_are_not_mixed() -> None:
    image = torch.tensor([0, 128, 255], dtype=torch.uint8).view(1, 1, 1, 3)
    for levels in (255, 256):
        model = replace(SMALL, image_shape=(1, 1, 3), pixel_levels=levels).build()
        assert model.pixels(image).flatten().tolist() == pytest.approx([0, 128 / levels, 255 / levels])
        torch.testing.assert_close(to_range(image, model.image_range), model.pixels(image))
        torch.testing.assert_close(model.pixels(torch.full((1, 1, 1, 3), 0.25)), torch.full((1, 1, 1, 3), 0.25))
        assert model.scored(torch.tensor([[[[0, 255, 0]]]], dtype=torch.uint8)).flatten().tolist() == [0, 1, 0]


# --- the memory ---


def test_addresses_are_what_the_decoder_asked_with() -> None:
    model, image = built(), torch.from_numpy(images(6).image)
    near, far = model.addresses(image, seed=2)
    assert near.shape == (6, 4) and far.shape == (6, 2)
    mean, log_variance = model.encode(image)
    z = mean + torch.exp(0.5 * log_variance) * model.draws(torch.arange(6), 1, seed=2, stream=7100)[0]
    layer = model.decoder.layers[1]
    g = torch.relu(layer.dense.norm(layer.dense.linear(z)))
    torch.testing.assert_close(far, torch.sigmoid(g @ layer.memory.address.weight.T + layer.memory.address.bias).detach())
    torch.testing.assert_close(model.addresses(image[4:], seed=2, start=4)[0], near[4:])
    softmax = built(VARIANTS["vis_mem_vae"]).addresses(image)
    torch.testing.assert_close(softmax[0].sum(1), torch.ones(6))


def test_without_a_memory_ones_stand_in_its_place() -> None:
    model = built()
    latents = model.latents(5)
    sample = model.decode(latents)
    assert torch.equal(model.decode(latents, without_memory=()), sample)
    near, both = model.decode(latents, without_memory=(0,)), model.decode(latents, without_memory=(0, 1))
    assert not torch.allclose(near, sample) and not torch.allclose(both, near)
    assert not torch.allclose(model.decode(latents, without_memory=(0,), fill="zeros"), near)
    with torch.no_grad():
        model.decoder.layers[0].memory.slots.mul_(3.0)
    assert torch.equal(model.decode(latents, without_memory=(0,)), near)
    model.decoder.layers[0].memory.read = lambda query: type(built().decoder.layers[0].memory.read(query))(None, torch.ones_like(query))
    torch.testing.assert_close(model.decode(latents), near)


def test_a_slot_by_itself_is_decoded() -> None:
    """VIS-MEM-VAE: h_g = 0 and one slot gives relu(M_s), which the rest of the decoder turns into an image (appendix D)."""
    model = built(VARIANTS["vis_mem_vae"])
    near, far = (layer.memory.slots.detach() for layer in model.decoder.layers)
    head = model.decoder.head
    torch.testing.assert_close(model.slot_picture([3, 1]).flatten(1), torch.sigmoid(head(torch.relu(near[[3, 1]]))).detach())
    assert model.slot_picture().shape == (4, 1, 4, 3) and model.slot_picture(layer=1).shape == (2, 1, 4, 3)
    h = model.decoder.layers[0](torch.relu(far)).output
    torch.testing.assert_close(model.slot_picture(layer=1).flatten(1), torch.sigmoid(head(h)).detach())


def test_reconstruction_is_addressed_and_normalises_by_either_statistics() -> None:
    model = built()
    x = model.pixels(torch.from_numpy(images(8).image))
    whole = model.reconstruct(x, seed=1, step=3, start=10)
    torch.testing.assert_close(model.reconstruct(x[5:], seed=1, step=3, start=15), whole[5:])
    assert not torch.allclose(model.reconstruct(x, seed=1, step=4, start=10), whole)
    by_batch = model.reconstruct(x, seed=1, step=3, start=10, batch_statistics=True)
    assert not torch.allclose(by_batch, whole) and not torch.allclose(
        model.reconstruct(x[5:], seed=1, step=3, start=15, batch_statistics=True), by_batch[5:]
    )


def test_reconstructions_of_real_pixels_lie_where_pixels_can() -> None:
    """The decoder's means may lie beyond; a chain that is fed with them would run away."""
    model = built(VARIANTS["gaussian"], spread=1.0)
    x = model.pixels(torch.from_numpy(images(8, model.config).image))
    assert float(model.sample(50).max()) > 1.5
    for by_batch in (False, True):
        found = model.reconstruct(x, seed=0, step=0, start=0, batch_statistics=by_batch)
        assert float(found.min()) == 0 and float(found.max()) == 1
    found = imputation_error(model, images(30, model.config), "half", Refinement(50))
    assert all(0 < error <= 1 for error in found.errors)


# --- refusals ---


def test_what_cannot_be_used_is_refused_in_one_line() -> None:
    model, plain, conditional = built(), built(PLAIN), built(VARIANTS["conditional"])
    grey = torch.from_numpy(images(3).image)
    asked = {
        "grey pixels": lambda: model.log_weights(grey, num_samples=1),
        r"it is \(1, 3, 4\)": lambda: model.encode(torch.zeros(2, 1, 3, 4, dtype=torch.uint8)),
        "trained without labels": lambda: model.encode(grey, torch.tensor([0, 1, 2])),
        "give a label": lambda: conditional.encode(grey),
        "knows labels 0 to 2": lambda: conditional.encode(grey, torch.tensor([0, 1, 3])),
        "label: 5 to 5": lambda: conditional.latents(2, label=5),
        "with slot_picture": lambda: model.latents(2, slot=0),
        "no memory, so images": lambda: plain.addresses(grey),
        "this model has no memory": lambda: plain.slot_picture(),
        r"layers 0 \(next to the data\) to 1": lambda: model.decode(model.latents(1), without_memory=(2,)),
        "holds slots 0 to 3": lambda: model.slot_picture([4]),
    }
    for complaint, call in asked.items():
        with pytest.raises(InputError, match=complaint) as caught:
            call()
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"image_shape": (0, 2, 2)}, "image_shape"),
        ({"hidden": ()}, "hidden"),
        ({"latent_dim": 0}, "latent_dim 0"),
        ({"memory": AttentionConfig((4,))}, r"memory\.slots is \(4,\)"),
        ({"num_classes": 1}, "num_classes is 1"),
    ],
)
def test_impossible_configurations_are_refused(options: dict[str, object], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        replace(SMALL, **options)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="num_slots 0"):
        AttentionConfig((4, 0))
    with pytest.raises(ValueError, match=r"gaussian\.least_log_variance is nan"):
        GaussianConfig(least_log_variance=math.nan)
