"""What trains a MEM-VAE: the whole bound against NumPy, its variants, and a training that resumes to the bit."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from memogen.models import MemVAE, MemVAEConfig, MemVAEObjective
from memogen.models.mem_vae import ADAM
from memogen.pretrained import from_pretrained
from memogen.training import TrainingConfig, fit, latest
from memogen.types import Batch, InputError, Loss, OptimiserConfig
from tests.models.mem_vae import PLAIN, SMALL, VARIANTS, built, exact, images, linear_gaussian

NOTHING = MemVAEObjective(local_reconstruction=())


def batch(num: int = 9, config: MemVAEConfig = SMALL, *, seed: int = 0, start: int = 0) -> Batch:
    data = images(num, config)
    return Batch(torch.arange(start, start + num), torch.from_numpy(data.image), torch.from_numpy(data.label), seed=seed)


def loss_of(model: MemVAE, objective: MemVAEObjective, given: Batch) -> Loss:
    (phase,) = objective.phases(model)
    assert phase.name == "bound"
    return phase.loss(given)


# --- the bound, derived again ---


class ByHand:
    """Sections 3 and 4 of the fact sheet in NumPy, one sample after the other; the norms' statistics are those of all rows of a batch."""

    def __init__(self, model: MemVAE) -> None:
        self.part = {name: tensor.detach().numpy() for name, tensor in model.named_parameters()}

    def dense(self, where: str, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        u = x @ self.part[f"{where}.linear.weight"].T + self.part[f"{where}.linear.bias"]
        hat = standard(u)
        return hat, np.maximum(hat * self.part[f"{where}.norm.weight"] + self.part[f"{where}.norm.bias"], 0)

    def head(self, where: str, x: np.ndarray) -> np.ndarray:
        return x @ self.part[f"{where}.head.weight"].T + self.part[f"{where}.head.bias"]

    def remember(self, where: str, g: np.ndarray) -> np.ndarray:
        p = {name: self.part[f"{where}.memory.{name}"] for name in ("address.weight", "address.bias", "slots", "gain", "linear", "gate")}
        m = sigmoid(g @ p["address.weight"].T + p["address.bias"]) @ p["slots"]
        a, c = p["linear"], p["gate"]
        gate = sigmoid(c[0] + c[1] * m + c[2] * g + c[3] * g * m)
        return np.maximum(a[0] + a[1] * m + a[2] * g + a[3] * g * m + p["gain"] * gate, 0)

    def objective(self, x: np.ndarray, eps: np.ndarray, weights: tuple[float, float]) -> tuple[float, float]:
        """(L_k, R) of images (b, d) and draws (k, b, z)."""
        k, b = eps.shape[:2]
        hat_0, e_0 = self.dense("encoder.layers.0", x)
        hat_1, e_1 = self.dense("encoder.layers.1", e_0)
        mean, log_variance = np.split(self.head("encoder", e_1), 2, axis=1)
        z = mean + np.exp(log_variance / 2) * eps
        h_1 = self.remember("decoder.layers.1", self.dense("decoder.layers.1.dense", z.reshape(k * b, -1))[1])
        h_0 = self.remember("decoder.layers.0", self.dense("decoder.layers.0.dense", h_1)[1])
        p = sigmoid(self.head("decoder", h_0)).reshape(k, b, -1)
        log_w = np.zeros((k, b))
        for j in range(k):
            log_w[j] += (x * np.log(p[j]) + (1 - x) * np.log(1 - p[j])).sum(1)
            log_w[j] += normal(z[j], 0.0, 0.0) - normal(z[j], mean, log_variance)
        bound = (np.log(np.exp(log_w - log_w.max(0)).mean(0)) + log_w.max(0)).mean()
        gaps = [((hat - standard(h).reshape(k, b, -1).mean(0)) ** 2).mean() for hat, h in ((hat_0, h_0), (hat_1, h_1))]
        return float(bound), float(np.dot(weights, gaps))


def standard(u: np.ndarray) -> np.ndarray:
    return (u - u.mean(0)) / np.sqrt(u.var(0) + 1e-10)


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def normal(z: np.ndarray, mean: np.ndarray | float, log_variance: np.ndarray | float) -> np.ndarray:
    return (-0.5 * (np.log(2 * np.pi) + log_variance + (z - mean) ** 2 / np.exp(log_variance))).sum(1)


@pytest.mark.parametrize("k", [1, 4])
def test_the_loss_is_minus_the_bound_plus_the_reconstruction(k: int) -> None:
    model, given = built().double().train(), batch()
    objective = MemVAEObjective(num_samples=k, local_reconstruction=(0.3, 0.7))
    loss = loss_of(model, objective, given)
    x = model.observed(given.image, given.index, seed=0, stream=1 << 21)
    eps = model.draws(given.index, k, seed=0, stream=0)
    bound, reconstruction = ByHand(model).objective(x.flatten(1).numpy(), eps.numpy(), (0.3, 0.7))
    assert float(loss.terms["bound"]) == pytest.approx(bound, rel=1e-9)
    assert float(loss.terms["local_reconstruction"]) == pytest.approx(reconstruction, rel=1e-9)
    assert float(loss.total.detach()) == pytest.approx(reconstruction - bound, rel=1e-9)


def test_one_sample_gives_the_elbo_and_more_raise_the_bound() -> None:
    """The same z: reconstruction minus divergence. On average over draws, L_k rises with k."""
    model = built().train()
    loss = loss_of(model, NOTHING, batch())
    torch.testing.assert_close(loss.terms["bound"], loss.terms["reconstruction"] - loss.terms["divergence"])
    model.eval()
    bounds = [
        np.mean([float(loss_of(model, replace(NOTHING, num_samples=k), batch(40, seed=s)).terms["bound"]) for s in range(10)]) for k in (1, 2, 5, 20)
    ]
    assert bounds == sorted(bounds) and bounds[-1] > bounds[0] + 0.05


def test_training_and_evaluation_give_one_bound_its_closed_form() -> None:
    """The linear model's bound is log p(x) under its exact posterior, whatever k."""
    model, covariance = linear_gaussian()
    given = batch(6, model.config)
    assert given.image is not None
    for k in (1, 3):
        bound = loss_of(model, replace(NOTHING, num_samples=k), given).terms["bound"]
        torch.testing.assert_close(bound, exact(covariance, given.image).mean(), rtol=0, atol=1e-9)


def test_the_sampled_divergence_is_on_average_that_of_two_normals() -> None:
    """KL(q(z | x) || N(0, I)) = (mean^2 + variance - 1 - log variance) / 2, summed over z."""
    model = built(spread=0.1)
    sampled = torch.stack([loss_of(model, NOTHING, same_pixels(batch(), seed)).terms["divergence"] for seed in range(600)])
    image = same_pixels(batch(), 0).image
    assert image is not None
    mean, log_variance = model.encode(image)
    exact_divergence = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(1).mean()
    assert abs(float(sampled.mean() - exact_divergence)) < 4 * float(sampled.std()) / 600**0.5


# --- gradients ---


def test_at_the_start_the_memory_waits_for_the_ladder() -> None:
    """Slots, addresses and gates have no gradient at step 0; a1, a2 and b1 have one (their paths are multiplied by a2 = a4 = b1 = 0)."""
    model = built(spread=0.0).train()
    loss_of(model, MemVAEObjective(), batch()).total.backward()
    for layer in model.decoder.layers:
        memory = layer.memory
        for still in (memory.slots, memory.address.weight, memory.address.bias, memory.gate):
            assert (still.grad == 0).all()
        for moving in (memory.linear[0], memory.linear[1], memory.gain):
            assert moving.shape == (memory.query_dim,)
        assert all(float(memory.linear.grad[row].abs().max()) > 0 for row in (0, 1)) and float(memory.gain.grad.abs().max()) > 0


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("k", [1, 3])
def test_every_part_of_every_variant_learns(variant: str, k: int) -> None:
    config = VARIANTS[variant]
    model = built(config).train()
    objective = MemVAEObjective(num_samples=k, local_reconstruction=(0.1,) * len(config.hidden))
    loss = loss_of(model, objective, batch(9, config))
    loss.total.backward()
    assert math.isfinite(float(loss.total.detach()))
    silent = {name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0}
    assert all(name.endswith("linear.bias") for name in silent), "only what a norm takes out again may be without a gradient"


@pytest.mark.parametrize("second_draw", [False, True])
def test_the_local_term_reaches_both_networks_and_is_zero_for_none(second_draw: bool) -> None:
    """Nothing is detached; without lambda there is no term at all."""
    model, given = built().train(), batch()
    loss = loss_of(model, MemVAEObjective(local_reconstruction=(0.5, 0.25), second_draw=second_draw), given)
    plain = loss_of(model, NOTHING, given)
    torch.testing.assert_close(loss.terms["bound"], plain.terms["bound"])
    assert "local_reconstruction" not in plain.terms
    local = loss.total + loss.terms["bound"]
    assert 0 < float(local.detach()) < 4 * 0.75 and float(local.detach()) == pytest.approx(float(loss.terms["local_reconstruction"]), abs=1e-4)
    model.zero_grad()
    (loss.total - plain.total).backward()
    for layer in (model.encoder.layers[0], model.decoder.layers[0].dense):
        assert float(layer.linear.weight.grad.abs().max()) > 1e-6


def test_a_second_draw_has_the_same_expectation_and_another_value() -> None:
    model, given = built().train(), batch()

    def terms(second_draw: bool) -> torch.Tensor:
        objective = MemVAEObjective(local_reconstruction=(0.5, 0.25), second_draw=second_draw)
        return torch.stack([loss_of(model, objective, same_pixels(given, seed)).terms["local_reconstruction"] for seed in range(300)])

    one, other = terms(False), terms(True)
    assert not torch.isclose(one, other).any()
    assert abs(float(one.mean() - other.mean())) < 4 * float((one.var() + other.var()).sqrt()) / 300**0.5


def same_pixels(given: Batch, seed: int) -> Batch:
    """Black and white already, so that another seed changes z alone."""
    assert given.image is not None
    return replace(given, image=(given.image > 127).float(), seed=seed)


# --- what it is shown ---


def test_images_are_binarised_anew_for_every_number() -> None:
    """The number of an image in training counts on from epoch to epoch, so the same image is drawn anew; real pixels are left alone."""
    model, given = built(), batch()
    assert given.image is not None
    first, again, later = (
        model.observed(given.image, index, seed=0, stream=1 << 21) for index in (given.index, given.index, given.index + len(given.index))
    )
    assert torch.equal(first, again) and not torch.equal(first, later)
    assert set(first.flatten().tolist()) == {0.0, 1.0}
    real = built(VARIANTS["gaussian"])
    assert torch.equal(real.observed(given.image, given.index, seed=0, stream=0), given.image.float() / 256)


def test_half_precision_keeps_the_bound_in_single() -> None:
    model, given = built().train(), batch()
    plain = loss_of(model, MemVAEObjective(), given)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = loss_of(model, MemVAEObjective(), given)
    assert half.total.dtype == torch.float32 and all(term.dtype == torch.float32 for term in half.terms.values())
    assert float(half.total.detach()) == pytest.approx(float(plain.total.detach()), rel=0.03)


@pytest.mark.parametrize("variant", ["gaussian", "conv_gaussian"])
def test_half_precision_does_not_round_the_means_of_real_pixels(variant: str) -> None:
    """The last layer alone decides how sharp a density can be: its output has more digits than bfloat16 knows."""
    model = built(VARIANTS[variant])
    z = torch.randn(20, 3, generator=torch.Generator().manual_seed(0))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        raw = model.decoder(z).raw
        logit = built(SMALL).decoder(z).raw
    assert raw.dtype == torch.float32 and logit.dtype == torch.bfloat16
    assert float((raw != raw.bfloat16()).float().mean()) > 0.9
    raw.sum().backward()


# --- training ---


def train(folder: Path, config: MemVAEConfig, steps: int, **changes: object) -> MemVAE:
    torch.manual_seed(3)
    model = config.build()
    adam = replace(ADAM, eps=1e-6)
    objective = MemVAEObjective(num_samples=2, local_reconstruction=(0.1,) * len(config.hidden), optimiser=replace(adam, schedule="constant"))
    options = {"steps": steps, "batch_size": 8, "checkpoint_every": 100, "sample_every": 0, "log_every": 5, "device": "cpu", "ema_decay": 0.0}
    fit(model, objective, images(30, config), TrainingConfig(**{**options, **changes}), folder, console=False)  # type: ignore[arg-type]
    return model


@pytest.mark.parametrize("variant", ["mem_vae", "vamp_mem_vae", "conditional", "conv_gaussian"])
def test_stop_and_resume_give_the_same_bits(variant: str, tmp_path: Path) -> None:
    """Stop at step 7 of 16, in the middle of an epoch, resume, and compare every tensor with the run that never stopped."""
    config = VARIANTS[variant]
    straight = train(tmp_path / "straight", config, 16)
    train(tmp_path / "broken", config, 7)
    broken = train(tmp_path / "broken", config, 16)
    for name, tensor in straight.state_dict().items():
        assert torch.equal(tensor, broken.state_dict()[name]), name
    files = [load_file(latest(tmp_path / side) / "optimisers.safetensors") for side in ("straight", "broken")]
    assert all(torch.equal(tensor, files[1][name]) for name, tensor in files[0].items())


def test_a_finished_training_leaves_a_model_with_statistics_of_the_data(tmp_path: Path) -> None:
    """The model in memory and the one on disk draw the same; both stand at the statistics that a fresh calibration gives."""
    model = train(tmp_path, SMALL, 12)
    saved = from_pretrained(tmp_path / "model")
    assert torch.equal(model.sample(5, seed=1), saved.sample(5, seed=1))
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}
    model.calibrate(images(30))
    assert all(torch.equal(buffer, before[name]) for name, buffer in model.named_buffers())
    assert all(float(buffer.abs().sum()) > 0 for name, buffer in before.items() if name.endswith("mean"))


def test_training_raises_the_bound(tmp_path: Path) -> None:
    """Thirty random grey images: from 12 pixels at ln 2 each towards the mean entropy of their pixels."""
    train(tmp_path, SMALL, 150, log_every=25)
    rows = [json.loads(line)["bound/bound"] for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert rows[-1] > rows[0] + 0.5 and rows[-1] > -12 * math.log(2) - 0.5


def test_averages_can_be_asked_for(tmp_path: Path) -> None:
    train(tmp_path, PLAIN, 10, ema_decay=0.9)
    averaged, live = from_pretrained(tmp_path / "model"), from_pretrained(tmp_path / "model", live=True)
    assert not torch.equal(averaged.get_parameter("encoder.head.weight"), live.get_parameter("encoder.head.weight"))


# --- refusals ---


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"num_samples": 0}, "num_samples is 0"),
        ({"local_reconstruction": (0.1, -0.1)}, "local_reconstruction"),
        ({"local_reconstruction": (math.nan, 0.1)}, "local_reconstruction"),
    ],
)
def test_impossible_objectives_are_refused(options: dict[str, object], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        MemVAEObjective(**options)  # type: ignore[arg-type]


def test_objective_and_data_must_fit_the_model() -> None:
    with pytest.raises(InputError, match="one number for each of the 2 hidden layers"):
        MemVAEObjective(local_reconstruction=(0.1,)).phases(built())
    conditional = built(VARIANTS["conditional"])
    with pytest.raises(InputError, match="give a label"):
        loss_of(conditional, NOTHING, replace(batch(), label=None))
    with pytest.raises(InputError, match="knows labels 0 to 2"):
        loss_of(conditional, NOTHING, replace(batch(), label=torch.arange(9)))


def test_the_default_optimiser_is_the_authors() -> None:
    found = MemVAEObjective().optimiser
    assert (found.learning_rate, found.betas, found.eps, found.eps_form) == (1e-3, (0.9, 0.999), 1e-4, "uncorrected")
    assert (found.clip_norm, found.clip_value, found.schedule, found.decay.stages, found.decay.hold) == (5.0, 1.0, "decay", 3000, 1000)
    assert isinstance(found, OptimiserConfig)
